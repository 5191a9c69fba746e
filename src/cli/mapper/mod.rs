//! `nada mapper` and `nada edit mapper`: a latent mapper, trained, judged and drawn.

mod flags;
mod prepare;
mod recorder;
mod report;
mod settings;

pub(super) use flags::{MapperFlags, Moved};

use super::printer::Printer;
use super::progress::short;
use super::stop;
use super::training::{ONLY_NEW, Resumed, RunFlags};
use crate::adapt::trainer;
use crate::builtin::{self, RecordedBase};
use crate::config::MapperConfig;
use crate::error::{Error, Result};
use crate::run_dir::{RunDir, slug};
use clap::Args;
use prepare::Prepared;
use recorder::Recorder;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What may be typed behind `nada mapper`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada mapper --run runs/anime
  nada mapper --run runs/anime --set losses.norm=0 --out runs/anime-no-norm --against runs/anime-mapper
  nada mapper --generator afhqcat.pt --target dog --source cat --preset reference
  nada generate --generator runs/anime --mapper runs/anime-mapper --out moved.png
  nada mapper --resume runs/anime-mapper

Presets: default (the shipped models), reference (the paper's), edit and styleclip (without the norm loss).")]
pub(super) struct MapperArgs {
    /// A finished run of `nada adapt`: its generator, phrases and CLIPs
    #[arg(long, value_name = "DIR", conflicts_with = "generator", help_heading = "Domains")]
    run: Option<PathBuf>,
    /// What the images must not be taken for: what leaks
    #[arg(long, value_name = "PHRASE", help_heading = "Domains")]
    source: Option<String>,
    /// What the images shall show
    #[arg(long, value_name = "PHRASE", help_heading = "Domains")]
    target: Option<String>,
    /// Generator whose codes are moved: a shipped name, a checkpoint file, the folder of a run, or BASE+DELTA
    ///
    /// With --resume: where the file is now that the run began with.
    #[arg(long, value_name = "FILE|RUN", help_heading = "Models")]
    generator: Option<String>,
    /// Which class a conditional generator shall draw
    #[arg(long, value_name = "N", help_heading = "Models")]
    class: Option<u32>,
    /// A CLIP that guides, with its weight in the sum of losses; repeat it for an ensemble
    #[arg(long, value_name = "NAME|FILE[=WEIGHT]", help_heading = "Models")]
    clip: Vec<String>,
    /// A CLIP that judges the result; repeat it for several
    #[arg(long, value_name = "NAME|FILE", help_heading = "Models")]
    judge: Vec<String>,
    /// ArcFace's weights (model_ir_se50.pth) for the identity loss
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    arcface: Option<PathBuf>,
    #[command(flatten)]
    training: RunFlags,
    /// Which style inputs are moved: coarse (0-3), medium (4-7), fine (8 and above), with commas
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', help_heading = "Training")]
    levels: Vec<settings::LevelName>,
    /// s in w + s·M(w)
    #[arg(long, value_name = "S", allow_negative_numbers = true, help_heading = "Training")]
    strength: Option<f64>,
    /// Continue an interrupted run, or a finished one with more --iterations
    #[arg(long, value_name = "DIR", conflicts_with_all = STAYS, conflicts_with_all = ONLY_NEW, help_heading = "Output")]
    resume: Option<PathBuf>,
    /// Images for the table of figures
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(i64).range(2..=20_000), help_heading = "Output")]
    samples: i64,
    /// Another mapper of the same generator in the table and on the sheet; repeat it for several
    #[arg(long, value_name = "FILE|RUN", help_heading = "Output")]
    against: Vec<PathBuf>,
}

/// What a run that continues takes from its folder, beside [`ONLY_NEW`].
const STAYS: [&str; 9] =
    ["run", "source", "target", "class", "clip", "judge", "arcface", "levels", "strength"];

/// Runs `nada mapper`.
pub(super) fn run(args: &MapperArgs, printer: &Printer) -> anyhow::Result<()> {
    Ok(train_or_resume(args, settings::Purpose::Domain, printer)?)
}

/// Runs `nada edit mapper`: the same, with StyleCLIP's losses.
pub(super) fn run_edit(args: &MapperArgs, printer: &Printer) -> anyhow::Result<()> {
    Ok(train_or_resume(args, settings::Purpose::Edit, printer)?)
}

