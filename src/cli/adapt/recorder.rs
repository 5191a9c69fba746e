//! Writes what the loop tells into the run folder, and shows it.

use super::super::printer::Printer;
use super::super::progress::Progress;
use super::super::stop;
use crate::adapt::trainer::Observer;
use crate::adapt::{Adaptation, Pair, StepReport};
use crate::config::Config;
use crate::error::Result;
use crate::run_dir::{MetricsWriter, Record, RunDir};
use std::time::Instant;

/// The observer of a run: metrics, pictures, snapshots, progress.
pub(super) struct Recorder<'a> {
    folder: &'a RunDir,
    config: Config,
    metrics: MetricsWriter,
    progress: Progress,
    printer: &'a Printer,
    json: bool,
    layers: usize,
    clock: Instant,
}

impl<'a> Recorder<'a> {
    /// Continues the metrics at step `from`.
    pub(super) fn new(
        folder: &'a RunDir,
        adaptation: &Adaptation,
        from: u64,
        json: bool,
        printer: &'a Printer,
    ) -> Result<Self> {
        let config = adaptation.config().clone();
        let progress = Progress::new(printer, from, config.train.iterations);
        let layers = super::layers_of(adaptation).len();
        let metrics = folder.metrics(from)?;
        Ok(Self { folder, config, metrics, progress, printer, json, layers, clock: Instant::now() })
    }

    /// Ends the progress and gives back everything recorded so far.
    pub(super) fn close(mut self) -> Result<Vec<Record>> {
        self.metrics.flush()?;
        self.progress.finish();
        self.folder.read_metrics()
    }
}

impl Observer<Adaptation> for Recorder<'_> {
    fn stepped(&mut self, report: &StepReport) -> Result<()> {
        let seconds = self.clock.elapsed().as_secs_f64();
        let record = Record::new(report, seconds);
        self.metrics.push(&record)?;
        self.progress.step(report, self.layers);
        if self.json {
            super::print(self.printer, &serde_json::to_string(&record).unwrap_or_default())?;
        }
        self.clock = Instant::now();
        Ok(())
    }

    fn sampled(&mut self, step: u64, samples: &Pair) -> Result<()> {
        let file = self.folder.write_samples(step, samples, &self.config)?;
        if step == self.config.train.iterations {
            self.folder.write_before_after(step, samples, &self.config)?;
        }
        self.progress.say(&format!("samples {}", file.display()));
        self.clock = Instant::now();
        Ok(())
    }

    fn snapshot(&mut self, step: u64, adaptation: &Adaptation) -> Result<()> {
        self.metrics.sync()?;
        let keep = self.config.output.keep_snapshots;
        let state = adaptation.state();
        let file =
            self.folder.save_snapshot(step, &state, adaptation.chosen(), &self.config, keep)?;
        self.progress.say(&format!("snapshot {}", file.display()));
        self.clock = Instant::now();
        Ok(())
    }

    fn stop_requested(&self) -> bool {
        stop::asked()
    }
}
