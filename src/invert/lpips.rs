//! LPIPS (Zhang et al. 2018): AlexNet's or VGG16's features, and how much each channel counts.
//!
//! Follows richzhang/PerceptualSimilarity, version 0.1; fixture `lpips`. Tensors under torchvision's names
//! (`features.0.weight`) beside the weights of the channels (`lin0.model.1.weight`), or all of them as the state of the
//! original's module (`net.slice1.0.weight`). Every width is inferred.

use crate::error::{Error, Result};
use crate::torch::{ShapeMap, TensorMap};
use tch::Tensor;

/// What ImageNet's networks expect, for images in [-1, 1].
const SHIFT: [f64; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f64; 3] = [0.458, 0.448, 0.450];
/// Levels that are compared.
const LEVELS: usize = 5;

/// A convolution of torchvision's `features`.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Its number among them.
    index: usize,
    side: i64,
    stride: i64,
    padding: i64,
    /// Whether a maximum over places comes before it.
    pooled: bool,
    /// Whether what comes out of it is compared.
    level: bool,
}

/// The two backbones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backbone {
    Alex,
    Vgg16,
}

impl Backbone {
    fn plan(self) -> Vec<Plan> {
        match self {
            Self::Alex => [(0, 11, 4, 2), (3, 5, 1, 2), (6, 3, 1, 1), (8, 3, 1, 1), (10, 3, 1, 1)]
                .map(|(index, side, stride, padding)| {
                    let pooled = index == 3 || index == 6;
                    Plan { index, side, stride, padding, pooled, level: true }
                })
                .into(),
            Self::Vgg16 => [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
                .map(|index| {
                    let pooled = [5, 10, 17, 24].contains(&index);
                    let level = [2, 7, 14, 21, 28].contains(&index);
                    Plan { index, side: 3, stride: 1, padding: 1, pooled, level }
                })
                .into(),
        }
    }

    /// Side and stride of its maxima.
    fn pool(self) -> (i64, i64) {
        match self {
            Self::Alex => (3, 2),
            Self::Vgg16 => (2, 2),
        }
    }
}

/// The network, frozen.
#[derive(Debug)]
pub struct Lpips {
    backbone: Backbone,
    convs: Vec<(Plan, Tensor, Tensor)>,
    lins: Vec<Tensor>,
    shift: Tensor,
    scale: Tensor,
}

impl Lpips {
    /// The tensors that it needs among those of one or two files, under torchvision's names; `None` when there are no
    /// features of AlexNet or VGG16.
    ///
    /// # Errors
    /// [`Error::Tensors`] with what is missing or does not fit.
    pub fn shapes(found: &ShapeMap) -> Result<ShapeMap> {
        let backbone = Self::backbone(found)?;
        let mut problems = Vec::new();
        let mut shapes = ShapeMap::new();
        let (mut from, mut level) = (3, 0);
        for plan in backbone.plan() {
            let name = format!("features.{}.weight", plan.index);
            let width = match found.get(&name).map(Vec::as_slice) {
                Some(&[width, ..]) => width,
                _ => {
                    problems.push(format!("`{name}` is missing"));
                    continue;
                }
            };
            shapes.insert(name, vec![width, from, plan.side, plan.side]);
            shapes.insert(format!("features.{}.bias", plan.index), vec![width]);
            if plan.level {
                shapes.insert(format!("lin{level}.model.1.weight"), vec![1, width, 1, 1]);
                level += 1;
            }
            from = width;
        }
        for (name, shape) in &shapes {
            match found.get(name) {
                None => problems.push(format!("`{name}` is missing")),
                Some(other) if other != shape => {
                    problems.push(format!("`{name}` has shape {other:?}, expected {shape:?}"));
                }
                Some(_) => {}
            }
        }
        if problems.is_empty() { Ok(shapes) } else { Err(broken(problems)) }
    }

    fn backbone(found: &ShapeMap) -> Result<Backbone> {
        let has = |index: usize| found.contains_key(&format!("features.{index}.weight"));
        match (has(0), has(2), has(3)) {
            (true, true, false) => Ok(Backbone::Vgg16),
            (true, false, true) => Ok(Backbone::Alex),
            _ => Err(broken(vec![
                "the convolutions `features.N.weight` are not those of AlexNet or VGG16".into(),
            ])),
        }
    }

    /// The canonical name of a tensor of LPIPS's module, or of torchvision's network.
    pub fn canonical_name(name: &str) -> Option<String> {
        if name.starts_with("features.") || name.starts_with("lin") && name.contains(".model.1.") {
            return (!name.starts_with("lins.")).then(|| name.to_owned());
        }
        let (_, rest) = name.strip_prefix("net.slice")?.split_once('.')?;
        Some(format!("features.{rest}"))
    }

    /// Builds it from tensors of one kind on one device, as [`Lpips::shapes`] names them.
    ///
    /// # Errors
    /// [`Error::Tensors`] with what is missing or does not fit.
    pub fn new(tensors: &TensorMap) -> Result<Self> {
        let shapes = crate::torch::shapes(tensors);
        Self::shapes(&shapes)?;
        let backbone = Self::backbone(&shapes)?;
        let get = |name: String| tensors[&name].shallow_clone();
        let convs: Vec<(Plan, Tensor, Tensor)> = backbone
            .plan()
            .into_iter()
            .map(|plan| {
                let leaf = |leaf: &str| get(format!("features.{}.{leaf}", plan.index));
                (plan, leaf("weight"), leaf("bias"))
            })
            .collect();
        let like = &convs[0].1;
        let channels = |values: [f64; 3]| {
            Tensor::from_slice(&values)
                .view([1, 3, 1, 1])
                .to_kind(like.kind())
                .to_device(like.device())
        };
        let (shift, scale) = (channels(SHIFT), channels(SCALE));
        let lins = (0..LEVELS).map(|i| get(format!("lin{i}.model.1.weight"))).collect();
        Ok(Self { backbone, convs, lins, shift, scale })
    }

    /// The maps of the five levels: `[N, 3, H, W]` in [-1, 1] to `[N, C, h, w]`.
    pub(super) fn maps(&self, images: &Tensor) -> Vec<Tensor> {
        let (side, stride) = self.backbone.pool();
        let mut xs = (images.to_kind(self.shift.kind()) - &self.shift) / &self.scale;
        let mut levels = Vec::new();
        for (plan, weight, bias) in &self.convs {
            if plan.pooled {
                xs = xs.max_pool2d([side; 2], [stride; 2], [0, 0], [1, 1], false);
            }
            let (stride, padding) = ([plan.stride; 2], [plan.padding; 2]);
            xs = xs.conv2d(weight, Some(bias), stride, padding, [1, 1], 1).relu();
            if plan.level {
                levels.push(xs.shallow_clone());
            }
        }
        levels
    }

    /// Squared differences of a level `[N, C, h, w]`, weighted and summed over the channels: `[N, 1, h, w]`.
    pub(super) fn weigh(&self, level: usize, squares: &Tensor) -> Tensor {
        squares.conv2d(&self.lins[level], None::<Tensor>, [1, 1], [0, 0], [1, 1], 1)
    }
}

fn broken(problems: Vec<String>) -> Error {
    Error::Tensors {
        what: "these are not the weights of LPIPS".into(),
        problems,
        hint: Some(
            "wanted: torchvision's AlexNet or VGG16 and the `lin` weights of LPIPS 0.1, as `BACKBONE.pth+LIN.pth`, or the state of LPIPS's module in one file".into(),
        ),
    }
}
