//! The synthesis network: style codes → image, through skip connections of RGB images.

use super::config::Config;
use super::layer::LayerId;
use super::ops;
use crate::torch::TensorMap;
use tch::{Device, Kind, Tensor};

/// The per-channel style codes (StyleSpace, "S") of every styled layer, in the order of synthesis.
#[derive(Debug)]
pub struct StyleCodes(pub Vec<(LayerId, Tensor)>);

impl StyleCodes {
    /// The code of one layer, `[N, C_in]`.
    pub fn get(&self, layer: LayerId) -> Option<&Tensor> {
        self.0.iter().find(|(id, _)| *id == layer).map(|(_, code)| code)
    }

    /// Replaces the code of one layer; `false` when there is no such layer.
    pub fn set(&mut self, layer: LayerId, code: Tensor) -> bool {
        match self.0.iter_mut().find(|(id, _)| *id == layer) {
            Some(entry) => {
                entry.1 = code;
                true
            }
            None => false,
        }
    }
}

/// Which noise maps are added behind the convolutions.
#[derive(Debug, Clone, Copy)]
pub enum Noise<'a> {
    /// The buffers stored in the checkpoint: the same image each time.
    Stored,
    /// None at all.
    None,
    /// One map `[1 or N, 1, H, W]` per convolution, as `Generator::random_noise` draws them.
    Maps(&'a [Tensor]),
}

/// Sees every intermediate result under the name of its layer; made only when somebody looks.
pub type Tap<'a> = Option<&'a mut dyn FnMut(&str, &Tensor)>;

fn show(tap: &mut Tap<'_>, name: impl FnOnce() -> String, value: impl FnOnce() -> Tensor) {
    if let Some(tap) = tap {
        tap(&name(), &value());
    }
}

/// A layer whose convolution is modulated by a style: `StyledConv` and `ToRGB` of the originals.
#[derive(Debug)]
struct StyledLayer {
    id: LayerId,
    weight: Tensor, // [1, O, I, k, k], without its equalised learning rate
    affine_weight: Tensor,
    affine_bias: Tensor,
    bias: Tensor,                   // [O], or [1, O, 1, 1] of a ToRGB
    noise_strength: Option<Tensor>, // [1]; a ToRGB has none
    lr_scale: f64,                  // 1/√(I·k²)
    energy: Option<Tensor>,         // [O, I], where the weights are known not to change
    clamp: Option<f64>,             // what it puts out stays within ±this
    filter: Option<Tensor>,         // [e, e], where it is not StyleGAN2's own
}

impl StyledLayer {
    fn new(id: LayerId, params: &TensorMap, clamp: Option<f64>, filter: Option<Tensor>) -> Self {
        let tensor = |leaf: &str| params[&format!("{id}.{leaf}")].shallow_clone();
        let weight = tensor("conv.weight");
        let fan_in: i64 = weight.size()[2..].iter().product();
        Self {
            id,
            affine_weight: tensor("conv.modulation.weight"),
            affine_bias: tensor("conv.modulation.bias"),
            bias: tensor(if id.is_to_rgb() { "bias" } else { "activate.bias" }),
            noise_strength: (!id.is_to_rgb()).then(|| tensor("noise.weight")),
            lr_scale: 1.0 / (fan_in as f64).sqrt(),
            energy: None,
            clamp,
            filter,
            weight,
        }
    }

    /// The same layer as long as the weights stay what they are: see [`Synthesis::fixed`].
    fn fixed(&self) -> Self {
        let share = |t: &Tensor| t.detach();
        let weight = self.weight.detach();
        let plane = weight.squeeze_dim(0);
        // Transposed convolutions read the weights with inputs and outputs exchanged.
        let ordered = if self.is_up() {
            ops::channels_last(&plane.transpose(0, 1)).transpose(0, 1)
        } else {
            ops::channels_last(&plane)
        };
        Self {
            id: self.id,
            affine_weight: share(&self.affine_weight),
            affine_bias: share(&self.affine_bias),
            bias: share(&self.bias),
            noise_strength: self.noise_strength.as_ref().map(share),
            lr_scale: self.lr_scale,
            energy: (!self.id.is_to_rgb()).then(|| ops::energy(&plane)),
            weight: ordered.unsqueeze(0),
            clamp: self.clamp,
            filter: self.filter.as_ref().map(share),
        }
    }

