//! `snapshots/000050.safetensors`: what a run needs to go on after 50 updates.

use super::{Recorded, RunDir, config_hash};
use crate::checkpoint::{self, save_safetensors};
use crate::error::{Error, IoContext, Result};
use crate::stylegan2::LayerId;
use crate::torch::{self, TensorMap};
use flate2::Crc;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::Device;

const FORMAT: &str = "nada-snapshot";

/// A snapshot that was read back whole.
#[derive(Debug)]
pub struct Snapshot {
    /// The file.
    pub path: PathBuf,
    /// Updates made; the number of the next step.
    pub step: u64,
    /// The layers chosen last.
    pub layers: Vec<LayerId>,
    /// [`config_hash`] of the run's configuration.
    pub config: String,
    /// As `Adaptation::state` gave it, in the kinds it had, on the CPU.
    pub state: TensorMap,
}

/// The newest snapshot that is intact.
#[derive(Debug, Default)]
pub struct Latest {
    /// `None` when there is none.
    pub snapshot: Option<Snapshot>,
    /// Newer ones that are broken, each with the reason: a warning for the user.
    pub broken: Vec<String>,
}

impl Snapshot {
    /// Whether it belongs to a run of this configuration.
    ///
    /// # Errors
    /// [`Error::File`] when it does not.
    pub fn check_config<C: Recorded>(&self, config: &C) -> Result<()> {
        if self.config == config_hash(config) {
            return Ok(());
        }
        Err(Error::file_hint(
            &self.path,
            "was made with another configuration than the run's `config.yaml`",
            "undo the change in `config.yaml`, or remove this snapshot to go on from an earlier one",
        ))
    }
}

impl RunDir {
    /// Saves the state after `step` updates, whole and down to the disk, then removes all but the `keep` newest.
    ///
    /// Later ones are removed too: they are broken, or belong to a course that this run has left.
    ///
    /// # Errors
    /// [`Error::Io`] that names the path, and the bytes needed when the disk is full; earlier snapshots stay then.
    pub fn save_snapshot<C: Recorded>(
        &self,
        step: u64,
        state: &TensorMap,
        layers: &[LayerId],
        config: &C,
        keep: usize,
    ) -> Result<PathBuf> {
        let folder = self.snapshots_dir();
        std::fs::create_dir_all(&folder).while_doing("create", &folder)?;
        let path = folder.join(format!("{step:06}.safetensors"));
        let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
        let mut metadata: BTreeMap<String, String> = [
            ("format", FORMAT.into()),
            ("step", step.to_string()),
            ("layers", layers.join(" ")),
            ("config_sha256", config_hash(config)),
            ("nada", env!("CARGO_PKG_VERSION").into()),
        ]
        .map(|(key, value): (&str, String)| (key.into(), value))
        .into();
        metadata.insert("crc32".into(), checksum(state, &metadata)?);
        save_safetensors(&path, state, &metadata, None)?;
        let earlier = list(&folder).into_iter().filter(|(s, _)| *s != step);
        let (later, earlier): (Vec<_>, Vec<_>) = earlier.partition(|(s, _)| *s > step);
        let stale = earlier.into_iter().skip(keep.max(1) - 1);
        for (_, old) in later.into_iter().chain(stale) {
            std::fs::remove_file(&old).while_doing("remove", &old)?;
        }
        Ok(path)
    }

    /// The newest snapshot that can be read and whose checksum is right.
    pub fn latest_snapshot(&self) -> Latest {
        let mut latest = Latest::default();
        for (step, path) in list(&self.snapshots_dir()) {
            match read(&path, step) {
                Ok(snapshot) => {
                    latest.snapshot = Some(snapshot);
                    break;
                }
                Err(e) => latest.broken.push(e.to_string()),
            }
        }
        latest
    }
}

/// The snapshots in a folder, newest first.
fn list(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut found: Vec<(u64, PathBuf)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let name = entry.file_name();
            let stem = name.to_str()?.strip_suffix(".safetensors")?;
            Some((stem.parse().ok()?, path))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found
}

fn read(path: &Path, step: u64) -> Result<Snapshot> {
    let file = checkpoint::open(path)?;
    let field = |name: &str| {
        file.metadata.get(name).ok_or_else(|| {
            Error::file(path, format!("is no snapshot of nada: it does not say its `{name}`"))
        })
    };
    if field("format")? != FORMAT {
        return Err(Error::file(path, "is no snapshot of nada"));
    }
    if field("step")? != &step.to_string() {
        return Err(Error::file(path, format!("is a snapshot of step {}", field("step")?)));
    }
    let layers = field("layers")?.split_whitespace().map(str::parse).collect::<Result<_>>()?;
    let mut state = TensorMap::new();
    for (name, entry) in &file.entries {
        state.insert(name.clone(), entry.tensor()?);
    }
    if field("crc32")? != &checksum(&state, &file.metadata)? {
        return Err(Error::file(
            path,
            "is damaged: its numbers do not have the checksum it states",
        ));
    }
    Ok(Snapshot { path: path.into(), step, layers, config: field("config_sha256")?.clone(), state })
}

/// CRC-32 over everything in a snapshot: a header that is whole says nothing about the numbers after it.
fn checksum(state: &TensorMap, metadata: &BTreeMap<String, String>) -> Result<String> {
    let mut crc = Crc::new();
    for (key, value) in metadata.iter().filter(|(key, _)| *key != "crc32") {
        crc.update(format!("{key}={value}\n").as_bytes());
    }
    let mut buffer = Vec::new();
    for (name, tensor) in state {
        crc.update(format!("{name} {:?} {:?}\n", tensor.kind(), tensor.size()).as_bytes());
        torch::catch("reading a tensor", || {
            let plain = tensor.detach().to_device(Device::Cpu).contiguous();
            buffer.clear();
            buffer.resize(plain.numel() * plain.kind().elt_size_in_bytes(), 0);
            if plain.numel() > 0 {
                plain.copy_data_u8(&mut buffer, plain.numel());
            }
            Ok(())
        })?;
        crc.update(&buffer);
    }
    Ok(format!("{:08x}", crc.sum()))
}
