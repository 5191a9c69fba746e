//! Identity: is an adapted image still *that* source image, and no other?
//!
//! Each adapted image is asked which of up to 64 source images it came from, by features that ignore style. 1 in 64
//! would be guessed.

use super::numbers;
use serde::Serialize;
use tch::{Kind, Tensor};

/// The partner is searched among so many: with blocks of one size, figures of different `--samples` compare.
pub const BLOCK: i64 = 64;

/// Mean cosine of partners below which they are opposite, and not just strangers.
const OPPOSITE: f64 = -0.3;

/// How well partners are found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ranks {
    /// Share of images whose true partner is the most similar of all.
    pub top1: f64,
    /// Mean of 1/rank of the true partner: 1 when it is always the first.
    pub reciprocal: f64,
}

/// Cosines of all adapted images with all source images of a block, and their true partners on the diagonal.
///
/// When the partners are *opposite* on average (negatives), everything is turned around, once for the whole set.
///
/// # Shapes
/// `source`, `adapted`: `[N, M]` with rows of length 1. Returns `[n, n]` of float64 per block.
pub fn similarities(source: &Tensor, adapted: &Tensor) -> Vec<Tensor> {
    let (source, adapted) = (source.to_kind(Kind::Double), adapted.to_kind(Kind::Double));
    let partners = super::structure::correlation(&source, &adapted).mean(Kind::Double);
    let sign = if partners.double_value(&[]) < OPPOSITE { -1.0 } else { 1.0 };
    let block = |(start, n): (i64, i64)| {
        adapted.narrow(0, start, n).matmul(&source.narrow(0, start, n).tr()) * sign
    };
    blocks(source.size()[0]).into_iter().map(block).collect()
}

/// Mean of several kinds of similarity, each brought to mean 0 and deviation 1 per block first.
pub fn combined(kinds: &[Vec<Tensor>]) -> Vec<Tensor> {
    let standard = |s: &Tensor| (s - s.mean(Kind::Double)) / s.std(false).clamp_min(1e-12);
    let blocks = kinds.first().map_or(0, Vec::len);
    (0..blocks)
        .map(|b| Tensor::stack(&kinds.iter().map(|k| standard(&k[b])).collect::<Vec<_>>(), 0))
        .map(|all| all.mean_dim([0i64].as_slice(), false, Kind::Double))
        .collect()
}

/// Ranks of the true partners. Among equally similar ones the middle rank counts, so that images that cannot be told
/// apart score as guessing does.
pub fn ranks(similarities: &[Tensor]) -> Ranks {
    let mut ranks = Vec::new();
    for block in similarities {
        let own = block.diag(0).unsqueeze(1);
        let count = |t: Tensor| t.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        // Rounding must not decide between images that are the same.
        let nearer = count(block.gt_tensor(&(&own + 1e-9)));
        let equal = count((block - &own).abs().le(1e-9)) - 1.0;
        ranks.extend(numbers(&(nearer + equal * 0.5 + 1.0)));
    }
    let mean = |value: &dyn Fn(f64) -> f64| {
        ranks.iter().map(|r| value(*r)).sum::<f64>() / ranks.len() as f64
    };
    Ranks { top1: mean(&|r| f64::from(u8::from(r < 1.25))), reciprocal: mean(&|r| 1.0 / r) }
}

/// Which source image each adapted one is most similar to, counted over all blocks.
pub fn nearest(similarities: &[Tensor]) -> Vec<i64> {
    let mut start = 0;
    let mut found = Vec::new();
    for block in similarities {
        let best = numbers(&block.argmax(1, false));
        found.extend(best.into_iter().map(|i| start + i as i64));
        start += block.size()[0];
    }
    found
}

/// What guessing gives, with `n` images.
pub fn chance(n: i64) -> Ranks {
    let sizes = blocks(n);
    let mean = |value: &dyn Fn(f64) -> f64| {
        sizes.iter().map(|(_, size)| *size as f64 * value(*size as f64)).sum::<f64>() / n as f64
    };
    let harmonic = |n: f64| (1..=n as i64).map(|i| 1.0 / i as f64).sum::<f64>();
    Ranks { top1: mean(&|n| 1.0 / n), reciprocal: mean(&|n| harmonic(n) / n) }
}

/// Where blocks begin and how large they are: as few as possible, of nearly equal size.
fn blocks(n: i64) -> Vec<(i64, i64)> {
    let count = (n + BLOCK - 1) / BLOCK;
    (0..count).map(|b| (b * n / count, (b + 1) * n / count - b * n / count)).collect()
}

/// The size of the largest block of `n` images.
pub fn block_size(n: i64) -> i64 {
    blocks(n).into_iter().map(|(_, size)| size).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::structure::without_common;
    use super::*;
    use crate::rng;
    use tch::Device;

    fn rows(n: i64, purpose: &str) -> Tensor {
        without_common(&rng::stream(0, 0, purpose).normal(&[n, 64], Kind::Double, Device::Cpu))
    }

    #[test]
    fn the_same_images_are_found_and_so_are_their_negatives() {
        let x = rows(100, "a");
        for y in [x.shallow_clone(), -&x, without_common(&(&x + rows(100, "b") * 0.5))] {
            assert_eq!(ranks(&similarities(&x, &y)), Ranks { top1: 1.0, reciprocal: 1.0 });
        }
        assert_eq!(nearest(&similarities(&x, &x)), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn strangers_are_found_as_often_as_by_guessing() {
        let found = ranks(&similarities(&rows(2048, "a"), &rows(2048, "b")));
        let guessed = chance(2048);
        assert!((guessed.top1 - 1.0 / 64.0).abs() < 1e-12);
        assert!((found.top1 - guessed.top1).abs() < 0.012, "{found:?}");
        assert!((found.reciprocal - guessed.reciprocal).abs() < 0.015, "{found:?} {guessed:?}");
    }

    #[test]
    fn a_neighbour_in_its_place_is_never_the_first() {
        let x = rows(10, "a");
        let found = ranks(&similarities(&x, &x.roll([1], [0])));
        assert_eq!(found.top1, 0.0);
        assert!(found.reciprocal <= 0.5);
    }

    #[test]
    fn images_that_are_all_the_same_are_found_by_guessing_only() {
        let same = Tensor::ones([9, 1], (Kind::Double, Device::Cpu));
        let found = ranks(&similarities(&same, &same));
        assert_eq!(found.top1, 0.0);
        assert!((found.reciprocal - 0.2).abs() < 1e-12);
    }

    #[test]
    fn several_weak_features_together_beat_each() {
        let (x, y) = (rows(512, "a"), rows(512, "b"));
        let noisy = |t: &Tensor, p: &str| without_common(&(t + rows(512, p) * 2.5));
        let kinds = [similarities(&x, &noisy(&x, "n1")), similarities(&y, &noisy(&y, "n2"))];
        let (both, each) = (ranks(&combined(&kinds)), kinds.each_ref().map(|k| ranks(k)));
        assert!(each.iter().all(|one| one.top1 + 0.1 < both.top1), "{both:?} {each:?}");
    }

    #[test]
    fn blocks_are_even() {
        assert_eq!(blocks(64), [(0, 64)]);
        assert_eq!(blocks(100), [(0, 50), (50, 50)]);
        assert_eq!(blocks(129), [(0, 43), (43, 43), (86, 43)]);
        assert_eq!(block_size(3), 3);
    }
}
