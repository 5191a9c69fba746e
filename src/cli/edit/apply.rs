//! `nada edit apply`: known directions, alone and together, in one or several domains.

use super::super::generate::MAX_GRID_PIXELS;
use super::super::outputs;
use super::super::printer::Printer;
use super::codes::{CodesArgs, Subject};
use super::domains::{self, Domain};
use super::phrases::{self, Phrases};
use super::spec::{Edit, Spec, Strength};
use crate::checkpoint::save_safetensors;
use crate::edit::linear::compose;
use crate::error::{Error, Result};
use crate::imaging::grid::{Grid, Labels};
use crate::imaging::{save, to_rgb8};
use crate::stylegan2::StyleCodes;
use crate::torch::TensorMap;
use clap::Args;
use image::RgbImage;
use std::path::PathBuf;
use tch::{Kind, Tensor};

/// What may be typed behind `nada edit apply`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada edit apply --edit sefa#0=-4..4 --count 4
  nada edit apply --edit age.pt=3 --edit smile.pt=2 --generator ffhq.pt
  nada edit apply --edit ffhq_pca.pt#10@7-8=-5..5 --generator ffhq.pt --steps 7
  nada edit apply --edit sefa#1=3 --edit sefa#4=3 --domain runs/sketch --domain runs/zombie
  nada edit apply --edit \"text:photo:golden statue=5\" --edit sefa#0=3

An edit is FILE[#NUMBER|#NAME][@FROM-TO]=STRENGTH, sefa#K[@FROM-TO]=STRENGTH or text:NEUTRAL:TARGET[#CHANNELS]=STRENGTH.
FILE (.npy, .npz, .pt, .pkl, .safetensors) is a boundary of InterFaceGAN or several by name, the components of GANSpace
or the factors of rosinality; FROM-TO are style inputs. A strength A..B sweeps.
Boundaries and eigenvectors are added to the code, a component's coordinate is set to so many deviations. Phrases need
the channels that `nada edit prepare` measures; their strength is α of `nada edit direction`.")]
pub(super) struct ApplyArgs {
    /// An edit; repeat it for several, which then also are shown together
    #[arg(
        long,
        value_name = "EDIT",
        required = true,
        allow_hyphen_values = true,
        help_heading = "Edits"
    )]
    edit: Vec<String>,
    /// Images along a sweep
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(i64).range(2..=32), help_heading = "Edits")]
    steps: i64,
    /// For edits by text: what `nada edit prepare` measured [default: channels/GENERATOR.safetensors]
    #[arg(long, value_name = "FILE", help_heading = "Edits")]
    channels: Option<PathBuf>,
    /// For edits by text: where CLIP models such as ViT-B/32 lie
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    models_dir: Option<PathBuf>,
    /// Show the same edits in an adapted generator, too; repeat it for several
    #[arg(long, value_name = "FILE|RUN", help_heading = "Edits")]
    domain: Vec<String>,
    #[command(flatten)]
    codes: CodesArgs,
    /// The sheet [default: edited.png]
    #[arg(long, value_name = "FILE.png", help_heading = "Output")]
    out: Option<PathBuf>,
    /// The codes with all edits, `w_plus [N, L, D]`, to be given to --latents
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Output")]
    save_codes: Option<PathBuf>,
}

/// A column of the sheet: what is applied, with which strengths.
struct Column {
    heading: String,
    strengths: Vec<Option<f64>>,
}

/// Runs the command.
pub(super) fn run(args: &ApplyArgs, printer: &Printer) -> Result<()> {
    let specs = args.edit.iter().map(|text| Spec::parse(text)).collect::<Result<Vec<_>>>()?;
    let out = args.out.clone().unwrap_or_else(|| outputs::free_picture("edited"));
    outputs::claim_file(&out, args.codes.force)?;
    if let Some(file) = &args.save_codes {
        outputs::claim_file(file, args.codes.force)?;
    }
    let by_text = specs.iter().any(Spec::is_text);
    if by_text && args.save_codes.is_some() {
        return Err(Error::request(
            "an edit by text changes single channels: no code in W+ makes its images",
            "leave out `--save-codes`, or find a code with `nada edit optimize`",
        ));
    }
    domains::check(&args.codes, &args.domain)?;
    let subject = args.codes.subject(printer)?;
    let phrases = match by_text {
        true => Some(open_phrases(args, &subject)?),
        false => None,
    };
    let open = |spec: &Spec| spec.open(&subject.generator, phrases.as_ref(), printer);
    let edits = specs.iter().map(open).collect::<Result<Vec<_>>>()?;
    let columns = columns(&specs, &edits, args.steps)?;
    let domains = domains::open(&subject, &args.codes.generator, &args.domain, printer)?;
    let side = subject.generator.config().resolution.clamp(128, 512);
    let cells = subject.codes.size()[0] * (domains.len() * columns.len()) as i64;
    if cells.saturating_mul(side * side) >= MAX_GRID_PIXELS {
        return Err(Error::request(
            format!("{cells} images are too many for one sheet"),
            "use a smaller --count, or fewer --steps",
        ));
    }
    let picture = sheet(&subject, &domains, &edits, &columns, &constant(&specs, &edits))?;
    outputs::make_room(&out)?;
    save::png(&out, &picture, &[("Edits", &args.edit.join(" "))])?;
    super::super::adapt::print(printer, &out.display().to_string())?;
    if let Some(file) = &args.save_codes {
        let last = columns.last().expect("there is a column without edits at least");
        let codes = moved(&subject.codes, &edits, &last.strengths)?;
        outputs::make_room(file)?;
        let tensors = TensorMap::from([("w_plus".into(), codes)]);
        let about = [("edits".to_owned(), args.edit.join(" "))].into();
        save_safetensors(file, &tensors, &about, Some(Kind::Float))?;
        super::super::adapt::print(printer, &file.display().to_string())?;
    }
    Ok(())
}

