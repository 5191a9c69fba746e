//! The tensors of a model on their way into it: all there, all of the right shape, none that learns.

use crate::error::{Error, Result};
use crate::torch::{ShapeMap, TensorMap};
use tch::{Device, Kind, Tensor};

/// Checked tensors, taken one by one.
#[derive(Debug)]
pub(super) struct Parameters {
    tensors: TensorMap,
    pub(super) kind: Kind,
    pub(super) device: Device,
}

impl Parameters {
    /// Keeps the tensors that `needed` names, detached.
    ///
    /// # Errors
    /// [`Error::Tensors`] with all that are missing, of another shape, not of floating point, or not all of one
    /// kind and on one device.
    pub(super) fn new(needed: &ShapeMap, mut tensors: TensorMap) -> Result<Self> {
        let mut problems = Vec::new();
        let mut kept = TensorMap::new();
        for (name, shape) in needed {
            match tensors.remove(name) {
                None => problems.push(format!("`{name}` is missing")),
                Some(t) if t.size() != *shape => {
                    problems.push(format!("`{name}` has shape {:?}, expected {shape:?}", t.size()))
                }
                Some(t) => drop(kept.insert(name.clone(), t.detach())),
            }
        }
        let (kind, device) =
            kept.values().next().map_or((Kind::Float, Device::Cpu), |t| (t.kind(), t.device()));
        if kept.values().any(|t| t.kind() != kind || t.device() != device)
            || !matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16)
        {
            problems.push(
                "the tensors are not all of one floating-point kind on one device".to_owned(),
            );
        }
        if problems.is_empty() {
            return Ok(Self { tensors: kept, kind, device });
        }
        let hint = Some("copy them to one kind and device first (`torch::copy_map`)".to_owned())
            .filter(|_| problems.len() == 1 && problems[0].contains("one device"));
        Err(Error::Tensors { what: "CLIP".into(), problems, hint })
    }

    /// The tensor of this name, which must be among those that were asked for.
    ///
    /// # Panics
    /// When it is not, or was taken before: the model and its `shapes()` contradict each other.
    pub(super) fn take(&mut self, name: &str) -> Tensor {
        self.tensors.remove(name).unwrap_or_else(|| panic!("`{name}` is not in Config::shapes()"))
    }
}
