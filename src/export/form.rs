//! The generator in the form that is exported: ordinary layers with weights that the whole batch shares, every constant
//! factor worked into them.
//!
//! A modulated convolution becomes `conv(x · style, W) · demodulation`: no batch size and no weight per sample is left
//! in it, so that any runtime with plain convolutions computes it for any number of images.

use crate::stylegan2::{Generator, LayerId, ops};
use crate::torch::TensorMap;
use std::f64::consts::SQRT_2;
use tch::{Device, Kind, Tensor};

/// Which noise an exported network adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormNoise {
    /// The maps of the checkpoint.
    Stored,
    /// None.
    None,
}

/// A generator ready to be written as a graph. Everything is float32 on the CPU.
#[derive(Debug)]
pub struct Form {
    /// Channels, height and width of the images.
    pub image: [i64; 3],
    /// Width of z.
    pub z_dim: i64,
    /// Width D of the styles.
    pub style_dim: i64,
    /// Number L of style inputs.
    pub num_styles: i64,
    /// The mapping network behind its PixelNorm: `[out, in]` and `[out]`, each followed by a leaky ReLU. The class of a
    /// conditional generator is worked into the first.
    pub mapping: Vec<(Tensor, Tensor)>,
    /// The average style, `[D]`.
    pub latent_avg: Tensor,
    /// `[1, C, 4, 4]` as a rule.
    pub constant: Tensor,
    /// In the order of synthesis.
    pub layers: Vec<FormLayer>,
    /// What every layer puts out stays within ± this.
    pub clamp: Option<f64>,
}

/// A styled layer.
#[derive(Debug)]
pub struct FormLayer {
    /// `convs_0`: the layer's name where dots are not allowed.
    pub name: String,
    /// Which of the L styles drives it.
    pub style: i64,
    /// Style to scale of the input channels: `[I, D]`.
    pub affine_weight: Tensor,
    /// `[I]`.
    pub affine_bias: Tensor,
    /// What it does with the scaled input.
    pub step: Step,
    /// The low-pass filter of its doubling with a gain of 4, `[e, e]` with an even e, as a correlation for a
    /// convolution, as stored for a ToRGB.
    filter: Tensor,
    /// `[1, O, 1, 1]`; √2 of the activation is in it.
    pub bias: Tensor,
}

/// What a layer does with its scaled input.
#[derive(Debug)]
pub enum Step {
    /// A 3×3 convolution, demodulated, with a leaky ReLU.
    Conv {
        /// `[O, I, 3, 3]`, or `[I, O, 3, 3]` for the transposed convolution of `up`.
        weight: Tensor,
        /// Σ W² over the taps, `[O, I]`: demodulation is `√2 / √(energy · style² + 1e-8)`.
        energy: Tensor,
        /// `[1, 1, H, W]` times its strength and √2.
        noise: Option<Tensor>,
        /// Doubles the resolution: transposed convolution of stride 2, then the filter.
        up: bool,
    },
    /// A 1×1 convolution to colours, added to the enlarged picture so far.
    Rgb {
        /// `[C, I, 1, 1]`.
        weight: Tensor,
    },
}

impl Form {
    /// The form of a generator.
    pub fn of(generator: &Generator, noise: FormNoise) -> Self {
        let ready = |t: &Tensor| t.detach().to_device(Device::Cpu).to_kind(Kind::Float);
        let tensors: TensorMap =
            generator.tensors().iter().map(|(name, t)| (name.clone(), ready(t))).collect();
        let config = generator.config();
        // As `Mapping`: the learning rate's multiplier is 0.01, the gain √2.
        let mapping = (1..=config.mapping_layers).map(|i| {
            let weight = &tensors[&format!("style.{i}.weight")];
            let scale = 0.01 * SQRT_2 / (weight.size()[1] as f64).sqrt();
            let (weight, bias) =
                (weight * scale, &tensors[&format!("style.{i}.bias")] * (0.01 * SQRT_2));
            match generator.mapping().class().filter(|_| i == 1) {
                // What stands behind every z is the same for all of them: a part of the bias.
                Some(class) => {
                    let behind = weight.narrow(1, config.z_dim, class.size()[1]);
                    let bias = bias + behind.matmul(&ready(class).squeeze_dim(0));
                    (weight.narrow(1, 0, config.z_dim).contiguous(), bias)
                }
                None => (weight, bias),
            }
        });
        let mut noises = 0..;
        let layers = config.layers().into_iter().filter_map(|id| {
            let style = id.style_index()?;
            let map = id.is_conv().then(|| noises.next()).flatten();
            let map = map.filter(|_| noise == FormNoise::Stored);
            let map = map.map(|i: usize| &tensors[&format!("noises.noise_{i}")]);
            Some(FormLayer::new(id, style, &tensors, map))
        });
        let [height, width] = config.image_size();
        Self {
            image: [config.image_channels, height, width],
            z_dim: config.z_dim,
            style_dim: config.style_dim,
            num_styles: config.num_styles(),
            mapping: mapping.collect(),
            layers: layers.collect(),
            latent_avg: tensors["latent_avg"].shallow_clone(),
            constant: tensors["input.input"].shallow_clone(),
            clamp: config.conv_clamp,
        }
    }
}

impl FormLayer {
    fn new(id: LayerId, style: i64, tensors: &TensorMap, noise: Option<&Tensor>) -> Self {
        let own = |leaf: &str| &tensors[&format!("{id}.{leaf}")];
        let affine = own("conv.modulation.weight");
        let affine_scale = 1.0 / (affine.size()[1] as f64).sqrt();
        let weight = own("conv.weight").squeeze_dim(0);
        let fan_in: i64 = weight.size()[1..].iter().product();
        let weight = weight / (fan_in as f64).sqrt();
        let mut filter = filter(id, tensors);
        let (step, bias) = if id.is_to_rgb() {
            (Step::Rgb { weight }, own("bias").shallow_clone())
        } else {
            let up = matches!(id, LayerId::Conv(i) if i % 2 == 0);
            let energy = ops::energy(&weight);
            filter = filter.flip([0, 1]);
            let weight = if up { weight.transpose(0, 1).contiguous() } else { weight };
            let noise = noise.map(|map| map * own("noise.weight") * SQRT_2);
            (
                Step::Conv { weight, energy, noise, up },
                own("activate.bias").reshape([1, -1, 1, 1]) * SQRT_2,
            )
        };
        Self {
            name: id.to_string().replace('.', "_"),
            style,
            affine_weight: affine * affine_scale,
            affine_bias: own("conv.modulation.bias").shallow_clone(),
            step,
            bias,
            filter,
        }
    }

    /// The filter for a convolution that treats each of the layer's channels by itself: `[C, 1, e, e]`.
    pub fn kernel(&self) -> Tensor {
        let side = self.filter.size()[0];
        self.filter.expand([self.channels(), 1, side, side], false).contiguous()
    }

    /// The padding that belongs to [`FormLayer::kernel`].
    pub fn kernel_padding(&self) -> i64 {
        ops::filter_padding(&self.filter)
    }

    /// Channels that come out.
    pub fn channels(&self) -> i64 {
        self.bias.size()[1]
    }
}

/// The filter that a layer doubles with: its own, if its file has an unusual one.
fn filter(id: LayerId, tensors: &TensorMap) -> Tensor {
    let own = tensors.iter().find(|(name, _)| id.owns(name) && name.ends_with(".kernel"));
    own.map_or_else(ops::usual_filter, |(_, filter)| ops::even_filter(filter))
}
