//! The twin generators and one step of training.

mod draws;
mod passes;
mod state;
mod trainee;

use super::judge::Judge;
use super::layer_choice::{self, Plan, Routing};
use super::losses::{self, Term};
use super::optim::Adam;
use crate::config::{Config, Parity};
use crate::error::{Error, Result};
use crate::stylegan2::{Generator, Latent, LayerId, Synthesis};
use crate::torch::threads::{self, Shared, Tensors};
use crate::torch::{TensorMap, catch};
use passes::{Batch, rows};
use std::collections::BTreeSet;
use std::ops::Range;
use tch::Tensor;

/// A frozen generator and a trainable one, and everything that a step needs.
#[derive(Debug)]
pub struct Adaptation {
    frozen: Generator,
    fixed: Option<Synthesis>, // of the frozen twin; none where the twins must agree to the last bit
    trainable: Generator,
    judges: Vec<Judge>,
    config: Config,
    plan: Plan,
    chosen: Vec<LayerId>,
    optimiser: Adam,
    frozen_moments_decay: bool,
    average: Option<TensorMap>,
}

// SAFETY: tensors and plain data; the optimiser changes parameters through `&mut self` only.
#[allow(unsafe_code)]
unsafe impl Tensors for Adaptation {}

/// Images of both generators from the same latents.
#[derive(Debug)]
pub struct Pair {
    /// Of the frozen generator, `[N, 3, H, W]`.
    pub source: Tensor,
    /// Of the trained generator.
    pub adapted: Tensor,
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Counted from 0.
    pub step: u64,
    /// The weighted sum that was minimised.
    pub loss: f64,
    /// Every active term before its weight, summed over the ensemble with its weights.
    pub terms: Vec<(Term, f64)>,
    /// The layers that trained.
    pub layers: Vec<LayerId>,
    /// Movement of each style input, when the layers were chosen in this step.
    pub scores: Option<Vec<f64>>,
}

/// Numbers drawn by the caller instead of from the seed: golden runs bring their own.
#[derive(Debug)]
pub struct Inputs {
    /// Codes of the training images.
    pub latent: Latent,
    /// Codes of the layer choice.
    pub search: Latent,
}

