//! Writes torch's zip container: what `torch.save` writes since 1.6, and the frame of a TorchScript archive.
//!
//! The same tensors always give the same bytes.

use super::pickle_writer::PickleWriter;
use super::write::{bytes_of, is_float};
use crate::atomic::{self, with_size};
use crate::error::{Error, IoContext, Result};
use crate::torch::TensorMap;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use tch::{Kind, Tensor};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// torch aligns its numbers so, that they can be mapped into memory.
const ALIGNMENT: u16 = 64;
/// The folder that everything lies in; torch takes any.
const ROOT: &str = "archive";
/// Where our own metadata lie; torch reads `extra/` only when asked to.
pub(crate) const METADATA: &str = "extra/nada.json";

/// A value of the dictionary that a file holds.
#[derive(Debug, Clone, Copy)]
pub enum Item<'a> {
    /// One tensor.
    Tensor(&'a Tensor),
    /// Tensors by name: a state dictionary.
    State(&'a TensorMap),
}

/// Writes the dictionary `items` to `path`, whole or not at all, cast to `dtype` if one is given (floating point only):
/// for `torch.load(path, weights_only=True)` of any PyTorch since 1.6. `metadata` are kept where only `nada` looks.
///
/// # Errors
/// [`Error::Io`] that names the path, and the bytes needed when the disk is full.
pub fn save_torch(
    path: impl AsRef<Path>,
    items: &[(&str, Item<'_>)],
    metadata: &BTreeMap<String, String>,
    dtype: Option<Kind>,
) -> Result<()> {
    let kind = |tensor: &Tensor| kind_in(tensor, dtype);
    let mut tensors = Vec::new();
    let mut pickle = PickleWriter::new();
    let mut put = |p: &mut PickleWriter, tensor: &Tensor| {
        p.tensor(tensors.len(), kind(tensor), &tensor.size());
        tensors.push(tensor.shallow_clone());
    };
    pickle.dict(|p| {
        for (name, item) in items {
            p.text(name);
            match item {
                Item::Tensor(tensor) => put(p, tensor),
                Item::State(state) => p.ordered_dict(|p| {
                    for (name, tensor) in *state {
                        p.text(name);
                        put(p, tensor);
                    }
                }),
            }
        }
    });
    let archive = Archive { pickle: pickle.finish(), tensors, dtype, texts: Vec::new() };
    archive.save(path.as_ref(), metadata)
}

/// What lies in a container.
pub(crate) struct Archive {
    /// `data.pkl`, which refers to `tensors` by their number.
    pub(crate) pickle: Vec<u8>,
    /// The storages, each filled by one tensor.
    pub(crate) tensors: Vec<Tensor>,
    /// What floating point numbers are cast to.
    pub(crate) dtype: Option<Kind>,
    /// More members, by name.
    pub(crate) texts: Vec<(String, Vec<u8>)>,
}

impl Archive {
    /// Writes the container, one tensor in memory at a time.
    pub(crate) fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        let numbers = self.tensors.iter().map(|tensor| {
            (tensor.numel() * kind_in(tensor, self.dtype).elt_size_in_bytes()) as u64
        });
        let total = numbers.sum::<u64>() + self.pickle.len() as u64;
        atomic::write_with(path, |file| {
            let io = |error: io::Error| -> Result<()> {
                Err(with_size(error, total)).while_doing("write", path)
            };
            let mut zip = Members { zip: ZipWriter::new(file), total, path };
            zip.member("data.pkl", &self.pickle)?;
            for (name, text) in &self.texts {
                zip.member(name, text)?;
            }
            if !metadata.is_empty() {
                let json = serde_json::to_vec(metadata).map_err(|e| Error::file(path, e))?;
                zip.member(METADATA, &json)?;
            }
            zip.member("byteorder", b"little")?;
            for (i, tensor) in self.tensors.iter().enumerate() {
                let bytes = bytes_of(tensor, kind_in(tensor, self.dtype))?;
                zip.member(&format!("data/{i}"), &bytes)?;
            }
            zip.member("version", b"3\n")?;
            zip.zip.finish().map(|_| ()).or_else(|e| io(e.into()))
        })
    }
}

struct Members<'a> {
    zip: ZipWriter<&'a mut File>,
    total: u64,
    path: &'a Path,
}

impl Members<'_> {
    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(ALIGNMENT)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX));
        let started = self.zip.start_file(format!("{ROOT}/{name}"), options);
        started
            .map_err(io::Error::from)
            .and_then(|()| self.zip.write_all(bytes))
            .map_err(|e| with_size(e, self.total))
            .while_doing("write", self.path)
    }
}

fn kind_in(tensor: &Tensor, dtype: Option<Kind>) -> Kind {
    dtype.filter(|_| is_float(tensor.kind())).unwrap_or(tensor.kind())
}
