//! One tensor of a file, described but not yet read.

use super::bytes::Bytes;
use crate::error::Result;
use crate::torch;
use std::fmt;
use std::sync::{Arc, OnceLock};
use tch::{Kind, Tensor};

/// A view may be larger than what it looks at (rows that overlap): up to this many times…
const MAX_EXPANSION: u64 = 16;
/// …or up to this many bytes, which costs nothing.
const SMALL: u64 = 1 << 20;
/// No tensor of the models that are read here comes near this many bytes.
const MAX_TENSOR_BYTES: u64 = 16 << 30;
/// libtorch's own limit on dimensions is 64.
const MAX_RANK: usize = 64;

/// The memory that tensors of a file look at.
pub(crate) struct Storage {
    bytes: Bytes,
    name: String,
    crc32: Option<u32>,
    intact: OnceLock<bool>,
}

impl Storage {
    /// `name` is for messages; a checksum is compared once, at the first use.
    pub(crate) fn new(bytes: Bytes, name: String, crc32: Option<u32>) -> Arc<Self> {
        Arc::new(Self { bytes, name, crc32, intact: OnceLock::new() })
    }

    /// Compares the bytes with their checksum.
    pub(crate) fn verify(&self) -> Result<()> {
        self.checked().map(|_| ())
    }

    /// The bytes, after a comparison with their checksum.
    fn checked(&self) -> Result<&[u8]> {
        let intact = self.intact.get_or_init(|| {
            self.crc32.is_none_or(|expected| {
                let mut crc = flate2::Crc::new();
                crc.update(&self.bytes);
                crc.sum() == expected
            })
        });
        if *intact {
            return Ok(&self.bytes);
        }
        Err(self.bytes.damaged(format!("the data of `{}` do not match their checksum", self.name)))
    }
}

/// A tensor in a file: its kind, shape and place. The numbers are read by [`Entry::tensor`] only.
#[derive(Clone)]
pub struct Entry {
    kind: Kind,
    shape: Vec<i64>,
    strides: Vec<i64>,
    /// In elements from the start of the storage.
    offset: usize,
    storage: Arc<Storage>,
}

impl Entry {
    /// Checks that the view stays inside its storage. The error is a message without the tensor's name.
    pub(crate) fn new(
        storage: Arc<Storage>,
        kind: Kind,
        offset: i64,
        shape: Vec<i64>,
        strides: Vec<i64>,
    ) -> std::result::Result<Self, String> {
        if shape.len() != strides.len() {
            return Err(format!("shape {shape:?} and strides {strides:?} differ in length"));
        }
        if shape.len() > MAX_RANK {
            return Err(format!(
                "it has {} dimensions, at most {MAX_RANK} are possible",
                shape.len()
            ));
        }
        let element = kind.elt_size_in_bytes() as u64;
        let available = storage.bytes.len() as u64 / element;
        let (numel, extent) = measure(&shape, &strides)
            .ok_or_else(|| format!("shape {shape:?} with strides {strides:?} is impossible"))?;
        let end = u64::try_from(offset).ok().and_then(|start| start.checked_add(extent));
        let offset = match end {
            Some(end) if end <= available => offset as usize,
            _ => {
                return Err(format!(
                    "shape {shape:?} with strides {strides:?} at offset {offset} needs {}, but storage `{}` holds \
                     {available} elements",
                    end.map_or("a negative or endless range".into(), |n| format!("{n} elements")),
                    storage.name
                ));
            }
        };
        let limit = (storage.bytes.len() as u64).saturating_mul(MAX_EXPANSION).max(SMALL);
        match numel.checked_mul(element) {
            Some(bytes) if bytes <= limit.min(MAX_TENSOR_BYTES) => {}
            _ => {
                return Err(format!(
                    "shape {shape:?} would fill far more memory than the {} bytes of its storage",
                    storage.bytes.len()
                ));
            }
        }
        Ok(Self { kind, shape, strides, offset, storage })
    }