fn open_phrases(args: &ApplyArgs, subject: &Subject) -> Result<Phrases> {
    let file = args.channels.as_deref();
    let channels = phrases::measured(file, &args.codes.generator, &subject.origin)?;
    Phrases::open(channels, args.models_dir.as_deref(), subject.generator.device())
}

/// The edits that every column of a sweep has, for the line above the sheet; nothing without a sweep, where the columns
/// name all of them.
fn constant(specs: &[Spec], edits: &[Edit]) -> String {
    if !specs.iter().any(|spec| matches!(spec.strength, Strength::Sweep(..))) {
        return String::new();
    }
    let held = specs.iter().zip(edits).filter_map(|(spec, edit)| match spec.strength {
        Strength::At(strength) => Some(format!("{} {strength}", edit.name())),
        Strength::Sweep(..) => None,
    });
    let held: Vec<String> = held.collect();
    if held.is_empty() { String::new() } else { format!("with {} throughout", held.join(", ")) }
}

/// Without a sweep: nothing, every edit alone, all together. With one: its steps, the others as they are.
fn columns(specs: &[Spec], edits: &[Edit], steps: i64) -> Result<Vec<Column>> {
    let sweeps: Vec<usize> =
        (0..specs.len()).filter(|&i| matches!(specs[i].strength, Strength::Sweep(..))).collect();
    let fixed: Vec<Option<f64>> = specs
        .iter()
        .map(|spec| match spec.strength {
            Strength::At(strength) => Some(strength),
            Strength::Sweep(..) => None,
        })
        .collect();
    if let [one] = sweeps[..] {
        let Strength::Sweep(from, to) = specs[one].strength else { unreachable!("it sweeps") };
        let column = |i: i64| {
            let strength = from + (to - from) * i as f64 / (steps - 1) as f64;
            let mut strengths = fixed.clone();
            strengths[one] = Some(strength);
            // Rounded, so that the middle of a sweep is 0 and not -0.
            let shown = (strength * 100.0).round() / 100.0 + 0.0;
            Column { heading: format!("{} {shown}", edits[one].name()), strengths }
        };
        return Ok((0..steps).map(column).collect());
    }
    if sweeps.len() > 1 {
        return Err(Error::request(
            format!("{} of the edits sweep", sweeps.len()),
            "let one sweep, and give the others one strength each",
        ));
    }
    let only = |i: usize| Column {
        heading: format!("{} {}", edits[i].name(), fixed[i].unwrap_or(0.0)),
        strengths: (0..fixed.len()).map(|k| fixed[k].filter(|_| k == i)).collect(),
    };
    let mut columns =
        vec![Column { heading: "no edit".into(), strengths: vec![None; specs.len()] }];
    columns.extend((0..specs.len()).map(only));
    if specs.len() > 1 {
        columns.push(Column { heading: "together".into(), strengths: fixed });
    }
    Ok(columns)
}

/// The codes after the edits in W+.
fn moved(codes: &Tensor, edits: &[Edit], strengths: &[Option<f64>]) -> Result<Tensor> {
    let linear = edits.iter().zip(strengths).filter_map(|(edit, strength)| match edit {
        Edit::Linear(edit) => Some((edit, (*strength)?)),
        Edit::Text { .. } => None,
    });
    compose(&linear.collect::<Vec<_>>(), codes)
}

/// The style codes of those after the edits in StyleSpace.
fn restyled(styles: StyleCodes, edits: &[Edit], strengths: &[Option<f64>]) -> Result<StyleCodes> {
    edits.iter().zip(strengths).try_fold(styles, |styles, (edit, strength)| {
        match (edit, strength) {
            (Edit::Text { direction, .. }, Some(alpha)) => direction.apply(&styles, *alpha),
            _ => Ok(styles),
        }
    })
}

/// Rows: every domain, for each code; columns: edits.
fn sheet(
    subject: &Subject,
    domains: &[Domain],
    edits: &[Edit],
    columns: &[Column],
    constant: &str,
) -> Result<RgbImage> {
    let mut pictures: Vec<Vec<Vec<RgbImage>>> = Vec::new(); // [column][domain][code]
    for column in columns {
        let strengths = &column.strengths;
        let codes = moved(&subject.codes, edits, strengths)?;
        let each = domains.iter().map(|domain| {
            let images = domain.images(&codes, |styles| restyled(styles, edits, strengths))?;
            to_rgb8(&images)
        });
        pictures.push(each.collect::<Result<Vec<_>>>()?);
    }
    let mut grid = Grid::new()
        .title(constant)
        .labels(if domains.len() > 1 { Labels::Left } else { Labels::Auto })
        .heads(columns.iter().map(|column| column.heading.clone()));
    for code in 0..subject.codes.size()[0] as usize {
        for (d, domain) in domains.iter().enumerate() {
            let label = if domains.len() > 1 { domain.label.clone() } else { String::new() };
            let row = pictures.iter().map(|column| column[d][code].clone()).collect();
            grid = grid.row(label, row);
            if d == 0 && domains.len() > 1 {
                grid = grid.apart();
            }
        }
    }
    grid.footer(subject.about.clone()).render()
}
