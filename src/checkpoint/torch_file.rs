//! What `torch.save` writes: the zip container since torch 1.6, the legacy stream of pickles before, and
//! TorchScript archives, read as data.

use super::archive::{self, Member};
use super::bytes::Bytes;
use super::flatten::flatten;
use super::pickle::{Pickle, Value, count};
use super::storage::Storage;
use super::storage_ref::StorageRef;
use super::unpickle::{MAX_MEMORY, unpickle, unpickle_within};
use super::write_torch::METADATA;
use super::{Container, Parts, npz};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The number that begins a legacy file, 0x1950a86a20f9469cfc6c, in a pickle.
const MAGIC: [u8; 12] = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The same in a pickle of protocol 0 or 1.
const MAGIC_TEXT: &[u8] = b"L119547037146038801333356L\n";

/// Memory for the small pickles around the object of a legacy file: a number, a few settings, the keys of storages.
pub(crate) const SMALL: usize = 16 << 20;

/// Bytes of our own metadata: a configuration's and a vocabulary's take some ten thousand.
const MAX_METADATA: usize = 1 << 20;

/// Endings of files that may be checkpoints.
const CHECKPOINTS: [&str; 8] = ["pt", "pth", "pkl", "ckpt", "safetensors", "bin", "tar", "zip"];
/// Where macOS puts its own notes on the files of an archive.
pub(crate) const MAC: &str = "__MACOSX/";
/// The member of an archive that holds everything but the numbers.
const PICKLE: &str = "data.pkl";

/// Where the first pickle of a legacy file ends, which holds its magic number; `None` for any other file. What stands
/// before the number depends on the protocol: its own number since 2, a frame since 4.
pub(crate) fn legacy_start(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    if let [0x80, 2..=5, tail @ ..] = rest {
        rest = tail;
    }
    if let [0x95, tail @ ..] = rest {
        rest = tail.get(8..)?;
    }
    rest = rest.strip_prefix(&MAGIC).or_else(|| rest.strip_prefix(MAGIC_TEXT))?;
    let after = rest.strip_prefix(b".")?;
    Some(bytes.len() - after.len())
}

/// Reads the zip container, TorchScript archives, and NumPy's.
pub(crate) fn read_zip(bytes: &Bytes) -> Result<Parts> {
    let members = archive::index(bytes)?;
    if npz::is_npz(&members) {
        return npz::read(bytes, &members);
    }
    let root = root(bytes, &members)?;
    let short = |name: &str| -> Result<Option<String>> {
        let member = members.get(&format!("{root}{name}")).filter(|member| member.len() < 100);
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).trim().to_owned();
        member.map(|member| member.bytes().map(text)).transpose()
    };
    if short("byteorder")?.is_some_and(|order| order != "little") {
        return Err(bytes.fault("its numbers are big-endian, which is not supported"));
    }
    let script = members.contains_key(&format!("{root}constants.pkl"))
        && members.keys().any(|name| name.starts_with(&format!("{root}code/")));
    let about = members
        .get(&format!("{root}{METADATA}"))
        .filter(|member| member.len() <= MAX_METADATA)
        .and_then(|member| member.bytes().ok());
    let mut metadata = about.map(|json| own_metadata(&json)).unwrap_or_default();
    metadata.extend(short("version")?.map(|v| ("torch.version".to_owned(), v)));

    let stream = members[&format!("{root}{PICKLE}")].bytes()?;
    let pickle = unpickle(&stream, 0)?;
    let mut known: HashMap<String, Arc<Storage>> = HashMap::new();
    let named = flatten(&stream, &pickle, &mut |reference| {
        if let Some(storage) = known.get(&reference.key) {
            return Ok(storage.clone());
        }
        let name = format!("{root}data/{}", reference.key);
        let member = members
            .get(&name)
            .ok_or_else(|| bytes.damaged(format!("storage `{name}` is missing")))?;
        let held = member.len() as u64;
        let wanted = reference.kind.map_or(Some(held), |kind| byte_len(reference.numel, kind));
        if wanted != Some(held) {
            return Err(bytes.damaged(format!(
                "storage `{name}` should hold {} elements, but has {held} bytes",
                reference.numel
            )));
        }
        let storage = member.storage()?;
        known.insert(reference.key.clone(), storage.clone());
        Ok(storage)
    })?;
    Ok(Parts {
        container: if script { Container::TorchScript } else { Container::TorchZip },
        metadata,
        whole: pickle.describe(pickle.root),
        named,
    })
}

