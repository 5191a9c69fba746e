//! Codes by optimisation: for domains that have no encoder, and to bring an encoder's result closer.
//!
//! The projector of StyleGAN2 (Karras et al. 2020, appendix D) in W or W+, as rosinality's `projector.py`: Adam with a
//! learning rate that rises, stays and falls as a cosine; codes that tremble less and less at first; and, if noise maps
//! may change too, a penalty on maps that have structure, so that they do not draw the picture.

use super::perceptual::{Perceptual, Seen};
use crate::adapt::optim::Adam;
use crate::adapt::rate::Ramp;
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::{Generator, Noise, Synthesis};
use crate::torch::catch;
use crate::torch::threads::{self, Shared, Tensors};
use std::ops::ControlFlow;
use tch::{Kind, Tensor};

/// Codes of so many random z tell how far styles are from each other.
const SPREAD_SAMPLES: i64 = 10_000;
/// Noise maps are penalised down to this side.
const SMALLEST_NOISE: i64 = 8;

/// Which codes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// One for all style inputs: farther from the photo, closer to what the generator knows.
    W,
    /// One for each style input.
    WPlus,
}

/// How codes are looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Steps of the optimiser.
    pub steps: u32,
    /// W or W+.
    pub space: Space,
    /// The learning rate over the steps.
    pub lr: Ramp,
    /// How much the codes tremble at first, in units of the spread of styles.
    pub latent_noise: f64,
    /// Share of the steps after which they do not any more.
    pub latent_noise_ramp: f64,
    /// Weight of the mean squared difference of pixels.
    pub pixel: f64,
    /// Weight of the perceptual distance.
    pub perceptual: f64,
    /// Weight of the mean squared distance from the start, in units of the spread of styles: keeps codes editable.
    pub anchor: f64,
    /// Whether the noise maps change, too.
    pub fit_noise: bool,
    /// Weight of structure in noise maps.
    pub noise_regularisation: f64,
    /// What the trembling follows from.
    pub seed: u64,
}

impl Settings {
    /// From the mean: rosinality's schedule.
    pub fn from_mean(steps: u32) -> Self {
        Self {
            steps,
            space: Space::WPlus,
            lr: Ramp::usual(0.1),
            latent_noise: 0.05,
            latent_noise_ramp: 0.75,
            pixel: 1.0,
            perceptual: 1.0,
            anchor: 0.1,
            fit_noise: false,
            noise_regularisation: 1e5,
            seed: 0,
        }
    }

    /// From codes that are nearly right: small steps, no trembling.
    pub fn refining(steps: u32) -> Self {
        Self { lr: Ramp::usual(0.02), latent_noise: 0.0, ..Self::from_mean(steps) }
    }
}

/// The losses of one step, means over the images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    /// Steps before it.
    pub step: u32,
    /// What is minimised.
    pub total: f64,
    /// Mean squared difference of pixels.
    pub pixel: f64,
    /// Perceptual distance; 0 without such a network.
    pub perceptual: f64,
}

/// What was found.
#[derive(Debug)]
pub struct Projection {
    /// W+ codes `[N, L, D]`.
    pub codes: Tensor,
    /// Noise maps `[N, 1, H, W]`, if they were to change.
    pub noise: Option<Vec<Tensor>>,
    /// The images `[N, 3, R, R]` of both.
    pub images: Tensor,
    /// Of every step.
    pub losses: Vec<Losses>,
}

