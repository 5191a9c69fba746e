//! Files that keep several networks in one dictionary, by the first word of each name: ReStyle, pSp and e4e write
//! `encoder.…` and `decoder.…` (a whole generator), StyleCLIP `mapper.…` and `decoder.…`.

use super::super::Checkpoint;
use super::Group;
use std::collections::BTreeMap;

/// The words that are networks of their own.
const WORDS: &[&str] = &["encoder", "decoder", "mapper"];

/// The tensors of each dictionary by its name (empty for the top level), and those of each network inside a dictionary
/// as one more, `state_dict/decoder`, without the word in their names.
pub(super) fn groups(checkpoint: &Checkpoint) -> BTreeMap<String, Group<'_>> {
    let mut groups: BTreeMap<String, Group<'_>> = BTreeMap::new();
    for (path, entry) in &checkpoint.entries {
        let (group, name) = path.rsplit_once('/').unwrap_or(("", path));
        let (group, name) = match network(name) {
            Some((word, rest)) if group.is_empty() => (word.to_owned(), rest),
            Some((word, rest)) => (format!("{group}/{word}"), rest),
            None => (group.to_owned(), name),
        };
        groups.entry(group).or_default().insert(name, entry);
    }
    groups
}

fn network(name: &str) -> Option<(&'static str, &str)> {
    let (first, rest) = name.split_once('.')?;
    WORDS.iter().find(|word| **word == first).map(|word| (*word, rest))
}
