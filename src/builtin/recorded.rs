//! Where the generator that a run began with is now: files are moved, and so are runs.

use super::resolve_generator;
use crate::checkpoint;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::models::GeneratorFiles;
use crate::run_dir::{Manifest, Weights};
use std::path::{Component, Path, PathBuf};

/// What a run says of a generator that it was made with.
#[derive(Debug, Clone, Copy)]
pub struct RecordedBase<'a> {
    /// The folder of the run.
    pub run: &'a Path,
    /// Its file then; several as [`GeneratorFiles::joined`] writes them.
    pub path: &'a Path,
    /// SHA-256 then, by which it is known again; with deltas upon it, that of all.
    pub sha256: &'a str,
    /// As it was typed.
    pub asked: &'a str,
    /// The option that names it where it is now.
    pub option: &'a str,
}

impl<'a> RecordedBase<'a> {
    /// The generator that the run is held against; `None` where its record does not tell.
    pub fn base(run: &'a Path, config: &'a Config, manifest: &'a Manifest) -> Option<Self> {
        let asked = config.reference.as_deref().unwrap_or(&config.generator);
        Some(Self::new(run, manifest.base()?, asked))
    }

    /// A file of weights in the record of a run.
    pub fn new(run: &'a Path, weights: &'a Weights, asked: &'a str) -> Self {
        let Weights { path, sha256, .. } = weights;
        Self { run, path, sha256, asked, option: "--generator" }
    }

    /// The generator that is `given`, which must be the same; else where it was then, what its name means now (another
    /// machine, a checkout that has moved), or a file of its name beside the run or in the two folders above.
    ///
    /// What lies in the old place is not looked into: whoever reads it compares its hash with the record.
    ///
    /// # Errors
    /// [`Error::Request`] for another generator than the run began with, and when it is not found.
    pub fn find(&self, given: Option<&str>) -> Result<GeneratorFiles> {
        if let Some(given) = given {
            return self.same(given);
        }
        if let Ok(files) = resolve_generator(&self.path.to_string_lossy()) {
            return Ok(files);
        }
        let named = resolve_generator(self.asked).ok();
        if let Some(files) = named.iter().find(|files| self.is(files)) {
            return Ok(files.clone());
        }
        let beside = self.beside();
        if let Some(files) = beside.into_iter().find(|files| self.is(files)) {
            return Ok(files);
        }
        // Of that name, but changed since: for whoever reads it to say so.
        named.ok_or_else(|| {
            let hash: String = self.sha256.chars().take(12).collect();
            Error::request(
                format!(
                    "`{}` began with `{}` (sha256 {hash}…), which is not there any more, nor beside the run",
                    self.run.display(),
                    self.path.display()
                ),
                format!(
                    "say where that file is now with `{}FILE`, or put it back, or into the folder of the run",
                    if self.option.ends_with('=') { self.option.to_owned() } else { format!("{} ", self.option) }
                ),
            )
        })
    }

    /// The generator that somebody named, if it is that of the record.
    fn same(&self, given: &str) -> Result<GeneratorFiles> {
        let files = resolve_generator(given)?;
        let found = hash(&files)?;
        if found == self.sha256 {
            return Ok(files);
        }
        Err(Error::request(
            format!(
                "`{}` began with a generator of sha256 {} (`{}`), but `{given}` has sha256 {found}",
                self.run.display(),
                self.sha256,
                self.path.display()
            ),
            "name the very file that the run began with; `nada inspect FILE` tells a file's sha256",
        ))
    }

    fn is(&self, files: &GeneratorFiles) -> bool {
        hash(files).is_ok_and(|found| found == self.sha256)
    }

    /// What may be it: files of its name, or of its folder's name and its own, near the run.
    fn beside(&self) -> Vec<GeneratorFiles> {
        let run = self.run.canonicalize().unwrap_or_else(|_| self.run.to_path_buf());
        let near = |path: &Path| -> Vec<PathBuf> {
            let names: Vec<_> =
                path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
            let tails = (1..=2).filter_map(|n| {
                let from = names.len().checked_sub(n)?;
                Some(names[from..].iter().collect::<PathBuf>())
            });
            let tails: Vec<PathBuf> = tails.collect();
            let folders = run.ancestors().take(3);
            let places = folders.flat_map(|folder| tails.iter().map(|tail| folder.join(tail)));
            // What the run made is not what it began with.
            let own = ["generator.safetensors", "delta.safetensors"].map(|name| run.join(name));
            places.filter(|place| !own.contains(place)).collect()
        };
        let whole = near(self.path).into_iter().map(|path| path.display().to_string());
        // Each of several files may be in another place; only all together have a hash.
        let text = self.path.to_string_lossy();
        let part = |part: &str| {
            let there = Path::new(part).exists().then(|| PathBuf::from(part));
            there.or_else(|| near(Path::new(part)).into_iter().find(|path| path.exists()))
        };
        let parts: Option<Vec<String>> =
            text.split('+').map(|text| Some(part(text)?.display().to_string())).collect();
        let joined = parts.filter(|parts| parts.len() > 1).map(|parts| parts.join("+"));
        whole.chain(joined).filter_map(|asked| resolve_generator(&asked).ok()).collect()
    }
}

/// The hash of a generator as [`crate::models::Origin`] has it.
fn hash(files: &GeneratorFiles) -> Result<String> {
    let mut sum = checkpoint::sha256(&files.base)?;
    for delta in &files.deltas {
        sum = checkpoint::sha256_of(format!("{sum}+{}", checkpoint::sha256(delta)?));
    }
    Ok(sum)
}
