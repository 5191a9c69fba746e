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
use crate::config::MapperConfig;
use crate::edit::mapper::train;
use crate::error::{Error, Result};
use crate::run_dir::{Latest, RunDir, check_resumable, slug};
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
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    models_dir: Option<PathBuf>,
    /// Settings that belong together: default, edit, reference or styleclip
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    preset: Option<String>,
    /// A YAML file over the preset, such as the config.yaml of another mapper
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    config: Option<PathBuf>,
    /// Any other setting by its path, such as losses.norm=0 or train.optimiser=adam
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Training")]
    set: Vec<String>,
    /// Number of updates
    #[arg(long, value_name = "N", help_heading = "Training")]
    iterations: Option<u64>,
    /// Codes per update
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch: Option<i64>,
    /// Which style inputs are moved: coarse (0-3), medium (4-7), fine (8 and above), with commas
    #[arg(long, value_name = "LEVELS", value_delimiter = ',', help_heading = "Training")]
    levels: Vec<settings::LevelName>,
    /// s in w + s·M(w)
    #[arg(long, value_name = "S", allow_negative_numbers = true, help_heading = "Training")]
    strength: Option<f64>,
    /// Every random number follows from it
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: Option<u64>,
    /// Folder of the run; by default that of the run or target with -mapper behind it
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Continue an interrupted run, or a finished one with more --iterations
    #[arg(long, value_name = "DIR", conflicts_with_all = STAYS, help_heading = "Output")]
    resume: Option<PathBuf>,
    /// Keep everything needed to resume every so many steps
    #[arg(long, value_name = "N", help_heading = "Output")]
    snapshot_every: Option<u64>,
    /// Write a picture of samples every so many steps
    #[arg(long, value_name = "N", help_heading = "Output")]
    sample_every: Option<u64>,
    /// Images for the table of figures
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(i64).range(2..=20_000), help_heading = "Output")]
    samples: i64,
    /// Another mapper of the same generator in the table and on the sheet; repeat it for several
    #[arg(long, value_name = "FILE|RUN", help_heading = "Output")]
    against: Vec<PathBuf>,
    /// Print a line of JSON per step on stdout, and at the end one with the figures
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// auto, cpu, cuda, cuda:N or mps
    #[arg(long, value_name = "DEVICE", help_heading = "Machine")]
    device: Option<String>,
    /// CPU threads; 0 lets libtorch choose
    #[arg(long, value_name = "N", help_heading = "Machine")]
    threads: Option<usize>,
    /// Print the resolved configuration with the origin of each value, and stop
    #[arg(long, help_heading = "Checks")]
    print_config: bool,
}

/// What a run that continues takes from its folder.
const STAYS: [&str; 16] = [
    "run",
    "source",
    "target",
    "generator",
    "class",
    "clip",
    "judge",
    "arcface",
    "preset",
    "config",
    "set",
    "batch",
    "levels",
    "strength",
    "seed",
    "out",
];

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
    if args.print_config {
        super::adapt::print(printer, layered.annotated().trim_end())?;
        return config.validate();
    }
    config.validate()?;
    settings::anchor(&mut config)?;
    if let Some(out) = &args.out {
        // Found out before minutes are spent on loading.
        RunDir::must_be_free(out)?;
    }
    let prepared = prepare::prepare(&config, args.models_dir.as_deref(), printer)?;
    for warning in &prepared.manifest.warnings {
        printer.warn(warning);
    }
    let out = args.out.clone().unwrap_or_else(|| RunDir::free_path("runs", &name(args, &config)));
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
    let folder = RunDir::resume(path)?;
    let (saved, old_manifest) = folder.read_config_of::<MapperConfig>()?;
    let mut config = saved.clone();
    settings::overlay_resumed(args, &mut config);
    config.validate()?;
    check_resumable(&saved, &config)?;
    let Latest { snapshot, broken } = folder.latest_snapshot();
    for problem in broken {
        printer.warn(&format!("passed over a broken snapshot: {problem}"));
    }
    let mut prepared = prepare::prepare(&config, args.models_dir.as_deref(), printer)?;
    super::adapt::check_weights(&prepared.manifest, &old_manifest)?;
    prepared.manifest.started.clone_from(&old_manifest.started);
    // The user has been warned.
    prepared.manifest.warnings.clone_from(&old_manifest.warnings);
    let from = match snapshot {
        Some(snapshot) => {
            snapshot.check_config(&saved)?;
            prepared.training.restore(&snapshot.state)?;
            snapshot.step
        }
        None => 0,
    };
    if from > config.train.iterations {
        return Err(Error::request(
            format!(
                "this run has made {from} steps already, {} were asked for",
                config.train.iterations
            ),
            "earlier results are in its `samples`; for fewer steps begin a new run",
        ));
    }
    folder.write_config(&config, &prepared.manifest)?;
    printer.info(&format!("continuing {} at step {from}", path.display()));
    finish(prepared, &folder, from, args, printer)
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
    let mut recorder = Recorder::new(folder, &config, from, args.json, printer)?;
    let outcome = train(&mut prepared.training, from, &mut recorder);
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
    match args.json {
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
