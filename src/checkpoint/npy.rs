//! NumPy's `.npy`: one array of floating point numbers, little-endian and in C order, which is how latents travel.
//!
//! Versions 1 to 3 of the format. Arrays of Python objects are pickles and are refused.

use super::bytes::Bytes;
use super::entry::Entry;
use super::flatten::Named;
use super::storage::Storage;
use super::{Container, Parts};
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
    let (kind, shape) = parse(header).map_err(|why| {
        Error::file_hint(
            bytes.path(),
            format!("is a NumPy array (`.npy`) that cannot be used: {why}"),
            "save it with `np.save(FILE, np.ascontiguousarray(x, dtype=np.float32))`",
        )
    })?;
    let data = bytes.slice(start + length..bytes.len()).ok_or_else(cut)?;
    let held = data.len();
    let entry = Entry::contiguous(Storage::new(data, NAME.into(), None), kind, shape)
        .map_err(|why| bytes.damaged(format!("is a NumPy array (`.npy`): {why}")))?;
    if entry.byte_len() != held {
        return Err(bytes.damaged(format!(
            "is a NumPy array (`.npy`) of shape {:?}, which takes {} bytes, but {held} follow",
            entry.shape(),
            entry.byte_len()
        )));
    }
    Ok(Parts {
        container: Container::Npy,
        metadata: BTreeMap::new(),
        whole: "one array".into(),
        named: Named { entries: BTreeMap::from([(NAME.into(), entry)]), ..Named::default() },
    })
}

/// The element type and the shape from `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse(header: &str) -> Result<(Kind, Vec<i64>), String> {
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
        "<f2" => Kind::Half,
        "<f4" => Kind::Float,
        "<f8" => Kind::Double,
        "|O" => return Err("it holds pickled Python objects, which could run code".into()),
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
    if !after("fortran_order")?.starts_with("False") && shape.len() > 1 {
        return Err("its numbers are in Fortran order".into());
    }
    Ok((kind, shape))
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
    fn what_is_not_plain_numbers_is_refused_with_the_reason() {
        let of = |descr: &str, fortran: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n")
        };
        for (header, reason) in [
            (of("'|O'", "False", "(1,)"), "pickled Python objects"),
            (of("'>f4'", "False", "(1,)"), "big-endian"),
            (of("'<i8'", "False", "(1,)"), "`<i8`"),
            (of("[('a', '<f4')]", "False", "(1,)"), "records"),
            (of("'<f4'", "True", "(1, 1)"), "Fortran"),
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
