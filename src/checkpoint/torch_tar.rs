//! What `torch.save` wrote before torch 0.1.10: a tar archive with the members `sys_info`, `storages`, `tensors` and
//! `pickle`.
//!
//! `storages` holds, after their number, a pickled `(key, location, class)`, a length and the numbers of each, then the
//! parts of storages that have keys of their own. `tensors` holds, after their number, a pickled `(key, storage, class)`
//! of each and its shape, strides and offset. In `pickle`, tensors are references by key.

use super::bytes::Bytes;
use super::entry::Entry;
use super::flatten::Named;
use super::pickle::{Id, Pickle, Value};
use super::storage::Storage;
use super::storage_ref::storage_kind;
use super::unpickle::unpickle;
use super::{Container, Parts};
use crate::error::Result;
use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use tch::Kind;

/// Members that are looked at before giving up; torch wrote four.
const MAX_MEMBERS: usize = 64;
/// Storages, parts or tensors of one file.
const MAX_COUNT: i64 = 100_000;
/// Dictionaries inside dictionaries.
const MAX_DEPTH: usize = 64;
/// Values looked at.
const MAX_VISITS: usize = 250_000;
/// Bytes of all names together.
const MAX_NAMES: usize = 32 << 20;

/// Whether a file begins like a tar archive.
pub(crate) fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// Reads the archive; numbers stay in the file.
pub(crate) fn read(bytes: &Bytes) -> Result<Parts> {
    let members = members(bytes)?;
    let member = |name: &str| {
        members.get(name).ok_or_else(|| {
            crate::Error::file_hint(
                bytes.path(),
                format!("is a tar archive that torch did not write: it has no `{name}`"),
                "unpack it, and name the checkpoint inside",
            )
        })
    };
    let pickle_file = member("pickle")?;
    let storages = storages(member("storages")?)?;
    let tensors = tensors(member("tensors")?, &storages)?;
    let pickle = unpickle(pickle_file, 0)?;
    let mut walk = Walk {
        bytes,
        pickle: &pickle,
        tensors: &tensors,
        named: Named::default(),
        visits: 0,
        letters: 0,
    };
    walk.value("", pickle.root, 0)?;
    Ok(Parts {
        container: Container::TorchTar,
        metadata: BTreeMap::new(),
        whole: pickle.describe(pickle.root),
        named: walk.named,
    })
}

/// The members by name, as parts of the file. Only plain files of torch's names matter, wherever others would lead.
fn members(bytes: &Bytes) -> Result<BTreeMap<String, Bytes>> {
    let broken = |e: std::io::Error| bytes.damaged(format!("is a tar archive that is broken: {e}"));
    let mut archive = tar::Archive::new(Cursor::new(&bytes[..]));
    let mut found = BTreeMap::new();
    for entry in archive.entries().map_err(broken)?.take(MAX_MEMBERS) {
        let entry = entry.map_err(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let start = usize::try_from(entry.raw_file_position()).ok();
        let size = usize::try_from(entry.size()).ok();
        let part =
            start.zip(size).and_then(|(start, size)| bytes.slice(start..start.checked_add(size)?));
        let part = part.ok_or_else(|| bytes.damaged(format!("member `{name}` is cut off")))?;
        if found.insert(name.clone(), part).is_some() {
            return Err(bytes.fault(format!("the tar archive holds two members `{name}`")));
        }
    }
    Ok(found)
}

/// A stream of pickles and plain numbers.
struct Stream<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Stream<'_> {
    fn pickle(&mut self) -> Result<Pickle> {
        let pickle = unpickle(self.bytes, self.at)?;
        self.at = pickle.end;
        Ok(pickle)
    }

    /// A pickled number of things.
    fn count(&mut self, what: &str) -> Result<i64> {
        let pickle = self.pickle()?;
        let count = pickle.int(pickle.root).filter(|n| (0..=MAX_COUNT).contains(n));
        count.ok_or_else(|| {
            let found = pickle.describe(pickle.root);
            self.bytes.damaged(format!("the number of {what} is {found}"))
        })
    }

    fn int(&mut self) -> Result<i64> {
        let end = self.at.checked_add(8);
        let raw = end.and_then(|end| self.bytes.get(self.at..end)?.try_into().ok());
        let raw = raw.ok_or_else(|| self.bytes.damaged("is cut off inside a table of tensors"))?;
        self.at += 8;
        Ok(i64::from_le_bytes(raw))
    }

    fn part(&mut self, size: Option<usize>) -> Result<Bytes> {
        let end = size.and_then(|size| self.at.checked_add(size));
        let part = end.and_then(|end| self.bytes.slice(self.at..end));
        let part = part.ok_or_else(|| self.bytes.damaged("is cut off inside a storage"))?;
        self.at += part.len();
        Ok(part)
    }
}

type Storages = HashMap<String, (Bytes, Kind)>;

