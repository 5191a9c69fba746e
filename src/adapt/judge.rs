//! One CLIP of the ensemble, looking at pairs of images.

use super::direction::Direction;
use super::losses::{self, Term};
use crate::clip::{Clip, Preprocess, Resize, normalise};
use crate::config::Losses;
use std::collections::BTreeMap;
use tch::Tensor;

/// What is shown to every judge in a step.
#[derive(Debug)]
pub struct Pairs<'a> {
    /// Images of the frozen twin, `[copies · N, 3, H, W]`, no gradients.
    pub source: &'a Tensor,
    /// Images of the trained twin, changed in the same way.
    pub adapted: &'a Tensor,
    /// How many changed copies each image has (1 without augmentation).
    pub copies: i64,
    /// Patches of both twins at the same places, when the patch loss is wanted.
    pub patches: Option<(&'a Tensor, &'a Tensor)>,
}

/// A frozen CLIP, its weight in the ensemble and the direction it asks for.
#[derive(Debug)]
pub struct Judge {
    clip: Clip,
    preprocess: Preprocess,
    /// Weight of all its losses.
    pub weight: f64,
    /// What it knows about the two domains.
    pub direction: Direction,
}

impl Judge {
    /// Takes a CLIP whose direction is known; its text tower is dropped.
    pub fn new(clip: Clip, weight: f64, resize: Resize, direction: Direction) -> Self {
        let preprocess = Preprocess::new(clip.resolution(), resize);
        Self { clip: clip.without_text(), preprocess, weight, direction }
    }

    /// Unit features of images `[N, 3, H, W]` in [-1, 1]; differentiable.
    pub fn features(&self, images: &Tensor) -> Tensor {
        normalise(&self.clip.encode_image(&self.preprocess.apply(images)))
    }

    /// The loss of the layer choice: how far images are from the bare target phrase, summed over the batch.
    pub fn search_loss(&self, images: &Tensor) -> Tensor {
        let n = images.size()[0] as f64;
        losses::global(&self.features(images), &self.direction.target, self.clip.logit_scale())
            * (n * self.weight)
    }

    /// Every term of this CLIP that weighs anything, times this CLIP's weight. With `nudge`, equal twins are told
    /// apart as the original does: by 1e-6 added to the adapted image.
    pub fn terms(
        &self,
        pairs: &Pairs<'_>,
        weights: &Losses,
        nudge: bool,
    ) -> BTreeMap<Term, Tensor> {
        let source = tch::no_grad(|| self.features(pairs.source));
        let mut adapted = self.features(pairs.adapted);
        if nudge
            && tch::no_grad(|| (&adapted - &source).sum(adapted.kind()).double_value(&[])) == 0.0
        {
            adapted = self.features(&(pairs.adapted + 1e-6));
        }
        let towards = &self.direction.towards;
        let mut terms = BTreeMap::new();
        for term in Term::active(weights) {
            let value = match term {
                Term::Directional => {
                    losses::directional(&source, &adapted, towards, weights.softening, nudge)
                }
                Term::Global => {
                    let text = self.direction.described.as_ref().unwrap_or(&self.direction.target);
                    losses::global(&adapted, text, self.clip.logit_scale())
                }
                Term::Manifold => {
                    let Some((from, to)) = &self.direction.means else { continue };
                    losses::manifold(&source, &adapted, from, to)
                }
                Term::Patch => {
                    let Some((source, adapted)) = pairs.patches else { continue };
                    let directions = self.direction.parts.as_ref().unwrap_or(towards);
                    let source = tch::no_grad(|| self.features(source));
                    losses::patch(&source, &self.features(adapted), directions)
                }
                Term::InDomain => {
                    let by_copy = |f: &Tensor| f.view([pairs.copies, -1, f.size()[1]]);
                    losses::in_domain(&by_copy(&source), &by_copy(&adapted))
                }
                Term::Magnitude => losses::magnitude(&source, &adapted, towards),
                Term::Edges | Term::TotalVariation | Term::OutOfRange | Term::Chroma => {
                    continue;
                }
            };
            terms.insert(term, value * self.weight);
        }
        terms
    }
}
