//! What an image shows apart from its style: where its edges are, and where it is light and dark.

use tch::{Kind, Tensor};

/// Side of the picture on which edges are looked for.
const EDGE_SIDE: i64 = 64;
/// Side of the map of edges: one step in place does not matter, two do.
const EDGE_MAP: i64 = 32;
/// Side of the map of light and dark.
const LOW_MAP: i64 = 16;

/// Grey values `[N, 1, H, W]` of images `[N, 3, H, W]` (Rec. 601 weights).
pub fn luminance(images: &Tensor) -> Tensor {
    let weights = Tensor::from_slice(&[0.299f64, 0.587, 0.114]);
    let weights = weights.view([1, 3, 1, 1]).to_kind(images.kind()).to_device(images.device());
    (images * weights).sum_dim_intlist([1i64].as_slice(), true, images.kind())
}

/// Edges, whatever their sign and strength: the length of Sobel's gradient at 64 px, averaged to at most 32 × 32 places,
/// brought to mean 0 and length 1.
///
/// # Shapes
/// `images: [N, 3, H, W]`, at least 8 px. Returns `[N, M]`; an image without edges gives zeros.
pub fn edges(images: &Tensor) -> Tensor {
    let grey = shrunk_to(&luminance(images), EDGE_SIDE).replication_pad2d([1, 1, 1, 1]);
    let (_, _, h, w) = grey.size4().expect("images have four dimensions");
    let at = |y: i64, x: i64| grey.narrow(2, y, h - 2).narrow(3, x, w - 2);
    let gx = at(0, 2) + at(1, 2) * 2.0 + at(2, 2) - at(0, 0) - at(1, 0) * 2.0 - at(2, 0);
    let gy = at(2, 0) + at(2, 1) * 2.0 + at(2, 2) - at(0, 0) - at(0, 1) * 2.0 - at(0, 2);
    let strength = (gx.square() + gy.square()).sqrt();
    standardised(&shrunk_to(&strength, EDGE_MAP).flatten(1, -1))
}

/// Light and dark at 16 × 16 places, brought to mean 0 and length 1: brightness and contrast of the whole do not matter.
///
/// Shapes as [`edges`].
pub fn low_frequencies(images: &Tensor) -> Tensor {
    standardised(&shrunk_to(&luminance(images), LOW_MAP).flatten(1, -1))
}

/// Maps inside a CLIP `[N, C, h, w]` without what all images of the set share: per channel, the mean over images and
/// places is taken away and the deviation brought to 1, so that a style (a shift or gain of channels that all images
/// have) drops out; then each image is brought to length 1. Returns `[N, C·h·w]`.
pub fn without_style(maps: &Tensor) -> Tensor {
    let over = [0i64, 2, 3];
    let mean = maps.mean_dim(over.as_slice(), true, maps.kind());
    let deviation = maps.std_dim(over.as_slice(), false, true).clamp_min(1e-6);
    unit(&((maps - mean) / deviation).flatten(1, -1))
}

/// Rows without what all rows of the set share: the mean row is taken away, and each is brought to length 1.
///
/// All faces have eyes at the same places: only what is left tells one from another.
pub fn without_common(rows: &Tensor) -> Tensor {
    unit(&(rows - rows.mean_dim([0i64].as_slice(), true, rows.kind())))
}

/// By averaging, to at most `side` × `side`; never enlarged.
fn shrunk_to(maps: &Tensor, side: i64) -> Tensor {
    let (_, _, h, w) = maps.size4().expect("maps have four dimensions");
    maps.adaptive_avg_pool2d([h.min(side), w.min(side)])
}

fn standardised(rows: &Tensor) -> Tensor {
    unit(&(rows - rows.mean_dim([1i64].as_slice(), true, rows.kind())))
}

/// Rows of length 1; what has no length stays 0.
fn unit(rows: &Tensor) -> Tensor {
    rows / rows.norm_scalaropt_dim(2.0, [1i64].as_slice(), true).clamp_min(1e-6)
}

/// Σ a·b of each pair of rows `[N, M]`: their correlation, when they are standardised. `[N]`, float64.
pub fn correlation(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::numbers;
    use crate::rng;
    use tch::Device;

    fn images() -> Tensor {
        let small = rng::stream(0, 0, "structure");
        let mut small = small;
        small.uniform(-0.8, 0.8, &[3, 3, 8, 8], Kind::Double, Device::Cpu).upsample_bilinear2d(
            [64, 64],
            false,
            None,
            None,
        )
    }

    #[test]
    fn edges_ignore_contrast_brightness_and_inversion() {
        let x = images();
        for changed in [&x * 0.5 + 0.2, -&x] {
            for r in numbers(&correlation(&edges(&x), &edges(&changed))) {
                assert!((r - 1.0).abs() < 1e-9, "{r}");
            }
        }
        let r = numbers(&correlation(&edges(&x), &edges(&x.roll([1], [0]))));
        assert!(r.iter().all(|r| r.abs() < 0.6), "{r:?}");
    }

    #[test]
    fn light_and_dark_ignore_contrast_and_brightness_but_not_inversion() {
        let x = images();
        let (own, low) = (low_frequencies(&x), |y: &Tensor| low_frequencies(y));
        assert!(
            numbers(&correlation(&own, &low(&(&x * 0.3 - 0.1)))).iter().all(|r| *r > 1.0 - 1e-9)
        );
        assert!(numbers(&correlation(&own, &low(&-&x))).iter().all(|r| *r < -1.0 + 1e-9));
    }

    #[test]
    fn a_gain_and_shift_of_channels_is_style() {
        let maps = rng::stream(1, 0, "maps").normal(&[5, 4, 3, 3], Kind::Double, Device::Cpu);
        let gain = Tensor::from_slice(&[2.0, 0.5, 3.0, 1.0]).view([1, 4, 1, 1]);
        let styled = &maps * &gain + &gain;
        let difference = without_style(&maps) - without_style(&styled);
        assert!(difference.abs().max().double_value(&[]) < 1e-9);
    }

    #[test]
    fn what_has_nothing_to_see_gives_zeros_and_not_nan() {
        let flat = Tensor::zeros([2, 3, 16, 16], (Kind::Float, Device::Cpu));
        for rows in [edges(&flat), low_frequencies(&flat), without_common(&edges(&flat))] {
            assert_eq!(rows.abs().max().double_value(&[]), 0.0);
        }
    }
}
