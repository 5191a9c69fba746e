//! Speckle: how much of an image is in its finest detail.

use super::structure::luminance;
use tch::{Kind, Tensor};

/// What even a flat image has, so that a ratio exists: the rounding of 8 bits, about 1/255 of the range.
const FLOOR: f64 = 1e-5;

/// Mean square of the Laplacian of the luminance: the energy of differences between neighbouring pixels.
///
/// # Shapes
/// `images: [N, 3, H, W]` in [-1, 1], at least 3 × 3 pixels. Returns `[N]`, float64, at least a small positive number.
pub fn high_frequency_energy(images: &Tensor) -> Tensor {
    let grey = luminance(images).to_kind(Kind::Double);
    let (_, _, h, w) = grey.size4().expect("images have four dimensions");
    let shifted = |y: i64, x: i64| grey.narrow(2, y, h - 2).narrow(3, x, w - 2);
    let around = shifted(0, 1) + shifted(2, 1) + shifted(1, 0) + shifted(1, 2);
    let laplacian = shifted(1, 1) * 4.0 - around;
    laplacian.square().mean_dim([1i64, 2, 3].as_slice(), false, Kind::Double) + FLOOR
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn a_chessboard_has_the_most_and_a_ramp_none() {
        let chess = Tensor::from_slice(&[1.0, -1.0]).repeat([4]).view([1, 8]);
        let chess = Tensor::cat(&[chess.shallow_clone(), -chess], 0).repeat([4, 1]);
        let ramp = Tensor::linspace(-1.0, 1.0, 8, (Kind::Double, Device::Cpu)).expand([8, 8], true);
        let images = Tensor::stack(&[chess, ramp], 0).unsqueeze(1).expand([2, 3, 8, 8], true);
        let energy = super::super::numbers(&high_frequency_energy(&images));
        // 4·1 + 4·1 at every pixel.
        assert!((energy[0] - 64.0 - FLOOR).abs() < 1e-9, "{energy:?}");
        assert!((energy[1] - FLOOR).abs() < 1e-9, "{energy:?}");
    }
}
