//! Pictures of both twins from fixed latents, for people.

use super::Adaptation;
use crate::error::Result;
use crate::rng;
use crate::stylegan2::{Latent, Noise};
use crate::torch::{TensorMap, catch};
use tch::Tensor;

impl Adaptation {
    /// Images of the frozen generator for `count` fixed latents, with stored noise: the same in every call.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn source_samples(&self, count: i64, psi: f64) -> Result<Tensor> {
        self.in_chunks(count, |z| self.frozen.generate(&Latent::Z(z), psi, Noise::Stored))
    }

    /// Images of the trained generator (its moving average, where one is kept) for the same latents.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn adapted_samples(&self, count: i64, psi: f64) -> Result<Tensor> {
        self.with_average(|| {
            self.in_chunks(count, |z| match self.config.layers.mapping {
                true => self.trainable.generate(&Latent::Z(z), psi, Noise::Stored),
                // The mapping network is shared: the adapted generator sees the very same codes.
                false => {
                    let codes = tch::no_grad(|| self.frozen.w_plus(&Latent::Z(z), psi))?;
                    self.trainable.generate(&Latent::WPlus(codes), 1.0, Noise::Stored)
                }
            })
        })
    }

    /// Samples in chunks of the training batch: no more memory than a step needs.
    fn in_chunks(
        &self,
        count: i64,
        images: impl Fn(Tensor) -> Result<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let shape = [count, self.frozen.config().z_dim];
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
