//! Latent optimisation: one code is moved by gradient descent until CLIP finds the phrase in its image (StyleCLIP).
//!
//! Facts: StyleCLIP `optimization/run_optimization.py` (reference §5.1 A); golden `styleclip/optimization`. The weights
//! of the generator never get a gradient, and texts and the first images are encoded once.

use super::{Critic, Identity};
use crate::adapt::augment::Draw;
use crate::adapt::losses::values;
use crate::adapt::optim::Adam;
use crate::adapt::rate::Ramp;
use crate::config::Augment;
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::{Generator, LayerId, Noise, StyleCodes, Synthesis};
use crate::torch::catch;
use tch::Tensor;

/// The codes that are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// A style for each layer input, W+.
    WPlus,
    /// The style codes of the convolutions, S; those of the colours stay.
    Style,
}

/// How long, how fast, how freely.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of updates.
    pub steps: u64,
    /// Peak of the learning rate.
    pub lr: f64,
    /// Which codes.
    pub space: Space,
    /// Weight of Σ (code − start)²; 0 lets the code go anywhere.
    pub l2: f64,
    /// Weight of the identity loss.
    pub identity: f64,
    /// Random changes shown to CLIP: small ones are easily attacked without.
    pub augment: Augment,
    /// Every random number follows from it.
    pub seed: u64,
}

impl Default for Settings {
    /// StyleCLIP's.
    fn default() -> Self {
        Self {
            steps: 300,
            lr: 0.1,
            space: Space::WPlus,
            l2: 0.008,
            identity: 0.0,
            augment: Augment::default(),
            seed: 0,
        }
    }
}

/// What happened in a step: numbers of the codes that it began with, the mean over the batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SearchReport {
    /// Counted from 0.
    pub step: u64,
    /// The learning rate.
    pub lr: f64,
    /// The weighted sum.
    pub loss: f64,
    /// [`Critic::distance`].
    pub clip: f64,
}

/// A search for codes of a batch of images, each as if it were alone.
#[derive(Debug)]
pub struct Search<'a> {
    fixed: Synthesis,
    critic: &'a Critic,
    identity: Option<(&'a Identity, Tensor)>, // features of the images as they were
    settings: Settings,
    start: Vec<(LayerId, Tensor)>,
    codes: Vec<(LayerId, Tensor)>,
    adam: Adam,
}

impl<'a> Search<'a> {
    /// Begins at W+ codes `[N, L, D]`.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn new(
        generator: &Generator,
        start: &Tensor,
        critic: &'a Critic,
        identity: Option<&'a Identity>,
        settings: Settings,
    ) -> Result<Self> {
        catch("a latent search", || {
            let fixed = generator.synthesis().fixed();
            let start = match settings.space {
                // All inputs are in one tensor; it needs a name, and no layer's fits.
                Space::WPlus => vec![(LayerId::Mapping, start.detach().contiguous())],
                Space::Style => tch::no_grad(|| fixed.styles(start).0),
            };
            let identity = identity.filter(|_| settings.identity > 0.0);
            let codes = start.iter().map(|(id, t)| (*id, t.detach().copy())).collect();
            let adam = Adam::new(settings.lr, (0.9, 0.999));
            let mut search = Self { fixed, critic, identity: None, settings, start, codes, adam };
            let before = identity.map(|i| tch::no_grad(|| (i, i.features(&search.image()))));
            search.identity = before;
            Ok(search)
        })
    }

    /// One update.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a loss that is no number; a failure of the device.
    pub fn step(&mut self, step: u64) -> Result<SearchReport> {
        let Settings { steps, lr, l2, identity: identity_weight, .. } = self.settings;
        let lr = Ramp::usual(lr).rate(step, steps);
        let report = catch("a latent search", || {
            let moved: Vec<usize> =
                (0..self.codes.len()).filter(|&i| !self.codes[i].0.is_to_rgb()).collect();
            for &i in &moved {
                let _ = self.codes[i].1.set_requires_grad(true);
            }
            let images = self.image();
            let batch = images.size()[0] as f64;
            let shown = match self.settings.augment.copies {
                0 => images.shallow_clone(),
                _ => {
                    let mut stream = rng::stream(self.settings.seed, step, "augment");
                    let (n, _, h, w) = images.size4().expect("images have four dimensions");
                    let like = (images.kind(), images.device());
                    Draw::new(&self.settings.augment, [n, h, w], like, &mut stream).apply(&images)
                }
            };
            // Summed over the batch, so that no image depends on its neighbours.
            let clip = self.critic.distance(&self.critic.see(&shown)) * batch;
            let mut terms = vec![clip.shallow_clone()];
            if l2 > 0.0 {
                terms.extend(moved.iter().map(|&i| {
                    let change: Tensor = &self.start[i].1 - &self.codes[i].1;
                    change.square().sum(change.kind()) * l2
                }));
            }
            if let Some((identity, before)) = &self.identity {
                let distance = identity.distance(before, &identity.features(&images));
                terms.push(distance * (batch * identity_weight));
            }
            let total = terms.into_iter().reduce(|a, b| a + b).expect("there is a first term");
            let wanted: Vec<&Tensor> = moved.iter().map(|&i| &self.codes[i].1).collect();
            let grads = Tensor::run_backward(&[&total], &wanted, false, false);
            self.adam.set_lr(lr);
            for (&i, grad) in moved.iter().zip(&grads) {
                let (id, code) = &self.codes[i];
                let _ = code.set_requires_grad(false);
                self.adam.step(&id.to_string(), code, grad);
            }
            let numbers = values(&[total.detach(), clip.detach()]);
            Ok(SearchReport { step, lr, loss: numbers[0] / batch, clip: numbers[1] / batch })
        })?;
        if !report.loss.is_finite() {
            let reason = format!("the loss is {}", report.loss);
            return Err(Error::Diverged { step, reason });
        }
        Ok(report)
    }

    /// The image of the codes as they are now, `[N, 3, H, W]`, with stored noise.
    pub fn image(&self) -> Tensor {
        match self.settings.space {
            Space::WPlus => self.fixed.forward(&self.codes[0].1, Noise::Stored),
            Space::Style => self.fixed.forward_styles(&self.style_codes(), Noise::Stored, None),
        }
    }

    /// The W+ codes `[N, L, D]`; none when S is searched.
    pub fn w_plus(&self) -> Option<Tensor> {
        (self.settings.space == Space::WPlus).then(|| self.codes[0].1.detach().copy())
    }

    /// The style codes of every layer.
    pub fn style_codes(&self) -> StyleCodes {
        match self.settings.space {
            Space::WPlus => self.fixed.styles(&self.codes[0].1),
            Space::Style => {
                StyleCodes(self.codes.iter().map(|(id, t)| (*id, t.shallow_clone())).collect())
            }
        }
    }
}
