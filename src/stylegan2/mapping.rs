//! The mapping network: z (and a class) → w, eight (or however many) fully connected layers behind a PixelNorm.

use super::config::Config;
use super::ops::{equal_linear, pixel_norm, scaled_leaky_relu};
use crate::torch::TensorMap;
use tch::Tensor;

/// Learning-rate multiplier of the mapping network; its weights are stored divided by it.
const LR_MUL: f64 = 0.01;

/// z → w. Weights are `style.1` … `style.N` (`style.0` is the PixelNorm, which has none).
#[derive(Debug)]
pub struct Mapping {
    layers: Vec<(Tensor, Tensor)>,
    /// `[1, E]`: what stands behind every z, for the class that was chosen.
    class: Option<Tensor>,
}

impl Mapping {
    /// Takes its layers out of `params`, which were checked against the configuration.
    pub(super) fn new(params: &TensorMap, config: &Config, class: Option<Tensor>) -> Self {
        let layers = (1..=config.mapping_layers)
            .map(|i| {
                let tensor = |leaf: &str| params[&format!("style.{i}.{leaf}")].shallow_clone();
                (tensor("weight"), tensor("bias"))
            })
            .collect();
        Self { layers, class }
    }

    /// What stands behind every z for the class that was chosen, `[1, E]`.
    pub fn class(&self) -> Option<&Tensor> {
        self.class.as_ref()
    }

    /// # Shapes
    /// `z: [N, Dz]` → `[N, D]`.
    pub fn forward(&self, z: &Tensor) -> Tensor {
        let z = pixel_norm(z);
        let input = match &self.class {
            Some(class) => Tensor::cat(&[&z, &class.expand([z.size()[0], -1], false)], 1),
            None => z,
        };
        self.layers.iter().fold(input, |x, (weight, bias)| {
            scaled_leaky_relu(&equal_linear(&x, weight, bias, LR_MUL))
        })
    }
}

/// The embedding of one class as the mapping network takes it: normalised, `[1, E]`.
///
/// # Shapes
/// `weight: [E, C]`, `bias: [E]`, `class` below C.
pub(super) fn embedded(weight: &Tensor, bias: &Tensor, class: i64) -> Tensor {
    let scale = 1.0 / (weight.size()[1] as f64).sqrt();
    // A linear layer on a vector with a single 1 takes one column.
    pixel_norm(&(weight.select(1, class) * scale + bias).unsqueeze(0))
}
