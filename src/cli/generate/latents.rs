//! Latent codes from a file, or from the seed.

use super::super::printer::Printer;
use crate::error::Result;
pub(in crate::cli) use crate::models::LatentKind;
use crate::models::open_codes;
use crate::rng;
use crate::stylegan2::{Config, Generator, Latent};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::path::Path;
use tch::Tensor;

impl ValueEnum for LatentKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Z, Self::W, Self::WPlus]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Z => PossibleValue::new("z")
                .help("Normal noise `[N, Dz]`, the input of the mapping network"),
            Self::W => PossibleValue::new("w").help("Styles `[N, D]`, the same for all layers"),
            Self::WPlus => PossibleValue::new("w+")
                .aliases(["wplus", "w_plus"])
                .help("A style per layer input, `[N, L, D]`; `[L, D]` is one image"),
        })
    }
}

/// The codes of all images, of which a batch is taken at a time.
#[derive(Debug)]
pub(in crate::cli) enum Codes {
    /// Drawn from the seed: image i is the same whatever the count.
    Seeded { count: i64, seed: u64 },
    /// From a file: `[N, …]`, float32, on the CPU.
    Given { codes: Tensor, kind: LatentKind },
}

impl Codes {
    /// How many images they make.
    pub(in crate::cli) fn count(&self) -> i64 {
        match self {
            Self::Seeded { count, .. } => *count,
            Self::Given { codes, .. } => codes.size()[0],
        }
    }

    /// All of them as W+ `[N, L, D]`.
    ///
    /// # Errors
    /// As [`Generator::w_plus`].
    pub(in crate::cli) fn w_plus(&self, generator: &Generator, psi: f64) -> Result<Tensor> {
        tch::no_grad(|| generator.w_plus(&self.batch(generator, 0, self.count()), psi))
    }

    /// The codes of `n` images from `start`.
    pub(in crate::cli) fn batch(&self, generator: &Generator, start: i64, n: i64) -> Latent {
        let ready = |t: Tensor| t.to_device(generator.device()).to_kind(generator.kind());
        match self {
            Self::Seeded { seed, .. } => {
                let shape = [1, generator.config().z_dim];
                let draw = |i: i64| {
                    rng::stream(*seed, i as u64, "generated z").normal(
                        &shape,
                        generator.kind(),
                        generator.device(),
                    )
                };
                Latent::Z(Tensor::cat(&(start..start + n).map(draw).collect::<Vec<_>>(), 0))
            }
            Self::Given { codes, kind } => {
                let part = ready(codes.narrow(0, start, n));
                match kind {
                    LatentKind::Z => Latent::Z(part),
                    LatentKind::W => Latent::W(part),
                    LatentKind::WPlus => Latent::WPlus(part),
                }
            }
        }
    }
}

/// Reads codes for a generator from a file, and says what was taken for granted.
///
/// # Errors
/// As [`open_codes`].
pub(in crate::cli) fn read(
    path: &Path,
    kind: Option<LatentKind>,
    config: &Config,
    printer: &Printer,
) -> Result<Codes> {
    let read = open_codes(path, kind, config)?;
    read.notes.iter().for_each(|note| printer.info(&format!("{}: {note}", path.display())));
    Ok(Codes::Given { codes: read.codes, kind: read.kind })
}
