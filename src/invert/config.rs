//! The sizes of an encoder, read off the shapes of its tensors, and what only its file's options tell.

use super::align::Frame;
use super::styles::StyleBlock;
use super::trunk::{Family, Unit};
use crate::error::{Error, Result};
use crate::torch::ShapeMap;
use std::collections::BTreeMap;

/// No encoder comes near; keeps products of sizes from a foreign file far from overflow.
const LARGEST: i64 = 1 << 16;
/// The trunks halve their input four times.
const TRUNK_STRIDE: i64 = 16;
/// Most units and style blocks that are looked for.
const MOST: usize = 256;

/// What a network's outputs mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// One code for each style input (pSp).
    Codes,
    /// The first code, and for every other style input its difference to it (e4e).
    Deltas,
    /// One code for all style inputs (pSp's `learn_in_w`).
    SingleCode,
}

/// What no shape tells: the options with which an encoder was trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `encoder_type`: the class of the original's network.
    pub encoder_type: Option<String>,
    /// Whether outputs are added to the mean latent (`start_from_latent_avg`).
    pub from_average: bool,
    /// Whether it sees cars: 192 × 256 px instead of a square (`dataset_type`).
    pub wide: bool,
    /// ReStyle's rounds in training, `n_iters_per_batch`.
    pub rounds: Option<usize>,
    /// Where faces lie in the pictures that it was trained on, as [`Frame`] reads it (`frame`, our own encoders).
    pub frame: Option<String>,
    /// Steps of optimisation that its results gain most from (`refine`, our own encoders).
    pub refine: Option<u32>,
}

impl Facts {
    /// Reads the options of a file: `opts` of the originals, or the metadata of a converted file, as plain texts.
    pub fn read(options: &BTreeMap<String, String>) -> Self {
        let is = |key: &str, value: &str| options.get(key).is_some_and(|v| v == value);
        Self {
            encoder_type: options.get("encoder_type").cloned(),
            // e4e and ReStyle always start there; pSp says so.
            from_average: !is("start_from_latent_avg", "false"),
            wide: options.get("dataset_type").is_some_and(|set| set.contains("cars")),
            rounds: options.get("n_iters_per_batch").and_then(|n| n.parse().ok()),
            frame: options.get("frame").cloned(),
            refine: options.get("refine").and_then(|n| n.parse().ok()).filter(|n| *n <= 1000),
        }
    }

    /// What the class of the original's network says about its outputs.
    ///
    /// # Errors
    /// [`Error::Tensors`] for a class that is not supported.
    fn flavour(&self) -> Result<Flavour> {
        match self.encoder_type.as_deref() {
            Some(
                "ProgressiveBackboneEncoder"
                | "ResNetProgressiveBackboneEncoder"
                | "Encoder4Editing",
            ) => Ok(Flavour::Deltas),
            Some("BackboneEncoderUsingLastLayerIntoW") => Ok(Flavour::SingleCode),
            None | Some("BackboneEncoder" | "ResNetBackboneEncoder" | "GradualStyleEncoder") => {
                Ok(Flavour::Codes)
            }
            Some(other) => Err(broken(vec![format!("its class `{other}` is not supported")])),
        }
    }
}

/// Sizes of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Channels of the input: 3, or 6 for ReStyle (the photo and the last result), or those of a mask.
    pub channels: i64,
    /// Height of the input in pixels.
    pub height: i64,
    /// Width of the input in pixels.
    pub width: i64,
    /// Width D of a code.
    pub style_dim: i64,
    /// Style inputs L that get a code of their own; 1 for [`Flavour::SingleCode`].
    pub codes: usize,
    /// What the outputs mean.
    pub flavour: Flavour,
    /// Whether they are added to the mean latent, or to the last round's codes.
    pub from_average: bool,
    /// ReStyle's rounds in training, if it was said.
    pub rounds: Option<usize>,
    /// Where faces lie in the pictures that it was trained on.
    pub frame: Frame,
    /// Steps of optimisation after it, if its file advises some.
    pub refine: Option<u32>,
    pub(super) family: Family,
    pub(super) stem: i64,
    pub(super) units: Vec<Unit>,
    pub(super) styles: Vec<StyleBlock>,
    pub(super) pyramid: bool,
}

