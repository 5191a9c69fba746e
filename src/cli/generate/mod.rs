//! `nada generate`: images from any generator or run, as one picture, as files, or as numbers.

pub(in crate::cli) mod latents;

use super::machine::MachineArgs;
use super::mapper::{MapperFlags, Moved};
use super::outputs;
use super::printer::Printer;
use super::truncation;
use crate::builtin::{self, RecordedBase};
use crate::checkpoint::save_in_pieces;
use crate::error::{Error, IoContext, Result};
use crate::imaging::{grid::Grid, save, to_pictures, to_rgb8};
use crate::models::{self, GeneratorTable, Origin};
use crate::rng;
use crate::run_dir::{RunDir, pictures};
use crate::stylegan2::{Generator, Latent, Noise};
use clap::Args;
use image::RgbImage;
use latents::{Codes, LatentKind};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Pixels of a batch: keeps memory below about 1 GiB at any resolution.
pub(in crate::cli) const BATCH_PIXELS: i64 = 1 << 20;
/// More than a picture can show ([`Grid::render`] has the same limit).
pub(in crate::cli) const MAX_GRID_PIXELS: i64 = 1 << 28;
/// Images in a row of a picture.
pub(in crate::cli) const MAX_COLUMNS: usize = 8;

/// What may be typed behind `nada generate`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada generate --count 16 --seed 3 --out faces.png
  nada generate --generator runs/sketch --beside --out pairs.png
  nada generate --generator runs/anime --mapper runs/anime-mapper --mapper-strength 0.5
  nada generate --generator ffhq.pt --count 1000 --truncation 0.5 --out faces/
  nada generate --latents codes.npy --latent-kind w+ --raw images.safetensors")]
