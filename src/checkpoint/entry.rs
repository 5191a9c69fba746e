//! One tensor of a file, described but not yet read.

use super::storage::Storage;
use crate::error::Result;
use crate::torch;
use std::fmt;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// A view may be larger than what it looks at (rows that overlap): up to this many times…
const MAX_EXPANSION: u64 = 16;
/// …or up to this many bytes, which costs nothing.
const SMALL: u64 = 1 << 20;
/// No tensor of the models that are read here comes near this many bytes.
const MAX_TENSOR_BYTES: u64 = 16 << 30;
/// Longest row that [`Entry::squared`] takes: filters are shorter.
const MAX_SQUARED: i64 = 64;
/// libtorch's own limit on dimensions is 64.
const MAX_RANK: usize = 64;

/// A tensor in a file: its kind, shape and place. The numbers are read by [`Entry::tensor`] only.
///
/// Where a dialect stores them otherwise than the canonical one, it also says what is to be done to them then.
#[derive(Clone)]
pub struct Entry {
    kind: Kind,
    shape: Vec<i64>,
    source: Source,
    /// In this order, after reading.
    changes: Vec<Change>,
}

/// Where the numbers come from.
#[derive(Clone)]
enum Source {
    View(View),
    /// One after the other along the first dimension.
    Joined(Vec<Entry>),
}

/// A window on a storage.
#[derive(Clone)]
struct View {
    shape: Vec<i64>,
    strides: Vec<i64>,
    /// In elements from the start of the storage.
    offset: usize,
    storage: Arc<Storage>,
}

/// What is done to numbers after they were read. None makes them more, but for short rows.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    Reshape(Vec<i64>),
    Permute(Vec<i64>),
    Flip(Vec<i64>),
    Row(i64),
    Square,
    Add(f64),
    Scale(f64),
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
        let available = storage.len() as u64 / element;
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
                    storage.name()
                ));
            }
        };
        let limit = (storage.len() as u64).saturating_mul(MAX_EXPANSION).max(SMALL);
        match numel.checked_mul(element) {
            Some(bytes) if bytes <= limit.min(MAX_TENSOR_BYTES) => {}
            _ => {
                return Err(format!(
                    "shape {shape:?} would fill far more memory than the {} bytes of its storage",
                    storage.len()
                ));
            }
        }
        let view = View { shape: shape.clone(), strides, offset, storage };
        Ok(Self { kind, shape, source: Source::View(view), changes: Vec::new() })
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

    /// As [`Entry::contiguous`], columns one after the other: Fortran's order.
    pub(crate) fn fortran(
        storage: Arc<Storage>,
        kind: Kind,
        shape: Vec<i64>,
    ) -> std::result::Result<Self, String> {
        let backwards: Vec<i64> = shape.iter().rev().copied().collect();
        let mut strides =
            row_major(&backwards).ok_or_else(|| format!("shape {shape:?} is impossible"))?;
        strides.reverse();
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
        let mut tensor = match &self.source {
            Source::View(view) => view.read(self.kind)?,
            Source::Joined(parts) => {
                let parts = parts.iter().map(Self::tensor).collect::<Result<Vec<_>>>()?;
                torch::catch("reading a tensor", || Ok(Tensor::cat(&parts, 0)))?
            }
        };
        for change in &self.changes {
            tensor = torch::catch("reading a tensor", || Ok(change.apply(&tensor)))?;
        }
        if self.changes.is_empty() {
            return Ok(tensor);
        }
        torch::catch("reading a tensor", || Ok(tensor.contiguous()))
    }

    /// Whether the file has all of its numbers.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.source {
            Source::View(view) => view.storage.is_whole(),
            Source::Joined(parts) => parts.iter().all(Self::is_whole),
        }
    }

    /// The same numbers in another shape of as many elements.
    pub(crate) fn reshaped(mut self, shape: &[i64]) -> std::result::Result<Self, String> {
        let numel = shape.iter().try_fold(1_i64, |n, &d| n.checked_mul(d).filter(|_| d >= 0));
        if numel.and_then(|n| usize::try_from(n).ok()) != Some(self.numel()) {
            return Err(format!("shape {:?} cannot become {shape:?}", self.shape));
        }
        self.shape = shape.to_vec();
        self.changes.push(Change::Reshape(self.shape.clone()));
        Ok(self)
    }

    /// Its dimensions in another order.
    pub(crate) fn permuted(mut self, order: &[usize]) -> std::result::Result<Self, String> {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.shape.len()) {
            return Err(format!("shape {:?} has not the dimensions {order:?}", self.shape));
        }
        self.shape = order.iter().map(|&d| self.shape[d]).collect();
        self.changes.push(Change::Permute(order.iter().map(|&d| d as i64).collect()));
        Ok(self)
    }

    /// One row: the part at `index` of the first dimension, without that dimension.
    pub(crate) fn row(mut self, index: i64) -> std::result::Result<Self, String> {
        if self.shape.is_empty() || !(0..self.shape[0]).contains(&index) {
            return Err(format!("shape {:?} has no row {index}", self.shape));
        }
        self.shape.remove(0);
        self.changes.push(Change::Row(index));
        Ok(self)
    }

    /// A short row `[k]` as the plane `[k, k]` of its products with itself.
    pub(crate) fn squared(mut self) -> std::result::Result<Self, String> {
        match *self.shape {
            [k] if k <= MAX_SQUARED => self.shape = vec![k, k],
            _ => return Err(format!("shape {:?} is no row of at most {MAX_SQUARED}", self.shape)),
        }
        self.changes.push(Change::Square);
        Ok(self)
    }

    /// Its last `count` dimensions backwards.
    pub(crate) fn flipped_last(mut self, count: usize) -> std::result::Result<Self, String> {
        let rank = self.shape.len();
        let first = rank.checked_sub(count);
        let first = first.ok_or_else(|| format!("shape {:?} is too flat", self.shape))?;
        self.changes.push(Change::Flip((first..rank).map(|d| d as i64).collect()));
        Ok(self)
    }

    /// Each number and `summand`.
    pub(crate) fn plus(mut self, summand: f64) -> Self {
        self.changes.push(Change::Add(summand));
        self
    }

    /// Each number times `factor`.
    pub(crate) fn times(mut self, factor: f64) -> Self {
        self.changes.push(Change::Scale(factor));
        self
    }

    /// Tensors of one kind, one after the other along their first dimension.
    pub(crate) fn joined(parts: Vec<Self>) -> std::result::Result<Self, String> {
        let first = parts.first().ok_or("there is nothing to join")?;
        let mut shape = first.shape.clone();
        let rest = shape.get(1..).ok_or("numbers without a dimension cannot be joined")?.to_vec();
        shape[0] = 0;
        for part in &parts {
            if part.kind != first.kind || part.shape.get(1..) != Some(&rest) {
                return Err(format!("{part:?} does not fit behind {first:?}"));
            }
            shape[0] = shape[0].checked_add(part.shape[0]).ok_or("an endless tensor")?;
        }
        let kind = first.kind;
        Ok(Self { kind, shape, source: Source::Joined(parts), changes: Vec::new() })
    }
}

