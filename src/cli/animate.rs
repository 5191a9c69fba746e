//! `nada animate`: from face to face, and from domain to domain.

use super::generate::MAX_GRID_PIXELS;
use super::generate::latents::{self, Codes};
use super::machine::MachineArgs;
use super::outputs;
use super::printer::Printer;
use super::stop;
use super::truncation;
use crate::builtin;
use crate::config;
use crate::error::{Error, Result};
use crate::imaging::{save, to_rgb8, video};
use crate::models;
use crate::stylegan2::{Generator, Morph, Noise};
use crate::torch::catch;
use clap::Args;
use image::RgbImage;
use image::imageops::{self, FilterType};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Tiles smaller than this are enlarged, larger than [`LARGEST`] reduced, unless `--size` says otherwise.
const SMALLEST: u32 = 192;
const LARGEST: u32 = 512;
/// Pixels between tiles.
const GAP: u32 = 4;

/// What may be typed behind `nada animate`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada animate --count 5 --out faces.gif
  nada animate --domains faces128 runs/sketch runs/zombie --side-by-side --out morph.gif
  nada animate --latents inverted/latents.safetensors --domains faces128 runs/sketch --side-by-side --out us.png
  nada animate --seeds 3,14,15 --domains runs/sketch --fps 30 --out faces.mp4

Frames go from code to code (in W+, eased) and from domain to domain (the weights of the generators interpolated), and
back to the first, so that the animation can be repeated without a jump.")]
pub(super) struct AnimateArgs {
    /// Generators to go through: shipped names, files, runs, BASE+DELTA [default: the generator that ships]
    #[arg(long, value_name = "RUN|FILE", num_args = 1.., help_heading = "Models")]
    domains: Vec<String>,
    /// Codes to go through, from a file as `nada generate` reads them, such as `nada invert` writes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "count", "seed"], help_heading = "Codes")]
    latents: Option<PathBuf>,
    /// Which images of `nada generate` to go through: 3,14,15
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with_all = ["count", "seed"], help_heading = "Codes")]
    seeds: Vec<u64>,
    /// How many images of `nada generate --seed N` to go through [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=1000), help_heading = "Codes")]
    count: Option<i64>,
    /// The codes follow from it
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Codes")]
    seed: u64,
    /// Pull towards the average image: 1 does not, 0 is the average [default: 0.7; 1 with --latents]
    #[arg(long, value_name = "PSI", allow_negative_numbers = true, value_parser = truncation::parse, help_heading = "Codes")]
    truncation: Option<f64>,
    /// Every code gets a tile of its own; only the domain changes
    #[arg(long, help_heading = "Frames")]
    side_by_side: bool,
    /// Frames from one code or domain to the next
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Frames")]
    frames: u32,
    /// Frames for which each code or domain stays
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=10_000), help_heading = "Frames")]
    hold: u32,
    /// Frames a second
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Frames")]
    fps: u32,
    /// Side of a tile in pixels [default: that of the generator, at least 192, at most 512]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(16..=4096), help_heading = "Frames")]
    size: Option<u32>,
    /// The animation: .gif, .png (animated), or .mp4 where ffmpeg is on the path
    #[arg(long, value_name = "FILE", default_value = "animation.gif", help_heading = "Output")]
    out: PathBuf,
    /// Replace a file that is there
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

