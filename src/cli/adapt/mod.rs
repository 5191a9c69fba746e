//! `nada adapt`: two phrases in, a run folder with a generator of the new domain out.

mod prepare;
mod recorder;
mod settings;
mod starts;

use super::printer::Printer;
use super::progress::short;
use super::stop;
use super::training::{ONLY_NEW, Resumed, RunFlags};
use crate::adapt::{Adaptation, trainer};
use crate::config::Config;
use crate::error::Error;
use crate::run_dir::{RunDir, slug};
use crate::torch::{self, threads};
use clap::Args;
use recorder::Recorder;
use starts::Starts;

pub(super) use settings::clip_model;

use std::path::{Path, PathBuf};
use std::time::Instant;

/// What may be typed behind `nada adapt`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada adapt --source \"photo\" --target \"sketch\"
  nada adapt --target \"golden statue\" --preset golden-statue --out runs/gold
  nada adapt --generator ffhq.pt --preset style --source \"photo\" --target \"anime painting\"
  nada adapt --target-images my_drawings/ --preset image-style
  nada adapt --resume runs/sketch")]
pub(super) struct AdaptArgs {
    /// What the generator makes now
    #[arg(long, value_name = "PHRASE", help_heading = "Domains")]
    source: Option<String>,
    /// What it shall make
    #[arg(long, value_name = "PHRASE", help_heading = "Domains")]
    target: Option<String>,
    /// A folder of images that show the target, instead of a phrase
    #[arg(long, value_name = "DIR", help_heading = "Domains")]
    target_images: Option<PathBuf>,
    /// Generator to start from: a shipped name, a checkpoint file, the folder of an earlier run, or BASE+DELTA
    ///
    /// With --resume: where the file is now that the run began with.
    #[arg(long, value_name = "FILE|RUN", help_heading = "Models")]
    generator: Option<String>,
    /// Which class a conditional generator shall draw
    #[arg(long, value_name = "N", help_heading = "Models")]
    class: Option<u32>,
    /// The frozen twin, when it is not the start generator itself
    #[arg(long, value_name = "FILE|RUN", help_heading = "Models")]
    reference: Option<String>,
    /// A CLIP that judges, with its weight in the sum of losses; repeat it for an ensemble
    #[arg(long, value_name = "NAME|FILE[=WEIGHT]", help_heading = "Models")]
    clip: Vec<String>,
    #[command(flatten)]
    training: RunFlags,
    /// Learning rate (Adam uses 0.8 of it, as StyleGAN2 does)
    #[arg(long, value_name = "X", help_heading = "Training", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Which layers train: adaptive, all, shape, texture, no_fine, shape_expanded, or names with commas
    #[arg(long, value_name = "SET|NAMES", help_heading = "Training")]
    layers: Option<String>,
    /// Adaptive choice: how many style inputs train in a step
    #[arg(long, value_name = "K", help_heading = "Training")]
    k: Option<usize>,
    /// Continue an interrupted run, or a finished one with more --iterations
    #[arg(long, value_name = "DIR", conflicts_with_all = STAYS, conflicts_with_all = ONLY_NEW, help_heading = "Output")]
    resume: Option<PathBuf>,
    /// Check everything, print the plan, and stop before the first step
    #[arg(long, help_heading = "Checks")]
    dry_run: bool,
}

/// What a run that continues takes from its folder, and checks that are made at a start; beside [`ONLY_NEW`]. Its
/// generators may be in another place than they were.
const STAYS: [&str; 9] =
    ["source", "target", "target_images", "class", "clip", "lr", "layers", "k", "dry_run"];

/// Runs the command.
pub(super) fn run(args: AdaptArgs, printer: &Printer) -> anyhow::Result<()> {
    let outcome = match &args.resume {
        Some(folder) => resume(folder, &args, printer),
        None => start(&args, printer),
    };
    Ok(outcome?)
}

