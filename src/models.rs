//! Files → models: the one place where the readers of [`crate::checkpoint`] and the networks meet.

use crate::checkpoint::dialect::CONV_CLAMP;
use crate::checkpoint::{self, Named, Report};
use crate::clip::{self, Clip, Vocabulary};
use crate::error::{Error, Result};
use crate::stylegan2::{self, Generator};
use crate::torch::{ShapeMap, catch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};
use token_table::TokenTable;

mod token_table;

/// The metadata key of the class that a conditional generator draws.
const CLASS: &str = "class";

/// OpenAI's name of the token table.
const TOKENS: &str = "token_embedding.weight";

/// Where a model came from: what a run folder records about it.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What the file says about itself.
    pub metadata: BTreeMap<String, String>,
    /// What was used, left over, or replaced.
    pub report: Report,
}

impl Origin {
    fn new(path: &Path, metadata: BTreeMap<String, String>, report: Report) -> Result<Self> {
        Ok(Self { path: path.into(), sha256: checkpoint::sha256(path)?, metadata, report })
    }
}

/// Reads a generator from any file that holds one. A conditional generator draws the class that its file names,
/// as those of runs do.
///
/// # Errors
/// As [`open_generator_of_class`].
pub fn open_generator(path: &Path, kind: Kind, device: Device) -> Result<(Generator, Origin)> {
    open_generator_of_class(path, None, kind, device)
}

/// As [`open_generator`], drawing `class` of a conditional generator, or the class that the file names.
///
/// # Errors
/// [`Error::Io`], [`Error::File`] for a file that is something else, [`Error::Tensors`] for an incomplete one,
/// [`Error::Request`] for a class that is not there, or that is needed and not known.
pub fn open_generator_of_class(
    path: &Path,
    class: Option<i64>,
    kind: Kind,
    device: Device,
) -> Result<(Generator, Origin)> {
    let file = checkpoint::open(path)?;
    if file.is_delta() {
        return Err(Error::file_hint(
            path,
            "holds only what an adapted generator changed, not the generator",
            "use the `generator.safetensors` beside it, or the folder of the run",
        ));
    }
    let named = checkpoint::generator(&file)?;
    let config = generator_config(&named)?;
    let class = match class {
        None if config.classes > 0 => class_of(&named)?,
        asked => asked,
    };
    let what = format!("`{}` is no complete {} px generator", path.display(), config.resolution);
    let (needed, optional) = (config.parameter_shapes(), config.optional_shapes());
    let (tensors, report) = catch("reading the generator", || {
        checkpoint::fill(&what, &needed, &optional, &named, kind, device)
    })?;
    let generator = Generator::of_class(config, tensors, class).map_err(|e| in_file(e, path))?;
    let origin = Origin::new(path, named.metadata, report)?;
    Ok((generator, origin))
}

/// What a generator is, by the shapes of its tensors and the file's metadata; no tensor is read.
///
/// # Errors
/// [`Error::Tensors`] that lists what is missing, [`Error::File`] for metadata that cannot be a generator's.
pub fn generator_config(named: &Named) -> Result<stylegan2::Config> {
    let mut config =
        stylegan2::Config::infer(&shapes(named)).map_err(|e| in_file(e, &named.origin))?;
    if let Some(text) = named.metadata.get(CONV_CLAMP) {
        let clamp = text.parse().ok().filter(|clamp: &f64| clamp.is_finite() && *clamp > 0.0);
        config.conv_clamp = Some(clamp.ok_or_else(|| {
            Error::file(
                &named.origin,
                format!("its `{CONV_CLAMP}` is {text:?}, expected a number above 0"),
            )
        })?);
    }
    Ok(config)
}

/// What no tensor of a generator tells, for the metadata of a file that holds it: [`open_generator`] reads it back.
pub fn generator_metadata(generator: &Generator) -> BTreeMap<String, String> {
    let clamp = generator.config().conv_clamp.map(|clamp| (CONV_CLAMP, clamp.to_string()));
    let class = generator.class().map(|class| (CLASS, class.to_string()));
    clamp.into_iter().chain(class).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The class that the file of a conditional generator was written for.
fn class_of(named: &Named) -> Result<Option<i64>> {
    let Some(text) = named.metadata.get(CLASS) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        Error::file(&named.origin, format!("its `{CLASS}` is {text:?}, expected a number"))
    })
}

/// Reads a CLIP model with both towers, and with its [`vocabulary()`] if it has one.
///
/// # Errors
/// As [`open_generator`]; [`Error::Tensors`] when the towers end in different widths; as [`vocabulary()`].
pub fn open_clip(path: &Path, kind: Kind, device: Device) -> Result<(Clip, Origin)> {
    let file = checkpoint::open(path)?;
    let mut named = checkpoint::clip(&file)?;
    let table = TokenTable::find(&named)?;
    let config = clip::Config::infer(&clip_shapes(&named)?).map_err(|e| in_file(e, path))?;
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
    let what = format!("`{}` is no complete CLIP", path.display());
    let (mut needed, optional) = (config.shapes(), config.optional_shapes());
    if table.is_some() {
        needed.remove(TOKENS);
    }
    let (tensors, report) = catch("reading CLIP", || {
        let (mut tensors, report) =
            checkpoint::fill(&what, &needed, &optional, &named, kind, device)?;
        if let Some(table) = &table {
            tensors.insert(TOKENS.into(), table.spread(path, kind, device)?);
        }
        Ok((tensors, report))
    })?;
    let words = vocabulary(&named)?;
    let clip = Clip::new(config, tensors).map_err(|e| in_file(e, path))?.with_vocabulary(words);
    let origin = Origin::new(path, named.metadata, report)?;
    Ok((clip, origin))
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
