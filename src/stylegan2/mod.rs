//! StyleGAN2 (Karras et al. 2020): the generator, with every size inferred from its tensors.
//!
//! ```text
//! z ─ mapping ─► w ─ truncation ─► W+ [N, L, D] ─ affine layers ─► style codes ─ synthesis ─► image
//! ```
//! Names and arithmetic follow rosinality/stylegan2-pytorch; goldens `generator32` and `generator64` hold the
//! agreement to 1e-9 in float64. Conditional generators and `conv_clamp` follow NVIDIA's code (golden `nvidia`). What
//! is not here: the discriminator, which nothing in `nada` needs.

mod config;
mod latent;
mod layer;
mod mapping;
mod morph;
pub mod ops;
mod synthesis;

pub use config::Config;
pub use latent::Latent;
pub use layer::LayerId;
pub use mapping::Mapping;
pub use morph::Morph;
pub use synthesis::{Noise, Partway, StyleCodes, Synthesis, Tap};

use crate::error::{Error, Result};
use crate::rng;
use crate::torch::threads::{self, Shared, Tensors};
use crate::torch::{TensorMap, catch, copy_map};
use tch::{Device, Kind, Tensor};

/// How many z are averaged when a checkpoint has no `latent_avg`.
pub const LATENT_AVG_SAMPLES: i64 = 4096;

/// Where the average style of a generator comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatentAvgOrigin {
    /// It was in the checkpoint.
    Stored,
    /// The mean over [`LATENT_AVG_SAMPLES`] seeded z.
    Estimated,
}

/// A StyleGAN2 generator.
#[derive(Debug)]
pub struct Generator {
    config: Config,
    mapping: Mapping,
    synthesis: Synthesis,
    params: TensorMap,
    buffers: TensorMap,
    latent_avg: Tensor,
    latent_avg_origin: LatentAvgOrigin,
    class: Option<i64>,
}

/// The embedding of classes; it is stored, but never trained.
const EMBEDDING: [&str; 2] = ["embed.weight", "embed.bias"];

// SAFETY: tensors and plain data.
#[allow(unsafe_code)]
unsafe impl Tensors for Generator {}
// SAFETY: tensors and plain data.
#[allow(unsafe_code)]
unsafe impl Tensors for Synthesis {}

impl Generator {
    /// Builds a generator from tensors of one kind and device under rosinality's names.
    ///
    /// Missing noise buffers (files older than the buffers) are replaced by seeded ones, a missing `latent_avg` by
    /// the mean over 4,096 seeded z.
    ///
    /// # Errors
    /// [`Error::Tensors`] when parameters are missing or shaped differently; [`Error::Request`] for a generator with
    /// classes, which [`Generator::of_class`] takes.
    pub fn new(config: Config, tensors: TensorMap) -> Result<Self> {
        Self::of_class(config, tensors, None)
    }

    /// As [`Generator::new`], drawing one class of a conditional generator: from 0 to below [`Config::classes`].
    ///
    /// # Errors
    /// As [`Generator::new`]; [`Error::Request`] when the class is not there, or none is given where one is needed.
    pub fn of_class(config: Config, mut tensors: TensorMap, class: Option<i64>) -> Result<Self> {
        config.check_class(class)?;
        let mut params = TensorMap::new();
        let mut problems = Vec::new();
        for (name, shape) in config.parameter_shapes() {
            match tensors.remove(&name) {
                Some(t) if t.size() == shape => {
                    params.insert(name, t.detach());
                }
                Some(t) => {
                    problems.push(format!("`{name}` has shape {:?}, expected {shape:?}", t.size()))
                }
                None => problems.push(format!("`{name}` is missing")),
            }
        }
        let mut filters = TensorMap::new();
        for (name, shape) in config.optional_shapes() {
            match tensors.get(&name).filter(|_| name.ends_with(".kernel")) {
                Some(filter) if filter.size() != shape => problems
                    .push(format!("`{name}` has shape {:?}, expected {shape:?}", filter.size())),
                Some(filter) if !is_usual_filter(filter) => {
                    filters.insert(name, filter.detach());
                }
                _ => {}
            }
        }
        if !problems.is_empty() {
            return Err(Error::Tensors {
                what: "this is no complete generator".into(),
                problems,
                hint: None,
            });
        }
        let constant = &params["input.input"];
        let (kind, device) = (constant.kind(), constant.device());
        let mut buffers: TensorMap =
            EMBEDDING.iter().filter_map(|&name| params.remove_entry(name)).collect();
        let mut noises = Vec::new();
        for i in 0..config.num_noises() {
            let name = format!("noises.noise_{i}");
            let [h, w] = config.noise_size(i);
            let map = match tensors.remove(&name) {
                Some(map) => map.detach(),
                None => {
                    rng::stream(0, i as u64, "noise buffer").normal(&[1, 1, h, w], kind, device)
                }
            };
            noises.push(map.shallow_clone());
            buffers.insert(name, map);
        }
        catch("building the generator", move || {
            let embedding = class.map(|class| {
                let [weight, bias] = EMBEDDING.map(|name| &buffers[name]);
                mapping::embedded(weight, bias, class)
            });
            let mapping = Mapping::new(&params, &config, embedding);
            let (latent_avg, latent_avg_origin) = match tensors.remove("latent_avg") {
                Some(avg) => (avg.detach().reshape([config.style_dim]), LatentAvgOrigin::Stored),
                None => (
                    estimate_latent_avg(&mapping, config.z_dim, kind, device),
                    LatentAvgOrigin::Estimated,
                ),
            };
            let synthesis = Synthesis::new(&config, &params, noises, &filters);
            buffers.extend(filters);
            Ok(Self {
                config,
                mapping,
                synthesis,
                params,
                buffers,
                latent_avg,
                latent_avg_origin,
                class,
            })
        })
    }