impl View {
    /// A contiguous CPU tensor that owns its memory.
    fn read(&self, kind: Kind) -> Result<Tensor> {
        let bytes = self.storage.checked()?;
        let element = kind.elt_size_in_bytes();
        // A byte other than 0 and 1 must not become a bool.
        let stored = if kind == Kind::Bool { Kind::Uint8 } else { kind };
        let start = self.offset * element;
        let numel: usize = self.shape.iter().map(|&d| d as usize).product();
        let fitting = if numel == 0 { None } else { measure(&self.shape, &self.strides) };
        let straight = row_major(&self.shape).is_some_and(|straight| {
            let pairs = straight.iter().zip(&self.strides).zip(&self.shape);
            pairs.into_iter().all(|((a, b), &size)| size == 1 || a == b)
        });
        torch::catch("reading a tensor", || {
            let read = match fitting {
                None => Tensor::zeros(&self.shape, (stored, tch::Device::Cpu)),
                Some(_) if straight => Tensor::from_data_size(
                    &bytes[start..start + numel * element],
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
            Ok(if kind == Kind::Bool { read.ne(0) } else { read })
        })
    }
}

impl Change {
    fn apply(&self, tensor: &Tensor) -> Tensor {
        match self {
            Self::Reshape(shape) => tensor.reshape(shape),
            Self::Permute(order) => tensor.permute(order),
            Self::Flip(dimensions) => tensor.flip(dimensions),
            Self::Row(index) => tensor.select(0, *index),
            Self::Square => tensor.outer(tensor),
            Self::Add(summand) => tensor + *summand,
            Self::Scale(factor) => tensor * *factor,
        }
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
