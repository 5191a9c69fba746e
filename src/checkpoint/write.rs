//! Writes safetensors: the same tensors always give the same bytes.

use super::safetensors_file::dtype_name;
use crate::atomic::{self, with_size};
use crate::error::{Error, IoContext, Result};
use crate::torch::{self, TensorMap};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Writes `tensors` to `path`, whole or not at all, cast to `dtype` if one is given (floating point only; integers
/// and bools stay).
///
/// Data are ordered by element size, then by name, so that every tensor is aligned. Strided and shared tensors are
/// written out in full; tensors on other devices are fetched one at a time.
///
/// # Errors
/// [`Error::Io`] that names the path, and the bytes needed when the disk is full; [`Error::Request`] for a kind that
/// the format does not have, or for a name it reserves.
pub fn save_safetensors(
    path: impl AsRef<Path>,
    tensors: &TensorMap,
    metadata: &BTreeMap<String, String>,
    dtype: Option<Kind>,
) -> Result<()> {
    let path = path.as_ref();
    let mut table = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let stored = tensor.kind();
        let kind = dtype.filter(|_| is_float(stored)).unwrap_or(stored);
        let Some(code) = dtype_name(kind) else {
            return Err(Error::request(
                format!("`{name}` has kind {kind:?}, which safetensors does not have"),
                "cast it first",
            ));
        };
        if name == "__metadata__" {
            return Err(Error::request(
                "`__metadata__` cannot be the name of a tensor",
                "rename it",
            ));
        }
        table.push(Row { name, tensor, kind, code });
    }
    // Stable: within one size, the order of names stays.
    table.sort_by_key(|row| std::cmp::Reverse(row.kind.elt_size_in_bytes()));
    let (header, length) = header(&table, metadata);
    let total = 8 + header.len() as u64 + length;
    let write = |file: &mut dyn Write, bytes: &[u8]| {
        file.write_all(bytes).map_err(|e| with_size(e, total)).while_doing("write", path)
    };
    atomic::write_with(path, |file| {
        write(file, &(header.len() as u64).to_le_bytes())?;
        write(file, header.as_bytes())?;
        for row in &table {
            write(file, &bytes_of(row.tensor, row.kind)?)?;
        }
        Ok(())
    })
}

/// Writes one float32 tensor of `shape` to `path` in pieces along its first dimension, so that it never has to be in
/// memory as a whole. `fill` gets the function that takes the pieces in order.
///
/// # Errors
/// What `fill` returns, [`Error::Io`] as [`save_safetensors`], [`Error::Request`] when the pieces do not add up to
/// `shape`; then whatever lay at `path` before still does.
pub fn save_in_pieces(
    path: impl AsRef<Path>,
    name: &str,
    shape: &[i64],
    metadata: &BTreeMap<String, String>,
    fill: impl FnOnce(&mut dyn FnMut(&Tensor) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    let wanted = shape.iter().product::<i64>() as u64 * 4;
    let (header, _) = header_of(&[(name, "F32", shape.to_vec(), wanted)], metadata);
    let total = 8 + header.len() as u64 + wanted;
    atomic::write_with(path, |file| {
        let mut write = |bytes: &[u8]| {
            file.write_all(bytes).map_err(|e| with_size(e, total)).while_doing("write", path)
        };
        write(&(header.len() as u64).to_le_bytes())?;
        write(header.as_bytes())?;
        let mut written = 0;
        fill(&mut |piece| {
            let buffer = bytes_of(piece, Kind::Float)?;
            written += buffer.len() as u64;
            write(&buffer)
        })?;
        if written == wanted {
            return Ok(());
        }
        Err(Error::request(
            format!(
                "the pieces of `{name}` have {written} bytes, its shape {shape:?} needs {wanted}"
            ),
            "give exactly as many rows as the shape says",
        ))
    })
}

struct Row<'a> {
    name: &'a str,
    tensor: &'a Tensor,
    kind: Kind,
    code: &'static str,
}

/// The JSON table, padded to whole 8 bytes, and the length of the data.
fn header(table: &[Row<'_>], metadata: &BTreeMap<String, String>) -> (String, u64) {
    let rows: Vec<_> = table
        .iter()
        .map(|row| {
            let bytes = (row.tensor.numel() * row.kind.elt_size_in_bytes()) as u64;
            (row.name, row.code, row.tensor.size(), bytes)
        })
        .collect();
    header_of(&rows, metadata)
}

/// As [`header`], from names, types, shapes and lengths in bytes.
fn header_of(
    table: &[(&str, &str, Vec<i64>, u64)],
    metadata: &BTreeMap<String, String>,
) -> (String, u64) {
    let mut rows = Vec::with_capacity(table.len() + 1);
    if !metadata.is_empty() {
        let pairs: Vec<_> =
            metadata.iter().map(|(key, value)| format!("{}:{}", json(key), json(value))).collect();
        rows.push(format!("\"__metadata__\":{{{}}}", pairs.join(",")));
    }
    let mut at = 0_u64;
    for (name, code, shape, bytes) in table {
        let end = at + bytes;
        let shape: Vec<_> = shape.iter().map(i64::to_string).collect();
        rows.push(format!(
            "{}:{{\"dtype\":\"{code}\",\"shape\":[{}],\"data_offsets\":[{at},{end}]}}",
            json(name),
            shape.join(",")
        ));
        at = end;
    }
    let mut header = format!("{{{}}}", rows.join(","));
    header.extend(std::iter::repeat_n(' ', header.len().wrapping_neg() % 8));
    (header, at)
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The numbers of a tensor in `kind`, row by row, as files hold them.
pub(super) fn bytes_of(tensor: &Tensor, kind: Kind) -> Result<Vec<u8>> {
    let mut bytes = vec![0; tensor.numel() * kind.elt_size_in_bytes()];
    torch::catch("writing a tensor", || {
        let plain = tensor.detach().to_device(Device::Cpu).to_kind(kind).contiguous();
        if plain.numel() > 0 {
            plain.copy_data_u8(&mut bytes, plain.numel());
        }
        Ok(())
    })?;
    Ok(bytes)
}

pub(super) fn is_float(kind: Kind) -> bool {
    matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double)
}
