//! Random changes that both images of a pair undergo alike before CLIP sees them.
//!
//! A small CLIP is easily attacked: without this, the generator learns dots that please it and mean nothing. The
//! idea is DiffAugment's (Zhao et al. 2020) and AugCLIP's (FuseDream, Liu et al. 2021); geometry is one affine
//! resampling per copy instead of one per change.

use crate::config::Augment;
use crate::imaging::colours;
use crate::rng::Stream;
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// The numbers drawn for one batch of copies; applying it twice gives the same change twice.
#[derive(Debug)]
pub struct Draw {
    copies: i64,
    affine: Tensor,     // [M, 2, 3]
    gain: Tensor,       // [M, 3, 1, 1]
    brightness: Tensor, // [M, 1, 1, 1]
    saturation: Tensor,
    contrast: Tensor,
    noise: Tensor,        // [M, 3, H, W]
    kept: Option<Tensor>, // [M, 1, H, W], 0 where cut out
}

impl Draw {
    /// Draws for `copies` of each image of a batch of `[n, h, w]`: M = copies · N changes.
    pub fn new(
        settings: &Augment,
        [n, h, w]: [i64; 3],
        (kind, device): (Kind, Device),
        stream: &mut Stream,
    ) -> Self {
        let Augment {
            copies,
            scale,
            translation,
            rotation,
            flip,
            brightness,
            saturation,
            contrast,
            channel_gain,
            noise,
            cutout,
        } = settings.clone();
        let m = n * copies;
        let mut around = |centre: f64, reach: f64, shape: &[i64]| {
            stream.uniform(centre - reach, centre + reach, shape, kind, device)
        };
        let zoom = around((scale[0] + scale[1]) / 2.0, (scale[1] - scale[0]) / 2.0, &[m]);
        let angle = around(0.0, rotation.to_radians(), &[m]);
        let mirror =
            if flip { around(0.0, 1.0, &[m]).sign() } else { Tensor::ones([m], (kind, device)) };
        // The window may move as far as the zoom leaves room, and `translation` further (2 is the whole side).
        let hidden: Tensor = 1.0 - &zoom;
        let room = hidden.clamp_min(0.0) + 2.0 * translation;
        let (dx, dy) = (around(0.0, 1.0, &[m]) * &room, around(0.0, 1.0, &[m]) * &room);
        let (cos, sin) = (angle.cos() * &zoom, angle.sin() * &zoom);
        let rows = [&(&mirror * &cos), &-&sin, &dx, &(&mirror * &sin), &cos, &dy];
        let affine = Tensor::stack(&rows, 1).view([m, 2, 3]);
        let small = [m, 1, 1, 1];
        let levels = around(0.5, 0.5, &small) * noise;
        let draw = Self {
            copies,
            affine,
            gain: around(1.0, channel_gain, &[m, 3, 1, 1]),
            brightness: around(0.0, 2.0 * brightness, &small), // images span 2 units
            saturation: around(1.0, saturation, &small),
            contrast: around(1.0, contrast, &small),
            noise: if noise > 0.0 {
                stream.normal(&[m, 3, h, w], kind, device) * levels * 2.0
            } else {
                Tensor::zeros([1], (kind, device))
            },
            kept: None,
        };
        let kept = (cutout > 0.0)
            .then(|| kept_mask(cutout, m, h, w, stream).to_kind(kind).to_device(device));
        Self { kept, ..draw }
    }

    /// The same changes, sharing memory.
    pub fn shallow_clone(&self) -> Self {
        Self {
            copies: self.copies,
            affine: self.affine.shallow_clone(),
            gain: self.gain.shallow_clone(),
            brightness: self.brightness.shallow_clone(),
            saturation: self.saturation.shallow_clone(),
            contrast: self.contrast.shallow_clone(),
            noise: self.noise.shallow_clone(),
            kept: self.kept.as_ref().map(Tensor::shallow_clone),
        }
    }

