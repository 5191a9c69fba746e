//! `nada convert`: weights into another container, every number kept.

use super::outputs;
use super::printer::Printer;
use crate::builtin;
use crate::checkpoint::{self, Address, Item, Network, save_safetensors, save_torch};
use crate::error::{Error, Result};
use crate::export::rosinality;
use crate::fetch;
use crate::models::{self, GeneratorFiles, StoredGenerator};
use crate::run_dir::RunDir;
use crate::stylegan2::Generator;
use crate::torch::{TensorMap, catch, copy_map};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// What may be typed behind `nada convert`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada convert ffhq.pt ffhq.safetensors
  nada convert runs/sketch sketch.pt
  nada convert faces128+runs/sketch sketch.safetensors --dtype f16

A `.pt` is what rosinality's code and the original StyleGAN-NADA load: {\"g_ema\": …, \"latent_avg\": …}, with the noise
maps and filter kernels that its state dictionary needs. A generator without `latent_avg` (the original's results have
none) stays without one, unless --estimate-latent-avg is given. CLIP models become safetensors under OpenAI's names.")]
pub(super) struct ConvertArgs {
    /// A checkpoint file, a shipped name, the folder of a run, or BASE+DELTA
    #[arg(value_name = "IN")]
    input: String,
    /// The new file
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// How it is packed; by default told by its ending
    #[arg(long, value_name = "FORMAT")]
    format: Option<Packing>,
    /// Type of the floating point numbers [default: as they are]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<Dtype>,
    /// Add the mean over 4,096 seeded codes as `latent_avg`, if there is none
    #[arg(long)]
    estimate_latent_avg: bool,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// How tensors are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Packing {
    /// safetensors
    Safetensors,
    /// rosinality's checkpoint, torch's zip container
    Pt,
}

/// Precision of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Dtype {
    /// Half precision
    F16,
    /// Single precision
    F32,
}

impl Dtype {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::F16 => Kind::Half,
            Self::F32 => Kind::Float,
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &ConvertArgs, printer: &Printer) -> anyhow::Result<()> {
    let packing = args.format.map_or_else(|| packing_of(&args.output), Ok)?;
    outputs::claim_file(&args.output, args.force)?;
    let dtype = args.dtype.map(Dtype::kind);
    match clip_file(&args.input) {
        Some(path) => clip(&path, args, packing, dtype, printer)?,
        None => {
            let files = builtin::resolve_generator(&args.input)?;
            not_itself(files.deltas.iter().chain([&files.base]), &args.output)?;
            let mut stored = models::read_generator(&files, None)?;
            if let Some(note) = stored.not_finite.note() {
                printer.warn(&format!("`{files}`: {note}"));
            }
            if args.estimate_latent_avg && !stored.tensors.contains_key("latent_avg") {
                if stored.config.classes > 0 {
                    return Err(Error::request(
                        "the average style of a generator with classes is another one for each",
                        "leave out `--estimate-latent-avg`",
                    )
                    .into());
                }
                let generator = generator_of(&stored)?;
                stored.tensors.insert("latent_avg".into(), generator.latent_avg().shallow_clone());
                printer.info("`latent_avg` is the mean over 4,096 seeded codes");
            }
            write_generator(&stored, packing, &args.output, dtype, printer)?;
        }
    }
    printer.data(&args.output.display().to_string())?;
    Ok(())
}

/// The packing that a name's ending stands for.
fn packing_of(path: &Path) -> Result<Packing> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("safetensors") => Ok(Packing::Safetensors),
        Some("pt" | "pth") => Ok(Packing::Pt),
        _ => Err(Error::request(
            format!("`{}` does not tell how it is to be packed", path.display()),
            "end it in `.safetensors` or `.pt`, or use `--format`; `nada export` has more formats",
        )),
    }
}

/// Refuses to write over what is read: the file is still needed when its successor is checked.
pub(super) fn not_itself<'a>(
    inputs: impl Iterator<Item = &'a PathBuf>,
    output: &Path,
) -> Result<()> {
    let Ok(real) = output.canonicalize() else { return Ok(()) };
    let files: Vec<PathBuf> = inputs.map(checkpoint::files).collect::<Result<Vec<_>>>()?.concat();
    match files.iter().find(|input| input.canonicalize().is_ok_and(|input| input == real)) {
        Some(_) => Err(Error::request(
            format!("`{}` is what would be read", output.display()),
            "choose another name for the new file",
        )),
        None => Ok(()),
    }
}

