//! The generators that a run begins with: by their names for a new run, by their hashes for one that goes on.

use super::AdaptArgs;
use crate::builtin::{self, RecordedBase};
use crate::config::Config;
use crate::error::Result;
use crate::models::GeneratorFiles;
use crate::run_dir::Manifest;
use std::path::Path;

/// Their files.
pub(super) struct Starts {
    pub(super) generator: GeneratorFiles,
    /// The frozen twin, where it is another one.
    pub(super) reference: Option<GeneratorFiles>,
}

impl Starts {
    /// Those that a configuration names.
    pub(super) fn named(config: &Config) -> Result<Self> {
        let resolve = |asked: &String| builtin::resolve_generator(asked);
        Ok(Self {
            generator: resolve(&config.generator)?,
            reference: config.reference.as_ref().map(resolve).transpose()?,
        })
    }

    /// Those of a run, wherever they are now.
    ///
    /// # Errors
    /// As [`RecordedBase::find`].
    pub(super) fn recorded(
        run: &Path,
        config: &Config,
        manifest: &Manifest,
        args: &AdaptArgs,
    ) -> Result<Self> {
        let find = |role: &str, asked: &String, given: &Option<String>| match manifest.role(role) {
            Some(weights) => {
                let option = if role == "reference" { "--reference" } else { "--generator" };
                let recorded = RecordedBase { option, ..RecordedBase::new(run, weights, asked) };
                recorded.find(given.as_deref())
            }
            None => builtin::resolve_generator(given.as_ref().unwrap_or(asked)),
        };
        let reference = config.reference.as_ref();
        Ok(Self {
            generator: find("generator", &config.generator, &args.generator)?,
            reference: reference
                .map(|asked| find("reference", asked, &args.reference))
                .transpose()?,
        })
    }
}
