//! `generator.safetensors` and `delta.safetensors`: the adapted generator, whole and as its difference to the start.

use super::{RunDir, Weights, config_hash};
use crate::checkpoint::{DELTA_FORMAT, delta, save_safetensors};
use crate::config::Config;
use crate::error::Result;
use crate::torch::TensorMap;
use std::collections::BTreeMap;
use tch::Kind;

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
    /// [`crate::Error::Tensors`] when `generator` lacks tensors of `base`, [`crate::Error::Io`] when the disk is full.
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
