//! Files that appear whole or not at all: written beside their place, then renamed.

use crate::error::{IoContext, Result};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path`, replacing what was there.
///
/// # Errors
/// [`crate::Error::Io`]; then whatever lay at `path` before still does.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    let (path, bytes) = (path.as_ref(), bytes.as_ref());
    write_with(path, |file| {
        file.write_all(bytes)
            .map_err(|e| with_size(e, bytes.len() as u64))
            .while_doing("write", path)
    })
}

/// As [`write()`], with a function that does the writing.
///
/// The file is on the disk, not only in the system's memory, when this returns. A link is followed: what it points
/// to is replaced.
///
/// # Errors
/// What `fill` returns, or [`crate::Error::Io`]; then whatever lay at `path` before still does.
pub fn write_with(
    path: impl AsRef<Path>,
    fill: impl FnOnce(&mut File) -> Result<()>,
) -> Result<()> {
    let asked = path.as_ref();
    let path = asked.canonicalize().unwrap_or_else(|_| asked.to_path_buf());
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    #[cfg(unix)]
    let builder = {
        use std::os::unix::fs::PermissionsExt;
        // As an ordinary new file: the process's umask takes its share.
        builder.permissions(std::fs::Permissions::from_mode(0o666))
    };
    let mut part = builder.tempfile_in(&folder).while_doing("write", asked)?;
    fill(part.as_file_mut())?;
    part.as_file().sync_all().while_doing("write", asked)?;
    part.persist(&path).map_err(|e| e.error).while_doing("write", asked)?;
    sync_folder_of(&path)
}

/// Puts the new name of a file on the disk; systems that cannot open folders do without.
pub(crate) fn sync_folder_of(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).while_doing("write", folder)?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Adds how much room is needed to the system's words about a full disk.
pub(crate) fn with_size(error: io::Error, total: u64) -> io::Error {
    match error.kind() {
        kind @ (io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge) => {
            io::Error::new(kind, format!("{error}; {total} bytes are needed"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, "old").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(b"half").while_doing("write", &path)?;
            Err(Error::file(&path, "stop"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no/a.txt");
        let error = write(&path, "x").unwrap_err().to_string();
        assert!(error.contains("no/a.txt`"), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_with_the_bytes_that_are_needed() {
        let told = with_size(io::ErrorKind::StorageFull.into(), 1234);
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
        assert!(told.to_string().ends_with("1234 bytes are needed"), "{told}");
    }

    #[cfg(unix)]
    #[test]
    fn files_have_the_permissions_of_ordinary_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write(&ours, "x").unwrap();
        std::fs::write(&plain, "x").unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");
        assert!(link.is_symlink());
    }
}
