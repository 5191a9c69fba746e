//! NumPy's `.npz`: a zip archive of `.npy` files, as `numpy.savez` and `numpy.savez_compressed` write them.

use super::archive::Member;
use super::bytes::Bytes;
use super::entry::Entry;
use super::flatten::{MAX_NAMES, MAX_VISITS, Named};
use super::npy::{self, Array};
use super::pickle::count;
use super::torch_file::MAC;
use super::{Container, Parts};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The ending of each array.
const ENDING: &str = ".npy";

/// Members of Python's objects; each may take as long to walk through as a whole file.
const MAX_PICKLED: usize = 64;

/// Whether an archive holds arrays and nothing else.
pub(crate) fn is_npz(members: &BTreeMap<String, Member>) -> bool {
    let mut own = members.keys().filter(|name| !name.starts_with(MAC)).peekable();
    own.peek().is_some() && own.all(|name| name.ends_with(ENDING))
}

/// The arrays by their names; those of numbers that are not read are described.
pub(crate) fn read(bytes: &Bytes, members: &BTreeMap<String, Member>) -> Result<Parts> {
    let array = |(name, member)| {
        let (name, member): (&String, &Member) = (name, member);
        Some((name.strip_suffix(ENDING).filter(|name| !name.starts_with(MAC))?, member))
    };
    let mut arrays: Vec<(&str, &Member)> = members.iter().filter_map(array).collect();
    arrays.sort_by_key(|(_, member)| member.place());
    let whole = format!("archive of {}", count(arrays.len(), "array"));
    let mut gathered = Gathered { bytes, named: Named::default(), letters: 0 };
    let mut pickled = 0;
    for (name, member) in arrays {
        let data = member.bytes()?;
        if !data.starts_with(npy::MAGIC) {
            return Err(bytes.damaged(format!(
                "is a NumPy archive (`.npz`), but its member `{name}{ENDING}` is no array"
            )));
        }
        match npy::array(&data, name)? {
            Array::Numbers(entry) => gathered.entry(name.to_owned(), entry)?,
            Array::Odd(why) => gathered.other(name.to_owned(), why)?,
            Array::Objects(objects) => {
                pickled += 1;
                if pickled > MAX_PICKLED {
                    return Err(gathered.too_much());
                }
                let mut inside = npy::objects(&objects, name)?;
                for name in inside.order {
                    if let Some(entry) = inside.entries.remove(&name) {
                        gathered.entry(name, entry)?;
                    }
                }
                inside
                    .others
                    .into_iter()
                    .try_for_each(|(name, what)| gathered.other(name, what))?;
            }
        }
    }
    let named = gathered.named;
    Ok(Parts { container: Container::Npz, metadata: BTreeMap::new(), whole, named })
}

/// What was read so far. Each member was limited on its own; this keeps many of them from adding up.
struct Gathered<'a> {
    bytes: &'a Bytes,
    named: Named,
    letters: usize,
}

impl Gathered<'_> {
    fn entry(&mut self, name: String, entry: Entry) -> Result<()> {
        self.count(&name, 24 * entry.shape().len())?;
        self.named.order.push(name.clone());
        self.named.entries.insert(name, entry);
        Ok(())
    }

    fn other(&mut self, name: String, what: String) -> Result<()> {
        self.count(&name, what.len())?;
        self.named.others.insert(name, what);
        Ok(())
    }

    fn count(&mut self, name: &str, more: usize) -> Result<()> {
        let Named { entries, others, .. } = &self.named;
        if entries.contains_key(name) || others.contains_key(name) {
            return Err(self.bytes.fault(format!("two values are called `{name}`")));
        }
        self.letters += name.len() + more;
        if entries.len() + others.len() >= MAX_VISITS || self.letters > MAX_NAMES {
            return Err(self.too_much());
        }
        Ok(())
    }

    fn too_much(&self) -> Error {
        self.bytes.fault("is a NumPy archive (`.npz`) of far too many values")
    }
}
