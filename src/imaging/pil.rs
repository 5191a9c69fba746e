//! Pillow's way to resize pictures, equal to the last bit, and CLIP's preprocessing of picture files with it.
//!
//! Pillow resizes 8-bit images with fixed-point weights and rounds to 8 bits twice, after the horizontal and after the
//! vertical pass; a float bicubic differs by up to 0.2 after CLIP's normalisation at hard edges. This bicubic is
//! antialiased and has a = -0.5 (the one inside the training loop differs: see `clip::preprocess`).

use crate::error::{Error, Result};
use image::{DynamicImage, RgbImage};
use ndarray::Array3;
use std::ops::Range;

/// Weights are whole numbers of 2^-22: 8 bits for the pixel and 2 for overshoot stay free in an `i32`.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Resizes the shorter side to `n`, cuts out the middle `n` x `n` and converts to RGB.
///
/// # Shapes
/// returns: `[3, n, n]` in [0, 1], multiples of 1/255, before CLIP's mean and standard deviation. Images of more than
/// 8 bits are rounded to 8 first. As in the reference, transparency weighs the pixels during the resize and is
/// dropped, not blended, after it.
///
/// # Errors
/// [`Error::Request`] for an image or an `n` without pixels.
///
/// # Parity
/// `clip._transform(n)` without its normalisation (Pillow, `Image.BICUBIC`); golden `preprocess`, `pil32.*`, `pil224.*`.
/// Equal to Pillow 11.3 on 120 random images; Pillow 13.0 seems to take the vertical pass first for some images more
/// than twice as high as wide, and differs there by a few levels.
pub fn clip_transform(image: &DynamicImage, n: u32) -> Result<Array3<f32>> {
    let (width, height) = (image.width(), image.height());
    if width == 0 || height == 0 || n == 0 {
        return Err(Error::request(
            format!("cannot fit an image of {width} x {height} pixels into {n} x {n}"),
            "use an image that has pixels",
        ));
    }
    let plane = Plane::of(image);
    let (new_width, new_height) = fit(width, height, n);
    let filter = Filter::Bicubic;
    // Only the middle is computed: a very long image would otherwise be enlarged at its whole length.
    let columns = centre(new_width, n);
    let rows = centre(new_height, n);
    let plane = plane.premultiplied();
    let plane = plane.resample_rows(filter, new_width, columns);
    let plane = plane.transposed().resample_rows(filter, new_height, rows).transposed();
    let plane = plane.unpremultiplied();

    let (side, channels) = (n as usize, plane.channels);
    Ok(Array3::from_shape_fn((3, side, side), |(c, y, x)| {
        let c = if channels < 3 { 0 } else { c };
        f32::from(plane.data[(y * side + x) * channels + c]) / 255.0
    }))
}

/// Resizes a picture with Lanczos' filter of three lobes.
///
/// # Errors
/// [`Error::Request`] when there are no pixels, before or after.
///
/// # Parity
/// `Image.resize((width, height), Image.LANCZOS)`; golden `align`.
pub fn lanczos(image: &RgbImage, width: u32, height: u32) -> Result<RgbImage> {
    if image.width() == 0 || image.height() == 0 || width == 0 || height == 0 {
        return Err(Error::request("an image without pixels cannot be resized", "use another"));
    }
    let (w, h) = (image.width() as usize, image.height() as usize);
    let plane = Plane { width: w, height: h, channels: 3, data: image.as_raw().clone() };
    let plane = plane.resample_rows(Filter::Lanczos, width, 0..width);
    let plane = plane.transposed().resample_rows(Filter::Lanczos, height, 0..height).transposed();
    RgbImage::from_raw(width, height, plane.data)
        .ok_or_else(|| Error::request("a resized image has another size than asked", "report it"))
}

/// A kernel to resize with.
#[derive(Clone, Copy)]
enum Filter {
    Bicubic,
    Lanczos,
}

impl Filter {
    /// Where it ends.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => bicubic(x),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// The size whose shorter side is `n`; the longer one is rounded down.
fn fit(width: u32, height: u32, n: u32) -> (u32, u32) {
    let long = |long: u32, short: u32| {
        u32::try_from(u64::from(n) * u64::from(long) / u64::from(short)).unwrap_or(u32::MAX)
    };
    if width <= height { (n, long(height, width)) } else { (long(width, height), n) }
}

/// The middle `n` of `size`; an odd rest is split as Python rounds, half to even.
fn centre(size: u32, n: u32) -> Range<u32> {
    let start = (f64::from(size - n) / 2.0).round_ties_even() as u32;
    start..start + n
}

/// Pixels of 8 bits, interleaved: L, LA, RGB or RGBA by the number of channels.
struct Plane {
    width: usize,
    height: usize,
    channels: usize,
    data: Vec<u8>,
}

impl Plane {
    fn of(image: &DynamicImage) -> Self {
        let colour = image.color();
        let (channels, data) = match (colour.has_color(), colour.has_alpha()) {
            (false, false) => (1, image.to_luma8().into_raw()),
            (false, true) => (2, image.to_luma_alpha8().into_raw()),
            (true, false) => (3, image.to_rgb8().into_raw()),
            (true, true) => (4, image.to_rgba8().into_raw()),
        };
        Self { width: image.width() as usize, height: image.height() as usize, channels, data }
    }

