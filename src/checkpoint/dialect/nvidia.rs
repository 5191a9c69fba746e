//! NVIDIA's names of a StyleGAN2 generator in PyTorch (stylegan2-ada-pytorch, the stylegan3 repository) →
//! rosinality's (reference §2.3). The numbers are the same: neither convolutions nor scales differ.

use super::Group;
use super::stylegan::{Translated, block_number, conv_clamp, deeper, number, only_skip};
use crate::checkpoint::Entry;
use std::collections::BTreeSet;

/// Whether these names are a StyleGAN2 generator's.
pub(super) fn is_generator(names: &BTreeSet<&str>) -> bool {
    let any = |start: &str| names.range(start..).next().is_some_and(|name| name.starts_with(start));
    !any("synthesis.input.")
        && !any("synthesis.L0_")
        && (any("synthesis.b4.") || any("mapping.fc0."))
}

/// Whether these names are a discriminator's, StyleGAN3's included, which has the same.
pub(super) fn is_discriminator(names: &BTreeSet<&str>) -> bool {
    names.contains("b4.out.weight")
        || (names.contains("b4.fc.weight") && names.contains("b4.conv.weight"))
}

/// The tensors under canonical names, with `conv_clamp`. `about` gives what the file says about a module's attribute.
///
/// # Errors
/// Why this generator cannot be used.
pub(super) fn canonical<'a>(
    group: &Group<'_>,
    about: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<Translated, String> {
    let clamp = check(group, about)?;
    let mut translated = Translated::default();
    for (&name, &entry) in group {
        if let Some((name, entry)) = translate(name, entry)? {
            translated.insert(name, entry)?;
        }
    }
    translated.conv_clamp = clamp;
    Ok(translated)
}

/// Refuses what would be drawn wrongly; gives the bound on what convolutions put out.
fn check<'a>(
    group: &Group<'_>,
    about: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<Option<f64>, String> {
    let modules: BTreeSet<&str> =
        group.keys().filter_map(|name| name.rsplit_once('.')).map(|(module, _)| module).collect();
    let has = |module: &str| modules.contains(module);
    for &module in &modules {
        if module.starts_with("synthesis.b") && module.ends_with(".skip") {
            only_skip("resnet")?;
        }
        let block = module.strip_suffix(".conv1").filter(|&block| block != "synthesis.b4");
        // The smallest block is alike in all architectures.
        if let Some(said) = block.and_then(|block| about(&format!("{block}.architecture"))) {
            only_skip(said)?;
        }
    }
    if has("synthesis.b4.conv1") && has("synthesis.b8.conv1") && !has("synthesis.b4.torgb") {
        only_skip("orig")?;
    }
    let mut clamps: BTreeSet<Option<&str>> = BTreeSet::new();
    for &module in &modules {
        let layer = module.rsplit('.').next().unwrap_or_default();
        let attribute = |name: &str| about(&format!("{module}.{name}"));
        let convolves = module.starts_with("synthesis.") && ["conv0", "conv1"].contains(&layer);
        let maps = module.starts_with("mapping.fc");
        if convolves || maps {
            expect(module, "activation", attribute("activation"), "\"lrelu\"")?;
        }
        if maps {
            expect(module, "bias_gain", attribute("bias_gain"), "0.01")?;
        }
        if convolves {
            expect(module, "use_noise", attribute("use_noise"), "true")?;
        }
        if convolves || (module.starts_with("synthesis.") && layer == "torgb") {
            clamps.insert(attribute("conv_clamp").filter(|&clamp| clamp != "none"));
        }
    }
    match Vec::from_iter(clamps).as_slice() {
        [] => Ok(None),
        [clamp] => clamp.map(conv_clamp).transpose(),
        _ => Err("the layers of the generator are clamped differently (`conv_clamp`)".into()),
    }
}

/// An attribute that must be as in StyleGAN2, where the file tells it at all.
fn expect(module: &str, name: &str, found: Option<&str>, wanted: &str) -> Result<(), String> {
    match found {
        Some(found) if found != wanted => {
            Err(format!("`{module}.{name}` is {found}; only {wanted} is supported"))
        }
        _ => Ok(()),
    }
}

