//! NumPy's arrays as they stand in pickles, whose numbers stay in the file.

use super::bytes::Bytes;
use super::entry::Entry;
use super::pickle::{Id, Object, Pickle, Value};
use super::storage::Storage;
use std::collections::HashMap;
use std::sync::Arc;
use tch::Kind;

/// What is said of an array whose elements are no numbers that torch has.
const ODD: &str = "an array of an unsupported element type";

/// An array, or why it is left alone.
pub(crate) enum Array {
    Numbers(Entry),
    Odd(&'static str),
}

/// What an array of Python's objects holds.
pub(crate) enum Objects<'a> {
    /// Without a dimension: a value in the clothes of an array, as `numpy.save` writes a dictionary.
    One(Id),
    /// The list of its items, and these.
    Many(Id, &'a [Id]),
}

/// The memory of arrays that were seen, by the value that holds their numbers and whether those are encoded: one value
/// may stand in many arrays, and a text is copied or looked through to become memory.
#[derive(Default)]
pub(crate) struct Memory(HashMap<(Id, bool), Arc<Storage>>);

/// More dimensions than any array has, see [`Entry::new`]: a longer list is not even copied.
const MAX_RANK: usize = 64;

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
    known: &mut Memory,
) -> Option<Result<Array, String>> {
    Some(match core(class)? {
        "multiarray._reconstruct" => built(bytes, pickle, object, known),
        "multiarray.scalar" => scalar(bytes, pickle, object, known),
        "numeric._frombuffer" => from_buffer(bytes, pickle, object, known),
        _ => return None,
    })
}

/// The items of an array of Python's objects; `None` for everything else.
pub(crate) fn objects<'a>(pickle: &'a Pickle, class: &str, object: &Object) -> Option<Objects<'a>> {
    if core(class) != Some("multiarray._reconstruct") {
        return None;
    }
    let (shape, dtype, _, list) = parts(pickle.items(object.state?)?)?;
    let Value::Object(kind) = pickle.get(dtype) else { return None };
    let kind = pickle.items(kind.args).and_then(|args| pickle.text(*args.first()?))?;
    let Value::List(items) = pickle.get(list) else { return None };
    match (kind, pickle.items(shape)?, items.as_slice()) {
        ("O8" | "O4" | "O" | "|O", [], &[item]) => Some(Objects::One(item)),
        ("O8" | "O4" | "O" | "|O", [_, ..], items) => Some(Objects::Many(list, items)),
        _ => None,
    }
}

/// Shape, type of the elements, order and numbers in the state of an array.
fn parts(state: &[Id]) -> Option<(Id, Id, Id, Id)> {
    match *state {
        [_, shape, dtype, fortran, data] | [shape, dtype, fortran, data] => {
            Some((shape, dtype, fortran, data))
        }
        _ => None,
    }
}

/// `numpy.core` was renamed to `numpy._core` in NumPy 2.
fn core(class: &str) -> Option<&str> {
    class.strip_prefix("numpy.core.").or_else(|| class.strip_prefix("numpy._core."))
}

/// An empty array that gets its state afterwards: `(version, shape, dtype, is_fortran, data)`.
fn built(
    bytes: &Bytes,
    pickle: &Pickle,
    object: &Object,
    known: &mut Memory,
) -> Result<Array, String> {
    let state =
        object.state.and_then(|state| pickle.items(state)).ok_or("an array without data")?;
    let (shape, dtype, fortran, data) =
        parts(state).ok_or_else(|| format!("an array with a state of {} parts", state.len()))?;
    let fortran = match pickle.get(fortran) {
        Value::Bool(fortran) => *fortran,
        Value::Int(fortran) => *fortran != 0,
        _ => return Err("an array whose order is unknown".into()),
    };
    array(bytes, pickle, shape, dtype, fortran, data, known)
}

/// Protocol 5: `_frombuffer(data, dtype, shape, order)`.
fn from_buffer(
    bytes: &Bytes,
    pickle: &Pickle,
    object: &Object,
    known: &mut Memory,
) -> Result<Array, String> {
    let Some(&[data, dtype, shape, order]) = pickle.items(object.args) else {
        return Err("an array without data".into());
    };
    let fortran = match pickle.text(order) {
        Some("C") => false,
        Some("F") => true,
        _ => return Err("an array whose order is unknown".into()),
    };
    array(bytes, pickle, shape, dtype, fortran, data, known)
}

