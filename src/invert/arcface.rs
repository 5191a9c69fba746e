//! ArcFace's IR-SE50 with its head: faces → features in which the same person is near.
//!
//! The file is `model_ir_se50.pth`, which pSp, StyleCLIP and StyleGAN-NADA use for their identity loss
//! (TreB1eN/InsightFace_Pytorch): the trunk of the encoders, then `output_layer`.

use super::layers::{Module, Norm};
use super::trunk::{Family, Trunk, Unit};
use crate::error::{Error, Result};
use crate::torch::{ShapeMap, TensorMap};
use tch::Tensor;

/// The trunk halves its input four times.
const STRIDE: i64 = 16;

/// A frozen face recogniser; gradients reach images, never parameters.
#[derive(Debug)]
pub struct ArcFace {
    trunk: Trunk,
    last: usize,
    flat: Norm,
    weight: Tensor,
    bias: Tensor,
    features: Norm,
    side: i64,
}

impl ArcFace {
    /// What a file must hold, told by the shapes that it has.
    ///
    /// # Errors
    /// [`Error::Tensors`] when it is no IR-SE network with a head.
    pub fn shapes(found: &ShapeMap) -> Result<ShapeMap> {
        let broken = |problem: String| Error::Tensors {
            what: "no ArcFace network can be read from these tensors".into(),
            problems: vec![problem],
            hint: Some("the file is `model_ir_se50.pth`, as pSp and StyleCLIP use it".into()),
        };
        if Family::of(found) != Some(Family::IrSe) {
            return Err(broken("`input_layer.0.weight` is missing".into()));
        }
        let units = Unit::infer(found, Family::IrSe).map_err(|e| broken(e.to_string()))?;
        let (Some(&[width, inputs]), Some(&[stem, channels, ..])) = (
            found.get("output_layer.3.weight").map(Vec::as_slice),
            found.get("input_layer.0.weight").map(Vec::as_slice),
        ) else {
            return Err(broken("`output_layer.3.weight` is missing".into()));
        };
        let mut all = ShapeMap::new();
        Family::IrSe.add_stem(&mut all, stem, channels);
        units.iter().enumerate().for_each(|(i, unit)| unit.add(&mut all, Family::IrSe, i));
        let outputs = units.last().map_or(1, |unit| unit.outputs).max(1);
        let side = ((inputs / outputs) as f64).sqrt().round() as i64;
        if side < 1 || inputs != outputs * side * side {
            return Err(broken(format!(
                "`output_layer.3.weight` takes {inputs} numbers, the trunk gives {outputs} channels"
            )));
        }
        Norm::shapes(&mut all, "output_layer.0", outputs);
        all.insert("output_layer.3.weight".into(), vec![width, inputs]);
        all.insert("output_layer.3.bias".into(), vec![width]);
        Norm::shapes(&mut all, "output_layer.4", width);
        Ok(all)
    }

    /// Builds it from tensors of one kind on one device.
    ///
    /// # Errors
    /// As [`ArcFace::shapes`].
    pub fn new(tensors: &TensorMap) -> Result<Self> {
        let shapes = crate::torch::shapes(tensors);
        Self::shapes(&shapes)?;
        let units = Unit::infer(&shapes, Family::IrSe)?;
        let root = Module::root(tensors);
        let head = root.at("output_layer");
        let weight = head.at(3).get("weight");
        let outputs = units.last().map_or(1, |unit| unit.outputs);
        let side = ((weight.size()[1] / outputs) as f64).sqrt().round() as i64 * STRIDE;
        Ok(tch::no_grad(|| Self {
            trunk: Trunk::new(&root, Family::IrSe, &units),
            last: units.len() - 1,
            flat: Norm::new(&head.at(0)),
            bias: head.at(3).get("bias"),
            features: Norm::new(&head.at(4)),
            weight,
            side,
        }))
    }

    /// Side of the images that it takes, 112 as a rule.
    pub fn side(&self) -> i64 {
        self.side
    }

    /// Features, not normalised: `[N, 3, side, side]` in [-1, 1] → `[N, E]`. Differentiable.
    pub fn forward(&self, faces: &Tensor) -> Tensor {
        let map = self.trunk.forward(faces, &[self.last]).swap_remove(0);
        let flat = self.flat.forward(&map).flatten(1, -1);
        self.features.forward(&flat.linear(&self.weight, Some(&self.bias)))
    }
}
