//! Zero-shot classification: which of many phrases is an image nearest to?

use super::numbers;
use crate::clip::normalise;
use serde::Serialize;
use tch::{Kind, Tensor};

/// Phrases whose texts point the same way from the mean of all texts: cosine above this.
pub const SYNONYM: f64 = 0.8;

/// The rule, for reports.
pub const SYNONYM_RULE: &str = "a phrase counts as the target when the cosine of both texts, each minus the mean of all \
                                texts, is above 0.8 (mean of the judges); the source never does";

/// A phrase and the share of images that are nearest to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chosen {
    /// The phrase.
    pub phrase: String,
    /// Share of all images, 0 to 1.
    pub share: f64,
}

/// What images are taken for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ZeroShot {
    /// Share of images whose nearest phrase is the target or a synonym of it.
    pub target_rate: f64,
    /// Share of images that are nearer to the source phrase than to the target.
    pub leak_rate: f64,
    /// The nearest phrases, most frequent first; phrases that no image is nearest to are left out.
    pub taken_for: Vec<Chosen>,
}

/// How likely each phrase is for each image: softmax of the scaled cosines, as CLIP was trained.
///
/// # Shapes
/// `images: [N, E]`, `texts: [K, E]`, both unit. Returns `[N, K]`, float64.
pub fn probabilities(images: &Tensor, texts: &Tensor, scale: f64) -> Tensor {
    (images.matmul(&texts.tr()).to_kind(Kind::Double) * scale).softmax(-1, Kind::Double)
}

/// The phrases that mean the target, by [`SYNONYM_RULE`]. The target itself is always among them.
///
/// Raw cosines of texts are all high (what a CLIP thinks of "a photo of …" is in each), so the mean text is taken away.
///
/// # Shapes
/// `texts`: `[K, E]` unit, from each judge; `source` and `target` are rows of it. Returns rows, ascending.
pub fn synonyms(texts: &[Tensor], source: usize, target: usize) -> Vec<usize> {
    let cosines = |texts: &Tensor| {
        let texts = texts.to_kind(Kind::Double);
        let centred = &texts - texts.mean_dim([0i64].as_slice(), true, Kind::Double);
        let centred = normalise(&centred).nan_to_num(0.0, 0.0, 0.0);
        numbers(&centred.matmul(&centred.get(target as i64)))
    };
    let all: Vec<Vec<f64>> = texts.iter().map(cosines).collect();
    let count = all.first().map_or(0, Vec::len);
    let mean = |k: usize| all.iter().map(|one| one[k]).sum::<f64>() / all.len() as f64;
    (0..count).filter(|&k| k == target || (k != source && mean(k) > SYNONYM)).collect()
}

/// The nearest phrase of each image, `[N, K]` to N rows of the phrases.
pub fn nearest(probabilities: &Tensor) -> Vec<usize> {
    numbers(&probabilities.argmax(1, false)).into_iter().map(|k| k as usize).collect()
}

/// Counts what images are taken for.
///
/// # Shapes
/// `probabilities: [N, K]` for the K `phrases`; `source`, `target` and `synonyms` are columns.
pub fn classify(
    probabilities: &Tensor,
    phrases: &[String],
    source: usize,
    target: usize,
    synonyms: &[usize],
) -> ZeroShot {
    let nearest = nearest(probabilities);
    let n = nearest.len() as f64;
    let share = |k: usize| nearest.iter().filter(|&&chosen| chosen == k).count() as f64 / n;
    let column = |k: usize| probabilities.select(1, k as i64);
    let leaks = column(source).gt_tensor(&column(target)).to_kind(Kind::Double);
    let mut taken_for: Vec<Chosen> = phrases
        .iter()
        .enumerate()
        .map(|(k, phrase)| Chosen { phrase: phrase.clone(), share: share(k) })
        .filter(|chosen| chosen.share > 0.0)
        .collect();
    // A stable sort: among equals the order of the phrases stays.
    taken_for.sort_by(|a, b| b.share.total_cmp(&a.share));
    ZeroShot {
        target_rate: synonyms.iter().map(|&k| share(k)).sum(),
        leak_rate: leaks.mean(Kind::Double).double_value(&[]),
        taken_for,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases() -> Vec<String> {
        ["photo", "sketch", "drawing", "clown"].map(str::to_owned).into()
    }

    /// Texts along the axes, but the drawing next to the sketch.
    fn texts() -> Tensor {
        normalise(&Tensor::from_slice2(&[
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, 1.0, 0.1],
            [0.0, 0.0, 1.0],
        ]))
    }

    #[test]
    fn images_count_for_the_phrase_that_they_are_nearest_to() {
        let images = Tensor::from_slice2(&[
            [0.1, 1.0, 0.0], // sketch
            [0.0, 1.0, 0.2], // drawing
            [0.5, 0.4, 1.0], // clown, and rather a photo than a sketch
            [1.0, 0.0, 0.0], // photo
        ]);
        let seen = probabilities(&normalise(&images), &texts(), 100.0);
        assert_eq!(nearest(&seen), [1, 2, 3, 0]);
        let found = classify(&seen, &phrases(), 0, 1, &[1, 2]);
        assert_eq!((found.target_rate, found.leak_rate), (0.5, 0.5));
        assert_eq!(classify(&seen, &phrases(), 0, 1, &[1]).target_rate, 0.25);
        assert!(found.taken_for.iter().all(|c| c.share == 0.25));
        assert_eq!(found.taken_for[0].phrase, "photo");
        let sums = numbers(&seen.sum_dim_intlist([1i64].as_slice(), false, Kind::Double));
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-12));
    }

    #[test]
    fn the_most_frequent_phrase_leads_and_the_others_are_left_out() {
        let images = Tensor::from_slice2(&[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]);
        let found = classify(&probabilities(&images, &texts(), 100.0), &phrases(), 0, 1, &[1]);
        let names: Vec<&str> = found.taken_for.iter().map(|c| c.phrase.as_str()).collect();
        assert_eq!(names, ["clown", "photo"]);
        assert_eq!(found.target_rate, 0.0);
    }

    #[test]
    fn a_near_text_is_a_synonym_but_never_the_source() {
        assert_eq!(synonyms(&[texts()], 0, 1), [1, 2]);
        assert_eq!(synonyms(&[texts(), texts()], 2, 1), [1]);
        assert_eq!(synonyms(&[texts()], 1, 0), [0]);
        // All the same: nothing is left after the mean, and nothing is like anything.
        assert_eq!(synonyms(&[texts().narrow(0, 0, 1).repeat([3, 1])], 0, 1), [1]);
    }
}
