//! The SHA-256 of a file, recorded beside it when it was first fetched, as `sha256sum` writes and checks it.

use crate::atomic;
use crate::error::{Error, IoContext, Result};
use std::path::{Path, PathBuf};

fn place(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// What was recorded for a file, if anything was.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let place = place(path);
    let text = match std::fs::read_to_string(&place) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.while_doing("read", &place)?,
    };
    let digits = text.split_whitespace().next().unwrap_or_default().to_lowercase();
    if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Some(digits));
    }
    Err(Error::file_hint(
        place,
        "holds no SHA-256: 64 hexadecimal digits are expected",
        "remove it to accept the next download as it comes",
    ))
}

/// Records it.
pub(super) fn write(path: &Path, sha256: &str) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    atomic::write(place(path), format!("{sha256}  {name}\n"))
}
