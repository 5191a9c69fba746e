//! The loop around the step: samples, snapshots, divergence, stopping. It prints and writes nothing itself.

use super::step::{MapperReport, MapperTraining};
use crate::error::{Error, Result};
use tch::Tensor;

/// A loss this many times its first value (and at least 1) has exploded.
const EXPLODED: f64 = 1000.0;

/// What the loop tells, and asks, whoever runs it; as [`crate::adapt::trainer::Observer`].
pub trait Observer {
    /// A step is done.
    ///
    /// # Errors
    /// What could not be recorded; the run stops.
    fn stepped(&mut self, report: &MapperReport) -> Result<()>;
    /// Samples after `step` updates: before the mapper, and behind it.
    ///
    /// # Errors
    /// What could not be written; the run stops.
    fn sampled(&mut self, step: u64, before: &Tensor, after: &Tensor) -> Result<()>;
    /// Everything after `step` updates shall be kept.
    ///
    /// # Errors
    /// What could not be written; the run stops, earlier snapshots stay.
    fn snapshot(&mut self, step: u64, training: &MapperTraining) -> Result<()>;
    /// Whether to stop after the current step.
    fn stop_requested(&self) -> bool;
}

/// Trains from `from` updates to the configured number.
///
/// # Errors
/// [`Error::Interrupted`] when asked to stop (a snapshot was made), [`Error::Diverged`] for a loss that is no number
/// or exploded (no snapshot is made of it), or whatever the device and the observer report.
pub fn train(training: &mut MapperTraining, from: u64, observer: &mut dyn Observer) -> Result<()> {
    let iterations = training.config().train.iterations;
    let output = training.config().output.clone();
    let due = |every: u64, step: u64| every > 0 && step.is_multiple_of(every);
    let mut first_loss: Option<f64> = None;
    for step in from..iterations {
        if step > from && due(output.sample_every, step) {
            let (before, after) = training.samples()?;
            observer.sampled(step, &before, &after)?;
        }
        let report = training.step(step)?;
        let limit = EXPLODED * first_loss.get_or_insert(report.loss).abs().max(1.0);
        if !report.loss.is_finite() || report.loss.abs() > limit {
            let reason = format!("the loss is {}", report.loss);
            return Err(Error::Diverged { step, reason });
        }
        observer.stepped(&report)?;
        let done = step + 1;
        let stop = observer.stop_requested();
        if stop || done == iterations || due(output.snapshot_every, done) {
            if !training.is_sound() {
                let reason = "a weight has become huge or is not a number any more".into();
                return Err(Error::Diverged { step, reason });
            }
            observer.snapshot(done, training)?;
        }
        if stop && done < iterations {
            return Err(Error::Interrupted);
        }
    }
    let (before, after) = training.samples()?;
    observer.sampled(iterations, &before, &after)
}