/// Looks for codes whose images are like `targets`, beginning with `start`. Each image is looked for by itself; a batch
/// only saves time. `each` sees every step, and may end the search: then what was found so far is the result.
///
/// # Shapes
/// `targets: [N, 3, R, R]` in [-1, 1], of the generator's resolution; `start: [N, L, D]`.
///
/// # Errors
/// [`Error::Request`] for other shapes; [`Error::Diverged`] when the loss is no number any more; a failure of the device.
pub fn project(
    generator: &Generator,
    perceptual: Option<&Perceptual>,
    targets: &Tensor,
    start: &Tensor,
    settings: &Settings,
    each: &mut dyn FnMut(&Losses) -> ControlFlow<()>,
) -> Result<Projection> {
    let (g, n) = (generator.config(), targets.size()[0]);
    let wanted = [n, g.num_styles(), g.style_dim];
    if targets.size() != [n, 3, g.resolution, g.resolution] || start.size() != wanted {
        return Err(Error::request(
            format!("images {:?} and codes {:?} were given", targets.size(), start.size()),
            format!("this generator takes [N, 3, {0}, {0}] and {wanted:?}", g.resolution),
        ));
    }
    let (kind, device) = (generator.kind(), generator.device());
    let targets = targets.to_device(device).to_kind(kind);
    let seen = perceptual.map(|p| tch::no_grad(|| p.see(&targets))).transpose()?;
    let begin = start.to_device(device).to_kind(kind);
    // In W one code stands for all.
    let begin = match settings.space {
        Space::W => begin.mean_dim([1i64].as_slice(), true, kind),
        Space::WPlus => begin,
    };
    let codes = begin.copy();
    let noise: Option<Vec<Tensor>> = settings.fit_noise.then(|| {
        let mut stream = rng::stream(settings.seed, 0, "projector noise");
        generator.random_noise(n, &mut stream)
    });
    let spread = spread(generator)?;
    // The weights never change here: what follows from them alone is computed once.
    let search = Search {
        synthesis: generator.synthesis().fixed(),
        styles: g.num_styles(),
        perceptual,
        settings,
        anchor: settings.anchor / (spread * spread / g.style_dim as f64),
    };
    let styles = search.styles;
    let mut adam = Adam::new(settings.lr.peak, (0.9, 0.999));
    let mut history = Vec::new();
    for step in 0..settings.steps {
        let mut descend = || {
            catch(SEARCH, || {
                let t = f64::from(step) / f64::from(settings.steps);
                let tremble = settings.latent_noise
                    * spread
                    * (1.0 - t / settings.latent_noise_ramp).max(0.0).powi(2);
                let shake = (tremble > 0.0).then(|| {
                    let mut stream = rng::stream(settings.seed, u64::from(step), "projector codes");
                    // The same for every image, so that none depends on its place in a batch.
                    stream.normal(&[1, codes.size()[1], g.style_dim], kind, device) * tremble
                });
                let parts = threads::parts(device, n).into_iter().map(|samples| {
                    let own = |t: &Tensor| t.narrow(0, samples.start, samples.end - samples.start);
                    let leaf = |t: &Tensor| own(t).detach().set_requires_grad(true);
                    Photos {
                        codes: leaf(&codes),
                        shake: shake.as_ref().map(Tensor::shallow_clone),
                        noise: noise.as_ref().map(|maps| maps.iter().map(leaf).collect()),
                        begin: own(&begin),
                        targets: own(&targets),
                        seen: seen.as_ref().map(|seen| seen.part(&samples)),
                    }
                });
                let shared = Shared::new(&search);
                let found =
                    threads::map(SEARCH, parts.collect(), |photos| shared.get().look(&photos))?;
                let joined = |of: &dyn Fn(&Downhill) -> &Tensor| {
                    Tensor::cat(&found.iter().map(of).collect::<Vec<_>>(), 0)
                };
                let mean = |of: &dyn Fn(&Downhill) -> &Tensor| {
                    joined(of).mean(Kind::Double).double_value(&[])
                };
                let losses = Losses {
                    step,
                    total: mean(&|d| &d.total),
                    pixel: mean(&|d| &d.pixel),
                    perceptual: if perceptual.is_some() { mean(&|d| &d.perceptual) } else { 0.0 },
                };
                adam.set_lr(settings.lr.rate(step.into(), settings.steps.into()));
                for (i, leaf) in std::iter::once(&codes).chain(noise.iter().flatten()).enumerate() {
                    adam.step(&i.to_string(), leaf, &joined(&|d| &d.gradients[i]));
                }
                if let Some(maps) = &noise {
                    maps.iter().for_each(standardise);
                }
                Ok(losses)
            })
        };
        let losses = if n > 1 { threads::narrow(descend)? } else { descend()? };
        if !losses.total.is_finite() {
            return Err(Error::Diverged {
                step: u64::from(step),
                reason: "the loss of the codes is no number".into(),
            });
        }
        history.push(losses);
        if each(&losses).is_break() {
            break;
        }
    }
    catch("making images of the codes that were found", || {
        tch::no_grad(|| {
            let codes = codes.expand([n, styles, -1], true).contiguous();
            let images = search.render(&codes, noise.as_deref());
            Ok(Projection { codes, noise, images, losses: history })
        })
    })
}

/// The name of the work in error messages.
const SEARCH: &str = "looking for codes";

/// What does not change from step to step.
struct Search<'a> {
    synthesis: Synthesis,
    styles: i64,
    perceptual: Option<&'a Perceptual>,
    settings: &'a Settings,
    anchor: f64,
}

// SAFETY: tensors and plain data.
#[allow(unsafe_code)]
unsafe impl Tensors for Search<'_> {}

/// Some of the photos, with the codes and noise maps as they are in a step.
struct Photos {
    codes: Tensor,
    shake: Option<Tensor>,
    noise: Option<Vec<Tensor>>,
    begin: Tensor,
    targets: Tensor,
    seen: Option<Seen>,
}

