//! Settings that belong together, inside the binary: `presets/*.yaml`, and `presets/mapper/*.yaml` for mappers.

use super::{did_you_mean, quoted};
use crate::error::{Error, Result};

/// `presets/*.yaml`, listed by `build.rs`: `default` first, then by name.
const PRESETS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// `presets/mapper/*.yaml`: settings of `nada mapper` and `nada edit mapper`.
const MAPPER_PRESETS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/mapper_presets.rs"));

/// What may stand before the name of a mapper's preset, and does in lists of all presets.
pub const OF_MAPPER: &str = "mapper/";

/// Every preset with its YAML text.
pub fn presets() -> &'static [(&'static str, &'static str)] {
    PRESETS
}

/// Every preset of `nada mapper`, without [`OF_MAPPER`].
pub fn mapper_presets() -> &'static [(&'static str, &'static str)] {
    MAPPER_PRESETS
}

/// The YAML text of a preset of `nada mapper`, named with or without [`OF_MAPPER`].
///
/// # Errors
/// As [`preset`].
pub fn mapper_preset(name: &str) -> Result<&'static str> {
    find(MAPPER_PRESETS, name.strip_prefix(OF_MAPPER).unwrap_or(name), " of a mapper")
}

/// The YAML text of a preset.
///
/// # Errors
/// [`Error::Request`] with the names that there are, near ones first.
pub fn preset(name: &str) -> Result<&'static str> {
    find(PRESETS, name, "")
}

fn find(presets: &[(&str, &'static str)], name: &str, of: &str) -> Result<&'static str> {
    if let Some((_, text)) = presets.iter().find(|(known, _)| *known == name) {
        return Ok(text);
    }
    let names = || presets.iter().map(|(name, _)| *name);
    Err(Error::request(
        format!("there is no preset `{name}`{of}{}", did_you_mean(name, names())),
        format!("the presets{of} are {}", quoted(names())),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::text;
    use super::*;
    use crate::config::MapperConfig;
    use crate::config::layering::{Layered, Layers};

    #[test]
    fn every_preset_can_be_read_and_default_is_first() {
        assert_eq!(presets()[0].0, "default");
        for (name, text) in presets() {
            Layered::default().overlay_yaml(text, name).unwrap();
            assert_eq!(preset(name).unwrap(), *text);
        }
        let message = text(&preset("defualt").unwrap_err());
        assert!(message.contains("did you mean `default`?"), "{message}");
        assert_eq!(mapper_presets()[0].0, "default");
        for (name, text) in mapper_presets() {
            Layers::<MapperConfig>::default().overlay_yaml(text, name).unwrap();
            assert_eq!(mapper_preset(&format!("mapper/{name}")).unwrap(), *text);
        }
        let message = text(&mapper_preset("sketch").unwrap_err());
        assert!(message.contains("the presets of a mapper are `default`, `edit`"), "{message}");
    }
}
