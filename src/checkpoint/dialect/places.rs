//! Where in a file networks lie: one rule for every wrapper.
//!
//! A prefix is a cut of a tensor's name at a `/` (a dictionary) or a `.` (a module). Wherever the names behind one
//! tell a network, there is one: behind `_orig_mod.`, `state_dict/generator.`, `g_ema/module.` … The shortest such prefix
//! is taken; inside of it only what is a whole network by itself counts as another one.

use super::super::Checkpoint;
use super::{Group, Network, foreign, telling};
use std::collections::BTreeSet;

/// Prefixes that are looked at; real files have a few.
const MAX_PREFIXES: usize = 48;
/// Dots of a name at which a prefix may end.
const MAX_DEPTH: usize = 24;
/// How many times as many names as a file has are looked at in all.
const MAX_WORK: usize = 12;

/// A network in a file.
pub(super) struct Place<'a> {
    /// What stands before its own names, the last `/` or `.` included; empty for the top level.
    pub(super) prefix: &'a str,
    pub(super) network: Network,
    /// Whether it is a whole network by itself.
    pub(super) complete: bool,
    /// Its tensors by their own names.
    pub(super) group: Group<'a>,
}

impl Place<'_> {
    /// The prefix as it is shown and asked for.
    pub(super) fn name(&self) -> &str {
        self.prefix.strip_suffix(['/', '.']).unwrap_or(self.prefix)
    }
}

/// The networks of a file, in the order of their names.
pub(super) fn find(checkpoint: &Checkpoint) -> Vec<Place<'_>> {
    let mut budget = checkpoint.entries.len().saturating_mul(MAX_WORK).max(10_000);
    let mut found: Vec<Place<'_>> = Vec::new();
    let ours = prefixes(checkpoint, |name, _| telling::may_begin(name));
    let others = prefixes(checkpoint, foreign::may_begin);
    for (prefix, known) in
        ours.into_iter().map(|prefix| (prefix, true)).chain(others.into_iter().map(|p| (p, false)))
    {
        let around = found.iter().any(|place| prefix.starts_with(place.prefix));
        if !known && around {
            continue;
        }
        let group = group(checkpoint, prefix);
        budget = budget.saturating_sub(group.len());
        if budget == 0 {
            break;
        }
        let names: BTreeSet<&str> = group.keys().copied().collect();
        let network = match known {
            true => telling::network(&names),
            false => foreign::name(&names).map(|what| Network::Unknown(foreign::sentence(what))),
        };
        let Some(network) = network else { continue };
        let complete = telling::is_complete(&network, &names);
        if complete || !around {
            found.push(Place { prefix, network, complete, group });
        }
    }
    // What is not ours owns the pieces in it that are no whole networks; beside a whole network a piece is none.
    let strangers: Vec<&str> = found
        .iter()
        .filter(|p| matches!(p.network, Network::Unknown(_)))
        .map(|p| p.prefix)
        .collect();
    let inside = |prefix: &str| strangers.iter().any(|&o| o != prefix && prefix.starts_with(o));
    let whole: Vec<Network> =
        found.iter().filter(|place| place.complete).map(|place| place.network.clone()).collect();
    found.retain(|place| {
        place.complete || !(inside(place.prefix) || whole.contains(&place.network))
    });
    let prefixes: Vec<&str> = found.iter().map(|place| place.prefix).collect();
    for place in &mut found {
        let inner = prefixes.iter().filter_map(|inner| inner.strip_prefix(place.prefix));
        let inner: Vec<&str> = inner.filter(|inner| !inner.is_empty()).collect();
        if !inner.is_empty() {
            place.group.retain(|name, _| !inner.iter().any(|inner| name.starts_with(inner)));
        }
    }
    found.sort_by_key(|place| place.prefix);
    found
}

/// The prefixes behind which a network may begin, the shortest first.
fn prefixes(checkpoint: &Checkpoint, may_begin: fn(&str, bool) -> bool) -> Vec<&str> {
    let mut found: BTreeSet<(usize, &str)> = BTreeSet::new();
    for name in checkpoint.entries.keys() {
        let mut at = name.rfind('/').map_or(0, |slash| slash + 1);
        for depth in 0..MAX_DEPTH {
            if may_begin(&name[at..], depth == 0) {
                found.insert((at, &name[..at]));
                if found.len() > MAX_PREFIXES {
                    found.pop_last();
                }
            }
            let Some(dot) = name[at..].find('.') else { break };
            at += dot + 1;
        }
    }
    found.into_iter().map(|(_, prefix)| prefix).collect()
}

/// The tensors behind a prefix, without those of dictionaries inside.
fn group<'a>(checkpoint: &'a Checkpoint, prefix: &str) -> Group<'a> {
    let all = checkpoint.entries.range(prefix.to_owned()..);
    all.map_while(|(name, entry)| Some((name.strip_prefix(prefix)?, entry)))
        .filter(|(name, _)| !name.contains('/'))
        .collect()
}
