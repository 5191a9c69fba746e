//! The vision transformer: an image as a sentence of patches, read out at a class token.

use super::config::VitConfig;
use super::parameters::Parameters;
use super::traits::Activation;
use super::transformer::{LayerNorm, Sizes, Transformer};
use tch::Tensor;

/// Encodes images with a transformer.
#[derive(Debug)]
pub struct VisionTransformer {
    patch: i64,
    conv1: Tensor,                // [C, 3·P·P]
    class_embedding: Tensor,      // [C]
    positional_embedding: Tensor, // [1 + patches, C]
    ln_pre: LayerNorm,
    transformer: Transformer,
    ln_post: LayerNorm,
    proj: Tensor, // [C, E]
}

impl VisionTransformer {
    pub(super) fn new(p: &mut Parameters, config: &VitConfig, activation: Activation) -> Self {
        let VitConfig { patch, width, layers, heads, .. } = *config;
        let sizes = Sizes { width, heads, activation };
        Self {
            patch,
            conv1: p.take("visual.conv1.weight").reshape([width, 3 * patch * patch]),
            class_embedding: p.take("visual.class_embedding"),
            positional_embedding: p.take("visual.positional_embedding"),
            ln_pre: LayerNorm::new(p, "visual.ln_pre"),
            transformer: Transformer::new(p, "visual.", sizes, layers),
            ln_post: LayerNorm::new(p, "visual.ln_post"),
            proj: p.take("visual.proj"),
        }
    }

    /// Features of normalised images, not normalised themselves: `images` [N, 3, R, R] to [N, E].
    ///
    /// # Panics
    /// When the images are not of the tower's resolution.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        let xs = self.ln_pre.forward(&self.embed(images));
        self.ln_post.forward(&self.transformer.forward_first(&xs)).matmul(&self.proj)
    }

    /// The patches in the middle of the tower, where places still mean places: normalised images `[N, 3, R, R]` to
    /// `[N, C, R/P, R/P]`.
    ///
    /// # Panics
    /// As [`VisionTransformer::forward`].
    pub fn middle(&self, images: &Tensor) -> Tensor {
        let xs = self.transformer.forward_half(&self.ln_pre.forward(&self.embed(images)));
        let (n, tokens, c) = xs.size3().expect("tokens have three dimensions");
        let rows = images.size()[2] / self.patch;
        xs.narrow(1, 1, tokens - 1).transpose(1, 2).reshape([n, c, rows, -1])
    }

    /// The patches after a quarter, a half and three quarters of the tower (fewer of a tower of few blocks), for
    /// comparing images place by place: normalised images `[N, 3, R, R]` to maps `[N, C, R/P, R/P]`.
    ///
    /// # Panics
    /// As [`VisionTransformer::forward`].
    pub fn maps(&self, images: &Tensor) -> Vec<Tensor> {
        let rows = images.size()[2] / self.patch;
        let levels = self.transformer.forward_quarters(&self.ln_pre.forward(&self.embed(images)));
        let map = |xs: Tensor| {
            let (n, tokens, c) = xs.size3().expect("tokens have three dimensions");
            xs.narrow(1, 1, tokens - 1).transpose(1, 2).reshape([n, c, rows, -1])
        };
        levels.into_iter().map(map).collect()
    }

    /// The class token and the patches, with their positions: `[N, 3, R, R]` to `[N, 1 + patches, C]`.
    ///
    /// A convolution whose stride is its size is one product of matrices; as such it is two to five times faster
    /// on a CPU, forward and backward (batch 8, 224 px: 22 ms to 108 ms at patch 32, 22 ms to 42 ms at patch 16).
    fn embed(&self, images: &Tensor) -> Tensor {
        let (n, p) = (images.size()[0], self.patch);
        let (rows, columns) = (images.size()[2] / p, images.size()[3] / p);
        let patches = images
            .reshape([n, 3, rows, p, columns, p])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([n, rows * columns, 3 * p * p])
            .linear(&self.conv1, None::<Tensor>);
        let class = self.class_embedding.expand([n, 1, -1], false);
        Tensor::cat(&[class, patches], 1) + &self.positional_embedding
    }
}
