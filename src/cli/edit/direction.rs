//! `nada edit direction`: two phrases become an edit at once, from channels that were measured before.

use super::super::generate::MAX_GRID_PIXELS;
use super::super::outputs;
use super::super::printer::Printer;
use super::codes::{CodesArgs, Subject};
use super::domains::{self, Domain};
use super::phrases::{self, Phrases, USUAL_KEEP, beta_of};
use crate::edit::channels::GlobalDirection;
use crate::error::{Error, Result};
use crate::imaging::grid::{Grid, Labels};
use crate::imaging::{save, to_rgb8};
use crate::models::{self, Channels, Origin};
use crate::stylegan2::Config;
use clap::Args;
use image::RgbImage;
use std::path::PathBuf;
use tch::Tensor;

/// What may be typed behind `nada edit direction`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada edit prepare
  nada edit direction --neutral face --target \"face with glasses\"
  nada edit direction --neutral photo --target \"golden statue\" --alpha -4,0,4,8 --keep 20,100,400 --count 1
  nada edit direction --neutral face --target \"old face\" --alpha 0,5 --domain runs/sketch --domain runs/zombie
  nada edit direction --generator ffhq.pt --responses fs3.npy --statistics S_mean_std --clip ViT-B/32 --beta 0.15 ...

α is how far, β how few channels: only channels whose relevance reaches β change. Several values of both make a sheet.")]
pub(super) struct DirectionArgs {
    /// What the images show, without what is asked for
    #[arg(long, value_name = "PHRASE", help_heading = "Edit")]
    neutral: String,
    /// What they shall show
    #[arg(long, value_name = "PHRASE", help_heading = "Edit")]
    target: String,
    /// How far; several with commas are columns of the sheet
    #[arg(long, value_name = "X,…", value_delimiter = ',', default_values_t = [0.0, 2.0, 4.0, 6.0], allow_negative_numbers = true, allow_hyphen_values = true, help_heading = "Edit")]
    alpha: Vec<f64>,
    /// Least relevance of a channel that changes; several with commas are rows of the sheet
    #[arg(
        long,
        value_name = "X,…",
        value_delimiter = ',',
        conflicts_with = "keep",
        allow_negative_numbers = true,
        help_heading = "Edit"
    )]
    beta: Vec<f64>,
    /// Instead of β: so many channels change, the most relevant ones [default: 100]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(i64).range(1..), help_heading = "Edit")]
    keep: Vec<i64>,
    /// What `nada edit prepare` measured [default: channels/GENERATOR.safetensors]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["responses", "statistics"], help_heading = "Channels")]
    channels: Option<PathBuf>,
    /// StyleCLIP's fs3.npy
    #[arg(long, value_name = "FILE", requires_all = ["statistics", "clip"], help_heading = "Channels")]
    responses: Option<PathBuf>,
    /// StyleCLIP's S_mean_std
    #[arg(long, value_name = "FILE", requires = "responses", help_heading = "Channels")]
    statistics: Option<PathBuf>,
    /// The CLIP that StyleCLIP's tables were made with
    #[arg(long, value_name = "NAME|FILE", requires = "responses", help_heading = "Channels")]
    clip: Option<String>,
    /// Where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Channels")]
    models_dir: Option<PathBuf>,
    /// Show the same edit in an adapted generator, too; repeat it for several
    #[arg(long, value_name = "FILE|RUN", help_heading = "Edit")]
    domain: Vec<String>,
    #[command(flatten)]
    codes: CodesArgs,
    /// The sheet [default: direction.png]
    #[arg(long, value_name = "FILE.png", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &DirectionArgs, printer: &Printer) -> Result<()> {
    for (role, phrase) in [("--neutral", &args.neutral), ("--target", &args.target)] {
        if phrase.trim().is_empty() {
            return Err(Error::request(format!("`{role}` is empty"), "give a phrase"));
        }
    }
    if let Some(alpha) = args.alpha.iter().find(|alpha| !alpha.is_finite()) {
        return Err(Error::request(format!("α is {alpha}"), "α is about -10 to 10"));
    }
    let out = args.out.clone().unwrap_or_else(|| outputs::free_picture("direction"));
    outputs::claim_file(&out, args.codes.force)?;
    domains::check(&args.codes, &args.domain)?;
    let subject = args.codes.subject(printer)?;
    let phrases = Phrases::open(
        channels(args, &subject.origin)?,
        args.models_dir.as_deref(),
        subject.generator.device(),
    )?;
    let relevance = phrases.relevance(&args.neutral, &args.target, printer)?;
    let rows = directions(args, &relevance, &phrases, subject.generator.config())?;
    for (label, direction) in &rows {
        let note = direction.note();
        printer.info(&format!(
            "{label}: {} of {} channels, largest relevance {:.3}",
            note.kept, note.of, note.largest
        ));
    }
    let domains = domains::open(&subject, &args.codes.generator, &args.domain, printer)?;
    let picture = sheet(args, &subject, &domains, &rows)?;
    outputs::make_room(&out)?;
    let title = format!("{} → {}", args.neutral, args.target);
    save::png(&out, &picture, &[("Description", &title)])?;
    super::super::adapt::print(printer, &out.display().to_string())
}

