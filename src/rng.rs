//! Random numbers as a function of (seed, step, purpose): no hidden global stream.
//!
//! So a run that resumes at step 120 draws what an uninterrupted run drew there, and two threads never share a
//! state. The stream is ChaCha8, keyed by a hash of the three; normals by the ziggurat of `rand_distr`.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

/// A source of numbers for one (seed, step, purpose).
#[derive(Debug)]
pub struct Stream(ChaCha8Rng);

/// Opens the stream of `purpose` at `step`. The same three always give the same numbers.
pub fn stream(seed: u64, step: u64, purpose: &str) -> Stream {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(step.to_le_bytes());
    hash.update(purpose.as_bytes());
    Stream(ChaCha8Rng::from_seed(hash.finalize().into()))
}

impl Stream {
    /// Standard normal numbers of the given shape.
    pub fn normal(&mut self, shape: &[i64], kind: Kind, device: Device) -> Tensor {
        let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
        let values: Vec<f32> = StandardNormal.sample_iter(&mut self.0).take(count).collect();
        Tensor::from_slice(&values).view(shape).to_kind(kind).to_device(device)
    }

    /// Uniform numbers in `[low, high)` of the given shape.
    pub fn uniform(
        &mut self,
        low: f64,
        high: f64,
        shape: &[i64],
        kind: Kind,
        device: Device,
    ) -> Tensor {
        let count = usize::try_from(shape.iter().product::<i64>()).unwrap_or(0);
        let values: Vec<f32> =
            (0..count).map(|_| (low + (high - low) * self.0.random::<f64>()) as f32).collect();
        Tensor::from_slice(&values).view(shape).to_kind(kind).to_device(device)
    }

    /// One number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// One whole number in `low..high` (`low` when the range is empty).
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { self.0.random_range(low..high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_seed_step_and_purpose_only() {
        let draw = |seed, step, purpose| {
            Vec::<f32>::try_from(stream(seed, step, purpose).normal(&[8], Kind::Float, Device::Cpu))
                .unwrap()
        };
        assert_eq!(draw(1, 2, "z"), draw(1, 2, "z"));
        for other in [draw(2, 2, "z"), draw(1, 3, "z"), draw(1, 2, "noise")] {
            assert_ne!(draw(1, 2, "z"), other);
        }
    }

    #[test]
    fn normals_have_mean_zero_and_deviation_one() {
        let x = stream(0, 0, "test").normal(&[100_000], Kind::Double, Device::Cpu);
        assert!(x.mean(Kind::Double).double_value(&[]).abs() < 0.02);
        assert!((x.std(true).double_value(&[]) - 1.0).abs() < 0.02);
    }
}
