//! What a generator is, read off the shapes of its tensors: resolution, channels, mapping depth, style width.

use super::layer::LayerId;
use crate::error::{Error, Result};
use crate::torch::ShapeMap;

/// The shape of a StyleGAN2 generator. Everything is inferred from a checkpoint, nothing is asked.
///
/// All but [`Config::conv_clamp`] follows from the shapes of the tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Longer side of the images in pixels: 8, 16, … 2048 for square ones; see [`Config::image_size`].
    pub resolution: i64,
    /// Width of z, the input of the mapping network.
    pub z_dim: i64,
    /// Width D of the style codes w.
    pub style_dim: i64,
    /// Number of fully connected layers in the mapping network.
    pub mapping_layers: usize,
    /// Width of the layers inside the mapping network; D as a rule.
    pub mapping_width: i64,
    /// Number of classes that a conditional generator draws; 0 for one without classes.
    pub classes: i64,
    /// Width of the embedding of a class, which is put behind z; 0 without classes.
    pub embedding_dim: i64,
    /// Output channels of each resolution's convolutions: 4 px first.
    pub channels: Vec<i64>,
    /// Channels of the constant input.
    pub constant_channels: i64,
    /// Height and width of the constant input: 4 and 4 as a rule, 4 and 2 for portraits of 2:1.
    pub constant_size: [i64; 2],
    /// Channels of the images: 3 colours, 1 of grey, 4 with the opacity behind the colours.
    pub image_channels: i64,
    /// Shapes of stored filters that are not of 4×4 taps, by name.
    pub filters: ShapeMap,
    /// What convolutions and ToRGB layers put out is clamped to ±this. No tensor tells it: set it after [`Config::infer`].
    pub conv_clamp: Option<f64>,
}

/// Largest generator that is accepted; anything beyond is a broken or hostile file.
const MAX_RESOLUTION: i64 = 2048;
const MAX_WIDTH: i64 = 16_384;
/// Longest filter that is accepted, in taps of a side.
const MAX_TAPS: i64 = 32;
/// Numbers of image channels that can be shown: grey, colours, colours and opacity.
const IMAGE_CHANNELS: [i64; 3] = [1, 3, 4];

impl Config {
    /// The usual channel table: `min(channel_base / resolution, 512)`, `channel_base = 16384 · multiplier`.
    /// Config-f of the paper has multiplier 2.
    pub fn standard(resolution: i64, multiplier: i64) -> Self {
        let blocks = resolution.ilog2() as usize - 1;
        let channels: Vec<i64> =
            (0..blocks).map(|b| (16_384 * multiplier / (4 << b)).min(512)).collect();
        Self {
            resolution,
            z_dim: 512,
            style_dim: 512,
            mapping_layers: 8,
            mapping_width: 512,
            classes: 0,
            embedding_dim: 0,
            constant_channels: channels[0],
            constant_size: [4, 4],
            image_channels: 3,
            filters: ShapeMap::new(),
            channels,
            conv_clamp: None,
        }
    }

