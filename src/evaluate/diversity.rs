//! Diversity: do the images still differ from each other as much as they did?

use serde::Serialize;
use tch::{Kind, Tensor};

/// Pairs nearer than this share of the source's mean distance are "nearly the same".
pub const NEARLY_SAME: f64 = 0.1;

/// Distances within two sets of images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Diversity {
    /// Mean distance of two source images.
    pub source: f64,
    /// Mean distance of two adapted images.
    pub adapted: f64,
    /// `adapted / source`: 1 keeps the diversity, 0 is one image. `null` when all source images are the same.
    pub ratio: Option<f64>,
    /// Share of pairs of adapted images that are nearly the same.
    pub nearly_same: f64,
}

/// Euclidean distances of all pairs of rows.
///
/// # Shapes
/// `source`, `adapted`: `[N, M]`, N at least 2.
pub fn diversity(source: &Tensor, adapted: &Tensor) -> Diversity {
    let distances = |rows: &Tensor| rows.to_kind(Kind::Double).pdist(2.0);
    let mean = |t: &Tensor| t.mean(Kind::Double).double_value(&[]);
    let (before, after) = (distances(source), distances(adapted));
    let (source, adapted) = (mean(&before), mean(&after));
    let nearly = after.le(NEARLY_SAME * source).to_kind(Kind::Double);
    let ratio = (source > 1e-9).then(|| adapted / source);
    Diversity { source, adapted, ratio, nearly_same: mean(&nearly) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use tch::Device;

    fn rows() -> Tensor {
        rng::stream(0, 0, "diversity").normal(&[20, 8], Kind::Double, Device::Cpu)
    }

    #[test]
    fn half_the_distances_are_half_the_diversity_wherever_they_lie() {
        let x = rows();
        let half = diversity(&x, &(&x * 0.5 + 3.0));
        assert!((half.ratio.unwrap() - 0.5).abs() < 1e-9, "{half:?}");
        assert_eq!(half.nearly_same, 0.0);
    }

    #[test]
    fn one_image_for_all_has_none() {
        let x = rows();
        let none = diversity(&x, &x.narrow(0, 0, 1).expand([20, 8], false).contiguous());
        assert_eq!((none.ratio, none.nearly_same), (Some(0.0), 1.0));
    }

    #[test]
    fn two_images_for_all_are_seen_by_the_pairs() {
        let x = rows();
        let two = x.narrow(0, 0, 2).repeat([10, 1]);
        let seen = diversity(&x, &two).nearly_same;
        assert!((seen - 90.0 / 190.0).abs() < 1e-12, "{seen}");
    }

    #[test]
    fn without_any_before_there_is_no_ratio() {
        let same = Tensor::zeros([4, 3], (Kind::Float, Device::Cpu));
        assert_eq!(diversity(&same, &same).ratio, None);
    }
}
