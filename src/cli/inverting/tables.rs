//! What the files of an inversion say about themselves: whether they belong together is seen before numbers are read.

use super::args::InversionArgs;
use super::inverter::InputKind;
use crate::builtin;
use crate::cli::generate::latents::{self, Codes};
use crate::cli::printer::Printer;
use crate::config;
use crate::error::{Error, Result};
use crate::invert::align::Frame;
use crate::invert::{self, Settings, check_codes};
use crate::models::{EncoderTable, GeneratorFiles, GeneratorTable};
use std::path::{Path, PathBuf};
use tch::Device;

/// The tables of all files, and what follows from them.
pub(in crate::cli) struct Tables {
    pub(in crate::cli) generator: GeneratorTable,
    pub(super) device: Device,
    pub(super) frame: Frame,
    pub(super) encoder: Option<EncoderTable>,
    pub(super) first: Option<EncoderTable>,
    pub(super) refine: Option<Settings>,
    pub(super) kind: InputKind,
    pub(super) start: Option<Codes>,
}

impl Tables {
    /// Reads the tables. `asked` is the generator's name, if one was given; without one an encoder's own file serves.
    ///
    /// # Errors
    /// [`Error::Request`] for models that do not belong together, or when nothing would make codes.
    pub(in crate::cli) fn read(
        args: &InversionArgs,
        asked: Option<&str>,
        files: Option<GeneratorFiles>,
        kind: InputKind,
        printer: &Printer,
    ) -> Result<Self> {
        let encoder_file = encoder_file(args, asked)?;
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
        let generator = GeneratorTable::read(files, None)?;
        let shape = generator.config();
        if !shape.is_usual_picture() {
            return Err(Error::request(
                format!(
                    "photos cannot be inverted into a generator of {} images with {} channels: square ones in three \
                     colours are needed",
                    shape.size_in_words(),
                    shape.image_channels
                ),
                "use codes that were made for it with `--latents`",
            ));
        }
        let named = generator.metadata().get("frame");
        let frame = named.map_or(Ok(Frame::FFHQ), |text| text.parse())?;
        let encoder = encoder_file.as_deref().map(EncoderTable::read).transpose()?;
        let first = args.first_encoder.as_deref().map(builtin::resolve_encoder).transpose()?;
        let first = first.as_deref().map(EncoderTable::read).transpose()?;
        let config = encoder.as_ref().map(EncoderTable::config);
        check_kind(config, kind)?;
        let advised = config.map(|encoder| match kind {
            InputKind::Photo => encoder.refine.unwrap_or(0),
            _ => 0,
        });
        let refine = args.refinement(advised)?;
        check_first(config, first.as_ref().map(EncoderTable::config))?;
        if kind != InputKind::Photo && refine.is_some() {
            return Err(Error::request(
                "a mask or a sketch is no picture that the generator could be brought closer to",
                "leave out `--optimize`",
            ));
        }
        for encoder in [&encoder, &first].into_iter().flatten() {
            check_codes(encoder.config(), shape)?;
        }
        let start = match &args.start {
            Some(file) => Some(latents::read(file, None, shape, printer)?),
            None => None,
        };
        Ok(Self { generator, device, frame, encoder, first, refine, kind, start })
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
fn check_kind(encoder: Option<&invert::Config>, kind: InputKind) -> Result<()> {
    let Some(encoder) = encoder else {
        return match kind {
            InputKind::Photo => Ok(()),
            _ => Err(Error::request(
                "masks and sketches need an encoder that was trained for them",
                "name one of pSp's with `--encoder FILE`",
            )),
        };
    };
    let channels = encoder.channels;
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
fn check_first(encoder: Option<&invert::Config>, first: Option<&invert::Config>) -> Result<()> {
    let Some(first) = first else { return Ok(()) };
    let Some(encoder) = encoder else {
        return Err(Error::request(
            "`--first-encoder` comes before an encoder",
            "name it with `--encoder`",
        ));
    };
    let of = |e: &invert::Config| (e.width, e.height, e.frame);
    if encoder.is_iterative() && of(encoder) == of(first) {
        return Ok(());
    }
    Err(Error::request(
        "these encoders cannot follow each other: the second one must see its last result, and both the same pictures",
        "use two encoders of ReStyle of one size",
    ))
}
