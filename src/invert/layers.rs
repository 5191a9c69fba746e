//! What encoders are made of: convolutions with a norm, and the bottleneck units of IR-SE50 and ResNet34.

use crate::torch::{ShapeMap, TensorMap};
use tch::Tensor;

/// Epsilon of every batch norm.
const EPS: f64 = 1e-5;

/// The tensors of a module by the rest of their names. Every name was checked against the configuration before.
#[derive(Clone)]
pub(super) struct Module<'a> {
    tensors: &'a TensorMap,
    prefix: String,
}

impl<'a> Module<'a> {
    pub(super) fn root(tensors: &'a TensorMap) -> Self {
        Self { tensors, prefix: String::new() }
    }

    pub(super) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { tensors: self.tensors, prefix: format!("{}{name}.", self.prefix) }
    }

    pub(super) fn get(&self, leaf: &str) -> Tensor {
        self.tensors[&format!("{}{leaf}", self.prefix)].shallow_clone()
    }
}

/// A batch norm with stored statistics: a factor and a summand per channel.
#[derive(Debug)]
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl Norm {
    pub(super) fn new(p: &Module<'_>) -> Self {
        Self {
            weight: p.get("weight"),
            bias: p.get("bias"),
            mean: p.get("running_mean"),
            variance: p.get("running_var"),
        }
    }

    pub(super) fn forward(&self, xs: &Tensor) -> Tensor {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        let (mean, variance) = (Some(&self.mean), Some(&self.variance));
        xs.batch_norm(weight, bias, mean, variance, false, 0.0, EPS, false)
    }

    /// The factor and the summand `[C]`.
    fn affine(&self) -> (Tensor, Tensor) {
        let factor = &self.weight / (&self.variance + EPS).sqrt();
        let summand = &self.bias - &self.mean * &factor;
        (factor, summand)
    }

    pub(super) fn shapes(all: &mut ShapeMap, name: &str, channels: i64) {
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            all.insert(format!("{name}.{leaf}"), vec![channels]);
        }
    }
}

/// A convolution without bias and the norm behind it, as one convolution.
#[derive(Debug)]
pub(super) struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
}

impl Conv {
    /// A 3×3 convolution alone (or of any odd size), padded so that a stride of 1 keeps the size.
    pub(super) fn plain(conv: &Module<'_>, stride: i64) -> Self {
        Self { weight: conv.get("weight"), bias: None, stride }
    }

    /// With a bias of its own.
    pub(super) fn biased(conv: &Module<'_>, stride: i64) -> Self {
        Self { weight: conv.get("weight"), bias: Some(conv.get("bias")), stride }
    }

    /// The norm's factor goes into the weights, its summand becomes the bias.
    pub(super) fn with_norm(conv: &Module<'_>, norm: &Module<'_>, stride: i64) -> Self {
        let (factor, summand) = Norm::new(norm).affine();
        let weight = conv.get("weight") * factor.view([-1, 1, 1, 1]);
        Self { weight, bias: Some(summand), stride }
    }

    pub(super) fn forward(&self, xs: &Tensor) -> Tensor {
        let pad = self.weight.size()[2] / 2;
        let stride = [self.stride, self.stride];
        xs.conv2d(&self.weight, self.bias.as_ref(), stride, [pad, pad], [1, 1], 1)
    }
}

/// Squeeze and excite: every channel by a factor that all of them decide.
#[derive(Debug)]
pub(super) struct Squeeze {
    fc1: Tensor,
    fc2: Tensor,
}

impl Squeeze {
    pub(super) fn new(p: &Module<'_>) -> Self {
        Self { fc1: p.get("fc1.weight"), fc2: p.get("fc2.weight") }
    }

    pub(super) fn forward(&self, xs: &Tensor) -> Tensor {
        let mean = xs.mean_dim([2i64, 3].as_slice(), true, xs.kind());
        let point = |xs: &Tensor, weight: &Tensor| {
            xs.conv2d(weight, None::<Tensor>, [1, 1], [0, 0], [1, 1], 1)
        };
        xs * point(&point(&mean, &self.fc1).relu(), &self.fc2).sigmoid()
    }
}
