//! The text tower: a causal transformer that is read out at the end-of-text token.

use super::config::TextConfig;
use super::parameters::Parameters;
use super::traits::Activation;
use super::transformer::{LayerNorm, Sizes, Transformer};
use tch::{Kind, Tensor};

/// Encodes token ids.
#[derive(Debug)]
pub struct TextTower {
    token_embedding: Tensor,      // [V, C]
    positional_embedding: Tensor, // [T, C]
    transformer: Transformer,
    ln_final: LayerNorm,
    text_projection: Tensor, // [C, E]
}

impl TextTower {
    pub(super) fn new(p: &mut Parameters, config: &TextConfig, activation: Activation) -> Self {
        let TextConfig { width, layers, heads, .. } = *config;
        let sizes = Sizes { width, heads, activation };
        Self {
            token_embedding: p.take("token_embedding.weight"),
            positional_embedding: p.take("positional_embedding"),
            transformer: Transformer::new(p, "", sizes, layers),
            ln_final: LayerNorm::new(p, "ln_final"),
            text_projection: p.take("text_projection"),
        }
    }

    /// Features of texts, not normalised: `tokens` [N, T] to [N, E].
    ///
    /// A text ends at its largest id (end-of-text is the last of the vocabulary). No token sees a later one, so
    /// the columns after the last end of the batch are left out: short phrases cost a fraction of 77 tokens.
    ///
    /// # Panics
    /// When an id is not in the vocabulary, or T is larger than the context.
    pub fn forward(&self, tokens: &Tensor) -> Tensor {
        let tokens = tokens.to_device(self.token_embedding.device()).to_kind(Kind::Int64);
        let ends = tokens.argmax(-1, false); // [N]
        let length = ends.max().int64_value(&[]) + 1;
        let hidden = self.hidden(&tokens.narrow(1, 0, length));
        let width = hidden.size()[2];
        let places = ends.view([-1, 1, 1]).expand([-1, 1, width], false);
        let read = hidden.gather(1, &places, false).squeeze_dim(1); // [N, C]
        self.ln_final.forward(&read).matmul(&self.text_projection)
    }

    /// What the transformer makes of every token, before the last norm: `tokens` [N, T] (int64, on the
    /// tower's device) to [N, T, C].
    ///
    /// # Panics
    /// As [`TextTower::forward`].
    pub fn hidden(&self, tokens: &Tensor) -> Tensor {
        let (length, context) = (tokens.size()[1], self.positional_embedding.size()[0]);
        assert!(length <= context, "{length} tokens do not fit a context of {context}");
        let xs = Tensor::embedding(&self.token_embedding, tokens, -1, false, false);
        self.transformer.forward(&(xs + self.positional_embedding.narrow(0, 0, length)), true)
    }
}
