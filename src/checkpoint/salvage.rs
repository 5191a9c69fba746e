//! What can still be told of a file that does not open: the table of its tensors, and which of them are not whole.
//!
//! A download that broke off is the usual case. safetensors and legacy torch files begin with their table, and a zip
//! archive of torch with the pickle that is its table; only the zip's own index, at the end, is lost.

use super::bytes::Bytes;
use super::flatten::{Named, flatten};
use super::pickle::{Pickle, Value, count};
use super::safetensors_file::{self, MAX_HEADER, kind_of};
use super::storage::Storage;
use super::storage_ref::StorageRef;
use super::unpickle::{unpickle, unpickle_within};
use super::{Checkpoint, Container, Entry, sniff, torch_file};
use safetensors::tensor::Metadata;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// A damaged file: its table, and what is lost.
#[derive(Debug)]
pub struct Salvage {
    /// The file as far as it goes. Reading a tensor that is lost is an error.
    pub checkpoint: Checkpoint,
    /// Names of the tensors whose numbers are not, or not all, in the file, in the order of the file where it has one.
    pub lost: Vec<String>,
}

/// The first bytes of a zip's member.
const MEMBER: &[u8] = b"PK\x03\x04";
/// The pickle of a torch archive begins within so many bytes.
const PICKLE_WITHIN: usize = 64 << 10;
/// Characters of a member's name. In a file made for it, long names could overlap and fill a thousand times its length.
const MAX_NAME: usize = 256;

/// Reads what is left of a file that [`super::open`] refused; `None` when not even its table is.
pub fn salvage(path: impl AsRef<Path>) -> Option<Salvage> {
    let bytes = Bytes::map(path.as_ref()).ok()?;
    let container = sniff::container(&bytes).ok()?;
    let (metadata, named) = match container {
        Container::Safetensors => from_safetensors(&bytes)?,
        Container::TorchZip => (BTreeMap::new(), from_zip(&bytes)?),
        Container::TorchLegacy => (BTreeMap::new(), from_legacy(&bytes)?),
        _ => return None,
    };
    let lost = named.entries.iter().filter(|(_, entry)| !entry.is_whole());
    Some(Salvage {
        lost: lost.map(|(name, _)| name.clone()).collect(),
        checkpoint: Checkpoint {
            path: bytes.path().to_path_buf(),
            container,
            bytes: bytes.len() as u64,
            metadata,
            whole: count(named.entries.len(), "tensor"),
            entries: named.entries,
            others: named.others,
            order: named.order,
            chosen: None,
        },
    })
}

fn from_safetensors(bytes: &Bytes) -> Option<(BTreeMap<String, String>, Named)> {
    let stated = safetensors_file::stated_header(bytes)?;
    let length = usize::try_from(stated).ok().filter(|_| stated <= MAX_HEADER)?;
    let start = 8_usize.checked_add(length)?;
    let table: Metadata = serde_json::from_slice(bytes.get(8..start)?).ok()?;
    let mut named = Named::default();
    for (name, info) in table.tensors() {
        let (from, to) = info.data_offsets;
        let size = to.checked_sub(from)?;
        let range = start.checked_add(from)?..start.checked_add(to)?;
        let storage = part_or_absent(bytes, range.start, size, name.clone());
        let shape =
            info.shape.iter().map(|&d| i64::try_from(d).ok()).collect::<Option<Vec<_>>>()?;
        if let Some(kind) = kind_of(info.dtype)
            && let Ok(entry) = Entry::contiguous(storage, kind, shape)
        {
            named.entries.insert(name, entry);
        }
    }
    let metadata = table.metadata().clone().unwrap_or_default().into_iter().collect();
    Some((metadata, named))
}

