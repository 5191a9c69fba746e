//! `nada edit optimize`: codes moved until CLIP finds a phrase in their images.

use super::super::outputs;
use super::super::printer::Printer;
use super::super::progress::{Progress, short};
use super::super::{stop, unread};
use super::codes::CodesArgs;
use crate::atomic;
use crate::builtin;
use crate::checkpoint::save_safetensors;
use crate::clip::Resize;
use crate::config::Augment;
use crate::edit::optimise::{Search, SearchReport, Settings, Space};
use crate::edit::{Critic, Eye, Identity};
use crate::error::{Error, IoContext, Result};
use crate::imaging::grid::Grid;
use crate::imaging::plot::{Series, Smoothing, line_plot};
use crate::imaging::{save, to_rgb8};
use crate::models::{self, ClipTable};
use crate::run_dir::slug;
use crate::stylegan2::{Latent, Noise};
use crate::torch::TensorMap;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;
use tch::Kind;

/// The small CLIPs tell phrases apart by smaller cosines: StyleCLIP's weight would hold the code where it is.
const SMALL_L2: f64 = 0.002;

/// What may be typed behind `nada edit optimize`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada edit optimize --text \"golden statue\" --count 4
  nada edit optimize --text \"smiling face\" --generator ffhq.pt --latents photo.safetensors --clip ViT-B/32
  nada edit optimize --text \"zombie\" --space s --steps 100 --l2 0.004
  nada edit optimize --text \"golden statue\" --free

The defaults are StyleCLIP's; only small shipped CLIPs are shown random changes, which keep them from being fooled.")]
pub(super) struct OptimiseArgs {
    /// What the images shall show
    #[arg(long, value_name = "PHRASE", help_heading = "Edit")]
    text: String,
    /// The codes that are moved
    #[arg(long, value_name = "SPACE", default_value = "w+", help_heading = "Edit")]
    space: SpaceName,
    /// Number of updates
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000), help_heading = "Edit")]
    steps: u64,
    /// Learning rate at its peak: it rises for 5 % of the steps and falls for the last 25 %
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.1,
        allow_negative_numbers = true,
        help_heading = "Edit"
    )]
    lr: f64,
    /// Weight of the squared distance to the code at the start [default: 0.008; 0.002 with small shipped CLIPs]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Edit")]
    l2: Option<f64>,
    /// From the average image, and as far as the phrase leads
    #[arg(long, conflicts_with_all = ["latents", "count", "arcface"], help_heading = "Edit")]
    free: bool,
    /// Weight of the identity loss; needs --arcface
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.005,
        requires = "arcface",
        allow_negative_numbers = true,
        help_heading = "Edit"
    )]
    identity: f64,
    /// ArcFace's weights (model_ir_se50.pth)
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    arcface: Option<PathBuf>,
    /// A CLIP that guides, with its weight; repeat it for an ensemble [default: those of the preset `default`]
    #[arg(long, value_name = "NAME|FILE[=WEIGHT]", help_heading = "Models")]
    clip: Vec<String>,
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    models_dir: Option<PathBuf>,
    /// Show images to CLIP as StyleCLIP's code does, without its mean and deviation (CLIPs of 224 px)
    #[arg(long, help_heading = "Models")]
    original: bool,
    #[command(flatten)]
    codes: CodesArgs,
    /// Folder for the picture, the codes and the curve [default: edits/TEXT]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Print JSON: {"codes": FILE, "loss": [first, last], "clip": [first, last]}
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// The codes that are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SpaceName {
    /// A style for each layer input
    #[value(name = "w+", aliases = ["wplus", "w_plus"])]
    WPlus,
    /// The style codes of the convolutions, channel by channel
    S,
}

