//! Public weights, fetched once and kept: a table of well-known files, and a download that survives bad networks.
//!
//! [`fetch`] brings a row of the [`table()`] into the models folder. What is on its way lies beside its place as
//! `FILE.part`, with a few lines in `FILE.part.yaml` that say which version of the file it is; a broken download goes
//! on where it ended, or starts again when the server has another version. Nothing gets its final name before its
//! length and SHA-256 were compared and it was opened as a checkpoint.

mod address;
mod client;
mod part;
mod receipt;
mod table;
mod transfer;

pub(crate) use table::stem;
pub use table::{Kind, Licence, Weights, find, table};

use crate::atomic;
use crate::checkpoint;
use crate::error::{Error, IoContext, Result};
use part::Part;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How to fetch.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A mirror: takes the place of `https://HOST` in the address. May be `http://`, and then redirects may be too.
    pub base_url: Option<String>,
    /// Fetch again what lies there already, and forget the recorded checksum.
    pub force: bool,
    /// Tries in a row that bring next to nothing before giving up.
    pub tries: u32,
    /// Pause after the first of them; doubles each time, up to a minute.
    pub pause: Duration,
    /// Silence of the server after which a try ends.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: None,
            force: false,
            tries: 5,
            pause: Duration::from_secs(1),
            patience: Duration::from_secs(30),
        }
    }
}

/// What happens on the way.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// So many bytes lie there, of so many if the server told.
    Bytes {
        /// Bytes in the `.part` file.
        done: u64,
        /// Length of the whole file.
        total: Option<u64>,
    },
    /// What is there cannot be continued; it starts from the beginning.
    Restart(&'a str),
    /// A try failed; another one follows after a pause.
    Retry {
        /// What happened.
        why: &'a str,
        /// How long until then.
        pause: Duration,
    },
    /// Everything is there; it is being compared and opened.
    Checking,
}

/// Who looks on, and may stop it.
pub trait Watcher {
    /// Something happened.
    fn event(&mut self, event: Event<'_>);
    /// Whether to stop; asked often. What was fetched stays, for the next time.
    fn stopped(&self) -> bool;
}

/// What [`fetch`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file.
    pub path: PathBuf,
    /// It was there already, and is what it should be.
    pub was_there: bool,
    /// Its SHA-256.
    pub sha256: String,
}

/// Brings a file of the table into `folder`, which is made if it is missing.
///
/// A file that is there already is compared, not fetched. One with no checksum in the table gets it recorded beside
/// it (`FILE.sha256`, as `sha256sum -c` reads it), and later downloads must be the same.
///
/// # Errors
/// [`Error::Request`] for a `base_url` or a proxy variable that is no address. [`Error::File`] with the address and the
/// place to put the file by hand for everything that a network or a server can do, for a file with another checksum,
/// and for one that is no checkpoint. [`Error::Interrupted`] when the watcher stopped it. [`Error::Io`].
pub fn fetch(
    weights: &Weights,
    folder: &Path,
    settings: &Settings,
    watcher: &mut dyn Watcher,
) -> Result<Fetched> {
    let address = weights.address(settings.base_url.as_deref())?;
    std::fs::create_dir_all(folder).while_doing("create", folder)?;
    let path = folder.join(weights.file_name());
    let recorded = if settings.force { None } else { receipt::read(&path)? };
    let expected = weights.sha256.clone().or(recorded);
    if path.is_file() && !settings.force {
        watcher.event(Event::Checking);
        let sha256 = keep(weights, &path, expected.as_deref())?;
        return Ok(Fetched { path, was_there: true, sha256 });
    }

    let client = client::Client::new(&address, settings)?;
    let mut part = Part::open(&path, &address, expected.is_some())?;
    let job = transfer::Job { weights, address: &address, path: &path, settings };
    let sha256 = match checked(&job, &client, &mut part, expected.as_deref(), watcher) {
        Ok(sha256) => sha256,
        Err(error) => {
            if part.is_empty() {
                part.remove()?;
            }
            return Err(error);
        }
    };
    if weights.sha256.is_none() {
        receipt::write(&path, &sha256)?;
    }
    part.finish(&path)?;
    Ok(Fetched { path, was_there: false, sha256 })
}

/// Fills the part and compares it; its SHA-256. What does not fit is dropped.
fn checked(
    job: &transfer::Job<'_>,
    client: &client::Client,
    part: &mut Part,
    expected: Option<&str>,
    watcher: &mut dyn Watcher,
) -> Result<String> {
    let continued = !part.is_empty();
    job.run(client, part, watcher)?;
    let mut checked = check(part, expected, watcher);
    if checked.is_err() && continued {
        // The old beginning may have been of another file: one more time, from the start.
        part.clear()?;
        watcher.event(Event::Restart("what had been fetched before does not fit"));
        job.run(client, part, watcher)?;
        checked = check(part, expected, watcher);
    }
    if checked.is_err() {
        part.clear()?;
    }
    checked.map_err(|why| {
        let hint = "nothing was kept; try again later, or with `--base-url` from a mirror";
        job.failed(&why, hint)
    })
}

/// The file that is there already: the SHA-256 when it is what it should be.
fn keep(weights: &Weights, path: &Path, expected: Option<&str>) -> Result<String> {
    let again = format!("fetch it again with `nada fetch {} --force`", weights.name);
    let sha256 = checkpoint::sha256(path)?;
    match expected {
        Some(expected) if expected != sha256 => Err(Error::file_hint(
            path,
            format!("is not what it should be: its SHA-256 is {sha256}, expected {expected}"),
            again,
        )),
        Some(_) => Ok(sha256),
        None => {
            let why = |why: String| Error::file_hint(path, why, again);
            opens(path).map_err(why)?;
            receipt::write(path, &sha256)?;
            Ok(sha256)
        }
    }
}

/// Compares what came with its checksum and opens it. The error says what is wrong with it.
fn check(
    part: &Part,
    expected: Option<&str>,
    watcher: &mut dyn Watcher,
) -> std::result::Result<String, String> {
    watcher.event(Event::Checking);
    let sha256 = checkpoint::sha256(part.path()).map_err(|e| e.to_string())?;
    let opened = opens(part.path());
    match expected {
        Some(expected) if expected != sha256 => {
            let what = opened.err().map_or(String::new(), |what| format!(" (it {what})"));
            Err(format!("what came has the SHA-256 {sha256}, expected {expected}{what}"))
        }
        _ => opened.map(|()| sha256).map_err(|what| format!("what came {what}")),
    }
}

/// Whether a file is a checkpoint with tensors in it; otherwise, what it is: "is a web page".
fn opens(path: &Path) -> std::result::Result<(), String> {
    match checkpoint::open(path) {
        Ok(file) if file.entries.is_empty() => Err(format!("holds no tensors ({})", file.whole)),
        Ok(_) => Ok(()),
        Err(Error::File { message, .. }) => Err(message),
        Err(other) => Err(other.to_string()),
    }
}

/// Renames within a folder, so that the new name is on the disk.
fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).while_doing("write", to)?;
    atomic::sync_folder_of(to)
}
