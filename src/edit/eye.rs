//! From a generator's images to the input of a CLIP, in the right way or in StyleCLIP's.

use crate::clip::{Preprocess, Resize};
use crate::error::{Error, Result};
use crate::imaging::colours;
use crate::stylegan2;
use tch::{Device, Kind, Tensor};

/// StyleCLIP enlarges images so many times before it averages them down …
const ENLARGED: i64 = 7;
/// … to this many blocks an axis, of [`ENLARGED`] pixels each.
const BLOCKS: i64 = 32;

/// How a CLIP is shown images.
#[derive(Debug)]
pub enum Eye {
    /// Resized and normalised as the CLIP was trained.
    Clip(Preprocess),
    /// As StyleCLIP's code does: enlarged by 7 (nearest), averaged down to 224 px, in [-1, 1], without CLIP's mean and
    /// deviation. Both axes are one product with a matrix `[224, H]`: 7·1024 px images are never made.
    StyleClip(Tensor),
}

impl Eye {
    /// As a CLIP of this resolution was trained to see.
    pub fn clip(resolution: i64, resize: Resize) -> Self {
        Self::Clip(Preprocess::new(resolution, resize))
    }

    /// Whether a generator's images can be shown to a CLIP of `resolution` in StyleCLIP's way.
    ///
    /// # Errors
    /// As [`Eye::styleclip`]; images that are not square cannot.
    pub fn check_styleclip(generator: &stylegan2::Config, resolution: i64) -> Result<()> {
        let [height, width] = generator.image_size();
        if height != width || height % BLOCKS != 0 || resolution != ENLARGED * BLOCKS {
            return Err(no_styleclip(&generator.size_in_words(), resolution));
        }
        Ok(())
    }

    /// StyleCLIP's way, from images of `side` pixels to a CLIP of `resolution`.
    ///
    /// # Errors
    /// [`Error::Request`] unless `side` is a multiple of 32 and the CLIP takes 224 px: nothing else comes out of it.
    pub fn styleclip(side: i64, resolution: i64, kind: Kind, device: Device) -> Result<Self> {
        if side % BLOCKS != 0 || side == 0 || resolution != ENLARGED * BLOCKS {
            return Err(no_styleclip(&side.to_string(), resolution));
        }
        let pool = side / BLOCKS;
        let mut weights = vec![0f64; (resolution * side) as usize];
        for row in 0..resolution {
            for pixel in row * pool..(row + 1) * pool {
                weights[(row * side + pixel / ENLARGED) as usize] += 1.0 / pool as f64;
            }
        }
        let matrix = Tensor::from_slice(&weights).view([resolution, side]);
        Ok(Self::StyleClip(matrix.to_kind(kind).to_device(device)))
    }

    /// `[N, 3, H, W]` in [-1, 1] to what the CLIP takes, `[N, 3, R, R]`. Differentiable.
    pub fn apply(&self, images: &Tensor) -> Tensor {
        match self {
            Self::Clip(preprocess) => preprocess.apply(images),
            Self::StyleClip(matrix) => matrix.matmul(&colours(images)).matmul(&matrix.tr()),
        }
    }
}

fn no_styleclip(side: &str, resolution: i64) -> Error {
    Error::request(
        format!(
            "StyleCLIP's way of showing images goes from multiples of {BLOCKS} px to {} px, not from {side} to {resolution}",
            ENLARGED * BLOCKS
        ),
        "leave out `parity: original`, or use a CLIP of 224 px such as ViT-B/32",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    #[test]
    fn the_matrix_is_enlarging_and_averaging() {
        for side in [32, 64, 96] {
            let x = rng::stream(0, 0, "eye").normal(&[2, 3, side, side], Kind::Double, Device::Cpu);
            let pool = side / 32;
            let step = x.upsample_nearest2d([7 * side, 7 * side], None, None).avg_pool2d(
                [pool, pool],
                [pool, pool],
                [0, 0],
                false,
                true,
                None::<i64>,
            );
            let eye = Eye::styleclip(side, 224, Kind::Double, Device::Cpu).unwrap();
            let got = eye.apply(&x);
            assert_eq!(got.size(), step.size());
            assert!((got - step).abs().max().double_value(&[]) < 1e-12, "{side}");
        }
    }

    #[test]
    fn other_sizes_are_refused() {
        for (side, resolution) in [(16, 224), (48, 224), (64, 64), (0, 224)] {
            assert!(Eye::styleclip(side, resolution, Kind::Float, Device::Cpu).is_err());
        }
    }
}
