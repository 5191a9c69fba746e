//! `nada presets`: what there is, or one of them as it stands.

use super::printer::{Printer, table};
use crate::builtin;
use crate::config::layering::{Layered, Layers};
use crate::config::{ClipModel, MapperConfig};
use crate::error::{Error, Result};
use clap::Args;

/// What may be typed behind `nada presets`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada presets
  nada presets sketch > mine.yaml
  nada presets mapper/default
  nada adapt --config mine.yaml --target \"charcoal drawing\"")]
pub(super) struct PresetsArgs {
    /// Print this one, ready to be changed and given to --config
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: &PresetsArgs, printer: &Printer) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        let text = match name.starts_with(builtin::OF_MAPPER) {
            true => builtin::mapper_preset(name)?,
            false => builtin::preset(name)?,
        };
        printer.data(text.trim_end())?;
        return Ok(());
    }
    let mut rows = vec![["NAME", "STEPS", "MODELS", "ABOUT"].map(str::to_owned).to_vec()];
    let row = |name: String, steps: u64, clip: &[ClipModel], about: String| {
        let models: Vec<&str> = clip.iter().map(|c| c.model.as_str()).collect();
        vec![name, steps.to_string(), models.join(" + "), about]
    };
    for (name, _) in builtin::presets() {
        let config = layered(name)?.resolve()?;
        rows.push(row(
            (*name).to_owned(),
            config.train.iterations,
            &config.clip,
            config.about.clone(),
        ));
    }
    for (name, text) in builtin::mapper_presets() {
        let mut layers = Layers::<MapperConfig>::default();
        layers.overlay_yaml(text, name)?;
        let config = layers.resolve()?;
        let name = format!("{}{name}", builtin::OF_MAPPER);
        rows.push(row(name, config.train.iterations, &config.clip, config.about.clone()));
    }
    printer.data(&table(&rows))?;
    printer.info(
        "`nada presets NAME` prints one; `nada adapt --preset NAME` uses it, `nada mapper --preset` those of a mapper",
    );
    Ok(())
}

/// Presets that stand on each other: more is a circle.
const DEEPEST: usize = 8;

/// The defaults, the presets below this one (`base:`), and this one.
///
/// # Errors
/// [`Error::Request`] for a preset that does not exist, and for a circle of them.
pub(super) fn layered(name: &str) -> Result<Layered> {
    let mut pile = vec![(name.to_owned(), builtin::preset(name)?)];
    while let Some(base) = base_of(pile[pile.len() - 1].1) {
        let text = builtin::preset(&base)?;
        if pile.len() == DEEPEST {
            return Err(Error::request(
                format!("preset `{name}` stands on too many others, `{base}` among them"),
                "leave `base:` out of one of them",
            ));
        }
        pile.push((base, text));
    }
    let mut layered = Layered::default();
    for (name, text) in pile.iter().rev() {
        layered.overlay_yaml(text, &format!("preset {name}"))?;
    }
    Ok(layered)
}

/// The preset that a preset or a configuration file stands on.
pub(super) fn base_of(text: &str) -> Option<String> {
    let file: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    Some(file.get("base")?.as_str()?.to_owned())
}
