//! `nada invert`: photos → the codes from which a generator makes them again.

use super::inverting::{InputKind, InversionArgs, Inverter, Kept, Ledger, Session, Tables};
use super::photos::{Cutter, PhotoArgs, distinct, gather};
use super::printer::{Printer, table};
use crate::checkpoint::{save_npy, save_safetensors};
use crate::error::Result;
use crate::torch::TensorMap;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::Tensor;

/// What may be typed behind `nada invert`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada invert me.jpg friends/ --out inverted
  nada invert me.jpg --optimize 200 --out inverted
  nada invert me.jpg --encoder restyle_psp_ffhq_encode.pt --out inverted
  nada invert cat.jpg --generator afhqcat.pkl --encoder none --crop 512 --out inverted

What it writes:  DIR/latents.safetensors and .npy: all codes; DIR/NAME/: the codes, the aligned photo, the picture of
every round and a strip of them; DIR/sheet.png; DIR/inversion.json: errors, settings, hashes of the models.
The codes work in every generator that was adapted from this one:
  nada generate --generator runs/sketch --latents inverted/latents.safetensors --out sketched.png")]
pub(super) struct InvertArgs {
    #[command(flatten)]
    photos: PhotoArgs,
    /// A shipped name, a checkpoint file, the folder of a run, or BASE+DELTA [default: the generator in the file of
    /// --encoder, else the one that ships]
    #[arg(long, value_name = "FILE|RUN", help_heading = "Models")]
    generator: Option<String>,
    #[command(flatten)]
    inversion: InversionArgs,
    /// The folder for the results; the same command goes on where it was stopped
    #[arg(long, value_name = "DIR", default_value = "inverted", help_heading = "Output")]
    out: PathBuf,
    /// Write into a folder that holds something else, and do everything anew
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Print the errors as JSON instead of a table
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &InvertArgs, printer: &Printer) -> anyhow::Result<()> {
    let photos = gather(&args.photos.photos, printer)?;
    let asked = args.generator.as_deref();
    let tables = Tables::read(&args.inversion, asked, None, InputKind::Photo, printer)?;
    let inverter = Inverter::open(&args.inversion, tables, printer)?;
    let cutter = Cutter::new(
        &args.photos,
        photos.len(),
        inverter.frame(),
        inverter.shape(),
        inverter.device,
    )?;
    let ledger =
        Ledger::new(settings(&args.photos, &inverter), inverter.weights.clone(), inverter.device);
    let mut session = Session::open(
        &args.out,
        "inversion.json",
        ledger,
        &inverter,
        Kept::Everything,
        args.force,
        printer,
    )?;
    let photos = distinct(photos, &session.ledger.names());
    session.run(&photos, &cutter)?;
    let faces = session.faces(&photos);
    if !faces.is_empty() {
        let mut columns = vec![("photo".to_owned(), "photo".to_owned())];
        columns.extend(faces[0].stages.iter().map(|s| (s.name.replace(' ', "_"), s.name.clone())));
        let sheets =
            session.sheets("photos and what the generator makes of them", &faces, &columns)?;
        write_codes(&session, &faces.iter().map(|f| f.name.as_str()).collect::<Vec<_>>())?;
        if args.json {
            printer.data(&json!(faces).to_string())?;
        } else {
            printer.data(&table(&rows(&faces)))?;
            printer.info("(mean squared difference of pixels in [-1, 1] / perceptual distance)");
            for sheet in sheets {
                printer.info(&format!("sheet: {}", sheet.display()));
            }
        }
    }
    session.report_failures(photos.len())?;
    Ok(())
}

/// What decides the codes, beside the weights.
pub(super) fn settings(photos: &PhotoArgs, inverter: &Inverter) -> BTreeMap<String, String> {
    let refine = inverter.refine.as_ref().map_or("none".into(), |r| format!("{r:?}"));
    let region = match (&photos.landmarks, photos.crop, photos.no_align) {
        (Some(file), ..) => format!("landmarks {}", file.display()),
        (_, Some(size), _) => format!("crop {size}"),
        (.., true) => "the middle".into(),
        _ => format!("face {}", photos.face),
    };
    [
        ("input", format!("{:?}", inverter.kind).to_lowercase()),
        ("rounds", inverter.rounds().to_string()),
        ("optimisation", refine),
        ("region", region),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

/// All codes together: `latents` `[N, L, D]`.
pub(super) fn write_codes(session: &Session<'_>, names: &[&str]) -> Result<()> {
    let codes = names.iter().map(|name| Ok(session.files(name).read_codes()?.codes));
    let codes = Tensor::cat(&codes.collect::<Result<Vec<_>>>()?, 0);
    let generator = &session.inverter.weights[0];
    let about = [
        ("names", json!(names).to_string()),
        ("generator", generator.path.display().to_string()),
        ("generator_sha256", generator.sha256.clone()),
        ("latent_kind", "w+".into()),
    ];
    let about = about.map(|(k, v)| (k.to_owned(), v)).into();
    save_npy(session.out.join("latents.npy"), &codes)?;
    let tensors: TensorMap = [("latents".to_owned(), codes)].into();
    save_safetensors(session.out.join("latents.safetensors"), &tensors, &about, None)
}

/// Errors as a table: a row per face, a column per result on the way.
fn rows(faces: &[super::inverting::FaceRecord]) -> Vec<Vec<String>> {
    let mut rows = vec![vec!["photo".to_owned()]];
    rows[0].extend(faces[0].stages.iter().map(|stage| stage.name.clone()));
    for face in faces {
        let cell = |stage: &super::inverting::StageRecord| match (stage.pixel, stage.perceptual) {
            (Some(pixel), Some(look)) => format!("{pixel:.4} / {look:.4}"),
            (Some(pixel), None) => format!("{pixel:.4}"),
            _ => "-".into(),
        };
        let mut row = vec![face.name.clone()];
        row.extend(face.stages.iter().map(cell));
        rows.push(row);
    }
    rows
}
