//! One step of the training of a mapper: the losses, their gradient in the mapper's weights, an update.

use super::network::{LevelsMapper, Normalise};
use crate::adapt::augment::Draw;
use crate::adapt::losses::values;
use crate::adapt::optim::Adam;
use crate::adapt::ranger::Ranger;
use crate::config::{MapperConfig, MapperLosses, OptimiserKind, Parity};
use crate::edit::{Critic, Identity};
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::{Generator, Latent, Noise, Synthesis};
use crate::torch::threads::{self, Shared, Tensors};
use crate::torch::{TensorMap, catch};
use tch::Tensor;

/// A term of the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapperTerm {
    /// [`Critic::distance`].
    Clip,
    /// [`Critic::norm_change`].
    Norm,
    /// Mean squared change of the codes.
    L2,
    /// [`Identity::distance`].
    Identity,
}

impl MapperTerm {
    /// The name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Norm => "norm",
            Self::L2 => "l2",
            Self::Identity => "identity",
        }
    }

    fn weight(self, losses: &MapperLosses) -> f64 {
        match self {
            Self::Clip => losses.clip,
            Self::Norm => losses.norm,
            Self::L2 => losses.l2,
            Self::Identity => losses.identity,
        }
    }
}

/// What happened in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct MapperReport {
    /// Counted from 0.
    pub step: u64,
    /// The weighted sum that was minimised.
    pub loss: f64,
    /// Every active term before its weight.
    pub terms: Vec<(MapperTerm, f64)>,
}

/// What a step needs of some samples, as their share of the batch.
#[derive(Default)]
struct Gradients {
    loss: f64,
    terms: Vec<(MapperTerm, f64)>,
    of_params: Vec<Tensor>,
}

impl Gradients {
    fn plus(mut self, more: Self) -> Self {
        if self.terms.is_empty() {
            return more;
        }
        self.loss += more.loss;
        for ((_, sum), (_, one)) in self.terms.iter_mut().zip(more.terms) {
            *sum += one;
        }
        for (sum, one) in self.of_params.iter_mut().zip(&more.of_params) {
            *sum = sum.g_add_(one);
        }
        self
    }
}

/// A mapper in training: a frozen generator, the critics, an optimiser.
#[derive(Debug)]
pub struct MapperTraining {
    generator: Generator,
    fixed: Synthesis,
    mapper: LevelsMapper,
    critic: Critic,
    identity: Option<Identity>,
    config: MapperConfig,
    optimiser: Optimiser,
}

#[derive(Debug)]
enum Optimiser {
    Ranger(Ranger),
    Adam(Adam),
}

// SAFETY: tensors and plain data; the optimiser changes parameters through `&mut self` only.
#[allow(unsafe_code)]
unsafe impl Tensors for MapperTraining {}

impl MapperTraining {
    /// Puts the parts together, with a fresh mapper. `identity` is left unused where its loss weighs nothing.
    ///
    /// # Errors
    /// [`Error::Request`] when none of the levels that are on exists in this generator.
    pub fn new(
        generator: Generator,
        critic: Critic,
        identity: Option<Identity>,
        config: MapperConfig,
    ) -> Result<Self> {
        let normalise = match config.parity {
            Parity::Original => Normalise::Layers,
            Parity::None => Normalise::Width,
        };
        let shape = (generator.config().num_styles(), generator.config().style_dim);
        let options = (generator.kind(), generator.device());
        let mapper = LevelsMapper::random(config.levels, shape, normalise, config.seed, options);
        Self::with_mapper(generator, mapper, critic, identity, config)
    }

    /// As [`MapperTraining::new`], going on with the weights of a mapper.
    ///
    /// # Errors
    /// As [`MapperTraining::new`].
    pub fn with_mapper(
        generator: Generator,
        mapper: LevelsMapper,
        critic: Critic,
        identity: Option<Identity>,
        config: MapperConfig,
    ) -> Result<Self> {
        if mapper.params().is_empty() {
            return Err(Error::request(
                format!(
                    "this generator has {} style inputs: none belongs to the levels that are on",
                    generator.config().num_styles()
                ),
                "switch on `levels.coarse`",
            ));
        }
        generator.set_trainable(|_| false);
        for param in mapper.params().values() {
            let _ = param.set_requires_grad(true);
        }
        let optimiser = match config.train.optimiser {
            OptimiserKind::Ranger => Optimiser::Ranger(Ranger::new(config.train.lr)),
            OptimiserKind::Adam => Optimiser::Adam(Adam::new(config.train.lr, (0.9, 0.999))),
        };
        let identity = identity.filter(|_| config.losses.identity > 0.0);
        let fixed = generator.synthesis().fixed();
        Ok(Self { generator, fixed, mapper, critic, identity, config, optimiser })
    }