/// Runs the command.
pub(super) fn run(args: &OptimiseArgs, printer: &Printer) -> Result<()> {
    check(args)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("edits").join(slug(&args.text)));
    outputs::claim_folder(&out, args.codes.force)?;
    for model in super::guides(&args.clip)? {
        let path = builtin::resolve_clip(&model.model, args.models_dir.as_deref())?;
        let clip = ClipTable::read(&path)?;
        if args.original {
            Eye::check_styleclip(args.codes.table()?.config(), clip.config().resolution())?;
        }
    }
    let mut subject = args.codes.subject(printer)?;
    let device = subject.generator.device();
    if args.free {
        let mean = subject.generator.latent_avg().unsqueeze(0);
        subject.codes = subject.generator.w_plus(&Latent::W(mean), 1.0)?.contiguous();
    }
    let (mut critic, mut guides) = (Critic::default(), Vec::new());
    for model in super::guides(&args.clip)? {
        let path = builtin::resolve_clip(&model.model, args.models_dir.as_deref())?;
        let (clip, origin) = models::open_clip(&path, Kind::Float, device)?;
        origin.notes.iter().for_each(|note| printer.warn(note));
        guides.extend(clip.vocabulary().map(|known| (model.model.clone(), known.clone())));
        let (side, resolution) = (subject.generator.config().resolution, clip.resolution());
        let eye = match args.original {
            true => Eye::styleclip(side, resolution, Kind::Float, device)?,
            false => Eye::clip(resolution, Resize::Antialias),
        };
        critic.add(clip, eye, model.weight, &args.text)?;
    }
    if let Some(warning) = unread::warning("text", &args.text, &guides) {
        printer.warn(&warning);
    }
    let identity = match &args.arcface {
        Some(path) => Some(Identity::new(models::open_arcface(path, device)?.0)),
        None => None,
    };
    // A CLIP that says what it has read is one of the small ones, which single pixels please.
    let small = !guides.is_empty();
    let settings = Settings {
        steps: args.steps,
        lr: args.lr,
        space: match args.space {
            SpaceName::WPlus => Space::WPlus,
            SpaceName::S => Space::Style,
        },
        l2: match args.l2 {
            _ if args.free => 0.0,
            Some(l2) => l2,
            None => {
                if small {
                    SMALL_L2
                } else {
                    Settings::default().l2
                }
            }
        },
        identity: args.identity,
        augment: if small { super::usual_augment()? } else { Augment::default() },
        seed: args.codes.seed,
    };
    let (before, _) =
        subject.generator.generate(&Latent::WPlus(subject.codes.copy()), 1.0, Noise::Stored)?;
    let mut search =
        Search::new(&subject.generator, &subject.codes, &critic, identity.as_ref(), settings)?;
    let began = Instant::now();
    let reports = search_all(&mut search, args.steps, printer)?;

    let after = tch::no_grad(|| search.image());
    let picture = Grid::new()
        .title(&args.text)
        .row("before", to_rgb8(&before)?)
        .row("after", to_rgb8(&after)?)
        .footer(format!("{} · {} steps", subject.about, args.steps))
        .render()?;
    std::fs::create_dir_all(&out).while_doing("create", &out)?;
    let file = |name: &str| out.join(name);
    save::png(file("before_after.png"), &picture, &[("Description", &args.text)])?;
    save::png(file("loss.png"), &curve(&args.text, &reports), &[("Description", &args.text)])?;
    let codes = match search.w_plus() {
        Some(codes) => TensorMap::from([("w_plus".into(), codes)]),
        None => {
            let codes = search.style_codes().0.into_iter();
            codes.map(|(layer, code)| (format!("s/{layer}"), code.detach())).collect()
        }
    };
    let about = [
        ("text".to_owned(), args.text.clone()),
        ("generator".to_owned(), subject.origin.path.display().to_string()),
        ("generator_sha256".to_owned(), subject.origin.sha256.clone()),
    ];
    let codes_file = file("codes.safetensors");
    save_safetensors(&codes_file, &codes, &about.into(), Some(Kind::Float))?;
    let ends = |of: fn(&SearchReport) -> f64| {
        [reports.first().map_or(f64::NAN, of), reports.last().map_or(f64::NAN, of)]
    };
    let (loss, clip) = (ends(|r| r.loss), ends(|r| r.clip));
    let figures = json!({ "codes": codes_file, "loss": loss, "clip": clip, "steps": args.steps });
    atomic::write(file("report.json"), format!("{figures}\n"))?;
    printer.info(&format!(
        "distance to the phrase {:.3} → {:.3} in {}; look at {}",
        clip[0],
        clip[1],
        short(began.elapsed()),
        file("before_after.png").display()
    ));
    match args.json {
        true => super::super::adapt::print(printer, &figures.to_string()),
        false => super::super::adapt::print(printer, &codes_file.display().to_string()),
    }
}

/// What can be refused before anything is loaded.
fn check(args: &OptimiseArgs) -> Result<()> {
    if args.text.trim().is_empty() {
        return Err(Error::request("the phrase is empty", "say what the images shall show"));
    }
    for (flag, value, least) in [
        ("--lr", args.lr, f64::MIN_POSITIVE),
        ("--l2", args.l2.unwrap_or(0.0), 0.0),
        ("--identity", args.identity, 0.0),
    ] {
        if !value.is_finite() || value < least {
            return Err(Error::request(
                format!("`{flag}` is {value}"),
                "use a number of 0 or more; the learning rate is above 0",
            ));
        }
    }
    Ok(())
}

fn search_all(search: &mut Search<'_>, steps: u64, printer: &Printer) -> Result<Vec<SearchReport>> {
    let notice = *printer;
    stop::listen(move || notice.warn("stopping; nothing is written (again to stop at once)"));
    let mut progress = Progress::new(printer, 0, steps);
    let mut reports = Vec::new();
    for step in 0..steps {
        if stop::asked() {
            progress.finish();
            return Err(Error::Interrupted);
        }
        let report = search.step(step)?;
        progress.note(step + 1, report.loss, &format!("clip {:.4}", report.clip));
        reports.push(report);
    }
    progress.finish();
    Ok(reports)
}

fn curve(text: &str, reports: &[SearchReport]) -> image::RgbImage {
    let series = |name: &str, of: fn(&SearchReport) -> f64| Series {
        name: name.into(),
        points: reports.iter().map(|r| (r.step as f64, of(r))).collect(),
    };
    let curves = [series("total", |r| r.loss), series("clip", |r| r.clip)];
    line_plot(&format!("{text}: loss of the search"), "step", &curves, Smoothing::Auto)
}
