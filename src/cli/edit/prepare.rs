//! `nada edit prepare`: a generator's channels, measured once: statistics, and what each does to CLIP's features.

use super::super::outputs;
use super::super::printer::Printer;
use super::super::progress::short;
use super::super::stop;
use super::codes::{GeneratorArgs, short_name};
use crate::builtin;
use crate::checkpoint::{self, address, save_safetensors};
use crate::edit::channels::{
    ChannelView, Measurement, ResponseSettings, Statistics, channel_count,
};
use crate::error::{Error, IoContext, Result};
use crate::models::{self, ChannelWitness, Channels, ClipTable};
use crate::stylegan2::Generator;
use crate::torch::TensorMap;
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tch::Kind;

/// What is measured is saved this often.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// What may be typed behind `nada edit prepare`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada edit prepare
  nada edit prepare --generator ffhq.pt --clip ViT-B/32 --images 100

Interrupted with Ctrl-C or killed, the same command goes on where it was.")]
pub(super) struct PrepareArgs {
    /// A CLIP that watches, with its weight; repeat it for several [default: those of the preset `default`]
    #[arg(long, value_name = "NAME|FILE[=WEIGHT]", help_heading = "Models")]
    clip: Vec<String>,
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    models_dir: Option<PathBuf>,
    /// Images that each channel is tried on (StyleCLIP: 100)
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(i64).range(1..=10_000), help_heading = "Measurement")]
    images: i64,
    /// How many standard deviations to either side a channel is set to
    #[arg(
        long,
        value_name = "X",
        default_value_t = 5.0,
        allow_negative_numbers = true,
        help_heading = "Measurement"
    )]
    reach: f64,
    /// Codes for mean and deviation of each channel
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(i64).range(2..=10_000_000), help_heading = "Measurement")]
    samples: i64,
    #[command(flatten)]
    codes: GeneratorArgs,
    /// The file [default: channels/GENERATOR.safetensors]
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// Where `nada edit prepare` writes, and `nada edit direction` looks, when no file is named.
pub(super) fn usual_file(generator: &str) -> PathBuf {
    Path::new("channels").join(format!("{}.safetensors", short_name(generator)))
}

/// Runs the command.
pub(super) fn run(args: &PrepareArgs, printer: &Printer) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| usual_file(&args.codes.generator));
    outputs::claim_file(&out, args.codes.force)?;
    for model in super::guides(&args.clip)? {
        ClipTable::read(&builtin::resolve_clip(&model.model, args.models_dir.as_deref())?)?;
    }
    let (generator, origin) = args.codes.open(printer)?;
    let (mut witnesses, mut views) = (Vec::new(), Vec::new());
    for model in super::guides(&args.clip)? {
        let path = builtin::resolve_clip(&model.model, args.models_dir.as_deref())?;
        let (clip, origin) = models::open_clip(&path, Kind::Float, generator.device())?;
        origin.notes.iter().for_each(|note| printer.warn(note));
        let name = match address::exists(Path::new(&model.model)) {
            true => address::canonical(&path).while_doing("read", &path)?.display().to_string(),
            false => model.model,
        };
        witnesses.push(ChannelWitness { name, sha256: origin.sha256, weight: model.weight });
        views.push(ChannelView::new(clip));
    }
    let settings = ResponseSettings {
        images: args.images,
        reach: args.reach,
        seed: args.codes.seed,
        ..ResponseSettings::default()
    };
    let told: BTreeMap<String, String> = [
        ("generator", origin.path.display().to_string()),
        ("generator_sha256", origin.sha256.clone()),
        ("clip", serde_json::to_string(&witnesses).unwrap_or_default()),
        ("images", args.images.to_string()),
        ("reach", args.reach.to_string()),
        ("samples", args.samples.to_string()),
        ("truncation", settings.truncation.to_string()),
        ("seed", settings.seed.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let began = Instant::now();
    let notice = *printer;
    stop::listen(move || notice.warn("stopping; the same command goes on from here"));
    let statistics =
        Statistics::measure(&generator, args.samples, settings.truncation, settings.seed)?;
    let mut measurement = Measurement::new(&generator, &statistics, &views, settings)?;
    let partial = partial_file(&out);
    outputs::make_room(&out)?;
    if partial.is_file() && !args.codes.force {
        measurement.restore(&read_partial(&partial, &told)?)?;
        let progress = measurement.progress();
        printer.info(&format!("going on after {} of {} images", progress.done, progress.total));
    }
    measure(&mut measurement, &partial, &told, printer)?;
    let made = measurement.progress().total;
    let responses = witnesses.into_iter().zip(measurement.responses()).collect();
    drop(measurement);
    let channels =
        Channels { statistics, responses, generator_sha256: Some(origin.sha256), settings: told };
    channels.save(&out)?;
    let _ = std::fs::remove_file(&partial);
    say_done(&generator, made, began.elapsed(), printer);
    super::super::adapt::print(printer, &out.display().to_string())
}

fn say_done(generator: &Generator, made: u64, took: Duration, printer: &Printer) {
    printer.info(&format!(
        "{} channels in {}: {made} images, {:.0} a second",
        channel_count(generator.config()),
        short(took),
        made as f64 / took.as_secs_f64().max(1e-9)
    ));
}

/// Piece by piece, saving on the way.
fn measure(
    measurement: &mut Measurement<'_>,
    partial: &Path,
    told: &BTreeMap<String, String>,
    printer: &Printer,
) -> Result<()> {
    let bar = printer.bar(measurement.progress().total);
    let mut saved = Instant::now();
    let mut said = Instant::now();
    let save = |measurement: &Measurement<'_>| -> Result<()> {
        // The sums are float64 and stay so: what goes on equals what was never interrupted.
        save_safetensors(partial, &measurement.state(), told, None)
    };
    loop {
        let left = measurement.advance(|progress| {
            bar.set_position(progress.done);
            if printer.shows_lines() && said.elapsed() >= Duration::from_secs(5) {
                said = Instant::now();
                printer.info(&format!("{} of {} images", progress.done, progress.total));
            }
            !stop::asked() && saved.elapsed() < SAVE_EVERY
        })?;
        if !left {
            bar.finish_and_clear();
            return Ok(());
        }
        if stop::asked() || saved.elapsed() >= SAVE_EVERY {
            save(measurement)?;
            saved = Instant::now();
        }
        if stop::asked() {
            bar.finish_and_clear();
            return Err(Error::Interrupted);
        }
    }
}

fn partial_file(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    out.with_file_name(format!("{name}.partial"))
}

/// The state of an interrupted measurement of the same plan.
fn read_partial(path: &Path, told: &BTreeMap<String, String>) -> Result<TensorMap> {
    let file = checkpoint::open(path)?;
    let differs: Vec<&str> = told
        .iter()
        .filter(|(key, value)| file.metadata.get(*key) != Some(value))
        .map(|(key, _)| key.as_str())
        .collect();
    if !differs.is_empty() {
        return Err(Error::file_hint(
            path,
            format!("is a measurement with another {}", differs.join(", ")),
            "give the same settings again, or begin anew with `--force`",
        ));
    }
    file.entries.iter().map(|(name, entry)| Ok((name.clone(), entry.tensor()?))).collect()
}
