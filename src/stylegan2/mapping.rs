//! The mapping network: z → w, eight (or however many) fully connected layers behind a PixelNorm.

use super::ops::{equal_linear, pixel_norm, scaled_leaky_relu};
use crate::torch::TensorMap;
use tch::Tensor;

/// Learning-rate multiplier of the mapping network; its weights are stored divided by it.
const LR_MUL: f64 = 0.01;

/// z → w. Weights are `style.1` … `style.N` (`style.0` is the PixelNorm, which has none).
#[derive(Debug)]
pub struct Mapping {
    layers: Vec<(Tensor, Tensor)>,
}

impl Mapping {
    /// Takes `num_layers` layers out of `params`, which were checked against the configuration.
    pub(super) fn new(params: &TensorMap, num_layers: usize) -> Self {
        let layers = (1..=num_layers)
            .map(|i| {
                let tensor = |leaf: &str| params[&format!("style.{i}.{leaf}")].shallow_clone();
                (tensor("weight"), tensor("bias"))
            })
            .collect();
        Self { layers }
    }

    /// # Shapes
    /// `z: [N, Dz]` → `[N, D]`.
    pub fn forward(&self, z: &Tensor) -> Tensor {
        self.layers.iter().fold(pixel_norm(z), |x, (weight, bias)| {
            scaled_leaky_relu(&equal_linear(&x, weight, bias, LR_MUL))
        })
    }
}
