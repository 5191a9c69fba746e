//! How images are shown to CLIP: six fixed changes that the training does not use, the same for both images of a pair.
//!
//! A generator that learnt to please one CLIP with a pattern of dots loses its score when the image is blurred or
//! compressed; one that learnt a sketch does not. The training ([`crate::adapt::augment`]) zooms in, rotates, mirrors,
//! shifts colours linearly and adds noise: none of these is here.

use tch::{Device, Kind, Tensor};

/// A way to look at an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// A Gaussian of 1 % of the side: 0.64 px at 64 px.
    Blurred,
    /// Half the resolution and back.
    Coarse,
    /// As a JPEG of quality 50 would leave it: 8 × 8 cosine transform, standard tables, colours not subsampled.
    Compressed,
    /// Gamma 1.5.
    Darker,
    /// Gamma 2/3.
    Brighter,
    /// At 3/4 of its size on mid-grey: further away than training shows it.
    Shrunk,
}

impl View {
    /// Every view, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Blurred, Self::Coarse, Self::Compressed, Self::Darker, Self::Brighter, Self::Shrunk];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blurred => "blurred",
            Self::Coarse => "coarse",
            Self::Compressed => "compressed",
            Self::Darker => "darker",
            Self::Brighter => "brighter",
            Self::Shrunk => "shrunk",
        }
    }

    /// Images `[N, 3, H, W]` in [-1, 1], changed; same shape, still in [-1, 1].
    ///
    /// # Panics
    /// When H or W is no multiple of 8 (the sides of every StyleGAN2 are).
    pub fn apply(self, images: &Tensor) -> Tensor {
        match self {
            Self::Blurred => blurred(images),
            Self::Coarse => {
                let (_, _, h, w) = sizes(images);
                let half = images.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None);
                half.upsample_bilinear2d([h, w], false, None, None)
            }
            Self::Compressed => compressed(images),
            Self::Darker => with_gamma(images, 1.5),
            Self::Brighter => with_gamma(images, 1.0 / 1.5),
            Self::Shrunk => shrunk(images),
        }
    }
}

fn sizes(images: &Tensor) -> (i64, i64, i64, i64) {
    images.size4().expect("images have four dimensions")
}

fn with_gamma(images: &Tensor, gamma: f64) -> Tensor {
    ((images + 1.0) / 2.0).clamp(0.0, 1.0).pow_tensor_scalar(gamma) * 2.0 - 1.0
}

/// One axis after the other.
fn blurred(images: &Tensor) -> Tensor {
    let (_, c, h, w) = sizes(images);
    let sigma = 0.01 * h.min(w) as f64;
    let reach = (3.0 * sigma).ceil().max(1.0) as i64;
    let taps: Vec<f64> =
        (-reach..=reach).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = taps.iter().sum();
    let taps = (Tensor::from_slice(&taps) / sum).to_kind(images.kind()).to_device(images.device());
    let along = |xs: &Tensor, shape: [i64; 4], stride: [i64; 2]| {
        let weight = taps.view(shape).expand([c, 1, shape[2], shape[3]], false);
        xs.conv2d(&weight, None::<Tensor>, stride, [0, 0], [1, 1], c)
    };
    let xs = images.reflection_pad2d([reach; 4]);
    let xs = along(&xs, [1, 1, 1, -1].map(|s| if s < 0 { 2 * reach + 1 } else { s }), [1, 1]);
    along(&xs, [1, 1, 2 * reach + 1, 1], [1, 1])
}

fn shrunk(images: &Tensor) -> Tensor {
    let (_, _, h, w) = sizes(images);
    let (small_h, small_w) = (h * 3 / 4, w * 3 / 4);
    let small = images.internal_upsample_bilinear2d_aa([small_h, small_w], false, None, None);
    let (top, left) = ((h - small_h) / 2, (w - small_w) / 2);
    let frame = [left, w - small_w - left, top, h - small_h - top];
    // Mid-grey is 0.
    small.constant_pad_nd(frame)
}

/// The tables of the JPEG standard (ITU T.81, annex K) are for quality 50.
#[rustfmt::skip]
const LUMA: [i64; 64] = [
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
];
#[rustfmt::skip]
const CHROMA: [i64; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
];
/// Red, green and blue to Y, Cb and Cr (JFIF).
const YCBCR: [[f64; 3]; 3] =
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]];

