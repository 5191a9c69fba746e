//! Which files make a generator: a whole one, and what adaptations changed in it.

use std::fmt;
use std::path::{Path, PathBuf};

/// The files of a generator, as `--generator BASE+DELTA` names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratorFiles {
    /// A whole generator.
    pub base: PathBuf,
    /// Put upon it one after the other; empty for a generator that is whole by itself.
    pub deltas: Vec<PathBuf>,
}

impl GeneratorFiles {
    /// The files in one line, `BASE+DELTA`: for messages, records, and to be resolved again.
    pub fn joined(&self) -> PathBuf {
        self.to_string().into()
    }
}

impl fmt::Display for GeneratorFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.base.display())?;
        self.deltas.iter().try_for_each(|delta| write!(f, "+{}", delta.display()))
    }
}

impl From<PathBuf> for GeneratorFiles {
    fn from(base: PathBuf) -> Self {
        Self { base, deltas: Vec::new() }
    }
}

impl From<&Path> for GeneratorFiles {
    fn from(base: &Path) -> Self {
        base.to_path_buf().into()
    }
}

impl From<&PathBuf> for GeneratorFiles {
    fn from(base: &PathBuf) -> Self {
        base.clone().into()
    }
}

impl From<&GeneratorFiles> for GeneratorFiles {
    fn from(files: &GeneratorFiles) -> Self {
        files.clone()
    }
}
