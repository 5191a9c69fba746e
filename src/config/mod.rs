//! What a run is: plain data, read from presets, files and flags. Nothing here touches libtorch.
//!
//! Layers, each over the one before: built-in defaults < `--preset` < `--config FILE` < flags ([`layering`]).
//! The defaults are the paper's and its authors' (reference §1), the shipped presets say why they differ.

pub mod layering;
mod mapper;
mod validate;

pub use mapper::{Levels, MapperConfig, MapperLosses, MapperTrain, OptimiserKind, RunKind};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The generator that is meant when none is named.
pub const GENERATOR: &str = "faces128";

/// Version of this schema; files of another version are refused.
pub const SCHEMA: u32 = 1;

/// Everything that decides the result of `nada adapt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Version of this schema.
    pub schema: u32,
    /// One line for people.
    pub about: String,
    /// In a preset: the preset below this one, which it changes only where it says so.
    #[serde(skip_serializing)]
    pub base: Option<String>,
    /// Generator to start from: a shipped name, a file, or the folder of an earlier run.
    pub generator: String,
    /// The class that a conditional generator draws; unset for generators without classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
    /// The frozen twin, when it is not the start generator itself.
    pub reference: Option<String>,
    /// The CLIP models that judge, each with its weight in the sum of losses.
    pub clip: Vec<ClipModel>,
    /// What the start generator makes, in words.
    pub source: String,
    /// What the adapted generator shall make, in words.
    pub target: String,
    /// A folder of images that show the target instead of words (few-shot).
    pub target_images: Option<PathBuf>,
    /// Every random number follows from it.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda[:N]` or `mps`.
    pub device: String,
    /// CPU threads of one operation; 0 lets libtorch choose.
    pub threads: usize,
    /// `original` repeats the published code including its defects, for comparison with published results.
    pub parity: Parity,
    /// The training itself.
    pub train: Train,
    /// Which layers train.
    pub layers: Layers,
    /// Weights of the losses.
    pub losses: Losses,
    /// Random changes shown to CLIP, the same for both images of a pair.
    pub augment: Augment,
    /// What is written, and how often.
    pub output: Output,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            about: String::new(),
            base: None,
            generator: GENERATOR.into(),
            class: None,
            reference: None,
            clip: vec![ClipModel { model: "ViT-B/32".into(), weight: 1.0 }],
            source: "photo".into(),
            target: String::new(),
            target_images: None,
            seed: 0,
            device: "auto".into(),
            threads: 0,
            parity: Parity::None,
            train: Train::default(),
            layers: Layers::default(),
            losses: Losses::default(),
            augment: Augment::default(),
            output: Output::default(),
        }
    }
}

/// A CLIP model and its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipModel {
    /// A name (`ViT-B/32`, a shipped model) or a file.
    pub model: String,
    /// Weight of its losses; models are summed, not averaged.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// Whether to repeat the published code's known defects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// Do the right thing.
    None,
    /// Layer choice off by one, twins with different noise and crossovers, moments of frozen layers decay.
    Original,
}

/// How long and how fast to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// Number of updates.
    pub iterations: u64,
    /// Images per update.
    pub batch: i64,
    /// Learning rate before `lr_ratio`.
    pub lr: f64,
    /// r in Adam(lr·r, β = (0^r, 0.99^r)): StyleGAN2's lazy-regularisation ratio 4/5, which the original keeps.
    pub lr_ratio: f64,
    /// Truncation ψ of the training samples; 1 is none.
    pub truncation: f64,
    /// Probability that a batch mixes the styles of two z.
    pub mixing: f64,
    /// Noise of the training images; the twins share it.
    pub noise: NoiseKind,
    /// Decay of an exponential moving average of the weights, 0 for none. The average is the result.
    pub ema: f64,
    /// How images are resized for CLIP.
    pub clip_resize: ClipResize,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            iterations: 300,
            batch: 2,
            lr: 0.002,
            lr_ratio: 0.8,
            truncation: 1.0,
            mixing: 0.0,
            noise: NoiseKind::Random,
            ema: 0.0,
            clip_resize: ClipResize::Antialias,
        }
    }
}

/// Which noise maps a generator adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseKind {
    /// The buffers in the checkpoint.
    Stored,
    /// Fresh maps for every image, from the seed.
    Random,
    /// No noise.
    None,
}

/// How images are resized to what CLIP takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipResize {
    /// Bicubic with antialiasing, as CLIP was trained.
    Antialias,
    /// Bicubic without, as the original code did under its pinned torchvision.
    Legacy,
}

/// Which layers train, and how they are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Layers {
    /// `adaptive`, `all`, `shape`, `texture`, `no_fine`, `shape_expanded`, or a list of layer names.
    pub choose: LayerSet,
    /// Adaptive: how many style inputs train in a step.
    pub k: usize,
    /// Adaptive: steps of the latent search.
    pub iterations: u32,
    /// Adaptive: latent codes of the search.
    pub batch: i64,
    /// Adaptive: choose anew every so many steps.
    pub every: u64,
    /// Adaptive: step size of the search.
    pub lr: f64,
    /// Train the constant input. Unset: with a fixed set as the original does, not with the adaptive choice.
    pub constant: Option<bool>,
    /// Train the ToRGB layers.
    pub to_rgb: bool,
    /// Train the mapping network (the twins then no longer share it).
    pub mapping: bool,
    /// Train the noise strengths.
    pub noise_strength: bool,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            choose: LayerSet::Named(NamedSet::All),
            k: 1,
            iterations: 1,
            batch: 8,
            every: 1,
            lr: 0.01,
            constant: None,
            to_rgb: false,
            mapping: false,
            noise_strength: true,
        }
    }
}

