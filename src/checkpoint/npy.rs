//! NumPy's `.npy`: one array of floating point numbers, little-endian, in C's or Fortran's order, which is how latents
//! travel.
//!
//! Versions 1 to 3 of the format. An array of Python's objects is a pickle behind the header: dictionaries of latents
//! travel so. It is read as data, as all pickles are.

use super::bytes::Bytes;
use super::entry::Entry;
use super::flatten::{Named, flatten_from};
use super::pickle::{Id, Pickle, Value};
use super::storage::Storage;
use super::unpickle::unpickle;
use super::{Container, Parts, ndarray};
use crate::atomic;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The beginning of every such file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// The name of the only array.
const NAME: &str = "array";

/// NumPy's own limit is 10,000; it is a short dictionary.
const MAX_HEADER: usize = 1 << 16;

/// Writes one array of float32 numbers, as `np.load` reads it.
///
/// # Errors
/// [`Error::Io`].
pub fn save_npy(path: impl AsRef<Path>, array: &Tensor) -> Result<()> {
    let shape: Vec<String> = array.size().iter().map(|n| format!("{n},")).collect();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.join(" "));
    // Numbers begin at a multiple of 64.
    let padded = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
    let header = format!("{header:<0$}\n", padded - MAGIC.len() - 4 - 1);
    let mut bytes = [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes()].concat();
    bytes.extend(header.as_bytes());
    let flat = array.to_device(Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
    let numbers = Vec::<f32>::try_from(&flat)
        .map_err(|e| Error::Torch { doing: "writing numbers".into(), message: e.to_string() })?;
    bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    atomic::write(path, bytes)
}

/// Reads the header; the numbers stay in the file.
pub(crate) fn read(bytes: &Bytes) -> Result<Parts> {
    let mut named = Named::default();
    let mut whole = "one array".to_owned();
    match array(bytes, NAME)? {
        Array::Numbers(entry) => {
            named.entries.insert(NAME.into(), entry);
        }
        Array::Objects(pickle) => {
            whole = pickle.describe(inside(&pickle));
            named = objects(&pickle, "")?;
        }
        Array::Odd(why) => {
            return Err(Error::file_hint(
                bytes.path(),
                format!("is a NumPy array (`.npy`) that cannot be used: {why}"),
                "save it with `np.save(FILE, np.ascontiguousarray(x, dtype=np.float32))`",
            ));
        }
    }
    Ok(Parts { container: Container::Npy, metadata: BTreeMap::new(), whole, named })
}

/// What a file of one array holds.
pub(crate) enum Array {
    Numbers(Entry),
    /// Python's objects, and the bytes that they were read from.
    Objects(Objects),
    /// Why it cannot be used.
    Odd(String),
}

/// Python's objects, as data.
pub(crate) struct Objects {
    bytes: Bytes,
    pickle: Pickle,
}

impl Objects {
    fn describe(&self, id: Id) -> String {
        self.pickle.describe(id)
    }
}

/// Reads the header, and pickled objects behind it; `name` is that of the array, for messages.
pub(crate) fn array(bytes: &Bytes, name: &str) -> Result<Array> {
    let cut = || bytes.damaged("is a NumPy array (`.npy`) that is cut off in its header");
    let version = *bytes.get(MAGIC.len()).ok_or_else(cut)?;
    let (length, start) = match version {
        1 => {
            let two = bytes.get(8..10).and_then(|b| b.try_into().ok()).ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(two)), 10)
        }
        2 | 3 => {
            let four = bytes.get(8..12).and_then(|b| b.try_into().ok()).ok_or_else(cut)?;
            (u32::from_le_bytes(four) as usize, 12)
        }
        other => {
            return Err(
                bytes.damaged(format!("is a NumPy array of version {other}, expected 1, 2 or 3"))
            );
        }
    };
    if length > MAX_HEADER {
        return Err(
            bytes.damaged(format!("is a NumPy array (`.npy`) whose header claims {length} bytes"))
        );
    }
    let header = bytes.get(start..start + length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header)
        .map_err(|_| bytes.damaged("is a NumPy array (`.npy`) whose header is no text"))?;
    let header = match Header::parse(header) {
        Ok(header) => header,
        Err(why) => return Ok(Array::Odd(why)),
    };
    let data = bytes.slice(start + length..bytes.len()).ok_or_else(cut)?;
    let Some(kind) = header.kind else {
        let pickle = unpickle(&data, 0).map_err(|error| match error {
            Error::File { message, hint, .. } => Error::File {
                path: bytes.path().into(),
                message: format!("is a NumPy array (`.npy`) of pickled objects, but {message}"),
                hint,
            },
            other => other,
        })?;
        return Ok(Array::Objects(Objects { bytes: data, pickle }));
    };
    let held = data.len();
    let storage = Storage::new(data, name.into(), None);
    let entry = match header.fortran {
        true => Entry::fortran(storage, kind, header.shape),
        false => Entry::contiguous(storage, kind, header.shape),
    }
    .map_err(|why| bytes.damaged(format!("is a NumPy array (`.npy`): {why}")))?;
    if entry.byte_len() != held {
        return Err(bytes.damaged(format!(
            "is a NumPy array (`.npy`) of shape {:?}, which takes {} bytes, but {held} follow",
            entry.shape(),
            entry.byte_len()
        )));
    }
    Ok(Array::Numbers(entry))
}

