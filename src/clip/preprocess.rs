//! From a generator's images to the input of a CLIP, so that gradients flow back.
//!
//! Shorter side to the resolution (bicubic), centre crop, CLIP's normalisation: what torchvision does to tensors.
//! There are two bicubics, [`Resize`] names them.
//!
//! Bicubic resizing is linear and separable, so here it is two products with small matrices (rows outside the crop
//! are never computed) instead of libtorch's operators. That gives one implementation of both kernels, weights
//! computed in float64, and a backward pass without atomic additions: it repeats bit for bit on a GPU. Forward and
//! backward on a CPU, 2 threads, float32, per batch:
//!
//! | batch, size      | matrices | antialias operator | legacy operator |
//! |------------------|---------:|-------------------:|----------------:|
//! | 8 × 64 → 224     |   3.1 ms |            13.3 ms |         19.9 ms |
//! | 8 × 256 → 64     |   3.9 ms |             5.1 ms |          1.9 ms |
//! | 8 × 256 → 224    |  16.2 ms |            18.3 ms |         20.5 ms |
//! | 8 × 512 → 224    |  46.5 ms |            38.3 ms |         22.0 ms |
//! | 2 × 1024 → 224   |  40.0 ms |            27.0 ms |          7.3 ms |
//!
//! The last rows lose 7 to 17 ms an image where the generator itself needs seconds.

use crate::imaging::colours;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// Mean of each channel (red, green, blue) that CLIP was trained with, for images in [0, 1].
pub const MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Standard deviation of each channel.
pub const STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Matrices kept for later images: both axes of a few sizes.
const KEPT: usize = 8;

/// Which bicubic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resize {
    /// Widened when it shrinks, so that every pixel counts; a = −0.5. Pillow's, and torchvision's since 0.17.
    #[default]
    Antialias,
    /// Four pixels an axis, whatever the factor; a = −0.75. torchvision's on tensors before, which the published
    /// StyleGAN-NADA used.
    Legacy,
}

/// Resizes, crops and normalises images for a CLIP of one resolution.
#[derive(Debug)]
pub struct Preprocess {
    resolution: i64,
    resize: Resize,
    matrices: Mutex<Vec<(Axis, Kind, Device, Tensor)>>,
}

impl Preprocess {
    /// For images of `resolution` × `resolution` pixels.
    pub fn new(resolution: i64, resize: Resize) -> Self {
        Self { resolution, resize, matrices: Mutex::default() }
    }

    /// `[N, 3, H, W]` in [-1, 1] (not clamped) to `[N, 3, R, R]`, normalised; kind and device stay.
    ///
    /// An axis that has its size already is not touched.
    ///
    /// # Panics
    /// When the images have not four dimensions, or no pixels.
    pub fn apply(&self, images: &Tensor) -> Tensor {
        let images = &colours(images);
        let (_, _, height, width) = images.size4().expect("images are [N, 3, H, W]");
        let short = height.min(width);
        assert!(short > 0, "an image of {width} x {height} pixels cannot be resized");
        let axis = |input| Axis::new(input, short, self.resolution);
        let xs = self.along_width(images, axis(width));
        let xs = self.along_height(&xs, axis(height));
        // ((x + 1) / 2 - mean) / std; may come after the resize, whose weights sum to 1.
        let scale = per_channel(|_, std| 0.5 / std, &xs);
        let shift = per_channel(|mean, std| (0.5 - mean) / std, &xs);
        xs * scale + shift
    }

    fn along_width(&self, xs: &Tensor, axis: Axis) -> Tensor {
        match axis.keeps_pixels() {
            true => xs.narrow(3, axis.from, axis.kept),
            false => xs.linear(&self.matrix(axis, xs), None::<Tensor>),
        }
    }

    fn along_height(&self, xs: &Tensor, axis: Axis) -> Tensor {
        match axis.keeps_pixels() {
            true => xs.narrow(2, axis.from, axis.kept),
            false => self.matrix(axis, xs).matmul(xs),
        }
    }

