//! Mean and spread of every channel of the style codes.

use super::layout;
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::{Config, Generator, Latent, StyleCodes};
use crate::torch::catch;
use tch::{Kind, Tensor};

/// Codes of a batch: only the mapping and the affine layers run, so memory is small.
const BATCH: i64 = 1000;
/// Only the first style inputs are truncated, as in the original's samples.
const TRUNCATED_INPUTS: i64 = 8;

/// Mean and spread of the channels of each style code, `[C]` each, float32 on the CPU, in the order of synthesis.
#[derive(Debug)]
pub struct Statistics {
    /// Means.
    pub means: Vec<Tensor>,
    /// Standard deviations.
    pub deviations: Vec<Tensor>,
}

impl Statistics {
    /// Over `samples` seeded codes of truncation `psi`.
    ///
    /// # Errors
    /// [`Error::Request`] for fewer than two samples; a failure of the device.
    pub fn measure(generator: &Generator, samples: i64, psi: f64, seed: u64) -> Result<Self> {
        if samples < 2 {
            return Err(Error::request(
                format!("{samples} samples have no spread"),
                "take 2 at least; the original takes 100,000",
            ));
        }
        let mut sums: Vec<(Tensor, Tensor)> = Vec::new();
        for start in (0..samples).step_by(BATCH as usize) {
            let codes = sampled_styles(generator, start, BATCH.min(samples - start), psi, seed)?;
            catch("measuring style codes", || {
                for (i, (_, code)) in codes.0.iter().enumerate() {
                    let code = code.to_kind(Kind::Double);
                    let over =
                        |t: &Tensor| t.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
                    let (sum, square) = (over(&code), over(&code.square()));
                    match sums.get_mut(i) {
                        Some((a, b)) => {
                            *a += sum;
                            *b += square;
                        }
                        None => sums.push((sum, square)),
                    }
                }
                Ok(())
            })?;
        }
        let n = samples as f64;
        let plain = |t: Tensor| t.to_device(tch::Device::Cpu).to_kind(Kind::Float);
        let (mut means, mut deviations) = (Vec::new(), Vec::new());
        for (sum, square) in sums {
            let mean = sum / n;
            let variance: Tensor = square / n - mean.square();
            deviations.push(plain(variance.clamp_min(0.0).sqrt()));
            means.push(plain(mean));
        }
        Ok(Self { means, deviations })
    }

    /// Makes sure that these are of a generator of this shape.
    ///
    /// # Errors
    /// [`Error::Request`] that names the first code that differs.
    pub fn check(&self, config: &Config) -> Result<()> {
        let wanted: Vec<i64> = layout(config).iter().map(|(_, width)| *width).collect();
        let sizes = |all: &[Tensor]| all.iter().map(|t| t.numel() as i64).collect::<Vec<_>>();
        let found = sizes(&self.means);
        if found == wanted && sizes(&self.deviations) == wanted {
            return Ok(());
        }
        Err(Error::request(
            format!(
                "the statistics are of a generator with style codes {found:?}, this one has {wanted:?}"
            ),
            "measure this generator with `nada edit prepare`",
        ))
    }
}

/// Style codes of `count` seeded z from number `start`, as the statistics see them: truncated in the first 8 inputs.
///
/// # Errors
/// A failure of the device.
pub fn sampled_styles(
    generator: &Generator,
    start: i64,
    count: i64,
    psi: f64,
    seed: u64,
) -> Result<StyleCodes> {
    let z = rng::stream(seed, start as u64, "style statistics").normal(
        &[count, generator.config().z_dim],
        generator.kind(),
        generator.device(),
    );
    tch::no_grad(|| {
        let whole = generator.w_plus(&Latent::Z(z), 1.0)?;
        catch("measuring style codes", || {
            let inputs = generator.config().num_styles().min(TRUNCATED_INPUTS);
            let coarse = whole.narrow(1, 0, inputs);
            let pulled = generator.latent_avg() + (coarse - generator.latent_avg()) * psi;
            let rest = whole.narrow(1, inputs, whole.size()[1] - inputs);
            Ok(generator.synthesis().styles(&Tensor::cat(&[pulled, rest], 1)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn they_are_those_of_the_codes_and_of_no_other_shape() {
        let mut config = Config::standard(16, 1);
        (config.style_dim, config.z_dim, config.mapping_width) = (8, 8, 8);
        config.mapping_layers = 1;
        config.channels = vec![4; 3];
        config.constant_channels = 4;
        let g = Generator::random(config.clone(), 1, Kind::Double, Device::Cpu).unwrap();
        let found = Statistics::measure(&g, 500, 0.7, 5).unwrap();
        let codes = sampled_styles(&g, 0, 500, 0.7, 5).unwrap();
        for (i, (_, code)) in codes.0.iter().enumerate() {
            let mean = code.mean_dim([0i64].as_slice(), false, Kind::Double);
            let std = code.std_dim([0i64].as_slice(), false, false);
            assert!((mean - &found.means[i]).abs().max().double_value(&[]) < 1e-6);
            assert!((std - &found.deviations[i]).abs().max().double_value(&[]) < 1e-6);
        }
        found.check(&config).unwrap();
        config.channels = vec![4, 4, 4, 4];
        assert!(found.check(&config).unwrap_err().to_string().contains("style codes [4, 4"));
        assert!(Statistics::measure(&g, 1, 0.7, 5).is_err());
    }
}
