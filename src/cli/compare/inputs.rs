//! What was typed → runs, each with the generator that it began with; nothing is loaded yet.

use super::CompareArgs;
use crate::builtin::RecordedBase;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::models::GeneratorFiles;
use crate::run_dir::{RunDir, Weights, pictures};
use std::collections::BTreeSet;
use std::path::Path;

/// A run on the sheet.
pub(super) struct Compared {
    pub(super) run: RunDir,
    pub(super) config: Config,
    /// What it began with, as its record says.
    pub(super) base: Weights,
    pub(super) label: String,
}

impl Compared {
    fn open(path: &Path) -> Result<Self> {
        let run = RunDir::open_finished(path)?;
        let (config, manifest) = run.read_config()?;
        let base = manifest.base().cloned().ok_or_else(|| {
            Error::file(run.config_file(), "does not say what the run began with")
        })?;
        let (_, label) = pictures::captions(&config);
        Ok(Self { run, config, base, label })
    }

    /// As it was typed.
    pub(super) fn name(&self) -> String {
        self.run.path().display().to_string()
    }

    /// What its base makes, in words.
    pub(super) fn source(&self) -> String {
        pictures::captions(&self.config).0
    }

    /// Where its base is now.
    ///
    /// # Errors
    /// As [`RecordedBase::find`].
    pub(super) fn base_files(&self, given: Option<&str>) -> Result<GeneratorFiles> {
        let asked = self.config.reference.as_deref().unwrap_or(&self.config.generator);
        RecordedBase::new(self.run.path(), &self.base, asked).find(given)
    }
}

/// Opens all runs, with their captions.
///
/// # Errors
/// [`Error::Request`] for what is no finished run, and for different bases unless they may be mixed.
pub(super) fn find(args: &CompareArgs) -> Result<Vec<Compared>> {
    let mut runs = args.runs.iter().map(|path| Compared::open(path)).collect::<Result<Vec<_>>>()?;
    let began = |run: &Compared| (run.base.sha256.clone(), run.config.class);
    let other = runs.iter().find(|run| began(run) != began(&runs[0]));
    if let Some(other) = other.filter(|_| !args.mixed) {
        let told = |run: &Compared| {
            let hash: String = run.base.sha256.chars().take(12).collect();
            let class = run.config.class.map_or(String::new(), |class| format!(", class {class}"));
            let base = run.base.path.display();
            format!("`{}` with `{base}` (sha256 {hash}…{class})", run.name())
        };
        return Err(Error::request(
            format!(
                "these runs did not begin with the same generator: {}, {}",
                told(&runs[0]),
                told(other)
            ),
            "compare runs of one generator, or give each its own source row with `--mixed`",
        ));
    }
    if args.label.is_empty() {
        tell_apart(&mut runs);
    } else {
        for (run, label) in runs.iter_mut().zip(&args.label) {
            run.label.clone_from(label);
        }
    }
    Ok(runs)
}

/// Runs with the same target get the names of their folders, too.
fn tell_apart(runs: &mut [Compared]) {
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for run in runs.iter() {
        if !seen.insert(run.label.clone()) {
            twice.insert(run.label.clone());
        }
    }
    for run in runs.iter_mut().filter(|run| twice.contains(&run.label)) {
        let folder = run.run.path().file_name().unwrap_or(run.run.path().as_os_str());
        run.label = format!("{} ({})", run.label, folder.to_string_lossy());
    }
}
