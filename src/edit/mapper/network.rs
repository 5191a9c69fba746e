//! The mapper's network: for each level of style inputs a PixelNorm and four fully connected layers.

use crate::config::Levels;
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::ops::{equal_linear, scaled_leaky_relu};
use crate::torch::{ShapeMap, TensorMap, shapes};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

/// Fully connected layers of a level.
const DEPTH: usize = 4;
/// Learning-rate multiplier; the weights are stored divided by it.
const LR_MUL: f64 = 0.01;

/// A group of style inputs with a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Style inputs 0 to 3.
    Coarse,
    /// Style inputs 4 to 7.
    Medium,
    /// Style inputs from 8.
    Fine,
}

impl Level {
    /// All, coarse first.
    pub const ALL: [Self; 3] = [Self::Coarse, Self::Medium, Self::Fine];

    /// The name of its tensors; "course" is the spelling of the originals' files.
    fn prefix(self) -> &'static str {
        match self {
            Self::Coarse => "course_mapping",
            Self::Medium => "medium_mapping",
            Self::Fine => "fine_mapping",
        }
    }

    /// Its style inputs in a generator that has `styles` of them; empty where a small generator has none.
    pub fn inputs(self, styles: i64) -> Range<i64> {
        let (from, to) = match self {
            Self::Coarse => (0, 4),
            Self::Medium => (4, 8),
            Self::Fine => (8, styles),
        };
        from.min(styles)..to.clamp(from, styles.max(from)).min(styles)
    }

    fn is_on(self, levels: Levels) -> bool {
        match self {
            Self::Coarse => levels.coarse,
            Self::Medium => levels.medium,
            Self::Fine => levels.fine,
        }
    }
}

/// Over what the codes are brought to mean square 1 before the first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalise {
    /// The width of each code, as PixelNorm is meant.
    Width,
    /// The layers of a level, as the published code does. Of a code that is the same for all layers only signs stay.
    Layers,
}

impl Normalise {
    /// The word in a mapper's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Width => "width",
            Self::Layers => "layers",
        }
    }

    /// Reads [`Normalise::name`] back.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Width, Self::Layers].into_iter().find(|n| n.name() == name)
    }
}

/// M: codes `[N, L, D]` → changes `[N, L, D]`.
#[derive(Debug)]
pub struct LevelsMapper {
    levels: Vec<(Level, Vec<(Tensor, Tensor)>)>,
    params: TensorMap,
    styles: i64,
    width: i64,
    normalise: Normalise,
}

impl LevelsMapper {
    /// A fresh network for codes `[N, styles, width]`, with the original's distribution of weights.
    pub fn random(
        levels: Levels,
        (styles, width): (i64, i64),
        normalise: Normalise,
        seed: u64,
        (kind, device): (Kind, Device),
    ) -> Self {
        let mut params = TensorMap::new();
        let present = |level: &Level| level.is_on(levels) && !level.inputs(styles).is_empty();
        for level in Level::ALL.into_iter().filter(present) {
            for (name, shape) in level_shapes(level, width) {
                let weight = match shape.len() {
                    1 => Tensor::zeros(&shape, (kind, device)),
                    _ => {
                        rng::stream(seed, 0, &format!("mapper {name}")).normal(&shape, kind, device)
                            / LR_MUL
                    }
                };
                params.insert(name, weight);
            }
        }
        Self::build(params, styles, width, normalise)
    }

    /// Takes the tensors of a file, `NAME_mapping.mapping.N.weight` and `.bias`, under `mapper.` or not, for codes
    /// `[N, styles, width]`; others are passed over. Levels that are not there are not moved.
    ///
    /// # Errors
    /// [`Error::Tensors`] when there is no level, one is incomplete, or its width is another one.
    pub fn from_tensors(
        tensors: &TensorMap,
        (styles, width): (i64, i64),
        normalise: Normalise,
    ) -> Result<Self> {
        let own: TensorMap = tensors
            .iter()
            .map(|(name, t)| (name.strip_prefix("mapper.").unwrap_or(name).to_owned(), t.detach()))
            .filter(|(name, _)| Level::ALL.iter().any(|l| name.starts_with(l.prefix())))
            .collect();
        Self::check(&shapes(&own), width)?;
        Ok(Self::build(own, styles, width, normalise))
    }