/// What the animation is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Gif,
    Apng,
    Mp4,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match ending.as_deref() {
            Some("gif") => Ok(Self::Gif),
            Some("png" | "apng") => Ok(Self::Apng),
            Some("mp4") => video::check_ffmpeg().map(|()| Self::Mp4),
            _ => Err(Error::request(
                format!("`--out {}` names no animation", path.display()),
                "end it in `.gif`, `.png` (animated PNG) or `.mp4`",
            )),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &AnimateArgs, printer: &Printer) -> anyhow::Result<()> {
    outputs::claim_file(&args.out, args.force)?;
    let format = Format::of(&args.out)?;
    let device = args.machine.device()?;
    let usual = [config::GENERATOR.to_owned()];
    let names = if args.domains.is_empty() { &usual[..] } else { &args.domains };
    let mut generators = Vec::new();
    for name in names {
        let files = builtin::resolve_generator(name)?;
        generators.push(models::open_generator(files, Kind::Float, device)?.0);
    }
    let codes = codes(args, &generators[0], printer)?;
    let morph = Morph::new(&generators)?;
    let path = Route {
        tiles: if args.side_by_side { codes.size()[0] } else { 1 },
        codes: if args.side_by_side { 1 } else { codes.size()[0] },
        domains: generators.len() as i64,
        frames: args.frames,
        hold: args.hold,
    };
    drop(generators);
    if path.length() == 1 {
        printer.warn("one code and one domain make a picture that stands still");
    }
    let side = morph.at(0.0)?.config().resolution as u32;
    let side = args.size.unwrap_or_else(|| comfortable(side));
    check_room(&path, side, format)?;
    outputs::make_room(&args.out)?;
    printer.info(&format!(
        "{} frames, {:.1} s: {} parameters change between the domains",
        path.length(),
        f64::from(path.length()) / f64::from(args.fps),
        morph.changing()
    ));
    stop::listen(|| {});
    let bar = printer.bar(u64::from(path.length()));
    let mut frames = Vec::new();
    let mut film = None;
    for frame in 0..path.length() {
        if stop::asked() {
            return Err(Error::Interrupted.into());
        }
        let picture = drawn(&path, frame, &codes, &morph, side)?;
        match format {
            Format::Mp4 => {
                if film.is_none() {
                    film = Some(video::Video::create(&args.out, picture.dimensions(), args.fps)?);
                }
                if let Some(film) = &mut film {
                    film.push(&picture)?;
                }
            }
            _ => frames.push(picture),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    match (format, film) {
        (Format::Mp4, Some(film)) => film.finish()?,
        (Format::Apng, _) => save::apng(&args.out, &frames, args.fps)?,
        _ => save::gif(&args.out, &frames, (1000 / args.fps).max(10))?,
    }
    printer.data(&args.out.display().to_string())?;
    Ok(())
}

/// Where the animation is at each frame.
struct Route {
    /// Codes that stand beside each other.
    tiles: i64,
    /// Codes that are gone through.
    codes: i64,
    domains: i64,
    frames: u32,
    hold: u32,
}

impl Route {
    /// Ways from one stop to the next, the last back to the first.
    fn ways(&self) -> i64 {
        let most = self.codes.max(self.domains);
        if most == 1 { 0 } else { most }
    }

    fn length(&self) -> u32 {
        (self.ways() as u32).saturating_mul(self.frames.saturating_add(self.hold)).max(1)
    }

    /// How far it is, 0 to 1: slow near the stops.
    fn progress(&self, frame: u32) -> f64 {
        let each = self.frames + self.hold;
        let (way, within) = (frame / each, frame % each);
        let t = f64::from(within.saturating_sub(self.hold)) / f64::from(self.frames);
        let eased = 0.5 - 0.5 * (std::f64::consts::PI * t).cos();
        (f64::from(way) + eased) / self.ways().max(1) as f64
    }
}

/// One frame.
fn drawn(path: &Route, frame: u32, codes: &Tensor, morph: &Morph, side: u32) -> Result<RgbImage> {
    let progress = path.progress(frame);
    let generator = morph.at(progress * path.domains as f64)?;
    let codes = match path.tiles {
        1 => between(codes, progress * path.codes as f64),
        _ => codes.shallow_clone(),
    };
    let mut tiles = Vec::new();
    let batch = (super::generate::BATCH_PIXELS / generator.config().resolution.pow(2)).clamp(1, 64);
    for start in (0..codes.size()[0]).step_by(batch as usize) {
        let part = codes.narrow(0, start, batch.min(codes.size()[0] - start));
        let images = catch("making a frame", || {
            Ok(tch::no_grad(|| generator.synthesis().forward(&part, Noise::Stored)))
        })?;
        tiles.extend(to_rgb8(&images)?);
    }
    let tiles: Vec<RgbImage> = tiles
        .into_iter()
        .map(|tile| {
            // The longer side becomes `side`.
            let (w, h) = tile.dimensions();
            let scaled = |own: u32| (own * side / w.max(h)).max(1);
            match w.max(h) == side {
                true => tile,
                false => imageops::resize(&tile, scaled(w), scaled(h), FilterType::CatmullRom),
            }
        })
        .collect();
    if let [only] = &tiles[..] {
        return Ok(only.clone());
    }
    let (columns, rows) = shape(tiles.len());
    let (width, height) = tiles.first().map_or((side, side), RgbImage::dimensions);
    let (across, down) = (width + GAP, height + GAP);
    let white = image::Rgb([255; 3]);
    let mut picture = RgbImage::from_pixel(columns * across - GAP, rows * down - GAP, white);
    for (tile, i) in tiles.iter().zip(0..) {
        imageops::replace(
            &mut picture,
            tile,
            i64::from(i % columns * across),
            i64::from(i / columns * down),
        );
    }
    Ok(picture)
}

/// Columns and rows of so many tiles: rather wide.
fn shape(tiles: usize) -> (u32, u32) {
    let columns = ((tiles as f64 * 1.5).sqrt().ceil() as usize).clamp(1, tiles.max(1));
    (columns as u32, tiles.div_ceil(columns) as u32)
}

/// The code at a position, `[1, L, D]`; the last is followed by the first.
fn between(codes: &Tensor, position: f64) -> Tensor {
    let n = codes.size()[0];
    let from = (position.floor() as i64).rem_euclid(n);
    let part = position - position.floor();
    codes.narrow(0, from, 1).lerp(&codes.narrow(0, (from + 1) % n, 1), part)
}

/// W+ codes `[K, L, D]` to go through.
fn codes(args: &AnimateArgs, generator: &Generator, printer: &Printer) -> Result<Tensor> {
    let psi = truncation::or_usual(args.truncation, args.latents.is_some());
    if let Some(file) = &args.latents {
        return latents::read(file, None, generator.config(), printer)?.w_plus(generator, psi);
    }
    let drawn = |seed: u64, count: i64| Codes::Seeded { count, seed }.w_plus(generator, psi);
    if args.seeds.is_empty() {
        return drawn(args.seed, args.count.unwrap_or(4));
    }
    let codes = args.seeds.iter().map(|seed| drawn(*seed, 1)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&codes, 0))
}

fn comfortable(side: u32) -> u32 {
    match side {
        0..SMALLEST => side * SMALLEST.div_ceil(side.max(1)),
        side => side.min(LARGEST),
    }
}

/// Frames that do not fit into memory are refused before they are made. A film needs one at a time.
fn check_room(path: &Route, side: u32, format: Format) -> Result<()> {
    let (columns, rows) = shape(path.tiles as usize);
    let frame = u64::from(columns * side) * u64::from(rows * side);
    let all = frame * if format == Format::Mp4 { 1 } else { u64::from(path.length()) };
    if all < 4 * MAX_GRID_PIXELS as u64 {
        return Ok(());
    }
    Err(Error::request(
        format!(
            "{} frames of {} × {} pixels are too much",
            path.length(),
            columns * side,
            rows * side
        ),
        "use fewer frames or codes, a smaller `--size`, or `.mp4`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_animation_holds_moves_and_ends_where_it_began() {
        let path = Route { tiles: 1, codes: 3, domains: 1, frames: 10, hold: 5 };
        assert_eq!((path.ways(), path.length()), (3, 45));
        assert_eq!((path.progress(0), path.progress(5)), (0.0, 0.0));
        assert!((path.progress(15) - 1.0 / 3.0).abs() < 1e-12);
        assert!((path.progress(10) - 1.0 / 6.0).abs() < 1e-12);
        let last = path.progress(44);
        assert!(last > 0.98 && last < 1.0, "{last}");
        let still = Route { tiles: 1, codes: 1, domains: 1, frames: 10, hold: 5 };
        assert_eq!((still.length(), still.progress(0)), (1, 0.0));
        let codes = Tensor::from_slice(&[0.0, 1.0, 4.0]).view([3, 1, 1]);
        let at = |position| between(&codes, position).double_value(&[0, 0, 0]);
        assert_eq!([at(0.0), at(0.5), at(1.5), at(2.5), at(3.0)], [0.0, 0.5, 2.5, 2.0, 0.0]);
    }

    #[test]
    fn tiles_make_a_wide_picture_of_comfortable_size() {
        assert_eq!([shape(1), shape(2), shape(6), shape(7)], [(1, 1), (2, 1), (3, 2), (4, 2)]);
        assert_eq!([comfortable(64), comfortable(128), comfortable(1024)], [192, 256, 512]);
    }
}
