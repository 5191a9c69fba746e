//! Which layers train in a step: a fixed set, or the adaptive choice of the paper.
//!
//! The adaptive choice moves a few codes in W+ for a step or more down the global CLIP loss, and trains the layers
//! behind the k style inputs whose codes moved most. The original maps an input to the wrong layer: its list
//! (`conv1`, `to_rgb1`, `convs.0` …) is off by one against what an input really drives (`conv1`; `to_rgb1` and
//! `convs.0`; `convs.1` …; golden `nada/layers.json`). [`Routing`] has both.

use crate::config::{LayerSet, Layers, NamedSet, Parity};
use crate::error::{Error, Result, near_names};
use crate::stylegan2::{Config, LayerId};
use crate::torch::threads;
use std::ops::Range;
use tch::{Kind, Tensor};

/// How a style input is mapped to layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// To the layers that it really drives.
    Correct,
    /// To the layers that the original's shifted list names.
    Original,
}

impl Routing {
    /// The one that a run uses.
    pub fn of(parity: Parity) -> Self {
        match parity {
            Parity::Original => Self::Original,
            Parity::None => Self::Correct,
        }
    }
}

/// A style input and the layers that train when it is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Index of the style input, 0 … L−1.
    pub style: i64,
    /// Its layers.
    pub layers: Vec<LayerId>,
}

/// Which layers may train.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// These, in every step.
    Fixed(Vec<LayerId>),
    /// Those of the best k candidates, chosen anew, and `always`.
    Adaptive {
        /// Inputs to choose from.
        candidates: Vec<Candidate>,
        /// Layers that train whatever is chosen (the constant or the mapping network, when asked for).
        always: Vec<LayerId>,
        /// How many are chosen; at most as many as there are.
        k: usize,
    },
}

impl Plan {
    /// Resolves the settings for a generator.
    ///
    /// # Errors
    /// [`Error::Config`] for layers that the generator does not have.
    pub fn new(settings: &Layers, config: &Config, routing: Routing) -> Result<Self> {
        let mut extra = Vec::new();
        if settings.mapping {
            extra.push(LayerId::Mapping);
        }
        let set = match &settings.choose {
            LayerSet::Named(NamedSet::Adaptive) => {
                if settings.constant == Some(true) {
                    extra.push(LayerId::Constant);
                }
                let candidates = candidates(config, settings.to_rgb, routing);
                let k = settings.k.min(candidates.len());
                return Ok(Self::Adaptive { candidates, always: extra, k });
            }
            LayerSet::Named(set) => {
                if settings.constant != Some(false) {
                    extra.push(LayerId::Constant);
                }
                let convs = match set {
                    NamedSet::Shape => 0..2,
                    NamedSet::Texture => 2..10,
                    NamedSet::NoFine => 0..10,
                    NamedSet::ShapeExpanded => 0..3,
                    NamedSet::All | NamedSet::Adaptive => 0..usize::MAX,
                };
                config
                    .layers()
                    .into_iter()
                    .filter(|l| match l {
                        LayerId::Conv1 => true,
                        LayerId::Conv(i) => convs.contains(i),
                        _ => l.is_to_rgb() && settings.to_rgb,
                    })
                    .collect()
            }
            LayerSet::List(names) => listed(names, config)?,
        };
        extra.extend(set);
        extra.sort();
        extra.dedup();
        Ok(Self::Fixed(extra))
    }

    /// What there is to say of a k that leaves nothing to choose: the original's README asks for 18 at 1024 px.
    pub fn note(settings: &Layers, config: &Config, routing: Routing) -> Option<String> {
        let adaptive = settings.choose == LayerSet::Named(NamedSet::Adaptive);
        let all = candidates(config, settings.to_rgb, routing).len();
        (adaptive && settings.k >= all).then(|| {
            format!(
                "`layers.k` is {}, and a {} generator has {all} style inputs to choose from: all of them train in every \
                 step",
                settings.k,
                config.size_in_words()
            )
        })
    }
}

/// Layers by name, all unknown ones reported together.
fn listed(names: &[String], config: &Config) -> Result<Vec<LayerId>> {
    let known: Vec<String> = config.layers().iter().map(LayerId::to_string).collect();
    let mut layers = Vec::new();
    let mut problems = Vec::new();
    for name in names {
        match name.parse::<LayerId>() {
            Ok(layer) if config.layers().contains(&layer) => layers.push(layer),
            _ => {
                let near = near_names(name, known.iter().map(String::as_str));
                let near = if near.is_empty() {
                    String::new()
                } else {
                    format!(" (did you mean `{}`?)", near.join("`, `"))
                };
                problems
                    .push(format!("`layers.choose`: this generator has no layer `{name}`{near}"));
            }
        }
    }
    if layers.is_empty() && problems.is_empty() {
        problems.push("`layers.choose` is an empty list".into());
    }
    if problems.is_empty() {
        Ok(layers)
    } else {
        Err(Error::Config { origin: "this run cannot start".into(), problems })
    }
}

