//! `nada edit direction`: two phrases become an edit at once, from channels that were measured before.

use super::super::generate::MAX_GRID_PIXELS;
use super::super::outputs;
use super::super::printer::Printer;
use super::super::unread;
use super::codes::{CodesArgs, Subject};
use super::domains::{self, Domain};
use super::prepare;
use crate::builtin;
use crate::edit::channels::{GlobalDirection, text_step};
use crate::error::{Error, Result};
use crate::imaging::grid::{Grid, Labels};
use crate::imaging::{save, to_rgb8};
use crate::models::{self, Channels, Origin};
use clap::Args;
use image::RgbImage;
use std::path::PathBuf;
use tch::{Kind, Tensor};

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
    let subject = args.codes.subject(printer)?;
    let channels = channels(args, &subject.origin)?;
    let relevance = relevance(args, &channels, &subject, printer)?;
    let rows = directions(args, &relevance, &channels, &subject)?;
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

/// The measured channels, made sure to be of this generator or of what it was adapted from.
fn channels(args: &DirectionArgs, origin: &Origin) -> Result<Channels> {
    if let (Some(responses), Some(statistics), Some(clip)) =
        (&args.responses, &args.statistics, &args.clip)
    {
        return models::open_original_channels(responses, statistics, clip);
    }
    let usual = || prepare::usual_file(&args.codes.generator);
    let path = args.channels.clone().unwrap_or_else(usual);
    if !path.exists() && args.channels.is_none() {
        return Err(Error::request(
            format!("`{}` is not there: the channels were not measured", path.display()),
            format!(
                "measure them once with `nada edit prepare --generator {}`, or name a file with --channels",
                args.codes.generator
            ),
        ));
    }
    let channels = models::open_channels(&path)?;
    let base = origin.metadata.get("base_sha256");
    let own = [Some(&origin.sha256), base];
    if channels.generator_sha256.as_ref().is_some_and(|sha| !own.contains(&Some(sha))) {
        let short = |sha: Option<&String>| {
            sha.map_or("?".into(), |s| s.chars().take(12).collect::<String>())
        };
        return Err(Error::file_hint(
            &path,
            format!(
                "was measured on another generator (sha256 {}…) than `{}` (sha256 {}…)",
                short(channels.generator_sha256.as_ref()),
                args.codes.generator,
                short(Some(&origin.sha256))
            ),
            format!(
                "measure this one with `nada edit prepare --generator {}`",
                args.codes.generator
            ),
        ));
    }
    Ok(channels)
}

/// responses · Δt of every channel, the weighted mean over the CLIPs.
fn relevance(
    args: &DirectionArgs,
    channels: &Channels,
    subject: &Subject,
    printer: &Printer,
) -> Result<Tensor> {
    let (mut sum, mut weights, mut guides) = (None::<Tensor>, 0.0, Vec::new());
    for (witness, table) in &channels.responses {
        let path = builtin::resolve_clip(&witness.name, args.models_dir.as_deref())?;
        let (clip, origin) = models::open_clip(&path, Kind::Float, subject.generator.device())?;
        if !witness.sha256.is_empty() && origin.sha256 != witness.sha256 {
            return Err(Error::file_hint(
                &path,
                "is not the file that the channels were measured with",
                "put the earlier file back, or measure the channels again",
            ));
        }
        if table.size()[1] != clip.embed_dim() {
            return Err(Error::request(
                format!(
                    "the responses have {} numbers a channel, `{}` has {} features",
                    table.size()[1],
                    witness.name,
                    clip.embed_dim()
                ),
                "name the CLIP that the tables were made with: StyleCLIP's is ViT-B/32",
            ));
        }
        guides.extend(clip.vocabulary().map(|known| (witness.name.clone(), known.clone())));
        let step = text_step(&clip, &args.neutral, &args.target)?;
        let step = step.to_device(tch::Device::Cpu).to_kind(Kind::Double);
        let own = table.to_kind(Kind::Double).matmul(&step.tr()).squeeze_dim(1) * witness.weight;
        sum = Some(match sum {
            Some(sum) => sum + own,
            None => own,
        });
        weights += witness.weight;
    }
    for (role, phrase) in [("neutral text", &args.neutral), ("target", &args.target)] {
        if let Some(warning) = unread::warning(role, phrase, &guides) {
            printer.warn(&warning);
        }
    }
    let sum = sum.ok_or_else(|| Error::request("no CLIP watched the channels", "measure them"))?;
    Ok(sum / weights)
}

/// A direction for each β, with its label.
fn directions(
    args: &DirectionArgs,
    relevance: &Tensor,
    channels: &Channels,
    subject: &Subject,
) -> Result<Vec<(String, GlobalDirection)>> {
    let config = subject.generator.config();
    let make = |label: String, beta: f64| {
        Ok((label, GlobalDirection::new(relevance, &channels.statistics, config, beta)?))
    };
    if !args.beta.is_empty() {
        return args.beta.iter().map(|beta| make(format!("beta {beta}"), *beta)).collect();
    }
    let kept = if args.keep.is_empty() { &[100][..] } else { &args.keep };
    let (sorted, _) = relevance.abs().sort(0, true);
    let threshold = |n: i64| sorted.double_value(&[(n - 1).min(sorted.size()[0] - 1)]);
    // In Latin letters: the font of pictures has no Greek ones.
    let label = |n: i64, beta: f64| format!("{n} channels, beta {beta:.2}");
    kept.iter().map(|&n| make(label(n, threshold(n)), threshold(n))).collect()
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