    /// As [`Entry::new`], rows one after the other from the start of the storage.
    pub(crate) fn contiguous(
        storage: Arc<Storage>,
        kind: Kind,
        shape: Vec<i64>,
    ) -> std::result::Result<Self, String> {
        let strides = row_major(&shape).ok_or_else(|| format!("shape {shape:?} is impossible"))?;
        Self::new(storage, kind, 0, shape, strides)
    }

    /// Type of the elements, as stored.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Sizes of the dimensions; none is negative.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// Steps between neighbours of each dimension, in elements of the storage; none is negative.
    pub fn strides(&self) -> &[i64] {
        &self.strides
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        // Proven not to overflow by `new`.
        self.shape.iter().map(|&d| d as usize).product()
    }

    /// Bytes that [`Entry::tensor`] will take.
    pub fn byte_len(&self) -> usize {
        self.numel() * self.kind.elt_size_in_bytes()
    }

    /// Reads the numbers: a contiguous CPU tensor of the stored kind that owns its memory.
    ///
    /// # Errors
    /// [`crate::Error::File`] when the file's own checksum says that it is damaged, [`crate::Error::OutOfMemory`].
    pub fn tensor(&self) -> Result<Tensor> {
        let bytes = self.storage.checked()?;
        let element = self.kind.elt_size_in_bytes();
        // A byte other than 0 and 1 must not become a bool.
        let stored = if self.kind == Kind::Bool { Kind::Uint8 } else { self.kind };
        let start = self.offset * element;
        let fitting = if self.numel() == 0 { None } else { measure(&self.shape, &self.strides) };
        let straight = row_major(&self.shape).is_some_and(|straight| {
            let pairs = straight.iter().zip(&self.strides).zip(&self.shape);
            pairs.into_iter().all(|((a, b), &size)| size == 1 || a == b)
        });
        torch::catch("reading a tensor", || {
            let read = match fitting {
                None => Tensor::zeros(&self.shape, (stored, tch::Device::Cpu)),
                Some(_) if straight => Tensor::from_data_size(
                    &bytes[start..start + self.byte_len()],
                    &self.shape,
                    stored,
                ),
                Some((_, extent)) => {
                    let part = &bytes[start..start + extent as usize * element];
                    Tensor::from_data_size(part, &[extent as i64], stored)
                        .as_strided(&self.shape, &self.strides, 0)
                        .contiguous()
                }
            };
            Ok(if self.kind == Kind::Bool { read.ne(0) } else { read })
        })
    }

    /// The same numbers without a first dimension of size 1.
    pub(crate) fn without_first(mut self) -> Self {
        if self.shape.first() == Some(&1) {
            self.shape.remove(0);
            self.strides.remove(0);
        }
        self
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{:?}", self.kind, self.shape)
    }
}

/// Number of elements, and how many elements of the storage they reach over; `None` for what cannot be.
fn measure(shape: &[i64], strides: &[i64]) -> Option<(u64, u64)> {
    let mut numel = 1_u64;
    let mut last = 0_u64;
    let mut empty = false;
    for (&size, &stride) in shape.iter().zip(strides) {
        let (size, stride) = (u64::try_from(size).ok()?, u64::try_from(stride).ok()?);
        if size == 0 {
            empty = true;
            continue;
        }
        numel = numel.checked_mul(size)?;
        last = last.checked_add((size - 1).checked_mul(stride)?)?;
    }
    let extent = last.checked_add(1)?;
    Some(if empty { (0, 0) } else { (numel, extent) })
}

/// The strides of a tensor without gaps; `None` when they overflow.
fn row_major(shape: &[i64]) -> Option<Vec<i64>> {
    let mut strides = vec![0; shape.len()];
    let mut step = 1_i64;
    for (stride, &size) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.checked_mul(size.max(1))?;
    }
    Some(strides)
}