impl Adaptation {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`Error::Request`] or [`Error::Config`] when the twins differ in shape or the layers asked for do not exist.
    pub fn new(
        frozen: Generator,
        trainable: Generator,
        judges: Vec<Judge>,
        config: Config,
    ) -> Result<Self> {
        if frozen.config() != trainable.config() {
            return Err(Error::request(
                format!(
                    "the generators differ: {} px and {} px, or other channels",
                    frozen.config().resolution,
                    trainable.config().resolution
                ),
                "`--reference` must have the same architecture as `--generator`",
            ));
        }
        let routing =
            if config.parity == Parity::Original { Routing::Original } else { Routing::Correct };
        let plan = Plan::new(&config.layers, trainable.config(), routing)?;
        let chosen = match &plan {
            Plan::Fixed(layers) => layers.clone(),
            Plan::Adaptive { .. } => Vec::new(),
        };
        frozen.set_trainable(|_| false);
        // The original tells equal twins by images that are exactly equal: both must be computed alike.
        let fixed = (config.parity == Parity::None).then(|| frozen.synthesis().fixed());
        let optimiser = Adam::with_ratio(config.train.lr, config.train.lr_ratio);
        let average = (config.train.ema > 0.0).then(|| {
            let params = trainable.params().iter();
            params.map(|(n, t)| (n.clone(), t.detach().copy())).collect()
        });
        let frozen_moments_decay =
            config.parity == Parity::Original && matches!(plan, Plan::Adaptive { .. });
        Ok(Self {
            frozen,
            fixed,
            trainable,
            judges,
            config,
            plan,
            chosen,
            optimiser,
            frozen_moments_decay,
            average,
        })
    }

    /// The trained generator.
    pub fn trainable(&self) -> &Generator {
        &self.trainable
    }

    /// The frozen generator.
    pub fn frozen(&self) -> &Generator {
        &self.frozen
    }

    /// The configuration of the run.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Under `parity: original` the optimiser's moments of frozen layers decay, as they did where gradients were
    /// cleared to zero (torch 1.7); this keeps them instead, as newer versions of torch do.
    pub fn keep_frozen_moments(&mut self) {
        self.frozen_moments_decay = false;
    }

    /// Names of the parameters that may change in this run.
    pub fn trained_names(&self) -> BTreeSet<String> {
        let layers: Vec<LayerId> = match &self.plan {
            Plan::Fixed(layers) => layers.clone(),
            Plan::Adaptive { candidates, always, .. } => {
                candidates.iter().flat_map(|c| c.layers.iter()).chain(always).copied().collect()
            }
        };
        self.trainable.params().keys().filter(|n| self.trains(n, &layers)).cloned().collect()
    }

    /// One update with everything drawn from the seed.
    ///
    /// # Errors
    /// [`Error::Torch`] or [`Error::OutOfMemory`] from the device.
    pub fn step(&mut self, step: u64) -> Result<StepReport> {
        let inputs = Inputs {
            latent: self.draw_latent(step, "z", self.config.train.batch),
            search: Latent::Z(self.draw_z(step, "search z", self.config.layers.batch)),
        };
        self.step_with(step, &inputs)
    }

    /// One update with the given codes.
    ///
    /// # Errors
    /// As [`Adaptation::step`]; [`Error::Request`] when the codes do not fit the generator.
    pub fn step_with(&mut self, step: u64, inputs: &Inputs) -> Result<StepReport> {
        threads::narrow(|| self.update(step, inputs))
    }

    fn update(&mut self, step: u64, inputs: &Inputs) -> Result<StepReport> {
        let due = step.is_multiple_of(self.config.layers.every) || self.chosen.is_empty();
        let scores = if due { self.choose_layers(step, &inputs.search)? } else { None };
        let psi = self.config.train.truncation;
        let frozen_codes = tch::no_grad(|| self.frozen.w_plus(&inputs.latent, psi))?;
        let active: Vec<String> = self
            .trainable
            .params()
            .keys()
            .filter(|n| self.trains(n, &self.chosen))
            .cloned()
            .collect();
        self.trainable.set_trainable(|name| self.trains(name, &self.chosen));
        let codes = match (self.config.layers.mapping, self.config.parity, &inputs.latent) {
            (true, ..) => self.trainable.w_plus(&inputs.latent, psi)?,
            // The original draws another crossover for the second twin.
            (_, Parity::Original, Latent::MixedZ { first, second, .. }) => {
                let crossover = self.draw_crossover(step, "second crossover");
                let latent = Latent::MixedZ {
                    first: first.shallow_clone(),
                    second: second.shallow_clone(),
                    crossover,
                };
                tch::no_grad(|| self.frozen.w_plus(&latent, psi))?
            }
            _ => frozen_codes.shallow_clone(),
        };
        let batch = Batch { frozen_codes, codes, active };
        let (gradients, (total, terms)) = self.gradients(step, &batch)?;
        catch("a training step", || {
            for (name, gradient) in &gradients {
                self.optimiser.step(name, &self.trainable.params()[name], gradient);
            }
            if self.frozen_moments_decay {
                for (name, param) in self.trainable.params() {
                    if !batch.active.contains(name)
                        && LayerId::of_parameter(name) != Some(LayerId::Mapping)
                    {
                        self.optimiser.decay(name, param);
                    }
                }
            }
            self.trainable.set_trainable(|_| false);
            Ok(())
        })?;
        self.update_average();
        let scalars: Vec<Tensor> =
            std::iter::once(total).chain(terms.values().map(Tensor::detach)).collect();
        let values = losses::values(&scalars);
        Ok(StepReport {
            step,
            loss: values[0],
            terms: terms.keys().copied().zip(values[1..].iter().copied()).collect(),
            layers: self.chosen.clone(),
            scores,
        })
    }

    fn trains(&self, name: &str, layers: &[LayerId]) -> bool {
        LayerId::of_parameter(name).is_some_and(|layer| layers.contains(&layer))
            && (self.config.layers.noise_strength || !name.ends_with("noise.weight"))
    }

    /// The adaptive choice: a short search in W+ with the trained generator as it is. Returns the score of every
    /// style input; a fixed set of layers stays, and has none.
    fn choose_layers(&mut self, step: u64, search: &Latent) -> Result<Option<Vec<f64>>> {
        let Plan::Adaptive { candidates, always, k } = &self.plan else { return Ok(None) };
        let codes = tch::no_grad(|| self.frozen.w_plus(search, self.config.train.truncation))?;
        let maps = self.draw_noise(step, "search noise", codes.size()[0]);
        let settings = &self.config.layers;
        let fixed = self.trainable.synthesis().fixed();
        // At once no more than a step of training has room for.
        let at_once = threads::parts(codes.device(), self.config.train.batch).len() as i64;
        let parts = chunks(codes.size()[0], self.config.train.batch / at_once);
        let (this, fixed, maps) = (Shared::new(&*self), Shared::new(&fixed), Shared::new(&maps));
        let (steps, lr) = (settings.iterations, settings.lr);
        let moved = layer_choice::movement(&codes, steps, lr, parts, |samples, codes| {
            let maps = rows(maps.get().as_ref(), samples);
            let images = fixed.get().forward(codes, this.get().noise(maps.as_ref()));
            let losses = this.get().judges.iter().map(|j| j.search_loss(&images));
            losses.reduce(|a, b| a + b).expect("there is at least one judge")
        })?;
        let scores = layer_choice::scores(&moved);
        let best = layer_choice::best(candidates, &scores, *k);
        let mut chosen: Vec<LayerId> =
            best.iter().flat_map(|c| c.layers.iter()).chain(always).copied().collect();
        chosen.sort();
        self.chosen = chosen;
        Ok(Some(scores))
    }

    fn update_average(&mut self) {
        let decay = self.config.train.ema;
        for (name, average) in self.average.iter_mut().flatten() {
            let _ = average
                .g_mul_scalar_(decay)
                .g_add_(&(self.trainable.params()[name].detach() * (1.0 - decay)));
        }
    }
}

/// A batch of `n` in chunks of at most `size`.
fn chunks(n: i64, size: i64) -> Vec<Range<i64>> {
    let size = size.clamp(1, n.max(1));
    (0..n).step_by(size as usize).map(|start| start..n.min(start + size)).collect()
}
