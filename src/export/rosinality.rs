//! A generator as rosinality's code, and the original StyleGAN-NADA, read it: a strict state dictionary.

use crate::rng;
use crate::stylegan2::{Config, is_usual_filter, ops};
use crate::torch::TensorMap;
use tch::{Device, Kind, Tensor};

/// What a state dictionary has and the source had not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Added {
    /// Noise maps: those that `nada` makes images with where a file has none.
    pub noises: usize,
    /// Filter kernels, which are the same in every generator.
    pub kernels: usize,
}

/// The state dictionary of `tensors`, complete: noise maps and filter kernels that are missing are added, `latent_avg`
/// is given apart. Rosinality loads it with `strict=True`.
pub fn state_dict(config: &Config, mut tensors: TensorMap) -> (TensorMap, Option<Tensor>, Added) {
    let mut added = Added::default();
    let latent_avg = tensors.remove("latent_avg");
    let kind = tensors["input.input"].kind();
    for (name, shape) in config.optional_shapes() {
        if name == "latent_avg" || tensors.contains_key(&name) {
            continue;
        }
        let tensor = match name.strip_prefix("noises.noise_").map(str::parse::<u64>) {
            Some(Ok(i)) => {
                added.noises += 1;
                rng::stream(0, i, "noise buffer").normal(&shape, Kind::Float, Device::Cpu)
            }
            _ => {
                added.kernels += 1;
                ops::usual_filter()
            }
        };
        tensors.insert(name, tensor.to_kind(kind));
    }
    (tensors, latent_avg, added)
}

/// Without the filter kernels that say nothing that is not known.
pub fn without_kernels(mut tensors: TensorMap) -> TensorMap {
    tensors.retain(|name, tensor| !(name.ends_with(".kernel") && is_usual_filter(tensor)));
    tensors
}