    /// Reads the configuration off named shapes (rosinality's names, and `embed.weight`, `embed.bias` for classes).
    ///
    /// # Errors
    /// [`Error::Tensors`] that lists what is missing or impossible.
    pub fn infer(shapes: &ShapeMap) -> Result<Self> {
        let mut problems = Vec::new();
        let mut dims = |name: &str, rank: usize| -> Vec<i64> {
            match shapes.get(name) {
                Some(s) if s.len() == rank && s.iter().all(|&d| (1..=MAX_WIDTH).contains(&d)) => {
                    s.clone()
                }
                Some(s) => {
                    problems.push(format!(
                        "`{name}` has shape {s:?}, expected {rank} dimensions of 1 to {MAX_WIDTH}"
                    ));
                    vec![1; rank]
                }
                None => {
                    problems.push(format!("`{name}` is missing"));
                    vec![1; rank]
                }
            }
        };
        let mapping_layers =
            (1..).take_while(|i| shapes.contains_key(&format!("style.{i}.weight"))).count().max(1);
        let first = dims("style.1.weight", 2);
        let last = dims(&format!("style.{mapping_layers}.weight"), 2);
        let embedding = shapes
            .contains_key("embed.weight")
            .then(|| dims("embed.weight", 2))
            .unwrap_or(vec![0, 0]);
        let constant = dims("input.input", 4);
        let mut channels = vec![dims("conv1.conv.weight", 5)[1]];
        let blocks =
            (0..).take_while(|b| shapes.contains_key(&format!("to_rgbs.{b}.conv.weight"))).count();
        for b in 0..blocks {
            channels.push(dims(&format!("convs.{}.conv.weight", 2 * b), 5)[1]);
        }
        let image_channels = dims("to_rgb1.conv.weight", 5)[1];
        let constant_size = [constant[2], constant[3]];
        let resolution = constant_size[0].max(constant_size[1]) << blocks.min(20);
        if blocks == 0 {
            problems.push(
                "`to_rgbs.0.conv.weight` is missing: the smallest generator makes 8 px images"
                    .into(),
            );
        } else if resolution > MAX_RESOLUTION {
            problems.push(format!(
                "{blocks} blocks behind a constant of {}×{} pixels would make {resolution} px images, more than \
                 {MAX_RESOLUTION}",
                constant_size[0], constant_size[1]
            ));
        }
        if shapes.contains_key("to_rgb1.conv.weight") && !IMAGE_CHANNELS.contains(&image_channels) {
            problems.push(format!(
                "it draws images of {image_channels} channels; only 1 (grey), 3 (colours) and 4 (colours and opacity) are \
                 supported"
            ));
        }
        let mut filters = ShapeMap::new();
        for name in filter_names(blocks.min(20)) {
            match shapes.get(&name).map(Vec::as_slice) {
                None | Some([4, 4]) => {}
                Some(&[a, b]) if a == b && (1..=MAX_TAPS).contains(&a) => {
                    filters.insert(name, vec![a, b]);
                }
                Some(shape) => problems.push(format!(
                    "`{name}` has shape {shape:?}, expected a filter of as many rows as columns, at most {MAX_TAPS}"
                )),
            }
        }
        if first[1] <= embedding[0] && shapes.contains_key("style.1.weight") {
            problems.push(format!(
                "`style.1.weight` takes {} numbers, the embedding of a class alone has {}",
                first[1], embedding[0]
            ));
        }
        problems.dedup();
        if !problems.is_empty() {
            return Err(Error::Tensors {
                what: "no StyleGAN2 generator can be read from these tensors".into(),
                problems,
                hint: Some("`nada inspect FILE` shows what the file holds".into()),
            });
        }
        Ok(Self {
            resolution,
            z_dim: first[1] - embedding[0],
            style_dim: last[0],
            mapping_layers,
            mapping_width: first[0],
            classes: embedding[1],
            embedding_dim: embedding[0],
            channels,
            constant_channels: constant[1],
            constant_size,
            image_channels,
            filters,
            conv_clamp: None,
        })
    }

    /// Number L of style inputs: `2·log2(resolution) − 2`, 18 at 1024 px.
    pub fn num_styles(&self) -> i64 {
        2 * self.channels.len() as i64
    }

    /// Longer side of block `b` (block 0 is as large as the constant, 4 px as a rule).
    pub fn block_resolution(&self, block: usize) -> i64 {
        self.constant_size[0].max(self.constant_size[1]) << block
    }

    /// Height and width of the images.
    pub fn image_size(&self) -> [i64; 2] {
        self.constant_size.map(|side| side << (self.channels.len() - 1))
    }

    /// The size of the images in words: "256 px", "1024×512 px" (height first).
    pub fn size_in_words(&self) -> String {
        match self.image_size() {
            [h, w] if h == w => format!("{h} px"),
            [h, w] => format!("{h}×{w} px"),
        }
    }

    /// Whether images are square and of three colours, as photos of faces and most other tools have them.
    pub fn is_usual_picture(&self) -> bool {
        self.image_channels == 3 && self.constant_size[0] == self.constant_size[1]
    }

    /// Number of noise maps: one for each styled convolution.
    pub fn num_noises(&self) -> usize {
        2 * self.channels.len() - 1
    }

