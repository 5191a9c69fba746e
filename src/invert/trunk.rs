//! The trunks: IR-SE50 (of ArcFace) and ResNet34 without its pooling. Both halve the input four times.

use super::config::{broken, count, sizes};
use super::layers::{Conv, Module, Norm, Squeeze};
use crate::error::Result;
use crate::torch::ShapeMap;
use tch::Tensor;

/// Which trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Improved residual units with squeeze and excite; the stem keeps the size, every stage halves it.
    IrSe,
    /// Basic residual units; the stem halves the size, and so does every stage but the first.
    ResNet,
}

impl Family {
    pub(super) fn of(shapes: &ShapeMap) -> Option<Self> {
        [Self::IrSe, Self::ResNet].into_iter().find(|f| shapes.contains_key(f.stem_name()))
    }

    /// The first convolution.
    pub(super) fn stem_name(self) -> &'static str {
        match self {
            Self::IrSe => "input_layer.0.weight",
            Self::ResNet => "conv1.weight",
        }
    }

    pub(super) fn add_stem(self, all: &mut ShapeMap, width: i64, channels: i64) {
        let (norm, slope, side) = match self {
            Self::IrSe => ("input_layer.1", "input_layer.2.weight", 3),
            Self::ResNet => ("bn1", "relu.weight", 7),
        };
        all.insert(self.stem_name().into(), vec![width, channels, side, side]);
        Norm::shapes(all, norm, width);
        all.insert(slope.into(), vec![width]);
    }
}

/// Sizes of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) inputs: i64,
    pub(super) outputs: i64,
    /// Whether a stage begins here. All but ResNet34's first halve the size there.
    pub(super) starts_stage: bool,
    /// Whether its shortcut is a convolution.
    projects: bool,
    /// Width in the middle of squeeze and excite.
    squeeze: Option<i64>,
}

impl Unit {
    pub(super) fn infer(shapes: &ShapeMap, family: Family) -> Result<Vec<Self>> {
        let units = count(shapes, "body")?;
        if units == 0 {
            return Err(broken(vec!["no unit `body.0.…` is there".into()]));
        }
        (0..units)
            .map(|i| {
                let at = |leaf: &str| format!("body.{i}.{leaf}");
                let (first, shortcut) = match family {
                    Family::IrSe => ("res_layer.1.weight", "shortcut_layer.0.weight"),
                    Family::ResNet => ("conv1.weight", "downsample.0.weight"),
                };
                let [outputs, inputs, ..] = sizes::<4>(shapes, &at(first))?;
                let projects = shapes.contains_key(&at(shortcut));
                let fc1 = at("res_layer.5.fc1.weight");
                let squeeze = match shapes.contains_key(&fc1) {
                    true => Some(sizes::<4>(shapes, &fc1)?[0]),
                    false => None,
                };
                Ok(Self { inputs, outputs, starts_stage: i == 0 || projects, projects, squeeze })
            })
            .collect()
    }

    pub(super) fn add(&self, all: &mut ShapeMap, family: Family, index: usize) {
        let at = |leaf: &str| format!("body.{index}.{leaf}");
        let (outputs, inputs) = (self.outputs, self.inputs);
        let mut conv = |name: &str, from: i64, side: i64| {
            all.insert(at(name), vec![outputs, from, side, side]);
        };
        let norms: &[(&str, i64)] = match family {
            Family::IrSe => {
                conv("res_layer.1.weight", inputs, 3);
                conv("res_layer.3.weight", outputs, 3);
                if self.projects {
                    conv("shortcut_layer.0.weight", inputs, 1);
                }
                &[("res_layer.0", inputs), ("res_layer.4", outputs), ("shortcut_layer.1", outputs)]
            }
            Family::ResNet => {
                conv("conv1.weight", inputs, 3);
                conv("conv2.weight", outputs, 3);
                if self.projects {
                    conv("downsample.0.weight", inputs, 1);
                }
                &[("bn1", outputs), ("bn2", outputs), ("downsample.1", outputs)]
            }
        };
        let norms = if self.projects { norms } else { &norms[..2] };
        for (name, channels) in norms {
            Norm::shapes(all, &at(name), *channels);
        }
        if family == Family::IrSe {
            all.insert(at("res_layer.2.weight"), vec![outputs]);
        }
        if let Some(squeeze) = self.squeeze {
            all.insert(at("res_layer.5.fc1.weight"), vec![squeeze, outputs, 1, 1]);
            all.insert(at("res_layer.5.fc2.weight"), vec![outputs, squeeze, 1, 1]);
        }
    }

