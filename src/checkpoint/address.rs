//! What a user names: a file, or one of several networks in it as `FILE#KEY`.
//!
//! A key is the name of a dictionary or the beginning of dotted names, as [`super::recognise`] lists them; `/` and `.`
//! mean the same in it, and nothing behind the `#` means the top level. A file whose own name has a `#` is that file.

use std::path::{Path, PathBuf};

/// A file, and the key of a network in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The file, or what is no file at all.
    pub file: PathBuf,
    /// What stands behind the `#`.
    pub key: Option<String>,
}

impl Address {
    /// Takes a path apart, if it is not there as it stands and what is before a `#` is.
    pub fn of(path: &Path) -> Self {
        let whole = || Self { file: path.to_path_buf(), key: None };
        let Some(text) = path.to_str().filter(|text| text.contains('#') && !path.exists()) else {
            return whole();
        };
        let mut places = text.rmatch_indices('#').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let found = places.find(|(file, _)| !file.is_empty() && Path::new(file).exists());
        found.map_or_else(whole, |(file, key)| Self { file: file.into(), key: Some(key.into()) })
    }

    /// Takes a name apart that may stand for a file elsewhere: `faces128#g_ema`.
    pub fn of_name(asked: &str) -> (&str, Option<&str>) {
        if Path::new(asked).exists() {
            return (asked, None);
        }
        let places = || asked.rmatch_indices('#').map(|(at, _)| (&asked[..at], &asked[at + 1..]));
        let there = places().find(|(file, _)| !file.is_empty() && Path::new(file).exists());
        match there.or_else(|| places().next_back().filter(|(file, _)| !file.is_empty())) {
            Some((file, key)) => (file, Some(key)),
            None => (asked, None),
        }
    }

    /// The path that is taken apart again to this address.
    pub fn joined(file: PathBuf, key: Option<&str>) -> PathBuf {
        match key {
            Some(key) => {
                let mut text = file.into_os_string();
                text.push("#");
                text.push(key);
                text.into()
            }
            None => file,
        }
    }
}

/// Whether the file of a path, that of `FILE#KEY` included, is there.
pub fn exists(path: &Path) -> bool {
    path.exists() || Address::of(path).key.is_some()
}

/// The path with its file made absolute.
///
/// # Errors
/// As [`Path::canonicalize`].
pub fn canonical(path: &Path) -> std::io::Result<PathBuf> {
    let Address { file, key } = Address::of(path);
    Ok(Address::joined(file.canonicalize()?, key.as_deref()))
}

/// A key in the one spelling by which two are compared.
pub(super) fn plain_key(key: &str) -> String {
    key.trim_end_matches(['/', '.']).replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_behind_the_last_hash_whose_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.pt", "b#c.pt"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let parts = |name: &str| {
            let Address { file, key } = Address::of(&at(name));
            (file.file_name().unwrap().to_str().unwrap().to_owned(), key)
        };
        assert_eq!(parts("a.pt"), ("a.pt".into(), None));
        assert_eq!(parts("a.pt#x/y"), ("a.pt".into(), Some("x/y".into())));
        assert_eq!(parts("a.pt#"), ("a.pt".into(), Some(String::new())));
        assert_eq!(parts("b#c.pt"), ("b#c.pt".into(), None));
        assert_eq!(parts("b#c.pt#g"), ("b#c.pt".into(), Some("g".into())));
        assert_eq!(parts("no.pt#g"), ("no.pt#g".into(), None));
        assert!(exists(&at("a.pt#g")) && !exists(&at("no.pt#g")));
        assert_eq!(canonical(&at("a.pt#g")).unwrap(), {
            let file = at("a.pt").canonicalize().unwrap();
            Address::joined(file, Some("g"))
        });
    }

    #[test]
    fn a_name_that_is_no_path_has_a_key_too() {
        assert_eq!(Address::of_name("faces128#g/ema"), ("faces128", Some("g/ema")));
        assert_eq!(Address::of_name("faces128"), ("faces128", None));
        assert_eq!(Address::of_name("#g"), ("#g", None));
    }
}
