//! Files → models: the one place where the readers of [`crate::checkpoint`] and the networks meet.

use crate::checkpoint::{self, Checkpoint, Named, NotFinite, Report};
use crate::clip::{self, Clip, Vocabulary};
use crate::error::{Error, Result};
use crate::torch::{ShapeMap, TensorMap, catch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};
use token_table::TokenTable;

mod channels;
mod clip_traits;
mod codes;
mod direction_choice;
mod directions;
mod files;
mod generator;
mod inversion;
mod keyed;
mod mapper;
mod token_table;

pub use channels::{ChannelWitness, Channels, open_channels, open_original_channels};
pub use codes::{LatentKind, StoredCodes, open_codes};
pub use direction_choice::{StoredDirection, open_direction};
pub use directions::{Axes, Directions, open_directions};
pub use files::GeneratorFiles;
pub use generator::{
    GeneratorTable, StoredGenerator, class_of, generator_config, generator_metadata,
    open_generator, open_generator_of_class, read_generator,
};
pub use inversion::{EncoderTable, open_arcface, open_detector, open_encoder, open_lpips};
pub use mapper::{MAPPER_FORMAT, MapperTable, StoredMapper, open_mapper};

/// OpenAI's name of the token table.
const TOKENS: &str = "token_embedding.weight";

/// Where a model came from: what a run folder records about it.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file; several as [`GeneratorFiles::joined`] writes them.
    pub path: PathBuf,
    /// SHA-256 of the file; with deltas upon it, a hash of all hashes.
    pub sha256: String,
    /// What the file says about itself.
    pub metadata: BTreeMap<String, String>,
    /// What was used, left over, or replaced.
    pub report: Report,
    /// What was taken for granted, in words: to be told to the user.
    pub notes: Vec<String>,
}

impl Origin {
    fn new(path: &Path, metadata: BTreeMap<String, String>, report: Report) -> Result<Self> {
        let notes = Vec::new();
        Ok(Self { path: path.into(), sha256: checkpoint::sha256(path)?, metadata, report, notes })
    }
}

/// Reads a CLIP model with both towers, and with its [`vocabulary()`] if it has one. What its shapes do not tell (the
/// activation, the heads) is read from its metadata, or from the configuration that its publisher put beside it.
///
/// # Errors
/// As [`open_generator`]; [`Error::Tensors`] when the towers end in different widths; as [`vocabulary()`]; and
/// [`Error::File`] for a configuration that states something else than this program computes.
pub fn open_clip(path: &Path, kind: Kind, device: Device) -> Result<(Clip, Origin)> {
    ClipTable::read(path)?.open(kind, device)
}

/// The tensors of a CLIP under OpenAI's names, as its file holds them; a narrow token table is spread out.
///
/// # Errors
/// As [`open_clip`].
pub fn read_clip(path: &Path) -> Result<(TensorMap, Origin)> {
    let ClipTable { named, table, needed, optional, note, .. } = ClipTable::read(path)?;
    let report = checkpoint::check(CLIP, &needed, &optional, &named)?;
    let (mut tensors, mut not_finite) = checkpoint::read(&report, &named)?;
    if let Some(table) = &table {
        let spread = catch("reading CLIP", || table.spread(path, table.kind(), Device::Cpu))?;
        not_finite.look(TOKENS, &spread)?;
        tensors.insert(TOKENS.into(), spread);
    }
    let mut origin = Origin::new(path, named.metadata, report)?;
    origin.notes.extend(note);
    origin.notes.extend(not_finite.note().map(|note| format!("`{}`: {note}", path.display())));
    Ok((tensors, origin))
}

/// What a file of a CLIP must make, in messages.
const CLIP: &str = "CLIP";

/// A CLIP of which only the table of its file was read: what it is, and that it is complete.
#[derive(Debug)]
pub struct ClipTable {
    named: Named,
    config: clip::Config,
    table: Option<TokenTable>,
    needed: ShapeMap,
    optional: ShapeMap,
    words: Option<Vocabulary>,
    /// What was taken for granted.
    note: Option<String>,
}

