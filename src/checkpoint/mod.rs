//! From bytes to named tensors, safely.
//!
//! [`open`] tells a file by its content, never by its name, and lists the tensors in it; nothing but the table is
//! read until [`Entry::tensor`] asks for numbers. [`dialect`] then says which network it is and gives one canonical
//! naming, and [`fill()`] makes a complete, typed set of tensors for a model, or one report with everything that is
//! wrong. [`save_safetensors`] and [`save_torch`] are the ways back.
//!
//! No file can run code: pickles are read as data, see `unpickle`. Every length, shape, stride and offset is
//! checked against what the file holds before it is used.
//!
//! Names of nested dictionaries are joined by `/`, dots inside keys stay: `g_ema/style.1.weight`, `latent_avg`.

pub mod address;
mod archive;
mod bytes;
mod delta;
pub mod dialect;
mod entry;
mod fill;
mod finite;
mod flatten;
mod hash;
mod modules;
mod ndarray;
mod network_pickle;
mod npy;
mod npz;
mod pickle;
mod pickle_writer;
mod safetensors_file;
mod salvage;
mod shards;
mod sniff;
mod storage;
mod storage_ref;
mod torch_file;
mod torch_tar;
mod unpickle;
mod write;
mod write_torch;

pub use address::Address;
pub use delta::{DELTA_FORMAT, apply_delta, delta};
pub use dialect::{Contents, Named, Network, Part, clip, encoder, generator, mapper, recognise};
pub use entry::Entry;
pub use fill::{Report, check, fill, read};
pub use finite::NotFinite;
pub use hash::{sha256, sha256_of};
pub use npy::save_npy;
pub(crate) use pickle_writer::PickleWriter;
pub use salvage::{Salvage, salvage};
pub use write::{save_in_pieces, save_safetensors};
pub(crate) use write_torch::Archive;
pub use write_torch::{Item, save_torch};

use crate::error::{Error, IoContext, Result};
use bytes::Bytes;
use shards::Index;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The sum of all tensors of a file, written out, may be so many times its length.
const MAX_TOTAL_EXPANSION: u64 = 16;
/// Sums below this many bytes are never refused.
const SMALL_TOTAL: u64 = 64 << 20;

/// The most bytes that a file of that length may become in memory: its tensors written out, or its compressed members.
fn unpacked_limit(length: u64) -> u64 {
    length.saturating_mul(MAX_TOTAL_EXPANSION).max(SMALL_TOTAL)
}

/// How a file packs its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Container {
    /// `.safetensors`.
    Safetensors,
    /// `torch.save` since 1.6: a zip archive.
    TorchZip,
    /// `torch.save` before 1.6: a stream of pickles.
    TorchLegacy,
    /// `torch.save` before 0.1.10: a tar archive.
    TorchTar,
    /// `torch.jit.save`: a zip archive with code, of which only the tensors are read.
    TorchScript,
    /// NVIDIA's pickle of PyTorch networks: stylegan2-ada-pytorch and the stylegan3 repository.
    NvidiaTorch,
    /// NVIDIA's pickle of TensorFlow networks: stylegan2 and stylegan2-ada. The slashes in the names of their
    /// variables are dots here.
    NvidiaTensorFlow,
    /// A pickle of NumPy's arrays in lists or dictionaries; directions travel so.
    NumpyPickle,
    /// `.npy`: one array, called `array` here, or pickled lists and dictionaries of them. Latents travel so, networks
    /// do not.
    Npy,
    /// `.npz`: NumPy's arrays by name.
    Npz,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "torch (zip)",
            Self::TorchLegacy => "torch (legacy, before 1.6)",
            Self::TorchTar => "torch (tar, before 0.1.10)",
            Self::TorchScript => "TorchScript",
            Self::NvidiaTorch => "network pickle (NVIDIA, PyTorch)",
            Self::NvidiaTensorFlow => "network pickle (NVIDIA, TensorFlow)",
            Self::NumpyPickle => "pickle (NumPy arrays)",
            Self::Npy => "NumPy array",
            Self::Npz => "NumPy archive",
        })
    }
}

/// What a reader of one container gives.
struct Parts {
    container: Container,
    metadata: BTreeMap<String, String>,
    whole: String,
    named: flatten::Named,
}

/// An opened file: the table of its tensors. The file stays mapped while this or any [`Entry`] of it lives.
#[derive(Debug)]
pub struct Checkpoint {
    /// Where it was read from.
    pub path: PathBuf,
    /// How it is packed.
    pub container: Container,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// What the file says about itself: the metadata of safetensors, `torch.version` of a zip, `written_by` of a
    /// network pickle.
    pub metadata: BTreeMap<String, String>,
    /// A few words about the outermost value: "dictionary of 2 items".
    pub whole: String,
    /// The tensors by name.
    pub entries: BTreeMap<String, Entry>,
    /// Everything that is no tensor, described in a few words: numbers and short texts are spelt out, texts in quotes.
    pub others: BTreeMap<String, String>,
    /// The names of the tensors as they follow each other; empty where the file does not say.
    order: Vec<String>,
    /// What of it was asked for, as `FILE#KEY`; the names above are those behind the key then.
    pub chosen: Option<Chosen>,
}

