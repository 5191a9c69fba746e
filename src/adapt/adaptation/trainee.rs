//! What the loop asks of an adaptation: pictures of both twins from fixed latents, for people, and soundness.

use super::{Adaptation, StepReport};
use crate::adapt::trainer::Trainee;
use crate::config::Output;
use crate::error::Result;
use crate::rng;
use crate::stylegan2::{Latent, Noise};
use crate::torch::{TensorMap, catch};
use tch::Tensor;

/// Weights are about 1, or 100 in the mapping network; beyond this, images are noise although all numbers are finite.
const LARGEST_WEIGHT: f64 = 1e6;

impl Trainee for Adaptation {
    type Report = StepReport;

    fn iterations(&self) -> u64 {
        self.config.train.iterations
    }

    fn output(&self) -> &Output {
        &self.config.output
    }

    fn step(&mut self, step: u64) -> Result<StepReport> {
        Self::step(self, step)
    }

    fn loss(report: &StepReport) -> f64 {
        report.loss
    }

    /// Images of the frozen generator for fixed latents, with stored noise.
    fn before(&self) -> Result<Tensor> {
        let psi = self.config.output.sample_truncation;
        self.in_chunks(|z| self.frozen.generate(&Latent::Z(z), psi, Noise::Stored))
    }

    /// Images of the trained generator (its moving average, where one is kept) for the same latents.
    fn after(&self) -> Result<Tensor> {
        let psi = self.config.output.sample_truncation;
        self.with_average(|| {
            self.in_chunks(|z| match self.config.layers.mapping {
                true => self.trainable.generate(&Latent::Z(z), psi, Noise::Stored),
                // The mapping network is shared: the adapted generator sees the very same codes.
                false => {
                    let codes = tch::no_grad(|| self.frozen.w_plus(&Latent::Z(z), psi))?;
                    self.trainable.generate(&Latent::WPlus(codes), 1.0, Noise::Stored)
                }
            })
        })
    }

    fn is_sound(&self) -> bool {
        // NaN is below nothing.
        let sound = |t: &Tensor| t.abs().max().double_value(&[]) < LARGEST_WEIGHT;
        self.state().iter().filter(|(n, _)| n.starts_with("model/")).all(|(_, t)| sound(t))
    }
}

impl Adaptation {
    /// Samples in chunks of the training batch: no more memory than a step needs.
    fn in_chunks(&self, images: impl Fn(Tensor) -> Result<(Tensor, Tensor)>) -> Result<Tensor> {
        let shape = [self.config.output.samples, self.frozen.config().z_dim];
        let z = rng::stream(self.config.seed, 0, "samples").normal(
            &shape,
            self.frozen.kind(),
            self.frozen.device(),
        );
        let chunks = z.split(self.config.train.batch, 0).into_iter();
        let made = chunks.map(|z| Ok(images(z)?.0)).collect::<Result<Vec<_>>>()?;
        catch("sampling", || Ok(Tensor::cat(&made, 0)))
    }

    /// Runs `work` with the moving average in the place of the trained weights, where there is one.
    fn with_average<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(average) = &self.average else { return work() };
        let own: TensorMap =
            self.trainable.params().iter().map(|(n, t)| (n.clone(), t.detach().copy())).collect();
        self.trainable.load_params(average)?;
        let outcome = work();
        self.trainable.load_params(&own)?;
        outcome
    }
}