    /// NVIDIA's `conv_clamp`, which kept half precision from overflowing and is part of the network since.
    fn clamped(&self, x: Tensor) -> Tensor {
        match self.clamp {
            Some(bound) => x.clamp(-bound, bound),
            None => x,
        }
    }

    fn is_up(&self) -> bool {
        matches!(self.id, LayerId::Conv(i) if i % 2 == 0)
    }

    /// w `[N, D]` → style code `[N, I]`.
    fn style(&self, w: &Tensor) -> Tensor {
        ops::equal_linear(w, &self.affine_weight, &self.affine_bias, 1.0)
    }

    /// Modulated convolution, noise, bias and activation.
    fn conv(
        &self,
        x: &Tensor,
        style: &Tensor,
        noise: Option<&Tensor>,
        tap: &mut Tap<'_>,
    ) -> Tensor {
        let weight = self.weight.squeeze_dim(0);
        // The equalised learning rate goes into the small style instead of the large weights.
        let style = style * self.lr_scale;
        let y = match &self.filter {
            _ if !self.is_up() => ops::modulated_conv2d(x, &weight, &style),
            None => ops::modulated_conv2d_up(x, &weight, &style),
            Some(filter) => {
                ops::blur_with(&ops::modulated_conv2d_doubled(x, &weight, &style), filter)
            }
        };
        let demodulation = match &self.energy {
            Some(energy) => ops::demodulation_of(energy, &style),
            None => ops::demodulation(&weight, &style),
        };
        show(tap, || format!("{}.conv", self.id), || ops::scale_channels(&y, &demodulation));
        let noise = noise.zip(self.noise_strength.as_ref());
        self.clamped(ops::styled_tail(&y, &demodulation, noise, &self.bias))
    }

    /// Features → colours: 1×1, not demodulated.
    fn rgb(&self, x: &Tensor, style: &Tensor, tap: &mut Tap<'_>) -> Tensor {
        let y = ops::modulated_rgb(x, &self.weight.squeeze_dim(0), &(style * self.lr_scale));
        show(tap, || format!("{}.conv", self.id), || y.shallow_clone());
        self.clamped(y + &self.bias)
    }

    /// The picture so far at twice its size.
    fn enlarged(&self, image: &Tensor) -> Tensor {
        match &self.filter {
            None => ops::upsample_rgb(image),
            Some(filter) => ops::upsample_rgb_with(image, filter),
        }
    }
}

/// Style codes → image.
#[derive(Debug)]
pub struct Synthesis {
    constant: Tensor, // [1, C, 4, 4] as a rule
    layers: Vec<StyledLayer>,
    noises: Vec<Tensor>,
    channels_last: bool,
}

impl Synthesis {
    /// Takes its layers out of `params`, which were checked against `config`; `noises` are the stored maps, `filters`
    /// those that are not the usual one, by the names that they are stored under.
    pub(super) fn new(
        config: &Config,
        params: &TensorMap,
        noises: Vec<Tensor>,
        filters: &TensorMap,
    ) -> Self {
        let filter = |layer: LayerId| {
            filters.iter().find(|(name, _)| layer.owns(name)).map(|(_, f)| ops::even_filter(f))
        };
        let layers = config
            .layers()
            .into_iter()
            .filter(|l| l.style_index().is_some())
            .map(|l| StyledLayer::new(l, params, config.conv_clamp, filter(l)));
        Self {
            constant: params["input.input"].shallow_clone(),
            layers: layers.collect(),
            noises,
            channels_last: false,
        }
    }

    /// The same network at its fastest as long as no weight changes: convolution weights are copied into the order
    /// that suits them, what depends on weights alone is computed once, and no gradient reaches a parameter.
    ///
    /// In float32 on a CPU the features have their channels side by side. One thread, batch 2, config-f from 16 px:
    /// forward and gradient of the features become 1.0 to 1.4 times as fast in plain convolutions and 1.1 to 1.8
    /// times in transposed ones; the gradient of the weights, not wanted here, would become up to 4 times slower in
    /// the latter. The images are the same up to rounding.
    pub fn fixed(&self) -> Self {
        let channels_last =
            self.constant.kind() == Kind::Float && self.constant.device() == Device::Cpu;
        tch::no_grad(|| Self {
            constant: self.constant.detach(),
            layers: self.layers.iter().map(StyledLayer::fixed).collect(),
            noises: self.noises.iter().map(Tensor::shallow_clone).collect(),
            channels_last,
        })
    }

