//! Where faces are, from a file: five points or dlib's 68, for one photo or for many.

use crate::error::{Error, Result};
use crate::invert::align::{Landmarks, Point};
use crate::regular;
use std::collections::BTreeMap;
use std::path::Path;

/// The points of a file.
#[derive(Debug)]
pub(super) enum Given {
    /// Of the only photo.
    One(Landmarks),
    /// By the names of the photos' files.
    Many(BTreeMap<String, Landmarks>),
}

impl Given {
    /// Reads lines of `x y`, or a JSON object of lists of points.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::File`] with the line or the photo that is wrong.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = regular::text(path, "a list of landmarks")?;
        if text.trim_start().starts_with('{') {
            let all: BTreeMap<String, Vec<Point>> = serde_json::from_str(&text).map_err(|e| {
                Error::file_hint(path, e, "expected {\"photo.jpg\": [[x, y], …], …}")
            })?;
            let landmarks = all.into_iter().map(|(name, points)| {
                let face = face(path, &points, &format!("`{name}`"))?;
                Ok((name, face))
            });
            return Ok(Self::Many(landmarks.collect::<Result<_>>()?));
        }
        let mut points = Vec::new();
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let parts = line.split([' ', '\t', ',', ';']).filter(|part| !part.is_empty());
            let numbers: Option<Vec<f64>> = parts.map(|n| n.parse().ok()).collect();
            match numbers.as_deref() {
                Some(&[x, y]) => points.push([x, y]),
                _ => {
                    return Err(Error::file_hint(
                        path,
                        format!("line {}: expected two numbers, found `{}`", i + 1, line.trim()),
                        "write `x y` on each line, in pixels from the upper left corner",
                    ));
                }
            }
        }
        Ok(Self::One(face(path, &points, "it")?))
    }

    /// The points of a photo.
    pub(super) fn of(&self, photo: &Path) -> Option<Landmarks> {
        match self {
            Self::One(face) => Some(*face),
            Self::Many(all) => all.get(photo.file_name()?.to_string_lossy().as_ref()).copied(),
        }
    }
}

fn face(path: &Path, points: &[Point], whose: &str) -> Result<Landmarks> {
    let finite = points.iter().flatten().all(|n| n.is_finite());
    Landmarks::from_points(points).filter(|_| finite).ok_or_else(|| {
        Error::file_hint(
            path,
            format!("{whose} has {} points", points.len()),
            "five are expected (left eye, right eye, nose, left and right corner of the mouth, as seen), or dlib's 68",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_json_are_read_and_faults_are_placed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("l.txt");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Given::read(&file)
        };
        let five = "1 2\n3,4\n\n5 6\n7\t8\n9;10\n";
        let face = read(five).unwrap().of(Path::new("any.jpg")).unwrap();
        assert_eq!((face.eye_left, face.mouth_right), ([1.0, 2.0], [9.0, 10.0]));
        let many = read(r#"{"a.jpg": [[1,2],[3,4],[5,6],[7,8],[9,10]]}"#).unwrap();
        assert!(many.of(Path::new("x/a.jpg")).is_some() && many.of(Path::new("b.jpg")).is_none());
        for (text, words) in [
            ("1 2\n3 x\n", "line 2: expected two numbers"),
            ("1 2\n3 4\n", "has 2 points"),
            ("nan 1\n1 1\n1 1\n1 1\n1 1", "has 5 points"),
            (r#"{"a.jpg": [[1,2]]}"#, "`a.jpg` has 1 points"),
            (r#"{"a.jpg": 3}"#, "invalid type"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
