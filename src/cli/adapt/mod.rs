//! `nada adapt`: two phrases in, a run folder with a generator of the new domain out.

mod prepare;
mod recorder;
mod settings;

use super::printer::Printer;
use super::progress::short;
use super::stop;
use crate::adapt::{Adaptation, trainer};
use crate::config::Config;
use crate::error::Error;
use crate::run_dir::{Latest, RunDir, check_resumable, slug};
use crate::torch;
use clap::Args;
use recorder::Recorder;

pub(super) use prepare::check_weights;
pub(super) use settings::clip_model;

use std::path::PathBuf;
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
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    models_dir: Option<PathBuf>,
    /// Settings that belong together; `nada presets` lists them
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    preset: Option<String>,
    /// A YAML file over the preset, such as the config.yaml of another run
    #[arg(long, value_name = "FILE", help_heading = "Training")]
    config: Option<PathBuf>,
    /// Any other setting by its path, such as train.ema=0.99 or losses.in_domain=1
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Training")]
    set: Vec<String>,
    /// Number of updates
    #[arg(long, value_name = "N", help_heading = "Training")]
    iterations: Option<u64>,
    /// Images per update
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch: Option<i64>,
    /// Learning rate (Adam uses 0.8 of it, as StyleGAN2 does)
    #[arg(long, value_name = "X", help_heading = "Training", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Which layers train: adaptive, all, shape, texture, no_fine, shape_expanded, or names with commas
    #[arg(long, value_name = "SET|NAMES", help_heading = "Training")]
    layers: Option<String>,
    /// Adaptive choice: how many style inputs train in a step
    #[arg(long, value_name = "K", help_heading = "Training")]
    k: Option<usize>,
    /// Every random number follows from it
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: Option<u64>,
    /// Folder of the run; by default runs/TARGET
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
    /// Print a line of JSON per step on stdout, and at the end one with the path of the generator
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
    /// Check everything, print the plan, and stop before the first step
    #[arg(long, help_heading = "Checks")]
    dry_run: bool,
}

/// What a run that continues takes from its folder, and checks that are made at a start.
const STAYS: [&str; 18] = [
    "source",
    "target",
    "target_images",
    "generator",
    "class",
    "reference",
    "clip",
    "preset",
    "config",
    "set",
    "batch",
    "lr",
    "layers",
    "k",
    "seed",
    "out",
    "print_config",
    "dry_run",
];

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
    if args.print_config {
        print(printer, layered.annotated().trim_end())?;
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
    if args.dry_run {
        return print(printer, &prepared.plan());
    }
    let out = args.out.clone().unwrap_or_else(|| RunDir::free_path("runs", &run_name(&config)));
    let folder = RunDir::create(&out)?;
    printer.info(&format!("preset {preset}: {}", config.about));
    folder.write_config(prepared.adaptation.config(), &prepared.manifest)?;
    printer.info(&format!("run folder {}", out.display()));
    finish(prepared, &folder, 0, args, printer)
}

fn resume(path: &PathBuf, args: &AdaptArgs, printer: &Printer) -> crate::Result<()> {
    let folder = RunDir::resume(path)?;
    let (saved, old_manifest) = folder.read_config()?;
    let mut config = saved.clone();
    settings::overlay_resumed(args, &mut config);
    config.validate()?;
    check_resumable(&saved, &config)?;
    let Latest { snapshot, broken } = folder.latest_snapshot();
    for problem in broken {
        printer.warn(&format!("passed over a broken snapshot: {problem}"));
    }
    let mut prepared = prepare::prepare(&config, args.models_dir.as_deref(), printer)?;
    check_weights(&prepared.manifest, &old_manifest)?;
    prepared.manifest.started.clone_from(&old_manifest.started);
    // The user has been warned.
    prepared.manifest.warnings.clone_from(&old_manifest.warnings);
    let from = match snapshot {
        Some(snapshot) => {
            snapshot.check_config(&saved)?;
            prepared.adaptation.restore(&snapshot.state, snapshot.layers)?;
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
    if from == config.train.iterations && folder.is_finished() {
        printer.info(&format!("this run has all its {from} steps; give more with --iterations"));
        return say_result(&folder, args, printer);
    }
    folder.write_config(&config, &prepared.manifest)?;
    printer.info(&format!("continuing {} at step {from}", path.display()));
    finish(prepared, &folder, from, args, printer)
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
    let mut recorder = Recorder::new(folder, adaptation, from, args.json, printer)?;
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
    if args.json {
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
    torch::set_threads(config.threads);
    torch::device(&config.device)
}