    /// The matrix [kept, input] of an axis, of the kind and on the device of `like`.
    fn matrix(&self, axis: Axis, like: &Tensor) -> Tensor {
        let (kind, device) = (like.kind(), like.device());
        let mut matrices = self.matrices.lock().unwrap_or_else(PoisonError::into_inner);
        let known = matrices.iter().find(|(a, k, d, _)| (*a, *k, *d) == (axis, kind, device));
        if let Some((.., matrix)) = known {
            return matrix.shallow_clone();
        }
        if matrices.len() == KEPT {
            drop(matrices.remove(0));
        }
        let weights = Tensor::from_slice(&axis.weights(self.resize));
        let matrix = weights.view([axis.kept, axis.input]).to_kind(kind).to_device(device);
        matrices.push((axis, kind, device, matrix.shallow_clone()));
        matrix
    }
}

/// A number for each channel, [3, 1, 1], of the kind and on the device of `like`.
fn per_channel(value: impl Fn(f64, f64) -> f64, like: &Tensor) -> Tensor {
    let values = [0, 1, 2].map(|c| value(MEAN[c], STD[c]));
    Tensor::from_slice(&values).view([3, 1, 1]).to_kind(like.kind()).to_device(like.device())
}

/// One side of an image: `input` pixels become `resized`, of which `kept` stay, beginning with `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    input: i64,
    resized: i64,
    from: i64,
    kept: i64,
}

impl Axis {
    /// A side of an image whose shorter side becomes `resolution`.
    fn new(input: i64, short: i64, resolution: i64) -> Self {
        let resized = resolution * input / short;
        let margin = resized - resolution;
        // Half of an odd margin goes to the even neighbour, as Python rounds.
        let from = margin / 2 + i64::from(margin % 4 == 3);
        Self { input, resized, from, kept: resolution }
    }

    fn keeps_pixels(self) -> bool {
        self.input == self.resized
    }

    /// The weight of every input pixel in every kept pixel: `kept` rows of `input` numbers, each row of sum 1.
    fn weights(self, resize: Resize) -> Vec<f64> {
        let (a, widen) = match resize {
            Resize::Antialias => (-0.5, true),
            Resize::Legacy => (-0.75, false),
        };
        let scale = self.input as f64 / self.resized as f64;
        let stretch = if widen { scale.max(1.0) } else { 1.0 };
        let mut all = Vec::new();
        for place in self.from..self.from + self.kept {
            let centre = (place as f64 + 0.5) * scale;
            let mut row = vec![0.0; usize::try_from(self.input).unwrap_or(0)];
            let first = (centre - 2.0 * stretch - 0.5).floor() as i64;
            let last = (centre + 2.0 * stretch - 0.5).ceil() as i64;
            for pixel in first..=last {
                let weight = cubic((pixel as f64 + 0.5 - centre) / stretch, a);
                // Beyond the edge: antialias looks at nothing, legacy at the pixel of the edge.
                let inside = pixel.clamp(0, self.input - 1);
                if inside == pixel || !widen {
                    row[inside as usize] += weight;
                }
            }
            let sum: f64 = row.iter().sum();
            all.extend(row.iter().map(|weight| weight / sum));
        }
        all
    }
}

/// Keys' cubic kernel, zero beyond 2.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crop_begins_where_python_rounds_to() {
        // margin: 0, 1 (0.5 -> 0), 2, 3 (1.5 -> 2), 5 (2.5 -> 2), 7 (3.5 -> 4)
        let from = [10, 11, 12, 13, 15, 17].map(|long| Axis::new(long, 10, 10).from);
        assert_eq!(from, [0, 0, 1, 2, 2, 4]);
    }

    #[test]
    fn rows_of_a_matrix_sum_to_one() {
        for resize in [Resize::Antialias, Resize::Legacy] {
            for (input, resolution) in [(5, 32), (33, 32), (1024, 7), (1, 3)] {
                let weights = Axis::new(input, input, resolution).weights(resize);
                for row in weights.chunks(input as usize) {
                    assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                }
            }
        }
    }
}
