//! The sizes of a CLIP, read off the shapes of its tensors: no model names, no tables.
//!
//! Attention heads leave no trace in the shapes. As in every published CLIP they are 64 wide; a tower narrower
//! than that has one head.

use crate::error::{Error, Result};
use crate::torch::ShapeMap;
use std::collections::BTreeSet;

/// No CLIP comes near; keeps products of sizes from a foreign file far from overflow.
const LARGEST: i64 = 1 << 24;
/// Width of one attention head.
const HEAD: i64 = 64;

/// Sizes of a CLIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Width E of the space that both towers end in.
    pub embed_dim: i64,
    /// The image tower.
    pub vision: VisionConfig,
    /// The text tower.
    pub text: TextConfig,
}

/// Which image tower, and its sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VisionConfig {
    /// A vision transformer (ViT-B/32, ViT-L/14 …).
    Vit(VitConfig),
    /// A convolutional tower with attention pooling (RN50, RN50x4 …).
    ResNet(ResNetConfig),
}

/// Sizes of a vision transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VitConfig {
    /// Side of the input in pixels: patches a side times the side of a patch.
    pub resolution: i64,
    /// Side of a patch in pixels.
    pub patch: i64,
    /// Width of a token.
    pub width: i64,
    /// Number of transformer blocks.
    pub layers: i64,
}

/// Sizes of a ModifiedResNet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Side of the input in pixels: 32 times the side of the last map.
    pub resolution: i64,
    /// Channels after the stem; the last map has 32 times as many.
    pub width: i64,
    /// Bottleneck blocks in each of the four stages.
    pub blocks: [i64; 4],
}

/// Sizes of the text tower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextConfig {
    /// Longest text T in tokens, begin and end included.
    pub context: i64,
    /// Number of different tokens.
    pub vocab: i64,
    /// Width of a token.
    pub width: i64,
    /// Number of transformer blocks.
    pub layers: i64,
}

/// Heads of an attention of this width.
pub(super) fn heads(width: i64) -> i64 {
    (width / HEAD).max(1)
}

impl Config {
    /// Reads the sizes from the shapes of a file's tensors, under OpenAI's names.
    ///
    /// Only the tensors that decide a size are looked at. [`Config::shapes`] then says what else must be there;
    /// names beyond those are not this function's concern.
    ///
    /// # Errors
    /// [`Error::Tensors`] with everything that does not make a CLIP: a tower that is not there, a tensor that is
    /// missing or of the wrong rank, towers that end in different widths.
    pub fn infer(shapes: &ShapeMap) -> Result<Self> {
        let mut reader = Reader { shapes, problems: Vec::new() };
        let has = |prefix: &str| starts(shapes, prefix);
        let has_text =
            has("token_embedding.") || has("transformer.resblocks.") || has("text_projection");
        let (vision, text) = match (has("visual."), has_text) {
            (true, true) => (vision(&mut reader), text(&mut reader)),
            (true, false) => {
                reader.problem("holds an image tower only: the text tower (`token_embedding.weight`, `transformer.…`) is missing");
                (vision(&mut reader), None)
            }
            (false, true) => {
                reader.problem("holds a text tower only: the image tower (`visual.…`) is missing");
                (None, text(&mut reader))
            }
            (false, false) => {
                reader.problem(
                    "holds no CLIP: neither `visual.…` nor `token_embedding.weight` is there",
                );
                (None, None)
            }
        };
        reader.shape("logit_scale", []);
        if let (Some((_, (image_name, image))), Some((_, words))) = (&vision, &text)
            && image != words
        {
            reader.problem(format!(
                "the towers end in different widths: `{image_name}` in {image}, `text_projection` in {words}"
            ));
        }
        match (vision, text) {
            (Some((vision, (_, embed_dim))), Some((text, _))) if reader.problems.is_empty() => {
                Ok(Self { embed_dim, vision, text })
            }
            _ => Err(Error::Tensors {
                what: "CLIP".into(),
                problems: reader.problems,
                hint: Some(
                    "a whole CLIP with OpenAI's names is wanted, such as `ViT-B-32.pt`".into(),
                ),
            }),
        }
    }

