//! From two phrases to a step in StyleSpace.

use super::layout;
use super::statistics::Statistics;
use crate::adapt::direction::template_features;
use crate::clip::templates::TEMPLATES;
use crate::clip::{Clip, normalise};
use crate::error::{Error, Result};
use crate::stylegan2::{Config, LayerId, StyleCodes};
use crate::torch::catch;
use tch::{Kind, Tensor};

/// Phrases that are too near for a direction: the difference of their features is rounding noise.
const NO_DIFFERENCE: f64 = 1e-6;

/// Δt: the way from `neutral` to `target` in CLIP's space, `[1, E]` unit. Each phrase is the mean over the 79
/// templates, brought to length 1.
///
/// # Errors
/// [`Error::Request`] for a phrase that is too long, or two that are the same to this CLIP.
pub fn text_step(clip: &Clip, neutral: &str, target: &str) -> Result<Tensor> {
    let mean = |phrase: &str| {
        let features = template_features(clip, phrase, &TEMPLATES)?;
        Ok::<_, Error>(normalise(&features.mean_dim([0i64].as_slice(), true, None::<Kind>)))
    };
    let difference = mean(target)? - mean(neutral)?;
    if difference.norm().double_value(&[]) < NO_DIFFERENCE {
        return Err(Error::request(
            format!("\"{neutral}\" and \"{target}\" are the same to this CLIP"),
            "choose phrases that differ in more than case or spaces",
        ));
    }
    Ok(normalise(&difference))
}

/// How many channels a threshold leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThresholdNote {
    /// Channels whose relevance reaches β.
    pub kept: usize,
    /// All channels.
    pub of: usize,
    /// The largest relevance: beyond it nothing is left.
    pub largest: f64,
}

/// A step δs for each style code; colours stay.
#[derive(Debug)]
pub struct GlobalDirection {
    steps: Vec<(LayerId, Tensor)>, // [C] float64, in the order of synthesis
    note: ThresholdNote,
}

impl GlobalDirection {
    /// The relevance r = responses · Δt of every channel; below `beta` nothing, the rest over its largest, times the
    /// spread of the channel.
    ///
    /// # Shapes
    /// `relevance: [channels]`, the convolutions' channels in the order of synthesis.
    ///
    /// # Errors
    /// [`Error::Request`] for statistics or a relevance of another generator, a β that is no number, or one that no
    /// channel reaches.
    pub fn new(
        relevance: &Tensor,
        statistics: &Statistics,
        config: &Config,
        beta: f64,
    ) -> Result<Self> {
        statistics.check(config)?;
        let layers = layout(config);
        let count: i64 = layers.iter().filter(|(l, _)| l.is_conv()).map(|(_, w)| w).sum();
        if relevance.size() != [count] {
            return Err(Error::request(
                format!(
                    "the responses are of {} channels, this generator's convolutions have {count}",
                    relevance.numel()
                ),
                "measure this generator with `nada edit prepare`",
            ));
        }
        if !beta.is_finite() || beta < 0.0 {
            return Err(Error::request(
                format!("β is {beta}"),
                "β is 0 or more, about 0.1: the higher, the fewer channels change",
            ));
        }
        catch("making a direction", || {
            let relevance = relevance.to_kind(Kind::Double).to_device(tch::Device::Cpu);
            let size = relevance.abs();
            let largest = size.max().double_value(&[]);
            let keeps = size.ge(beta);
            let kept = keeps.sum(Kind::Int64).int64_value(&[]) as usize;
            let note = ThresholdNote { kept, of: count as usize, largest };
            if kept == 0 || largest.is_nan() || largest <= 0.0 {
                return Err(Error::request(
                    format!("no channel reaches β = {beta}: the largest relevance is {largest:.3}"),
                    format!("use a β below {largest:.3}, or phrases that these CLIPs know better"),
                ));
            }
            let shares = relevance * keeps.to_kind(Kind::Double) / largest;
            let mut at = 0;
            let steps = layers
                .iter()
                .zip(&statistics.deviations)
                .map(|((layer, width), spread)| {
                    let spread = spread.to_kind(Kind::Double);
                    if !layer.is_conv() {
                        return (*layer, spread.zeros_like());
                    }
                    let own = shares.narrow(0, at, *width);
                    at += width;
                    (*layer, own * spread)
                })
                .collect();
            Ok(Self { steps, note })
        })
    }

    /// How many channels change.
    pub fn note(&self) -> ThresholdNote {
        self.note
    }

    /// The step of each style code, `[C]` in float64.
    pub fn steps(&self) -> &[(LayerId, Tensor)] {
        &self.steps
    }

    /// s + α·δs, for codes of any generator of this shape: the one that was measured, or one adapted from it.
    ///
    /// # Errors
    /// [`Error::Request`] for an α that is no number or so large that codes overflow, or codes of another shape.
    pub fn apply(&self, codes: &StyleCodes, alpha: f64) -> Result<StyleCodes> {
        let fits = codes.0.len() == self.steps.len()
            && codes.0.iter().zip(&self.steps).all(|((id, code), (layer, step))| {
                id == layer && code.size().get(1) == step.size().first()
            });
        if !fits {
            return Err(Error::request(
                "this direction is for style codes of another shape",
                "a direction belongs to the generator that was measured, or one adapted from it",
            ));
        }
        let moved = catch("editing codes", || {
            let each = codes.0.iter().zip(&self.steps).map(|((id, code), (_, step))| {
                let step: Tensor = step * alpha;
                (*id, code + step.to_kind(code.kind()).to_device(code.device()))
            });
            Ok(StyleCodes(each.collect()))
        })?;
        let sound = |t: &Tensor| t.isfinite().all().int64_value(&[]) != 0;
        if !alpha.is_finite() || !moved.0.iter().all(|(_, code)| sound(code)) {
            return Err(Error::request(
                format!("α = {alpha} makes codes that are no numbers"),
                "α is about -10 to 10",
            ));
        }
        Ok(moved)
    }
}