/// The folder of an archive in which its pickle lies, with a slash behind it, or nothing. torch has one at the top,
/// whose name means nothing; people who pack a checkpoint anew put it deeper, or leave it out.
fn root(bytes: &Bytes, members: &BTreeMap<String, Member>) -> Result<String> {
    let roots = members.keys().filter_map(|name| {
        let root = name.strip_suffix(PICKLE).filter(|r| r.is_empty() || r.ends_with('/'))?;
        (!root.starts_with(MAC)).then_some(root)
    });
    // Files that somebody added lie deeper than the archive's own.
    let mut roots: Vec<&str> = roots.collect();
    let depth = |root: &str| root.matches('/').count();
    roots.sort_by_key(|root| depth(root));
    match roots[..] {
        [] => Err(no_archive(bytes, members)),
        [first, second, ..] if depth(first) == depth(second) => Err(Error::file_hint(
            bytes.path(),
            format!(
                "is a zip archive of several checkpoints: `{first}{PICKLE}`, `{second}{PICKLE}`"
            ),
            "pack each of these folders on its own",
        )),
        [first, ..] => Ok(first.to_owned()),
    }
}

/// What a zip archive is that holds no pickle of torch's: a download with the checkpoint inside, as a rule.
fn no_archive(bytes: &Bytes, members: &BTreeMap<String, Member>) -> Error {
    let inside: Vec<&String> = members
        .keys()
        .filter(|name| {
            let (_, ending) = name.rsplit_once('.').unwrap_or_default();
            CHECKPOINTS.contains(&ending.to_lowercase().as_str()) && !name.starts_with(MAC)
        })
        .collect();
    if let [first, rest @ ..] = &inside[..] {
        let mut holds = format!("`{first:.80}`");
        for name in rest.iter().take(2) {
            holds += &format!(", `{name:.80}`");
        }
        if rest.len() > 2 {
            holds += &format!(" and {} more", rest.len() - 2);
        }
        return Error::file_hint(
            bytes.path(),
            format!("is a zip archive that holds {holds}, unpack it first"),
            "then name the file that was in it",
        );
    }
    Error::file_hint(
        bytes.path(),
        "is a zip archive that was not written by torch: it lacks a single `data.pkl`",
        "name the checkpoint itself; unpack it first if it was zipped",
    )
}

/// Reads the legacy container: magic number, protocol, system, object, keys, then the storages one by one.
pub(crate) fn read_legacy(bytes: &Bytes) -> Result<Parts> {
    let Legacy { pickle, storages } = Legacy::read(bytes, MAX_MEMORY)?;
    let named = flatten(bytes, &pickle, &mut |reference| storages.find(bytes, reference))?;
    Ok(Parts {
        container: Container::TorchLegacy,
        metadata: BTreeMap::new(),
        whole: pickle.describe(pickle.root),
        named,
    })
}

/// Reads a legacy file that holds a bare storage, as NVIDIA's pickles have one for every tensor.
pub(crate) fn read_storage(bytes: &Bytes) -> Result<(Arc<Storage>, tch::Kind)> {
    let Legacy { pickle, storages } = Legacy::read(bytes, SMALL)?;
    let reference = match pickle.get(pickle.root) {
        Value::Persistent(id) => StorageRef::read(&pickle, *id),
        _ => None,
    };
    let reference = reference.ok_or_else(|| {
        bytes.damaged(format!("a storage inside it is {}", pickle.describe(pickle.root)))
    })?;
    let storage = storages.find(bytes, &reference)?;
    let kind = reference
        .kind
        .ok_or_else(|| bytes.fault("a storage inside it has an unsupported element type"))?;
    Ok((storage, kind))
}

/// A legacy file, taken apart.
struct Legacy {
    pickle: Pickle,
    storages: LegacyStorages,
}

/// Where each storage lies, and the size of its elements.
struct LegacyStorages(HashMap<String, (Bytes, usize)>);

impl Legacy {
    /// `memory` is what its object may take.
    fn read(bytes: &Bytes, memory: usize) -> Result<Self> {
        let start = legacy_start(bytes)
            .ok_or_else(|| bytes.damaged("a part of it is not in torch's legacy format"))?;
        let protocol = unpickle_within(bytes, start, SMALL)?;
        if protocol.int(protocol.root) != Some(1001) {
            return Err(bytes.fault(format!(
                "legacy torch file of protocol {}, expected 1001",
                protocol.describe(protocol.root)
            )));
        }
        let system = unpickle_within(bytes, protocol.end, SMALL)?;
        let mut pairs = system.pairs(system.root).unwrap_or_default().iter();
        if pairs.any(|&(k, v)| {
            system.text(k) == Some("little_endian") && matches!(system.get(v), Value::Bool(false))
        }) {
            return Err(bytes.fault("its numbers are big-endian, which is not supported"));
        }
        let pickle = unpickle_within(bytes, system.end, memory)?;
        let keys = unpickle_within(bytes, pickle.end, SMALL)?;
        let storages = legacy_storages(bytes, &pickle, &keys)?;
        Ok(Self { pickle, storages })
    }
}

