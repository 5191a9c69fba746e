//! One CLIP of the ensemble, looking at pairs of images.

use super::direction::Direction;
use super::losses::{self, Term};
use crate::clip::{Clip, Preprocess, Resize, normalise};
use crate::config::Losses;
use crate::torch::threads::Tensors;
use std::collections::BTreeMap;
use tch::Tensor;

/// What a judge saw of images of both twins, from the same codes and changed in the same way: unit features.
#[derive(Debug)]
pub struct Look {
    /// Of the frozen twin's images, `[copies · N, E]`, copies outermost; no gradients.
    pub source: Tensor,
    /// Of the trained twin's.
    pub adapted: Tensor,
    /// How many changed copies each image has.
    pub copies: i64,
    /// Of patches of both, `[N, E]`.
    pub patches: Option<(Tensor, Tensor)>,
}

impl Look {
    /// What was seen of several parts of a batch, as if it had been seen at once.
    pub fn joined(parts: &[&Self]) -> Self {
        let copies = parts[0].copies;
        let by_copy = |f: &Tensor| f.view([copies, -1, f.size()[1]]);
        let join = |of: fn(&Self) -> &Tensor| {
            let parts: Vec<Tensor> = parts.iter().map(|look| by_copy(of(look))).collect();
            Tensor::cat(&parts, 1).flatten(0, 1)
        };
        let patches: Vec<_> = parts.iter().filter_map(|look| look.patches.as_ref()).collect();
        let both = |of: fn(&(Tensor, Tensor)) -> &Tensor| {
            Tensor::cat(&patches.iter().map(|p| of(p)).collect::<Vec<_>>(), 0)
        };
        Self {
            source: join(|look| &look.source),
            adapted: join(|look| &look.adapted),
            copies,
            patches: (!patches.is_empty()).then(|| (both(|p| &p.0), both(|p| &p.1))),
        }
    }
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

// SAFETY: tensors and plain data; the matrices of preprocessing are locked.
#[allow(unsafe_code)]
unsafe impl Tensors for Judge {}

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

    /// Every term of this CLIP that weighs anything, times this CLIP's weight. `exact` leaves out the guard against
    /// equal twins, as the original does.
    pub fn terms(&self, look: &Look, weights: &Losses, exact: bool) -> BTreeMap<Term, Tensor> {
        let Look { source, adapted, copies, patches } = look;
        let towards = &self.direction.towards;
        let mut terms = BTreeMap::new();
        for term in Term::active(weights) {
            let value = match term {
                Term::Directional => {
                    losses::directional(source, adapted, towards, weights.softening, exact)
                }
                Term::Global => {
                    let text = self.direction.described.as_ref().unwrap_or(&self.direction.target);
                    losses::global(adapted, text, self.clip.logit_scale())
                }
                Term::Manifold => {
                    let Some((from, to)) = &self.direction.means else { continue };
                    losses::manifold(source, adapted, from, to)
                }
                Term::Patch => {
                    let Some((source, adapted)) = patches else { continue };
                    let directions = self.direction.parts.as_ref().unwrap_or(towards);
                    losses::patch(source, adapted, directions)
                }
                Term::InDomain => {
                    let by_copy = |f: &Tensor| f.view([*copies, -1, f.size()[1]]);
                    losses::in_domain(&by_copy(source), &by_copy(adapted))
                }
                Term::Magnitude => losses::magnitude(source, adapted, towards),
                Term::Edges | Term::TotalVariation | Term::OutOfRange | Term::Chroma => {
                    continue;
                }
            };
            terms.insert(term, value * self.weight);
        }
        terms
    }
}
