//! What was typed → what is meant: defaults < preset < file < flags.

use super::AdaptArgs;
use crate::builtin;
use crate::cli::presets;
use crate::config::layering::Layered;
use crate::config::{Config, NamedSet};
use crate::error::{Error, IoContext, Result};
use serde_yaml::Value;
use std::path::Path;

/// The preset when none is named: for the shipped models, or the paper's for a generator of the user's own.
const SHIPPED_PRESET: &str = "default";
const PAPER_PRESET: &str = "style";

/// All layers of a new run, not yet resolved, and the name of the preset below them.
pub(super) fn layer(args: &AdaptArgs) -> Result<(Layered, String)> {
    let AdaptArgs {
        source,
        target,
        target_images,
        generator,
        class,
        reference,
        clip,
        training,
        lr,
        layers,
        k,
        resume: _,
        dry_run: _,
    } = args;
    let file = training.config_file()?;
    let named = file.as_ref().and_then(|(_, text)| generator_in(text));
    let base = file.as_ref().and_then(|(_, text)| presets::base_of(text));
    let usual = || usual_preset(generator.as_deref().or(named.as_deref()), target.as_deref());
    let preset = training.preset.clone().or(base).unwrap_or_else(|| usual().to_owned());
    let mut layered = presets::layered(&preset)?;
    if let Some((path, text)) = &file {
        layered.overlay_yaml(text, &path.display().to_string())?;
    }
    layered.set_given("source", source.clone(), "--source");
    layered.set_given("target", target.clone(), "--target");
    let images = target_images.as_ref().map(|p| Value::from(p.to_string_lossy().into_owned()));
    layered.set_given("target_images", images, "--target-images");
    layered.set_given("generator", generator.clone(), "--generator");
    layered.set_given("class", *class, "--class");
    layered.set_given("reference", reference.clone(), "--reference");
    let models = clip.iter().map(|c| clip_model(c)).collect::<Result<Vec<_>>>()?;
    layered.set_given("clip", (!models.is_empty()).then(|| Value::Sequence(models)), "--clip");
    layered.set_given("train.lr", *lr, "--lr");
    layered.set_given("layers.choose", layers.as_deref().map(layer_set).transpose()?, "--layers");
    layered.set_given("layers.k", k.map(|k| k as u64), "--k");
    training.overlay(&mut layered)?;
    Ok((layered, preset))
}

/// Makes paths absolute, so that the run can be continued and repeated from any folder. Shipped names stay.
pub(super) fn anchor(config: &mut Config) -> Result<()> {
    let absolute = |path: &Path| -> Result<String> {
        let path = fs_err::canonicalize(path).while_doing("read", path)?;
        Ok(path.to_string_lossy().into_owned())
    };
    for generator in std::iter::once(&mut config.generator).chain(&mut config.reference) {
        *generator = builtin::anchored_generator(generator)?;
    }
    if let Some(folder) = &mut config.target_images {
        *folder = absolute(folder)?.into();
    }
    Ok(())
}

/// The generator that a configuration file names.
fn generator_in(text: &str) -> Option<String> {
    let file: Value = serde_yaml::from_str(text).ok()?;
    Some(file.get("generator")?.as_str()?.to_owned())
}

/// A generator of the user's own gets the paper's settings. The shipped one gets those of the preset that is about
/// the very target asked for, if there is one, and else those for any phrase.
fn usual_preset(generator: Option<&str>, target: Option<&str>) -> &'static str {
    // What an adaptation changed in it does not change what a generator is.
    match generator.map(builtin::base_of) {
        Some(own)
            if !builtin::models().iter().any(|m| m.name == own)
                && !crate::run_dir::RunDir::is_run(own) =>
        {
            PAPER_PRESET
        }
        _ => target.and_then(preset_about).unwrap_or(SHIPPED_PRESET),
    }
}

/// The shipped preset with this very target.
fn preset_about(target: &str) -> Option<&'static str> {
    let asked = target.trim().to_lowercase();
    let about = |text: &str| -> Option<String> {
        let preset: Value = serde_yaml::from_str(text).ok()?;
        Some(preset.get("target")?.as_str()?.to_lowercase())
    };
    let mut presets = builtin::presets().iter();
    presets.find(|(_, text)| about(text).is_some_and(|t| t == asked)).map(|(name, _)| *name)
}

/// `NAME|FILE[=WEIGHT]`.
pub(in crate::cli) fn clip_model(text: &str) -> Result<Value> {
    let (model, weight) = match text.rsplit_once('=') {
        Some((model, weight)) => match weight.parse::<f64>() {
            Ok(weight) => (model, weight),
            Err(_) => {
                return Err(Error::request(
                    format!("`--clip {text}`: the weight `{weight}` is no number"),
                    "write it as `--clip ViT-B/32=0.5`",
                ));
            }
        },
        None => (text, 1.0),
    };
    let pairs = [("model", Value::from(model)), ("weight", Value::from(weight))];
    Ok(Value::Mapping(pairs.into_iter().map(|(k, v)| (Value::from(k), v)).collect()))
}

/// A set by name, or names of layers with commas.
fn layer_set(text: &str) -> Result<Value> {
    let normal = text.replace('-', "_");
    if NamedSet::ALL.iter().any(|(name, _)| *name == normal) {
        return Ok(Value::from(normal));
    }
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
    for name in &names {
        if name.parse::<crate::stylegan2::LayerId>().is_err() {
            let sets = NamedSet::ALL.map(|(name, _)| name);
            let near = crate::error::near_names(name, sets);
            let near = if near.is_empty() {
                String::new()
            } else {
                format!("did you mean `{}`? ", near.join("` or `"))
            };
            return Err(Error::request(
                format!("`--layers {text}`: `{name}` is neither a set nor a layer"),
                format!(
                    "{near}sets are {}; layers are called conv1, convs.N, to_rgbs.N",
                    sets.join(", ")
                ),
            ));
        }
    }
    Ok(Value::Sequence(names.into_iter().map(Value::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_may_carry_its_weight_and_a_path_may_hold_an_equals_sign() {
        let of = |t| serde_json::to_string(&clip_model(t).unwrap()).unwrap();
        assert_eq!(of("ViT-B/32"), r#"{"model":"ViT-B/32","weight":1.0}"#);
        assert_eq!(of("a=b.pt=0.5"), r#"{"model":"a=b.pt","weight":0.5}"#);
        assert!(clip_model("x=heavy").is_err());
    }

    #[test]
    fn a_target_finds_the_preset_about_it() {
        assert_eq!(preset_about("Sketch "), Some("sketch"));
        assert_eq!(preset_about("smiling face"), Some("smiling"));
        assert_eq!(preset_about("teapot"), None);
    }

    #[test]
    fn layers_are_a_set_or_names() {
        assert_eq!(layer_set("no-fine").unwrap(), Value::from("no_fine"));
        assert_eq!(layer_set("conv1, convs.3").unwrap().as_sequence().unwrap().len(), 2);
        let hint = layer_set("adaptiv").unwrap_err().hint().unwrap();
        assert!(hint.contains("did you mean `adaptive`"), "{hint}");
    }
}
