//! What `nada adapt` and `nada mapper` share: the options of a run that trains, and how a stopped run goes on.

use super::printer::Printer;
use crate::config::Output;
use crate::config::layering::Layers;
use crate::error::{Error, Result};
use crate::regular;
use crate::run_dir::{Latest, Manifest, Recorded, RunDir, Snapshot, Weights, check_resumable};
use clap::Args;
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use std::path::{Path, PathBuf};

/// The options.
#[derive(Debug, Args)]
pub(super) struct RunFlags {
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    pub(super) models_dir: Option<PathBuf>,
    /// Settings that belong together; `nada presets` lists them
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub(super) preset: Option<String>,
    /// A YAML file over the preset, such as the config.yaml of another run
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    config: Option<PathBuf>,
    /// Any other setting by its path, such as train.lr=0.001; --print-config shows them all
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Training")]
    set: Vec<String>,
    /// Number of updates
    #[arg(long, value_name = "N", help_heading = "Training")]
    iterations: Option<u64>,
    /// Images per update
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch: Option<i64>,
    /// Every random number follows from it
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: Option<u64>,
    /// Folder of the run; by default one in runs/ that is called after what was asked for
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(super) out: Option<PathBuf>,
    /// Keep everything needed to resume every so many steps
    #[arg(long, value_name = "N", help_heading = "Output")]
    snapshot_every: Option<u64>,
    /// Write a picture of samples every so many steps
    #[arg(long, value_name = "N", help_heading = "Output")]
    sample_every: Option<u64>,
    /// Print a line of JSON per step on stdout, and one with the result at the end
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, value_name = "DEVICE", help_heading = "Machine")]
    device: Option<String>,
    /// CPU threads; 0 lets libtorch choose
    #[arg(long, value_name = "N", help_heading = "Machine")]
    threads: Option<usize>,
    /// Print the resolved configuration with the origin of each value, and stop
    #[arg(long, help_heading = "Checks")]
    pub(super) print_config: bool,
}

/// Options that only a new run takes: one that goes on has them in its folder.
pub(super) const ONLY_NEW: [&str; 7] =
    ["preset", "config", "set", "batch", "seed", "out", "print_config"];

impl RunFlags {
    /// The file of `--config`, with its text.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn config_file(&self) -> Result<Option<(&Path, String)>> {
        let Some(path) = &self.config else { return Ok(None) };
        Ok(Some((path, regular::text(path, "a configuration")?)))
    }

    /// Puts the options over what is there, `--set` last.
    ///
    /// # Errors
    /// [`Error::Request`] for a `--set` without a value.
    pub(super) fn overlay<C: DeserializeOwned>(&self, layers: &mut Layers<C>) -> Result<()> {
        layers.set_given("train.iterations", self.iterations, "--iterations");
        layers.set_given("train.batch", self.batch, "--batch");
        layers.set_given("seed", self.seed, "--seed");
        layers.set_given("output.snapshot_every", self.snapshot_every, "--snapshot-every");
        layers.set_given("output.sample_every", self.sample_every, "--sample-every");
        layers.set_given("device", self.device.clone(), "--device");
        layers.set_given("threads", self.threads.map(|n| n as u64), "--threads");
        for pair in &self.set {
            let (path, text) = pair.split_once('=').ok_or_else(|| {
                Error::request(
                    format!("`--set {pair}` has no `=`"),
                    "write it as `--set train.lr=0.001`",
                )
            })?;
            let value = serde_yaml::from_str(text).unwrap_or_else(|_| Value::from(text));
            layers.set(path, value, "--set");
        }
        Ok(())
    }

    /// What may change when a run goes on.
    pub(super) fn overlay_resumed(
        &self,
        iterations: &mut u64,
        output: &mut Output,
        device: &mut String,
        threads: &mut usize,
    ) {
        let put = |slot: &mut u64, value: Option<u64>| *slot = value.unwrap_or(*slot);
        put(iterations, self.iterations);
        put(&mut output.snapshot_every, self.snapshot_every);
        put(&mut output.sample_every, self.sample_every);
        *threads = self.threads.unwrap_or(*threads);
        if let Some(asked) = &self.device {
            device.clone_from(asked);
        }
    }
}

/// A stopped run, opened to go on.
pub(super) struct Resumed<C> {
    pub(super) folder: RunDir,
    /// The configuration, with what may change already changed.
    pub(super) config: C,
    saved: C,
    /// What it was made with until now.
    pub(super) manifest: Manifest,
    snapshot: Option<Snapshot>,
}

impl<C: Recorded> Resumed<C> {
    /// Opens and locks the folder; `change` changes the configuration and checks it.
    ///
    /// # Errors
    /// As [`RunDir::resume`] and [`check_resumable`].
    pub(super) fn open(
        path: &Path,
        change: impl FnOnce(&mut C) -> Result<()>,
        printer: &Printer,
    ) -> Result<Self> {
        let folder = RunDir::resume(path)?;
        let (saved, manifest) = folder.read_config_of::<C>()?;
        let mut config = saved.clone();
        change(&mut config)?;
        check_resumable(&saved, &config)?;
        let Latest { snapshot, broken } = folder.latest_snapshot();
        for problem in broken {
            printer.warn(&format!("passed over a broken snapshot: {problem}"));
        }
        Ok(Self { folder, config, saved, manifest, snapshot })
    }

    /// The number of the next step, after `restore` took the snapshot, if there is one. `manifest` keeps when the run
    /// began, and what the user was warned of then.
    ///
    /// # Errors
    /// A file of weights or a configuration that has changed since; more steps made than `iterations`.
    pub(super) fn go_on(
        &self,
        manifest: &mut Manifest,
        iterations: u64,
        restore: impl FnOnce(&Snapshot) -> Result<()>,
    ) -> Result<u64> {
        check_weights(manifest, &self.manifest)?;
        manifest.started.clone_from(&self.manifest.started);
        manifest.warnings.clone_from(&self.manifest.warnings);
        let Some(snapshot) = &self.snapshot else { return Ok(0) };
        snapshot.check_config(&self.saved)?;
        restore(snapshot)?;
        if snapshot.step > iterations {
            return Err(Error::request(
                format!(
                    "this run has made {} steps already, {iterations} were asked for",
                    snapshot.step
                ),
                "earlier results are in its `samples`; for fewer steps begin a new run",
            ));
        }
        Ok(snapshot.step)
    }
}

/// Makes sure that a run that goes on has the weights that it began with.
fn check_weights(now: &Manifest, before: &Manifest) -> Result<()> {
    for now in &now.weights {
        // There are several CLIPs, but one generator, wherever it lies now.
        let single = now.role != "clip";
        let same = |w: &&Weights| w.role == now.role && (single || w.path == now.path);
        if let Some(then) = before.weights.iter().find(same)
            && then.sha256 != now.sha256
        {
            return Err(Error::file_hint(
                &now.path,
                "has changed since this run began",
                "put the earlier file back, or begin a new run",
            ));
        }
    }
    Ok(())
}
