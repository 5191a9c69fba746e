//! Checkpoints in several files, as Hugging Face writes large ones: `model.safetensors.index.json` says in its
//! `weight_map` which tensor lies in which of the files beside it.

use super::bytes::Bytes;
use super::{Checkpoint, hash};
use crate::error::{Error, IoContext, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of an index. Ten thousand tensors take one million.
const MAX_INDEX: u64 = 8 << 20;
/// The largest models of all come in some hundred files.
const MAX_SHARDS: usize = 1024;

/// An index that was read.
pub(super) struct Index {
    /// Its own file.
    pub(super) path: PathBuf,
    /// The tensors in each file beside it.
    shards: BTreeMap<String, BTreeSet<String>>,
}

impl Index {
    /// The index that `path` is, or the one beside it that lists it.
    ///
    /// # Errors
    /// [`Error::File`] for an index that cannot be used.
    pub(super) fn find(path: &Path) -> Result<Option<Self>> {
        if let Some(beside) = beside(path)
            && let Some(index) = Self::read(&beside)?
        {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            return Ok(Some(index).filter(|index| index.shards.contains_key(name)));
        }
        Self::read(path)
    }

    /// Told by its content: JSON with a `weight_map`.
    fn read(path: &Path) -> Result<Option<Self>> {
        if !std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() <= MAX_INDEX) {
            return Ok(None);
        }
        let mut head = Vec::new();
        let file = std::fs::File::open(path).while_doing("read", path)?;
        file.take(64).read_to_end(&mut head).while_doing("read", path)?;
        if !head.trim_ascii_start().starts_with(b"{") {
            return Ok(None);
        }
        let text = std::fs::read(path).while_doing("read", path)?;
        let Ok(json) = serde_json::from_slice::<Value>(&text) else { return Ok(None) };
        let Some(map) = json.get("weight_map") else { return Ok(None) };
        let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (tensor, file) in map.as_object().into_iter().flatten() {
            let file = file.as_str().filter(|file| is_plain(file)).ok_or_else(|| {
                let message =
                    format!("says that `{tensor}` lies in {file}, which is no file beside it");
                Error::file(path, message)
            })?;
            shards.entry(file.to_owned()).or_default().insert(tensor.clone());
        }
        if shards.is_empty() || shards.len() > MAX_SHARDS {
            let message =
                format!("lists {} files of tensors, expected 1 to {MAX_SHARDS}", shards.len());
            return Err(Error::file(path, message));
        }
        Ok(Some(Self { path: path.to_path_buf(), shards }))
    }

    /// Every file that it lists.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.shards.keys().map(|name| self.path.with_file_name(name)).collect()
    }

    /// All that it lists, as one checkpoint.
    pub(super) fn open(&self) -> Result<Checkpoint> {
        let mut whole: Option<Checkpoint> = None;
        for ((name, tensors), path) in self.shards.iter().zip(self.files()) {
            self.check(name, &path)?;
            let mut part = super::read_table(&Bytes::map(&path)?)?;
            let lacking = tensors.iter().find(|tensor| !part.entries.contains_key(*tensor));
            if let Some(tensor) = lacking {
                return Err(Error::file_hint(
                    &path,
                    format!(
                        "does not hold `{tensor}`, which `{}` says is in it",
                        self.path.display()
                    ),
                    "the files belong to different models, or one is damaged: fetch them again",
                ));
            }
            part.entries.retain(|tensor, _| tensors.contains(tensor));
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => {
                    whole.entries.append(&mut part.entries);
                    whole.others.append(&mut part.others);
                    whole.metadata.append(&mut part.metadata);
                    whole.bytes = whole.bytes.saturating_add(part.bytes);
                }
            }
        }
        let mut whole = whole.ok_or_else(|| Error::file(&self.path, "lists no files"))?;
        whole.path.clone_from(&self.path);
        whole.whole = super::pickle::count(whole.entries.len(), "tensor");
        Ok(whole)
    }

    fn check(&self, name: &str, path: &Path) -> Result<()> {
        match std::fs::metadata(path) {
            Ok(about) if about.is_file() => Ok(()),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).while_doing("read", path),
            _ => Err(Error::file_hint(
                &self.path,
                format!("lists `{name}`, which does not lie beside it"),
                format!("fetch all {} files of the model into one folder", self.shards.len()),
            )),
        }
    }

    /// The hash of the hashes of all files, whichever of them was named.
    pub(super) fn sha256(&self) -> Result<String> {
        let mut hashes = Vec::new();
        for ((name, _), path) in self.shards.iter().zip(self.files()) {
            self.check(name, &path)?;
            hashes.push(hash::of_file(&path)?);
        }
        Ok(hash::sha256_of(hashes.join("+")))
    }
}

/// `model-00001-of-00003.safetensors` belongs to `model.safetensors.index.json`.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (stem, ending) = name.rsplit_once('.')?;
    let (rest, total) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(total) && digits(number))
        .then(|| path.with_file_name(format!("{stem}.{ending}.index.json")))
}

/// A name that does not lead out of the folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && ![".", ".."].contains(&name)
        && !name.contains(['/', '\\', '\0', ':'])
}
