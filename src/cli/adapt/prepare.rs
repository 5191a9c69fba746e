//! A configuration → everything loaded and checked, ready for the first step.

use super::super::printer::Printer;
use super::super::unread;
use super::starts::Starts;
use crate::adapt::direction::{self, Direction};
use crate::adapt::layer_choice::{Plan, Routing};
use crate::adapt::{Adaptation, Judge};
use crate::builtin;
use crate::checkpoint::address;
use crate::clip::{Clip, Resize};
use crate::config::{ClipModel, ClipResize, Config};
use crate::error::{Error, IoContext, Result};
use crate::imaging::{load, pil};
use crate::models::{self, ClipTable, GeneratorFiles, GeneratorTable};
use crate::rng;
use crate::run_dir::{Manifest, ResultInfo, RunDir, Weights};
use crate::stylegan2::{Generator, Latent, LatentAvgOrigin, Noise};
use crate::torch::threads;
use crate::torch::{self, TensorMap};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// How many generated images stand for the source when the target is given by images (the original's 16).
const SOURCE_IMAGES: i64 = 16;

/// A run that can begin.
pub(super) struct Prepared {
    pub(super) adaptation: Adaptation,
    pub(super) manifest: Manifest,
    base: TensorMap,
    base_weights: Weights,
}

/// Loads the models and makes the directions.
pub(super) fn prepare(
    config: &Config,
    starts: &Starts,
    models_dir: Option<&Path>,
    printer: &Printer,
) -> Result<Prepared> {
    let device = super::device(config)?;
    let mut manifest = Manifest::new();
    manifest.device = torch::device_name(device);
    manifest.threads = threads::count();

    let Tables { start, reference, clips } = Tables::read(config, starts, models_dir, printer)?;
    let targets = config.target_images.as_deref().map(load::image_files).transpose()?;
    let open = |role, table: Listed| generator(role, table, device, printer);
    let (start, start_weights) = open("generator", start)?;
    let frozen = match reference {
        Some(reference) => {
            let (frozen, weights) = open("reference", reference)?;
            manifest.weights.push(weights);
            frozen
        }
        None => start.duplicate(Kind::Float, device)?,
    };
    if start.latent_avg_origin() == LatentAvgOrigin::Estimated {
        manifest.latent_avg = "estimated".into();
        printer.detail("the file has no latent_avg: it was estimated from 4,096 seeded z");
    } else {
        manifest.latent_avg = "stored".into();
    }
    manifest.weights.push(start_weights.clone());

    let (mut judges, mut guides) = (Vec::new(), Vec::new());
    let mut config = config.clone();
    for (i, (path, table)) in clips.into_iter().enumerate() {
        let name = config.clip[i].model.clone();
        if address::exists(Path::new(&name)) || models_dir.is_some_and(|dir| path.starts_with(dir))
        {
            // A resumed run must find it again, from any folder and without `--models-dir`.
            let path = address::canonical(&path).while_doing("read", &path)?;
            config.clip[i].model = path.to_string_lossy().into_owned();
        }
        let weight = config.clip[i].weight;
        let (clip, origin) = table.open(Kind::Float, device)?;
        printer.detail(&format!(
            "{}: {} px, {} features",
            path.display(),
            clip.resolution(),
            clip.embed_dim()
        ));
        manifest.warnings.extend(origin.notes);
        manifest.weights.push(Weights::new("clip", &path, origin.sha256));
        let resize = match config.train.clip_resize {
            ClipResize::Antialias => Resize::Antialias,
            ClipResize::Legacy => Resize::Legacy,
        };
        let direction = match &targets {
            Some(files) => from_images(&clip, &start, files, &config, resize)?,
            None => Direction::from_phrases(&clip, &config.source, &config.target, &config.losses)?,
        };
        guides.extend(clip.vocabulary().map(|known| (name, known.clone())));
        judges.push(Judge::new(clip, weight, resize, direction));
    }
    if targets.is_none() {
        for (role, phrase) in [("source", &config.source), ("target", &config.target)] {
            manifest.warnings.extend(unread::warning(role, phrase, &guides));
        }
    }
    // On the CPU, so that a GPU does not hold a third generator.
    let base = torch::copy_map(&start.tensors(), Device::Cpu, Kind::Float);
    let adaptation = Adaptation::new(frozen, start, judges, config)?;
    let trained = adaptation.trained_names();
    let params = adaptation.trainable().params().iter();
    manifest.trained_parameters =
        params.filter(|(n, _)| trained.contains(*n)).map(|(_, t)| t.numel() as u64).sum();
    Ok(Prepared { adaptation, manifest, base, base_weights: start_weights })
}

