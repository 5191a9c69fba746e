//! Images of two generators from the same latents and the same noise.

use super::as_saved;
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::{Generator, Latent, Noise};
use tch::Tensor;

/// A source and an adapted generator, and what pair i is made of.
#[derive(Debug)]
pub struct Pairs {
    source: Generator,
    adapted: Generator,
    psi: f64,
    seed: u64,
    shares_mapping: bool,
}

impl Pairs {
    /// `psi` is the truncation. With `shares_mapping`, the styles of the source are given to both; without (the mapping
    /// network trained, too), each makes its own of the same z.
    ///
    /// # Errors
    /// [`Error::Request`] when the generators are built differently, or when a side of their images is no multiple of 8,
    /// which [`super::views`] needs.
    pub fn new(
        source: Generator,
        adapted: Generator,
        psi: f64,
        seed: u64,
        shares_mapping: bool,
    ) -> Result<Self> {
        if source.config() != adapted.config() {
            return Err(Error::request(
                "the run's start generator has another shape than its result",
                "the start generator was replaced since: put the earlier file back",
            ));
        }
        if source.config().image_size().iter().any(|side| side % 8 != 0) {
            return Err(Error::request(
                format!(
                    "images of {} cannot be evaluated: both sides must be multiples of 8",
                    source.config().size_in_words()
                ),
                "look at `before_after.png` in the run's folder instead",
            ));
        }
        Ok(Self { source, adapted, psi, seed, shares_mapping })
    }

    /// Side of the images in pixels.
    pub fn resolution(&self) -> i64 {
        self.source.config().resolution
    }

    /// The pairs of these numbers, as a PNG would hold them: two `[n, 3, H, W]`. Pair i is the same whatever it is made
    /// together with; no training draws from this stream, whatever its seed.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn images(&self, indices: &[i64]) -> Result<(Tensor, Tensor)> {
        let (kind, device) = (self.source.kind(), self.source.device());
        let shape = [1, self.source.config().z_dim];
        let stream = |i: i64, purpose: &str| rng::stream(self.seed, i as u64, purpose);
        let draw = |i: &i64| stream(*i, "evaluated z").normal(&shape, kind, device);
        let z = Tensor::cat(&indices.iter().map(draw).collect::<Vec<_>>(), 0);
        let each: Vec<Vec<Tensor>> = indices
            .iter()
            .map(|i| self.source.random_noise(1, &mut stream(*i, "evaluated noise")))
            .collect();
        let level = |l: usize| each.iter().map(|maps| &maps[l]).collect::<Vec<_>>();
        let maps: Vec<Tensor> =
            (0..self.source.config().num_noises()).map(|l| Tensor::cat(&level(l), 0)).collect();
        let z = Latent::Z(z);
        let (source, styles) = self.source.generate(&z, self.psi, Noise::Maps(&maps))?;
        let (adapted, _) = if self.shares_mapping {
            self.adapted.generate(&Latent::WPlus(styles), 1.0, Noise::Maps(&maps))?
        } else {
            self.adapted.generate(&z, self.psi, Noise::Maps(&maps))?
        };
        Ok((as_saved(&source), as_saved(&adapted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stylegan2::Config;
    use tch::{Device, Kind};

    fn generator(seed: u64) -> Generator {
        Generator::random(Config::standard(16, 1), seed, Kind::Float, Device::Cpu).unwrap()
    }

    #[test]
    fn a_pair_does_not_depend_on_its_batch_and_equal_generators_make_equal_images() {
        let pairs = Pairs::new(generator(0), generator(0), 0.7, 3, true).unwrap();
        let (source, adapted) = pairs.images(&[0, 1, 2]).unwrap();
        assert!((&source - &adapted).abs().max().double_value(&[]) < 0.01);
        let (alone, _) = pairs.images(&[2]).unwrap();
        // Another batch may round otherwise by a level.
        assert!((alone - source.narrow(0, 2, 1)).abs().max().double_value(&[]) < 0.01);
        assert_ne!(source.get(0), source.get(1));
        let other = Pairs::new(generator(0), generator(1), 0.7, 3, true).unwrap();
        assert_ne!(other.images(&[0]).unwrap().1, adapted.narrow(0, 0, 1));
    }

    #[test]
    fn generators_of_two_shapes_are_no_pair() {
        let large =
            Generator::random(Config::standard(32, 1), 0, Kind::Float, Device::Cpu).unwrap();
        assert_eq!(Pairs::new(generator(0), large, 1.0, 0, true).unwrap_err().exit_code(), 2);
    }
}