/// The style inputs of a generator with the layers that each trains; inputs without any are left out.
pub fn candidates(config: &Config, to_rgb: bool, routing: Routing) -> Vec<Candidate> {
    let styled: Vec<LayerId> =
        config.layers().into_iter().filter(|l| l.style_index().is_some()).collect();
    match routing {
        Routing::Correct => (0..config.num_styles())
            .map(|style| {
                let driven =
                    |l: &&LayerId| l.style_index() == Some(style) && (l.is_conv() || to_rgb);
                Candidate { style, layers: styled.iter().filter(driven).copied().collect() }
            })
            .filter(|c| !c.layers.is_empty())
            .collect(),
        Routing::Original => [LayerId::Conv1, LayerId::ToRgb1]
            .into_iter()
            .chain((0..config.num_noises() - 1).map(LayerId::Conv))
            .enumerate()
            .map(|(style, layer)| Candidate { style: style as i64, layers: vec![layer] })
            .collect(),
    }
}

/// How the codes move under a loss: `iterations` of gradient descent with step `lr`.
///
/// Only ∂loss/∂w is computed: parameters need no gradient here. Samples do not influence each other, so the batch
/// goes through in `parts`, several at once, which bounds the memory and changes nothing else.
///
/// # Shapes
/// `w_plus: [B, L, D]` → movement `[B, L, D]`. `loss(samples, codes)` is the **sum** over the given codes.
///
/// # Errors
/// A failure of the device.
pub fn movement(
    w_plus: &Tensor,
    iterations: u32,
    lr: f64,
    parts: Vec<Range<i64>>,
    loss: impl Fn(&Range<i64>, &Tensor) -> Tensor + Sync,
) -> Result<Tensor> {
    let batch = w_plus.size()[0];
    let own = |samples: Range<i64>| {
        let codes = w_plus.narrow(0, samples.start, samples.end - samples.start);
        (samples, codes)
    };
    let parts = parts.into_iter().map(own).collect();
    let moved = threads::map("choosing layers", parts, |(samples, codes)| {
        // The movement is summed on its own: w − w₀ would lose it among the digits of w.
        let mut delta = codes.zeros_like();
        for _ in 0..iterations {
            let leaf = (&codes + &delta).detach().set_requires_grad(true);
            let value = loss(&samples, &leaf) / batch as f64;
            let gradient = &Tensor::run_backward(&[value], &[&leaf], false, false)[0];
            delta -= gradient * lr;
        }
        Ok(delta)
    })?;
    Ok(Tensor::cat(&moved, 0))
}

/// Mean movement of each style input over batch and width: `[B, L, D]` → L numbers.
pub fn scores(movement: &Tensor) -> Vec<f64> {
    let mean = movement.abs().mean_dim([0i64, 2].as_slice(), false, Kind::Double);
    Vec::<f64>::try_from(mean).unwrap_or_default()
}

/// The k candidates with the highest scores, best first; the coarser one where scores are equal.
pub fn best<'a>(candidates: &'a [Candidate], scores: &[f64], k: usize) -> Vec<&'a Candidate> {
    let mut ranked: Vec<&Candidate> = candidates.iter().collect();
    ranked.sort_by(|a, b| {
        scores[b.style as usize].total_cmp(&scores[a.style as usize]).then(a.style.cmp(&b.style))
    });
    ranked.truncate(k);
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(settings: &Layers) -> Result<Plan> {
        Plan::new(settings, &Config::standard(1024, 2), Routing::Correct)
    }

    #[test]
    fn texture_is_the_slice_of_the_original() {
        let settings = Layers { choose: LayerSet::Named(NamedSet::Texture), ..Layers::default() };
        let Plan::Fixed(layers) = plan(&settings).unwrap() else { panic!() };
        let names: Vec<String> = layers.iter().map(LayerId::to_string).collect();
        assert_eq!(
            names.join(" "),
            "input conv1 convs.2 convs.3 convs.4 convs.5 convs.6 convs.7 convs.8 convs.9"
        );
    }

    #[test]
    fn the_last_style_input_drives_a_to_rgb_only() {
        let config = Config::standard(1024, 2);
        assert_eq!(candidates(&config, false, Routing::Correct).len(), 17);
        assert_eq!(candidates(&config, true, Routing::Correct).len(), 18);
        assert_eq!(candidates(&config, false, Routing::Original).len(), 18);
    }

    #[test]
    fn a_k_beyond_the_layers_means_all_of_them() {
        let note = |k: usize, routing: Routing| {
            let settings =
                Layers { choose: LayerSet::Named(NamedSet::Adaptive), k, ..Layers::default() };
            let config = Config::standard(1024, 2);
            let Plan::Adaptive { k, .. } = Plan::new(&settings, &config, routing).unwrap() else {
                panic!()
            };
            (k, Plan::note(&settings, &config, routing).is_some())
        };
        assert_eq!(note(16, Routing::Correct), (16, false));
        assert_eq!(note(17, Routing::Correct), (17, true));
        // The README of the original at 1024 px.
        assert_eq!(note(18, Routing::Correct), (17, true));
        assert_eq!(note(18, Routing::Original), (18, true));
        assert_eq!(note(99, Routing::Original), (18, true));
    }

    #[test]
    fn unknown_names_are_refused() {
        let list = Layers {
            choose: LayerSet::List(vec!["convs.3".into(), "conv.3".into()]),
            ..Layers::default()
        };
        assert!(plan(&list).unwrap_err().to_string().contains("did you mean `convs.3`"));
    }
}
