//! The whole way from a photo to its codes: rounds of an encoder, then optimisation, each result measured.

use super::encoder::Encoder;
use super::perceptual::Perceptual;
use super::projector::{Losses, Settings, project};
use super::restyle::{Round, invert};
use crate::error::{Error, Result};
use crate::stylegan2::Generator;
use crate::torch::catch;
use std::ops::ControlFlow;
use tch::{Kind, Tensor};

/// What shall be done with every photo.
#[derive(Debug)]
pub struct Recipe<'a> {
    /// Makes the codes; without one they begin at the mean latent, or where [`Inputs::start`] says.
    pub encoder: Option<&'a Encoder>,
    /// Makes one round before it (ReStyle's encoder bootstrapping).
    pub first: Option<&'a Encoder>,
    /// Rounds of the encoder.
    pub rounds: usize,
    /// The optimisation after it.
    pub refine: Option<Settings>,
    /// What measures likeness, and guides the optimisation.
    pub perceptual: Option<&'a Perceptual>,
}

/// Some photos.
#[derive(Debug)]
pub struct Inputs {
    /// As the encoder sees them; `[N, C, H, W]`.
    pub seen: Option<Tensor>,
    /// As the generator should make them, `[N, 3, R, R]` in [-1, 1]; none for masks and sketches.
    pub target: Option<Tensor>,
    /// Codes `[N, L, D]` to begin with.
    pub start: Option<Tensor>,
}

/// A result on the way.
#[derive(Debug)]
pub struct Stage {
    /// `round 1` …, `optimised`.
    pub name: String,
    /// W+ codes `[N, L, D]`.
    pub codes: Tensor,
    /// Images `[N, 3, R, R]`.
    pub images: Tensor,
    /// How far each image is from its photo, where there is one.
    pub errors: Vec<Distance>,
}

/// How far an image is from its photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// Mean squared difference of pixels in [-1, 1].
    pub pixel: f64,
    /// Perceptual distance, if there is a network that measures it.
    pub perceptual: Option<f64>,
}

/// What became of some photos.
#[derive(Debug)]
pub struct Inversion {
    /// Every result on the way; the last is the one that counts.
    pub stages: Vec<Stage>,
    /// Noise maps that belong to the last.
    pub noise: Option<Vec<Tensor>>,
    /// Losses of the optimisation.
    pub losses: Vec<Losses>,
}

impl Recipe<'_> {
    /// Follows it. `each` sees every step of the optimisation, and may end it.
    ///
    /// # Errors
    /// As [`invert`] and [`project`]; [`Error::Request`] when an optimisation has nothing to be like.
    pub fn run(
        &self,
        generator: &Generator,
        inputs: &Inputs,
        each: &mut dyn FnMut(&Losses) -> ControlFlow<()>,
    ) -> Result<Inversion> {
        let target = inputs.target.as_ref();
        let target = target.map(|t| t.to_device(generator.device()).to_kind(generator.kind()));
        let target = target.as_ref();
        let mut stages = Vec::new();
        for (i, round) in self.rounds(generator, inputs)?.into_iter().enumerate() {
            let name = format!("round {}", i + 1);
            stages.push(self.stage(name, round.codes, round.images, target)?);
        }
        let (mut noise, mut losses) = (None, Vec::new());
        if let Some(settings) = &self.refine {
            let target = target.ok_or_else(|| {
                Error::request("only photos can be optimised for", "leave out `--optimize`")
            })?;
            let start = match (stages.last(), &inputs.start) {
                (Some(stage), _) => stage.codes.shallow_clone(),
                (None, Some(start)) => start.shallow_clone(),
                (None, None) => {
                    let styles = generator.config().num_styles();
                    generator.latent_avg().expand([target.size()[0], styles, -1], true)
                }
            };
            let found = project(generator, self.perceptual, target, &start, settings, each)?;
            (noise, losses) = (found.noise, found.losses);
            stages.push(self.stage("optimised".into(), found.codes, found.images, Some(target))?);
        }
        Ok(Inversion { stages, noise, losses })
    }

    fn rounds(&self, generator: &Generator, inputs: &Inputs) -> Result<Vec<Round>> {
        let (Some(encoder), Some(seen)) = (self.encoder, &inputs.seen) else {
            return Ok(Vec::new());
        };
        let Some(first) = self.first else {
            return invert(encoder, generator, seen, self.rounds, None);
        };
        let mut rounds = invert(first, generator, seen, 1, None)?;
        rounds.extend(invert(encoder, generator, seen, self.rounds, rounds.last())?);
        Ok(rounds)
    }

    fn stage(
        &self,
        name: String,
        codes: Tensor,
        images: Tensor,
        target: Option<&Tensor>,
    ) -> Result<Stage> {
        let errors = target.map(|t| distances(&images, t, self.perceptual)).transpose()?;
        Ok(Stage { name, codes, images, errors: errors.unwrap_or_default() })
    }
}

/// How far images are from others, `[N, 3, R, R]` both.
///
/// # Errors
/// A failure of the device.
pub fn distances(
    images: &Tensor,
    targets: &Tensor,
    perceptual: Option<&Perceptual>,
) -> Result<Vec<Distance>> {
    let numbers = |t: &Tensor| Vec::<f64>::try_from(t.to_kind(Kind::Double)).unwrap_or_default();
    catch("comparing images", || {
        tch::no_grad(|| {
            // What a picture can show.
            let images = images.clamp(-1.0, 1.0);
            let axes = [1i64, 2, 3];
            let pixel = (&images - targets).square().mean_dim(axes.as_slice(), false, Kind::Double);
            let looks = match perceptual {
                Some(p) => numbers(&p.distance(&p.see(&images)?, &p.see(targets)?)?),
                None => Vec::new(),
            };
            let pixel = numbers(&pixel).into_iter().enumerate();
            let distance = |(i, pixel)| Distance { pixel, perceptual: looks.get(i).copied() };
            Ok(pixel.map(distance).collect())
        })
    })
}
