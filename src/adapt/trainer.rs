//! The loop around the step: samples, snapshots, divergence, stopping. It prints and writes nothing itself.

use super::adaptation::{Adaptation, Pair, StepReport};
use crate::error::{Error, Result};

/// A loss this many times its first value (and at least 1) has exploded.
const EXPLODED: f64 = 1000.0;

/// What the loop tells, and asks, whoever runs it.
pub trait Observer {
    /// A step is done.
    ///
    /// # Errors
    /// What could not be recorded; the run stops.
    fn stepped(&mut self, report: &StepReport) -> Result<()>;
    /// Samples after `step` updates.
    ///
    /// # Errors
    /// What could not be written; the run stops.
    fn sampled(&mut self, step: u64, samples: &Pair) -> Result<()>;
    /// Everything after `step` updates shall be kept.
    ///
    /// # Errors
    /// What could not be written; the run stops, earlier snapshots stay.
    fn snapshot(&mut self, step: u64, adaptation: &Adaptation) -> Result<()>;
    /// Whether to stop after the current step.
    fn stop_requested(&self) -> bool;
}

/// Trains from `from` updates to the configured number.
///
/// # Errors
/// [`Error::Interrupted`] when asked to stop (a snapshot was made), [`Error::Diverged`] for a loss that is no number
/// or exploded (no snapshot is made of it), or whatever the device and the observer report.
pub fn train(adaptation: &mut Adaptation, from: u64, observer: &mut dyn Observer) -> Result<()> {
    let iterations = adaptation.config().train.iterations;
    let output = adaptation.config().output.clone();
    let due = |every: u64, step: u64| every > 0 && step.is_multiple_of(every);
    let (count, psi) = (output.samples, output.sample_truncation);
    let source = adaptation.source_samples(count, psi)?;
    let samples = |adaptation: &Adaptation| -> Result<Pair> {
        Ok(Pair {
            source: source.shallow_clone(),
            adapted: adaptation.adapted_samples(count, psi)?,
        })
    };
    let mut first_loss: Option<f64> = None;
    for step in from..iterations {
        if step == from && from == 0 || step > from && due(output.sample_every, step) {
            observer.sampled(step, &samples(adaptation)?)?;
        }
        let report = adaptation.step(step)?;
        let limit = EXPLODED * first_loss.get_or_insert(report.loss).abs().max(1.0);
        if !report.loss.is_finite() || report.loss.abs() > limit {
            let reason = format!("the loss is {}", report.loss);
            return Err(Error::Diverged { step, reason });
        }
        observer.stepped(&report)?;
        let done = step + 1;
        let stop = observer.stop_requested();
        if stop || done == iterations || due(output.snapshot_every, done) {
            if !adaptation.is_sound() {
                return Err(Error::Diverged {
                    step,
                    reason: "a weight has become huge or is not a number any more".into(),
                });
            }
            observer.snapshot(done, adaptation)?;
        }
        if stop && done < iterations {
            return Err(Error::Interrupted);
        }
    }
    observer.sampled(iterations, &samples(adaptation)?)
}
