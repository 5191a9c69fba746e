//! The models that make codes of photos, loaded and ready.

use super::args::InversionArgs;
use super::ledger::Weights;
use crate::builtin;
use crate::cli::generate::latents;
use crate::cli::printer::Printer;
use crate::config;
use crate::error::{Error, Result};
use crate::imaging::from_rgb8;
use crate::invert::align::Frame;
use crate::invert::{
    Cut, Encoder, Inputs, Inversion, Losses, Perceptual, Recipe, Settings, labels,
};
use crate::models::{self, GeneratorFiles};
use crate::stylegan2::Generator;
use image::{RgbImage, imageops};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// What the pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum InputKind {
    /// Photos, as the generator makes them
    #[default]
    Photo,
    /// Masks: the grey level of a pixel is its label
    Mask,
    /// Sketches: dark lines on white
    Sketch,
}

/// Everything that is needed to make codes.
pub(in crate::cli) struct Inverter {
    pub(in crate::cli) generator: Generator,
    /// What was read, for the record.
    pub(in crate::cli) weights: Vec<Weights>,
    pub(in crate::cli) device: Device,
    pub(in crate::cli) refine: Option<Settings>,
    pub(in crate::cli) kind: InputKind,
    encoder: Option<Encoder>,
    first: Option<Encoder>,
    perceptual: Option<Perceptual>,
    rounds: usize,
    start: Option<Tensor>,
    frame: Frame,
}

/// What the encoder and the optimiser see of a piece of a photo.
pub(in crate::cli) struct Sight {
    seen: Option<Tensor>,
    target: Option<Tensor>,
    /// What a person is shown.
    pub(in crate::cli) shown: RgbImage,
}

impl Inverter {
    /// Reads the models. `asked` is the generator's name, if one was given; without one an encoder's own file serves.
    ///
    /// # Errors
    /// [`Error::Request`] for models that do not belong together, or when nothing would make codes.
    pub(in crate::cli) fn open(
        args: &InversionArgs,
        asked: Option<&str>,
        files: Option<GeneratorFiles>,
        kind: InputKind,
        printer: &Printer,
    ) -> Result<Self> {
        let encoder_file = encoder_file(args, asked)?;
        // What can be refused before anything is loaded.
        if encoder_file.is_none() && args.refinement(None)?.is_none() {
            return Err(Error::request(
                "nothing would make codes: no encoder, and `--optimize 0`",
                "name an encoder with `--encoder FILE`, or allow some steps",
            ));
        }
        let device = args.machine.device()?;
        let files = match (files, asked, &encoder_file) {
            (Some(files), ..) => files,
            (None, Some(asked), _) => builtin::resolve_generator(asked)?,
            // A file of ReStyle, pSp or e4e holds the generator that it was trained for.
            (None, None, Some(encoder)) if !is_shipped(encoder) => encoder.clone().into(),
            (None, None, _) => builtin::resolve_generator(config::GENERATOR)?,
        };
        let mut weights = Vec::new();
        let (generator, origin) = models::open_generator(files, Kind::Float, device)?;
        weights.push(Weights::of("generator", &origin));
        let frame = origin.metadata.get("frame").map_or(Ok(Frame::FFHQ), |text| text.parse())?;
        let mut open = |role: &str, file: &Path| {
            let (encoder, origin) = models::open_encoder(file, Kind::Float, device)?;
            weights.push(Weights::of(role, &origin));
            Ok::<_, Error>(encoder)
        };
        let encoder = encoder_file.as_deref().map(|file| open("encoder", file)).transpose()?;
        let first = args.first_encoder.as_deref().map(builtin::resolve_encoder).transpose()?;
        let first = first.as_deref().map(|file| open("first encoder", file)).transpose()?;
        check_kind(encoder.as_ref(), kind)?;
        let advised = encoder.as_ref().map(|encoder| match kind {
            InputKind::Photo => encoder.config().refine.unwrap_or(0),
            _ => 0,
        });
        let refine = args.refinement(advised)?;
        check_first(encoder.as_ref(), first.as_ref())?;
        if kind != InputKind::Photo && refine.is_some() {
            return Err(Error::request(
                "a mask or a sketch is no picture that the generator could be brought closer to",
                "leave out `--optimize`",
            ));
        }
        let perceptual = match kind {
            InputKind::Photo => open_perceptual(args, device, &mut weights, printer)?,
            _ => None,
        };
        let rounds = match (&encoder, args.rounds) {
            (Some(encoder), Some(_)) if !encoder.config().is_iterative() => {
                printer.warn("`--rounds` is for encoders that see their last result; this one makes one pass");
                1
            }
            (Some(encoder), None) => encoder.config().rounds.unwrap_or(5),
            (_, rounds) => rounds.map_or(0, usize::from),
        };
        let start = match &args.start {
            Some(file) => {
                let codes = latents::read(file, None, generator.config(), printer)?;
                Some(codes.w_plus(&generator, 1.0)?)
            }
            None => None,
        };
        Ok(Self {
            generator,
            weights,
            device,
            refine,
            kind,
            encoder,
            first,
            perceptual,
            rounds,
            start,
            frame,
        })
    }

