//! A configuration → everything loaded and checked, ready for the first step.

use super::super::printer::Printer;
use super::super::unread;
use crate::adapt::direction;
use crate::builtin;
use crate::checkpoint::{address, save_safetensors};
use crate::clip::{Clip, Resize, Vocabulary};
use crate::config::{ClipResize, MapperConfig, Parity};
use crate::edit::mapper::MapperTraining;
use crate::edit::mapper::figures::Witness;
use crate::edit::{Critic, Eye, Identity};
use crate::error::{IoContext, Result};
use crate::models::{self, ClipTable, GeneratorFiles, GeneratorTable, MAPPER_FORMAT};
use crate::run_dir::{Manifest, RunDir, Weights, config_hash};
use crate::torch::threads;
use crate::torch::{self, TensorMap};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind};

/// A training that can begin, and who will judge it.
pub(super) struct Prepared {
    pub(super) training: MapperTraining,
    pub(super) witnesses: Vec<Witness>,
    /// Names of the CLIPs that judge.
    pub(super) judges: Vec<String>,
    pub(super) manifest: Manifest,
    pub(super) generator: Weights,
}

/// Loads the models and encodes the texts.
pub(super) fn prepare(
    config: &MapperConfig,
    files: &GeneratorFiles,
    models_dir: Option<&Path>,
    printer: &Printer,
) -> Result<Prepared> {
    threads::set(config.threads);
    let device = torch::device(&config.device)?;
    let mut config = config.clone();
    let mut manifest = Manifest::new();
    manifest.device = torch::device_name(device);
    manifest.threads = threads::count();
    let class = config.class.map(i64::from);
    // What the tables of all files tell comes before the numbers of any.
    let table = GeneratorTable::read(files, class)?;
    let shape = table.config().clone();
    for name in config.clip.iter().map(|c| &c.model).chain(&config.judge) {
        let clip = ClipTable::read(&builtin::resolve_clip(name, models_dir)?)?;
        if config.parity == Parity::Original && config.clip.iter().any(|c| c.model == *name) {
            Eye::check_styleclip(&shape, clip.config().resolution())?;
        }
        direction::check_phrase(clip.config(), &config.source)?;
        direction::check_phrase(clip.config(), &config.target)?;
    }
    let (generator, origin) = table.open(Kind::Float, device)?;
    printer.detail(&format!("{files}: {} generator", shape.size_in_words()));
    let weights = Weights::new("generator", &origin.path, origin.sha256);
    manifest.weights.push(weights.clone());

    let mut critic = Critic::default();
    let mut guides: Vec<(String, Vocabulary)> = Vec::new();
    let side = generator.config().resolution;
    for i in 0..config.clip.len() {
        let weight = config.clip[i].weight;
        let name = &mut config.clip[i].model;
        let (clip, known) = open_clip(name, models_dir, &mut manifest, device)?;
        guides.extend(known.map(|known| (name.clone(), known)));
        let eye = match (config.parity, config.train.clip_resize) {
            (Parity::Original, _) => Eye::styleclip(side, clip.resolution(), Kind::Float, device)?,
            (_, ClipResize::Antialias) => Eye::clip(clip.resolution(), Resize::Antialias),
            (_, ClipResize::Legacy) => Eye::clip(clip.resolution(), Resize::Legacy),
        };
        critic.add(clip, eye, weight, &config.target)?;
    }
    for (role, phrase) in [("source", &config.source), ("target", &config.target)] {
        manifest.warnings.extend(unread::warning(role, phrase, &guides));
    }
    let identity = match &config.arcface {
        Some(path) if config.losses.identity > 0.0 => {
            let (network, origin) = models::open_arcface(path, device)?;
            manifest.weights.push(Weights::new("arcface", path, origin.sha256));
            Some(Identity::new(network))
        }
        _ => None,
    };
    let mut judges = config.judge.clone();
    if judges.is_empty() {
        judges = config.clip.iter().map(|c| c.model.clone()).collect();
    }
    let mut witnesses = Vec::new();
    for name in &mut judges {
        let mut unrecorded = Manifest::default();
        let (clip, _) = open_clip(name, models_dir, &mut unrecorded, device)?;
        witnesses.push(Witness::new(clip, &config.source, &config.target)?);
    }
    let training = MapperTraining::new(generator, critic, identity, config)?;
    manifest.trained_parameters =
        training.mapper().params().values().map(|t| t.numel() as u64).sum();
    Ok(Prepared { training, witnesses, judges, manifest, generator: weights })
}

/// Opens a CLIP; a path becomes absolute, so that a resumed run finds it again.
fn open_clip(
    name: &mut String,
    models_dir: Option<&Path>,
    manifest: &mut Manifest,
    device: Device,
) -> Result<(Clip, Option<Vocabulary>)> {
    let path = builtin::resolve_clip(name, models_dir)?;
    if address::exists(Path::new(name.as_str()))
        || models_dir.is_some_and(|dir| path.starts_with(dir))
    {
        let path = address::canonical(&path).while_doing("read", &path)?;
        *name = path.to_string_lossy().into_owned();
    }
    let (clip, origin) = models::open_clip(&path, Kind::Float, device)?;
    manifest.warnings.extend(origin.notes);
    manifest.weights.push(Weights::new("clip", &path, origin.sha256));
    let known = clip.vocabulary().cloned();
    Ok((clip, known))
}

impl Prepared {
    /// `mapper.safetensors`, with what using it needs to know.
    pub(super) fn write_result(&self, folder: &RunDir) -> Result<()> {
        let (config, mapper) = (self.training.config(), self.training.mapper());
        let metadata: BTreeMap<String, String> = [
            ("format", MAPPER_FORMAT.to_owned()),
            ("nada", env!("CARGO_PKG_VERSION").into()),
            ("source", config.source.clone()),
            ("target", config.target.clone()),
            ("strength", config.strength.to_string()),
            ("normalise", mapper.normalise().name().into()),
            ("styles", mapper.styles().to_string()),
            ("width", mapper.width().to_string()),
            ("generator", self.generator.path.display().to_string()),
            ("generator_sha256", self.generator.sha256.clone()),
            ("iterations", config.train.iterations.to_string()),
            ("seed", config.seed.to_string()),
            ("config_sha256", config_hash(config)),
        ]
        .map(|(key, value)| (key.into(), value))
        .into();
        // The names that StyleCLIP's code reads.
        let tensors: TensorMap =
            mapper.params().iter().map(|(n, t)| (format!("mapper.{n}"), t.detach())).collect();
        save_safetensors(folder.mapper_file(), &tensors, &metadata, Some(Kind::Float))
    }
}