fn from_zip(bytes: &Bytes) -> Option<Named> {
    let head = bytes.get(..bytes.len().min(PICKLE_WITHIN))?;
    let (name, start) = members(head).find(|(name, _)| name.ends_with("data.pkl"))?;
    let root = name.strip_suffix("data.pkl")?.to_owned();
    let stream = bytes.slice(start..bytes.len())?;
    let pickle = unpickle(&stream, 0).ok()?;
    let prefix = format!("{root}data/");
    let found: HashMap<String, usize> = members(bytes)
        .filter_map(|(name, start)| Some((name.strip_prefix(&prefix)?.to_owned(), start)))
        .collect();
    let mut storage = |reference: &StorageRef| {
        let start = found.get(&reference.key).copied();
        Ok(memory(bytes, reference, start))
    };
    flatten(&stream, &pickle, &mut storage).ok()
}

fn from_legacy(bytes: &Bytes) -> Option<Named> {
    let small = |start: usize| unpickle_within(bytes, start, torch_file::SMALL).ok();
    let protocol = small(torch_file::legacy_start(bytes)?)?;
    let system = small(protocol.end)?;
    let pickle = unpickle(bytes, system.end).ok()?;
    let found = small(pickle.end).map(|keys| legacy_places(&pickle, &keys));
    let found = found.unwrap_or_default();
    let mut storage = |reference: &StorageRef| {
        let start = found.get(&reference.key).copied();
        Ok(memory(bytes, reference, start))
    };
    flatten(bytes, &pickle, &mut storage).ok()
}

/// Where the numbers of each storage begin, from the sizes of those before it.
fn legacy_places(pickle: &Pickle, keys: &Pickle) -> HashMap<String, usize> {
    let mut sizes = HashMap::new();
    for value in pickle.values() {
        if let Value::Persistent(id) = value
            && let Some(reference) = StorageRef::read(pickle, *id)
        {
            sizes.insert(reference.key.clone(), byte_len(&reference));
        }
    }
    let mut places = HashMap::new();
    let mut at = keys.end;
    for key in keys.items(keys.root).unwrap_or_default() {
        let Some(key) = keys.text(*key) else { break };
        // Each storage begins with its length.
        let Some(start) = at.checked_add(8) else { break };
        let Some(end) = sizes.get(key).and_then(|size| start.checked_add((*size)?)) else { break };
        places.insert(key.to_owned(), start);
        at = end;
    }
    places
}

/// The memory of a reference, where it begins and as far as it is in the file.
fn memory(bytes: &Bytes, reference: &StorageRef, start: Option<usize>) -> Arc<Storage> {
    let size = byte_len(reference).unwrap_or_default();
    let name = format!("storage {}", reference.key);
    match start {
        Some(start) => part_or_absent(bytes, start, size, name),
        None => Storage::absent(bytes.clone(), name, size),
    }
}

fn part_or_absent(bytes: &Bytes, start: usize, size: usize, name: String) -> Arc<Storage> {
    match start.checked_add(size).and_then(|end| bytes.slice(start..end)) {
        Some(part) => Storage::new(part, name, None),
        None => Storage::absent(bytes.clone(), name, size),
    }
}

fn byte_len(reference: &StorageRef) -> Option<usize> {
    let element = reference.kind?.elt_size_in_bytes();
    usize::try_from(reference.numel).ok()?.checked_mul(element)
}

/// The stored members of a zip archive by the headers in front of them: names, and where their data begin.
fn members(bytes: &[u8]) -> impl Iterator<Item = (&str, usize)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let at = from + bytes.get(from..)?.windows(MEMBER.len()).position(|w| w == MEMBER)?;
            from = at + MEMBER.len();
            let short = |offset: usize| {
                let two = bytes.get(at + offset..at + offset + 2)?;
                Some(usize::from(u16::from_le_bytes([two[0], two[1]])))
            };
            // Of a compressed member nothing is known but that it is there.
            if short(8)? != 0 {
                continue;
            }
            let (name, extra) = (short(26)?, short(28)?);
            let start = at + 30 + name + extra;
            let name = bytes.get(at + 30..at + 30 + name).filter(|name| name.len() <= MAX_NAME);
            if let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) {
                return Some((name, start));
            }
        }
    })
}
