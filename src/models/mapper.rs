//! A latent mapper from its file: ours, or one that StyleCLIP or StyleGAN-NADA trained.

use super::{Origin, in_file, shapes};
use crate::checkpoint::{self, Entry, Named};
use crate::edit::mapper::{LevelsMapper, Normalise};
use crate::error::{Error, Result};
use crate::stylegan2::Config;
use crate::torch::{ShapeMap, catch};
use std::collections::BTreeMap;
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
    MapperTable::read(path, generator)?.open(kind, device)
}

/// A mapper of which only the table of its file was read: what it is, and that it fits a generator.
#[derive(Debug)]
pub struct MapperTable {
    named: Named,
    styles: i64,
    width: i64,
    normalise: Normalise,
    strength: f64,
}

impl MapperTable {
    /// Reads the table.
    ///
    /// # Errors
    /// As [`open_mapper`], but for what the numbers tell.
    pub fn read(path: &Path, generator: &Config) -> Result<Self> {
        let file = checkpoint::open(path)?;
        let ours = file.metadata.get("format").is_some_and(|format| format == MAPPER_FORMAT);
        let named = checkpoint::mapper(&file)?;
        let entries: BTreeMap<String, Entry> =
            named.entries.into_iter().filter(|(n, _)| n.contains("_mapping.mapping.")).collect();
        if entries.is_empty() {
            return Err(Error::file_hint(
                path,
                "holds no latent mapper of the kind that is supported: one with `course_mapping.mapping.…`",
                "`nada mapper` trains one",
            ));
        }
        let styles = generator.num_styles();
        let number = |key: &str| file.metadata.get(key).and_then(|text| text.parse::<f64>().ok());
        let damaged = |key: &str| {
            Error::file_hint(
                path,
                format!("does not say its `{key}`"),
                "it is damaged: train it again",
            )
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
        let named = Named { entries, metadata: file.metadata, origin: path.to_path_buf() };
        LevelsMapper::check(&shapes(&named), generator.style_dim).map_err(|e| in_file(e, path))?;
        Ok(Self { named, styles, width: generator.style_dim, normalise, strength })
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// [`Error::File`] for damaged data and numbers that are not finite.
    pub fn open(self, kind: Kind, device: Device) -> Result<StoredMapper> {
        let Self { named, styles, width, normalise, strength } = self;
        let path = &named.origin;
        let needed = shapes(&named);
        let (tensors, report) = catch("reading the mapper", || {
            checkpoint::fill("mapper", &needed, &ShapeMap::new(), &named, kind, device)
        })?;
        let mapper = LevelsMapper::from_tensors(&tensors, (styles, width), normalise)
            .map_err(|e| in_file(e, path))?;
        let say = |key: &str| named.metadata.get(key).cloned();
        Ok(StoredMapper {
            mapper,
            strength,
            target: say("target"),
            generator_sha256: say("generator_sha256"),
            origin: Origin::new(path, named.metadata.clone(), report)?,
        })
    }
}