    /// W+ `[N, L, D]` → the style code of every layer, routed as in reference §3.1.
    pub fn styles(&self, w_plus: &Tensor) -> StyleCodes {
        let code = |layer: &StyledLayer| {
            let index = layer.id.style_index().expect("only styled layers are kept here");
            (layer.id, layer.style(&w_plus.select(1, index)))
        };
        StyleCodes(self.layers.iter().map(code).collect())
    }

    /// # Shapes
    /// `w_plus: [N, L, D]` → image `[N, 3, H, W]` (1 channel of grey ones, 4 with opacity), nominally in [-1, 1], never clamped.
    pub fn forward(&self, w_plus: &Tensor, noise: Noise<'_>) -> Tensor {
        self.forward_styles(&self.styles(w_plus), noise, None)
    }

    /// From style codes (StyleSpace) to an image; `tap` sees the output of every layer.
    pub fn forward_styles(&self, codes: &StyleCodes, noise: Noise<'_>, mut tap: Tap<'_>) -> Tensor {
        let mut way = self.begin(codes.0[0].1.size()[0]);
        show(&mut tap, || "input".into(), || way.features.shallow_clone());
        for (_, style) in &codes.0 {
            self.advance(&mut way, style, noise, &mut tap);
        }
        way.image.expect("a generator has at least one ToRGB")
    }

    /// What there is before layer `layer` (in the order of [`StyleCodes`]) runs, for many continuations from there.
    pub fn partway(&self, codes: &StyleCodes, layer: usize, noise: Noise<'_>) -> Partway {
        let mut way = self.begin(codes.0[0].1.size()[0]);
        for (_, style) in &codes.0[..layer] {
            self.advance(&mut way, style, noise, &mut None);
        }
        way
    }

    /// Goes on from [`Synthesis::partway`] with the style codes of the remaining layers, `[N, C]` each, to the image.
    ///
    /// # Panics
    /// When `rest` has more or fewer codes than layers remain.
    pub fn resume(&self, mut way: Partway, rest: &[Tensor], noise: Noise<'_>) -> Tensor {
        assert_eq!(way.layer + rest.len(), self.layers.len(), "a code for each remaining layer");
        for style in rest {
            self.advance(&mut way, style, noise, &mut None);
        }
        way.image.expect("a generator has at least one ToRGB")
    }

    fn begin(&self, batch: i64) -> Partway {
        let mut features = self.constant.expand([batch, -1, -1, -1], false);
        if self.channels_last {
            features = ops::channels_last(&features);
        }
        Partway { layer: 0, noise: 0, features, image: None }
    }

    /// Runs the next layer.
    fn advance(&self, way: &mut Partway, style: &Tensor, noise: Noise<'_>, tap: &mut Tap<'_>) {
        let layer = &self.layers[way.layer];
        way.layer += 1;
        if layer.id.is_to_rgb() {
            let rgb = layer.rgb(&way.features, style, tap);
            let sum = match way.image.take() {
                Some(smaller) => layer.enlarged(&smaller) + rgb,
                None => rgb,
            };
            show(tap, || layer.id.to_string(), || sum.shallow_clone());
            way.image = Some(sum);
        } else {
            let map = match noise {
                Noise::Stored => self.noises.get(way.noise),
                Noise::Maps(maps) => maps.get(way.noise),
                Noise::None => None,
            };
            way.noise += 1;
            way.features = layer.conv(&way.features, style, map, tap);
            show(tap, || layer.id.to_string(), || way.features.shallow_clone());
        }
    }
}

/// How far a pass through the network has come.
#[derive(Debug)]
pub struct Partway {
    layer: usize,
    noise: usize,
    features: Tensor,      // [N, C, H, W]
    image: Option<Tensor>, // [N, 3, H, W] so far
}

impl Partway {
    /// Every row `times` times, one after the other (A A B B …).
    pub fn repeated(&self, times: i64) -> Self {
        let repeat = |t: &Tensor| t.repeat_interleave_self_int(times, 0, None);
        Self {
            layer: self.layer,
            noise: self.noise,
            features: repeat(&self.features),
            image: self.image.as_ref().map(repeat),
        }
    }
}
