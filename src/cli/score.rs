//! `nada score`: how well images and phrases agree, as CLIP sees it.

use super::machine::MachineArgs;
use super::printer::{Printer, table};
use super::unread;
use crate::adapt::direction;
use crate::builtin;
use crate::config::layering::Layered;
use crate::error::{Error, Result};
use crate::imaging::{load, pil};
use crate::models;
use clap::Args;
use image::DynamicImage;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// The preset whose models judge when none is named.
const PRESET: &str = "default";

/// What may be typed behind `nada score`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada score face.png --text \"a photo of a face\" --text \"a sketch of a face\"
  nada score runs/sketch/*.png --text sketch --clip ViT-B/32 --json")]
pub(super) struct ScoreArgs {
    /// Images: PNG, JPEG, WebP, GIF, TIFF or BMP
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// A phrase, taken as it is; repeat it for several
    #[arg(long, value_name = "PHRASE", required = true)]
    text: Vec<String>,
    /// A CLIP that judges; repeat it for several [default: those of the preset `default`]
    #[arg(long, value_name = "NAME|FILE", help_heading = "Models")]
    clip: Vec<String>,
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    models_dir: Option<PathBuf>,
    /// Print JSON instead of tables
    ///
    /// {"images":[…],"texts":[…],"scores":{"MODEL":[[cosine per text] per image]},"warnings":[…]}
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the command.
pub(super) fn run(args: &ScoreArgs, printer: &Printer) -> anyhow::Result<()> {
    if args.text.iter().any(|text| text.trim().is_empty()) {
        return Err(
            Error::request("a phrase is empty", "say what to look for: `--text sketch`").into()
        );
    }
    let device = args.machine.device()?;
    let names = models_of(args)?;
    let files = names
        .iter()
        .map(|n| builtin::resolve_clip(n, args.models_dir.as_deref()))
        .collect::<Result<Vec<_>>>()?;
    let mut scores: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
    let mut guides = Vec::new();
    for (name, file) in names.iter().zip(&files) {
        let (clip, origin) = models::open_clip(file, Kind::Float, device)?;
        origin.notes.iter().for_each(|note| printer.warn(note));
        let texts = direction::features(&clip, &args.text)?;
        let side = clip.resolution() as u32;
        let mut rows = Vec::new();
        for path in &args.images {
            let image = prepared(&load::open_image(path)?, path, side)?;
            let features = direction::prepared_image_features(&clip, &image)?;
            let cosines = features.matmul(&texts.tr()).squeeze_dim(0).to_kind(Kind::Double);
            rows.push((0..args.text.len() as i64).map(|i| cosines.double_value(&[i])).collect());
        }
        scores.insert(name, rows);
        guides.extend(clip.vocabulary().map(|known| (name.clone(), known.clone())));
    }
    let warn = |text: &String| unread::warning("text", text, &guides);
    let warnings: Vec<String> = args.text.iter().filter_map(warn).collect();
    for warning in &warnings {
        printer.warn(warning);
    }
    if args.json {
        let images: Vec<String> = args.images.iter().map(|p| p.display().to_string()).collect();
        let all = json!({
            "images": images, "texts": args.text, "scores": scores, "warnings": warnings
        });
        printer.data(&all.to_string())?;
        return Ok(());
    }
    let tables: Vec<String> =
        names.iter().map(|name| shown(name, args, &scores[name.as_str()])).collect();
    printer.data(&tables.join("\n\n"))?;
    Ok(())
}

/// The models asked for, each once, or the ensemble of the default preset.
fn models_of(args: &ScoreArgs) -> Result<Vec<String>> {
    let mut names = args.clip.clone();
    if names.is_empty() {
        let mut layered = Layered::default();
        layered.overlay_yaml(builtin::preset(PRESET)?, PRESET)?;
        names = layered.resolve()?.clip.into_iter().map(|c| c.model).collect();
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// An image as CLIP's own transform gives it, `[1, 3, side, side]` in [0, 1].
fn prepared(image: &DynamicImage, path: &Path, side: u32) -> Result<Tensor> {
    let pixels = pil::clip_transform(image, side)?;
    Ok(Tensor::try_from(pixels).map_err(|e| Error::file(path, e))?.unsqueeze(0))
}

/// The scores of a model with the best text of each image marked.
fn shown(model: &str, args: &ScoreArgs, scores: &[Vec<f64>]) -> String {
    let mut rows = vec![vec![model.to_owned()]];
    rows[0].extend(args.text.iter().cloned());
    for (path, cosines) in args.images.iter().zip(scores) {
        let best = cosines.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let several = cosines.len() > 1;
        let cell = |cosine: &f64| {
            let mark = if several && *cosine == best { " *" } else { "" };
            format!("{cosine:.4}{mark}")
        };
        rows.push(
            std::iter::once(path.display().to_string()).chain(cosines.iter().map(cell)).collect(),
        );
    }
    table(&rows)
}