    /// Width and height that a piece of a photo has for the encoder, or else for the generator.
    pub(in crate::cli) fn shape(&self) -> (u32, u32) {
        let side = self.generator.config().resolution;
        let shape = self
            .encoder
            .as_ref()
            .map_or((side, side), |encoder| (encoder.config().width, encoder.config().height));
        (shape.0 as u32, shape.1 as u32)
    }

    /// How faces lie in what the encoder was trained on.
    pub(in crate::cli) fn frame(&self) -> Frame {
        self.encoder.as_ref().map_or(self.frame, |encoder| encoder.config().frame)
    }

    /// Rounds that an encoder makes; 0 without one.
    pub(in crate::cli) fn rounds(&self) -> usize {
        match &self.encoder {
            Some(encoder) if encoder.config().is_iterative() => self.rounds,
            Some(_) => 1,
            None => 0,
        }
    }

    /// Photos in a batch: what keeps memory near a gibibyte.
    pub(in crate::cli) fn batch(&self) -> usize {
        let side = self.generator.config().resolution;
        let pixels = if self.refine.is_some() { 1 << 18 } else { 1 << 19 };
        usize::try_from(pixels / (side * side)).unwrap_or(1).clamp(1, 16)
    }

    /// What is seen of a piece.
    pub(in crate::cli) fn look(&self, photo: &RgbImage, cut: &Cut) -> Result<Sight> {
        let (width, height) = self.shape();
        let side = self.generator.config().resolution as u32;
        // What is wider than high (cars) stands between black bars in the generator's square.
        let part = cut.take(photo, side, side * height / width)?;
        let shown = match part.height() == side {
            true => part,
            false => {
                let mut square = RgbImage::new(side, side);
                let top = i64::from((side - part.height()) / 2);
                imageops::replace(&mut square, &part, 0, top);
                square
            }
        };
        let small = || cut.take(photo, width, height);
        let seen = match (&self.encoder, self.kind) {
            (None, _) => None,
            (Some(_), InputKind::Photo) => Some(from_rgb8(&small()?)),
            // Labels must not be mixed: the mask is resized by itself, whole.
            (Some(encoder), InputKind::Mask) => {
                Some(labels::one_hot(photo, encoder.config().channels, width, height)?)
            }
            (Some(_), InputKind::Sketch) => Some(labels::sketch(&small()?, width, height)?),
        };
        let target = (self.kind == InputKind::Photo).then(|| from_rgb8(&shown));
        Ok(Sight { seen, target, shown })
    }

    /// Makes the codes of some pieces; `first` is the place of the first one among all.
    pub(in crate::cli) fn invert(
        &self,
        sights: &[Sight],
        first: usize,
        each: &mut dyn FnMut(&Losses) -> ControlFlow<()>,
    ) -> Result<Inversion> {
        let joined = |pick: fn(&Sight) -> Option<&Tensor>| {
            let all: Option<Vec<&Tensor>> = sights.iter().map(pick).collect();
            all.map(|all| Tensor::cat(&all, 0).to_device(self.device))
        };
        let n = sights.len() as i64;
        let start = self.start.as_ref().map(|codes| match codes.size()[0] {
            1 => Ok(codes.expand([n, -1, -1], true)),
            given if given >= first as i64 + n => Ok(codes.narrow(0, first as i64, n)),
            given => Err(Error::request(
                format!("`--start` holds {given} codes, there are more photos"),
                "give one for all, or one for each",
            )),
        });
        let inputs = Inputs {
            seen: joined(|s| s.seen.as_ref()),
            target: joined(|s| s.target.as_ref()),
            start: start.transpose()?,
        };
        let recipe = Recipe {
            encoder: self.encoder.as_ref(),
            first: self.first.as_ref(),
            rounds: self.rounds,
            refine: self.refine.clone(),
            perceptual: self.perceptual.as_ref(),
        };
        recipe.run(&self.generator, &inputs, each)
    }
}