    /// The changes of some samples of the batch only.
    pub fn part(&self, samples: &Range<i64>) -> Self {
        let own = |t: &Tensor| {
            let shape = t.size();
            // What changes nothing is one number for all.
            if shape[0] == 1 && shape.len() == 1 {
                return t.shallow_clone();
            }
            let by_copy =
                t.view([&[self.copies, shape[0] / self.copies], &shape[1..]].concat().as_slice());
            let few = by_copy.narrow(1, samples.start, samples.end - samples.start);
            few.reshape([&[-1], &shape[1..]].concat().as_slice())
        };
        Self {
            copies: self.copies,
            affine: own(&self.affine),
            gain: own(&self.gain),
            brightness: own(&self.brightness),
            saturation: own(&self.saturation),
            contrast: own(&self.contrast),
            noise: own(&self.noise),
            kept: self.kept.as_ref().map(own),
        }
    }

    /// Changes a batch: `[N, 3, H, W]` in [-1, 1] → `[copies · N, 3, H, W]`, copies outermost.
    pub fn apply(&self, images: &Tensor) -> Tensor {
        let x = colours(images).repeat([self.copies, 1, 1, 1]);
        let grid = Tensor::affine_grid_generator(&self.affine, x.size(), false);
        // Bilinear (0) with reflected borders (2).
        let x = x.grid_sampler(&grid, 0, 2, false);
        let x = (x + 1.0) * &self.gain - 1.0 + &self.brightness;
        let grey = x.mean_dim([1i64].as_slice(), true, x.kind());
        let x = (x - &grey) * &self.saturation + &grey;
        let mean = x.mean_dim([1i64, 2, 3].as_slice(), true, x.kind());
        let x = (x - &mean) * &self.contrast + &mean + &self.noise;
        match &self.kept {
            Some(kept) => x * kept,
            None => x,
        }
    }
}

/// 1 everywhere but in one square per image.
fn kept_mask(share: f64, m: i64, h: i64, w: i64, stream: &mut Stream) -> Tensor {
    let mask = Tensor::ones([m, 1, h, w], (Kind::Float, tch::Device::Cpu));
    let (ch, cw) = ((h as f64 * share).round() as i64, (w as f64 * share).round() as i64);
    for i in 0..m {
        let (y, x) = (stream.integer(0, h - ch + 1), stream.integer(0, w - cw + 1));
        let _ = mask.select(0, i).narrow(1, y, ch).narrow(2, x, cw).fill_(0.0);
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    fn image() -> Tensor {
        stream(0, 0, "test").uniform(-1.0, 1.0, &[2, 3, 16, 16], Kind::Double, Device::Cpu)
    }

    fn drawn(settings: &Augment, step: u64) -> Draw {
        let like = (Kind::Double, Device::Cpu);
        Draw::new(settings, [2, 16, 16], like, &mut stream(1, step, "augment"))
    }

    #[test]
    fn no_change_is_the_identity() {
        let settings = Augment { copies: 2, ..Augment::default() };
        let x = image();
        let y = drawn(&settings, 0).apply(&x);
        assert_eq!(y.size(), [4, 3, 16, 16]);
        assert!((y - x.repeat([2, 1, 1, 1])).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn one_draw_changes_both_images_alike_and_another_differs() {
        let settings = Augment {
            copies: 3,
            scale: [0.5, 1.0],
            rotation: 10.0,
            flip: true,
            brightness: 0.1,
            noise: 0.1,
            cutout: 0.3,
            ..Augment::default()
        };
        let x = image();
        let draw = drawn(&settings, 0);
        assert_eq!(draw.apply(&x), draw.apply(&x));
        assert_ne!(draw.apply(&x), drawn(&settings, 1).apply(&x));
    }

    #[test]
    fn a_part_changes_its_samples_as_the_whole_does() {
        let settings = Augment {
            copies: 3,
            scale: [0.5, 1.0],
            flip: true,
            channel_gain: 0.2,
            noise: 0.1,
            cutout: 0.3,
            ..Augment::default()
        };
        let x = image();
        let draw = drawn(&settings, 0);
        let whole = draw.apply(&x).view([3, 2, 3, 16, 16]);
        for i in 0..2 {
            let part = draw.part(&(i..i + 1)).apply(&x.narrow(0, i, 1));
            assert_eq!(part, whole.select(1, i));
        }
    }

    #[test]
    fn cutout_greys_one_square() {
        let mask = kept_mask(0.5, 1, 8, 8, &mut stream(0, 0, "cut"));
        assert_eq!(mask.sum(Kind::Double).double_value(&[]), 48.0);
    }
}