    /// A generator with random weights of the given shape, for benchmarks and tests.
    pub fn random(config: Config, seed: u64, kind: Kind, device: Device) -> Result<Self> {
        let mut tensors = TensorMap::new();
        for (i, (name, shape)) in config.parameter_shapes().into_iter().enumerate() {
            let mut stream = rng::stream(seed, i as u64, "random generator");
            let tensor = match name.as_str() {
                n if n.ends_with("modulation.bias") => Tensor::ones(&shape, (kind, device)),
                n if n.ends_with("bias") => Tensor::zeros(&shape, (kind, device)),
                n if n.ends_with("noise.weight") => Tensor::full(&shape, 0.05, (kind, device)),
                // The mapping network's weights are stored divided by its learning-rate multiplier.
                n if n.starts_with("style.") => stream.normal(&shape, kind, device) * 100.0,
                _ => stream.normal(&shape, kind, device),
            };
            tensors.insert(name, tensor);
        }
        let class = (config.classes > 0).then_some(0);
        Self::of_class(config, tensors, class)
    }

    /// An independent copy on `device` in `kind`: same numbers, own memory.
    pub fn duplicate(&self, kind: Kind, device: Device) -> Result<Self> {
        Self::of_class(self.config.clone(), copy_map(&self.tensors(), device, kind), self.class)
    }

    /// What was inferred about the generator.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The mapping network.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The synthesis network.
    pub fn synthesis(&self) -> &Synthesis {
        &self.synthesis
    }

    /// All trainable tensors by name; they share memory with the networks.
    pub fn params(&self) -> &TensorMap {
        &self.params
    }

    /// The average style w̄, `[D]`.
    pub fn latent_avg(&self) -> &Tensor {
        &self.latent_avg
    }

    /// Whether w̄ came from the checkpoint or was estimated.
    pub fn latent_avg_origin(&self) -> LatentAvgOrigin {
        self.latent_avg_origin
    }

    /// The class that it draws; `None` for a generator without classes.
    pub fn class(&self) -> Option<i64> {
        self.class
    }

    /// Precision of the weights.
    pub fn kind(&self) -> Kind {
        self.latent_avg.kind()
    }

    /// Where the weights lie.
    pub fn device(&self) -> Device {
        self.latent_avg.device()
    }

    /// Everything that belongs into a checkpoint: parameters, noise buffers, unusual filters, the embedding of classes,
    /// `latent_avg`. Shares memory.
    pub fn tensors(&self) -> TensorMap {
        let mut all: TensorMap = self.params.iter().map(|(n, t)| (n.clone(), t.detach())).collect();
        all.extend(self.buffers.iter().map(|(n, t)| (n.clone(), t.shallow_clone())));
        all.insert("latent_avg".into(), self.latent_avg.shallow_clone());
        all
    }

