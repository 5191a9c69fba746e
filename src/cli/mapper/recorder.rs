//! Writes what the loop tells into the run folder, and shows it.

use super::super::printer::Printer;
use super::super::progress::Progress;
use super::super::stop;
use crate::adapt::Pair;
use crate::adapt::trainer::Observer;
use crate::config::MapperConfig;
use crate::edit::mapper::{MapperReport, MapperTraining};
use crate::error::{IoContext, Result};
use crate::imaging::grid::Grid;
use crate::imaging::plot::{Series, Smoothing, line_plot};
use crate::imaging::{save, to_rgb8};
use crate::run_dir::{MetricsWriter, Record, RunDir};
use std::time::Instant;

/// The observer of a run: metrics, pictures, snapshots, progress.
pub(super) struct Recorder<'a> {
    folder: &'a RunDir,
    config: &'a MapperConfig,
    metrics: MetricsWriter,
    progress: Progress,
    printer: &'a Printer,
    json: bool,
    clock: Instant,
}

impl<'a> Recorder<'a> {
    /// Continues the metrics at step `from`.
    pub(super) fn new(
        folder: &'a RunDir,
        config: &'a MapperConfig,
        from: u64,
        json: bool,
        printer: &'a Printer,
    ) -> Result<Self> {
        let progress = Progress::new(printer, from, config.train.iterations);
        let metrics = folder.metrics(from)?;
        Ok(Self { folder, config, metrics, progress, printer, json, clock: Instant::now() })
    }

    /// Ends the progress and gives back everything recorded so far.
    pub(super) fn close(mut self) -> Result<Vec<Record>> {
        self.metrics.flush()?;
        self.progress.finish();
        self.folder.read_metrics()
    }
}

impl Observer<MapperTraining> for Recorder<'_> {
    fn stepped(&mut self, report: &MapperReport) -> Result<()> {
        let record = Record {
            step: report.step,
            loss: report.loss,
            terms: report.terms.iter().map(|(t, v)| (t.name().to_owned(), *v)).collect(),
            layers: Vec::new(),
            scores: None,
            seconds: self.clock.elapsed().as_secs_f64(),
        };
        self.metrics.push(&record)?;
        let terms: Vec<String> =
            report.terms.iter().map(|(t, v)| format!("{} {v:.3}", t.name())).collect();
        self.progress.note(report.step + 1, report.loss, &terms.join("  "));
        if self.json {
            let line = serde_json::to_string(&record).unwrap_or_default();
            super::super::adapt::print(self.printer, &line)?;
        }
        self.clock = Instant::now();
        Ok(())
    }

    fn sampled(&mut self, step: u64, samples: &Pair) -> Result<()> {
        let config = self.config;
        let picture = Grid::new()
            .title(format!("{}: codes before and behind the mapper", config.target))
            .row("before", to_rgb8(&samples.source)?)
            .row("after", to_rgb8(&samples.adapted)?)
            .footer(format!("step {step} of {} · seed {}", config.train.iterations, config.seed))
            .render()?;
        let (folder, file) = (self.folder.samples_dir(), self.folder.sample_file(step));
        std::fs::create_dir_all(&folder).while_doing("create", &folder)?;
        let about = [("Description", config.target.as_str())];
        save::png(&file, &picture, &about)?;
        if step == config.train.iterations {
            save::png(self.folder.before_after_file(), &picture, &about)?;
        }
        self.progress.say(&format!("samples {}", file.display()));
        self.clock = Instant::now();
        Ok(())
    }

    fn snapshot(&mut self, step: u64, training: &MapperTraining) -> Result<()> {
        self.metrics.sync()?;
        let keep = self.config.output.keep_snapshots;
        let file = self.folder.save_snapshot(step, &training.state(), &[], self.config, keep)?;
        self.progress.say(&format!("snapshot {}", file.display()));
        self.clock = Instant::now();
        Ok(())
    }

    fn stop_requested(&self) -> bool {
        stop::asked()
    }
}

/// `loss.png`: the total and every term.
pub(super) fn write_loss_plot(
    folder: &RunDir,
    records: &[Record],
    config: &MapperConfig,
) -> Result<()> {
    let curve = |name: &str, value: &dyn Fn(&Record) -> Option<f64>| Series {
        name: name.to_owned(),
        points: records.iter().filter_map(|r| Some((r.step as f64, value(r)?))).collect(),
    };
    let mut curves = vec![curve("total", &|r| Some(r.loss))];
    let names = records.first().map(|r| r.terms.keys().cloned().collect::<Vec<_>>());
    for name in names.unwrap_or_default() {
        curves.push(curve(&name, &|r| r.terms.get(&name).copied()));
    }
    let title = format!("{}: loss of the mapper", config.target);
    let picture = line_plot(&title, "step", &curves, Smoothing::Auto);
    save::png(folder.loss_file(), &picture, &[("Target", &config.target)])
}