fn storages(bytes: &Bytes) -> Result<Storages> {
    let mut stream = Stream { bytes, at: 0 };
    let mut found = Storages::new();
    for _ in 0..stream.count("storages")? {
        let about = stream.pickle()?;
        let read = match about.items(about.root) {
            Some(&[key, _, class]) => {
                key_of(&about, key).zip(about.class_name(class).and_then(storage_kind))
            }
            _ => None,
        };
        let (key, kind) = read.ok_or_else(|| {
            bytes.fault(format!(
                "a storage is {}, which is not supported",
                about.describe(about.root)
            ))
        })?;
        let numel = usize::try_from(stream.int()?).ok();
        let part = stream.part(numel.and_then(|n| n.checked_mul(kind.elt_size_in_bytes())))?;
        if found.insert(key.clone(), (part, kind)).is_some() {
            return Err(bytes.fault(format!("storage `{key}` is there twice")));
        }
    }
    let views = stream.pickle()?;
    let items = views.items(views.root).unwrap_or_default();
    for &view in items {
        let wrong = || bytes.damaged("a part of a storage is not understood");
        let Some(&[target, root, offset, numel]) = views.items(view) else { return Err(wrong()) };
        let (target, root) = key_of(&views, target).zip(key_of(&views, root)).ok_or_else(wrong)?;
        let (whole, kind) = found.get(&root).ok_or_else(wrong)?;
        let size = kind.elt_size_in_bytes();
        let bytes_of = |id| usize::try_from(views.int(id)?).ok()?.checked_mul(size);
        let (start, length) = bytes_of(offset).zip(bytes_of(numel)).ok_or_else(wrong)?;
        let end = start.checked_add(length).ok_or_else(wrong)?;
        let part = (whole.slice(start..end).ok_or_else(wrong)?, *kind);
        found.insert(target, part);
    }
    Ok(found)
}

fn tensors(bytes: &Bytes, storages: &Storages) -> Result<HashMap<String, Entry>> {
    let mut stream = Stream { bytes, at: 0 };
    let mut found = HashMap::new();
    for _ in 0..stream.count("tensors")? {
        let about = stream.pickle()?;
        let read = match about.items(about.root) {
            Some(&[key, storage, _]) => key_of(&about, key).zip(key_of(&about, storage)),
            _ => None,
        };
        let (key, storage) = read
            .ok_or_else(|| bytes.damaged(format!("a tensor is {}", about.describe(about.root))))?;
        let (part, kind) = storages
            .get(&storage)
            .ok_or_else(|| bytes.damaged(format!("tensor `{key}`: its storage is missing")))?;
        // Four bytes and four of no meaning.
        let rank = stream.int()? & 0xffff_ffff;
        if rank > 64 {
            return Err(bytes.damaged(format!("tensor `{key}` has {rank} dimensions")));
        }
        let mut row = || (0..rank).map(|_| stream.int()).collect::<Result<Vec<i64>>>();
        let (shape, strides) = (row()?, row()?);
        let offset = stream.int()?;
        let memory = Storage::new(part.clone(), format!("storage {storage}"), None);
        let entry = Entry::new(memory, *kind, offset, shape, strides)
            .map_err(|why| bytes.damaged(format!("tensor `{key}`: {why}")))?;
        found.insert(key, entry);
    }
    Ok(found)
}

/// Keys are texts, or the numbers that they were made of.
fn key_of(pickle: &Pickle, id: Id) -> Option<String> {
    let text = pickle.text(id).map(str::to_owned);
    text.or_else(|| pickle.int(id).map(|n| n.to_string())).filter(|key| key.len() <= 64)
}

/// From the references of the object to named tensors.
struct Walk<'a> {
    bytes: &'a Bytes,
    pickle: &'a Pickle,
    tensors: &'a HashMap<String, Entry>,
    named: Named,
    visits: usize,
    letters: usize,
}

impl Walk<'_> {
    fn value(&mut self, name: &str, id: Id, depth: usize) -> Result<()> {
        self.visits += 1;
        self.letters += name.len();
        if depth > MAX_DEPTH || self.visits > MAX_VISITS || self.letters > MAX_NAMES {
            return Err(self.bytes.fault("its values are nested too deeply, or in themselves"));
        }
        let pickle = self.pickle;
        let join =
            |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}/{part}") };
        if let Some(pairs) = pickle.pairs(id) {
            for &(key, value) in pairs {
                let part = pickle.text(key).map_or_else(|| pickle.describe(key), str::to_owned);
                self.value(&join(&part), value, depth + 1)?;
            }
            return Ok(());
        }
        let entry = match pickle.get(id) {
            Value::Persistent(key) => key_of(pickle, *key).and_then(|key| self.tensors.get(&key)),
            Value::Tuple(items) | Value::List(items) if !items.is_empty() => {
                for (i, &item) in items.iter().enumerate() {
                    self.value(&join(&i.to_string()), item, depth + 1)?;
                }
                return Ok(());
            }
            _ => None,
        };
        let name = if name.is_empty() { "tensor" } else { name }.to_owned();
        let twice = match entry {
            Some(entry) => self.named.entries.insert(name.clone(), entry.clone()).is_some(),
            None => self.named.others.insert(name.clone(), pickle.describe(id)).is_some(),
        };
        if twice {
            return Err(self.bytes.fault(format!("two values are called `{name}`")));
        }
        Ok(())
    }
}
