//! The convolutional image tower: OpenAI's ModifiedResNet.
//!
//! It differs from the usual ResNet in a stem of three convolutions, average pooling in place of strides, and a
//! pooling at the end in which the mean of the last map asks all its places (attention with one query).
//! Batch norm is that of evaluation, so it is folded into the convolution before it.

use super::config::{ResNetConfig, heads};
use super::parameters::Parameters;
use super::transformer::{Linear, attention};
use tch::{Kind, Tensor};

/// Epsilon of every batch norm.
const EPS: f64 = 1e-5;

/// Encodes images with convolutions.
#[derive(Debug)]
pub struct ModifiedResNet {
    stem: [Conv; 3],
    layers: Vec<Vec<Bottleneck>>,
    attnpool: AttentionPool,
}

impl ModifiedResNet {
    pub(super) fn new(p: &mut Parameters, config: &ResNetConfig) -> Self {
        let stem = [("1", 2), ("2", 1), ("3", 1)].map(|(i, stride)| {
            Conv::new(p, &format!("visual.conv{i}"), &format!("visual.bn{i}"), stride)
        });
        let layers = (1..).zip(config.blocks).map(|(layer, count)| {
            (0..count).map(|i| Bottleneck::new(p, layer, i)).collect::<Vec<_>>()
        });
        Self { stem, layers: layers.collect(), attnpool: AttentionPool::new(p) }
    }

    /// Features of normalised images, not normalised themselves: `images` [N, 3, R, R] to [N, E].
    ///
    /// # Panics
    /// When the images are not of the tower's resolution.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let xs = pool(&self.stem(images));
        let xs = self.layers.iter().flatten().fold(xs, |xs, block| block.forward(&xs));
        self.attnpool.forward(&xs)
    }

    /// The maps inside: the stem's before its pooling `[N, w, R/2, R/2]`, then those of the four stages
    /// `[N, 4w, R/4, R/4]` … `[N, 32w, R/32, R/32]`.
    pub fn stages(&self, images: &Tensor) -> Vec<Tensor> {
        let mut maps = vec![self.stem(images)];
        let mut xs = pool(&maps[0]);
        for layer in &self.layers {
            xs = layer.iter().fold(xs, |xs, block| block.forward(&xs));
            maps.push(xs.shallow_clone());
        }
        maps
    }

    fn stem(&self, images: &Tensor) -> Tensor {
        self.stem.iter().fold(channels_last(images), |xs, conv| conv.forward(&xs).relu_())
    }
}

/// The same numbers with the channels of a pixel side by side; all that follows keeps this order. It takes a tenth
/// off RN50 and a fifth off the small towers (CPU, forward and backward), and spares the pooling a copy.
fn channels_last(images: &Tensor) -> Tensor {
    images.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Halves both sides.
fn pool(xs: &Tensor) -> Tensor {
    xs.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
}

/// A convolution without bias and the batch norm after it, as one convolution with bias.
#[derive(Debug)]
struct Conv {
    weight: Tensor, // [O, I, k, k]
    bias: Tensor,   // [O]
    stride: i64,
    padding: i64,
}

impl Conv {
    /// Folded in float64: the only rounding is the last one.
    fn new(p: &mut Parameters, conv: &str, norm: &str, stride: i64) -> Self {
        let kind = p.kind;
        let mut take = |name: String| p.take(&name).to_kind(Kind::Double);
        let weight = take(format!("{conv}.weight"));
        let variance = take(format!("{norm}.running_var"));
        let scale = take(format!("{norm}.weight")) / (variance + EPS).sqrt();
        let bias = take(format!("{norm}.bias")) - take(format!("{norm}.running_mean")) * &scale;
        let weight = weight * scale.view([-1, 1, 1, 1]);
        let padding = weight.size()[2] / 2;
        Self { weight: weight.to_kind(kind), bias: bias.to_kind(kind), stride, padding }
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        xs.conv2d(&self.weight, Some(&self.bias), stride, padding, [1, 1], 1)
    }
}

/// Narrow, look around, widen; added to a shortcut.
#[derive(Debug)]
struct Bottleneck {
    conv1: Conv,
    conv2: Conv,
    conv3: Conv,
    /// The first block of a stage changes the number of channels.
    downsample: Option<Conv>,
    /// The first block of stages 2 to 4 halves the map.
    halves: bool,
}

impl Bottleneck {
    fn new(p: &mut Parameters, layer: usize, index: i64) -> Self {
        let name = format!("visual.layer{layer}.{index}");
        let mut conv = |conv: &str, norm: &str| {
            Conv::new(p, &format!("{name}.{conv}"), &format!("{name}.{norm}"), 1)
        };
        Self {
            conv1: conv("conv1", "bn1"),
            conv2: conv("conv2", "bn2"),
            conv3: conv("conv3", "bn3"),
            downsample: (index == 0).then(|| conv("downsample.0", "downsample.1")),
            halves: index == 0 && layer > 1,
        }
    }

    /// In place where the operation before does not need its output for the backward pass.
    fn forward(&self, xs: &Tensor) -> Tensor {
        let shrink = |xs: Tensor| if self.halves { pool(&xs) } else { xs };
        let inner = self.conv1.forward(xs).relu_();
        let inner = shrink(self.conv2.forward(&inner).relu_());
        let shortcut = match &self.downsample {
            Some(conv) => conv.forward(&shrink(xs.shallow_clone())),
            None => xs.shallow_clone(),
        };
        (self.conv3.forward(&inner).g_add_(&shortcut)).relu_()
    }
}

/// One query, the mean of the map, attends to the mean and every place.
#[derive(Debug)]
struct AttentionPool {
    positional_embedding: Tensor, // [1 + places, C]
    q_proj: Linear,
    kv_proj: Linear, // key and value in one product
    c_proj: Linear,
}

impl AttentionPool {
    fn new(p: &mut Parameters) -> Self {
        let [q_proj, k, v, c_proj] = ["q_proj", "k_proj", "v_proj", "c_proj"]
            .map(|name| Linear::new(p, &format!("visual.attnpool.{name}")));
        let kv_proj = Linear {
            weight: Tensor::cat(&[k.weight, v.weight], 0),
            bias: Tensor::cat(&[k.bias, v.bias], 0),
        };
        let positional_embedding = p.take("visual.attnpool.positional_embedding");
        Self { positional_embedding, q_proj, kv_proj, c_proj }
    }

    /// `[N, C, h, w]` to `[N, E]`.
    fn forward(&self, xs: &Tensor) -> Tensor {
        let places = xs.flatten(2, 3).transpose(1, 2); // [N, h·w, C]
        let mean = places.mean_dim(1, true, None::<Kind>);
        let tokens = Tensor::cat(&[mean, places], 1) + &self.positional_embedding;
        let kv = self.kv_proj.forward(&tokens).chunk(2, -1);
        let query = self.q_proj.forward(&tokens.narrow(1, 0, 1));
        let mixed = attention(&query, &kv[0], &kv[1], heads(query.size()[2]), false);
        self.c_proj.forward(&mixed).squeeze_dim(1)
    }
}