/// The losses of some photos, `[n]` each, and their gradients: of the codes, then of each noise map.
struct Downhill {
    total: Tensor,
    pixel: Tensor,
    perceptual: Tensor,
    gradients: Vec<Tensor>,
}

impl Search<'_> {
    /// `codes: [n, 1 or L, D]`.
    fn render(&self, codes: &Tensor, noise: Option<&[Tensor]>) -> Tensor {
        let maps = noise.map_or(Noise::Stored, Noise::Maps);
        self.synthesis.forward(&codes.expand([codes.size()[0], self.styles, -1], true), maps)
    }

    fn look(&self, photos: &Photos) -> Result<Downhill> {
        let Photos { codes, shake, noise, begin, targets, seen } = photos;
        let kind = codes.kind();
        let moved = shake.as_ref().map_or_else(|| codes.shallow_clone(), |shake| codes + shake);
        let images = self.render(&moved, noise.as_deref());
        let pixel = (&images - targets).square().mean_dim([1i64, 2, 3].as_slice(), false, kind);
        let mut total = &pixel * self.settings.pixel;
        let mut look = pixel.zeros_like();
        if let (Some(perceptual), Some(seen)) = (self.perceptual, seen) {
            look = perceptual.distance(&perceptual.see(&images)?, seen)?.to_kind(kind);
            total += &look * self.settings.perceptual;
        }
        if self.settings.anchor > 0.0 {
            let away = (codes - begin).square().mean_dim([1i64, 2].as_slice(), false, kind);
            total += away * self.anchor;
        }
        for map in noise.iter().flatten() {
            total += structure(map) * self.settings.noise_regularisation;
        }
        let leaves: Vec<&Tensor> = std::iter::once(codes).chain(noise.iter().flatten()).collect();
        let gradients = Tensor::run_backward(&[total.sum(kind)], &leaves, false, false);
        let [total, pixel, perceptual] = [total, pixel, look].map(|t| t.detach());
        Ok(Downhill { total, pixel, perceptual, gradients })
    }
}

/// Root of the mean squared distance of random styles from their mean.
fn spread(generator: &Generator) -> Result<f64> {
    catch("measuring how far styles are from each other", || {
        tch::no_grad(|| {
            let (kind, device) = (generator.kind(), generator.device());
            let z = rng::stream(0, 0, "projector spread").normal(
                &[SPREAD_SAMPLES, generator.config().z_dim],
                kind,
                device,
            );
            let w = generator.mapping().forward(&z);
            let away = &w - w.mean_dim([0i64].as_slice(), true, kind);
            let square = away.square().sum(Kind::Double).double_value(&[]);
            Ok((square / SPREAD_SAMPLES as f64).sqrt())
        })
    })
}

/// How much neighbours agree in a noise map, at every scale down to 8 pixels: `[N, 1, H, H]` to `[N]`. 0 for white
/// noise without end.
fn structure(map: &Tensor) -> Tensor {
    let mean = |t: Tensor| t.mean_dim([1i64, 2, 3].as_slice(), false, map.kind());
    let mut map = map.shallow_clone();
    let mut sum: Option<Tensor> = None;
    loop {
        for axis in [2, 3] {
            let agreement = mean(&map * map.roll([1], [axis])).square();
            sum = Some(sum.map_or_else(|| agreement.shallow_clone(), |sum| sum + &agreement));
        }
        if map.size()[2] <= SMALLEST_NOISE {
            return sum.expect("two axes were looked at");
        }
        map = map.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None);
    }
}

/// Brings each map to mean 0 and deviation 1, in place.
fn standardise(map: &Tensor) {
    tch::no_grad(|| {
        let axes = [1i64, 2, 3];
        let mean = map.mean_dim(axes.as_slice(), true, map.kind());
        let deviation = map.std_dim(axes.as_slice(), true, true);
        let _ = map.shallow_clone().g_sub_(&mean).g_div_(&deviation);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn white_noise_has_less_structure_than_a_ramp() {
        let noise = rng::stream(0, 0, "test").normal(&[2, 1, 32, 32], Kind::Double, Device::Cpu);
        let ramp = Tensor::linspace(-1.7, 1.7, 32, (Kind::Double, Device::Cpu))
            .expand([2, 1, 32, 32], true)
            .contiguous();
        let of = |map: &Tensor| f64::try_from(structure(map).mean(Kind::Double)).unwrap();
        assert!(of(&noise) < 0.1 * of(&ramp), "{} {}", of(&noise), of(&ramp));
        standardise(&ramp);
        assert!((f64::try_from(ramp.std(true)).unwrap() - 1.0).abs() < 0.01);
    }
}
