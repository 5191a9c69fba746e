//! Whether a mapper helps: how many images leak, how far the length of CLIP's features drifts, how diverse images stay.

use crate::adapt::direction::template_features;
use crate::clip::templates::TEMPLATES;
use crate::clip::{Clip, Preprocess, Resize, normalise};
use crate::edit::critic::norms;
use crate::error::{Error, Result};
use crate::evaluate::{as_saved, diversity, zero_shot};
use crate::torch::catch;
use serde::Serialize;
use tch::{Kind, Tensor};

/// Side of the small pictures whose pixels are compared: noise of single pixels is no diversity.
const PIXEL_SIDE: i64 = 32;

/// A CLIP that judges, and what it knows of the two phrases.
#[derive(Debug)]
pub struct Witness {
    clip: Clip,
    preprocess: Preprocess,
    texts: Tensor, // [2, E] unit: source, target
}

impl Witness {
    /// Reads both phrases, each the mean over the 79 templates, as the adaptation does.
    ///
    /// # Errors
    /// [`Error::Request`] for a phrase that is too long.
    pub fn new(clip: Clip, source: &str, target: &str) -> Result<Self> {
        let mean = |phrase: &str| {
            let features = template_features(&clip, phrase, &TEMPLATES)?;
            Ok(normalise(&features.mean_dim([0i64].as_slice(), true, None::<Kind>)))
        };
        let texts = Tensor::cat(&[mean(source)?, mean(target)?], 0);
        let preprocess = Preprocess::new(clip.resolution(), Resize::Antialias);
        Ok(Self { clip: clip.without_text(), preprocess, texts })
    }
}

/// What the witnesses saw of one set of images.
#[derive(Debug, Default)]
pub struct Testimony {
    features: Vec<Vec<Tensor>>, // of each witness, batch by batch, not normalised
    pixels: Vec<Tensor>,
}

impl Testimony {
    /// Shows a batch of images `[N, 3, H, W]` in [-1, 1] to all witnesses; only features are kept.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn look(&mut self, witnesses: &[Witness], images: &Tensor) -> Result<()> {
        self.features.resize_with(witnesses.len(), Vec::new);
        let images = as_saved(images);
        catch("encoding images", || {
            tch::no_grad(|| {
                for (kept, w) in self.features.iter_mut().zip(witnesses) {
                    kept.push(w.clip.encode_image(&w.preprocess.apply(&images)));
                }
                let (_, _, h, w) = images.size4().expect("images have four dimensions");
                let side = [h.min(PIXEL_SIDE), w.min(PIXEL_SIDE)];
                self.pixels.push(images.adaptive_avg_pool2d(side).flatten(1, -1));
            });
            Ok(())
        })
    }

    fn joined(&self) -> (Vec<Tensor>, Tensor) {
        (self.features.iter().map(|f| Tensor::cat(f, 0)).collect(), Tensor::cat(&self.pixels, 0))
    }
}

/// The figures of one set of images, the mean over the witnesses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Share of images that are nearer to the source phrase than to the target.
    pub leak_rate: f64,
    /// Mean cosine with the target phrase.
    pub target_cosine: f64,
    /// Mean change of the length of CLIP's features, relative to the same code without the mapper.
    pub norm_drift: f64,
    /// Mean of its absolute value: how far the lengths strayed, whichever way.
    pub norm_drift_abs: f64,
    /// Mean distance of two images, unit features of CLIP.
    pub clip_diversity: f64,
    /// Mean distance of two images, pixels averaged to 32 × 32, per square root of their number.
    pub pixel_diversity: f64,
    /// Mean cosine of CLIP's features with those of the same code without the mapper.
    pub likeness: f64,
}

/// Compares images with those of the same codes without a mapper; for the latter themselves give them twice.
///
/// # Errors
/// [`Error::Request`] with fewer than two images, or sets of different sizes.
pub fn figures(witnesses: &[Witness], before: &Testimony, after: &Testimony) -> Result<Figures> {
    let count = |t: &Testimony| t.pixels.iter().map(|p| p.size()[0]).sum::<i64>();
    if count(after) < 2 || count(before) != count(after) || witnesses.is_empty() {
        return Err(Error::request(
            format!("{} images cannot be compared with {}", count(after), count(before)),
            "take 2 samples at least; 256 make the figures steady",
        ));
    }
    catch("measuring images", || {
        let ((was, was_pixels), (is, is_pixels)) = (before.joined(), after.joined());
        let mean = |t: &Tensor| t.mean(Kind::Double).double_value(&[]);
        let sides = (is_pixels.size()[1] as f64).sqrt();
        let pixels = diversity::diversity(&was_pixels, &is_pixels).adapted / sides;
        let each = witnesses.iter().zip(was.iter().zip(&is)).map(|(w, (was, is))| {
            let (unit_was, unit_is) = (normalise(was), normalise(is));
            let seen = zero_shot::probabilities(&unit_is, &w.texts, w.clip.logit_scale());
            let leaks = seen.select(1, 0).gt_tensor(&seen.select(1, 1));
            let drift = norms(is) / norms(was) - 1.0;
            Figures {
                leak_rate: mean(&leaks),
                target_cosine: mean(&unit_is.matmul(&w.texts.narrow(0, 1, 1).tr())),
                norm_drift: mean(&drift),
                norm_drift_abs: mean(&drift.abs()),
                clip_diversity: diversity::diversity(&unit_was, &unit_is).adapted,
                pixel_diversity: pixels,
                likeness: mean(&(unit_was * unit_is).sum_dim_intlist(
                    [1i64].as_slice(),
                    false,
                    Kind::Double,
                )),
            }
        });
        Ok(average(&each.collect::<Vec<_>>()))
    })
}

/// How likely each image is rather the source than the target, the mean over the witnesses.
///
/// # Errors
/// A failure of the device.
pub fn leaks(witnesses: &[Witness], seen: &Testimony) -> Result<Vec<f64>> {
    catch("measuring images", || {
        let (features, _) = seen.joined();
        let each = witnesses.iter().zip(&features).map(|(w, f)| {
            zero_shot::probabilities(&normalise(f), &w.texts, w.clip.logit_scale()).select(1, 0)
        });
        let sum = each.reduce(|a, b| a + b);
        let mean =
            sum.map(|s| (s / witnesses.len() as f64).to_device(tch::Device::Cpu).contiguous());
        Ok(mean.and_then(|m| Vec::<f64>::try_from(m).ok()).unwrap_or_default())
    })
}

fn average(all: &[Figures]) -> Figures {
    let mean = |of: &dyn Fn(&Figures) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
    Figures {
        leak_rate: mean(&|f| f.leak_rate),
        target_cosine: mean(&|f| f.target_cosine),
        norm_drift: mean(&|f| f.norm_drift),
        norm_drift_abs: mean(&|f| f.norm_drift_abs),
        clip_diversity: mean(&|f| f.clip_diversity),
        pixel_diversity: mean(&|f| f.pixel_diversity),
        likeness: mean(&|f| f.likeness),
    }
}