    /// The mapper.
    pub fn mapper(&self) -> &LevelsMapper {
        &self.mapper
    }

    /// The generator whose codes are moved.
    pub fn generator(&self) -> &Generator {
        &self.generator
    }

    /// Images `[N, 3, H, W]` of codes `[N, L, D]`, with stored noise.
    pub(super) fn draw(&self, codes: &Tensor) -> Tensor {
        self.fixed.forward(codes, Noise::Stored)
    }

    /// The configuration of the run.
    pub fn config(&self) -> &MapperConfig {
        &self.config
    }

    /// One update with codes drawn from the seed.
    ///
    /// # Errors
    /// [`Error::Torch`] or [`Error::OutOfMemory`] from the device.
    pub fn step(&mut self, step: u64) -> Result<MapperReport> {
        let z = rng::stream(self.config.seed, step, "mapper z").normal(
            &[self.config.train.batch, self.generator.config().z_dim],
            self.generator.kind(),
            self.generator.device(),
        );
        let psi = self.config.train.truncation;
        let codes = tch::no_grad(|| self.generator.w_plus(&Latent::Z(z), psi))?;
        self.step_with(step, &codes)
    }

    /// One update with the given codes `[N, L, D]`.
    ///
    /// # Errors
    /// As [`MapperTraining::step`].
    pub fn step_with(&mut self, step: u64, codes: &Tensor) -> Result<MapperReport> {
        threads::narrow(|| self.update(step, codes))
    }

    fn update(&mut self, step: u64, codes: &Tensor) -> Result<MapperReport> {
        let Gradients { loss, terms, of_params } = self.gradients(step, codes)?;
        catch("a training step", || {
            for ((name, param), gradient) in self.mapper.params().iter().zip(&of_params) {
                match &mut self.optimiser {
                    Optimiser::Ranger(ranger) => ranger.step(name, param, gradient),
                    Optimiser::Adam(adam) => adam.step(name, param, gradient),
                }
            }
            Ok(())
        })?;
        Ok(MapperReport { step, loss, terms })
    }

    /// The losses and their gradients in the mapper's parameters. All are means over the samples, so every sample goes
    /// forward and back by itself, several at once.
    fn gradients(&self, step: u64, codes: &Tensor) -> Result<Gradients> {
        let n = codes.size()[0];
        let parts = match self.config.parity {
            Parity::None => threads::parts(codes.device(), n),
            Parity::Original => std::iter::once(0..n).collect(),
        };
        let draw = self.draw_changes(step, n);
        let parts = parts.into_iter().map(|samples| {
            let size = samples.end - samples.start;
            let changes = draw.as_ref().map(|draw| draw.part(&samples));
            (codes.narrow(0, samples.start, size), changes, size as f64 / n as f64)
        });
        let this = Shared::new(self);
        threads::fold(
            "a training step",
            parts.collect(),
            |(codes, changes, share)| {
                let mapper = this.get();
                let (total, terms) = mapper.terms(&codes, changes.as_ref())?;
                let wanted: Vec<&Tensor> = mapper.mapper.params().values().collect();
                let of_params = Tensor::run_backward(&[&total * share], &wanted, false, false);
                let scalars: Vec<Tensor> = std::iter::once(total.detach())
                    .chain(terms.iter().map(|(_, t)| t.detach()))
                    .collect();
                let numbers: Vec<f64> = values(&scalars).iter().map(|v| v * share).collect();
                let terms = terms.iter().zip(&numbers[1..]).map(|((t, _), v)| (*t, *v)).collect();
                Ok(Gradients { loss: numbers[0], terms, of_params })
            },
            Gradients::default(),
            Gradients::plus,
        )
    }

