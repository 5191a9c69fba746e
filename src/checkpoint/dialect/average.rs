//! The mean latent that belongs to a generator, where it lies beside it: rosinality's `latent_avg` stands at the top of
//! the file, above `g_ema`.

use super::super::{Checkpoint, Entry};

/// What programs call it.
const NAMES: [&str; 8] = [
    "latent_avg",
    "w_avg",
    "dlatent_avg",
    "mean_latent",
    "latent_mean",
    "w_mean",
    "mean_w",
    "avg_latent",
];

/// Whether a name may be that of a mean latent.
pub(super) fn is_name(path: &str) -> bool {
    NAMES.contains(&path.rsplit(['/', '.']).next().unwrap_or_default())
}

/// Whether a file has one.
pub(super) fn is_there(checkpoint: &Checkpoint) -> bool {
    let above = checkpoint.chosen.as_ref().is_some_and(|chosen| !chosen.averages.is_empty());
    above || checkpoint.entries.keys().any(|path| is_name(path))
}

/// The nearest one: in the group whose names begin with `prefix`, else at the levels above it.
pub(super) fn beside(checkpoint: &Checkpoint, prefix: &str) -> Option<Entry> {
    let inner = levels(prefix).find_map(|level| at(level, |name| checkpoint.entries.get(name)));
    let outer = || {
        let chosen = checkpoint.chosen.as_ref()?;
        levels(&chosen.key).find_map(|level| at(level, |name| chosen.averages.get(name)))
    };
    inner.or_else(outer).cloned()
}

fn at<'a>(level: &str, get: impl Fn(&str) -> Option<&'a Entry>) -> Option<&'a Entry> {
    NAMES.iter().find_map(|name| get(&format!("{level}{name}")))
}

/// `a/b.` is inside `a/`, which is inside the top level.
fn levels(prefix: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(prefix), |level| {
        let rest = level.strip_suffix(['/', '.']).filter(|rest| !rest.is_empty())?;
        Some(&rest[..rest.rfind(['/', '.']).map_or(0, |cut| cut + 1)])
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn levels_go_up_to_the_top() {
        let levels = |prefix| super::levels(prefix).collect::<Vec<_>>();
        assert_eq!(levels("a/b.c."), ["a/b.c.", "a/b.", "a/", ""]);
        assert_eq!(levels("a."), ["a.", ""]);
        assert_eq!(levels(""), [""]);
    }
}