impl Prepared {
    /// What would happen, for `--dry-run`.
    pub(super) fn plan(&self) -> String {
        let config = self.adaptation.config();
        let g = self.adaptation.trainable().config();
        let mut lines = vec![
            format!("{} -> {}", config.source, config.target),
            format!(
                "generator  {} ({}, {} style inputs)",
                self.base_weights.path.display(),
                g.size_in_words(),
                g.num_styles()
            ),
        ];
        for w in self.manifest.weights.iter().filter(|w| w.role == "clip") {
            lines.push(format!("clip       {}", w.path.display()));
        }
        let trained = self.adaptation.trained_names();
        let layers: Vec<String> =
            super::layers_of(&self.adaptation).iter().map(ToString::to_string).collect();
        lines.push(format!(
            "training   {} steps of {} images on {}, {} threads",
            config.train.iterations,
            config.train.batch,
            self.manifest.device,
            self.manifest.threads
        ));
        lines.push(format!(
            "may train  {} of {} tensors, {} numbers: {}",
            trained.len(),
            self.adaptation.trainable().params().len(),
            self.manifest.trained_parameters,
            layers.join(" ")
        ));
        lines.join("\n")
    }

    /// `generator.safetensors` and `delta.safetensors`.
    pub(super) fn write_result(&self, folder: &RunDir) -> Result<()> {
        let info = ResultInfo {
            config: self.adaptation.config(),
            iterations: self.adaptation.config().train.iterations,
            resolution: self.adaptation.trainable().config().resolution,
            base: &self.base_weights,
            network: &models::generator_metadata(self.adaptation.trainable()),
        };
        folder.write_result(&self.adaptation.result(), &self.base, info)?;
        Ok(())
    }
}

/// A generator's files and their tables.
type Listed = (GeneratorFiles, GeneratorTable);

/// What all files of a run say about themselves. It is looked at before any number is read: a request that cannot be
/// met by it fails at once.
struct Tables {
    start: Listed,
    reference: Option<Listed>,
    clips: Vec<(PathBuf, ClipTable)>,
}

impl Tables {
    fn read(
        config: &Config,
        starts: &Starts,
        models_dir: Option<&Path>,
        printer: &Printer,
    ) -> Result<Self> {
        let class = config.class.map(i64::from);
        let generator = |files: &GeneratorFiles| {
            Ok::<_, Error>((files.clone(), GeneratorTable::read(files, class)?))
        };
        let start = generator(&starts.generator)?;
        let shape = start.1.config();
        let reference = starts.reference.as_ref().map(generator).transpose()?;
        if let Some((_, twin)) = &reference
            && twin.config() != shape
        {
            return Err(Error::request(
                format!(
                    "the generators differ: {} and {}, or other channels",
                    twin.config().size_in_words(),
                    shape.size_in_words()
                ),
                "`--reference` must have the same architecture as `--generator`",
            ));
        }
        let routing = Routing::of(config.parity);
        Plan::new(&config.layers, shape, routing)?;
        if let Some(note) = Plan::note(&config.layers, shape, routing) {
            printer.info(&note);
        }
        let clip = |model: &ClipModel| {
            let path = builtin::resolve_clip(&model.model, models_dir)?;
            let table = ClipTable::read(&path)?;
            if config.target_images.is_none() {
                direction::check_phrase(table.config(), &config.source)?;
                direction::check_phrase(table.config(), &config.target)?;
            }
            Ok((path, table))
        };
        let clips = config.clip.iter().map(clip).collect::<Result<Vec<_>>>()?;
        Ok(Self { start, reference, clips })
    }
}

fn generator(
    role: &str,
    (files, table): Listed,
    device: Device,
    printer: &Printer,
) -> Result<(Generator, Weights)> {
    let (generator, origin) = table.open(Kind::Float, device)?;
    printer.detail(&format!("{files}: {} generator", generator.config().size_in_words()));
    Ok((generator, Weights::new(role, &origin.path, origin.sha256)))
}

/// The direction from what the generator makes to a folder of images (reference §1.6).
fn from_images(
    clip: &Clip,
    generator: &Generator,
    files: &[std::path::PathBuf],
    config: &Config,
    resize: Resize,
) -> Result<Direction> {
    let z = rng::stream(config.seed, 0, "source images").normal(
        &[SOURCE_IMAGES, generator.config().z_dim],
        generator.kind(),
        generator.device(),
    );
    let (images, _) = generator.generate(&Latent::Z(z), 1.0, Noise::Stored)?;
    let source = direction::image_features(clip, &images, resize)?;
    let mut features = Vec::new();
    for file in files {
        let picture = load::open_image(file)?;
        let prepared = pil::clip_transform(&picture, clip.resolution() as u32)?;
        let prepared = Tensor::try_from(prepared).map_err(|e| Error::file(file, e))?.unsqueeze(0);
        features.push(direction::prepared_image_features(clip, &prepared)?);
    }
    Direction::from_images(&source, &Tensor::cat(&features, 0))
}