    /// Whether tensors of these shapes make a mapper for styles of `width`.
    ///
    /// # Errors
    /// [`Error::Tensors`] as [`LevelsMapper::from_tensors`].
    pub fn check(found: &ShapeMap, width: i64) -> Result<()> {
        let problems = faults(found, width);
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Tensors {
            what: "this is no mapper for these codes".into(),
            problems,
            hint: Some("a mapper belongs to the generator that it was trained with".into()),
        })
    }

    fn build(params: TensorMap, styles: i64, width: i64, normalise: Normalise) -> Self {
        let layer = |level: Level, i: usize, leaf: &str| {
            params[&format!("{}.mapping.{i}.{leaf}", level.prefix())].shallow_clone()
        };
        let there = |level: &Level| params.keys().any(|name| name.starts_with(level.prefix()));
        let levels = Level::ALL
            .into_iter()
            .filter(|level| there(level) && !level.inputs(styles).is_empty())
            .map(|level| {
                let layers = (1..=DEPTH)
                    .map(|i| (layer(level, i, "weight"), layer(level, i, "bias")))
                    .collect();
                (level, layers)
            })
            .collect();
        Self { levels, params, styles, width, normalise }
    }

    /// The changes M(w) of codes `[N, L, D]`; zeros for style inputs whose level is off. Differentiable.
    pub fn forward(&self, codes: &Tensor) -> Tensor {
        let part = |level: Level| {
            let inputs = level.inputs(self.styles);
            let part = codes.narrow(1, inputs.start, inputs.end - inputs.start);
            match self.levels.iter().find(|(own, _)| *own == level) {
                Some((_, layers)) => layers.iter().fold(self.normalised(&part), |x, (w, b)| {
                    scaled_leaky_relu(&equal_linear(&x, w, b, LR_MUL))
                }),
                None => part.zeros_like(),
            }
        };
        let parts: Vec<Tensor> = Level::ALL
            .into_iter()
            .filter(|level| !level.inputs(self.styles).is_empty())
            .map(part)
            .collect();
        Tensor::cat(&parts, 1)
    }

    /// ŵ = w + strength·M(w).
    ///
    /// # Errors
    /// [`Error::Request`] for codes of another shape than `[N, L, D]`.
    pub fn apply(&self, codes: &Tensor, strength: f64) -> Result<Tensor> {
        if codes.size().get(1..) != Some(&[self.styles, self.width]) {
            return Err(Error::request(
                format!(
                    "the mapper is for codes [N, {}, {}], these are {:?}",
                    self.styles,
                    self.width,
                    codes.size()
                ),
                "use it with the generator that it was trained with",
            ));
        }
        Ok(codes + self.forward(codes) * strength)
    }

    /// What the first layer sees of the codes of a level.
    pub fn normalised(&self, codes: &Tensor) -> Tensor {
        let dim = match self.normalise {
            Normalise::Width => -1i64,
            Normalise::Layers => 1,
        };
        codes * (codes.square().mean_dim([dim].as_slice(), true, codes.kind()) + 1e-8).rsqrt()
    }

    /// All tensors by name, without `mapper.`; they share memory with the network.
    pub fn params(&self) -> &TensorMap {
        &self.params
    }

    /// Number L of style inputs.
    pub fn styles(&self) -> i64 {
        self.styles
    }

    /// Width D of the codes.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// How codes are normalised.
    pub fn normalise(&self) -> Normalise {
        self.normalise
    }

    /// The levels that are moved.
    pub fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        self.levels.iter().map(|(level, _)| *level)
    }
}

fn level_shapes(level: Level, width: i64) -> impl Iterator<Item = (String, Vec<i64>)> {
    (1..=DEPTH).flat_map(move |i| {
        let name = format!("{}.mapping.{i}", level.prefix());
        [(format!("{name}.weight"), vec![width, width]), (format!("{name}.bias"), vec![width])]
    })
}

