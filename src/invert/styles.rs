//! From a feature map to one code: convolutions that halve it until one pixel is left, and a linear layer.

use super::config::{count, sizes};
use super::layers::{Conv, Module};
use crate::error::Result;
use crate::torch::ShapeMap;
use tch::Tensor;

/// Sizes of one gradual style block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StyleBlock {
    pub(super) inputs: i64,
    /// Channels between its convolutions: the width of a code in the originals, fewer in small encoders.
    pub(super) width: i64,
    /// Width of its code.
    pub(super) outputs: i64,
    /// How often it halves its input.
    pub(super) halvings: usize,
}

impl StyleBlock {
    pub(super) fn infer(shapes: &ShapeMap) -> Result<Vec<Self>> {
        let blocks = count(shapes, "styles")?;
        (0..blocks)
            .map(|i| {
                let [width, inputs, ..] =
                    sizes::<4>(shapes, &format!("styles.{i}.convs.0.weight"))?;
                let [outputs, _] = sizes::<2>(shapes, &format!("styles.{i}.linear.weight"))?;
                // Convolutions have even numbers, activations odd ones.
                let halvings = (0..16)
                    .take_while(|k| {
                        shapes.contains_key(&format!("styles.{i}.convs.{}.weight", 2 * k))
                    })
                    .count();
                Ok(Self { inputs, width, outputs, halvings })
            })
            .collect()
    }

    pub(super) fn add(&self, all: &mut ShapeMap, index: usize) {
        for k in 0..self.halvings {
            let from = if k == 0 { self.inputs } else { self.width };
            all.insert(
                format!("styles.{index}.convs.{}.weight", 2 * k),
                vec![self.width, from, 3, 3],
            );
            all.insert(format!("styles.{index}.convs.{}.bias", 2 * k), vec![self.width]);
        }
        all.insert(format!("styles.{index}.linear.weight"), vec![self.outputs, self.width]);
        all.insert(format!("styles.{index}.linear.bias"), vec![self.outputs]);
    }
}

/// One gradual style block.
#[derive(Debug)]
pub(super) struct Style {
    convs: Vec<Conv>,
    linear: Linear,
}

impl Style {
    pub(super) fn new(p: &Module<'_>, block: &StyleBlock) -> Self {
        let convs = p.at("convs");
        Self {
            convs: (0..block.halvings).map(|k| Conv::biased(&convs.at(2 * k), 2)).collect(),
            linear: Linear::new(&p.at("linear")),
        }
    }

    /// `[N, C, S, S]` to `[N, D]`.
    pub(super) fn forward(&self, xs: &Tensor) -> Tensor {
        let mut xs = xs.shallow_clone();
        for conv in &self.convs {
            // Leaky ReLU with torch's usual slope of 0.01.
            xs = conv.forward(&xs).leaky_relu();
        }
        self.linear.forward(&xs.flatten(1, -1))
    }
}

/// A linear layer with equalised learning rate: weights are stored as √I times what they are.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(p: &Module<'_>) -> Self {
        let weight = p.get("weight");
        let fan_in = weight.size()[1] as f64;
        Self { weight: weight / fan_in.sqrt(), bias: p.get("bias") }
    }

    pub(super) fn forward(&self, xs: &Tensor) -> Tensor {
        xs.linear(&self.weight, Some(&self.bias))
    }
}
