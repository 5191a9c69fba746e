//! The sizes of a CLIP, read off the shapes of its tensors: no model names, no tables.
//!
//! Attention heads leave no trace in the shapes. Unless the [`Traits`] of a model say otherwise they are 64 wide, as in
//! all of OpenAI's; a tower narrower than that has one head.

use super::traits::{Activation, Traits};
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
    /// The function within the blocks of both transformers.
    pub activation: Activation,
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
    /// Attention heads of each block.
    pub heads: i64,
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
    /// Attention heads of each block.
    pub heads: i64,
}

/// Heads of an attention of this width, where nothing else is stated.
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
                Ok(Self { embed_dim, vision, text, activation: Activation::default() })
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

    /// The same sizes with what the shapes did not tell.
    ///
    /// # Errors
    /// [`Error::Tensors`] when a width cannot be split into so many heads.
    pub fn with_traits(mut self, traits: Traits) -> Result<Self> {
        let mut problems = Vec::new();
        let mut split = |what: &str, width: i64, heads: i64| {
            if heads < 1 || width % heads != 0 {
                problems.push(format!(
                    "the width of the {what} is {width}, which cannot be split into {heads} heads"
                ));
            }
            heads
        };
        if let Some(activation) = traits.activation {
            self.activation = activation;
        }
        if let (VisionConfig::Vit(vit), Some(heads)) = (&mut self.vision, traits.vision_heads) {
            vit.heads = split("vision transformer", vit.width, heads);
        }
        if let Some(heads) = traits.text_heads {
            self.text.heads = split("text transformer", self.text.width, heads);
        }
        if problems.is_empty() {
            return Ok(self);
        }
        let hint = Some("the configuration beside the weights belongs to another model".into());
        Err(Error::Tensors { what: "CLIP".into(), problems, hint })
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
    let config =
        VitConfig { resolution: grid * patch, patch, width, layers: layers?, heads: heads(width) };
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
    Some((TextConfig { context, vocab, width, layers: layers?, heads: heads(width) }, embed))
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::clip) fn vit_b32() -> Config {
        let vision = VitConfig { resolution: 224, patch: 32, width: 768, layers: 12, heads: 12 };
        let text = TextConfig { context: 77, vocab: 49408, width: 512, layers: 12, heads: 8 };
        let activation = Activation::QuickGelu;
        Config { embed_dim: 512, vision: VisionConfig::Vit(vision), text, activation }
    }

    pub(in crate::clip) fn rn50() -> Config {
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
    fn heads_that_do_not_divide_the_width_are_told() {
        let traits = Traits { vision_heads: Some(7), text_heads: Some(0), ..Traits::default() };
        let Err(Error::Tensors { problems, .. }) = vit_b32().with_traits(traits) else { panic!() };
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("768") && problems[0].contains("7 heads"), "{problems:?}");
        let wide = Traits { vision_heads: Some(16), ..Traits::default() };
        let VisionConfig::Vit(vit) = vit_b32().with_traits(wide).unwrap().vision else { panic!() };
        assert_eq!(vit.heads, 16);
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
