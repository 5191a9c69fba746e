//! `nada evaluate`: how well a finished run went, in figures, verdicts and pictures.

mod document;
mod inputs;
mod reference;
mod sheet;
mod table;

use super::machine::MachineArgs;
use super::outputs;
use super::printer::Printer;
use super::stop;
use super::truncation;
use crate::atomic;
use crate::error::{Error, IoContext, Result};
use crate::evaluate::verdict::findings;
use crate::evaluate::{Evaluation, Pairs};
use crate::imaging::save;
use clap::Args;
use document::Document;
use inputs::Inputs;
use std::path::PathBuf;

/// Pixels of a batch: keeps memory below about 2 GiB at any resolution.
const BATCH_PIXELS: i64 = 1 << 18;

/// What may be typed behind `nada evaluate`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada evaluate runs/sketch
  nada evaluate runs/sketch --clip ViT-B/32 --samples 512
  nada evaluate runs/sketch --phrases photo,sketch,cartoon,anime --json
  nada evaluate runs/sketch --reference drawings/

A CLIP that guided the training flatters its own work; one that did not is the better judge: name it with --clip.
Once such a judge is there, it alone decides over the figures; the others are listed.")]
pub(super) struct EvaluateArgs {
    /// The folder of a finished run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Pairs of images to look at
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(i64).range(2..=20_000), help_heading = "Images")]
    samples: i64,
    /// Pull towards the average image: 1 does not, 0 is the average [default: that of the run's samples]
    #[arg(long, value_name = "PSI", allow_negative_numbers = true, value_parser = truncation::parse, help_heading = "Images")]
    truncation: Option<f64>,
    /// Every random number follows from it; no training uses these numbers, whatever its seed
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Images")]
    seed: u64,
    /// What the run began with, where it is now: looked for in its old place and beside the run unless it is named
    #[arg(long, value_name = "FILE", help_heading = "Images")]
    generator: Option<String>,
    /// A folder of images that show the target, for the Fréchet distance (PNG, JPEG, WebP, GIF, TIFF, BMP)
    #[arg(long, value_name = "DIR", help_heading = "Images")]
    reference: Option<PathBuf>,
    /// A CLIP that judges; repeat it for several [default: those of the run]
    #[arg(long, value_name = "NAME|FILE", help_heading = "Judges")]
    clip: Vec<String>,
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Judges")]
    models_dir: Option<PathBuf>,
    /// What the source shows [default: the run's phrase]
    #[arg(long, value_name = "PHRASE", help_heading = "Judges")]
    source: Option<String>,
    /// What the result should show [default: the run's phrase]
    #[arg(long, value_name = "PHRASE", help_heading = "Judges")]
    target: Option<String>,
    /// Phrases that images are held against: a file with one per line, or a list with commas [default: usual styles]
    ///
    /// The source and the target are always among them. By default those that the judges say they know, else a list
    /// of 27 styles.
    #[arg(long, value_name = "FILE|A,B,C", help_heading = "Judges")]
    phrases: Option<String>,
    /// Where `evaluation.json` and `sheet.png` go; earlier ones are replaced [default: RUN/evaluation]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Print the figures as JSON instead of a table
    #[arg(long, conflicts_with = "markdown", help_heading = "Output")]
    json: bool,
    /// Print a row of a Markdown table, to compare runs
    ///
    /// target | directional similarity | target rate | leak rate | identity | diversity | high frequency | seconds
    #[arg(long, help_heading = "Output")]
    markdown: bool,
    /// Pairs at once [default: by resolution]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1024), help_heading = "Machine")]
    batch: Option<i64>,
    #[command(flatten)]
    pub(super) machine: MachineArgs,
}

/// Runs the command.
pub(super) fn run(args: &EvaluateArgs, printer: &Printer) -> anyhow::Result<()> {
    let inputs = Inputs::find(args)?;
    let folder = args.out.clone().unwrap_or_else(|| inputs.run.path().join("evaluation"));
    let (json, sheet) = (folder.join("evaluation.json"), folder.join("sheet.png"));
    outputs::claim_folder(&folder, true)?;
    outputs::claim_file(&json, true)?;
    outputs::claim_file(&sheet, true)?;

    let quiet = *printer;
    stop::listen(move || quiet.info("stopping; nothing is written (again to stop at once)"));
    let loaded = inputs.load(args, printer)?;
    let (pairs, mut evaluation) = (loaded.pairs, loaded.evaluation);
    let batch = args.batch.unwrap_or((BATCH_PIXELS / pairs.resolution().pow(2)).clamp(1, 32));
    let references = loaded.references.as_ref();
    let skipped = references.map(|r| r.look(&mut evaluation, printer)).transpose()?;
    look(&pairs, &mut evaluation, args.samples, batch, printer)?;
    let (report, samples) = evaluation.finish()?;

    let findings = findings(&report);
    let mut warnings = loaded.warnings;
    warnings.extend(table::warnings(&report));
    for path in skipped.iter().flatten() {
        warnings.push(format!("skipped a reference image: {path}"));
    }
    let document = Document {
        run: &args.run,
        training_seconds: inputs.training_seconds(),
        truncation: loaded.psi,
        seed: args.seed,
        weights: &loaded.weights,
        report: &report,
        findings: &findings,
        warnings: &warnings,
        device: loaded.device,
    };
    let text = document.json()?;
    let picture = sheet::draw(&report, &samples, &pairs, &document, batch)?;

    std::fs::create_dir_all(&folder).while_doing("create", &folder)?;
    let title = format!("{} → {}", report.source, report.target);
    save::png(&sheet, &picture, &[("Description", &title)])?;
    atomic::write(&json, format!("{text}\n"))?;
    for warning in &warnings {
        printer.warn(warning);
    }
    if args.json {
        printer.data(&text)?;
    } else if args.markdown {
        printer.data(&table::markdown(&document))?;
    } else {
        printer.data(&table::table(&document))?;
    }
    printer.info(&format!("{}\n{}", sheet.display(), json.display()));
    Ok(())
}

/// Shows all pairs to the evaluation.
fn look(
    pairs: &Pairs,
    evaluation: &mut Evaluation,
    samples: i64,
    batch: i64,
    printer: &Printer,
) -> Result<()> {
    let bar = printer.bar(samples as u64);
    for start in (0..samples).step_by(batch as usize) {
        if stop::asked() {
            bar.finish_and_clear();
            return Err(Error::Interrupted);
        }
        let indices: Vec<i64> = (start..samples.min(start + batch)).collect();
        let (source, adapted) = pairs.images(&indices)?;
        evaluation.look(&source, &adapted)?;
        bar.inc(indices.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}
