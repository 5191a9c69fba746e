//! The models that make codes of photos, loaded and ready.

use super::args::InversionArgs;
use super::ledger::Weights;
use super::tables::Tables;
use crate::builtin;
use crate::cli::printer::Printer;
use crate::error::{Error, Result};
use crate::imaging::from_rgb8;
use crate::invert::align::Frame;
use crate::invert::{
    Cut, Encoder, Inputs, Inversion, Losses, Perceptual, Recipe, Settings, labels,
};
use crate::models::{self, EncoderTable};
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
    /// Reads the models.
    ///
    /// # Errors
    /// [`Error::File`] for damaged files.
    pub(in crate::cli) fn open(
        args: &InversionArgs,
        tables: Tables,
        printer: &Printer,
    ) -> Result<Self> {
        let Tables { device, generator, frame, encoder, first, refine, kind, start } = tables;
        let mut weights = Vec::new();
        let (generator, origin) = generator.open(Kind::Float, device)?;
        weights.push(Weights::of("generator", &origin));
        let mut open = |role: &str, table: EncoderTable| {
            let (encoder, origin) = table.open(Kind::Float, device)?;
            weights.push(Weights::of(role, &origin));
            Ok::<_, Error>(encoder)
        };
        let encoder = encoder.map(|table| open("encoder", table)).transpose()?;
        let first = first.map(|table| open("first encoder", table)).transpose()?;
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
        let start = start.map(|codes| codes.w_plus(&generator, 1.0)).transpose()?;
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
