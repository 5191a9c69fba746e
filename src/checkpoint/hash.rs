//! Fingerprints of files, for manifests and deltas.

use super::address::{Address, plain_key};
use super::shards::Index;
use crate::error::{IoContext, Result};
use crate::regular;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// The SHA-256 of a file, as 64 lower-case hexadecimal digits. That of `FILE#KEY` is another one for each key, and that
/// of a checkpoint in several files covers them all.
///
/// # Errors
/// [`crate::Error::Io`] when it cannot be read, [`crate::Error::File`] for a folder, a pipe or a device.
pub fn sha256(path: impl AsRef<Path>) -> Result<String> {
    let Address { file, key } = Address::of(path.as_ref());
    let whole = match Index::find(&file)? {
        Some(index) => index.sha256()?,
        None => of_file(&file)?,
    };
    Ok(match key {
        Some(key) => sha256_of(format!("{whole}#{}", plain_key(&key))),
        None => whole,
    })
}

/// That of one file. Reads it piece by piece.
pub(super) fn of_file(path: &Path) -> Result<String> {
    let mut file = regular::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).while_doing("read", path),
        }
    }
    Ok(digits(hasher))
}

/// The SHA-256 of bytes in memory, written as [`sha256`] writes it.
pub fn sha256_of(bytes: impl AsRef<[u8]>) -> String {
    digits(Sha256::new_with_prefix(bytes))
}

fn digits(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
