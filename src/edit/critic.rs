//! An ensemble of CLIPs that knows one phrase: how far images are from it, and how long their features are.

use super::eye::Eye;
use crate::adapt::{direction, losses};
use crate::clip::{Clip, normalise};
use crate::error::Result;
use tch::Tensor;

/// What OpenAI's CLIPs learnt to multiply cosines by.
const OPENAI_SCALE: f64 = 100.0;

/// The CLIPs of an edit, their weights and the text that each is to find.
#[derive(Debug, Default)]
pub struct Critic {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    clip: Clip,
    eye: Eye,
    weight: f64,
    text: Tensor, // [1, E] unit
}

/// Features of a batch of images, one tensor `[N, E]` per CLIP, **not** normalised.
#[derive(Debug)]
pub struct Seen(Vec<Tensor>);

impl Critic {
    /// Adds a CLIP. The phrase is taken as it is, without templates, as StyleCLIP does; it is encoded once, and the
    /// text tower goes.
    ///
    /// # Errors
    /// [`crate::Error::Request`] for a phrase that is too long.
    pub fn add(&mut self, clip: Clip, eye: Eye, weight: f64, phrase: &str) -> Result<()> {
        let text = direction::features(&clip, &[phrase.to_owned()])?;
        self.add_with_text(clip, eye, weight, text);
        Ok(())
    }

    /// As [`Critic::add`], with a text that is encoded already, `[1, E]` of length 1.
    pub fn add_with_text(&mut self, clip: Clip, eye: Eye, weight: f64, text: Tensor) {
        self.members.push(Member { clip: clip.without_text(), eye, weight, text });
    }

    /// How many CLIPs there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Looks at images `[N, 3, H, W]` in [-1, 1]. Differentiable.
    pub fn see(&self, images: &Tensor) -> Seen {
        Seen(self.members.iter().map(|m| m.clip.encode_image(&m.eye.apply(images))).collect())
    }

    /// Σ weight · mean(1 − cos): StyleCLIP's loss, summed over the ensemble.
    ///
    /// Its code writes 1 − logit/100, which is the same for OpenAI's CLIPs, whose scale is 100; another scale (14 in
    /// small CLIPs) would only be a hidden weight. Behind [`Eye::StyleClip`] it is as written there.
    ///
    /// # Panics
    /// Without a member.
    pub fn distance(&self, seen: &Seen) -> Tensor {
        let each = self.members.iter().zip(&seen.0).map(|(m, features)| {
            let scale = match m.eye {
                Eye::Clip(_) => OPENAI_SCALE,
                Eye::StyleClip(_) => m.clip.logit_scale(),
            };
            losses::global(&normalise(features), &m.text, scale) * m.weight
        });
        each.reduce(|a, b| a + b).expect("a critic has members")
    }

    /// The embedding-norm loss of the paper: Σ weight · mean (‖CLIP(x)‖ − ‖CLIP(x̂)‖)², of raw features. With `first`,
    /// of the first CLIP alone and without its weight, as the original's.
    ///
    /// # Panics
    /// Without a member.
    pub fn norm_change(&self, before: &Seen, after: &Seen, first: bool) -> Tensor {
        let one = |i: usize| {
            let change = norms(&after.0[i]) - norms(&before.0[i]);
            change.square().mean(change.kind())
        };
        if first {
            return one(0);
        }
        let each = self.members.iter().enumerate().map(|(i, m)| one(i) * m.weight);
        each.reduce(|a, b| a + b).expect("a critic has members")
    }
}

impl Seen {
    /// The features of each CLIP.
    pub fn features(&self) -> &[Tensor] {
        &self.0
    }
}

/// Lengths of features, `[N, E]` to `[N]`.
pub(super) fn norms(features: &Tensor) -> Tensor {
    features.norm_scalaropt_dim(2.0, [-1i64].as_slice(), false)
}