/// The arrays among pickled objects, under names that begin with `name`.
pub(crate) fn objects(objects: &Objects, name: &str) -> Result<Named> {
    let Objects { bytes, pickle } = objects;
    flatten_from(bytes, pickle, &[(name, pickle.root)], &mut |reference| {
        Err(bytes.damaged(format!("storage `{}` is not in the file", reference.key)))
    })
}

/// The value in an array without a dimension, which `numpy.save` makes of everything that is no array.
fn inside(objects: &Objects) -> Id {
    let Objects { pickle, .. } = objects;
    let Value::Object(object) = pickle.get(pickle.root) else { return pickle.root };
    let class = pickle.class_name(pickle.root).unwrap_or_default();
    match ndarray::objects(pickle, class, object) {
        Some(ndarray::Objects::One(item) | ndarray::Objects::Many(item, _)) => item,
        None => pickle.root,
    }
}

/// What stands before the numbers.
struct Header {
    /// `None` for pickled objects.
    kind: Option<Kind>,
    shape: Vec<i64>,
    fortran: bool,
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(header: &str) -> Result<Self, String> {
        let after = |key: &str| {
            let (_, rest) = header.split_once(&format!("'{key}':")).ok_or(format!("no `{key}`"))?;
            Ok::<_, String>(rest.trim_start())
        };
        let descr = after("descr")?;
        let descr = descr
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once('\''))
            .ok_or("its elements are records, expected floating point numbers")?
            .0;
        let kind = match descr {
            "<f2" => Some(Kind::Half),
            "<f4" => Some(Kind::Float),
            "<f8" => Some(Kind::Double),
            "|O" => None,
            big if big.starts_with('>') => {
                return Err(format!("its numbers are big-endian (`{big}`)"));
            }
            other => return Err(format!("its elements are `{other}`, expected f2, f4 or f8")),
        };
        let shape = after("shape")?
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .ok_or("no `shape`")?
            .0;
        let shape = shape
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty())
            .map(|size| size.parse().ok().filter(|&size: &i64| size >= 0))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| format!("its shape is ({shape})"))?;
        let fortran = !after("fortran_order")?.starts_with("False");
        Ok(Self { kind, shape, fortran })
    }
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::open_bytes;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = super::MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn fault(bytes: Vec<u8>) -> String {
        open_bytes("x.npy", bytes).unwrap_err().to_string()
    }

    #[test]
    fn floats_of_every_version_are_read() {
        let data: Vec<u8> = [1.0f32, 2.0, 3.0, -4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        for version in 1..=3 {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }  \n";
            let read = open_bytes("x.npy", file(version, header, &data)).unwrap();
            let tensor = read.entries["array"].tensor().unwrap();
            assert_eq!(tensor.size(), [2, 2]);
            assert_eq!(tensor.double_value(&[1, 1]), -4.0);
        }
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n";
        let read = open_bytes("x.npy", file(1, header, &2.5f64.to_le_bytes())).unwrap();
        assert_eq!(read.entries["array"].shape(), [1]);
    }

    #[test]
    fn columns_one_after_the_other_are_read() {
        let data: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
        let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n";
        let read = open_bytes("x.npy", file(1, header, &data)).unwrap();
        let tensor = read.entries["array"].tensor().unwrap();
        let rows: Vec<f32> = Vec::try_from(tensor.reshape([-1])).unwrap();
        assert_eq!(rows, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]);
    }

    #[test]
    fn what_is_not_plain_numbers_is_refused_with_the_reason() {
        let of = |descr: &str, fortran: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
        };
        for (header, reason) in [
            (of("'|O'", "False", "(1,)"), "of pickled objects, but bad pickle"),
            (of("'>f4'", "False", "(1,)"), "big-endian"),
            (of("'<i8'", "False", "(1,)"), "`<i8`"),
            (of("[('a', '<f4')]", "False", "(1,)"), "records"),
            (of("'<f4'", "True", "(1, 1)"), "4 bytes, but 8 follow"),
            (of("'<f4'", "False", "(-1,)"), "shape"),
            (of("'<f4'", "False", "(9999999999999, 9999999999999)"), "shape"),
            (of("'<f4'", "False", "(3,)"), "needs 3 elements"),
            (of("'<f4'", "False", "()"), "4 bytes, but 8 follow"),
            ("{}".into(), "no `descr`"),
        ] {
            let message = fault(file(1, &header, &[0; 8]));
            assert!(message.contains(reason), "{header}: {message}");
        }
        assert!(fault(super::MAGIC.to_vec()).contains("cut off"));
        assert!(fault(file(9, "", &[])).contains("version 9"));
        assert!(fault(file(2, "{}", &[])[..13].to_vec()).contains("cut off"));
        let mut long = file(2, "", &[0; 64]);
        long[8..12].fill(0xff);
        assert!(fault(long).contains("claims"));
    }
}