/// The canonical name and form of a tensor; its own name for what is unknown, `None` for what is not needed.
fn translate(name: &str, entry: &Entry) -> Result<Option<(String, Entry)>, String> {
    let parts: Vec<&str> = name.split('.').collect();
    let same = |name: String| Ok(Some((name, entry.clone())));
    let leaf = |leaf: &str| ["weight", "bias"].contains(&leaf);
    match *parts.as_slice() {
        ["mapping", "w_avg"] => same("latent_avg".into()),
        ["mapping", "embed", part] if leaf(part) => same(format!("embed.{part}")),
        ["mapping", layer, part] if leaf(part) => match number(layer, "fc") {
            Some(i) => same(format!("style.{}.{part}", i + 1)),
            None => same(name.to_owned()),
        },
        ["synthesis", "b4", "const"] => Ok(Some(("input.input".into(), deeper(entry, 1, 0)?))),
        ["synthesis", block, ref rest @ ..] => match number(block, "b").and_then(block_number) {
            Some(block) => synthesis(block, rest, entry, name),
            None => same(name.to_owned()),
        },
        _ => same(name.to_owned()),
    }
}

/// A tensor of the block with that number.
fn synthesis(
    block: u32,
    rest: &[&str],
    entry: &Entry,
    name: &str,
) -> Result<Option<(String, Entry)>, String> {
    let to_rgb = block.checked_sub(1).map_or("to_rgb1".into(), |b| format!("to_rgbs.{b}"));
    // The first convolution of a block, where there is one, doubles the resolution.
    let conv = |which: &str| match (block, which) {
        (0, "conv1") => Some("conv1".to_owned()),
        (1.., "conv0") => Some(format!("convs.{}", 2 * block - 2)),
        (1.., "conv1") => Some(format!("convs.{}", 2 * block - 1)),
        _ => None,
    };
    let noise = |which: &str| match (block, which) {
        (0, _) => 0,
        (_, "conv0") => 2 * block - 1,
        _ => 2 * block,
    };
    let found = match *rest {
        ["resample_filter"] if block == 0 => return Ok(None),
        ["resample_filter"] => (format!("{to_rgb}.upsample.kernel"), filter(entry)?),
        ["torgb", "weight"] => (format!("{to_rgb}.conv.weight"), deeper(entry, 1, 0)?),
        ["torgb", "bias"] => (format!("{to_rgb}.bias"), deeper(entry, 1, 2)?),
        ["torgb", "affine", part] => (format!("{to_rgb}.conv.modulation.{part}"), entry.clone()),
        [which, ref rest @ ..] => {
            let Some(conv) = conv(which) else { return Ok(Some((name.to_owned(), entry.clone()))) };
            match *rest {
                ["weight"] => (format!("{conv}.conv.weight"), deeper(entry, 1, 0)?),
                ["bias"] => (format!("{conv}.activate.bias"), entry.clone()),
                ["affine", part] => (format!("{conv}.conv.modulation.{part}"), entry.clone()),
                ["noise_strength"] => (format!("{conv}.noise.weight"), deeper(entry, 1, 0)?),
                ["noise_const"] => (format!("noises.noise_{}", noise(which)), deeper(entry, 2, 0)?),
                // Every layer has one; those that keep the resolution do not use it.
                ["resample_filter"] if which == "conv1" => return Ok(None),
                ["resample_filter"] => (format!("{conv}.conv.blur.kernel"), filter(entry)?),
                _ => (name.to_owned(), entry.clone()),
            }
        }
        [] => (name.to_owned(), entry.clone()),
    };
    Ok(Some(found))
}

/// A filter of a doubling. It is stored with sum 1, and the gain is applied when it is used; from 8 taps on as one row
/// that serves both directions.
fn filter(entry: &Entry) -> Result<Entry, String> {
    let plane = if entry.shape().len() == 1 { entry.clone().squared()? } else { entry.clone() };
    Ok(plane.times(4.0))
}