/// What is missing or of another width.
fn faults(found: &ShapeMap, width: i64) -> Vec<String> {
    if found.is_empty() {
        return vec!["there is none of `course_mapping`, `medium_mapping`, `fine_mapping`".into()];
    }
    let there = |level: &Level| found.keys().any(|name| name.starts_with(level.prefix()));
    Level::ALL
        .into_iter()
        .filter(there)
        .flat_map(|level| level_shapes(level, width))
        .filter_map(|(name, shape)| match found.get(&name) {
            None => Some(format!("`{name}` is missing")),
            Some(other) if *other != shape => {
                Some(format!("`{name}` has shape {other:?}, codes of width {width} need {shape:?}"))
            }
            Some(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn levels_are_cut_to_the_generators_style_inputs() {
        let ends = |styles| Level::ALL.map(|l| (l.inputs(styles).start, l.inputs(styles).end));
        assert_eq!(ends(18), [(0, 4), (4, 8), (8, 18)]);
        assert_eq!(ends(10), [(0, 4), (4, 8), (8, 10)]);
        assert_eq!(ends(8), [(0, 4), (4, 8), (8, 8)]);
        assert_eq!(ends(6), [(0, 4), (4, 6), (6, 6)]);
        assert_eq!(ends(4), [(0, 4), (4, 4), (4, 4)]);
        for styles in 4..19 {
            let mapper =
                LevelsMapper::random(Levels::default(), (styles, 8), Normalise::Width, 0, OPTIONS);
            let codes = Tensor::ones([2, styles, 8], OPTIONS);
            assert_eq!(mapper.forward(&codes).size(), codes.size());
        }
    }

    #[test]
    fn across_layers_only_the_signs_of_a_code_from_z_are_seen() {
        let w = rng::stream(0, 0, "w").normal(&[1, 1, 8], Kind::Double, Device::Cpu);
        let codes = w.expand([1, 6, 8], false);
        let mapper =
            |normalise| LevelsMapper::random(Levels::default(), (6, 8), normalise, 0, OPTIONS);
        let seen = mapper(Normalise::Layers).normalised(&codes.narrow(1, 0, 4));
        assert!((seen.abs() - 1.0).abs().max().double_value(&[]) < 1e-4);
        let seen = mapper(Normalise::Width).normalised(&codes.narrow(1, 0, 4));
        assert!((seen.abs() - 1.0).abs().max().double_value(&[]) > 0.1);
    }

    #[test]
    fn a_level_that_is_off_stays() {
        let levels = Levels { coarse: true, medium: false, fine: true };
        let mapper = LevelsMapper::random(levels, (10, 8), Normalise::Width, 3, OPTIONS);
        let codes = rng::stream(0, 0, "w").normal(&[2, 10, 8], Kind::Double, Device::Cpu);
        let change = mapper.forward(&codes);
        assert_eq!(change.narrow(1, 4, 4).abs().max().double_value(&[]), 0.0);
        assert!(change.narrow(1, 0, 4).abs().min().double_value(&[]) > 0.0);
        assert!(change.narrow(1, 8, 2).abs().min().double_value(&[]) > 0.0);
        let again = LevelsMapper::from_tensors(mapper.params(), (10, 8), Normalise::Width).unwrap();
        assert_eq!(again.forward(&codes), change);
    }

    #[test]
    fn another_width_or_another_network_is_refused() {
        let mapper = LevelsMapper::random(Levels::default(), (10, 8), Normalise::Width, 0, OPTIONS);
        let refused = |tensors: &TensorMap| {
            LevelsMapper::from_tensors(tensors, (10, 16), Normalise::Width).unwrap_err().to_string()
        };
        assert!(refused(mapper.params()).contains("codes of width 16 need [16, 16]"));
        assert!(refused(&TensorMap::new()).contains("there is none of"));
        let codes = Tensor::ones([1, 12, 8], OPTIONS);
        let text = mapper.apply(&codes, 0.1).unwrap_err().to_string();
        assert!(text.contains("codes [N, 10, 8], these are [1, 12, 8]"), "{text}");
    }
}