fn start(args: &AdaptArgs, printer: &Printer) -> crate::Result<()> {
    let (layered, preset) = settings::layer(args)?;
    let mut config = layered.resolve()?;
    if args.training.print_config {
        print(printer, layered.annotated().trim_end())?;
        return config.validate();
    }
    config.validate()?;
    settings::anchor(&mut config)?;
    if let Some(out) = &args.training.out {
        // Found out before minutes are spent on loading.
        RunDir::must_be_free(out)?;
    }
    let starts = Starts::named(&config)?;
    let models_dir = args.training.models_dir.as_deref();
    let prepared = prepare::prepare(&config, &starts, models_dir, printer)?;
    for warning in &prepared.manifest.warnings {
        printer.warn(warning);
    }
    if args.dry_run {
        return print(printer, &prepared.plan());
    }
    let out =
        args.training.out.clone().unwrap_or_else(|| RunDir::free_path("runs", &run_name(&config)));
    let folder = RunDir::create(&out)?;
    printer.info(&format!("preset {preset}: {}", config.about));
    folder.write_config(prepared.adaptation.config(), &prepared.manifest)?;
    printer.info(&format!("run folder {}", out.display()));
    finish(prepared, &folder, 0, args, printer)
}

fn resume(path: &Path, args: &AdaptArgs, printer: &Printer) -> crate::Result<()> {
    let change = |config: &mut Config| {
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
    let starts = Starts::recorded(path, config, &run.manifest, args)?;
    let models_dir = args.training.models_dir.as_deref();
    let mut prepared = prepare::prepare(config, &starts, models_dir, printer)?;
    let prepare::Prepared { adaptation, manifest, .. } = &mut prepared;
    let from = run.go_on(manifest, config.train.iterations, |snapshot| {
        adaptation.restore(&snapshot.state, snapshot.layers.clone())
    })?;
    if from == config.train.iterations && folder.is_finished() {
        printer.info(&format!("this run has all its {from} steps; give more with --iterations"));
        return say_result(folder, args, printer);
    }
    folder.write_config(config, &prepared.manifest)?;
    printer.info(&format!("continuing {} at step {from}", path.display()));
    finish(prepared, folder, from, args, printer)
}

/// Trains, writes the result and says where it is.
fn finish(
    mut prepared: prepare::Prepared,
    folder: &RunDir,
    from: u64,
    args: &AdaptArgs,
    printer: &Printer,
) -> crate::Result<()> {
    let started = Instant::now();
    let notice = *printer;
    stop::listen(move || notice.warn("finishing the step and saving; once more to quit at once"));
    let adaptation = &mut prepared.adaptation;
    let config = adaptation.config().clone();
    let mut recorder = Recorder::new(folder, adaptation, from, args.training.json, printer)?;
    let outcome = trainer::train(adaptation, from, &mut recorder);
    let records = recorder.close()?;
    folder.write_loss_plot(&records, &config)?;
    folder.write_layer_map(&records, &layers_of(adaptation), &config)?;
    if let Err(Error::Interrupted) = outcome {
        printer.info(&format!(
            "stopped and saved; continue with: nada adapt --resume {}",
            folder.path().display()
        ));
        return outcome;
    }
    if let Err(Error::Diverged { .. }) = outcome {
        match folder.latest_snapshot().snapshot {
            Some(good) => {
                printer.info(&format!("the last good snapshot is {}", good.path.display()));
            }
            None => printer.info("there was no snapshot yet"),
        }
    }
    outcome?;
    prepared.write_result(folder)?;
    printer.info(&format!(
        "done in {}: look at {}",
        short(started.elapsed()),
        folder.before_after_file().display()
    ));
    say_result(folder, args, printer)
}

/// Where the result is, on stdout.
fn say_result(folder: &RunDir, args: &AdaptArgs, printer: &Printer) -> crate::Result<()> {
    let path = folder.generator_file().display().to_string();
    if args.training.json {
        return print(printer, &serde_json::json!({ "generator": path }).to_string());
    }
    print(printer, &path)
}

/// The layers that a heat map shows: all that may train.
fn layers_of(adaptation: &Adaptation) -> Vec<crate::stylegan2::LayerId> {
    let names = adaptation.trained_names();
    let config = adaptation.trainable().config();
    config.layers().into_iter().filter(|layer| names.iter().any(|name| layer.owns(name))).collect()
}

fn run_name(config: &Config) -> String {
    match &config.target_images {
        Some(folder) => slug(&folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy()),
        None => slug(&config.target),
    }
}

/// Data to stdout; a reader that has gone away is no failure of the work.
pub(super) fn print(printer: &Printer, text: &str) -> crate::Result<()> {
    match printer.data(text) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Io { doing: "write to", path: "stdout".into(), source: e })
        }
        _ => Ok(()),
    }
}

/// The device that a configuration asks for, with its threads set.
fn device(config: &Config) -> crate::Result<tch::Device> {
    threads::set(config.threads);
    torch::device(&config.device)
}