    /// Height and width of noise map `i`.
    pub fn noise_size(&self, i: usize) -> [i64; 2] {
        self.constant_size.map(|side| side << i.div_ceil(2))
    }

    /// All layers in the order of synthesis.
    pub fn layers(&self) -> Vec<LayerId> {
        let mut layers = vec![LayerId::Mapping, LayerId::Constant, LayerId::Conv1, LayerId::ToRgb1];
        for b in 0..self.channels.len() - 1 {
            layers.extend([LayerId::Conv(2 * b), LayerId::Conv(2 * b + 1), LayerId::ToRgb(b)]);
        }
        layers
    }

    /// Input and output channels of a styled layer; `None` for the mapping network and the constant.
    pub fn layer_channels(&self, layer: LayerId) -> Option<(i64, i64)> {
        match layer {
            LayerId::Mapping | LayerId::Constant => None,
            LayerId::Conv1 => Some((self.constant_channels, self.channels[0])),
            LayerId::ToRgb1 => Some((self.channels[0], self.image_channels)),
            LayerId::Conv(i) if i % 2 == 0 => {
                Some((self.channels[i / 2], self.channels[i / 2 + 1]))
            }
            LayerId::Conv(i) => Some((self.channels[i / 2 + 1], self.channels[i / 2 + 1])),
            LayerId::ToRgb(b) => Some((self.channels[b + 1], self.image_channels)),
        }
    }

    /// Names and shapes of all parameters: what a file must hold.
    pub fn parameter_shapes(&self) -> ShapeMap {
        let mut shapes = ShapeMap::new();
        for i in 1..=self.mapping_layers {
            let input = if i == 1 { self.z_dim + self.embedding_dim } else { self.mapping_width };
            let output = if i == self.mapping_layers { self.style_dim } else { self.mapping_width };
            shapes.insert(format!("style.{i}.weight"), vec![output, input]);
            shapes.insert(format!("style.{i}.bias"), vec![output]);
        }
        if self.classes > 0 {
            shapes.insert("embed.weight".into(), vec![self.embedding_dim, self.classes]);
            shapes.insert("embed.bias".into(), vec![self.embedding_dim]);
        }
        shapes.insert(
            "input.input".into(),
            vec![1, self.constant_channels, self.constant_size[0], self.constant_size[1]],
        );
        for layer in self.layers() {
            let Some((input, output)) = self.layer_channels(layer) else { continue };
            let k = if layer.is_to_rgb() { 1 } else { 3 };
            shapes.insert(format!("{layer}.conv.weight"), vec![1, output, input, k, k]);
            shapes.insert(format!("{layer}.conv.modulation.weight"), vec![input, self.style_dim]);
            shapes.insert(format!("{layer}.conv.modulation.bias"), vec![input]);
            if layer.is_to_rgb() {
                shapes.insert(format!("{layer}.bias"), vec![1, output, 1, 1]);
            } else {
                shapes.insert(format!("{layer}.noise.weight"), vec![1]);
                shapes.insert(format!("{layer}.activate.bias"), vec![output]);
            }
        }
        shapes
    }

    /// Whether a generator can draw what is asked for.
    ///
    /// # Errors
    /// [`Error::Request`] for a class that is not there, or that is needed and not given.
    pub fn check_class(&self, class: Option<i64>) -> Result<()> {
        let highest = self.classes - 1;
        match class {
            None if self.classes == 0 => Ok(()),
            Some(class) if (0..self.classes).contains(&class) => Ok(()),
            None => Err(Error::request(
                format!("the generator draws {} classes, which one is not said", self.classes),
                format!("choose one with `--class 0` to `--class {highest}`"),
            )),
            Some(_) if self.classes == 0 => Err(Error::request(
                "a class was asked for, but the generator draws everything it can without one",
                "leave out `--class`",
            )),
            Some(class) => Err(Error::request(
                format!(
                    "class {class} was asked for, the generator draws {} classes",
                    self.classes
                ),
                format!("choose one with `--class 0` to `--class {highest}`"),
            )),
        }
    }