fn compressed(images: &Tensor) -> Tensor {
    let (n, _, h, w) = sizes(images);
    assert!(h % 8 == 0 && w % 8 == 0, "images of {w} x {h} pixels are not made of 8 x 8 blocks");
    let ready = |t: Tensor| t.to_kind(images.kind()).to_device(images.device());
    let colours = ready(Tensor::from_slice2(&YCBCR));
    // In levels around 0: chroma has no offset then, and luma has the standard's.
    let levels = images * 127.5;
    let ycc = colours.matmul(&levels.flatten(2, 3)).view([n, 3, h / 8, 8, w / 8, 8]);
    let blocks = ycc.permute([0, 2, 4, 1, 3, 5]); // [N, H/8, W/8, 3, 8, 8]
    let cosines = ready(cosine_matrix());
    let tables: Vec<i64> = [LUMA, CHROMA, CHROMA].concat();
    let tables = ready(Tensor::from_slice(&tables)).view([3, 8, 8]);
    let spectrum = (cosines.matmul(&blocks).matmul(&cosines.tr()) / &tables).round() * &tables;
    let blocks = cosines.tr().matmul(&spectrum).matmul(&cosines);
    let ycc = blocks.permute([0, 3, 1, 4, 2, 5]).reshape([n, 3, h * w]);
    (colours.inverse().matmul(&ycc).view([n, 3, h, w]) / 127.5).clamp(-1.0, 1.0)
}

/// The orthonormal cosine transform of 8 numbers, `[8, 8]` in float64.
fn cosine_matrix() -> Tensor {
    let place = Tensor::arange(8, (Kind::Double, Device::Cpu)) + 0.5;
    let wave = Tensor::arange(8, (Kind::Double, Device::Cpu)).view([8, 1]);
    let rows = (wave * place * (std::f64::consts::PI / 8.0)).cos() * 0.5;
    let _ = rows.get(0).g_mul_scalar_(0.5f64.sqrt());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;

    fn noise() -> Tensor {
        let images = rng::stream(0, 0, "views").uniform(
            -1.0,
            1.0,
            &[2, 3, 64, 64],
            Kind::Double,
            Device::Cpu,
        );
        super::super::as_saved(&images)
    }

    fn far(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn every_view_keeps_shape_and_range_and_changes_something() {
        let images = noise();
        for view in View::ALL {
            let seen = view.apply(&images);
            assert_eq!(seen.size(), images.size(), "{view:?}");
            assert!(seen.abs().max().double_value(&[]) <= 1.0 + 1e-9, "{view:?}");
            assert!(far(&seen, &images) > 0.1, "{view:?}");
            assert_eq!(seen, view.apply(&images), "{view:?} is not the same twice");
        }
    }

    #[test]
    fn flat_grey_stays_flat_grey() {
        let grey = Tensor::zeros([1, 3, 64, 64], (Kind::Double, Device::Cpu));
        for view in [View::Blurred, View::Coarse, View::Compressed, View::Shrunk] {
            assert!(far(&view.apply(&grey), &grey) < 1e-9, "{view:?}");
        }
    }

    #[test]
    fn the_cosine_transform_is_orthonormal_and_compression_keeps_what_is_smooth() {
        let c = cosine_matrix();
        assert!(far(&c.matmul(&c.tr()), &Tensor::eye(8, (Kind::Double, Device::Cpu))) < 1e-12);
        let ramp = Tensor::linspace(-0.9, 0.9, 64, (Kind::Double, Device::Cpu));
        let ramp = ramp.view([1, 1, 1, 64]).expand([1, 3, 64, 64], true);
        assert!(far(&View::Compressed.apply(&ramp), &ramp) < 0.1);
        assert!(far(&View::Compressed.apply(&noise()), &noise()) > 0.3);
    }

    #[test]
    fn gamma_moves_the_middle_only_and_shrinking_leaves_a_frame() {
        let of = |v: f64| Tensor::full([1, 3, 8, 8], v, (Kind::Double, Device::Cpu));
        let first = |t: Tensor| t.double_value(&[0, 0, 0, 0]);
        assert!(
            (first(View::Darker.apply(&of(0.0))) - (2.0 * 0.5f64.powf(1.5) - 1.0)).abs() < 1e-12
        );
        assert_eq!(first(View::Brighter.apply(&of(1.0))), 1.0);
        let small = View::Shrunk.apply(&of(1.0));
        assert_eq!(first(small.shallow_clone()), 0.0);
        assert_eq!(small.sum(Kind::Double).double_value(&[]), 3.0 * 36.0);
    }
}