impl LegacyStorages {
    /// The memory of a reference, which may be a part of a storage.
    fn find(&self, bytes: &Bytes, reference: &StorageRef) -> Result<Arc<Storage>> {
        let missing = || bytes.damaged(format!("storage `{}` is missing", reference.key));
        let (whole, kind_size) = self.0.get(&reference.key).ok_or_else(missing)?;
        let Some((key, offset, length)) = &reference.view else {
            return Ok(Storage::new(whole.clone(), format!("storage {}", reference.key), None));
        };
        let start = usize::try_from(*offset).ok().and_then(|n| n.checked_mul(*kind_size));
        let size = usize::try_from(*length).ok().and_then(|n| n.checked_mul(*kind_size));
        let part =
            start.zip(size).and_then(|(start, size)| whole.slice(start..start.checked_add(size)?));
        let part = part.ok_or_else(|| {
            bytes.damaged(format!("part `{key}` lies outside storage `{}`", reference.key))
        })?;
        Ok(Storage::new(part, format!("part {key}"), None))
    }
}

/// What `nada` says about a file that it wrote itself; anything else there is passed over.
fn own_metadata(json: &[u8]) -> BTreeMap<String, String> {
    serde_json::from_slice(json).unwrap_or_default()
}

/// Finds the storages of a stream, which gives lengths in elements and no types: the types come from the references
/// in the object.
fn legacy_storages(bytes: &Bytes, pickle: &Pickle, keys: &Pickle) -> Result<LegacyStorages> {
    let mut declared: HashMap<String, StorageRef> = HashMap::new();
    for value in pickle.values() {
        let Value::Persistent(id) = value else { continue };
        let Some(reference) = StorageRef::read(pickle, *id) else { continue };
        let before = declared.insert(reference.key.clone(), reference.clone());
        if before.is_some_and(|b| (b.kind, b.numel) != (reference.kind, reference.numel)) {
            return Err(
                bytes.fault(format!("storage `{}` is declared twice, differently", reference.key))
            );
        }
    }
    let listed =
        keys.items(keys.root).ok_or_else(|| bytes.damaged("the list of storages is missing"))?;
    let mut at = keys.end;
    let mut storages = HashMap::new();
    for &id in listed {
        let key = keys.text(id).unwrap_or_default();
        let reference = declared.get(key).ok_or_else(|| {
            bytes.damaged(format!("storage `{key}` is listed, but nothing refers to it"))
        })?;
        let kind = reference.kind.ok_or_else(|| {
            bytes.fault(format!("storage `{key}` has an unsupported element type"))
        })?;
        let cut_off = |needs: u64| {
            bytes.damaged(format!(
                "cut off at storage {} of {}: {} expected, {} left",
                storages.len() + 1,
                listed.len(),
                count(usize::try_from(needs).unwrap_or(usize::MAX), "byte"),
                bytes.len() - at
            ))
        };
        let length =
            at.checked_add(8).and_then(|end| bytes.get(at..end)).ok_or_else(|| cut_off(8))?;
        let mut raw = [0; 8];
        raw.copy_from_slice(length);
        let numel = i64::from_le_bytes(raw);
        if numel != reference.numel {
            return Err(bytes.damaged(format!(
                "storage `{key}` should hold {} elements, but the data say {numel}",
                reference.numel
            )));
        }
        let size = byte_len(numel, kind)
            .ok_or_else(|| bytes.damaged(format!("storage `{key}` claims {numel} elements")))?;
        let start = at + 8;
        let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
        let part = end
            .and_then(|end| bytes.slice(start..end))
            .ok_or_else(|| cut_off(size.saturating_add(8)))?;
        at = start + part.len();
        if storages.insert(key.to_owned(), (part, kind.elt_size_in_bytes())).is_some() {
            return Err(bytes.fault(format!("storage `{key}` is listed twice")));
        }
    }
    Ok(LegacyStorages(storages))
}

/// Bytes of so many elements; `None` when that is negative or overflows.
fn byte_len(numel: i64, kind: tch::Kind) -> Option<u64> {
    u64::try_from(numel).ok()?.checked_mul(kind.elt_size_in_bytes() as u64)
}