impl Config {
    /// Reads the sizes from the shapes of a file's tensors under the originals' names, without `encoder.`.
    ///
    /// # Errors
    /// [`Error::Tensors`] with what does not make an encoder.
    pub fn infer(shapes: &ShapeMap, facts: &Facts) -> Result<Self> {
        let flavour = facts.flavour()?;
        let family = Family::of(shapes).ok_or_else(|| {
            broken(vec!["neither `input_layer.0.weight` nor `conv1.weight` is there".into()])
        })?;
        let [stem, channels, ..] = sizes::<4>(shapes, family.stem_name())?;
        let units = Unit::infer(shapes, family)?;
        let styles = StyleBlock::infer(shapes)?;
        let pyramid = shapes.contains_key("latlayer1.weight");
        let (codes, style_dim, side) = match styles.first() {
            Some(first) => (styles.len(), first.outputs, 1 << first.halvings),
            None => (1, sizes::<2>(shapes, "linear.weight")?[0], TRUNK_STRIDE),
        };
        if (flavour == Flavour::SingleCode) != styles.is_empty() {
            return Err(broken(vec![format!(
                "it has {} style blocks, which does not fit its class",
                styles.len()
            )]));
        }
        let width = TRUNK_STRIDE * side;
        let height = if facts.wide { width / 4 * 3 } else { width };
        let config = Self {
            channels,
            height,
            width,
            style_dim,
            codes,
            flavour,
            from_average: facts.from_average,
            rounds: facts.rounds,
            frame: facts.frame.as_deref().map_or(Ok(Frame::FFHQ), str::parse)?,
            refine: facts.refine,
            family,
            stem,
            units,
            styles,
            pyramid,
        };
        config.check()?;
        Ok(config)
    }

    /// Whether it sees its own last result, and so gets better round by round.
    pub fn is_iterative(&self) -> bool {
        self.channels == 6
    }

    /// Every tensor that it needs, under the originals' names without `encoder.`.
    pub fn shapes(&self) -> ShapeMap {
        let mut all = ShapeMap::new();
        self.family.add_stem(&mut all, self.stem, self.channels);
        for (i, unit) in self.units.iter().enumerate() {
            unit.add(&mut all, self.family, i);
        }
        if self.pyramid {
            let [c1, c2, c3] = self.levels().map(|unit| self.units[unit].outputs);
            for (name, from) in [("latlayer1", c2), ("latlayer2", c1)] {
                all.insert(format!("{name}.weight"), vec![c3, from, 1, 1]);
                all.insert(format!("{name}.bias"), vec![c3]);
            }
        }
        for (i, block) in self.styles.iter().enumerate() {
            block.add(&mut all, i);
        }
        if self.flavour == Flavour::SingleCode {
            let last = self.units.last().map_or(0, |unit| unit.outputs);
            all.insert("linear.weight".into(), vec![self.style_dim, last]);
            all.insert("linear.bias".into(), vec![self.style_dim]);
        }
        all
    }

    /// Tensors that a file may hold beside [`Config::shapes`] and that no result depends on.
    pub fn optional_shapes(&self) -> ShapeMap {
        let norms = self.shapes().into_keys();
        norms
            .filter_map(|name| Some(name.strip_suffix(".running_mean")?.to_owned()))
            .map(|norm| (format!("{norm}.num_batches_tracked"), Vec::new()))
            .collect()
    }

    /// The units whose outputs a pyramid takes: the ends of the second, third and last stage.
    pub(super) fn levels(&self) -> [usize; 3] {
        let starts: Vec<usize> =
            (0..self.units.len()).filter(|&i| self.units[i].starts_stage).collect();
        let end = |stage: usize| starts.get(stage + 1).map_or(self.units.len(), |&s| s) - 1;
        [end(1), end(2), self.units.len() - 1]
    }

    fn check(&self) -> Result<()> {
        let stages = self.units.iter().filter(|unit| unit.starts_stage).count();
        let mut problems = Vec::new();
        if stages != 4 {
            problems.push(format!("its trunk has {stages} stages, expected 4"));
        }
        if self.styles.iter().any(|block| block.outputs != self.style_dim) {
            problems.push("its style blocks end in different widths".into());
        }
        if problems.is_empty() { Ok(()) } else { Err(broken(problems)) }
    }
}

/// The sizes of a tensor that must be there, with so many dimensions.
pub(super) fn sizes<const R: usize>(shapes: &ShapeMap, name: &str) -> Result<[i64; R]> {
    let found = shapes.get(name).ok_or_else(|| broken(vec![format!("`{name}` is missing")]))?;
    <[i64; R]>::try_from(found.as_slice())
        .ok()
        .filter(|sizes| sizes.iter().all(|n| (1..=LARGEST).contains(n)))
        .ok_or_else(|| {
            broken(vec![format!(
                "`{name}` has shape {found:?}, expected {R} sizes from 1 to {LARGEST}"
            )])
        })
}

/// How many modules are numbered from 0 under `prefix`.
pub(super) fn count(shapes: &ShapeMap, prefix: &str) -> Result<usize> {
    let has = |i: usize| {
        let start = format!("{prefix}.{i}.");
        shapes.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
    };
    match (0..=MOST).find(|&i| !has(i)) {
        Some(count) => Ok(count),
        None => Err(broken(vec![format!("it has more than {MOST} modules `{prefix}.…`")])),
    }
}

pub(super) fn broken(problems: Vec<String>) -> Error {
    let hint = Some(
        "an encoder of ReStyle, pSp or e4e is wanted; `nada inspect FILE` lists what it has".into(),
    );
    Error::Tensors { what: "this is no complete encoder".into(), problems, hint }
}