    /// The random changes of `n` images before the critic sees them.
    fn draw_changes(&self, step: u64, n: i64) -> Option<Draw> {
        let MapperConfig { augment, seed, .. } = &self.config;
        let (g, [h, w]) = (&self.generator, self.generator.config().image_size());
        (augment.copies > 0).then(|| {
            let mut stream = rng::stream(*seed, step, "augment");
            Draw::new(augment, [n, h, w], (g.kind(), g.device()), &mut stream)
        })
    }

    /// The weighted sum and every active term before its weight, for codes `[N, L, D]`. What weighs nothing is not
    /// computed: without norm and identity the images of the codes as they were are never made.
    ///
    /// # Errors
    /// As [`MapperTraining::step`].
    pub fn losses(&self, step: u64, codes: &Tensor) -> Result<(Tensor, Vec<(MapperTerm, Tensor)>)> {
        self.terms(codes, self.draw_changes(step, codes.size()[0]).as_ref())
    }

    fn terms(
        &self,
        codes: &Tensor,
        changes: Option<&Draw>,
    ) -> Result<(Tensor, Vec<(MapperTerm, Tensor)>)> {
        let MapperConfig { losses: weights, strength, .. } = &self.config;
        catch("a training step", || {
            let moved = self.mapper.apply(codes, *strength)?;
            let after = self.draw(&moved);
            let shown = |x: &Tensor| changes.map_or_else(|| x.shallow_clone(), |d| d.apply(x));
            let seen = self.critic.see(&shown(&after));
            let mut terms = vec![(MapperTerm::Clip, self.critic.distance(&seen))];
            if weights.norm > 0.0 || self.identity.is_some() {
                let before = tch::no_grad(|| self.draw(codes));
                if weights.norm > 0.0 {
                    let first = self.config.parity == Parity::Original;
                    let was = tch::no_grad(|| self.critic.see(&shown(&before)));
                    terms.push((MapperTerm::Norm, self.critic.norm_change(&was, &seen, first)));
                }
                if let Some(identity) = &self.identity {
                    let was = tch::no_grad(|| identity.features(&before));
                    let distance = identity.distance(&was, &identity.features(&after));
                    terms.push((MapperTerm::Identity, distance));
                }
            }
            if weights.l2 > 0.0 {
                let change: Tensor = &moved - codes;
                terms.push((MapperTerm::L2, change.square().mean(change.kind())));
            }
            let weighted = terms.iter().map(|(term, value)| value * term.weight(weights));
            let total = weighted.reduce(|a, b| a + b).expect("the CLIP term is always there");
            Ok((total, terms))
        })
    }

    /// Everything that a resumed run needs beside its configuration. Shares memory.
    pub fn state(&self) -> TensorMap {
        let mut state: TensorMap =
            self.mapper.params().iter().map(|(n, t)| (format!("model/{n}"), t.detach())).collect();
        let own = match &self.optimiser {
            Optimiser::Ranger(ranger) => ranger.state(),
            Optimiser::Adam(adam) => adam.state(),
        };
        state.extend(own.into_iter().map(|(n, t)| (format!("optimiser/{n}"), t)));
        state
    }

    /// Continues from what [`MapperTraining::state`] gave.
    ///
    /// # Errors
    /// [`Error::Tensors`] when the state is not of this run.
    pub fn restore(&mut self, state: &TensorMap) -> Result<()> {
        let params = self.mapper.params();
        let mut problems = Vec::new();
        for (name, param) in params {
            match state.get(&format!("model/{name}")) {
                Some(value) if value.size() == param.size() => {
                    tch::no_grad(|| param.shallow_clone().copy_(value));
                }
                _ => problems.push(format!("`{name}` is missing or shaped differently")),
            }
        }
        if !problems.is_empty() {
            return Err(Error::Tensors {
                what: "this snapshot cannot be resumed".into(),
                problems,
                hint: Some("resume with the configuration that the run was started with".into()),
            });
        }
        let own: TensorMap = state
            .iter()
            .filter_map(|(n, t)| {
                Some((n.strip_prefix("optimiser/")?.to_owned(), t.shallow_clone()))
            })
            .collect();
        match &mut self.optimiser {
            Optimiser::Ranger(ranger) => ranger.restore(&own, params),
            Optimiser::Adam(adam) => adam.restore(&own, params),
        }
    }
}
