//! The Fréchet distance of two sets of features, each taken for a normal distribution.
//!
//! |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½). With Inception's features this is the FID; with those of a CLIP (before they
//! are brought to length 1) it is what clean-fid calls CLIP-FID. Numbers of different CLIPs do not compare.

use crate::error::{Error, Result};
use crate::torch::catch;
use tch::{Kind, Tensor};

/// A normal distribution fitted to features.
#[derive(Debug)]
pub struct Gaussian {
    /// How many features it was fitted to.
    pub count: i64,
    mean: Tensor,       // [E], float64
    covariance: Tensor, // [E, E], float64
}

impl Gaussian {
    /// Fits to features `[N, E]`, in float64. The covariance divides by N − 1.
    ///
    /// # Errors
    /// [`Error::Request`] for fewer than two features: they have no spread.
    pub fn fit(features: &Tensor) -> Result<Self> {
        let count = features.size()[0];
        if count < 2 {
            return Err(Error::request(
                format!("a Fréchet distance needs at least 2 images, there is {count}"),
                "give more images; some hundred make the figure steady",
            ));
        }
        let features = features.to_kind(Kind::Double).to_device(tch::Device::Cpu);
        let mean = features.mean_dim([0i64].as_slice(), false, Kind::Double);
        let centred = features - &mean;
        let covariance = centred.tr().matmul(&centred) / (count - 1) as f64;
        Ok(Self { count, mean, covariance })
    }

    /// Whether there are too few features for their number of dimensions: the distance is then too large, by an amount
    /// that depends on how few they are.
    pub fn is_degenerate(&self) -> bool {
        self.count <= self.mean.size()[0]
    }
}

/// The distance (already squared, as the FID is) of two distributions of the same width: 0 when they are the same.
///
/// # Errors
/// [`Error::Torch`] for features that are not finite, or of different widths.
pub fn distance(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    catch("comparing two sets of features", || {
        let means = (&a.mean - &b.mean).square().sum(Kind::Double);
        // tr (AB)^½ = tr (A^½ B A^½)^½, and that one is symmetric: no complex numbers, no general root.
        let root = symmetric_root(&a.covariance);
        let inner = root.matmul(&b.covariance).matmul(&root);
        let inner = (&inner + inner.tr()) * 0.5;
        let (values, _) = inner.linalg_eigh("L");
        // Rounding can make a zero slightly negative.
        let cross = values.clamp_min(0.0).sqrt().sum(Kind::Double);
        let total = means + a.covariance.trace() + b.covariance.trace() - cross * 2.0;
        Ok(total.double_value(&[]).max(0.0))
    })
}

/// The symmetric square root of a positive semi-definite matrix.
fn symmetric_root(matrix: &Tensor) -> Tensor {
    let (values, vectors) = matrix.linalg_eigh("L");
    let roots = values.clamp_min(0.0).sqrt();
    (&vectors * roots).matmul(&vectors.tr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use tch::Device;

    fn features(n: i64, width: i64) -> Tensor {
        rng::stream(0, 0, "features").normal(&[n, width], Kind::Double, Device::Cpu)
    }

    fn between(a: &Tensor, b: &Tensor) -> f64 {
        distance(&Gaussian::fit(a).unwrap(), &Gaussian::fit(b).unwrap()).unwrap()
    }

    #[test]
    fn a_set_is_at_no_distance_of_itself_even_when_it_is_too_small() {
        for n in [200, 5] {
            let x = features(n, 16);
            assert!(between(&x, &x).abs() < 1e-6, "{}", between(&x, &x));
            assert_eq!(Gaussian::fit(&x).unwrap().is_degenerate(), n == 5);
        }
    }

    #[test]
    fn a_shift_is_its_squared_length() {
        let x = features(100, 8);
        assert!((between(&x, &(&x + 0.5)) - 8.0 * 0.25).abs() < 1e-6);
    }

    #[test]
    fn a_scale_is_known_in_closed_form() {
        // Around the mean: tr Σ + s² tr Σ − 2 s tr Σ.
        let x = features(100, 8);
        let x = &x - x.mean_dim([0i64].as_slice(), true, Kind::Double);
        let trace = Gaussian::fit(&x).unwrap().covariance.trace().double_value(&[]);
        assert!((between(&x, &(&x * 3.0)) - 4.0 * trace).abs() < 1e-6);
    }

    #[test]
    fn rotated_covariances_that_do_not_commute_match_the_general_formula() {
        // Two dimensions: tr (AB)^½ = √(tr AB + 2 √det AB).
        let (x, y) = (features(50, 2), features(100, 2).narrow(0, 50, 50));
        let y = y.matmul(&Tensor::from_slice2(&[[2.0, 1.0], [0.0, 0.5]]));
        let (a, b) = (Gaussian::fit(&x).unwrap(), Gaussian::fit(&y).unwrap());
        let product = a.covariance.matmul(&b.covariance);
        let value = |t: Tensor| t.double_value(&[]);
        let cross = (value(product.trace()) + 2.0 * value(product.det()).sqrt()).sqrt();
        let means = value((&a.mean - &b.mean).square().sum(Kind::Double));
        let want = means + value(a.covariance.trace()) + value(b.covariance.trace()) - 2.0 * cross;
        assert!((distance(&a, &b).unwrap() - want).abs() < 1e-9);
        assert!((distance(&b, &a).unwrap() - want).abs() < 1e-9);
    }

    #[test]
    fn one_image_has_no_spread() {
        assert!(Gaussian::fit(&features(1, 4)).unwrap_err().to_string().contains("at least 2"));
    }
}