/// A set of layers by a common name, or layer by layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LayerSet {
    /// One of the sets of the paper.
    Named(NamedSet),
    /// Names as `nada inspect` lists them: `conv1`, `convs.3`, `to_rgbs.0` …
    List(Vec<String>),
}

/// The sets of layers that the original knows (its `--phase`), and the adaptive choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedSet {
    /// A new choice of k style inputs per step, by a short latent search under the global CLIP loss.
    Adaptive,
    /// Every convolution.
    All,
    /// `conv1` and `convs.0`–`1`: 4 and 8 px.
    Shape,
    /// `conv1` and `convs.2`–`9`: 16 to 128 px.
    Texture,
    /// `conv1` and `convs.0`–`9`.
    NoFine,
    /// `conv1` and `convs.0`–`2`.
    ShapeExpanded,
}

impl NamedSet {
    /// All of them, with their names in files and flags.
    pub const ALL: [(&'static str, Self); 6] = [
        ("adaptive", Self::Adaptive),
        ("all", Self::All),
        ("shape", Self::Shape),
        ("texture", Self::Texture),
        ("no_fine", Self::NoFine),
        ("shape_expanded", Self::ShapeExpanded),
    ];
}

/// Weights of the losses; what weighs 0 is not computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Losses {
    /// 1 − cos(Δimage, Δtext): the paper's loss.
    pub directional: f64,
    /// 1 − cos(image, text "a TARGET"), scaled as CLIP's logits.
    pub global: f64,
    /// |cos(source image, adapted image) − cos(source text, target text)|.
    pub manifold: f64,
    /// The directional loss on random patches against 15 part phrases.
    pub patch: f64,
    /// Keeps the angles between the images of a batch (HyperDomainNet): against collapse.
    pub in_domain: f64,
    /// 1 − correlation of low-resolution edge maps of the twins. For small CLIP models.
    pub edges: f64,
    /// Total variation of the adapted images. For small CLIP models.
    pub total_variation: f64,
    /// Mean squared distance of pixels to [0, 1]. For small CLIP models.
    pub out_of_range: f64,
    /// −⟨Δimage, Δtext⟩, which keeps pushing after the cosine saturates. For small CLIP models.
    pub magnitude: f64,
    /// Mean squared colourfulness of the adapted images: for domains that have no colour.
    pub chroma: f64,
    /// δ in Δ/√(‖Δ‖² + δ²): how gently tiny edits are normalised. 0 is the exact cosine.
    pub softening: f64,
    /// Side of a patch as a share of the resolution (the original's 510 of 1024 px).
    pub patch_size: f64,
}

impl Default for Losses {
    fn default() -> Self {
        Self {
            directional: 1.0,
            global: 0.0,
            manifold: 0.0,
            patch: 0.0,
            in_domain: 0.0,
            edges: 0.0,
            total_variation: 0.0,
            out_of_range: 0.0,
            magnitude: 0.0,
            chroma: 0.0,
            softening: 0.0,
            patch_size: 510.0 / 1024.0,
        }
    }
}

/// Random changes applied identically to both images of a pair before CLIP sees them (AugCLIP, DiffAugment).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Changed copies per pair; 0 shows CLIP the images as they are.
    pub copies: i64,
    /// Zoom, as the share of the side that stays visible: [smallest, largest].
    pub scale: [f64; 2],
    /// Largest shift as a share of the side, on top of what the zoom allows.
    pub translation: f64,
    /// Largest rotation in degrees.
    pub rotation: f64,
    /// Mirror half of the copies.
    pub flip: bool,
    /// Largest change of brightness (images in [0, 1]).
    pub brightness: f64,
    /// Largest relative change of saturation.
    pub saturation: f64,
    /// Largest relative change of contrast.
    pub contrast: f64,
    /// Largest relative gain of one colour channel.
    pub channel_gain: f64,
    /// Largest standard deviation of added noise.
    pub noise: f64,
    /// Side of a grey square as a share of the image, 0 for none.
    pub cutout: f64,
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            copies: 0,
            scale: [1.0, 1.0],
            translation: 0.0,
            rotation: 0.0,
            flip: false,
            brightness: 0.0,
            saturation: 0.0,
            contrast: 0.0,
            channel_gain: 0.0,
            noise: 0.0,
            cutout: 0.0,
        }
    }
}

/// What a run writes, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// A picture of the samples every so many steps; 0 only at the end.
    pub sample_every: u64,
    /// How many samples.
    pub samples: i64,
    /// Truncation ψ of the samples.
    pub sample_truncation: f64,
    /// A snapshot to resume from every so many steps; 0 only at the end.
    pub snapshot_every: u64,
    /// How many snapshots are kept.
    pub keep_snapshots: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            sample_every: 50,
            samples: 6,
            sample_truncation: 0.7,
            snapshot_every: 50,
            keep_snapshots: 2,
        }
    }
}
