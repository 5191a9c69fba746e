//! The bytes of a file, mapped into memory, with the path they came from.

use crate::error::{Error, IoContext, Result};
use std::fmt::Display;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

/// A part of a file. Clones and slices share the mapping; nothing is read before it is looked at.
#[derive(Clone)]
pub(crate) struct Bytes {
    owner: Arc<Owner>,
    range: Range<usize>,
}

struct Owner {
    path: Box<Path>,
    data: Data,
}

enum Data {
    Mapped(memmap2::Mmap),
    Held(Vec<u8>),
}

impl Bytes {
    /// Maps a regular file. An empty file gives no bytes.
    #[allow(unsafe_code)]
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let file = crate::regular::open(path)?;
        let length = file.metadata().while_doing("read", path)?.len();
        if length == 0 {
            return Ok(Self::held(path, Vec::new()));
        }
        // SAFETY: the mapping is read-only and private to this struct, and every access is bounds-checked against
        // its length. A file that another process cuts short meanwhile stops this process with SIGBUS; one that is
        // rewritten in place gives wrong numbers, not undefined lengths, since every length was read once and
        // checked against the mapping. Files that this program writes itself are replaced by renaming (`atomic`),
        // which leaves the old mapping intact.
        let map = unsafe { memmap2::Mmap::map(&file) }.while_doing("read", path)?;
        let range = 0..map.len();
        Ok(Self { owner: Arc::new(Owner { path: path.into(), data: Data::Mapped(map) }), range })
    }

    /// Bytes that are in memory already; `path` is for messages.
    pub(crate) fn held(path: &Path, bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { owner: Arc::new(Owner { path: path.into(), data: Data::Held(bytes) }), range }
    }

    /// The bytes at `range` of this part, or `None` when it reaches beyond.
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Self { owner: self.owner.clone(), range: start..start + range.len() })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.owner.path
    }

    /// An error that names the file.
    pub(crate) fn fault(&self, message: impl Display) -> Error {
        Error::file(self.path(), message)
    }

    /// An error that names the file and the remedy for a file that is damaged.
    pub(crate) fn damaged(&self, message: impl Display) -> Error {
        Error::file_hint(self.path(), message, "the file is damaged or cut off: fetch it again")
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.owner.data {
            Data::Mapped(map) => map,
            Data::Held(bytes) => bytes,
        };
        &all[self.range.clone()]
    }
}