    /// Every tensor that [`super::Clip::new`] needs.
    pub fn shapes(&self) -> ShapeMap {
        let mut all = Shapes::default();
        let TextConfig { context, vocab, width, layers } = self.text;
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

    /// Side in pixels of the images that the image tower takes.
    pub fn resolution(&self) -> i64 {
        match &self.vision {
            VisionConfig::Vit(vit) => vit.resolution,
            VisionConfig::ResNet(resnet) => resnet.resolution,
        }
    }
}

/// The width in which a tower ends, and the tensor that says so.
type Ending = (&'static str, i64);

fn vision(reader: &mut Reader) -> Option<(VisionConfig, Ending)> {
    let has = |prefix: &str| starts(reader.shapes, prefix);
    let is_vit = has("visual.transformer.") || has("visual.class_embedding") || has("visual.proj");
    let is_resnet = has("visual.layer1.") || has("visual.attnpool.");
    match (is_vit, is_resnet) {
        (true, false) => vit(reader),
        (false, true) => resnet(reader),
        (true, true) => {
            reader.problem(
                "`visual.…` mixes a vision transformer (`transformer`) with a ResNet (`layer1`)",
            );
            None
        }
        (false, false) => {
            reader.problem(
                "`visual.…` is neither a vision transformer (`transformer`) nor a ResNet (`layer1`)",
            );
            None
        }
    }
}

fn vit(reader: &mut Reader) -> Option<(VisionConfig, Ending)> {
    let conv = reader.shape("visual.conv1.weight", ["width", "3", "patch", "patch"]);
    let positions = reader.shape("visual.positional_embedding", ["tokens", "width"]);
    let proj = reader.shape("visual.proj", ["width", "embed"]);
    let layers = reader.count("visual.transformer.resblocks.");
    let ([width, _, patch, _], [tokens, _], [_, embed]) = (conv?, positions?, proj?);
    reader.splits_into_heads("the vision transformer", width);
    let grid = reader.side("visual.positional_embedding", tokens)?;
    let config = VitConfig { resolution: grid * patch, patch, width, layers: layers? };
    Some((VisionConfig::Vit(config), ("visual.proj", embed)))
}

fn resnet(reader: &mut Reader) -> Option<(VisionConfig, Ending)> {
    let first = reader.shape("visual.layer1.0.conv1.weight", ["width", "width", "1", "1"]);
    let positions = reader.shape("visual.attnpool.positional_embedding", ["tokens", "32 width"]);
    let proj = reader.shape("visual.attnpool.c_proj.weight", ["embed", "32 width"]);
    let blocks = [1, 2, 3, 4].map(|stage| reader.count(&format!("visual.layer{stage}.")));
    let ([width, ..], [tokens, _], [embed, _]) = (first?, positions?, proj?);
    if width % 2 != 0 {
        reader.problem(format!("the ResNet's width is {width}, but the stem needs an even number"));
    }
    reader.splits_into_heads("the attention pooling", width * 32);
    let side = reader.side("visual.attnpool.positional_embedding", tokens)?;
    let [Some(one), Some(two), Some(three), Some(four)] = blocks else { return None };
    let config = ResNetConfig { resolution: side * 32, width, blocks: [one, two, three, four] };
    Some((VisionConfig::ResNet(config), ("visual.attnpool.c_proj.weight", embed)))
}

fn text(reader: &mut Reader) -> Option<(TextConfig, i64)> {
    let table = reader.shape("token_embedding.weight", ["vocabulary", "width"]);
    let positions = reader.shape("positional_embedding", ["context", "width"]);
    let proj = reader.shape("text_projection", ["width", "embed"]);
    let layers = reader.count("transformer.resblocks.");
    let ([vocab, width], [context, _], [_, embed]) = (table?, positions?, proj?);
    reader.splits_into_heads("the text transformer", width);
    Some((TextConfig { context, vocab, width, layers: layers? }, embed))
}

fn starts(shapes: &ShapeMap, prefix: &str) -> bool {
    shapes.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
}

/// Looks sizes up, and collects what does not fit.
struct Reader<'a> {
    shapes: &'a ShapeMap,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// The shape of a tensor that must be there with as many dimensions as `meaning` names.
    fn shape<const R: usize>(&mut self, name: &str, meaning: [&str; R]) -> Option<[i64; R]> {
        let Some(found) = self.shapes.get(name) else {
            self.problem(format!("`{name}` is missing"));
            return None;
        };
        let sizes = <[i64; R]>::try_from(found.as_slice()).ok();
        let sizes = sizes.filter(|s| s.iter().all(|n| (1..=LARGEST).contains(n)));
        if sizes.is_none() {
            let wanted = meaning.join(", ");
            self.problem(format!("`{name}` has shape {found:?}, expected [{wanted}]"));
        }
        sizes
    }

    /// How many modules are numbered from 0 under `prefix`; a gap in the numbers is a problem.
    fn count(&mut self, prefix: &str) -> Option<i64> {
        let numbers: BTreeSet<i64> = self
            .shapes
            .range(prefix.to_owned()..)
            .map_while(|(name, _)| name.strip_prefix(prefix))
            .filter_map(|rest| rest.split('.').next()?.parse().ok())
            .collect();
        let gap = (0..).zip(&numbers).find(|(place, number)| place != *number);
        match (gap, numbers.len()) {
            (_, 0) => self.problem(format!("no block `{prefix}0.…` is there")),
            (Some((place, _)), _) => {
                self.problem(format!("block `{prefix}{place}.…` is missing between others"));
            }
            (None, count) => return i64::try_from(count).ok(),
        }
        None
    }

    /// Side of the square map whose places, and one more token, have a positional embedding.
    fn side(&mut self, name: &str, tokens: i64) -> Option<i64> {
        let side = (tokens - 1).isqrt();
        if side > 0 && side * side == tokens - 1 {
            return Some(side);
        }
        self.problem(format!("`{name}` has {tokens} rows, expected one more than a square number"));
        None
    }

    fn splits_into_heads(&mut self, what: &str, width: i64) {
        let heads = heads(width);
        if width % heads != 0 {
            self.problem(format!(
                "the width of {what} is {width}, which cannot be split into {heads} heads"
            ));
        }
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
        let VitConfig { resolution, patch, width, layers } = *config;
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
    use super::*;

    fn vit_b32() -> Config {
        let vision = VitConfig { resolution: 224, patch: 32, width: 768, layers: 12 };
        let text = TextConfig { context: 77, vocab: 49408, width: 512, layers: 12 };
        Config { embed_dim: 512, vision: VisionConfig::Vit(vision), text }
    }

    fn rn50() -> Config {
        let vision = ResNetConfig { resolution: 224, width: 64, blocks: [3, 4, 6, 3] };
        Config { embed_dim: 1024, vision: VisionConfig::ResNet(vision), ..vit_b32() }
    }

    fn problems(shapes: &ShapeMap) -> Vec<String> {
        match Config::infer(shapes) {
            Err(Error::Tensors { problems, .. }) => problems,
            other => panic!("{other:?}"),
        }
    }

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

    #[test]
    fn half_a_clip_is_called_by_its_name() {
        let keep = |visual: bool| -> ShapeMap {
            let all = vit_b32().shapes();
            all.into_iter()
                .filter(|(n, _)| n == "logit_scale" || n.starts_with("visual.") == visual)
                .collect()
        };
        assert!(problems(&keep(true))[0].starts_with("holds an image tower only"));
        assert!(problems(&keep(false))[0].starts_with("holds a text tower only"));
        assert!(problems(&ShapeMap::new())[0].starts_with("holds no CLIP"));
    }

    #[test]
    fn towers_of_different_widths_are_told_with_both_widths() {
        let mut shapes = rn50().shapes();
        shapes.insert("text_projection".into(), vec![512, 512]);
        assert_eq!(
            problems(&shapes),
            [
                "the towers end in different widths: `visual.attnpool.c_proj.weight` in 1024, `text_projection` in 512"
            ]
        );
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let mut shapes = vit_b32().shapes();
        shapes.remove("logit_scale");
        shapes.insert("visual.positional_embedding".into(), vec![51, 768]);
        shapes.insert("token_embedding.weight".into(), vec![i64::MAX, 512]);
        shapes.retain(|name, _| !name.starts_with("transformer.resblocks.4."));
        let found = problems(&shapes).join("\n");
        for part in [
            "51 rows",
            "9223372036854775807",
            "resblocks.4.…` is missing",
            "`logit_scale` is missing",
        ] {
            assert!(found.contains(part), "{part} not in:\n{found}");
        }
    }
}
