//! `generator.safetensors` and `delta.safetensors`: the adapted generator, whole and as its difference to the start.

use super::{RunDir, Weights, config_hash};
use crate::checkpoint::{DELTA_FORMAT, save_safetensors};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::torch::{self, TensorMap, catch};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// What the files say about themselves.
#[derive(Debug, Clone, Copy)]
pub struct ResultInfo<'a> {
    /// The run's configuration.
    pub config: &'a Config,
    /// Updates made.
    pub iterations: u64,
    /// Side of the images in pixels.
    pub resolution: i64,
    /// The start generator.
    pub base: &'a Weights,
    /// What no tensor of the generator tells: its class, its clamping.
    pub network: &'a BTreeMap<String, String>,
}

impl RunDir {
    /// Writes both files in float32, the whole generator last: it marks the run as finished.
    ///
    /// `generator` and `base` are the complete tensors of the adapted and the start generator. Returns how many
    /// tensors differ.
    ///
    /// # Errors
    /// [`Error::Tensors`] when `generator` lacks tensors of `base`, [`Error::Io`] when the disk is full.
    pub fn write_result(
        &self,
        generator: &TensorMap,
        base: &TensorMap,
        info: ResultInfo<'_>,
    ) -> Result<usize> {
        let delta = delta(base, generator)?;
        let changed = delta.len();
        save_safetensors(
            self.delta_file(),
            &delta,
            &metadata(DELTA_FORMAT, info),
            Some(Kind::Float),
        )?;
        drop(delta);
        save_safetensors(
            self.generator_file(),
            generator,
            &metadata("nada-generator", info),
            Some(Kind::Float),
        )?;
        Ok(changed)
    }
}

fn metadata(format: &str, info: ResultInfo<'_>) -> BTreeMap<String, String> {
    let ResultInfo { config, iterations, resolution, base, network } = info;
    let images = config.target_images.as_ref().map(|p| p.display().to_string());
    let mut metadata: BTreeMap<String, String> = [
        ("format", format.into()),
        ("nada", env!("CARGO_PKG_VERSION").into()),
        ("source", config.source.clone()),
        ("target", config.target.clone()),
        ("seed", config.seed.to_string()),
        ("iterations", iterations.to_string()),
        ("resolution", resolution.to_string()),
        ("base", base.path.display().to_string()),
        ("base_sha256", base.sha256.clone()),
        ("config_sha256", config_hash(config)),
    ]
    .map(|(key, value): (&str, String)| (key.into(), value))
    .into();
    metadata.extend(network.clone());
    metadata.extend(images.map(|folder| ("target_images".into(), folder)));
    metadata
}

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
