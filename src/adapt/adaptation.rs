//! The twin generators and one step of training.

use super::augment::Draw;
use super::judge::{Judge, Pairs};
use super::layer_choice::{self, Plan, Routing};
use super::losses::{self, Term};
use super::optim::Adam;
use super::patches;
use crate::config::{Config, NoiseKind, Parity};
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::{Generator, Latent, LayerId, Noise, Synthesis};
use crate::torch::{TensorMap, catch};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use tch::Tensor;

/// Weights are about 1, or 100 in the mapping network; beyond this, images are noise although all numbers are finite.
const LARGEST_WEIGHT: f64 = 1e6;

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
    scores: Option<Vec<f64>>,
    optimiser: Adam,
    frozen_moments_decay: bool,
    average: Option<TensorMap>,
}

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
            scores: None,
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
        let mut layers: Vec<LayerId> = match &self.plan {
            Plan::Fixed(layers) => layers.clone(),
            Plan::Adaptive { candidates, always, .. } => {
                candidates.iter().flat_map(|c| c.layers.iter()).chain(always).copied().collect()
            }
        };
        layers.dedup();
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
        let chosen_now = matches!(self.plan, Plan::Adaptive { .. })
            && (step.is_multiple_of(self.config.layers.every) || self.chosen.is_empty());
        if chosen_now {
            self.choose_layers(step, &inputs.search)?;
        }
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
        let (total, terms) = catch("a training step", || {
            let pair = self.images(step, &frozen_codes, &codes);
            let (total, terms) = self.losses(step, &pair);
            let params: Vec<&Tensor> = active.iter().map(|n| &self.trainable.params()[n]).collect();
            let grads = Tensor::run_backward(&[&total], &params, false, false);
            for ((name, param), grad) in active.iter().zip(&params).zip(&grads) {
                self.optimiser.step(name, param, grad);
            }
            if self.frozen_moments_decay {
                for (name, param) in self.trainable.params() {
                    if !active.contains(name)
                        && LayerId::of_parameter(name) != Some(LayerId::Mapping)
                    {
                        self.optimiser.decay(name, param);
                    }
                }
            }
            self.trainable.set_trainable(|_| false);
            Ok((total.detach(), terms))
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
            scores: if chosen_now { self.scores.clone() } else { None },
        })
    }

    /// Images of the frozen generator for `count` fixed latents, with stored noise: the same in every call.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn source_samples(&self, count: i64, psi: f64) -> Result<Tensor> {
        self.in_chunks(count, |z| self.frozen.generate(&Latent::Z(z), psi, Noise::Stored))
    }

    /// Images of the trained generator (its moving average, where one is kept) for the same latents.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn adapted_samples(&self, count: i64, psi: f64) -> Result<Tensor> {
        self.with_average(|| {
            self.in_chunks(count, |z| match self.config.layers.mapping {
                true => self.trainable.generate(&Latent::Z(z), psi, Noise::Stored),
                // The mapping network is shared: the adapted generator sees the very same codes.
                false => {
                    let codes = tch::no_grad(|| self.frozen.w_plus(&Latent::Z(z), psi))?;
                    self.trainable.generate(&Latent::WPlus(codes), 1.0, Noise::Stored)
                }
            })
        })
    }

    /// Samples in chunks of the training batch: no more memory than a step needs.
    fn in_chunks(
        &self,
        count: i64,
        images: impl Fn(Tensor) -> Result<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let shape = [count, self.frozen.config().z_dim];
        let z = rng::stream(self.config.seed, 0, "samples").normal(
            &shape,
            self.frozen.kind(),
            self.frozen.device(),
        );
        let chunks = z.split(self.config.train.batch, 0).into_iter();
        let made = chunks.map(|z| Ok(images(z)?.0)).collect::<Result<Vec<_>>>()?;
        catch("sampling", || Ok(Tensor::cat(&made, 0)))
    }

    /// The result: the trained generator's tensors, or their moving average where one is kept. Shares memory.
    pub fn result(&self) -> TensorMap {
        let mut tensors = self.trainable.tensors();
        if let Some(average) = &self.average {
            tensors.extend(average.iter().map(|(n, t)| (n.clone(), t.shallow_clone())));
        }
        tensors
    }

    /// Everything that a resumed run needs beside its configuration. Shares memory.
    pub fn state(&self) -> TensorMap {
        let mut state = TensorMap::new();
        let trained = self.trained_names();
        for (name, tensor) in self.trainable.params().iter().filter(|(n, _)| trained.contains(*n)) {
            state.insert(format!("model/{name}"), tensor.detach());
        }
        for (name, tensor) in self.average.iter().flatten().filter(|(n, _)| trained.contains(*n)) {
            state.insert(format!("average/{name}"), tensor.shallow_clone());
        }
        state.extend(self.optimiser.state().into_iter().map(|(n, t)| (format!("adam/{n}"), t)));
        state
    }

    /// The layers chosen last; part of what a resumed run needs.
    pub fn chosen(&self) -> &[LayerId] {
        &self.chosen
    }

    /// Continues from what [`Adaptation::state`] and [`Adaptation::chosen`] gave.
    ///
    /// # Errors
    /// [`Error::Tensors`] when the state is not of this run's generator and configuration.
    pub fn restore(&mut self, state: &TensorMap, chosen: Vec<LayerId>) -> Result<()> {
        let part = |prefix: &str| -> TensorMap {
            let own = state
                .iter()
                .filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_owned(), t.shallow_clone())));
            own.collect()
        };
        let model = part("model/");
        if model.keys().cloned().collect::<BTreeSet<_>>() != self.trained_names() {
            return Err(Error::Tensors {
                what: "this snapshot cannot be resumed".into(),
                problems: vec!["it holds other layers than this configuration trains".into()],
                hint: Some("resume with the configuration that the run was started with".into()),
            });
        }
        self.trainable.load_params(&model)?;
        if let Some(average) = &mut self.average {
            for (name, value) in part("average/") {
                average.insert(name, value.to_device(self.trainable.device()).copy());
            }
        }
        self.chosen = chosen;
        self.optimiser.restore(&part("adam/"), self.trainable.params())
    }

    /// Whether every number of the trained weights is one, and of a size that a generator can have.
    pub fn is_sound(&self) -> bool {
        // NaN is below nothing.
        let sound = |t: &Tensor| t.abs().max().double_value(&[]) < LARGEST_WEIGHT;
        self.state().iter().filter(|(n, _)| n.starts_with("model/")).all(|(_, t)| sound(t))
    }

    fn trains(&self, name: &str, layers: &[LayerId]) -> bool {
        LayerId::of_parameter(name).is_some_and(|layer| layers.contains(&layer))
            && (self.config.layers.noise_strength || !name.ends_with("noise.weight"))
    }

    fn draw_z(&self, step: u64, purpose: &str, n: i64) -> Tensor {
        let g = &self.frozen;
        rng::stream(self.config.seed, step, purpose).normal(
            &[n, g.config().z_dim],
            g.kind(),
            g.device(),
        )
    }

    fn draw_crossover(&self, step: u64, purpose: &str) -> i64 {
        rng::stream(self.config.seed, step, purpose).integer(1, self.frozen.config().num_styles())
    }

    fn draw_latent(&self, step: u64, purpose: &str, n: i64) -> Latent {
        let first = self.draw_z(step, purpose, n);
        if rng::stream(self.config.seed, step, "mixing").unit() < self.config.train.mixing {
            let second = self.draw_z(step, "second z", n);
            Latent::MixedZ { first, second, crossover: self.draw_crossover(step, "crossover") }
        } else {
            Latent::Z(first)
        }
    }

    /// Noise maps for `n` images; `None` when the configuration wants none or the stored ones.
    fn draw_noise(&self, step: u64, purpose: &str, n: i64) -> Option<Vec<Tensor>> {
        let mut stream = rng::stream(self.config.seed, step, purpose);
        (self.config.train.noise == NoiseKind::Random)
            .then(|| self.frozen.random_noise(n, &mut stream))
    }

    fn noise<'a>(&self, maps: Option<&'a Vec<Tensor>>) -> Noise<'a> {
        match (maps, self.config.train.noise) {
            (Some(maps), _) => Noise::Maps(maps),
            (None, NoiseKind::None) => Noise::None,
            (None, _) => Noise::Stored,
        }
    }

    /// The images of a step; the twins share the noise, except where the original's behaviour is asked for.
    fn images(&self, step: u64, frozen_codes: &Tensor, codes: &Tensor) -> Pair {
        let n = codes.size()[0];
        let shared = self.draw_noise(step, "noise", n);
        let own = match self.config.parity {
            Parity::Original => self.draw_noise(step, "second noise", n),
            Parity::None => None,
        };
        let fixed = self.fixed.as_ref().unwrap_or(self.frozen.synthesis());
        let source = tch::no_grad(|| fixed.forward(frozen_codes, self.noise(shared.as_ref())));
        let adapted =
            self.trainable.synthesis().forward(codes, self.noise(own.as_ref().or(shared.as_ref())));
        Pair { source, adapted }
    }

    /// The weighted sum and the value of every active term.
    fn losses(&self, step: u64, pair: &Pair) -> (Tensor, BTreeMap<Term, Tensor>) {
        let Config { losses: weights, augment, seed, .. } = &self.config;
        let Pair { source, adapted } = pair;
        let changed = (augment.copies > 0).then(|| {
            let draw = Draw::new(augment, source, &mut rng::stream(*seed, step, "augment"));
            (tch::no_grad(|| draw.apply(source)), draw.apply(adapted))
        });
        let (seen_source, seen_adapted) =
            changed.as_ref().map_or((source, adapted), |(s, a)| (s, a));
        let cut = (weights.patch > 0.0).then(|| {
            let (n, _, h, w) = source.size4().expect("images have four dimensions");
            let size = ((h.min(w) as f64 * weights.patch_size) as i64 / 2 * 2).max(2);
            let centres = patches::centres(n, size, h, w, &mut rng::stream(*seed, step, "patches"));
            (patches::cut(source, &centres, size), patches::cut(adapted, &centres, size))
        });
        let pairs = Pairs {
            source: seen_source,
            adapted: seen_adapted,
            copies: augment.copies.max(1),
            patches: cut.as_ref().map(|(s, a)| (s, a)),
        };
        let mut terms: BTreeMap<Term, Tensor> = BTreeMap::new();
        for judge in &self.judges {
            for (term, value) in
                judge.terms(&pairs, weights, self.config.parity == Parity::Original)
            {
                let sum = match terms.remove(&term) {
                    Some(sum) => sum + value,
                    None => value,
                };
                terms.insert(term, sum);
            }
        }
        for term in Term::active(weights) {
            let value = match term {
                Term::Edges => losses::edges(source, adapted),
                Term::TotalVariation => losses::total_variation(adapted),
                Term::OutOfRange => losses::out_of_range(adapted),
                Term::Chroma => losses::chroma(adapted),
                _ => continue,
            };
            terms.insert(term, value);
        }
        let weighted = terms.iter().map(|(term, value)| value * term.weight(weights));
        let total = weighted.reduce(|a, b| a + b).expect("validation left at least one loss");
        (total, terms)
    }

    /// The adaptive choice: a short search in W+ with the trained generator as it is.
    fn choose_layers(&mut self, step: u64, search: &Latent) -> Result<()> {
        let Plan::Adaptive { candidates, always, k } = &self.plan else { return Ok(()) };
        let codes = tch::no_grad(|| self.frozen.w_plus(search, self.config.train.truncation))?;
        let maps = self.draw_noise(step, "search noise", codes.size()[0]);
        let settings = &self.config.layers;
        let fixed = self.trainable.synthesis().fixed();
        let moved = catch("choosing layers", || {
            Ok(layer_choice::movement(
                &codes,
                settings.iterations,
                settings.lr,
                self.config.train.batch,
                |start, codes| {
                    let n = codes.size()[0];
                    let part: Option<Vec<Tensor>> = maps
                        .as_ref()
                        .map(|maps| maps.iter().map(|m| m.narrow(0, start, n)).collect());
                    let images = fixed.forward(codes, self.noise(part.as_ref()));
                    let losses = self.judges.iter().map(|j| j.search_loss(&images));
                    losses.reduce(|a, b| a + b).expect("there is at least one judge")
                },
            ))
        })?;
        let scores = layer_choice::scores(&moved);
        let best = layer_choice::best(candidates, &scores, *k);
        let mut chosen: Vec<LayerId> =
            best.iter().flat_map(|c| c.layers.iter()).chain(always).copied().collect();
        chosen.sort();
        self.scores = Some(scores);
        self.chosen = chosen;
        Ok(())
    }

    fn update_average(&mut self) {
        let decay = self.config.train.ema;
        for (name, average) in self.average.iter_mut().flatten() {
            let _ = average
                .g_mul_scalar_(decay)
                .g_add_(&(self.trainable.params()[name].detach() * (1.0 - decay)));
        }
    }

    /// Runs `work` with the moving average in the place of the trained weights, where there is one.
    fn with_average<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(average) = &self.average else { return work() };
        let own: TensorMap =
            self.trainable.params().iter().map(|(n, t)| (n.clone(), t.detach().copy())).collect();
        self.trainable.load_params(average)?;
        let outcome = work();
        self.trainable.load_params(&own)?;
        outcome
    }
}