    /// Names and shapes that a file may hold: noise buffers, filter kernels, the average style.
    pub fn optional_shapes(&self) -> ShapeMap {
        let mut shapes = ShapeMap::from([("latent_avg".into(), vec![self.style_dim])]);
        for i in 0..self.num_noises() {
            let [h, w] = self.noise_size(i);
            shapes.insert(format!("noises.noise_{i}"), vec![1, 1, h, w]);
        }
        for name in filter_names(self.channels.len() - 1) {
            let shape = self.filters.get(&name).cloned().unwrap_or(vec![4, 4]);
            shapes.insert(name, shape);
        }
        shapes
    }
}

/// The names under which a generator's filters are stored.
fn filter_names(blocks: usize) -> impl Iterator<Item = String> {
    (0..blocks).flat_map(|b| {
        [format!("convs.{}.conv.blur.kernel", 2 * b), format!("to_rgbs.{b}.upsample.kernel")]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_f_has_the_published_number_of_parameters() {
        for (resolution, multiplier, parameters) in
            [(1024, 2, 30_370_060), (256, 2, 30_034_338), (512, 1, 24_860_935)]
        {
            let config = Config::standard(resolution, multiplier);
            let count: i64 =
                config.parameter_shapes().values().map(|s| s.iter().product::<i64>()).sum();
            assert_eq!(count, parameters, "{resolution} px");
            assert_eq!(Config::infer(&config.parameter_shapes()).unwrap(), config);
        }
    }

    #[test]
    fn all_missing_tensors_are_listed_at_once() {
        let mut shapes = Config::standard(32, 1).parameter_shapes();
        shapes.remove("input.input");
        shapes.remove("conv1.conv.weight");
        let text = Config::infer(&shapes).unwrap_err().to_string();
        assert!(
            text.contains("`input.input` is missing")
                && text.contains("`conv1.conv.weight` is missing"),
            "{text}"
        );
    }

    #[test]
    fn unusual_mapping_networks_are_read_off_their_shapes() {
        let mut config = Config::standard(32, 1);
        (config.mapping_layers, config.mapping_width) = (2, 1024);
        (config.z_dim, config.style_dim) = (64, 256);
        assert_eq!(Config::infer(&config.parameter_shapes()).unwrap(), config);
        (config.classes, config.embedding_dim) = (10, 512);
        let shapes = config.parameter_shapes();
        assert_eq!(shapes["style.1.weight"], [1024, 576]);
        assert_eq!(Config::infer(&shapes).unwrap(), config);
        let (mut narrow, name) = (shapes, "style.1.weight".to_owned());
        narrow.insert(name, vec![1024, 512]);
        let text = Config::infer(&narrow).unwrap_err().to_string();
        assert!(text.contains("the embedding of a class alone has 512"), "{text}");
    }

    #[test]
    fn noise_maps_follow_the_resolution() {
        let config = Config::standard(32, 1);
        let sizes: Vec<[i64; 2]> = (0..config.num_noises()).map(|i| config.noise_size(i)).collect();
        assert_eq!(sizes, [4, 8, 8, 16, 16, 32, 32].map(|side| [side, side]));
    }

    #[test]
    fn other_constants_channels_and_filters_are_read_off_their_shapes() {
        let mut config = Config::standard(32, 1);
        (config.constant_size, config.image_channels) = ([4, 2], 1);
        config.filters.insert("convs.2.conv.blur.kernel".into(), vec![3, 3]);
        let mut shapes = config.parameter_shapes();
        shapes.extend(config.optional_shapes());
        assert_eq!(shapes["noises.noise_3"], [1, 1, 16, 8]);
        assert_eq!(Config::infer(&shapes).unwrap(), config);
        assert_eq!((config.image_size(), config.size_in_words().as_str()), ([32, 16], "32×16 px"));
        shapes.insert("to_rgbs.0.upsample.kernel".into(), vec![4, 3]);
        for name in ["to_rgb1", "to_rgbs.0", "to_rgbs.1", "to_rgbs.2"] {
            shapes.insert(format!("{name}.conv.weight"), vec![1, 7, 512, 1, 1]);
        }
        shapes.insert("input.input".into(), vec![1, 512, 512, 4]);
        let text = Config::infer(&shapes).unwrap_err().to_string();
        for part in ["images of 7 channels", "[4, 3], expected a filter", "would make 4096 px"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
