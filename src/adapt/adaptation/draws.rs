//! Every random number of a step: a function of (seed, step, purpose).

use super::Adaptation;
use crate::config::NoiseKind;
use crate::rng;
use crate::stylegan2::{Latent, Noise};
use tch::Tensor;

impl Adaptation {
    pub(super) fn draw_z(&self, step: u64, purpose: &str, n: i64) -> Tensor {
        let g = &self.frozen;
        rng::stream(self.config.seed, step, purpose).normal(
            &[n, g.config().z_dim],
            g.kind(),
            g.device(),
        )
    }

    pub(super) fn draw_crossover(&self, step: u64, purpose: &str) -> i64 {
        rng::stream(self.config.seed, step, purpose).integer(1, self.frozen.config().num_styles())
    }

    pub(super) fn draw_latent(&self, step: u64, purpose: &str, n: i64) -> Latent {
        let first = self.draw_z(step, purpose, n);
        if rng::stream(self.config.seed, step, "mixing").unit() < self.config.train.mixing {
            let second = self.draw_z(step, "second z", n);
            Latent::MixedZ { first, second, crossover: self.draw_crossover(step, "crossover") }
        } else {
            Latent::Z(first)
        }
    }

    /// Noise maps for `n` images; `None` when the configuration wants none or the stored ones.
    pub(super) fn draw_noise(&self, step: u64, purpose: &str, n: i64) -> Option<Vec<Tensor>> {
        let mut stream = rng::stream(self.config.seed, step, purpose);
        (self.config.train.noise == NoiseKind::Random)
            .then(|| self.frozen.random_noise(n, &mut stream))
    }

    pub(super) fn noise<'a>(&self, maps: Option<&'a Vec<Tensor>>) -> Noise<'a> {
        match (maps, self.config.train.noise) {
            (Some(maps), _) => Noise::Maps(maps),
            (None, NoiseKind::None) => Noise::None,
            (None, _) => Noise::Stored,
        }
    }
}