pub(super) struct GenerateArgs {
    /// A shipped name, a checkpoint file, the folder of a run, or BASE+DELTA
    #[arg(long, value_name = "FILE|RUN", default_value = "faces128", help_heading = "Models")]
    generator: String,
    /// Which class a conditional generator shall draw
    #[arg(long, value_name = "N", help_heading = "Models")]
    class: Option<u32>,
    /// Codes from a file (.npy, .npz, .pt, .pkl, .safetensors) instead of random ones
    ///
    /// One tensor of floating point numbers, one called `latents`, `z`, `w` or `w_plus`, or the results of NVIDIA's and
    /// rosinality's projectors, of ReStyle, pSp and e4e. FILE#PHOTO is one of several photos, FILE#3 one of many codes.
    #[arg(long, value_name = "FILE", conflicts_with = "count", help_heading = "Images")]
    latents: Option<PathBuf>,
    /// What the codes are; by default told by their shape
    ///
    /// By shape: [N, L, D] is w+, [L, D] is one image in w+, other [N, D] are z (or w, if the tensor or the file is called
    /// so, or z has another width).
    #[arg(long, value_name = "KIND", requires = "latents", help_heading = "Images")]
    latent_kind: Option<LatentKind>,
    #[command(flatten)]
    mapper: MapperFlags,
    /// How many images [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1_000_000), help_heading = "Images")]
    count: Option<i64>,
    /// Pull towards the average image: 1 does not, 0 is the average [default: 0.7; 1 with --latents]
    #[arg(long, value_name = "PSI", allow_negative_numbers = true, value_parser = truncation::parse, help_heading = "Images")]
    truncation: Option<f64>,
    /// Noise that makes freckles and strands of hair
    #[arg(long, value_name = "NOISE", default_value = "stored", help_heading = "Images")]
    noise: NoiseChoice,
    /// Every random number follows from it; image i is the same whatever the count
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Images")]
    seed: u64,
    /// Show what a run began with above what it became (picture only)
    ///
    /// It is looked for in its old place and beside the run; `--beside=FILE` says where it is now.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = "Images")]
    beside: Option<String>,
    /// One picture of all if it ends in .png, else a folder for 000000.png, 000001.png … [default: generated.png]
    #[arg(long, value_name = "FILE.png|DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    /// The images as numbers: float32 [N, C, H, W] called `images`, about -1 to 1, not clamped
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Output")]
    raw: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Which noise maps are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum NoiseChoice {
    /// The maps in the checkpoint: the same image each time
    Stored,
    /// Fresh maps for each image, from the seed
    Random,
    /// No noise
    None,
}

/// Where the pictures go.
#[derive(Debug)]
enum Pictures {
    Grid(PathBuf),
    Folder(PathBuf),
    Nowhere,
}

/// Runs the command.
pub(super) fn run(args: &GenerateArgs, printer: &Printer) -> anyhow::Result<()> {
    let pictures = check_request(args)?;
    let device = args.machine.device()?;
    let files = builtin::resolve_generator(&args.generator)?;
    let class = args.class.map(i64::from);
    // What the tables of all files tell comes before the numbers of any.
    let table = GeneratorTable::read(files, class)?;
    let codes = match &args.latents {
        Some(file) => latents::read(file, args.latent_kind, table.config(), printer)?,
        None => Codes::Seeded { count: args.count.unwrap_or(16), seed: args.seed },
    };
    check_room(&pictures, codes.count(), table.config().resolution, args.beside.is_some())?;
    args.mapper.check(table.config())?;
    let (generator, origin) = table.open(Kind::Float, device)?;
    let open_twin = |start: &String| {
        let given = Some(start.as_str()).filter(|start| !start.is_empty());
        Twin::open(&args.generator, given, generator.class(), device, printer)
    };
    let twin = args.beside.as_ref().map(open_twin).transpose()?;
    if let Some(Twin { generator: before, .. }) = &twin
        && before.config() != generator.config()
    {
        return Err(Error::request(
            "the run's start generator has another shape than its result",
            "leave out `--beside`",
        )
        .into());
    }
    let mapper = args.mapper.open(&generator, &origin.sha256, printer)?;
    let sampler = Sampler {
        codes: &codes,
        psi: truncation::or_usual(args.truncation, args.latents.is_some()),
        noise: args.noise,
        seed: args.seed,
        mapper: mapper.as_ref(),
    };
    let written = write(args, &pictures, &sampler, &generator, &origin, twin.as_ref(), printer)?;
    for path in written {
        printer.data(&path.display().to_string())?;
    }
    Ok(())
}

/// What can be refused before anything is loaded.
fn check_request(args: &GenerateArgs) -> Result<Pictures> {
    let ending = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_lowercase());
    let pictures = match &args.out {
        Some(path) if ending(path).as_deref() == Some("png") => Pictures::Grid(path.clone()),
        Some(path) => {
            if let Some(other) = ending(path)
                && ["jpg", "jpeg", "webp", "gif", "safetensors"].contains(&other.as_str())
                && !path.is_dir()
            {
                return Err(Error::request(
                    format!("`--out {}`: pictures are written as PNG", path.display()),
                    "end it in `.png`, or name a folder for single files",
                ));
            }
            Pictures::Folder(path.clone())
        }
        None if args.raw.is_some() => Pictures::Nowhere,
        None => Pictures::Grid(outputs::free_picture("generated")),
    };
    match &pictures {
        Pictures::Grid(path) => outputs::claim_file(path, args.force)?,
        Pictures::Folder(path) => outputs::claim_folder(path, args.force)?,
        Pictures::Nowhere => {}
    }
    if let Some(raw) = &args.raw {
        outputs::claim_file(raw, args.force)?;
    }
    if args.beside.is_some() && !matches!(pictures, Pictures::Grid(_)) {
        return Err(Error::request(
            "`--beside` makes one picture",
            "give `--out` a name that ends in `.png`",
        ));
    }
    Ok(pictures)
}

