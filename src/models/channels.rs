//! The channels of a generator's StyleSpace, measured once by `nada edit prepare`: statistics and CLIP responses.

use super::directions::{Directions, open_directions};
use crate::checkpoint::{self, save_safetensors};
use crate::edit::channels::Statistics;
use crate::error::{Error, Result};
use crate::torch::TensorMap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// What `format` says in the metadata.
const FORMAT: &str = "nada-channels";

/// A CLIP that watched the channels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChannelWitness {
    /// A shipped name, or the path of its file.
    pub name: String,
    /// SHA-256 of its file; empty in tables of the originals, which do not say.
    pub sha256: String,
    /// Its weight in the relevance of a channel.
    pub weight: f64,
}

/// What is known of a generator's channels.
#[derive(Debug)]
pub struct Channels {
    /// Mean and spread of each channel, colours included.
    pub statistics: Statistics,
    /// Who watched, and the responses `[channels, E]` of the convolutions' channels to each.
    pub responses: Vec<(ChannelWitness, Tensor)>,
    /// SHA-256 of the generator; the originals' tables do not say.
    pub generator_sha256: Option<String>,
    /// How it was measured, for reports and to see whether a measurement may go on.
    pub settings: BTreeMap<String, String>,
}

impl Channels {
    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = TensorMap::new();
        let lists = [("mean", &self.statistics.means), ("deviation", &self.statistics.deviations)];
        for (name, list) in lists {
            for (i, tensor) in list.iter().enumerate() {
                tensors.insert(format!("{name}/{i:02}"), tensor.shallow_clone());
            }
        }
        for (i, (_, table)) in self.responses.iter().enumerate() {
            tensors.insert(format!("responses/{i}"), table.shallow_clone());
        }
        let witnesses: Vec<&ChannelWitness> = self.responses.iter().map(|(w, _)| w).collect();
        let mut metadata = self.settings.clone();
        metadata.insert("format".into(), FORMAT.into());
        metadata.insert("nada".into(), env!("CARGO_PKG_VERSION").into());
        metadata.insert("clip".into(), serde_json::to_string(&witnesses).unwrap_or_default());
        metadata.extend(self.generator_sha256.clone().map(|sha| ("generator_sha256".into(), sha)));
        save_safetensors(path, &tensors, &metadata, Some(Kind::Float))
    }
}

/// Reads what [`Channels::save`] wrote.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a file that holds something else, or is incomplete.
pub fn open_channels(path: &Path) -> Result<Channels> {
    let file = checkpoint::open(path)?;
    let not_ours = || {
        Error::file_hint(
            path,
            "holds no measured channels",
            "`nada edit prepare` measures them; StyleCLIP's tables are given with --responses and --statistics",
        )
    };
    if file.metadata.get("format").is_none_or(|format| format != FORMAT) {
        return Err(not_ours());
    }
    let list = |name: &str| -> Result<Vec<Tensor>> {
        let own = file.entries.iter().filter(|(key, _)| key.starts_with(name));
        own.map(|(_, entry)| entry.tensor()).collect()
    };
    let witnesses: Vec<ChannelWitness> = file
        .metadata
        .get("clip")
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(not_ours)?;
    let tables = list("responses/")?;
    let (means, deviations) = (list("mean/")?, list("deviation/")?);
    let finite = |t: &Tensor| t.isfinite().all().int64_value(&[]) != 0;
    let whole = !witnesses.is_empty()
        && tables.len() == witnesses.len()
        && tables.iter().all(|t| t.dim() == 2)
        && means.len() == deviations.len()
        && means.iter().chain(&deviations).chain(&tables).all(finite);
    if !whole {
        return Err(Error::file_hint(
            path,
            "is incomplete, or holds numbers that are not finite",
            "measure the channels again with `nada edit prepare --force`",
        ));
    }
    Ok(Channels {
        statistics: Statistics { means, deviations },
        responses: witnesses.into_iter().zip(tables).collect(),
        generator_sha256: file.metadata.get("generator_sha256").cloned(),
        settings: file.metadata,
    })
}

/// Reads StyleCLIP's tables, `fs3.npy` and `S_mean_std`; `clip` is the CLIP that they were made with (ViT-B/32 as a
/// rule): they do not say.
///
/// # Errors
/// As [`open_directions`]; [`Error::File`] when a file holds something else.
pub fn open_original_channels(responses: &Path, statistics: &Path, clip: &str) -> Result<Channels> {
    let Directions::Responses(table) = open_directions(responses)? else {
        return Err(Error::file(responses, "holds no responses of channels (`fs3.npy`)"));
    };
    let Directions::Statistics { means, deviations } = open_directions(statistics)? else {
        return Err(Error::file(statistics, "holds no statistics of style codes (`S_mean_std`)"));
    };
    let witness = ChannelWitness { name: clip.into(), sha256: String::new(), weight: 1.0 };
    Ok(Channels {
        statistics: Statistics { means, deviations },
        responses: vec![(witness, table)],
        generator_sha256: None,
        settings: BTreeMap::new(),
    })
}