fn train_or_resume(args: &MapperArgs, purpose: settings::Purpose, printer: &Printer) -> Result<()> {
    match &args.resume {
        Some(folder) => resume(folder, args, printer),
        None => start(args, purpose, printer),
    }
}

fn start(args: &MapperArgs, purpose: settings::Purpose, printer: &Printer) -> Result<()> {
    let (layered, preset) = settings::layer(args, purpose)?;
    let mut config = layered.resolve()?;
    if args.training.print_config {
        super::adapt::print(printer, layered.annotated().trim_end())?;
        return config.validate();
    }
    config.validate()?;
    settings::anchor(&mut config)?;
    if let Some(out) = &args.training.out {
        // Found out before minutes are spent on loading.
        RunDir::must_be_free(out)?;
    }
    let files = builtin::resolve_generator(&config.generator)?;
    let models_dir = args.training.models_dir.as_deref();
    let prepared = prepare::prepare(&config, &files, models_dir, printer)?;
    for warning in &prepared.manifest.warnings {
        printer.warn(warning);
    }
    let out = args
        .training
        .out
        .clone()
        .unwrap_or_else(|| RunDir::free_path("runs", &name(args, &config)));
    let folder = RunDir::create(&out)?;
    printer.info(&format!("preset {preset}: {}", config.about));
    folder.write_config(prepared.training.config(), &prepared.manifest)?;
    printer.info(&format!("run folder {}", out.display()));
    finish(prepared, &folder, 0, args, printer)
}

/// `runs/NAME-mapper` of a run, or of the target.
fn name(args: &MapperArgs, config: &MapperConfig) -> String {
    let of_run =
        args.run.as_ref().and_then(|run| Some(run.file_name()?.to_string_lossy().into_owned()));
    format!("{}-mapper", of_run.unwrap_or_else(|| slug(&config.target)))
}

fn resume(path: &Path, args: &MapperArgs, printer: &Printer) -> Result<()> {
    let change = |config: &mut MapperConfig| {
        args.training.overlay_resumed(
            &mut config.train.iterations,
            &mut config.output,
            &mut config.device,
            &mut config.threads,
        );
        config.validate()
    };
    let run = Resumed::open(path, change, printer)?;
    let (config, folder) = (&run.config, &run.folder);
    let (asked, given) = (&config.generator, args.generator.as_deref());
    let files = match run.manifest.role("generator") {
        Some(weights) => RecordedBase::new(path, weights, asked).find(given)?,
        None => builtin::resolve_generator(given.unwrap_or(asked))?,
    };
    let models_dir = args.training.models_dir.as_deref();
    let mut prepared = prepare::prepare(config, &files, models_dir, printer)?;
    let Prepared { training, manifest, .. } = &mut prepared;
    let from =
        run.go_on(manifest, config.train.iterations, |snapshot| training.restore(&snapshot.state))?;
    folder.write_config(config, &prepared.manifest)?;
    printer.info(&format!("continuing {} at step {from}", path.display()));
    finish(prepared, folder, from, args, printer)
}

/// Trains, writes the result, judges it and says where it is.
fn finish(
    mut prepared: Prepared,
    folder: &RunDir,
    from: u64,
    args: &MapperArgs,
    printer: &Printer,
) -> Result<()> {
    let started = Instant::now();
    // Wrong names are found before minutes are spent on training.
    let others = report::open_others(&args.against, &prepared, printer)?;
    let notice = *printer;
    stop::listen(move || notice.warn("finishing the step and saving; once more to quit at once"));
    let config = prepared.training.config().clone();
    let mut recorder = Recorder::new(folder, &config, from, args.training.json, printer)?;
    let outcome = trainer::train(&mut prepared.training, from, &mut recorder);
    let records = recorder.close()?;
    recorder::write_loss_plot(folder, &records, &config)?;
    if let Err(Error::Interrupted) = outcome {
        printer.info(&format!(
            "stopped and saved; continue with: nada mapper --resume {}",
            folder.path().display()
        ));
        return outcome;
    }
    outcome?;
    prepared.write_result(folder)?;
    let report = report::judge(&prepared, &others, args.samples, printer)?;
    report.write(folder, &config)?;
    match args.training.json {
        true => super::adapt::print(printer, &report.json())?,
        false => super::adapt::print(printer, &report.table())?,
    }
    printer.info(&format!(
        "done in {}: look at {}; use it with --mapper {}",
        short(started.elapsed()),
        report::sheet_file(folder).display(),
        folder.path().display()
    ));
    Ok(())
}
