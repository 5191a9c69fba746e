//! Pairs in, a report out.

use super::detail::high_frequency_energy;
use super::direction::mean_edit_cosine;
use super::diversity::{Diversity, diversity};
use super::frechet::{self, Gaussian};
use super::identity;
use super::judge::{Judge, Testimony};
use super::numbers;
use super::report::{
    Directional, Frechet, Identity, JudgeReport, OverallDiversity, Report, Synonyms,
};
use super::spread::Spread;
use super::structure::{correlation, edges, low_frequencies, without_common, without_style};
use super::views::View;
use super::zero_shot::{self, SYNONYM_RULE, classify, probabilities};
use crate::error::{Error, Result};
use crate::torch::catch;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// Side of the small pictures whose pixels are compared: noise of single pixels is no diversity.
const PIXEL_SIDE: i64 = 32;
/// Places of source and target among the phrases.
const SOURCE: usize = 0;
const TARGET: usize = 1;

/// Looks at pairs batch by batch and keeps only features of them.
#[derive(Debug)]
pub struct Evaluation {
    judges: Vec<Judge>,
    phrases: Vec<String>,
    edges: Vec<(Tensor, Tensor)>,
    low: Vec<(Tensor, Tensor)>,
    pixels: Vec<(Tensor, Tensor)>,
    /// High-frequency energy, adapted / source.
    detail: Vec<f64>,
}

/// What is known of each sample, for pictures of the best and the worst.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Directional similarity.
    pub directional: Vec<f64>,
    /// The phrase that the adapted image is nearest to.
    pub taken_for: Vec<String>,
    /// The source image that the adapted one is most similar to, by its number.
    pub nearest: Vec<i64>,
}

impl Evaluation {
    /// `phrases` are those that every judge has read: the source, the target, then any others.
    ///
    /// # Errors
    /// [`Error::Request`] without a judge.
    pub fn new(judges: Vec<Judge>, phrases: Vec<String>) -> Result<Self> {
        if judges.is_empty() {
            return Err(Error::request("there is no CLIP to judge", "name one with `--clip`"));
        }
        let (edges, low, pixels, detail) = Default::default();
        Ok(Self { judges, phrases, edges, low, pixels, detail })
    }

    /// The judges, to show them reference images.
    pub fn judges(&mut self) -> &mut [Judge] {
        &mut self.judges
    }

    /// Takes pairs `[n, 3, H, W]` as [`super::Pairs::images`] makes them.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn look(&mut self, source: &Tensor, adapted: &Tensor) -> Result<()> {
        for judge in &mut self.judges {
            judge.look(source, adapted)?;
        }
        catch("measuring images", || {
            let both = |of: &dyn Fn(&Tensor) -> Tensor| (of(source), of(adapted));
            self.edges.push(both(&edges));
            self.low.push(both(&low_frequencies));
            let (_, _, h, w) = source.size4().expect("images have four dimensions");
            let side = [h.min(PIXEL_SIDE), w.min(PIXEL_SIDE)];
            self.pixels.push(both(&|x| x.adaptive_avg_pool2d(side).flatten(1, -1)));
            let (before, after) = both(&high_frequency_energy);
            self.detail.extend(numbers(&(after / before)));
            Ok(())
        })
    }

    /// All figures.
    ///
    /// # Errors
    /// [`Error::Request`] after fewer than two pairs, or fewer than two reference images; a failure of the device.
    pub fn finish(self) -> Result<(Report, Samples)> {
        let count = self.detail.len() as i64;
        if count < 2 {
            return Err(Error::request(
                format!("{count} pairs of images cannot be compared with each other"),
                "take 2 samples at least; 256 make the figures steady",
            ));
        }
        let Self { judges, phrases, edges, low, pixels, detail } = self;
        let all: Vec<Testimony> = judges.into_iter().map(Judge::finish).collect();
        // What the training pleased cannot say much about it: others are heard first, when there are any.
        let held_out = all.iter().any(|t| !t.guided);
        let heard: Vec<&Testimony> = all.iter().filter(|t| !(held_out && t.guided)).collect();

        catch("measuring images", || {
            let texts: Vec<Tensor> = heard.iter().map(|t| t.texts.shallow_clone()).collect();
            let synonyms = zero_shot::synonyms(&texts, SOURCE, TARGET);
            let classified = |p: &Tensor| classify(p, &phrases, SOURCE, TARGET, &synonyms);
            let mut reports = Vec::new();
            for one in &all {
                let (before, after) = seen_as(&[one]);
                reports.push(JudgeReport {
                    name: one.name.clone(),
                    guided_the_training: one.guided,
                    directional: directional(&[one]),
                    zero_shot: classified(&after),
                    zero_shot_before: classified(&before),
                    diversity: spread_in_clip(one),
                    frechet: one.references.as_ref().map(|r| distances(one, r)).transpose()?,
                });
            }
            let (before, after) = seen_as(&heard);
            let (identity, nearest) = identity_of(&joined(&edges), &joined(&low), &heard);
            let samples = Samples {
                directional: per_sample(&heard),
                taken_for: zero_shot::nearest(&after)
                    .into_iter()
                    .map(|k| phrases[k].clone())
                    .collect(),
                nearest,
            };
            let (before_pixels, after_pixels) = joined(&pixels);
            let report = Report {
                samples: count,
                source: phrases[SOURCE].clone(),
                target: phrases[TARGET].clone(),
                heard: heard.iter().map(|t| t.name.clone()).collect(),
                directional: directional(&heard),
                zero_shot: classified(&after),
                zero_shot_before: classified(&before),
                synonyms: Synonyms {
                    rule: SYNONYM_RULE,
                    phrases: synonyms.iter().map(|&k| phrases[k].clone()).collect(),
                },
                identity,
                diversity: overall_diversity(&heard, diversity(&before_pixels, &after_pixels)),
                high_frequency: Spread::of(&detail),
                judges: reports,
                phrases: phrases.clone(),
            };
            Ok((report, samples))
        })
    }
}

