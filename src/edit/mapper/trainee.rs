//! What the loop asks of a mapper in training: pictures before it and behind it, for people, and soundness.

use super::step::{MapperReport, MapperTraining};
use crate::adapt::trainer::Trainee;
use crate::config::Output;
use crate::error::Result;
use crate::rng;
use crate::stylegan2::Latent;
use crate::torch::catch;
use tch::Tensor;

/// Weights are about 100; beyond this, codes are noise although all numbers are finite.
const LARGEST_WEIGHT: f64 = 1e8;

impl Trainee for MapperTraining {
    type Report = MapperReport;

    fn iterations(&self) -> u64 {
        self.config().train.iterations
    }

    fn output(&self) -> &Output {
        &self.config().output
    }

    fn step(&mut self, step: u64) -> Result<MapperReport> {
        Self::step(self, step)
    }

    fn loss(report: &MapperReport) -> f64 {
        report.loss
    }

    /// Images of fixed codes as they are.
    fn before(&self) -> Result<Tensor> {
        self.images(|codes| Ok(codes.shallow_clone()))
    }

    /// Images of the same codes as the mapper moves them.
    fn after(&self) -> Result<Tensor> {
        self.images(|codes| self.mapper().apply(codes, self.config().strength))
    }

    fn is_sound(&self) -> bool {
        // NaN is below nothing.
        let sound = |t: &Tensor| t.abs().max().double_value(&[]) < LARGEST_WEIGHT;
        self.mapper().params().values().all(sound)
    }
}

impl MapperTraining {
    fn images(&self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (generator, config) = (self.generator(), self.config());
        let z = rng::stream(config.seed, 0, "samples").normal(
            &[config.output.samples, generator.config().z_dim],
            generator.kind(),
            generator.device(),
        );
        let psi = config.output.sample_truncation;
        let codes = tch::no_grad(|| generator.w_plus(&Latent::Z(z), psi))?;
        catch("sampling", || {
            tch::no_grad(|| {
                let parts = codes.split(config.train.batch.max(4), 0).into_iter();
                let images = parts.map(|part| Ok(self.draw(&change(&part)?)));
                Ok(Tensor::cat(&images.collect::<Result<Vec<_>>>()?, 0))
            })
        })
    }
}
