//! Codes of several photos in one file: photo → code, photo → list of rounds, photo → results with a code among them, or
//! a list of codes.

use super::LatentKind::{self, W};
use super::{Listed, NAMES, Reader, is_float};
use crate::checkpoint::Entry;

/// The tensors that are codes of one photo each.
pub(super) struct Photos<'a> {
    /// Name of the photo, of the tensor, and the tensor.
    pub(super) each: Vec<(&'a str, &'a str, &'a Entry)>,
    /// A list, whose items may be batches; elsewhere the last of several codes of a photo is taken.
    pub(super) is_list: bool,
    /// The space that their names tell.
    pub(super) told: Option<LatentKind>,
    pub(super) notes: Vec<String>,
}

impl Reader<'_> {
    /// A dictionary of photos, or a list of codes.
    pub(super) fn photos<'a>(&self, listed: &[Listed<'a>]) -> Option<Photos<'a>> {
        if listed.len() < 2 && !listed.iter().any(|(name, _)| name.contains('/'))
            || self.single(listed).is_some() && listed.len() > 1
        {
            return None;
        }
        self.results(listed).or_else(|| self.bare(listed))
    }

    /// Photo → results with a code among them, as rosinality's projector writes them.
    fn results<'a>(&self, listed: &[Listed<'a>]) -> Option<Photos<'a>> {
        let called = |wanted: &str| -> Vec<(&'a str, &'a str, &'a Entry)> {
            let split = |&(name, entry): &Listed<'a>| {
                let (photo, last) = name.rsplit_once('/')?;
                (last == wanted).then_some((photo, name, entry))
            };
            listed.iter().filter_map(split).collect()
        };
        let (each, told) = NAMES.iter().find_map(|&(name, told)| {
            let each = called(name);
            (!each.is_empty()).then_some((each, told))
        })?;
        let mut notes = Vec::new();
        let noise = listed
            .iter()
            .any(|(name, _)| name.split('/').any(|part| ["noise", "noises"].contains(&part)));
        if noise {
            notes.push("the noise maps beside its codes are not used".to_owned());
        }
        // What was found for a photo is a style, even if nobody says so.
        Some(Photos { each, is_list: false, told: told.or(Some(W)), notes })
    }

    /// Photo → code, photo → list of rounds, or a list of codes. All tensors of fractions must be such.
    fn bare<'a>(&self, listed: &[Listed<'a>]) -> Option<Photos<'a>> {
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let floats = || listed.iter().filter(|(_, entry)| is_float(entry));
        let parent = |name: &'a str| name.rsplit_once('/').unwrap_or(("", name));
        let known = |name: &str| NAMES.iter().find(|(known, _)| *known == name);
        let count = |entry: &Entry| self.form(entry.shape(), None).ok().map(|form| form.1);

        // A list on its own, or under the name of codes, is one of photos and not of rounds.
        let list = floats().all(|(name, _)| {
            let (before, last) = parent(name);
            number(last) && (before.is_empty() || known(before).is_some())
        });
        if list {
            let each: Vec<_> = floats().map(|&(name, entry)| (name, name, entry)).collect();
            let told = each.first().and_then(|(name, _, _)| known(parent(name).0)?.1);
            return (!each.is_empty()).then_some(Photos {
                each,
                is_list: true,
                told,
                notes: vec![],
            });
        }
        let mut each: Vec<(&str, &str, &Entry)> = Vec::new();
        let (mut rounds, mut of_this) = (1, 1);
        for &(name, entry) in floats() {
            let photo = match parent(name) {
                (photo, last) if number(last) && !photo.is_empty() => photo,
                _ => name,
            };
            match each.last_mut() {
                Some(last) if last.0 == photo => {
                    *last = (photo, name, entry);
                    of_this += 1;
                }
                _ => {
                    each.push((photo, name, entry));
                    of_this = 1;
                }
            }
            rounds = rounds.max(of_this);
        }
        // Rounds may lie in one tensor, `[rounds, L, D]`.
        let several = each.len() > 1;
        let fits = |entry: &Entry| match count(entry) {
            Some(1) => true,
            Some(_) => several && entry.shape().len() == 3,
            None => false,
        };
        if each.is_empty() || !floats().all(|(_, entry)| fits(entry)) {
            return None;
        }
        rounds = floats().filter_map(|(_, entry)| count(entry)).fold(rounds, i64::max);
        let notes = match rounds {
            1 => Vec::new(),
            n => vec![format!("of up to {n} rounds for each photo the last is taken")],
        };
        Some(Photos { each, is_list: false, told: None, notes })
    }
}
