//! The spaces that a generator is driven from.

use super::config::Config;
use crate::error::{Error, Result};
use tch::Tensor;

/// A batch of latent codes.
#[derive(Debug)]
pub enum Latent {
    /// Normal noise `[N, Dz]`, the input of the mapping network.
    Z(Tensor),
    /// Styles `[N, D]`, the same for all layers.
    W(Tensor),
    /// One style per layer input, `[N, L, D]`.
    WPlus(Tensor),
    /// Style mixing: the first `crossover` styles come from `first`, the rest from `second` (both `[N, Dz]`).
    MixedZ {
        /// z of the coarse styles.
        first: Tensor,
        /// z of the fine styles.
        second: Tensor,
        /// How many styles come from `first`, 1 … L−1.
        crossover: i64,
    },
}

impl Latent {
    /// Makes sure that the shapes fit a generator.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        let (styles, d, z) = (config.num_styles(), config.style_dim, config.z_dim);
        let expect = |name: &str, tensor: &Tensor, wanted: &[i64]| {
            let got = tensor.size();
            if got.len() == wanted.len() + 1 && got[1..] == *wanted {
                return Ok(());
            }
            Err(Error::request(
                format!(
                    "{name} codes have shape {got:?}, this generator needs [N, {}]",
                    join(wanted)
                ),
                "check with `nada inspect` which generator the codes were made for",
            ))
        };
        match self {
            Self::Z(t) => expect("z", t, &[z]),
            Self::W(t) => expect("w", t, &[d]),
            Self::WPlus(t) => expect("w+", t, &[styles, d]),
            Self::MixedZ { first, second, crossover } => {
                expect("z", first, &[z])?;
                expect("z", second, &first.size()[1..])?;
                if first.size() != second.size() || *crossover < 1 || *crossover >= styles {
                    return Err(Error::request(
                        format!(
                            "a crossover at {crossover} of {:?} and {:?} codes",
                            first.size(),
                            second.size()
                        ),
                        format!(
                            "mix two batches of equal size, with a crossover of 1 to {}",
                            styles - 1
                        ),
                    ));
                }
                Ok(())
            }
        }
    }
}

fn join(dims: &[i64]) -> String {
    dims.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}