/// The encoder that was asked for, or that of a shipped generator.
fn encoder_file(args: &InversionArgs, generator: Option<&str>) -> Result<Option<PathBuf>> {
    match args.encoder.as_deref() {
        Some("none") => Ok(None),
        Some(asked) => builtin::resolve_encoder(asked).map(Some),
        None => {
            let generator = generator.unwrap_or(config::GENERATOR);
            let found = builtin::encoder_of(builtin::base_of(generator));
            if found.is_none() && args.optimize.is_none() && args.start.is_none() {
                return Err(Error::request(
                    format!("no encoder ships for the generator `{generator}`"),
                    "name one with `--encoder FILE`, or look for the codes without one: `--encoder none` (minutes a photo)",
                ));
            }
            Ok(found)
        }
    }
}

fn is_shipped(file: &Path) -> bool {
    builtin::checkpoints_dir().is_some_and(|folder| file.parent() == Some(&folder))
}

/// Whether an encoder takes what the pictures are.
fn check_kind(encoder: Option<&Encoder>, kind: InputKind) -> Result<()> {
    let Some(encoder) = encoder else {
        return match kind {
            InputKind::Photo => Ok(()),
            _ => Err(Error::request(
                "masks and sketches need an encoder that was trained for them",
                "name one of pSp's with `--encoder FILE`",
            )),
        };
    };
    let channels = encoder.config().channels;
    let takes = match channels {
        3 | 6 => InputKind::Photo,
        1 => InputKind::Sketch,
        _ => InputKind::Mask,
    };
    if takes == kind {
        return Ok(());
    }
    let name = |kind| match kind {
        InputKind::Photo => "photos",
        InputKind::Mask => "masks",
        InputKind::Sketch => "sketches",
    };
    let flag = match takes {
        InputKind::Photo => "without `--input-kind`, it takes photos".to_owned(),
        InputKind::Mask => {
            format!("use `nada translate --input-kind mask` with masks of {channels} labels")
        }
        InputKind::Sketch => "use `nada translate --input-kind sketch`".to_owned(),
    };
    Err(Error::request(
        format!(
            "this encoder has {channels} input channels: it takes {}, not {}",
            name(takes),
            name(kind)
        ),
        flag,
    ))
}

/// Whether one encoder can begin and the other go on.
fn check_first(encoder: Option<&Encoder>, first: Option<&Encoder>) -> Result<()> {
    let Some(first) = first else { return Ok(()) };
    let Some(encoder) = encoder else {
        return Err(Error::request(
            "`--first-encoder` comes before an encoder",
            "name it with `--encoder`",
        ));
    };
    let of = |e: &Encoder| (e.config().width, e.config().height, e.config().frame);
    if encoder.config().is_iterative() && of(encoder) == of(first) {
        return Ok(());
    }
    Err(Error::request(
        "these encoders cannot follow each other: the second one must see its last result, and both the same pictures",
        "use two encoders of ReStyle of one size",
    ))
}

/// What measures likeness.
fn open_perceptual(
    args: &InversionArgs,
    device: Device,
    weights: &mut Vec<Weights>,
    printer: &Printer,
) -> Result<Option<Perceptual>> {
    let asked = args.perceptual.as_str();
    if asked == "none" {
        return Ok(None);
    }
    let lpips: Vec<PathBuf> = match Path::new(asked).is_file() {
        true => vec![asked.into()],
        false => asked.split('+').map(PathBuf::from).collect(),
    };
    let known = builtin::models().iter().any(|m| m.name == asked);
    if !known && lpips.iter().all(|file| file.is_file()) {
        match models::open_lpips(&lpips, Kind::Float, device) {
            Ok(network) => {
                for file in &lpips {
                    weights.push(Weights::of_file("perceptual", file)?);
                }
                return Ok(Some(Perceptual::of_lpips(network)));
            }
            // It may be a CLIP.
            Err(error) if lpips.len() > 1 => return Err(error),
            Err(_) => {}
        }
    }
    let file = builtin::resolve_clip(asked, args.models_dir.as_deref())?;
    let (clip, origin) = models::open_clip(&file, Kind::Float, device)?;
    origin.notes.iter().for_each(|note| printer.warn(note));
    weights.push(Weights::of("perceptual", &origin));
    Ok(Some(Perceptual::of_clip(clip)))
}
