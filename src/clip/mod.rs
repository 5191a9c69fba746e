//! CLIP, the judge: images and phrases into one space, where their angle says how well they agree.
//!
//! Takes tensors under OpenAI's names from wherever they come, infers every size from their shapes, and computes
//! with frozen weights: gradients reach images, never parameters. Both published families are here, vision
//! transformers and ModifiedResNets, of any size.
//!
//! ```no_run
//! use nada::clip::{Clip, Config, Preprocess, Resize, normalise};
//! # fn run(tensors: nada::torch::TensorMap, images: tch::Tensor, tokens: tch::Tensor) -> nada::Result<()> {
//! let clip = Clip::new(Config::infer(&nada::torch::shapes(&tensors))?, tensors)?;
//! let preprocess = Preprocess::new(clip.resolution(), Resize::Antialias);
//! let images = normalise(&clip.encode_image(&preprocess.apply(&images))); // [N, E]
//! let texts = normalise(&clip.encode_text(&tokens)); // [K, E]
//! let logits = images.matmul(&texts.tr()) * clip.logit_scale(); // [N, K]
//! # Ok(())
//! # }
//! ```

pub mod clean;
pub mod config;
mod html;
mod parameters;
pub mod preprocess;
pub mod resnet;
mod shapes;
pub mod templates;
pub mod text;
pub mod tokenizer;
pub mod traits;
mod transformer;
pub mod vision;
pub mod vocabulary;

pub use config::{Config, VisionConfig};
pub use preprocess::{Preprocess, Resize};
pub use traits::{Activation, Traits};
pub use vocabulary::Vocabulary;

use crate::error::Result;
use crate::torch::TensorMap;
use crate::torch::threads::Tensors;
use parameters::Parameters;
use tch::{Device, Kind, Tensor};

/// An image tower of either family.
#[derive(Debug)]
pub enum Vision {
    /// A vision transformer.
    Vit(vision::VisionTransformer),
    /// A convolutional tower.
    ResNet(resnet::ModifiedResNet),
}

/// A frozen CLIP.
#[derive(Debug)]
pub struct Clip {
    config: Config,
    kind: Kind,
    device: Device,
    vision: Vision,
    text: Option<text::TextTower>,
    logit_scale: f64,
    vocabulary: Option<Vocabulary>,
}

// SAFETY: tensors and plain data.
#[allow(unsafe_code)]
unsafe impl Tensors for Clip {}

impl Clip {
    /// Builds the model of `config` from `tensors`, all of one floating-point kind and on one device
    /// ([`crate::torch::copy_map`]), in which it then computes. Tensors beyond [`Config::shapes`] are not looked at.
    ///
    /// # Errors
    /// [`crate::Error::Tensors`] with all tensors that are missing or do not fit.
    pub fn new(config: Config, tensors: TensorMap) -> Result<Self> {
        let mut p = Parameters::new(&config.shapes(), tensors)?;
        let vision = match &config.vision {
            VisionConfig::Vit(vit) => {
                Vision::Vit(vision::VisionTransformer::new(&mut p, vit, config.activation))
            }
            VisionConfig::ResNet(resnet) => {
                Vision::ResNet(resnet::ModifiedResNet::new(&mut p, resnet))
            }
        };
        let text = Some(text::TextTower::new(&mut p, &config.text, config.activation));
        let logit_scale = p.take("logit_scale").double_value(&[]).exp();
        let (kind, device) = (p.kind, p.device);
        Ok(Self { config, kind, device, vision, text, logit_scale, vocabulary: None })
    }

    /// Features of images, not normalised: `images` [N, 3, R, R] as [`Preprocess`] leaves them, to [N, E].
    ///
    /// Images of another kind are cast. Differentiable in the images.
    ///
    /// # Panics
    /// When the images are not of [`Clip::resolution`] or on another device.
    pub fn encode_image(&self, images: &Tensor) -> Tensor {
        let (size, r) = (images.size(), self.resolution());
        assert!(
            size.len() == 4 && size[1..] == [3, r, r],
            "images of shape {size:?}, expected [N, 3, {r}, {r}]"
        );
        let images = images.to_kind(self.kind);
        match &self.vision {
            Vision::Vit(vit) => vit.forward(&images),
            Vision::ResNet(resnet) => resnet.forward(&images),
        }
    }

    /// Features of texts, not normalised: token ids [N, T] (int64) to [N, E].
    ///
    /// No parameter learns, so nothing is kept for a backward pass, with or without `no_grad`.
    ///
    /// # Panics
    /// When an id is not in the vocabulary, T is larger than the context, or the text tower was dropped.
    pub fn encode_text(&self, tokens: &Tensor) -> Tensor {
        self.text().expect("the text tower was dropped by without_text").forward(tokens)
    }

    /// Drops the text tower: once the texts are encoded, its memory can go (150 MB of ViT-B/32).
    #[must_use]
    pub fn without_text(self) -> Self {
        Self { text: None, ..self }
    }

    /// Remembers what it was trained on, in words: the tensors do not tell.
    #[must_use]
    pub fn with_vocabulary(self, vocabulary: Option<Vocabulary>) -> Self {
        Self { vocabulary, ..self }
    }

    /// What it was trained on, in words, where its file says so.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        self.vocabulary.as_ref()
    }

    /// The factor on cosines that makes logits of them, about 100.
    pub fn logit_scale(&self) -> f64 {
        self.logit_scale
    }

    /// Side of the images in pixels, R.
    pub fn resolution(&self) -> i64 {
        self.config.resolution()
    }

    /// Width of the features, E.
    pub fn embed_dim(&self) -> i64 {
        self.config.embed_dim
    }

    /// All sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The kind in which it computes.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The image tower, for what lies inside of it.
    pub fn vision(&self) -> &Vision {
        &self.vision
    }

    /// The text tower, if it is still there.
    pub fn text(&self) -> Option<&text::TextTower> {
        self.text.as_ref()
    }
}

/// Features of length 1: `[…, E]` to `[…, E]`.
pub fn normalise(features: &Tensor) -> Tensor {
    features / features.norm_scalaropt_dim(2, [-1], true)
}
