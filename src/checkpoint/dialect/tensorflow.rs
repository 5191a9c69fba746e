//! The names of a StyleGAN2 generator in NVIDIA's TensorFlow code (stylegan2, stylegan2-ada) → rosinality's
//! (reference §2.3). TensorFlow keeps its matrices and convolutions with the outputs last.

use super::Group;
use super::stylegan::{self, Translated, conv_clamp, deeper, number, only_skip};
use crate::checkpoint::Entry;
use std::collections::BTreeSet;

/// The format of networks since StyleGAN2.
const OLDEST_VERSION: f64 = 4.0;

/// Settings that do not change the images, or that are read off the shapes.
const HARMLESS: [&str; 21] = [
    "latent_size",
    "label_size",
    "dlatent_size",
    "resolution",
    "num_channels",
    "mapping_layers",
    "label_fmaps",
    "mapping_fmaps",
    "w_avg_beta",
    "fmap_base",
    "fmap_max",
    "num_fp16_res",
    "conv_clamp",
    "resample_kernel",
    "truncation_psi",
    "truncation_cutoff",
    "style_mixing_prob",
    "structure",
    "fmap_decay",
    "fmap_min",
    "fused_modconv",
];

/// Settings that must be as in StyleGAN2's configurations E and F.
const USUAL: [(&str, &str); 5] = [
    ("architecture", "\"skip\""),
    ("use_noise", "true"),
    ("nonlinearity", "\"lrelu\""),
    ("mapping_nonlinearity", "\"lrelu\""),
    ("mapping_lrmul", "0.01"),
];

/// Whether these names are a generator's, of whatever StyleGAN.
pub(super) fn is_generator(names: &BTreeSet<&str>) -> bool {
    let any = |start: &str| names.range(start..).next().is_some_and(|name| name.starts_with(start));
    any("synthesis.4x4.") || any("mapping.Dense0.")
}

/// Whether these names are a discriminator's.
pub(super) fn is_discriminator(names: &BTreeSet<&str>) -> bool {
    names.contains("4x4.Dense0.weight")
        || (names.contains("Output.weight") && names.contains("4x4.Conv.weight"))
}

/// Which older network these names are a generator's of.
pub(super) fn older(names: &BTreeSet<&str>) -> Option<&'static str> {
    let any = |part: &str| names.iter().any(|name| name.contains(part));
    if !is_generator(names) {
        return None;
    }
    if any(".StyleMod.") {
        Some(
            "a StyleGAN1 generator, which is not supported (StyleGAN2's configurations E and F are)",
        )
    } else if any(".ToRGB_lod") || !(any(".mod_weight") || any(".mod_bias")) {
        Some(
            "a generator of StyleGAN2's configurations A to D, which are not supported (E and F are)",
        )
    } else {
        None
    }
}

/// The tensors under canonical names, with `conv_clamp`. `about` gives what the file says about a network's setting.
///
/// # Errors
/// Why this generator cannot be used.
pub(super) fn canonical<'a>(
    group: &Group<'_>,
    about: &dyn Fn(&str) -> Option<&'a str>,
    settings: &BTreeSet<&str>,
) -> Result<Translated, String> {
    let clamp = check(group, about, settings)?;
    let mut translated = Translated::default();
    for (&name, &entry) in group {
        let (name, entry) = translate(name, entry).map_err(|why| format!("`{name}`: {why}"))?;
        translated.insert(name, entry)?;
    }
    translated.conv_clamp = clamp;
    Ok(translated)
}

/// Refuses what would be drawn wrongly; gives the bound on what convolutions put out.
fn check<'a>(
    group: &Group<'_>,
    about: &dyn Fn(&str) -> Option<&'a str>,
    settings: &BTreeSet<&str>,
) -> Result<Option<f64>, String> {
    if let Some(version) = about("version")
        && version.parse().map_or(true, |version: f64| version < OLDEST_VERSION)
    {
        return Err(format!(
            "the network is stored in format {version}, from before StyleGAN2; {OLDEST_VERSION} is the oldest supported"
        ));
    }
    let setting = |name: &str| about(&format!("static_kwargs.{name}"));
    for (name, usual) in USUAL {
        if let Some(found) = setting(name).filter(|&found| found != usual && found != "none") {
            return Err(format!("its setting `{name}` is {found}; only {usual} is supported"));
        }
    }
    if let Some(kernel) = setting("resample_kernel").filter(|&kernel| kernel != "none")
        && !["list [1, 3, 3, 1]", "tuple [1, 3, 3, 1]"].contains(&kernel)
    {
        return Err(format!(
            "its filter `resample_kernel` is {kernel}; only [1, 3, 3, 1] is supported"
        ));
    }
    let known =
        |name: &str| HARMLESS.contains(&name) || USUAL.iter().any(|(usual, _)| *usual == name);
    if let Some(odd) = settings.iter().find(|name| !known(name)) {
        return Err(format!("it was made with the setting `{odd}`, whose meaning is unknown"));
    }
    if group.keys().any(|name| name.contains(".Skip.")) {
        only_skip("resnet")?;
    }
    if group.keys().any(|name| name.contains(".LabelConcat.")) {
        return Err(
            "it takes classes as the first StyleGAN2 did (`LabelConcat`); only those of stylegan2-ada are supported"
                .into(),
        );
    }
    setting("conv_clamp").filter(|&clamp| clamp != "none").map(conv_clamp).transpose()
}

