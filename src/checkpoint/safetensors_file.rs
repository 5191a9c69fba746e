//! The safetensors container: a JSON table of names and ranges, then the numbers.

use super::bytes::Bytes;
use super::entry::Entry;
use super::flatten::Named;
use super::pickle::count;
use super::storage::Storage;
use super::{Container, Parts};
use crate::error::Result;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use tch::Kind;

/// Bytes of the header. Ten thousand tensors take one and a half million; as JSON it fills many times its length.
pub(crate) const MAX_HEADER: u64 = 8 << 20;

/// Reads the table; tensors stay in the file.
pub(crate) fn read(bytes: &Bytes) -> Result<Parts> {
    let stated = stated_header(bytes).unwrap_or_default();
    if stated > (bytes.len() as u64).saturating_sub(8) {
        return Err(bytes.damaged(format!(
            "is a safetensors file whose header claims {stated} bytes, but the file has {} in all",
            bytes.len()
        )));
    }
    if stated > MAX_HEADER {
        return Err(bytes.fault(format!(
            "is a safetensors file with a header of {stated} bytes, more than {} MiB are not read",
            MAX_HEADER >> 20
        )));
    }
    let (header, table) = SafeTensors::read_metadata(bytes).map_err(|e| match e {
        SafeTensorError::MetadataIncompleteBuffer => bytes.damaged(
            "is a safetensors file that holds fewer or more bytes than its header describes",
        ),
        e => bytes.damaged(format!("is a safetensors file with a bad header: {e}")),
    })?;
    let mut named = Named::default();
    for (name, info) in table.tensors() {
        let (start, end) = info.data_offsets;
        let place = (8 + header).checked_add(start).zip((8 + header).checked_add(end));
        let part = place.and_then(|(start, end)| bytes.slice(start..end)).ok_or_else(|| {
            bytes.damaged(format!("tensor `{name}` lies beyond the end of the file"))
        })?;
        let Some(kind) = kind_of(info.dtype) else {
            named
                .others
                .insert(name, format!("a tensor of an unsupported element type ({})", info.dtype));
            continue;
        };
        let shape: Option<Vec<i64>> = info.shape.iter().map(|&d| i64::try_from(d).ok()).collect();
        let entry = shape
            .ok_or_else(|| "its shape is impossible".to_owned())
            .and_then(|shape| {
                Entry::contiguous(Storage::new(part, name.clone(), None), kind, shape)
            })
            .map_err(|why| bytes.damaged(format!("tensor `{name}`: {why}")))?;
        named.entries.insert(name, entry);
    }
    Ok(Parts {
        container: Container::Safetensors,
        metadata: table.metadata().clone().unwrap_or_default().into_iter().collect(),
        whole: count(named.entries.len(), "tensor"),
        named,
    })
}

/// The header's length as the file states it, if this may be a safetensors file at all.
pub(crate) fn stated_header(bytes: &[u8]) -> Option<u64> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    (rest.first() == Some(&b'{')).then(|| u64::from_le_bytes(*length))
}

pub(super) fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::BOOL => Kind::Bool,
        Dtype::U8 => Kind::Uint8,
        Dtype::I8 => Kind::Int8,
        Dtype::I16 => Kind::Int16,
        Dtype::I32 => Kind::Int,
        Dtype::I64 => Kind::Int64,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        _ => return None,
    })
}

/// The name of a kind in a safetensors header, if the format has it.
pub(crate) fn dtype_name(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Bool => "BOOL",
        Kind::Uint8 => "U8",
        Kind::Int8 => "I8",
        Kind::Int16 => "I16",
        Kind::Int => "I32",
        Kind::Int64 => "I64",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Float => "F32",
        Kind::Double => "F64",
        _ => return None,
    })
}
