//! How photos become codes, as it is typed.

use crate::adapt::rate::Ramp;
use crate::cli::machine::MachineArgs;
use crate::error::{Error, Result};
use crate::invert::{Settings, Space};
use clap::Args;
use std::path::PathBuf;

/// Steps of an optimisation without an encoder: rosinality's projector takes 1,000, most of the way is done by then.
const USUAL_STEPS: u32 = 400;

/// What makes the codes.
#[derive(Debug, Args)]
pub(in crate::cli) struct InversionArgs {
    /// An encoder of ReStyle, pSp or e4e: a shipped name or a file; `none` only optimises [default: the shipped encoder
    /// of a shipped generator]
    #[arg(long, value_name = "NAME|FILE", help_heading = "Models")]
    pub(in crate::cli) encoder: Option<String>,
    /// Another encoder that makes one round before it (ReStyle's encoder bootstrapping)
    #[arg(long, value_name = "NAME|FILE", help_heading = "Models")]
    pub(in crate::cli) first_encoder: Option<String>,
    /// What compares photo and result: a CLIP, LPIPS (FILE or BACKBONE+LIN), or `none`
    #[arg(long, value_name = "NAME|FILE", default_value = "clip-rn", help_heading = "Models")]
    pub(in crate::cli) perceptual: String,
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    pub(in crate::cli) models_dir: Option<PathBuf>,
    /// Rounds of a ReStyle encoder [default: as it was trained, 5 as a rule]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Codes")]
    pub(in crate::cli) rounds: Option<u16>,
    /// Bring the codes closer by so many steps of optimisation [default: what the encoder's file advises, 150 for the
    /// one that ships, else 0; without an encoder 400]
    #[arg(long, value_name = "STEPS", alias = "optimise", value_parser = clap::value_parser!(u32).range(0..=1_000_000), help_heading = "Codes")]
    pub(in crate::cli) optimize: Option<u32>,
    /// What the optimisation may change: one code for all layers, or each
    #[arg(long, value_name = "SPACE", default_value = "w+", help_heading = "Codes")]
    space: SpaceName,
    /// Highest learning rate of the optimisation [default: 0.1 from the mean, 0.02 after an encoder or --start]
    #[arg(long, value_name = "RATE", help_heading = "Codes")]
    lr: Option<f64>,
    /// How strongly the optimisation is held where it began: less is closer to the photo, more is closer to a face
    ///
    /// [default: 0.1]
    #[arg(long, value_name = "WEIGHT", help_heading = "Codes")]
    anchor: Option<f64>,
    /// Weight of the perceptual distance beside that of the pixels, which is 1
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, help_heading = "Codes")]
    perceptual_weight: f64,
    /// Let the optimisation change the noise maps, too
    #[arg(long, help_heading = "Codes")]
    fit_noise: bool,
    /// Codes to begin the optimisation with (.npy, .safetensors: one for all, or one for each photo)
    #[arg(long, value_name = "FILE", help_heading = "Codes")]
    pub(in crate::cli) start: Option<PathBuf>,
    /// What the optimisation draws follows from it
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Codes")]
    pub(in crate::cli) seed: u64,
    #[command(flatten)]
    pub(in crate::cli) machine: MachineArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SpaceName {
    /// One code for all layers
    W,
    /// A code per layer
    #[value(name = "w+", aliases = ["wplus", "w_plus"])]
    WPlus,
}

impl InversionArgs {
    /// The optimisation that is asked for; `encoder` is the steps that an encoder advises, if it begins where one ends.
    ///
    /// # Errors
    /// [`Error::Request`] for numbers that cannot be used, and for settings of an optimisation that is not made.
    pub(in crate::cli) fn refinement(&self, encoder: Option<u32>) -> Result<Option<Settings>> {
        let steps = self.optimize.or(encoder).unwrap_or(USUAL_STEPS);
        let typed = [
            (self.lr, "--lr"),
            (self.anchor, "--anchor"),
            (Some(self.perceptual_weight), "--perceptual-weight"),
        ];
        for (value, flag) in typed {
            if value.is_some_and(|v| !v.is_finite() || v < 0.0) {
                return Err(Error::request(
                    format!("`{flag}` is not a number from 0 upwards"),
                    "use a number such as 0.02",
                ));
            }
        }
        if steps == 0 {
            let needs = [
                (self.lr.is_some(), "--lr"),
                (self.anchor.is_some(), "--anchor"),
                (self.fit_noise, "--fit-noise"),
                (self.start.is_some(), "--start"),
                (self.space == SpaceName::W, "--space w"),
            ];
            return match needs.iter().find(|(given, _)| *given) {
                Some((_, flag)) => Err(Error::request(
                    format!("`{flag}` belongs to an optimisation, and none is made"),
                    "add `--optimize 200`, or leave it out",
                )),
                None => Ok(None),
            };
        }
        let begun = encoder.is_some() || self.start.is_some();
        let usual = if begun { Settings::refining(steps) } else { Settings::from_mean(steps) };
        Ok(Some(Settings {
            space: match self.space {
                SpaceName::W => Space::W,
                SpaceName::WPlus => Space::WPlus,
            },
            lr: self.lr.map_or(usual.lr, Ramp::usual),
            anchor: self.anchor.unwrap_or(usual.anchor),
            perceptual: self.perceptual_weight,
            fit_noise: self.fit_noise,
            seed: self.seed,
            ..usual
        }))
    }
}
