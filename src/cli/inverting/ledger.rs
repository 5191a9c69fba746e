//! What was done already: `inversion.json` or `translation.json` of an output folder.
//!
//! It is rewritten after every batch, so that a command that was stopped goes on where it was, and it tells later what
//! the results were made with.

use crate::atomic;
use crate::error::{Error, Result};
use crate::models::Origin;
use crate::regular;
use crate::run_dir;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Weights {
    pub(in crate::cli) role: String,
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) sha256: String,
}

impl Weights {
    pub(in crate::cli) fn of(role: &str, origin: &Origin) -> Self {
        Self { role: role.into(), path: origin.path.clone(), sha256: origin.sha256.clone() }
    }

    pub(in crate::cli) fn of_file(role: &str, path: &Path) -> Result<Self> {
        let sha256 = crate::checkpoint::sha256(path)?;
        Ok(Self { role: role.into(), path: path.into(), sha256 })
    }
}

/// All that an output folder holds.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Ledger {
    /// The program.
    nada: String,
    /// Where and with what it ran.
    device: String,
    platform: String,
    /// When it was begun, RFC 3339, UTC.
    started: String,
    /// What decides the codes; results of other settings are not mixed with these.
    pub(in crate::cli) settings: BTreeMap<String, String>,
    pub(in crate::cli) weights: Vec<Weights>,
    /// By the paths of the photos.
    pub(in crate::cli) photos: BTreeMap<String, PhotoRecord>,
}

/// A photo that was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct PhotoRecord {
    /// What its results are called.
    pub(in crate::cli) name: String,
    pub(in crate::cli) sha256: String,
    pub(in crate::cli) faces: Vec<FaceRecord>,
}

/// A face, or another piece of a photo.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct FaceRecord {
    /// The folder of its files.
    pub(in crate::cli) name: String,
    /// Its results on the way.
    pub(in crate::cli) stages: Vec<StageRecord>,
    /// The pictures in other domains: the name of the file, and the hash of the generator that made it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::cli) domains: BTreeMap<String, String>,
}

/// A result on the way, and how far it is from the photo.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::cli) struct StageRecord {
    pub(in crate::cli) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) pixel: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) perceptual: Option<f64>,
}

impl Ledger {
    pub(in crate::cli) fn new(
        settings: BTreeMap<String, String>,
        weights: Vec<Weights>,
        device: tch::Device,
    ) -> Self {
        let manifest = run_dir::Manifest::new();
        Self {
            nada: manifest.nada,
            device: crate::torch::device_name(device),
            platform: manifest.platform,
            started: manifest.started,
            settings,
            weights,
            photos: BTreeMap::new(),
        }
    }

    /// The ledger of a folder, if there is one.
    ///
    /// # Errors
    /// [`Error::File`] when it is damaged.
    pub(in crate::cli) fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let ledger = serde_json::from_str(&regular::text(path, "a list of photos")?);
        let hint = "choose another folder, or begin again with `--force`";
        ledger.map(Some).map_err(|e| Error::file_hint(path, e, hint))
    }

    /// Writes it whole.
    pub(in crate::cli) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(path, e))?;
        atomic::write(path, text + "\n")
    }

    /// What the photos that were done are called, by their paths.
    pub(in crate::cli) fn names(&self) -> BTreeMap<PathBuf, String> {
        self.photos.iter().map(|(path, record)| (path.into(), record.name.clone())).collect()
    }

    /// What differs from the settings and weights of `wanted`, in words.
    pub(in crate::cli) fn differs_from(&self, wanted: &Self) -> Option<String> {
        let value = |of: &Self, key: &str| of.settings.get(key).cloned().unwrap_or_default();
        let keys = self.settings.keys().chain(wanted.settings.keys());
        for key in keys {
            let (was, is) = (value(self, key), value(wanted, key));
            if was != is {
                return Some(format!("`{key}` was `{was}`, now it is `{is}`"));
            }
        }
        let hashes = |of: &Self| {
            of.weights.iter().map(|w| (w.role.clone(), w.sha256.clone())).collect::<Vec<_>>()
        };
        let (was, is) = (hashes(self), hashes(wanted));
        let other =
            is.iter().find(|w| !was.contains(w)).or_else(|| was.iter().find(|w| !is.contains(w)));
        other.map(|(role, _)| format!("the {role} was another one"))
    }
}
