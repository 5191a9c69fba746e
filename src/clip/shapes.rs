//! The tensors that a CLIP of given sizes is made of, under OpenAI's names.

use super::config::{Config, ResNetConfig, TextConfig, VisionConfig, VitConfig};
use crate::torch::ShapeMap;

impl Config {
    /// Every tensor that [`super::Clip::new`] needs.
    pub fn shapes(&self) -> ShapeMap {
        let mut all = Shapes::default();
        let TextConfig { context, vocab, width, layers, .. } = self.text;
        all.add("token_embedding.weight", [vocab, width]);
        all.add("positional_embedding", [context, width]);
        all.blocks("", width, layers);
        all.norm("ln_final", width);
        all.add("text_projection", [width, self.embed_dim]);
        all.add("logit_scale", []);
        match &self.vision {
            VisionConfig::Vit(vit) => all.vit(vit, self.embed_dim),
            VisionConfig::ResNet(resnet) => all.resnet(resnet, self.embed_dim),
        }
        all.0
    }

    /// Tensors that a file may hold beside [`Config::shapes`] and that no result depends on.
    pub fn optional_shapes(&self) -> ShapeMap {
        let mut all = Shapes::default();
        // Constants of OpenAI's TorchScript archives.
        for name in ["input_resolution", "context_length", "vocab_size"] {
            all.add(name, []);
        }
        if let VisionConfig::ResNet(_) = self.vision {
            for name in self.shapes().keys() {
                if let Some(norm) = name.strip_suffix(".running_mean") {
                    all.add(format!("{norm}.num_batches_tracked"), []);
                }
            }
        }
        all.0
    }
}

/// Shapes under construction.
#[derive(Default)]
struct Shapes(ShapeMap);

impl Shapes {
    fn add<const R: usize>(&mut self, name: impl Into<String>, shape: [i64; R]) {
        self.0.insert(name.into(), shape.to_vec());
    }

    fn linear(&mut self, name: &str, outputs: i64, inputs: i64) {
        self.add(format!("{name}.weight"), [outputs, inputs]);
        self.add(format!("{name}.bias"), [outputs]);
    }

    fn norm(&mut self, name: &str, width: i64) {
        self.add(format!("{name}.weight"), [width]);
        self.add(format!("{name}.bias"), [width]);
    }

    fn blocks(&mut self, prefix: &str, width: i64, layers: i64) {
        for i in 0..layers {
            let block = format!("{prefix}transformer.resblocks.{i}");
            self.norm(&format!("{block}.ln_1"), width);
            self.add(format!("{block}.attn.in_proj_weight"), [3 * width, width]);
            self.add(format!("{block}.attn.in_proj_bias"), [3 * width]);
            self.linear(&format!("{block}.attn.out_proj"), width, width);
            self.norm(&format!("{block}.ln_2"), width);
            self.linear(&format!("{block}.mlp.c_fc"), 4 * width, width);
            self.linear(&format!("{block}.mlp.c_proj"), width, 4 * width);
        }
    }

    fn vit(&mut self, config: &VitConfig, embed_dim: i64) {
        let VitConfig { resolution, patch, width, layers, .. } = *config;
        let grid = resolution / patch;
        self.add("visual.conv1.weight", [width, 3, patch, patch]);
        self.add("visual.class_embedding", [width]);
        self.add("visual.positional_embedding", [grid * grid + 1, width]);
        self.norm("visual.ln_pre", width);
        self.blocks("visual.", width, layers);
        self.norm("visual.ln_post", width);
        self.add("visual.proj", [width, embed_dim]);
    }

    fn resnet(&mut self, config: &ResNetConfig, embed_dim: i64) {
        let ResNetConfig { resolution, width, blocks } = *config;
        let half = width / 2;
        self.conv_norm("visual.", "conv1", "bn1", [half, 3, 3, 3]);
        self.conv_norm("visual.", "conv2", "bn2", [half, half, 3, 3]);
        self.conv_norm("visual.", "conv3", "bn3", [width, half, 3, 3]);
        let mut inputs = width;
        for (stage, count) in blocks.into_iter().enumerate() {
            let planes = width << stage;
            for i in 0..count {
                let block = format!("visual.layer{}.{i}.", stage + 1);
                self.conv_norm(&block, "conv1", "bn1", [planes, inputs, 1, 1]);
                self.conv_norm(&block, "conv2", "bn2", [planes, planes, 3, 3]);
                self.conv_norm(&block, "conv3", "bn3", [planes * 4, planes, 1, 1]);
                if i == 0 {
                    let shape = [planes * 4, inputs, 1, 1];
                    self.conv_norm(&block, "downsample.0", "downsample.1", shape);
                }
                inputs = planes * 4;
            }
        }
        let side = resolution / 32;
        self.add("visual.attnpool.positional_embedding", [side * side + 1, inputs]);
        for name in ["q_proj", "k_proj", "v_proj"] {
            self.linear(&format!("visual.attnpool.{name}"), inputs, inputs);
        }
        self.linear("visual.attnpool.c_proj", embed_dim, inputs);
    }

    fn conv_norm(&mut self, prefix: &str, conv: &str, norm: &str, shape: [i64; 4]) {
        self.add(format!("{prefix}{conv}.weight"), shape);
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            self.add(format!("{prefix}{norm}.{leaf}"), [shape[0]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::{rn50, vit_b32};
    use super::*;

    #[test]
    fn shapes_and_sizes_are_inverse_and_count_the_published_parameters() {
        for config in [vit_b32(), rn50()] {
            assert_eq!(Config::infer(&config.shapes()).unwrap(), config);
        }
        let count: i64 = vit_b32().shapes().values().map(|s| s.iter().product::<i64>()).sum();
        assert_eq!(count, 151_277_313);
    }

    #[test]
    fn batch_counters_and_archive_constants_are_optional() {
        assert_eq!(vit_b32().optional_shapes().len(), 3);
        let optional = rn50().optional_shapes();
        assert!(optional.contains_key("visual.layer4.0.downsample.1.num_batches_tracked"));
        // 3 in the stem, 3 a block, 1 for each of the four shortcuts.
        assert_eq!(optional.len(), 3 + 3 + 3 * 16 + 4);
    }
}
