//! `nada export`: a generator for other programs, checked by loading it back, with a card beside it.

mod graphs;
mod tensors;

use super::convert::Dtype;
use super::outputs;
use super::printer::Printer;
use super::truncation;
use crate::builtin;
use crate::checkpoint::{self, Address};
use crate::error::{Error, Result};
use crate::export::card::Card;
use crate::export::form::FormNoise;
use crate::export::rosinality;
use crate::models::{self, GeneratorFiles, GeneratorTable, Origin, StoredGenerator};
use crate::rng;
use crate::stylegan2::{Config, Generator, Latent, Noise};
use crate::torch::{TensorMap, catch, copy_map};
use clap::Args;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Images that are compared; several, so that a batch size that was baked in would be seen.
const CHECKED: i64 = 3;
/// Brightness by which an exported network may differ, on a scale of -1 to 1.
const TOLERANCE: f64 = 1e-4;

/// What may be typed behind `nada export`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada export runs/sketch --format onnx
  nada export runs/sketch --format torchscript --truncation 0.5 --out sketch-0.5.pt
  nada export ffhq.pt --format safetensors --dtype f16 --out ffhq-f16.safetensors
  nada export mine.pt --format delta --base ffhq.pt

Every export is loaded back and its images are compared with the generator's; the largest difference is printed. Beside
it lies a card, FILE.md, with where it comes from, its terms, and the lines of Python that load it.")]
pub(super) struct ExportArgs {
    /// The folder of a run, a checkpoint file, a shipped name, or BASE+DELTA
    #[arg(value_name = "RUN|GENERATOR")]
    what: String,
    /// What to write
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// The new file [default: the generator's name with the format's ending, in this folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// With `delta`: the generator that is the rest [default: what the run began with]
    #[arg(long, value_name = "GENERATOR")]
    base: Option<String>,
    /// With `torchscript` and `onnx`: the ψ of z → image [default: 0.7]
    #[arg(long, value_name = "PSI", allow_negative_numbers = true, value_parser = truncation::parse)]
    truncation: Option<f64>,
    /// With `torchscript` and `onnx`: the noise that is worked in [default: stored]
    #[arg(long, value_name = "NOISE")]
    noise: Option<NoiseChoice>,
    /// With `torchscript`, `onnx` and `pt`: the class that a conditional generator draws
    #[arg(long, value_name = "N")]
    class: Option<u32>,
    /// With `safetensors` and `pt`: type of the numbers [default: as they are]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Dtype>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// All tensors, rosinality's names
    Safetensors,
    /// rosinality's checkpoint, which the original StyleGAN-NADA loads
    Pt,
    /// One archive for PyTorch in Python or C++: z → image, w+ → image
    Torchscript,
    /// Two files for ONNX runtimes: w+ → image, and NAME-mapping.onnx, z → w+
    Onnx,
    /// Only what differs from the base
    Delta,
}

/// Which noise maps an exported network adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum NoiseChoice {
    /// The maps in the checkpoint
    Stored,
    /// No noise
    None,
}

impl NoiseChoice {
    fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::None => "none",
        }
    }

    fn form(self) -> FormNoise {
        match self {
            Self::Stored => FormNoise::Stored,
            Self::None => FormNoise::None,
        }
    }

    fn maps(self) -> Noise<'static> {
        match self {
            Self::Stored => Noise::Stored,
            Self::None => Noise::None,
        }
    }
}

/// What a format's writer leaves for the card and the user.
struct Written {
    /// The main file first.
    files: Vec<PathBuf>,
    what: String,
    settings: Vec<(&'static str, String)>,
    python: String,
    /// The largest difference of images.
    difference: f64,
}

/// The generator that is exported, and what was asked for.
struct Job<'a> {
    args: &'a ExportArgs,
    out: &'a Path,
    files: &'a GeneratorFiles,
    stored: StoredGenerator,
    generator: Generator,
}

/// Runs the command.
pub(super) fn run(args: &ExportArgs, printer: &Printer) -> anyhow::Result<()> {
    check_request(args)?;
    let out = args.out.clone().unwrap_or_else(|| default_name(&args.what, args.format).into());
    let targets = targets(&out, args.format);
    targets.iter().try_for_each(|file| outputs::claim_file(file, args.force))?;
    let files = builtin::resolve_generator(&args.what)?;
    for target in &targets {
        super::convert::not_itself(files.deltas.iter().chain([&files.base]), target)?;
    }
    // All tensors are written, whatever the class: any shows that they were read back.
    let any = matches!(args.format, Format::Safetensors | Format::Pt | Format::Delta);
    let asked = args.class.map(i64::from);
    let table = GeneratorTable::of_any_class(&files, asked, any)?;
    tensors::check_base_shape(args, &files, &table)?;
    let mut stored = models::read_generator(&files, None)?;
    stored.not_finite.refuse(&stored.origin.path)?;
    let generator = network(&stored.config, &stored.tensors, table.class())?;
    let class = asked.or(models::class_of(&stored.origin.metadata, &stored.origin.path)?);
    if args.format == Format::Pt && class.is_some() {
        fold_class(&mut stored, &generator);
    }
    outputs::make_room(&out)?;
    let job = Job { args, out: &out, files: &files, stored, generator };
    let written = match args.format {
        Format::Safetensors | Format::Pt => tensors::write_whole(&job, printer)?,
        Format::Delta => tensors::write_delta(&job, printer)?,
        Format::Torchscript => graphs::write_torchscript(&job)?,
        Format::Onnx => graphs::write_onnx(&job)?,
    };
    job.write_card(&written)?;
    printer.info(&checked(written.difference));
    for target in &targets {
        printer.data(&target.display().to_string())?;
    }
    Ok(())
}