    fn has_alpha(&self) -> bool {
        self.channels.is_multiple_of(2)
    }

    /// Colour times transparency, so that invisible pixels weigh nothing.
    fn premultiplied(mut self) -> Self {
        if self.has_alpha() {
            for pixel in self.data.chunks_exact_mut(self.channels) {
                if let [colours @ .., alpha] = pixel {
                    for c in colours {
                        // x * alpha / 255, rounded, as Pillow computes it.
                        let t = u32::from(*c) * u32::from(*alpha) + 128;
                        *c = (((t >> 8) + t) >> 8) as u8;
                    }
                }
            }
        }
        self
    }

    /// The opposite of [`Plane::premultiplied`], rounded down.
    fn unpremultiplied(mut self) -> Self {
        if self.has_alpha() {
            for pixel in self.data.chunks_exact_mut(self.channels) {
                if let [colours @ .., alpha @ 1..=254] = pixel {
                    for c in colours {
                        *c = (u32::from(*c) * 255 / u32::from(*alpha)).min(255) as u8;
                    }
                }
            }
        }
        self
    }

    /// Resizes every row to `size` pixels and keeps those in `window`.
    fn resample_rows(self, filter: Filter, size: u32, window: Range<u32>) -> Self {
        if size as usize == self.width && window.len() == self.width {
            return self;
        }
        let taps: Vec<Taps> = window.map(|x| Taps::new(filter, self.width, size, x)).collect();
        let mut data = Vec::with_capacity(self.height * taps.len() * self.channels);
        for row in self.data.chunks_exact(self.width * self.channels) {
            for taps in &taps {
                let pixels = &row[taps.start * self.channels..];
                for c in 0..self.channels {
                    let half = 1i32 << (PRECISION_BITS - 1);
                    let sum = pixels[c..]
                        .iter()
                        .step_by(self.channels)
                        .zip(&taps.weights)
                        .fold(half, |sum, (p, w)| sum + i32::from(*p) * w);
                    data.push((sum >> PRECISION_BITS).clamp(0, 255) as u8);
                }
            }
        }
        Self { width: taps.len(), data, ..self }
    }

    /// Rows become columns.
    fn transposed(self) -> Self {
        let Self { width, height, channels, data } = self;
        let mut turned = Vec::with_capacity(data.len());
        for x in 0..width {
            for y in 0..height {
                let at = (y * width + x) * channels;
                turned.extend_from_slice(&data[at..at + channels]);
            }
        }
        Self { width: height, height: width, channels, data: turned }
    }
}

/// Which pixels make one output pixel: a run from `start`, with weights in units of 2^-22.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn new(filter: Filter, old: usize, new: u32, x: u32) -> Self {
        let scale = old as f64 / f64::from(new);
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let centre = (f64::from(x) + 0.5) * scale;
        // Conversion to an integer rounds towards zero and stops at zero, as Pillow's bounds do.
        let start = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(old);
        // The reciprocals are Pillow's too: a division would differ in the last bit.
        let shrink = 1.0 / stretch;
        let weights: Vec<f64> =
            (start..end).map(|at| filter.weight((at as f64 - centre + 0.5) * shrink)).collect();
        let norm = 1.0 / weights.iter().sum::<f64>();
        let unit = f64::from(1u32 << PRECISION_BITS);
        let weights = weights.iter().map(|w| (w * norm * unit).round() as i32).collect();
        Self { start, weights }
    }
}

/// The cubic convolution kernel with a = -0.5 (Catmull-Rom).
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_rounded_down_and_an_odd_rest_goes_to_the_even_side() {
        assert_eq!(fit(147, 80, 32), (58, 32));
        assert_eq!(fit(41, 60, 224), (224, 327));
        assert_eq!(centre(37, 32), 2..34);
        assert_eq!(centre(35, 32), 2..34);
        assert_eq!(centre(33, 32), 0..32);
    }

    #[test]
    fn an_image_that_fits_is_kept_and_a_line_is_not_unrolled() {
        let pixels = (0..48).map(|v| v * 5).collect();
        let image = image::RgbImage::from_raw(4, 4, pixels).map(DynamicImage::ImageRgb8).unwrap();
        let got = clip_transform(&image, 4).unwrap();
        assert_eq!(got[[1, 0, 2]], 35.0 / 255.0);
        let line = DynamicImage::new_luma8(1, 50_000);
        assert_eq!(clip_transform(&line, 224).unwrap().dim(), (3, 224, 224));
    }

    #[test]
    fn nothing_cannot_be_resized() {
        assert!(clip_transform(&DynamicImage::new_rgb8(0, 3), 8).is_err());
        assert!(clip_transform(&DynamicImage::new_rgb8(3, 3), 0).is_err());
    }
}
