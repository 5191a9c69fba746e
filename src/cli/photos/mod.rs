//! Photos on the command line: which ones, and which part of each is looked at.

mod cutting;
mod landmarks;

pub(in crate::cli) use cutting::{Cutter, Piece};

use super::printer::Printer;
use crate::error::{Error, Result};
use crate::imaging::load;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which photos, and where the faces are.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct PhotoArgs {
    /// Photos (PNG, JPEG, WebP, GIF, TIFF, BMP), or folders of photos
    #[arg(value_name = "PHOTO", required = true)]
    pub(in crate::cli) photos: Vec<PathBuf>,
    /// Which face of a photo: `largest`, `all`, or a number (1 is the largest)
    #[arg(long, value_name = "FACE", default_value = "largest", help_heading = "Faces")]
    pub(in crate::cli) face: WhichFace,
    /// Where the faces are, instead of looking for them
    ///
    /// Text: five lines `x y` (left eye, right eye, nose, left and right corner of the mouth, as seen) or dlib's 68, for
    /// one photo. JSON: {"photo.jpg": [[x, y], …], …} for many.
    #[arg(long, value_name = "FILE", conflicts_with = "face", help_heading = "Faces")]
    pub(in crate::cli) landmarks: Option<PathBuf>,
    /// The photos are cut out already, or show no faces: take the middle
    #[arg(long, conflicts_with_all = ["face", "landmarks"], help_heading = "Faces")]
    pub(in crate::cli) no_align: bool,
    /// Take SIZE pixels (the height) from the middle, for domains other than faces
    #[arg(long, value_name = "SIZE", value_parser = clap::value_parser!(u32).range(1..=1 << 15), conflicts_with_all = ["face", "landmarks"], help_heading = "Faces")]
    pub(in crate::cli) crop: Option<u32>,
}

/// Which face of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum WhichFace {
    Largest,
    All,
    /// From 1, the largest.
    Number(usize),
}

impl FromStr for WhichFace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "largest" => Ok(Self::Largest),
            "all" => Ok(Self::All),
            number => match number.parse() {
                Ok(n) if n > 0 => Ok(Self::Number(n)),
                _ => Err("expected `largest`, `all`, or a number from 1".into()),
            },
        }
    }
}

impl fmt::Display for WhichFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Largest => f.write_str("largest"),
            Self::All => f.write_str("all"),
            Self::Number(n) => n.fmt(f),
        }
    }
}

/// A photo that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Photo {
    pub(in crate::cli) path: PathBuf,
    /// What its results are called: the name of the file without its ending, with a number where two have the same.
    pub(in crate::cli) name: String,
}

/// The photos of files and folders, in the order in which they were named; those of a folder by name.
///
/// # Errors
/// [`Error::Request`] for a path that does not exist, or when there is no photo at all.
pub(in crate::cli) fn gather(paths: &[PathBuf], printer: &Printer) -> Result<Vec<Photo>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let (images, others) = load::sorted_files(path)?;
            if let Some(first) = others.first() {
                let more = match others.len() {
                    1 => String::new(),
                    n => format!(" and {} more", n - 1),
                };
                printer.warn(&format!("no image, passed over: `{}`{more}", first.display()));
            }
            files.extend(images);
        } else if path.exists() {
            files.push(path.clone());
        } else {
            return Err(Error::request(
                format!("there is no photo `{}`", path.display()),
                "check the spelling of the path",
            ));
        }
    }
    if files.is_empty() {
        return Err(Error::request(
            "there are no photos in what was named",
            format!("name {} files, or folders with some", load::READABLE),
        ));
    }
    let named = |path: PathBuf| Photo { name: stem(&path), path };
    Ok(distinct(files.into_iter().map(named).collect(), &BTreeMap::new()))
}

/// Photos with different names: those in `known` (by their paths) keep them, others of the same name get a number.
pub(in crate::cli) fn distinct(
    photos: Vec<Photo>,
    known: &BTreeMap<PathBuf, String>,
) -> Vec<Photo> {
    let mut taken: BTreeSet<String> = known.values().cloned().collect();
    let named = |photo: Photo| {
        if let Some(name) = known.get(&photo.path) {
            return Photo { name: name.clone(), ..photo };
        }
        let stem = stem(&photo.path);
        let numbered = (2..).map(|n| format!("{stem}_{n}"));
        let name = std::iter::once(stem.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name))
            .expect("there are more numbers than photos");
        taken.insert(name.clone());
        Photo { name, ..photo }
    };
    photos.into_iter().map(named).collect()
}

/// A file's name without its ending, safe as the name of a folder.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let safe: String = stem
        .chars()
        .map(|c| if c.is_control() || r#"/\:*?"<>|"#.contains(c) { '_' } else { c })
        .collect();
    match safe.trim_matches(['.', ' ']) {
        "" => "photo".into(),
        safe => safe.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_of_one_name_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            path
        };
        let (a, b) = (file("a/me.jpg"), file("b/me.png"));
        file("b/notes.txt");
        let printer = Printer::new(true, false);
        let photos = gather(&[a.clone(), folder.path().join("b")], &printer).unwrap();
        let [first, second] = &photos[..] else { panic!("{photos:?}") };
        assert_eq!((&first.path, first.name.as_str()), (&a, "me"));
        assert_eq!((&second.path, second.name.as_str()), (&b, "me_2"));
        // Named before: it keeps its name, whatever the order.
        let known = BTreeMap::from([(b, "me".to_owned())]);
        let names: Vec<String> = distinct(photos, &known).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["me_2", "me"]);
        let error = gather(&[folder.path().join("c.png")], &printer).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(stem(Path::new("x/..")), "photo");
        assert_eq!(stem(Path::new("a:b?.png")), "a_b_");
    }

    #[test]
    fn a_face_is_named_by_word_or_number() {
        let read = |text: &str| text.parse::<WhichFace>();
        assert_eq!(read("all"), Ok(WhichFace::All));
        assert_eq!(read("2"), Ok(WhichFace::Number(2)));
        assert!(read("0").is_err() && read("left").is_err());
        assert_eq!(WhichFace::Largest.to_string().parse(), Ok(WhichFace::Largest));
    }
}