    fn stride(&self, family: Family) -> i64 {
        match family {
            Family::IrSe if self.starts_stage => 2,
            Family::ResNet if self.projects => 2,
            _ => 1,
        }
    }
}

/// The stem and the units.
#[derive(Debug)]
pub(super) struct Trunk {
    stem: Conv,
    slope: Tensor,
    units: Vec<Layer>,
}

#[derive(Debug)]
enum Layer {
    IrSe {
        norm: Norm,
        first: Conv,
        slope: Tensor,
        second: Conv,
        squeeze: Option<Squeeze>,
        shortcut: Option<Conv>,
        stride: i64,
    },
    ResNet {
        first: Conv,
        second: Conv,
        shortcut: Option<Conv>,
    },
}

impl Trunk {
    pub(super) fn new(p: &Module<'_>, family: Family, units: &[Unit]) -> Self {
        let (stem, slope) = match family {
            Family::IrSe => {
                let layer = p.at("input_layer");
                (Conv::with_norm(&layer.at(0), &layer.at(1), 1), layer.at(2).get("weight"))
            }
            Family::ResNet => {
                (Conv::with_norm(&p.at("conv1"), &p.at("bn1"), 2), p.at("relu").get("weight"))
            }
        };
        let layer = |(i, unit): (usize, &Unit)| Layer::new(&p.at("body").at(i), family, unit);
        Self { stem, slope, units: units.iter().enumerate().map(layer).collect() }
    }

    /// The outputs of the units that `wanted` names, in their order: `[N, C, H, W]` each.
    pub(super) fn forward(&self, xs: &Tensor, wanted: &[usize]) -> Vec<Tensor> {
        let mut xs = self.stem.forward(xs).prelu(&self.slope);
        let mut kept = Vec::with_capacity(wanted.len());
        for (i, unit) in self.units.iter().enumerate() {
            xs = unit.forward(&xs);
            if wanted.contains(&i) {
                kept.push(xs.shallow_clone());
            }
        }
        kept
    }
}

impl Layer {
    fn new(p: &Module<'_>, family: Family, unit: &Unit) -> Self {
        let stride = unit.stride(family);
        let shortcut = |name: &str| {
            let p = p.at(name);
            unit.projects.then(|| Conv::with_norm(&p.at(0), &p.at(1), stride))
        };
        match family {
            Family::IrSe => {
                let res = p.at("res_layer");
                Self::IrSe {
                    norm: Norm::new(&res.at(0)),
                    first: Conv::plain(&res.at(1), 1),
                    slope: res.at(2).get("weight"),
                    second: Conv::with_norm(&res.at(3), &res.at(4), stride),
                    squeeze: unit.squeeze.map(|_| Squeeze::new(&res.at(5))),
                    shortcut: shortcut("shortcut_layer"),
                    stride,
                }
            }
            Family::ResNet => Self::ResNet {
                first: Conv::with_norm(&p.at("conv1"), &p.at("bn1"), stride),
                second: Conv::with_norm(&p.at("conv2"), &p.at("bn2"), 1),
                shortcut: shortcut("downsample"),
            },
        }
    }

    fn forward(&self, xs: &Tensor) -> Tensor {
        match self {
            Self::IrSe { norm, first, slope, second, squeeze, shortcut, stride } => {
                let ys = second.forward(&first.forward(&norm.forward(xs)).prelu(slope));
                let ys = squeeze.as_ref().map_or_else(|| ys.shallow_clone(), |s| s.forward(&ys));
                let kept = match shortcut {
                    Some(conv) => conv.forward(xs),
                    // A max-pooling of size 1: every other pixel.
                    None if *stride > 1 => {
                        xs.slice(2, None, None, *stride).slice(3, None, None, *stride)
                    }
                    None => xs.shallow_clone(),
                };
                ys + kept
            }
            Self::ResNet { first, second, shortcut } => {
                let ys = second.forward(&first.forward(xs).relu());
                let kept = shortcut.as_ref().map_or_else(|| xs.shallow_clone(), |s| s.forward(xs));
                (ys + kept).relu()
            }
        }
    }
}
