//! One error type for the whole library: what was wrong, where, and what to do about it.
//!
//! Messages follow one style: lower case, no full stop, names and paths in backticks. The remedy is kept apart
//! from the message ([`Error::hint`]), so that a terminal can print it on a line of its own.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Result of every fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A situation that a caller can act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request itself is wrong: a flag, a phrase, a name that does not exist.
    #[error("{message}")]
    Request {
        /// What is wrong with it.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// A preset, configuration file or combination of flags holds values that cannot be used.
    #[error("{origin}: {}", list(.problems))]
    Config {
        /// The file or "the command line".
        origin: String,
        /// Every fault that was found, not only the first.
        problems: Vec<String>,
    },
    /// The asked device is not there.
    #[error("device `{asked}` is not available: {reason}")]
    Device {
        /// As the user wrote it.
        asked: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The operating system refused to read or write a file.
    #[error("cannot {doing} `{}`: {source}", .path.display())]
    Io {
        /// "read", "write", "create" …
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A file was read, but it is not what it should be.
    #[error("`{}`: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The tensors of a file do not make the model that is wanted. All faults at once.
    #[error("{what}: {}", list(.problems))]
    Tensors {
        /// The file or model.
        what: String,
        /// One line per tensor.
        problems: Vec<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Some of many things could not be done; the others were.
    #[error("{} of {total} {what} could not be done: {}", .problems.len(), list(.problems))]
    Partly {
        /// Things of what kind: "photos".
        what: &'static str,
        /// How many there were.
        total: usize,
        /// What was wrong with each one that failed.
        problems: Vec<String>,
        /// What to do about them.
        hint: Option<String>,
    },
    /// The loss became NaN or exploded.
    #[error("the training diverged at step {step}: {reason}")]
    Diverged {
        /// Step at which it was seen.
        step: u64,
        /// What was seen.
        reason: String,
    },
    /// The device or the machine ran out of memory.
    #[error("out of memory during {doing}")]
    OutOfMemory {
        /// Which work.
        doing: String,
    },
    /// libtorch refused an operation: a defect of this program, or a device that failed.
    #[error("libtorch failed during {doing}: {message}")]
    Torch {
        /// Which work.
        doing: String,
        /// libtorch's first line.
        message: String,
    },
    /// Stopped by Ctrl-C or a termination signal, after everything was saved.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A wrong request, with its remedy.
    pub fn request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Request { message: message.into(), hint: Some(hint.into()) }
    }

    /// A file that is not what it should be.
    pub fn file(path: impl AsRef<Path>, message: impl Display) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.to_string(), hint: None }
    }

    /// As [`Error::file`], with a remedy.
    pub fn file_hint(
        path: impl AsRef<Path>,
        message: impl Display,
        hint: impl Into<String>,
    ) -> Self {
        Self::File {
            path: path.as_ref().to_path_buf(),
            message: message.to_string(),
            hint: Some(hint.into()),
        }
    }

    /// What the user can do about it, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Request { hint, .. }
            | Self::File { hint, .. }
            | Self::Tensors { hint, .. }
            | Self::Partly { hint, .. } => hint.clone(),
            Self::Config { .. } => Some("`nada presets NAME` prints a complete configuration to start from".into()),
            Self::Device { .. } => Some("use `--device cpu`, or `--device auto` to take what is there".into()),
            Self::Io { source, path, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    Some(format!("free some space on the disk of `{}`, then continue with `--resume`", path.display()))
                }
                std::io::ErrorKind::PermissionDenied => Some("check who owns it, or choose another place".into()),
                std::io::ErrorKind::NotFound => Some("check the spelling of the path".into()),
                _ => None,
            },
            Self::Diverged { .. } => Some(
                "try a smaller `--lr`, fewer `--iterations`, or more augmentation".into(),
            ),
            Self::OutOfMemory { .. } => {
                Some("use a smaller `--batch`, `--layers adaptive` with a smaller batch, or another device".into())
            }
            Self::Torch { .. } | Self::Interrupted => None,
        }
    }

    /// The process's exit code: 2 for a wrong request, 130 when interrupted, 1 for work that failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Request { .. } | Self::Config { .. } | Self::Device { .. } => 2,
            Self::Io { source, doing: "read", .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                2
            }
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// Attaches what was being done, and to which path, to an I/O error.
pub trait IoContext<T> {
    /// `doing` completes "cannot … `path`".
    fn while_doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn while_doing(self, doing: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.as_ref().to_path_buf(), source })
    }
}

/// One fault stays on the line; several get a line each.
fn list(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        many => many.iter().map(|p| format!("\n  - {p}")).collect(),
    }
}

/// The names of `known` that look like `name`, best first: for "did you mean".
pub fn near_names<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let best = scored.first().map_or(0.0, |s| s.0);
    scored.retain(|s| s.0 > best - 0.08);
    scored.into_iter().take(3).map(|(_, k)| k.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_problem_and_knows_its_exit_code() {
        let e = Error::Config { origin: "x.yaml".into(), problems: vec!["a".into(), "b".into()] };
        assert_eq!(e.to_string(), "x.yaml: \n  - a\n  - b");
        assert_eq!(e.exit_code(), 2);
        assert_eq!(Error::Interrupted.exit_code(), 130);
        assert_eq!(Error::file("x", "y").exit_code(), 1);
    }

    #[test]
    fn offers_near_names() {
        assert_eq!(near_names("sketh", ["sketch", "painting", "cartoon"]), ["sketch"]);
    }
}
