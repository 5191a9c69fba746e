//! The folder of a run: what lies where, and how it survives a crash.
//!
//! ```text
//! runs/sketch/
//!   config.yaml           the resolved configuration, with versions and hashes      [config_file]
//!   metrics.jsonl         a line per step                                           [metrics]
//!   snapshots/000050.…    everything that resuming needs, the newest few            [snapshots]
//!   samples/000050.png    source above, adapted below                               [pictures]
//!   before_after.png, loss.png, layers.png                                          at the end
//!   generator.safetensors, delta.safetensors                                        [result]
//! ```
//!
//! A killed process leaves no half-written file (only `metrics.jsonl` grows in place, and a cut last line is
//! dropped), and the system takes back its lock.

mod clock;
pub mod config_file;
mod folder;
pub mod metrics;
pub mod pictures;
pub mod result;
pub mod snapshots;

pub use clock::rfc3339;
pub use config_file::{Manifest, Recorded, Weights, check_resumable, config_hash};
pub use metrics::{MetricsWriter, Record};
pub use result::ResultInfo;
pub use snapshots::{Latest, Snapshot};

use crate::error::{Error, IoContext, Result};
use fs4::{FileExt, TryLockError};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The file that makes a folder a run.
const CONFIG: &str = "config.yaml";
const LOCK: &str = ".lock";

/// The folder of one run. While a value from [`RunDir::create`] or [`RunDir::resume`] lives, no other process writes
/// to it.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held, not read: the lock goes when the file closes.
    _lock: Option<File>,
}

impl RunDir {
    /// Makes the folder of a new run, parents too, and locks it. An empty folder may be there.
    ///
    /// # Errors
    /// [`Error::Request`] when it holds anything, or a file is in the way; [`Error::Io`] when it cannot be made or
    /// written to (this is tried with a real file).
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Looked at first, so that a folder that is no run of ours is left untouched.
        folder::must_be_free(path)?;
        std::fs::create_dir_all(path).while_doing("create", path)?;
        folder::probe(path)?;
        let lock = lock(path)?;
        // Once more: another process may have been quicker before the lock was ours.
        folder::must_be_free(path)?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Whether a new run may go to `path`: asked before minutes are spent on loading models.
    ///
    /// # Errors
    /// [`Error::Request`] when it holds anything, or a file is in the way.
    pub fn must_be_free(path: impl AsRef<Path>) -> Result<()> {
        folder::must_be_free(path.as_ref())
    }

    /// An existing run, to read from.
    ///
    /// # Errors
    /// [`Error::Request`] that says what was looked for.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if Self::is_run(path) {
            return Ok(Self { path: path.to_path_buf(), _lock: None });
        }
        let found = match std::fs::metadata(path) {
            Ok(about) if about.is_dir() => "it holds no `config.yaml`",
            Ok(_) => "it is a file; a folder with a `config.yaml` is expected",
            Err(_) => "there is no such folder",
        };
        Err(Error::request(
            format!("`{}` is no run: {found}", path.display()),
            "name the folder that `nada adapt` wrote, such as `runs/sketch`",
        ))
    }

    /// A run that has its result.
    ///
    /// # Errors
    /// As [`RunDir::open`]; [`Error::Request`] for a run that has not finished.
    pub fn open_finished(path: impl AsRef<Path>) -> Result<Self> {
        let run = Self::open(path)?;
        if run.is_finished() {
            return Ok(run);
        }
        let name = run.path.display();
        Err(Error::request(
            format!("the run `{name}` has not finished: it holds no `generator.safetensors`"),
            format!("finish it with `nada adapt --resume {name}`"),
        ))
    }

    /// An existing run, to continue: locked, and cleared of what a killed process left half-written.
    ///
    /// # Errors
    /// As [`RunDir::open`]; [`Error::Request`] when another process writes to it; [`Error::Io`] when it cannot be
    /// written to.
    pub fn resume(path: impl AsRef<Path>) -> Result<Self> {
        let mut run = Self::open(path)?;
        folder::probe(&run.path)?;
        run._lock = lock(&run.path)?;
        for place in [run.path.clone(), run.snapshots_dir(), run.samples_dir()] {
            folder::remove_parts(&place)?;
        }
        Ok(run)
    }

    /// Whether `path` is the folder of a run.
    pub fn is_run(path: impl AsRef<Path>) -> bool {
        path.as_ref().join(CONFIG).is_file()
    }

    /// The first of `base/slug`, `base/slug-2`, `base/slug-3` … that does not exist.
    pub fn free_path(base: impl AsRef<Path>, slug: &str) -> PathBuf {
        let base = base.as_ref();
        let names = (2..).map(|n: u64| format!("{slug}-{n}"));
        std::iter::once(slug.to_owned())
            .chain(names)
            .map(|name| base.join(name))
            .find(|path| std::fs::symlink_metadata(path).is_err())
            .expect("there are more numbers than files")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.yaml`.
    pub fn config_file(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `metrics.jsonl`.
    pub fn metrics_file(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// `snapshots/`.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// `samples/`.
    pub fn samples_dir(&self) -> PathBuf {
        self.path.join("samples")
    }

    /// `samples/000050.png`.
    pub fn sample_file(&self, step: u64) -> PathBuf {
        self.samples_dir().join(format!("{step:06}.png"))
    }

    /// `before_after.png`.
    pub fn before_after_file(&self) -> PathBuf {
        self.path.join("before_after.png")
    }

    /// `loss.png`.
    pub fn loss_file(&self) -> PathBuf {
        self.path.join("loss.png")
    }

    /// `layers.png`.
    pub fn layers_file(&self) -> PathBuf {
        self.path.join("layers.png")
    }

    /// `generator.safetensors`, the result.
    pub fn generator_file(&self) -> PathBuf {
        self.path.join("generator.safetensors")
    }

    /// `delta.safetensors`, what differs from the start generator.
    pub fn delta_file(&self) -> PathBuf {
        self.path.join("delta.safetensors")
    }

    /// `mapper.safetensors`, the result of the run of a mapper.
    pub fn mapper_file(&self) -> PathBuf {
        self.path.join("mapper.safetensors")
    }

    /// Whether there is a result. It is the last of the weights to be written.
    pub fn is_finished(&self) -> bool {
        self.generator_file().is_file()
    }
}

/// A name for a folder from a phrase: lower-case ASCII letters and digits, the rest as single dashes, at most 40.
///
/// ```
/// assert_eq!(nada::run_dir::slug("A pencil drawing, 1920s"), "a-pencil-drawing-1920s");
/// assert_eq!(nada::run_dir::slug("写真"), "run");
/// ```
pub fn slug(phrase: &str) -> String {
    let mut slug = String::new();
    for c in phrase.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(40);
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "run".into() } else { slug.into() }
}

/// The lock of a folder; `None` on file systems that know no locks (it guards against mistakes, not attacks).
fn lock(folder: &Path) -> Result<Option<File>> {
    let path = folder.join(LOCK);
    let file =
        File::options().create(true).append(true).open(&path).while_doing("create", &path)?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Error::request(
            format!("another process is writing to `{}`", folder.display()),
            "wait until it ends or stop it, or choose another `--out`",
        )),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
