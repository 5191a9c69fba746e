//! What an adaptation changed: a generator as its difference to another one.
//!
//! A delta is a safetensors file with the changed tensors and, in its metadata, [`DELTA_FORMAT`] as `format` and the
//! SHA-256 of the base's file as `base_sha256`: upon any other base it would make something nobody trained.

use crate::error::{Error, Result};
use crate::torch::{self, TensorMap, catch};
use tch::{Device, Kind, Tensor};

/// What the metadata of a `delta.safetensors` call their format.
pub const DELTA_FORMAT: &str = "nada-delta";

/// The tensors of `generator` that are not in `base`, or differ there by as much as a bit. In float32.
///
/// # Errors
/// [`Error::Tensors`] when `generator` lacks tensors of `base`: no delta can take them away.
pub fn delta(base: &TensorMap, generator: &TensorMap) -> Result<TensorMap> {
    let lacking: Vec<String> = base
        .keys()
        .filter(|name| !generator.contains_key(*name))
        .map(|name| format!("`{name}` is missing"))
        .collect();
    if !lacking.is_empty() {
        return Err(Error::Tensors {
            what: "the adapted generator is not built as its start".into(),
            problems: lacking,
            hint: None,
        });
    }
    catch("comparing generators", || {
        let mut changed = TensorMap::new();
        for (name, tensor) in generator {
            let new = plain(tensor);
            if base.get(name).is_none_or(|old| !same_bits(&plain(old), &new)) {
                changed.insert(name.clone(), new);
            }
        }
        Ok(changed)
    })
}

/// The generator that `delta` makes of its `base`, in float32; bit for bit what the run wrote. Shares memory with
/// both where they are float32 already.
///
/// That the base is the right one is told by its hash, `base_sha256` in the delta's metadata.
///
/// # Errors
/// [`Error::Tensors`] when a tensor of the delta has another shape than in the base.
pub fn apply_delta(base: &TensorMap, delta: &TensorMap) -> Result<TensorMap> {
    let problems: Vec<String> = torch::shapes(delta)
        .into_iter()
        .filter_map(|(name, shape)| {
            let expected = base.get(&name)?.size();
            (expected != shape)
                .then(|| format!("`{name}` has shape {shape:?}, the base has {expected:?}"))
        })
        .collect();
    if !problems.is_empty() {
        return Err(Error::Tensors {
            what: "this delta belongs to another base".into(),
            problems,
            hint: Some("its metadata name the base it was made from".into()),
        });
    }
    let mut whole: TensorMap = base.iter().map(|(name, t)| (name.clone(), plain(t))).collect();
    whole.extend(delta.iter().map(|(name, t)| (name.clone(), plain(t))));
    Ok(whole)
}

/// As the files hold it: floating point in float32, on the CPU.
fn plain(tensor: &Tensor) -> Tensor {
    let tensor = tensor.detach().to_device(Device::Cpu);
    if tensor.is_floating_point() { tensor.to_kind(Kind::Float) } else { tensor }
}

/// Equal to the last bit: `-0` is not `0`, and a NaN is itself.
fn same_bits(a: &Tensor, b: &Tensor) -> bool {
    if a.kind() != b.kind() || a.size() != b.size() {
        return false;
    }
    let bits = |t: &Tensor| match t.kind() {
        Kind::Float => t.contiguous().view_dtype(Kind::Int),
        _ => t.shallow_clone(),
    };
    bits(a).equal(&bits(b))
}
