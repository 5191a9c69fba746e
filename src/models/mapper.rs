//! A latent mapper from its file: ours, or one that StyleCLIP or StyleGAN-NADA trained.

use super::{Origin, in_file};
use crate::checkpoint::{self, Report};
use crate::edit::mapper::{LevelsMapper, Normalise};
use crate::error::{Error, Result};
use crate::stylegan2::Config;
use crate::torch::{TensorMap, catch, copy_map};
use std::path::Path;
use tch::{Device, Kind};

/// What `format` says in the metadata of a mapper's file.
pub const MAPPER_FORMAT: &str = "nada-mapper";
/// s of ŵ = w + s·M(w) in the originals' code.
const USUAL_STRENGTH: f64 = 0.1;

/// A mapper and what its file says about it.
#[derive(Debug)]
pub struct StoredMapper {
    /// The network.
    pub mapper: LevelsMapper,
    /// s of ŵ = w + s·M(w), as it was trained.
    pub strength: f64,
    /// What it leads to, in words.
    pub target: Option<String>,
    /// SHA-256 of the generator that it was trained with; the originals' files do not say.
    pub generator_sha256: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads a mapper for a generator. Files of StyleCLIP and StyleGAN-NADA are read too.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a file that holds something else; [`Error::Tensors`] for an incomplete mapper or
/// one of another width; [`Error::Request`] for one of another number of style inputs.
pub fn open_mapper(
    path: &Path,
    generator: &Config,
    kind: Kind,
    device: Device,
) -> Result<StoredMapper> {
    let file = checkpoint::open(path)?;
    let ours = file.metadata.get("format").is_some_and(|format| format == MAPPER_FORMAT);
    let named = checkpoint::mapper(&file)?;
    let mut tensors = TensorMap::new();
    for (name, entry) in &named.entries {
        if name.contains("_mapping.mapping.") {
            tensors.insert(name.clone(), entry.tensor()?);
        }
    }
    if tensors.is_empty() {
        return Err(Error::file_hint(
            path,
            "holds no latent mapper of the kind that is supported: one with `course_mapping.mapping.…`",
            "`nada mapper` trains one",
        ));
    }
    let styles = generator.num_styles();
    let number = |key: &str| file.metadata.get(key).and_then(|text| text.parse::<f64>().ok());
    let damaged = |key: &str| {
        Error::file_hint(path, format!("does not say its `{key}`"), "it is damaged: train it again")
    };
    let (normalise, strength) = match ours {
        true => (
            file.metadata
                .get("normalise")
                .and_then(|name| Normalise::of_name(name))
                .ok_or_else(|| damaged("normalise"))?,
            number("strength").filter(|s| s.is_finite()).ok_or_else(|| damaged("strength"))?,
        ),
        false => (Normalise::Layers, USUAL_STRENGTH),
    };
    if let Some(own) = number("styles").filter(|own| *own != styles as f64) {
        return Err(Error::request(
            format!(
                "the mapper `{}` is for a generator with {own} style inputs, this one has {styles}",
                path.display()
            ),
            "use it with the generator that it was trained with, or train one with `nada mapper`",
        ));
    }
    let shape = (styles, generator.style_dim);
    let mapper = catch("reading the mapper", || {
        LevelsMapper::from_tensors(&copy_map(&tensors, device, kind), shape, normalise)
    })
    .map_err(|e| in_file(e, path))?;
    let finite = |t: &tch::Tensor| t.isfinite().all().int64_value(&[]) != 0;
    if !mapper.params().values().all(finite) {
        return Err(Error::file(path, "holds numbers that are not finite"));
    }
    let report = Report { applied: mapper.params().keys().cloned().collect(), ..Report::default() };
    let say = |key: &str| file.metadata.get(key).cloned();
    Ok(StoredMapper {
        mapper,
        strength,
        target: say("target"),
        generator_sha256: say("generator_sha256"),
        origin: Origin::new(path, file.metadata.clone(), report)?,
    })
}
