//! What a person sees while a run goes on: a bar on a terminal, lines elsewhere, JSON for programs.

use super::printer::Printer;
use crate::adapt::StepReport;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// Without a terminal, a line at least this far apart.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Weight of the newest loss in the smoothed one.
const SMOOTHING: f64 = 0.1;

/// The progress of a run.
pub(super) struct Progress {
    printer: Printer,
    bar: ProgressBar,
    total: u64,
    smoothed: Option<f64>,
    last_line: Option<Instant>,
    started: Instant,
    first: u64,
}

impl Progress {
    /// Begins after `done` of `total` steps.
    pub(super) fn new(printer: &Printer, done: u64, total: u64) -> Self {
        let bar = printer.bar(total);
        let template = "{bar:24.cyan/dim} {pos}/{len}  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.set_position(done);
        bar.reset_eta();
        let now = Instant::now();
        Self {
            printer: *printer,
            bar,
            total,
            smoothed: None,
            last_line: None,
            started: now,
            first: done,
        }
    }

    /// A step is done.
    pub(super) fn step(&mut self, report: &StepReport, layers: usize) {
        let chosen: Vec<String> = report.layers.iter().map(ToString::to_string).collect();
        let chosen = if chosen.len() > 4 {
            format!("{} of {layers} layers", chosen.len())
        } else {
            chosen.join(" ")
        };
        self.note(report.step + 1, report.loss, &chosen);
    }

    /// `done` steps are done, the last with this loss; `about` says what else there is to say.
    pub(super) fn note(&mut self, done: u64, loss: f64, about: &str) {
        let smoothed = match self.smoothed {
            Some(old) => old + SMOOTHING * (loss - old),
            None => loss,
        };
        self.smoothed = Some(smoothed);
        let per_step = self.started.elapsed().as_secs_f64() / (done - self.first).max(1) as f64;
        let message = format!("loss {smoothed:.4}  {about}  {per_step:.2} s/step");
        self.bar.set_position(done);
        self.bar.set_message(message.clone());
        let due = self.printer.verbose
            || done == self.total
            || self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if self.printer.shows_lines() && due {
            self.last_line = Some(Instant::now());
            let left = Duration::from_secs_f64(per_step * self.total.saturating_sub(done) as f64);
            self.printer.info(&format!(
                "step {done}/{}  {message}  {} left",
                self.total,
                short(left)
            ));
        }
    }

    /// Says something without tearing the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| self.printer.detail(text));
    }

    /// Ends the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// `42 s`, `3 min 5 s`, `2 h 10 min`.
pub(super) fn short(time: Duration) -> String {
    let s = time.as_secs_f64().round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let of = |s| short(Duration::from_secs(s));
        assert_eq!([of(42), of(185), of(7_800)], ["42 s", "3 min 5 s", "2 h 10 min"]);
    }
}
