//! Places to write to, asked about before any work: nothing that is there is replaced unless the user says so.

use crate::error::{Error, IoContext, Result};
use std::path::{Path, PathBuf};

/// Refuses a file that exists (unless `force`), a folder of that name, and a path with a file in its way.
pub(super) fn claim_file(path: &Path, force: bool) -> Result<()> {
    no_file_above(path)?;
    if path.is_dir() {
        return Err(Error::request(
            format!("`{}` is a folder, the name of a file is expected", path.display()),
            "add a file name to it",
        ));
    }
    if !force && std::fs::symlink_metadata(path).is_ok() {
        return Err(Error::request(
            format!("`{}` exists already", path.display()),
            "choose another name, or replace it with `--force`",
        ));
    }
    Ok(())
}

/// Refuses a folder that holds anything (unless `force`), a file of that name, and a path with a file in its way.
pub(super) fn claim_folder(path: &Path, force: bool) -> Result<()> {
    no_file_above(path)?;
    if path.is_file() {
        return Err(Error::request(
            format!("`{}` is a file, a folder is expected", path.display()),
            "name a folder, or a file that ends in `.png` for one picture of all",
        ));
    }
    let mut entries = match std::fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.while_doing("read", path)?,
    };
    let first = entries.next().filter(|_| !force).transpose().while_doing("read", path)?;
    let Some(first) = first else { return Ok(()) };
    let name = first.file_name();
    Err(Error::request(
        format!(
            "the folder `{}` is not empty: it holds `{}`",
            path.display(),
            name.to_string_lossy()
        ),
        "choose another one, or write into it with `--force` (files of the same names are replaced)",
    ))
}

/// Makes the folder that a file goes to.
pub(super) fn make_room(file: &Path) -> Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            std::fs::create_dir_all(folder).while_doing("create", folder)
        }
        _ => Ok(()),
    }
}

/// The first of `stem.png`, `stem-2.png`, `stem-3.png` … that does not exist.
pub(super) fn free_picture(stem: &str) -> PathBuf {
    let names = (2..).map(|n: u64| format!("{stem}-{n}.png"));
    std::iter::once(format!("{stem}.png"))
        .chain(names)
        .map(PathBuf::from)
        .find(|path| std::fs::symlink_metadata(path).is_err())
        .expect("there are more numbers than files")
}

fn no_file_above(path: &Path) -> Result<()> {
    match path.ancestors().skip(1).find(|a| a.exists()).filter(|a| !a.is_dir()) {
        Some(file) => Err(Error::request(
            format!("`{}` cannot be made: `{}` is a file", path.display(), file.display()),
            "choose another place",
        )),
        None => Ok(()),
    }
}
