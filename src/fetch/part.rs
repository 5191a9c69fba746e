//! A file on its way: the bytes so far in `FILE.part`, and in `FILE.part.yaml` which version of it they are of.

use crate::atomic;
use crate::error::{Error, IoContext, Result};
use fs4::{FileExt, TryLockError};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What the server said about the file when it began to come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    /// Where it comes from.
    url: String,
    /// A strong `ETag`, or else `Last-Modified`: what `If-Range` takes.
    pub(super) validator: Option<String>,
    /// Its length.
    pub(super) total: Option<u64>,
}

/// The `.part` file, locked while this lives.
pub(super) struct Part {
    path: PathBuf,
    notes: PathBuf,
    file: File,
    len: u64,
    pub(super) version: Version,
}

impl Part {
    /// Opens or makes it. Bytes of another address are dropped; so are those that nothing ties to a version, unless
    /// a checksum will tell at the end.
    pub(super) fn open(target: &Path, url: &str, checked: bool) -> Result<Self> {
        let beside = |end: &str| {
            let mut name = target.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        let (path, notes) = (beside(".part"), beside(".part.yaml"));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.while_doing("write", &path)?;
        match FileExt::try_lock(&file) {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::file_hint(
                    &path,
                    "another `nada fetch` writes to it",
                    "wait until it is done",
                ));
            }
            // A file system without locks: two processes at once would be caught by the checksum.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let text = std::fs::read_to_string(&notes).unwrap_or_default();
        let version: Version = serde_yaml::from_str(&text).unwrap_or_default();
        let len = file.metadata().while_doing("read", &path)?.len();
        let known = version.url == url && (checked || version.validator.is_some());
        let mut part = Self { path, notes, file, len, version };
        if !known {
            part.clear()?;
        }
        part.version.url = url.to_owned();
        Ok(part)
    }

    /// The `.part` file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Drops all bytes and what was known of the version.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.file.set_len(0).while_doing("write", &self.path)?;
        self.len = 0;
        self.version = Version { url: std::mem::take(&mut self.version.url), ..Version::default() };
        Ok(())
    }

    /// Writes down which version comes, before its first byte.
    pub(super) fn begin(&mut self, validator: Option<String>, total: Option<u64>) -> Result<()> {
        self.version.validator = validator;
        self.version.total = total;
        let text = serde_yaml::to_string(&self.version)
            .map_err(|e| Error::file(&self.notes, format!("cannot be written: {e}")))?;
        atomic::write(&self.notes, text)?;
        self.file.seek(SeekFrom::Start(self.len)).while_doing("write", &self.path)?;
        Ok(())
    }

    /// Adds bytes at the end.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let needed = self.version.total.unwrap_or(self.len + bytes.len() as u64);
        self.file
            .write_all(bytes)
            .map_err(|e| atomic::with_size(e, needed))
            .while_doing("write", &self.path)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Gives it its final name.
    pub(super) fn finish(self, target: &Path) -> Result<()> {
        self.file.sync_all().while_doing("write", &self.path)?;
        super::put_in_place(&self.path, target)?;
        // The bytes are in place: notes that stay behind are replaced by the next download.
        let _ = std::fs::remove_file(&self.notes);
        Ok(())
    }

    /// Removes every trace.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).while_doing("remove", &self.path)?;
        let _ = std::fs::remove_file(&self.notes);
        Ok(())
    }
}