/// A picture of too many images is refused before they are made.
fn check_room(pictures: &Pictures, count: i64, resolution: i64, beside: bool) -> Result<()> {
    let side = resolution.clamp(128, 512);
    let shown = count.saturating_mul(if beside { 2 } else { 1 });
    if !matches!(pictures, Pictures::Grid(_)) || shown.saturating_mul(side * side) < MAX_GRID_PIXELS
    {
        return Ok(());
    }
    Err(Error::request(
        format!("{count} images are too many for one picture"),
        "name a folder with `--out` to write single files",
    ))
}

/// Makes images of codes, the same for the same codes whatever the generator.
struct Sampler<'a> {
    codes: &'a Codes,
    psi: f64,
    noise: NoiseChoice,
    seed: u64,
    mapper: Option<&'a Moved>,
}

impl Sampler<'_> {
    /// `n` images from `start`, `[n, C, H, W]`, of codes that the mapper has moved if there is one and it is wanted.
    fn images(&self, generator: &Generator, start: i64, n: i64, moved: bool) -> Result<Tensor> {
        let latent = self.codes.batch(generator, start, n);
        let maps = self.maps(generator, start, n);
        let noise = match self.noise {
            NoiseChoice::Stored => Noise::Stored,
            NoiseChoice::Random => Noise::Maps(&maps),
            NoiseChoice::None => Noise::None,
        };
        if let Some(mapper) = self.mapper.filter(|_| moved) {
            let codes = tch::no_grad(|| generator.w_plus(&latent, self.psi))?;
            let moved = Latent::WPlus(mapper.apply(&codes)?);
            return Ok(generator.generate(&moved, 1.0, noise)?.0);
        }
        Ok(generator.generate(&latent, self.psi, noise)?.0)
    }

    /// Random noise, drawn image by image so that it does not depend on the batch.
    fn maps(&self, generator: &Generator, start: i64, n: i64) -> Vec<Tensor> {
        if self.noise != NoiseChoice::Random {
            return Vec::new();
        }
        let each: Vec<Vec<Tensor>> = (start..start + n)
            .map(|i| {
                let mut stream = rng::stream(self.seed, i as u64, "generated noise");
                generator.random_noise(1, &mut stream)
            })
            .collect();
        let level = |i: usize| each.iter().map(|maps| &maps[i]).collect::<Vec<_>>();
        (0..generator.config().num_noises()).map(|i| Tensor::cat(&level(i), 0)).collect()
    }
}

/// What a run began with.
struct Twin {
    generator: Generator,
    captions: (String, String),
}

impl Twin {
    /// `given` is the generator that the run began with, where it is not found by itself.
    fn open(
        asked: &str,
        given: Option<&str>,
        class: Option<i64>,
        device: Device,
        printer: &Printer,
    ) -> Result<Self> {
        let not_a_run = |_| {
            Error::request(
                format!("`--beside` compares a run with its start, but `{asked}` is no run"),
                "name the folder that `nada adapt` wrote, or leave out `--beside`",
            )
        };
        let (config, manifest) = RunDir::open(asked).map_err(not_a_run)?.read_config()?;
        let base = RecordedBase::base(Path::new(asked), &config, &manifest).ok_or_else(|| {
            Error::file(
                Path::new(asked).join("config.yaml"),
                "does not say what the run began with",
            )
        })?;
        let files = RecordedBase { option: "--beside=", ..base }.find(given)?;
        let (generator, origin) =
            models::open_generator_of_class(files, class, Kind::Float, device)?;
        if origin.sha256 != base.sha256 {
            printer.warn(&format!("`{}` has changed since the run", base.path.display()));
        }
        Ok(Self { generator, captions: pictures::captions(&config) })
    }
}

