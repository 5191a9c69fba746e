//! Whether a folder can be had, found out before a person waits for anything.

use crate::error::{Error, IoContext, Result};
use std::io::Write;
use std::path::Path;

/// Refuses a folder that holds anything, and a path with a file in its way.
pub(super) fn must_be_free(path: &Path) -> Result<()> {
    if let Some(file) = path.ancestors().find(|a| a.exists()).filter(|a| !a.is_dir()) {
        return Err(Error::request(
            format!(
                "the folder `{}` cannot be made: `{}` is a file",
                path.display(),
                file.display()
            ),
            "choose another `--out`",
        ));
    }
    let entries = match std::fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.while_doing("read", path)?,
    };
    for entry in entries {
        let entry = entry.while_doing("read", path)?;
        let name = entry.file_name();
        // What a start that was killed leaves behind.
        if name == super::LOCK || is_part(&name.to_string_lossy()) {
            continue;
        }
        return Err(if super::RunDir::is_run(path) {
            Error::request(
                format!("`{}` holds a run already", path.display()),
                format!(
                    "continue it with `--resume {}`, or choose another `--out`",
                    path.display()
                ),
            )
        } else {
            Error::request(
                format!(
                    "the folder `{}` is not empty: it holds `{}`",
                    path.display(),
                    name.to_string_lossy()
                ),
                "choose another `--out`; `--resume DIR` continues a run",
            )
        });
    }
    Ok(())
}

/// Makes sure that files can be written, by writing one.
pub(super) fn probe(folder: &Path) -> Result<()> {
    tempfile::Builder::new()
        .prefix(".probe.")
        .suffix(".part")
        .tempfile_in(folder)
        .and_then(|mut file| file.write_all(b"nada"))
        // tempfile repeats the path in its message, in its own words.
        .map_err(|e| std::io::Error::from(e.kind()))
        .while_doing("write into", folder)
}

/// Removes what a killed process was writing when it died.
pub(super) fn remove_parts(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_part(&entry.file_name().to_string_lossy()) {
            std::fs::remove_file(entry.path()).while_doing("remove", entry.path())?;
        }
    }
    Ok(())
}

/// The temporary names of [`crate::atomic`].
fn is_part(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".part")
}