impl Job<'_> {
    /// Another generator that draws the same class.
    fn open(&self, files: impl Into<GeneratorFiles>) -> Result<(Generator, Origin)> {
        // A class that was folded in is none any more.
        let class = self.generator.class().filter(|_| self.stored.config.classes > 0);
        models::open_generator_of_class(files, class, Kind::Float, Device::Cpu)
    }

    fn psi(&self) -> f64 {
        self.args.truncation.unwrap_or(truncation::USUAL)
    }

    fn noise(&self) -> NoiseChoice {
        self.args.noise.unwrap_or(NoiseChoice::Stored)
    }

    /// Codes for the check.
    fn z(&self) -> Tensor {
        let shape = [CHECKED, self.generator.config().z_dim];
        rng::stream(0, 0, "export check").normal(&shape, Kind::Float, Device::Cpu)
    }

    /// What a generator makes of [`Job::z`].
    fn images(&self, generator: &Generator) -> Result<(Tensor, Tensor)> {
        generator.generate(&Latent::Z(self.z()), self.psi(), self.noise().maps())
    }

    fn write_card(&self, written: &Written) -> Result<()> {
        let hashed = |path: &PathBuf| Ok((path.clone(), checkpoint::sha256(path)?));
        let files = written.files.iter().map(hashed).collect::<Result<Vec<_>>>()?;
        let mut settings = written.settings.clone();
        settings.push(("Check", checked(written.difference)));
        let card = Card {
            files: &files,
            what: &written.what,
            from: self.files,
            origin: &self.stored.origin,
            config: self.generator.config(),
            settings: &settings,
            python: &written.python,
        };
        card.save(self.out)
    }
}

/// Makes a conditional generator an ordinary one of the class that `generator` draws.
fn fold_class(stored: &mut StoredGenerator, generator: &Generator) {
    if let Some(class) = generator.mapping().class() {
        rosinality::of_one_class(&mut stored.config, &mut stored.tensors, class);
        stored.origin.metadata.remove("class");
    }
}

/// The network that tensors make, in float32 on the CPU.
fn network(config: &Config, tensors: &TensorMap, class: Option<i64>) -> Result<Generator> {
    let tensors =
        catch("reading the generator", || Ok(copy_map(tensors, Device::Cpu, Kind::Float)))?;
    Generator::of_class(config.clone(), tensors, class)
}

/// What the check found, in words.
fn checked(difference: f64) -> String {
    match difference {
        0.0 => format!("loaded back: {CHECKED} images are the same to the last bit"),
        _ => format!(
            "loaded back: {CHECKED} images differ by at most {difference:.1e} on a scale of -1 to 1"
        ),
    }
}

/// The largest difference of two batches of images.
fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
    catch("comparing images", || Ok((a - b).abs().max().double_value(&[])))
}

/// Refuses a network whose images are others than the generator's.
fn agree(path: &Path, difference: f64) -> Result<f64> {
    // Written so that NaN is refused, too.
    if difference <= TOLERANCE {
        return Ok(difference);
    }
    Err(Error::file_hint(
        path,
        format!("was written, but its images differ by {difference:.1e} from the generator's"),
        "do not use it; this is a defect of nada: please report it with the output of `nada inspect`",
    ))
}

/// Every option belongs to some formats.
fn check_request(args: &ExportArgs) -> Result<()> {
    let graph = matches!(args.format, Format::Torchscript | Format::Onnx);
    let whole = matches!(args.format, Format::Safetensors | Format::Pt);
    let misplaced = [
        (args.base.is_some(), args.format == Format::Delta, "--base", "delta"),
        (args.truncation.is_some(), graph, "--truncation", "torchscript` or `onnx"),
        (args.noise.is_some(), graph, "--noise", "torchscript` or `onnx"),
        (args.dtype.is_some(), whole, "--dtype", "safetensors` or `pt"),
    ];
    for (given, fits, flag, formats) in misplaced {
        if given && !fits {
            return Err(Error::request(
                format!("`{flag}` means nothing to this format"),
                format!("leave it out, or use `--format {formats}`"),
            ));
        }
    }
    Ok(())
}

/// `runs/sketch` as ONNX is `sketch.onnx`.
fn default_name(what: &str, format: Format) -> String {
    let last = Path::new(Address::of_name(what.rsplit('+').next().unwrap_or(what)).0);
    let name = if last.is_dir() { last.file_name() } else { last.file_stem() };
    let name = name.map_or_else(|| "generator".into(), |name| name.to_string_lossy());
    match format {
        Format::Safetensors => format!("{name}.safetensors"),
        Format::Pt => format!("{name}.pt"),
        Format::Torchscript => format!("{name}-torchscript.pt"),
        Format::Onnx => format!("{name}.onnx"),
        Format::Delta => format!("{name}-delta.safetensors"),
    }
}

/// Everything that will be written, the main file first.
fn targets(out: &Path, format: Format) -> Vec<PathBuf> {
    let mut targets = vec![out.to_path_buf()];
    if format == Format::Onnx {
        targets.push(mapping_file(out));
    }
    targets.push(Card::path_of(out));
    targets
}

/// `sketch-mapping.onnx` beside `sketch.onnx`.
fn mapping_file(out: &Path) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-mapping.onnx"))
}

/// A file's name for the lines of Python in a card.
fn python_name(path: &Path) -> String {
    // JSON's quotes and escapes are Python's, too.
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    serde_json::Value::from(name).to_string()
}