/// The canonical name and form of a variable; its own name for what is unknown.
fn translate(name: &str, entry: &Entry) -> Result<(String, Entry), String> {
    let parts: Vec<&str> = name.split('.').collect();
    let same = |name: String| Ok((name, entry.clone()));
    match *parts.as_slice() {
        ["dlatent_avg"] => same("latent_avg".into()),
        ["mapping", "LabelEmbed", part] => dense(format!("embed.{part}"), part, entry),
        ["mapping", layer, part] => match number(layer, "Dense") {
            Some(i) => dense(format!("style.{}.{part}", i + 1), part, entry),
            None => same(name.to_owned()),
        },
        ["synthesis", "4x4", "Const", "const"] => same("input.input".into()),
        ["synthesis", noise] => match number(noise, "noise") {
            Some(i) => same(format!("noises.noise_{i}")),
            None => same(name.to_owned()),
        },
        ["synthesis", block, layer, part] => {
            match block_number(block).and_then(|block| layer_name(block, layer)) {
                Some(layer) => styled(&layer, part, entry, name),
                None => same(name.to_owned()),
            }
        }
        _ => same(name.to_owned()),
    }
}

/// A fully connected layer: `[in, out]` → `[out, in]`.
fn dense(name: String, part: &str, entry: &Entry) -> Result<(String, Entry), String> {
    let entry = entry.clone();
    Ok((name, if part == "weight" { entry.permuted(&[1, 0])? } else { entry }))
}

/// Where a layer of a block goes, and whether it doubles the resolution.
struct Layer {
    name: String,
    doubles: bool,
    to_rgb: bool,
}

fn layer_name(block: u32, layer: &str) -> Option<Layer> {
    let plain = |name: String| Layer { name, doubles: false, to_rgb: false };
    Some(match (block, layer) {
        (0, "Conv") => plain("conv1".into()),
        (0, "ToRGB") => Layer { to_rgb: true, ..plain("to_rgb1".into()) },
        (1.., "Conv0_up") => Layer { doubles: true, ..plain(format!("convs.{}", 2 * block - 2)) },
        (1.., "Conv1") => plain(format!("convs.{}", 2 * block - 1)),
        (1.., "ToRGB") => Layer { to_rgb: true, ..plain(format!("to_rgbs.{}", block - 1)) },
        _ => return None,
    })
}

/// A variable of a modulated convolution.
fn styled(layer: &Layer, part: &str, entry: &Entry, name: &str) -> Result<(String, Entry), String> {
    let place = |leaf: &str| format!("{}.{leaf}", layer.name);
    let entry = entry.clone();
    Ok(match part {
        "weight" => {
            // [kh, kw, in, out] → [1, out, in, kh, kw]; convolutions that double the resolution are stored turned.
            let turned = entry.permuted(&[3, 2, 0, 1])?;
            let turned = if layer.doubles { turned.flipped_last(2)? } else { turned };
            (place("conv.weight"), deeper(&turned, 1, 0)?)
        }
        "mod_weight" => (place("conv.modulation.weight"), entry.permuted(&[1, 0])?),
        // Stored around 0, used around 1.
        "mod_bias" => (place("conv.modulation.bias"), entry.plus(1.0)),
        "bias" if layer.to_rgb => (place("bias"), deeper(&entry, 1, 2)?),
        "bias" => (place("activate.bias"), entry),
        "noise_strength" => (place("noise.weight"), deeper(&entry, 1, 0)?),
        _ => (name.to_owned(), entry),
    })
}

/// `{r}x{r}` → log2(r / 4).
fn block_number(block: &str) -> Option<u32> {
    let (height, width) = block.split_once('x')?;
    let side = height.parse().ok().filter(|_| height == width)?;
    stylegan::block_number(side)
}