fn joined(parts: &[(Tensor, Tensor)]) -> (Tensor, Tensor) {
    let join = |of: &dyn Fn(&(Tensor, Tensor)) -> &Tensor| {
        Tensor::cat(&parts.iter().map(of).collect::<Vec<_>>(), 0)
    };
    (join(&|p| &p.0), join(&|p| &p.1))
}

/// The mean over views and judges, for each sample. The image as it is does not count: training saw it so, or nearly.
fn per_sample(judges: &[&Testimony]) -> Vec<f64> {
    let all = || judges.iter().flat_map(|t| &t.seen.cosines[1..]);
    let count = all().next().map_or(0, Vec::len);
    let views = all().count() as f64;
    (0..count).map(|i| all().map(|view| view[i]).sum::<f64>() / views).collect()
}

fn directional(judges: &[&Testimony]) -> Directional {
    let n = judges.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let of_view = |v: usize| judges.iter().map(|t| mean(&t.seen.cosines[v])).sum::<f64>() / n;
    let by_view: BTreeMap<&str, f64> =
        View::ALL.iter().enumerate().map(|(v, view)| (view.name(), of_view(v + 1))).collect();
    let edit = |t: &&Testimony| mean_edit_cosine(&t.seen.shown.0, &t.seen.shown.1, &t.towards);
    Directional {
        spread: Spread::of(&per_sample(judges)),
        of_the_mean_edit: judges.iter().map(edit).sum::<f64>() / n,
        edit_length: judges.iter().map(|t| edit_length(t)).sum::<Option<f64>>().map(|sum| sum / n),
        unchanged_images: of_view(0),
        by_view,
    }
}

/// See [`Directional::edit_length`].
fn edit_length(judge: &Testimony) -> Option<f64> {
    let (source, adapted) = &judge.seen.shown;
    let lengths = (adapted - source).norm_scalaropt_dim(2.0, [1i64].as_slice(), false);
    let between = diversity(source, adapted).source;
    (between > 1e-9).then(|| lengths.mean(Kind::Double).double_value(&[]) / between)
}

/// Mean probabilities `[N, K]` of all phrases, for the source and the adapted images.
fn seen_as(judges: &[&Testimony]) -> (Tensor, Tensor) {
    let mean = |of: &dyn Fn(&Testimony) -> Tensor| {
        let sum: Tensor = judges.iter().map(|t| probabilities(&of(t), &t.texts, t.scale)).sum();
        sum / judges.len() as f64
    };
    (mean(&|t| t.seen.shown.0.shallow_clone()), mean(&|t| t.seen.shown.1.shallow_clone()))
}

fn unit(features: &Tensor) -> Tensor {
    crate::clip::normalise(features)
}

fn spread_in_clip(judge: &Testimony) -> Diversity {
    diversity(&unit(&judge.seen.plain.0), &unit(&judge.seen.plain.1))
}

fn overall_diversity(judges: &[&Testimony], pixels: Diversity) -> OverallDiversity {
    let each: Vec<Diversity> = judges.iter().map(|t| spread_in_clip(t)).collect();
    let n = each.len() as f64;
    // One judge that saw no difference before leaves no ratio for all.
    let ratios: Option<f64> = each.iter().map(|d| d.ratio).sum();
    OverallDiversity {
        clip_ratio: ratios.map(|sum| sum / n),
        clip_nearly_same: each.iter().map(|d| d.nearly_same).sum::<f64>() / n,
        pixels,
    }
}

fn distances(judge: &Testimony, references: &Tensor) -> Result<Frechet> {
    let reference = Gaussian::fit(references)?;
    let to = |features: &Tensor| frechet::distance(&Gaussian::fit(features)?, &reference);
    let (source, adapted) = (to(&judge.seen.plain.0)?, to(&judge.seen.plain.1)?);
    let too_few = reference.is_degenerate() || Gaussian::fit(&judge.seen.plain.1)?.is_degenerate();
    Ok(Frechet {
        adapted,
        source,
        ratio: (source > 0.0).then(|| adapted / source),
        images: judge.seen.plain.1.size()[0],
        references: references.size()[0],
        features: references.size()[1],
        too_few,
    })
}

/// The figures, and the nearest source image of each adapted one.
fn identity_of(
    edges: &(Tensor, Tensor),
    low: &(Tensor, Tensor),
    judges: &[&Testimony],
) -> (Identity, Vec<i64>) {
    let of =
        |p: &(Tensor, Tensor)| identity::similarities(&without_common(&p.0), &without_common(&p.1));
    let maps = |side: &dyn Fn(&Testimony) -> &Tensor| {
        let each: Vec<Tensor> = judges.iter().map(|t| without_style(side(t))).collect();
        // Rows of several judges side by side: their cosines add up.
        Tensor::cat(&each, 1) / (each.len() as f64).sqrt()
    };
    let inside = (maps(&|t| &t.seen.maps.0), maps(&|t| &t.seen.maps.1));
    let kinds = [of(edges), of(low), of(&inside)];
    let together = identity::combined(&kinds);
    let n = edges.0.size()[0];
    let figures = Identity {
        among: identity::block_size(n),
        guessing: identity::chance(n),
        combined: identity::ranks(&together),
        edges: identity::ranks(&kinds[0]),
        low_frequencies: identity::ranks(&kinds[1]),
        clip_maps: identity::ranks(&kinds[2]),
        edge_correlation: correlation(&edges.0, &edges.1).mean(Kind::Double).double_value(&[]),
    };
    (figures, identity::nearest(&together))
}