/// Writes a generator and reads it back: every tensor must be what was meant.
///
/// # Errors
/// As the writers; [`Error::File`] when the file holds something else than was meant.
pub(super) fn write_generator(
    stored: &StoredGenerator,
    packing: Packing,
    out: &Path,
    dtype: Option<Kind>,
    printer: &Printer,
) -> Result<()> {
    // Refuses filters that nada does not have before anything is written.
    generator_of(stored)?;
    let StoredGenerator { config, tensors, origin, .. } = stored;
    let mut metadata = origin.metadata.clone();
    // About the container, not about what is in it.
    metadata.remove("torch.version");
    let tensors = copy(tensors);
    if !origin.report.unused.is_empty() {
        printer.warn(&format!(
            "left out what no StyleGAN2 generator has: `{}`",
            origin.report.unused.join("`, `")
        ));
    }
    if !tensors.contains_key("latent_avg") {
        printer.info(
            "it has no `latent_avg`, and gets none: truncation will be towards an estimated mean",
        );
    }
    outputs::make_room(out)?;
    let tensors = match packing {
        Packing::Safetensors => {
            let tensors = rosinality::without_kernels(tensors);
            save_safetensors(out, &tensors, &metadata, dtype)?;
            tensors
        }
        Packing::Pt => {
            let (mut state, average, added) = rosinality::state_dict(config, tensors);
            if added.noises > 0 {
                printer.info(&format!(
                    "added {} noise maps: the file had none, and these are what nada uses then",
                    added.noises
                ));
            }
            if config.classes > 0 {
                printer.warn(
                    "rosinality's code knows no classes: it will not load this file, nada does; \
                     `nada export --format pt --class N` writes one class so that it does",
                );
            }
            if config.constant_size != [4, 4] || config.image_channels != 3 {
                printer.warn(
                    "rosinality's class begins at 4×4 pixels and ends in three colours: only one that is changed to this \
                     generator's shapes loads this file, nada does",
                );
            }
            if config.conv_clamp.is_some() {
                printer
                    .warn("rosinality's code does not clamp convolutions as this generator's did");
            }
            let average_item =
                average.as_ref().map(|average| ("latent_avg", Item::Tensor(average)));
            let items: Vec<_> =
                [("g_ema", Item::State(&state))].into_iter().chain(average_item).collect();
            save_torch(out, &items, &metadata, dtype)?;
            state.extend(average.map(|average| ("latent_avg".to_owned(), average)));
            state
        }
    };
    let read = models::read_generator(&GeneratorFiles::from(out), None)?.tensors;
    same_tensors(out, &tensors, &read, dtype)
}

/// Fails unless what was read back is, bit for bit, what was to be written.
fn same_tensors(
    path: &Path,
    meant: &TensorMap,
    read: &TensorMap,
    dtype: Option<Kind>,
) -> Result<()> {
    let wrong = meant.iter().find(|(name, tensor)| {
        let kind = dtype.filter(|_| tensor.is_floating_point()).unwrap_or(tensor.kind());
        let bytes = |t: &tch::Tensor| t.to_kind(kind).contiguous().view(-1).view_dtype(Kind::Uint8);
        !read.get(*name).is_some_and(|found| {
            found.kind() == kind
                && found.size() == tensor.size()
                && (found.numel() == 0 || bytes(found).equal(&bytes(tensor)))
        })
    });
    match wrong {
        None if meant.len() == read.len() => Ok(()),
        wrong => Err(Error::file_hint(
            path,
            format!(
                "was read back and is not what was written (`{}`)",
                wrong.map_or("more tensors than meant", |(name, _)| name.as_str())
            ),
            "the disk may be failing: try another one",
        )),
    }
}

/// The network that the tensors make, in float32.
fn generator_of(stored: &StoredGenerator) -> Result<Generator> {
    let tensors =
        catch("reading the generator", || Ok(copy_map(&stored.tensors, Device::Cpu, Kind::Float)))?;
    // Any class will do: what is asked of it here does not depend on one.
    let class = (stored.config.classes > 0).then_some(0);
    Generator::of_class(stored.config.clone(), tensors, class)
}

fn copy(tensors: &TensorMap) -> TensorMap {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}

/// The file of a CLIP, if that is what was named.
fn clip_file(asked: &str) -> Option<PathBuf> {
    let (plain, key) = Address::of_name(asked);
    if let Some(model) = builtin::models().into_iter().find(|m| m.name == plain) {
        return (model.kind == fetch::Kind::Clip).then(|| Address::joined(model.path, key));
    }
    let path = PathBuf::from(plain);
    if path.is_dir() && !RunDir::is_run(&path) {
        // As Hugging Face and open_clip publish them; a folder that is neither is refused as a generator.
        return builtin::resolve_clip(asked, None).ok();
    }
    let path = PathBuf::from(asked);
    let file = checkpoint::open(&path).ok()?;
    (checkpoint::recognise(&file).network() == Network::Clip).then_some(path)
}

fn clip(
    path: &Path,
    args: &ConvertArgs,
    packing: Packing,
    dtype: Option<Kind>,
    printer: &Printer,
) -> Result<()> {
    if packing != Packing::Safetensors || args.estimate_latent_avg {
        return Err(Error::request(
            format!("`{}` is a CLIP model, which is written as safetensors only", args.input),
            "end OUT in `.safetensors`, without `--estimate-latent-avg`",
        ));
    }
    not_itself([&path.to_path_buf()].into_iter(), &args.output)?;
    let (tensors, origin) = models::read_clip(path)?;
    origin.notes.iter().for_each(|note| printer.warn(note));
    if !origin.report.unused.is_empty() {
        printer.warn(&format!("left out: `{}`", origin.report.unused.join("`, `")));
    }
    let mut metadata: BTreeMap<String, String> = origin.metadata;
    metadata.remove("torch.version");
    outputs::make_room(&args.output)?;
    save_safetensors(&args.output, &tensors, &metadata, dtype)?;
    let (read, _) = models::read_clip(&args.output)?;
    same_tensors(&args.output, &tensors, &read, dtype)
}
