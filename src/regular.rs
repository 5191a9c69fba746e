//! Files that a person names, opened only where they are files: a pipe would be waited for, a device may have no end.

use crate::error::{Error, IoContext, Result};
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

/// More is no list, no configuration and no card.
pub(crate) const MAX_TEXT: u64 = 16 << 20;

/// What the system knows about a file, which is not opened.
///
/// # Errors
/// [`Error::Io`] when it is not there; [`Error::File`] for a folder, a pipe, a socket or a device.
pub(crate) fn about(path: &Path) -> Result<Metadata> {
    let about = std::fs::metadata(path).while_doing("read", path)?;
    if about.is_file() {
        return Ok(about);
    }
    if about.is_dir() {
        return Err(Error::file_hint(
            path,
            "is a folder, a file is expected",
            "name the file inside it",
        ));
    }
    Err(Error::file_hint(
        path,
        "is a pipe or a device, not a regular file",
        "write what comes out of it into a file, and name that",
    ))
}

/// The file, to read from.
///
/// # Errors
/// As [`about`]; [`Error::Io`].
pub(crate) fn open(path: &Path) -> Result<File> {
    about(path)?;
    File::open(path).while_doing("read", path)
}

/// A whole file, if it has at most `most` bytes.
///
/// # Errors
/// As [`open`]; [`Error::File`] for a longer one, which `what` it would be.
pub(crate) fn bytes(path: &Path, most: u64, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes).while_doing("read", path)?;
    if bytes.len() as u64 > most {
        let most = most >> 20;
        return Err(Error::file(path, format!("too large for {what} (more than {most} MiB)")));
    }
    Ok(bytes)
}

/// A whole text, `what` in a message about a file that is too long.
///
/// # Errors
/// As [`bytes`]; [`Error::Io`] for one that is not UTF-8.
pub(crate) fn text(path: &Path, what: &str) -> Result<String> {
    String::from_utf8(bytes(path, MAX_TEXT, what)?)
        .map_err(|_| {
            std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "stream did not contain valid UTF-8",
            )
        })
        .while_doing("read", path)
}
