//! `FILE#KEY`: a part of a file, by its name in it.

use std::path::{Path, PathBuf};

/// The file and the key. A file whose own name has a `#` is itself; what is no file stays as it was typed.
pub(crate) fn split(path: &Path) -> (PathBuf, Option<String>) {
    if path.exists() {
        return (path.into(), None);
    }
    let Some(text) = path.to_str() else { return (path.into(), None) };
    let mut signs = text.char_indices().filter(|&(_, c)| c == '#').map(|(at, _)| at);
    match signs.find(|&at| Path::new(&text[..at]).is_file()) {
        Some(at) => {
            (text[..at].into(), Some(text[at + 1..].into()).filter(|k: &String| !k.is_empty()))
        }
        None => (path.into(), None),
    }
}

/// The one that a key means: by its whole name, by the end of its name, or by its number.
pub(crate) fn find(names: &[&str], key: &str) -> Option<usize> {
    let ends = |name: &str| name.strip_suffix(key).is_some_and(|before| before.ends_with('/'));
    names
        .iter()
        .position(|&name| name == key)
        .or_else(|| {
            let mut all = (0..names.len()).filter(|&i| ends(names[i]));
            all.next().filter(|_| all.next().is_none())
        })
        .or_else(|| key.parse().ok().filter(|&number| number < names.len()))
}

/// A few names, for a message.
pub(crate) fn list(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > SHOWN { " …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_follows_a_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.pt"), "").unwrap();
        std::fs::write(at("b#c.pt"), "").unwrap();
        assert_eq!(split(&at("a.pt#old#2")), (at("a.pt"), Some("old#2".into())));
        assert_eq!(split(&at("a.pt#")), (at("a.pt"), None));
        assert_eq!(split(&at("b#c.pt")), (at("b#c.pt"), None));
        assert_eq!(split(&at("b#c.pt#1")), (at("b#c.pt"), Some("1".into())));
        assert_eq!(split(&at("none.pt#1")), (at("none.pt#1"), None));
    }

    #[test]
    fn names_count_before_their_ends_and_numbers() {
        let names = ["face/age", "age", "face/smile", "1", "2/pose", "3/pose"];
        let found = ["age", "smile", "1", "0", "pose", "9"].map(|key| find(&names, key));
        assert_eq!(found, [Some(1), Some(2), Some(3), Some(0), None, None]);
    }
}
