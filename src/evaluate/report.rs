//! The figures of an evaluation, as `evaluation.json` holds them. Shares are from 0 to 1.

use super::diversity::Diversity;
use super::identity::Ranks;
use super::spread::Spread;
use super::zero_shot::ZeroShot;
use serde::Serialize;
use std::collections::BTreeMap;

/// All figures. Those at the top are the mean of the judges in `heard`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Pairs of images.
    pub samples: i64,
    /// The source phrase.
    pub source: String,
    /// The target phrase.
    pub target: String,
    /// The judges that count: those that did not guide the training, if there are any; else all.
    pub heard: Vec<String>,
    /// Whether edits go where the phrases point.
    pub directional: Directional,
    /// What the adapted images are taken for.
    pub zero_shot: ZeroShot,
    /// What the source images are taken for.
    pub zero_shot_before: ZeroShot,
    /// Which phrases count as the target.
    pub synonyms: Synonyms,
    /// Whether an adapted image is still the image that it came from.
    pub identity: Identity,
    /// Whether adapted images differ from each other as the source's do.
    pub diversity: OverallDiversity,
    /// High-frequency energy, adapted / source of each pair: speckle makes it large.
    pub high_frequency: Spread,
    /// Each judge alone.
    pub judges: Vec<JudgeReport>,
    /// What the images were held against: source, target, others.
    pub phrases: Vec<String>,
}

impl Report {
    /// The judges that count.
    pub fn heard_judges(&self) -> impl Iterator<Item = &JudgeReport> {
        self.judges.iter().filter(|judge| self.heard.contains(&judge.name))
    }

    /// Mean over the judges that count of the Fréchet distances' `adapted / source`, when there are reference images.
    pub fn frechet_ratio(&self) -> Option<f64> {
        let ratios: Option<Vec<f64>> =
            self.heard_judges().map(|judge| judge.frechet.as_ref()?.ratio).collect();
        ratios.filter(|r| !r.is_empty()).map(|r| r.iter().sum::<f64>() / r.len() as f64)
    }
}

/// One judge's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeReport {
    /// As it was asked for.
    pub name: String,
    /// Whether the training used it: then it flatters.
    pub guided_the_training: bool,
    /// See [`Report::directional`].
    pub directional: Directional,
    /// See [`Report::zero_shot`].
    pub zero_shot: ZeroShot,
    /// See [`Report::zero_shot_before`].
    pub zero_shot_before: ZeroShot,
    /// Distances of unit features of the images as they are.
    pub diversity: Diversity,
    /// The distance to the reference images, if there are any.
    pub frechet: Option<Frechet>,
}

/// Cosines of edits with the direction of the phrases: 1 is exactly that way, 0 across.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Directional {
    /// Over the samples, each the mean over views and judges.
    #[serde(flatten)]
    pub spread: Spread,
    /// Of the mean edit: higher, since what differs from sample to sample cancels out.
    pub of_the_mean_edit: f64,
    /// How long edits are: mean distance of an adapted image to its source, in units of the mean distance of two source
    /// images. A cosine knows no length; a training that hardly began can have a good one. `null` when source images
    /// do not differ.
    pub edit_length: Option<f64>,
    /// Of the images as they are, which the training saw, too.
    pub unchanged_images: f64,
    /// Mean over the samples in each view.
    pub by_view: BTreeMap<&'static str, f64>,
}

/// Phrases that count as the target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Synonyms {
    /// How they were found.
    pub rule: &'static str,
    /// The target and its synonyms.
    pub phrases: Vec<String>,
}

/// How well the partner of an adapted image is found among source images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Identity {
    /// It is one of so many.
    pub among: i64,
    /// What guessing gives.
    pub guessing: Ranks,
    /// By all three kinds of features together.
    pub combined: Ranks,
    /// By edges.
    pub edges: Ranks,
    /// By light and dark at 16 × 16 places.
    pub low_frequencies: Ranks,
    /// By maps inside the judges, style taken out.
    pub clip_maps: Ranks,
    /// Mean correlation of the edges of partners, −1 to 1.
    pub edge_correlation: f64,
}

/// Diversity as the judges see it, and in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverallDiversity {
    /// Mean over the judges of `adapted / source`; `null` when source images do not differ.
    pub clip_ratio: Option<f64>,
    /// Share of pairs of adapted images that are nearly the same to the judges.
    pub clip_nearly_same: f64,
    /// In pixels of the images at 32 px.
    pub pixels: Diversity,
}

/// Distance of sets of images to the reference images, in features before they are brought to length 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Frechet {
    /// From the adapted images.
    pub adapted: f64,
    /// From the source images, for comparison: numbers of different CLIPs do not compare.
    pub source: f64,
    /// `adapted / source`: below 1 is nearer than before.
    pub ratio: Option<f64>,
    /// Generated images.
    pub images: i64,
    /// Reference images.
    pub references: i64,
    /// Width of the features.
    pub features: i64,
    /// Fewer images than features: the distances are too large, and do not compare with those of more images.
    pub too_few: bool,
}