impl ClipTable {
    /// Reads the table.
    ///
    /// # Errors
    /// As [`open_clip`], but for what the numbers tell.
    pub fn read(path: &Path) -> Result<Self> {
        let file = checkpoint::open(path)?;
        let mut named = checkpoint::clip(&file)?;
        let table = TokenTable::find(&named)?;
        let (config, note) = clip_config(&file, &mut named)?;
        named.entries.retain(|name, _| !TokenTable::NAMES.contains(&name.as_str()));
        let tokens = config.text.vocab;
        if (tokens as usize) < clip::tokenizer::VOCABULARY {
            return Err(Error::file_hint(
                path,
                format!(
                    "its vocabulary has {tokens} tokens, OpenAI's tokenizer makes {}",
                    clip::tokenizer::VOCABULARY
                ),
                "use a CLIP with OpenAI's vocabulary",
            ));
        }
        let (mut needed, optional) = (config.shapes(), config.optional_shapes());
        if table.is_some() {
            needed.remove(TOKENS);
        }
        checkpoint::check(CLIP, &needed, &optional, &named)?;
        let words = vocabulary(&named)?;
        Ok(Self { named, config, table, needed, optional, words, note })
    }

    /// What the CLIP is.
    pub fn config(&self) -> &clip::Config {
        &self.config
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// [`Error::File`] for damaged data and numbers that are not finite; [`Error::Tensors`] when the towers do not fit.
    pub fn open(self, kind: Kind, device: Device) -> Result<(Clip, Origin)> {
        let Self { named, config, table, needed, optional, words, note } = self;
        let path = &named.origin;
        let (tensors, report) = catch("reading CLIP", || {
            let (mut tensors, report) =
                checkpoint::fill(CLIP, &needed, &optional, &named, kind, device)?;
            if let Some(table) = &table {
                let spread = table.spread(path, kind, device)?;
                let mut not_finite = NotFinite::default();
                not_finite.look(TOKENS, &spread)?;
                not_finite.refuse(path)?;
                tensors.insert(TOKENS.into(), spread);
            }
            Ok((tensors, report))
        })?;
        let clip = Clip::new(config, tensors).map_err(|e| in_file(e, path))?.with_vocabulary(words);
        let mut origin = Origin::new(&named.origin, named.metadata, report)?;
        origin.notes.extend(note);
        Ok((clip, origin))
    }
}

/// What a CLIP is, by the shapes of its tensors and by what was stated about it, which its metadata say then, too: a
/// copy of the file says it itself. With what was taken for granted, if anything was.
///
/// # Errors
/// As [`open_clip`].
pub fn clip_config(file: &Checkpoint, named: &mut Named) -> Result<(clip::Config, Option<String>)> {
    let inside = |error| in_file(error, &file.path);
    let config = clip::Config::infer(&clip_shapes(named)?).map_err(inside)?;
    let (traits, note) = clip_traits::find(file, &config)?;
    named.metadata.extend(traits.metadata());
    Ok((config.with_traits(traits).map_err(inside)?, note))
}

/// The words and phrases that a CLIP's file says it was trained on, see [`clip::vocabulary`]; no tensor is read.
///
/// # Errors
/// [`Error::File`] for metadata that cannot be a vocabulary.
pub fn vocabulary(named: &Named) -> Result<Option<Vocabulary>> {
    Vocabulary::read(&named.metadata).map_err(|why| {
        Error::file_hint(
            &named.origin,
            why,
            "its metadata are damaged, or not those of a CLIP for `nada`: fetch it again",
        )
    })
}

/// The shapes of a CLIP's tensors, with a narrow token table standing for the full one that it is spread to.
///
/// # Errors
/// [`Error::Tensors`] for half a narrow table.
pub fn clip_shapes(named: &Named) -> Result<ShapeMap> {
    let mut shapes = shapes(named);
    if let Some(table) = TokenTable::find(named)? {
        shapes.retain(|name, _| !TokenTable::NAMES.contains(&name.as_str()));
        shapes.insert(TOKENS.into(), table.shape());
    }
    Ok(shapes)
}

fn shapes(named: &Named) -> ShapeMap {
    named.entries.iter().map(|(name, entry)| (name.clone(), entry.shape().to_vec())).collect()
}

/// Says which file the faults are in.
fn in_file(error: Error, path: &Path) -> Error {
    match error {
        Error::Tensors { what, problems, hint } => {
            Error::Tensors { what: format!("`{}`: {what}", path.display()), problems, hint }
        }
        other => other,
    }
}
