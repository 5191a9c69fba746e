//! The part of a file that a key asks for, `FILE#KEY`.

use super::super::address::plain_key;
use super::super::{Checkpoint, Chosen};
use super::{average, recognise};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// Keys that are listed where one is not found.
const LISTED: usize = 8;

/// A file as if it held only what lies behind `key`.
///
/// # Errors
/// [`Error::Request`] with the keys that there are.
pub(in super::super) fn narrowed(mut file: Checkpoint, key: &str) -> Result<Checkpoint> {
    let plain = plain_key(key);
    if plain.is_empty() {
        let others = file.others.clone();
        file.chosen = Some(Chosen { key: String::new(), averages: BTreeMap::new(), others });
        return Ok(file);
    }
    let behind = |name: &str| -> Option<usize> {
        let cut = plain.len();
        let separator = name.as_bytes().get(cut).is_some_and(|b| [b'/', b'.'].contains(b));
        let same = |(a, b): (u8, u8)| a == b || (a == b'/' && b == b'.');
        let start = name.as_bytes().iter().copied().zip(plain.bytes());
        (separator && start.into_iter().all(same)).then_some(cut + 1)
    };
    let (mut inside, mut averages) = (BTreeMap::new(), BTreeMap::new());
    let mut found = None;
    for (name, entry) in std::mem::take(&mut file.entries) {
        match behind(&name) {
            Some(cut) => {
                found.get_or_insert_with(|| name[..cut].to_owned());
                inside.insert(name[cut..].to_owned(), entry);
            }
            None if average::is_name(&name) => drop(averages.insert(name, entry)),
            None => {
                file.entries.insert(name, entry);
            }
        }
    }
    let Some(key) = found else {
        file.entries.append(&mut averages);
        return Err(absent(&file, key));
    };
    let others = std::mem::take(&mut file.others);
    let own = others
        .iter()
        .filter_map(|(name, what)| Some((name[behind(name)?..].to_owned(), what.clone())));
    file.others = own.collect();
    file.entries = inside;
    file.chosen = Some(Chosen { key, averages, others });
    Ok(file)
}

fn absent(file: &Checkpoint, key: &str) -> Error {
    let contents = recognise(file);
    let mut keys: Vec<String> = contents
        .parts
        .iter()
        .map(|part| format!("`{}#{}`", file.path.display(), part.name))
        .collect();
    let more = keys.len().saturating_sub(LISTED);
    keys.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let hint = match keys.is_empty() {
        true => "`nada inspect FILE --tensors` lists what there is".to_owned(),
        false => format!("there are {}{more}", keys.join(", ")),
    };
    Error::request(format!("`{}` holds no tensors under `{key}`", file.path.display()), hint)
}