/// Makes everything that was asked for, batch by batch, and gives back the files.
fn write(
    args: &GenerateArgs,
    pictures: &Pictures,
    sampler: &Sampler<'_>,
    generator: &Generator,
    origin: &Origin,
    twin: Option<&Twin>,
    printer: &Printer,
) -> Result<Vec<PathBuf>> {
    let (count, side) = (sampler.codes.count(), generator.config().resolution);
    let (channels, [height, width]) =
        (generator.config().image_channels, generator.config().image_size());
    let mut about = vec![
        ("generator", origin.path.display().to_string()),
        ("generator_sha256", origin.sha256.clone()),
        ("seed", args.seed.to_string()),
        ("truncation", sampler.psi.to_string()),
    ];
    about.extend(args.mapper.describe().map(|mapper| ("mapper", mapper)));
    let text: Vec<(&str, &str)> = about.iter().map(|(k, v)| (*k, v.as_str())).collect();
    if let Pictures::Folder(folder) = pictures {
        std::fs::create_dir_all(folder).while_doing("create", folder)?;
    }
    let files = [&args.raw, &grid_of(pictures)];
    files.into_iter().flatten().try_for_each(|file| outputs::make_room(file))?;

    let bar = printer.bar(count as u64);
    let batch = (BATCH_PIXELS / (side * side)).clamp(1, 64);
    let mut written = Vec::new();
    let (mut after, mut before) = (Vec::new(), Vec::new());
    // Memory stays bounded: a picture of all is small, files and numbers go to the disk at once.
    let mut each = |numbers: &mut dyn FnMut(&Tensor) -> Result<()>| -> Result<()> {
        for start in (0..count).step_by(batch as usize) {
            let n = batch.min(count - start);
            let images = sampler.images(generator, start, n, true)?;
            numbers(&images)?;
            match pictures {
                Pictures::Nowhere => {}
                Pictures::Grid(_) => {
                    after.extend(to_rgb8(&images)?);
                    if let Some(twin) = twin {
                        before.extend(to_rgb8(&sampler.images(
                            &twin.generator,
                            start,
                            n,
                            false,
                        )?)?);
                    }
                }
                Pictures::Folder(folder) => {
                    for (i, picture) in (start..).zip(to_pictures(&images)?) {
                        let path = folder.join(format!("{i:06}.png"));
                        save::png_of(&path, &picture, &text)?;
                        written.push(path);
                    }
                }
            }
            bar.inc(n as u64);
        }
        Ok(())
    };
    match &args.raw {
        Some(raw) => {
            let metadata = about.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
            let shape = [count, channels, height, width];
            save_in_pieces(raw, "images", &shape, &metadata, |put| each(put))?;
        }
        None => each(&mut |_| Ok(()))?,
    }
    bar.finish_and_clear();
    if let Pictures::Grid(path) = pictures {
        let captions = twin.map(|twin| &twin.captions);
        save::png(path, &grid(after, before, captions, args, sampler)?, &text)?;
        written.push(path.clone());
    }
    written.extend(args.raw.clone());
    Ok(written)
}

fn grid_of(pictures: &Pictures) -> Option<PathBuf> {
    match pictures {
        Pictures::Grid(path) => Some(path.clone()),
        _ => None,
    }
}

/// All images in a picture; with `before`, pairs of rows.
fn grid(
    after: Vec<RgbImage>,
    before: Vec<RgbImage>,
    captions: Option<&(String, String)>,
    args: &GenerateArgs,
    sampler: &Sampler<'_>,
) -> Result<RgbImage> {
    let count = after.len();
    // About square; pairs of rows rather wide, so that they are few.
    let square = if captions.is_some() { count } else { (count as f64).sqrt().ceil() as usize };
    let columns = square.clamp(1, MAX_COLUMNS);
    let grid = match captions {
        Some((source, target)) => before.chunks(columns).zip(after.chunks(columns)).fold(
            Grid::new().title(format!("{source} → {target}")),
            |grid, (before, after)| {
                grid.row(source.clone(), before.to_vec()).row(target.clone(), after.to_vec())
            },
        ),
        None => Grid::tiles(&after, columns),
    };
    let from = match &args.latents {
        Some(file) => file.display().to_string(),
        None => format!("seed {}", args.seed),
    };
    let mapper = args.mapper.describe().map_or(String::new(), |mapper| format!(" · {mapper}"));
    grid.footer(format!("{} · {from} · truncation {}{mapper}", args.generator, sampler.psi))
        .render()
}