/// The measured channels, or StyleCLIP's tables.
fn channels(args: &DirectionArgs, origin: &Origin) -> Result<Channels> {
    if let (Some(responses), Some(statistics), Some(clip)) =
        (&args.responses, &args.statistics, &args.clip)
    {
        return models::open_original_channels(responses, statistics, clip);
    }
    phrases::measured(args.channels.as_deref(), &args.codes.generator, origin)
}

/// A direction for each β, with its label.
fn directions(
    args: &DirectionArgs,
    relevance: &Tensor,
    phrases: &Phrases,
    config: &Config,
) -> Result<Vec<(String, GlobalDirection)>> {
    let make = |label: String, beta: f64| Ok((label, phrases.direction(relevance, beta, config)?));
    if !args.beta.is_empty() {
        return args.beta.iter().map(|beta| make(format!("beta {beta}"), *beta)).collect();
    }
    let kept = if args.keep.is_empty() { &[USUAL_KEEP][..] } else { &args.keep };
    let row = |&n: &i64| {
        let beta = beta_of(relevance, n);
        // In Latin letters: the font of pictures has no Greek ones.
        make(format!("{n} channels, beta {beta:.2}"), beta)
    };
    kept.iter().map(row).collect()
}

/// Columns: α; rows: β, domains, codes.
fn sheet(
    args: &DirectionArgs,
    subject: &Subject,
    domains: &[Domain],
    rows: &[(String, GlobalDirection)],
) -> Result<RgbImage> {
    let side = subject.generator.config().resolution.clamp(128, 512);
    let cells = subject.codes.size()[0] * (domains.len() * rows.len() * args.alpha.len()) as i64;
    if cells.saturating_mul(side * side) >= MAX_GRID_PIXELS {
        return Err(Error::request(
            format!("{cells} images are too many for one sheet"),
            "use a smaller --count, or fewer values",
        ));
    }
    let several = rows.len() > 1 || domains.len() > 1;
    let mut grid = Grid::new()
        .title(format!("{} → {}", args.neutral, args.target))
        .heads(args.alpha.iter().map(|alpha| format!("alpha {alpha}")))
        .labels(if several { Labels::Left } else { Labels::Auto });
    for code in 0..subject.codes.size()[0] {
        let codes = subject.codes.narrow(0, code, 1);
        let mut first = true;
        for (label, direction) in rows {
            for domain in domains {
                let images = args.alpha.iter().map(|alpha| {
                    let image = domain.images(&codes, |styles| direction.apply(&styles, *alpha))?;
                    Ok(to_rgb8(&image)?.swap_remove(0))
                });
                let name = match (rows.len() > 1, domains.len() > 1) {
                    (true, true) => format!("{}, {label}", domain.label),
                    (true, false) => label.clone(),
                    (false, true) => domain.label.clone(),
                    (false, false) => String::new(),
                };
                grid = grid.row(name, images.collect::<Result<Vec<_>>>()?);
                if std::mem::take(&mut first) && several {
                    grid = grid.apart();
                }
            }
        }
    }
    let about = match (rows, several) {
        ([(label, _)], _) => format!("{} · {label}", subject.about),
        _ => subject.about.clone(),
    };
    grid.footer(about).render()
}
