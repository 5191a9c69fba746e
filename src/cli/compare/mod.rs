//! `nada compare`: runs on one sheet, the same codes and the same noise in every row.

mod figures;
mod inputs;
mod sheet;

use super::machine::MachineArgs;
use super::outputs;
use super::printer::Printer;
use super::truncation;
use crate::error::{Error, Result};
use crate::imaging::save;
use clap::Args;
use inputs::Compared;
use sheet::Sheet;
use std::path::{Path, PathBuf};

/// What may be typed behind `nada compare`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada compare runs/sketch runs/zombie
  nada compare runs/* --figures --title \"what the small models can do\" --out gallery.png
  nada compare runs/a runs/b --label \"all layers\" --label \"adaptive, k = 4\" --seed 3
  nada compare runs/faces-sketch runs/cats-sketch --mixed

Image i is the same face in every row: that of `nada generate --seed N --truncation PSI` with the common start.")]
pub(super) struct CompareArgs {
    /// Folders of finished runs, one row each, in this order
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// How many images of each
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(i64).range(1..=256), help_heading = "Images")]
    count: i64,
    /// Pull towards the average image: 1 does not, 0 is the average [default: that of the first run's samples]
    #[arg(long, value_name = "PSI", allow_negative_numbers = true, value_parser = truncation::parse, help_heading = "Images")]
    truncation: Option<f64>,
    /// The codes follow from it; image i is the same whatever the count
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Images")]
    seed: u64,
    /// What the runs began with, where it is now: looked for in its old place and beside the runs unless it is named
    #[arg(long, value_name = "FILE", conflicts_with = "mixed", help_heading = "Images")]
    generator: Option<String>,
    /// Take runs that began with different generators: each gets its own source row above
    #[arg(long, help_heading = "Images")]
    mixed: bool,
    /// The caption of a row instead of the run's target phrase; repeat it, once for each run
    #[arg(long, value_name = "TEXT", help_heading = "Sheet")]
    label: Vec<String>,
    /// The line over everything
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        help_heading = "Sheet"
    )]
    title: String,
    /// Images in a row; more than these go on below, under their sources [default: the count, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Sheet")]
    columns: Option<u16>,
    /// Write under each caption what `nada evaluate` found, where it was asked
    #[arg(long, help_heading = "Sheet")]
    figures: bool,
    /// The picture [default: compare.png, or the next free name]
    #[arg(long, value_name = "FILE.png", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Replace a picture that is there
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs the command.
pub(super) fn run(args: &CompareArgs, printer: &Printer) -> anyhow::Result<()> {
    let out = check_request(args)?;
    let runs = inputs::find(args)?;
    let psi = args.truncation.unwrap_or(runs[0].config.output.sample_truncation);
    let device = args.machine.device()?;
    outputs::make_room(&out)?;
    let sheet = Sheet { args, psi, device, runs: &runs };
    let picture = sheet.draw(printer)?;
    let listed: Vec<String> = runs.iter().map(Compared::name).collect();
    let text = [
        ("Description", args.title.clone()),
        ("Runs", listed.join("\n")),
        ("Seed", args.seed.to_string()),
        ("Truncation", psi.to_string()),
    ];
    let text: Vec<(&str, &str)> =
        text.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (*k, v.as_str())).collect();
    save::png(&out, &picture, &text)?;
    printer.data(&out.display().to_string())?;
    Ok(())
}

/// What can be refused before anything is read.
fn check_request(args: &CompareArgs) -> Result<PathBuf> {
    let (labels, runs) = (args.label.len(), args.runs.len());
    if labels > 0 && labels != runs {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        return Err(Error::request(
            format!("{} for {}", count(labels, "label"), count(runs, "run")),
            "give `--label` once for each run, in their order, or leave it out",
        ));
    }
    let out = args.out.clone().unwrap_or_else(|| outputs::free_picture("compare"));
    let is_png = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
    if !is_png(&out) {
        return Err(Error::request(
            format!("`--out {}`: the sheet is written as PNG", out.display()),
            "end it in `.png`",
        ));
    }
    outputs::claim_file(&out, args.force)?;
    Ok(out)
}