/// The part of a file that was asked for, and what the rest says about it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its key, with what parts it from the names below; empty for the top level.
    pub key: String,
    /// Tensors beside and above it that may be the mean latent that belongs to it, by their full names.
    pub(crate) averages: BTreeMap<String, Entry>,
    /// All that is no tensor, by full names.
    pub(crate) others: BTreeMap<String, String>,
}

impl Checkpoint {
    /// The tensors as they follow each other in the file; where it does not say, by name, with numbers as numbers.
    pub fn in_order(&self) -> Vec<(&str, &Entry)> {
        if self.order.len() == self.entries.len() {
            let each = self.order.iter().filter_map(|name| self.entries.get_key_value(name));
            return each.map(|(name, entry)| (name.as_str(), entry)).collect();
        }
        let mut all: Vec<_> = self.entries.iter().map(|(name, e)| (name.as_str(), e)).collect();
        all.sort_by_cached_key(|(name, _)| natural(name));
        all
    }

    /// Whether this is only what an adapted generator changed: no generator without its base.
    pub fn is_delta(&self) -> bool {
        self.metadata.get("format").is_some_and(|format| format == DELTA_FORMAT)
    }
}

/// Opens a checkpoint of any container that is known, told by its content: a file, one network in it (`FILE#KEY`), or
/// one of several files with an index beside them, which then are one checkpoint.
///
/// Only the table is read. A file with no tensors opens, so that it can be inspected; what is wanted of it is
/// checked by [`generator`], [`clip()`] and [`fill()`].
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`Error::File`] with what was found when it is a folder, empty, cut off,
/// of a kind that is not supported, or inconsistent; [`Error::Request`] for a key that is not in it.
pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = path.as_ref();
    let Address { file, key } = Address::of(path);
    let checkpoint = open_whole(&file)?;
    let Some(key) = key else { return Ok(checkpoint) };
    let mut part = dialect::narrowed(checkpoint, &key)?;
    part.path = path.to_path_buf();
    Ok(part)
}

/// Every file that a path stands for: several where an index lists them.
///
/// # Errors
/// [`Error::File`] for an index that cannot be used.
pub fn files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let file = Address::of(path.as_ref()).file;
    Ok(match Index::find(&file)? {
        Some(index) => [vec![index.path.clone()], index.files()].concat(),
        None => vec![file],
    })
}

fn open_whole(path: &Path) -> Result<Checkpoint> {
    let about = std::fs::metadata(path).while_doing("read", path)?;
    if about.is_dir() {
        return Err(Error::file_hint(
            path,
            "is a folder, a checkpoint file is expected",
            "name the file inside it",
        ));
    }
    if !about.is_file() {
        return Err(Error::file(path, "is not a regular file, a checkpoint file is expected"));
    }
    if let Some(index) = Index::find(path)? {
        return index.open();
    }
    read_table(&Bytes::map(path)?)
}

/// As [`open`], from memory; `path` is used in messages only.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Checkpoint> {
    read_table(&Bytes::held(path.as_ref(), bytes))
}

fn read_table(bytes: &Bytes) -> Result<Checkpoint> {
    let parts = match sniff::container(bytes)? {
        Container::Safetensors => safetensors_file::read(bytes)?,
        Container::TorchLegacy => torch_file::read_legacy(bytes)?,
        Container::TorchTar => torch_tar::read(bytes)?,
        Container::Npy => npy::read(bytes)?,
        Container::NvidiaTorch | Container::NvidiaTensorFlow | Container::NumpyPickle => {
            network_pickle::read(bytes)?
        }
        Container::TorchZip | Container::TorchScript | Container::Npz => {
            torch_file::read_zip(bytes)?
        }
    };
    let length = bytes.len() as u64;
    // Single views were limited one by one; this keeps many of them from adding up.
    let total =
        parts.named.entries.values().map(|e| e.byte_len() as u64).fold(0, u64::saturating_add);
    if total > unpacked_limit(length) {
        return Err(
            bytes.fault(format!("its tensors claim {total} bytes, but the file has {length}"))
        );
    }
    Ok(Checkpoint {
        path: bytes.path().to_path_buf(),
        container: parts.container,
        bytes: length,
        metadata: parts.metadata,
        whole: parts.whole,
        entries: parts.named.entries,
        others: parts.named.others,
        order: parts.named.order,
        chosen: None,
    })
}

/// A key that sorts `img2` before `img10`: texts and numbers in turn.
fn natural(name: &str) -> Vec<(String, usize, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(digit);
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        let number = number.trim_start_matches('0');
        parts.push((text.to_owned(), number.len(), number.to_owned()));
        rest = after;
    }
    parts
}