    /// W+ codes `[N, L, D]` of a latent, truncated towards the average style by `psi` (1 leaves them alone).
    ///
    /// # Errors
    /// [`Error::Request`] when the latent's shape does not fit this generator.
    pub fn w_plus(&self, latent: &Latent, psi: f64) -> Result<Tensor> {
        latent.check(&self.config)?;
        let styles = self.config.num_styles();
        let truncate = |w: &Tensor| {
            if psi == 1.0 {
                w.shallow_clone()
            } else {
                &self.latent_avg + (w - &self.latent_avg) * psi
            }
        };
        let repeat =
            |w: &Tensor, times: i64| truncate(w).unsqueeze(1).expand([-1, times, -1], false);
        catch("mapping latents", || {
            Ok(match latent {
                Latent::Z(z) => repeat(&self.mapping.forward(z), styles),
                Latent::W(w) => repeat(w, styles),
                Latent::WPlus(w) => truncate(w),
                Latent::MixedZ { first, second, crossover } => {
                    let (a, b) = (self.mapping.forward(first), self.mapping.forward(second));
                    Tensor::cat(&[repeat(&a, *crossover), repeat(&b, styles - crossover)], 1)
                }
            })
        })
    }

    /// Latent → images `[N, C, H, W]` in [-1, 1] (not clamped; see [`Config::image_channels`]) and the W+ codes that made them. No gradients.
    ///
    /// # Errors
    /// A latent of the wrong shape, or a failure of the device.
    pub fn generate(
        &self,
        latent: &Latent,
        psi: f64,
        noise: Noise<'_>,
    ) -> Result<(Tensor, Tensor)> {
        let w_plus = tch::no_grad(|| self.w_plus(latent, psi))?;
        let n = w_plus.size()[0];
        let parts = threads::parts(self.device(), n).into_iter().map(|samples| {
            let own = |t: &Tensor| t.narrow(0, samples.start, samples.end - samples.start);
            let maps = match noise {
                // One map may serve all samples.
                Noise::Maps(maps) => {
                    let own =
                        |m: &Tensor| if m.size()[0] == n { own(m) } else { m.shallow_clone() };
                    Some(maps.iter().map(own).collect::<Vec<_>>())
                }
                Noise::Stored | Noise::None => None,
            };
            (own(&w_plus), maps)
        });
        let (this, stored) = (Shared::new(self), matches!(noise, Noise::Stored));
        let images = threads::map("sampling the generator", parts.collect(), |(w_plus, maps)| {
            let noise = match &maps {
                Some(maps) => Noise::Maps(maps),
                None if stored => Noise::Stored,
                None => Noise::None,
            };
            Ok(tch::no_grad(|| this.get().synthesis.forward(&w_plus, noise)))
        })?;
        Ok((Tensor::cat(&images, 0), w_plus))
    }

    /// One set of fresh noise maps for `n` images, drawn from `stream`.
    pub fn random_noise(&self, n: i64, stream: &mut rng::Stream) -> Vec<Tensor> {
        (0..self.config.num_noises())
            .map(|i| {
                let [h, w] = self.config.noise_size(i);
                stream.normal(&[n, 1, h, w], self.kind(), self.device())
            })
            .collect()
    }

    /// Lets gradients reach exactly the parameters for which `trains` is true.
    pub fn set_trainable(&self, trains: impl Fn(&str) -> bool) {
        for (name, tensor) in &self.params {
            let _ = tensor.set_requires_grad(trains(name));
        }
    }

    /// Overwrites parameters in place (the optimiser's memory stays valid).
    ///
    /// # Errors
    /// [`Error::Tensors`] for a name or shape that this generator does not have.
    pub fn load_params(&self, values: &TensorMap) -> Result<()> {
        let mut problems = Vec::new();
        for (name, value) in values {
            match self.params.get(name) {
                Some(own) if own.size() == value.size() => {
                    tch::no_grad(|| own.shallow_clone().copy_(value))
                }
                Some(own) => problems.push(format!(
                    "`{name}` has shape {:?}, expected {:?}",
                    value.size(),
                    own.size()
                )),
                None => problems.push(format!("`{name}` is no parameter of this generator")),
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Tensors {
            what: "these weights do not fit the generator".into(),
            problems,
            hint: None,
        })
    }
}

/// The mean style over seeded z, in batches that keep memory small.
fn estimate_latent_avg(mapping: &Mapping, z_dim: i64, kind: Kind, device: Device) -> Tensor {
    let z = rng::stream(0, 0, "latent_avg").normal(&[LATENT_AVG_SAMPLES, z_dim], kind, device);
    tch::no_grad(|| mapping.forward(&z).mean_dim([0i64].as_slice(), false, kind))
}

/// Whether a stored filter is `[1, 3, 3, 1] ⊗ [1, 3, 3, 1] / 16`, the usual one with gain 4.
pub fn is_usual_filter(kernel: &Tensor) -> bool {
    let usual = ops::usual_filter().to_kind(Kind::Double);
    kernel.size() == [4, 4]
        && (kernel.to_device(Device::Cpu).to_kind(Kind::Double) - usual)
            .abs()
            .max()
            .double_value(&[])
            < 1e-3
}
