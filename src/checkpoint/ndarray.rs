//! NumPy's arrays as they stand in pickles, whose numbers stay in the file.

use super::bytes::Bytes;
use super::entry::Entry;
use super::pickle::{Id, Object, Pickle, Value};
use super::storage::Storage;
use std::sync::Arc;
use tch::Kind;

/// What is said of an array whose elements are no numbers that torch has.
const ODD: &str = "an array of an unsupported element type";

/// An array, or why it is left alone.
pub(crate) enum Array {
    Numbers(Entry),
    Odd(&'static str),
}

/// Whether an object of this class is a single number with its type.
pub(crate) fn is_scalar(class: &str) -> bool {
    core(class) == Some("multiarray.scalar")
}

/// Reads the object that makes an array or a scalar; `None` when it makes neither. `bytes` are those that the pickle
/// was read from. The error is a message without the array's name.
pub(crate) fn read(
    bytes: &Bytes,
    pickle: &Pickle,
    class: &str,
    object: &Object,
) -> Option<Result<Array, String>> {
    Some(match core(class)? {
        "multiarray._reconstruct" => built(bytes, pickle, object),
        "multiarray.scalar" => scalar(bytes, pickle, object),
        "numeric._frombuffer" => from_buffer(bytes, pickle, object),
        _ => return None,
    })
}

/// `numpy.core` was renamed to `numpy._core` in NumPy 2.
fn core(class: &str) -> Option<&str> {
    class.strip_prefix("numpy.core.").or_else(|| class.strip_prefix("numpy._core."))
}

/// An empty array that gets its state afterwards: `(version, shape, dtype, is_fortran, data)`.
fn built(bytes: &Bytes, pickle: &Pickle, object: &Object) -> Result<Array, String> {
    let state =
        object.state.and_then(|state| pickle.items(state)).ok_or("an array without data")?;
    let (shape, dtype, fortran, data) = match *state {
        [_, shape, dtype, fortran, data] | [shape, dtype, fortran, data] => {
            (shape, dtype, fortran, data)
        }
        _ => return Err(format!("an array with a state of {} parts", state.len())),
    };
    let fortran = match pickle.get(fortran) {
        Value::Bool(fortran) => *fortran,
        Value::Int(fortran) => *fortran != 0,
        _ => return Err("an array whose order is unknown".into()),
    };
    array(bytes, pickle, shape, dtype, fortran, data)
}

/// Protocol 5: `_frombuffer(data, dtype, shape, order)`.
fn from_buffer(bytes: &Bytes, pickle: &Pickle, object: &Object) -> Result<Array, String> {
    let Some(&[data, dtype, shape, order]) = pickle.items(object.args) else {
        return Err("an array without data".into());
    };
    let fortran = match pickle.text(order) {
        Some("C") => false,
        Some("F") => true,
        _ => return Err("an array whose order is unknown".into()),
    };
    array(bytes, pickle, shape, dtype, fortran, data)
}

fn scalar(bytes: &Bytes, pickle: &Pickle, object: &Object) -> Result<Array, String> {
    let Some(&[dtype, data]) = pickle.items(object.args) else {
        return Err("a number without data".into());
    };
    let Some(kind) = kind(pickle, dtype)? else { return Ok(Array::Odd(ODD)) };
    numbers(memory(bytes, pickle, data)?, kind, Vec::new(), false)
}

fn array(
    bytes: &Bytes,
    pickle: &Pickle,
    shape: Id,
    dtype: Id,
    fortran: bool,
    data: Id,
) -> Result<Array, String> {
    let shape: Option<Vec<i64>> =
        pickle.items(shape).and_then(|items| items.iter().map(|&n| pickle.int(n)).collect());
    let shape = shape.ok_or("its shape is no list of integers")?;
    let Some(kind) = kind(pickle, dtype)? else { return Ok(Array::Odd(ODD)) };
    numbers(memory(bytes, pickle, data)?, kind, shape, fortran)
}

/// An entry that takes up its memory exactly.
fn numbers(
    memory: Arc<Storage>,
    kind: Kind,
    shape: Vec<i64>,
    fortran: bool,
) -> Result<Array, String> {
    let held = memory.len();
    let entry = if fortran {
        let mut strides = Vec::with_capacity(shape.len());
        let mut step = 1_i64;
        for &size in &shape {
            strides.push(step);
            step = step.checked_mul(size.max(1)).ok_or("its shape is impossible")?;
        }
        Entry::new(memory, kind, 0, shape, strides)?
    } else {
        Entry::contiguous(memory, kind, shape)?
    };
    if entry.byte_len() != held {
        return Err(format!(
            "shape {:?} takes {} bytes, but {held} follow",
            entry.shape(),
            entry.byte_len()
        ));
    }
    Ok(Array::Numbers(entry))
}

/// `numpy.dtype('f4')` with its state `(3, '<', …)`; `None` for what tch does not have.
fn kind(pickle: &Pickle, dtype: Id) -> Result<Option<Kind>, String> {
    let Value::Object(object) = pickle.get(dtype) else {
        return Err("its element type is not understood".into());
    };
    if pickle.class_name(dtype) != Some("numpy.dtype") {
        return Ok(None);
    }
    let name = pickle.items(object.args).and_then(|args| pickle.text(*args.first()?));
    let order = object.state.and_then(|state| pickle.items(state));
    if order.and_then(|state| pickle.text(*state.get(1)?)) == Some(">") {
        return Err("its numbers are big-endian, which is not supported".into());
    }
    Ok(match name {
        Some("f2") => Some(Kind::Half),
        Some("f4") => Some(Kind::Float),
        Some("f8") => Some(Kind::Double),
        Some("i1") => Some(Kind::Int8),
        Some("i2") => Some(Kind::Int16),
        Some("i4") => Some(Kind::Int),
        Some("i8") => Some(Kind::Int64),
        Some("u1") => Some(Kind::Uint8),
        Some("b1") => Some(Kind::Bool),
        _ => None,
    })
}

/// The raw numbers: bytes, or the text that stands for them in protocol 2.
fn memory(bytes: &Bytes, pickle: &Pickle, data: Id) -> Result<Arc<Storage>, String> {
    let name = || "array".to_owned();
    let part = |range: &std::ops::Range<usize>| {
        bytes.slice(range.clone()).ok_or_else(|| "its data lie beyond the file".to_owned())
    };
    match pickle.get(data) {
        Value::Blob(range) => Ok(Storage::new(part(range)?, name(), None)),
        // Python 2 tells no bytes from texts; what happens to be valid UTF-8 was read as a text.
        Value::Text(text) => {
            let held = Bytes::held(bytes.path(), text.as_bytes().to_vec());
            Ok(Storage::new(held, name(), None))
        }
        Value::Object(object) if pickle.class_name(data) == Some("_codecs.encode") => {
            let args = pickle.items(object.args).unwrap_or_default();
            let coded = args.get(1).and_then(|&coding| pickle.text(coding));
            if !matches!(coded, Some("latin1" | "latin-1" | "iso-8859-1")) {
                return Err("its data are a text in an unknown coding".into());
            }
            let text = match args.first().map(|&text| pickle.get(text)) {
                Some(Value::Text(text)) => Bytes::held(bytes.path(), text.as_bytes().to_vec()),
                Some(Value::Blob(range)) => part(range)?,
                _ => return Err("its data are missing".into()),
            };
            Storage::latin1(text, name()).ok_or_else(|| "its data are no text of bytes".into())
        }
        // `numpy.empty(0)`: Python 3 writes no bytes as a call of `bytes` in protocol 2.
        Value::Object(_) if pickle.class_name(data) == Some("__builtin__.bytes") => {
            Ok(Storage::new(Bytes::held(bytes.path(), Vec::new()), name(), None))
        }
        _ => Err("its data are no bytes".into()),
    }
}
