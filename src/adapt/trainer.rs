//! The loop around the step: samples, snapshots, divergence, stopping. It prints and writes nothing itself.

use super::adaptation::Pair;
use crate::config::Output;
use crate::error::{Error, Result};
use tch::Tensor;

/// A loss this many times its first value (and at least 1) has exploded.
const EXPLODED: f64 = 1000.0;

/// What the loop trains: a generator, a latent mapper.
pub trait Trainee {
    /// What happened in a step.
    type Report;
    /// How many updates there shall be.
    fn iterations(&self) -> u64;
    /// When samples and snapshots are due.
    fn output(&self) -> &Output;
    /// One update, counted from 0.
    ///
    /// # Errors
    /// A failure of the device.
    fn step(&mut self, step: u64) -> Result<Self::Report>;
    /// What a step minimised.
    fn loss(report: &Self::Report) -> f64;
    /// Samples that no update changes, `[N, 3, H, W]`.
    ///
    /// # Errors
    /// A failure of the device.
    fn before(&self) -> Result<Tensor>;
    /// The same samples as they are now.
    ///
    /// # Errors
    /// A failure of the device.
    fn after(&self) -> Result<Tensor>;
    /// Whether every trained number is one, and of a size that makes sense.
    fn is_sound(&self) -> bool;
}

/// What the loop tells, and asks, whoever runs it.
pub trait Observer<T: Trainee> {
    /// A step is done.
    ///
    /// # Errors
    /// What could not be recorded; the run stops.
    fn stepped(&mut self, report: &T::Report) -> Result<()>;
    /// Samples after `step` updates.
    ///
    /// # Errors
    /// What could not be written; the run stops.
    fn sampled(&mut self, step: u64, samples: &Pair) -> Result<()>;
    /// Everything after `step` updates shall be kept.
    ///
    /// # Errors
    /// What could not be written; the run stops, earlier snapshots stay.
    fn snapshot(&mut self, step: u64, trainee: &T) -> Result<()>;
    /// Whether to stop after the current step.
    fn stop_requested(&self) -> bool;
}

/// Trains from `from` updates to the configured number.
///
/// # Errors
/// [`Error::Interrupted`] when asked to stop (a snapshot was made), [`Error::Diverged`] for a loss that is no number
/// or exploded (no snapshot is made of it), or whatever the device and the observer report.
pub fn train<T: Trainee>(trainee: &mut T, from: u64, observer: &mut dyn Observer<T>) -> Result<()> {
    let iterations = trainee.iterations();
    let output = trainee.output().clone();
    let due = |every: u64, step: u64| every > 0 && step.is_multiple_of(every);
    let before = trainee.before()?;
    let samples = |trainee: &T| -> Result<Pair> {
        Ok(Pair { source: before.shallow_clone(), adapted: trainee.after()? })
    };
    let mut first_loss: Option<f64> = None;
    for step in from..iterations {
        if step == from && from == 0 || step > from && due(output.sample_every, step) {
            observer.sampled(step, &samples(trainee)?)?;
        }
        let report = trainee.step(step)?;
        let loss = T::loss(&report);
        let limit = EXPLODED * first_loss.get_or_insert(loss).abs().max(1.0);
        if !loss.is_finite() || loss.abs() > limit {
            return Err(Error::Diverged { step, reason: format!("the loss is {loss}") });
        }
        observer.stepped(&report)?;
        let done = step + 1;
        let stop = observer.stop_requested();
        if stop || done == iterations || due(output.snapshot_every, done) {
            if !trainee.is_sound() {
                let reason = "a weight has become huge or is not a number any more".into();
                return Err(Error::Diverged { step, reason });
            }
            observer.snapshot(done, trainee)?;
        }
        if stop && done < iterations {
            return Err(Error::Interrupted);
        }
    }
    observer.sampled(iterations, &samples(trainee)?)
}