fn scalar(
    bytes: &Bytes,
    pickle: &Pickle,
    object: &Object,
    known: &mut Memory,
) -> Result<Array, String> {
    let Some(&[dtype, data]) = pickle.items(object.args) else {
        return Err("a number without data".into());
    };
    let Some(kind) = kind(pickle, dtype)? else { return Ok(Array::Odd(ODD)) };
    numbers(memory(bytes, pickle, data, known)?, kind, Vec::new(), false)
}

fn array(
    bytes: &Bytes,
    pickle: &Pickle,
    shape: Id,
    dtype: Id,
    fortran: bool,
    data: Id,
    known: &mut Memory,
) -> Result<Array, String> {
    let items = pickle.items(shape).ok_or("its shape is no list of integers")?;
    if items.len() > MAX_RANK {
        return Err(format!("its shape has {} dimensions", items.len()));
    }
    let shape: Option<Vec<i64>> = items.iter().map(|&n| pickle.int(n)).collect();
    let shape = shape.ok_or("its shape is no list of integers")?;
    let Some(kind) = kind(pickle, dtype)? else { return Ok(Array::Odd(ODD)) };
    numbers(memory(bytes, pickle, data, known)?, kind, shape, fortran)
}

/// An entry that takes up its memory exactly.
fn numbers(
    memory: Arc<Storage>,
    kind: Kind,
    shape: Vec<i64>,
    fortran: bool,
) -> Result<Array, String> {
    let held = memory.len();
    let entry = match fortran {
        true => Entry::fortran(memory, kind, shape)?,
        false => Entry::contiguous(memory, kind, shape)?,
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
fn memory(
    bytes: &Bytes,
    pickle: &Pickle,
    data: Id,
    known: &mut Memory,
) -> Result<Arc<Storage>, String> {
    let encoded = encoded(pickle, data)?;
    let key = (encoded.unwrap_or(data), encoded.is_some());
    if let Some(storage) = known.0.get(&key) {
        return Ok(storage.clone());
    }
    let part = |range: &std::ops::Range<usize>| {
        bytes.slice(range.clone()).ok_or_else(|| "its data lie beyond the file".to_owned())
    };
    let held = |text: &[u8]| Bytes::held(bytes.path(), text.to_vec());
    let name = || "array".to_owned();
    let storage = if let Some(text) = encoded {
        let text = match pickle.get(text) {
            Value::Text(text) => held(text.as_bytes()),
            Value::Blob(range) => part(range)?,
            _ => return Err("its data are missing".into()),
        };
        Storage::latin1(text, name()).ok_or("its data are no text of bytes")?
    } else {
        match pickle.get(data) {
            Value::Blob(range) => Storage::new(part(range)?, name(), None),
            // Python 2 tells no bytes from texts; what happens to be valid UTF-8 was read as a text.
            Value::Text(text) => Storage::new(held(text.as_bytes()), name(), None),
            // `numpy.empty(0)`: Python 3 writes no bytes as a call of `bytes` in protocol 2.
            Value::Object(_) if pickle.class_name(data) == Some("__builtin__.bytes") => {
                Storage::new(held(&[]), name(), None)
            }
            _ => return Err("its data are no bytes".into()),
        }
    };
    known.0.insert(key, storage.clone());
    Ok(storage)
}

/// The text of `_codecs.encode(text, 'latin1')`; `None` for other values.
fn encoded(pickle: &Pickle, data: Id) -> Result<Option<Id>, String> {
    let Value::Object(object) = pickle.get(data) else { return Ok(None) };
    if pickle.class_name(data) != Some("_codecs.encode") {
        return Ok(None);
    }
    let args = pickle.items(object.args).unwrap_or_default();
    match args.get(1).and_then(|&coding| pickle.text(coding)) {
        Some("latin1" | "latin-1" | "iso-8859-1") => Ok(args.first().copied()),
        _ => Err("its data are a text in an unknown coding".into()),
    }
}
