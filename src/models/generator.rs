//! A generator from its files: a whole one, or a base with deltas upon it.

use super::{GeneratorFiles, Origin, in_file, shapes};
use crate::checkpoint::dialect::CONV_CLAMP;
use crate::checkpoint::{self, Checkpoint, Named, NotFinite, Report, apply_delta};
use crate::error::{Error, Result};
use crate::stylegan2::{Config, Generator};
use crate::torch::{ShapeMap, TensorMap, catch, copy_map};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind};

/// The metadata key of the class that a conditional generator draws.
const CLASS: &str = "class";

/// The tensors of a generator as its file holds them, under canonical names.
#[derive(Debug)]
pub struct StoredGenerator {
    /// What was inferred about it.
    pub config: Config,
    /// On the CPU. Complete in its parameters; buffers and `latent_avg` only if the file has them.
    pub tensors: TensorMap,
    /// Numbers that are NaN or infinite: to be said, or refused.
    pub not_finite: NotFinite,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads a generator from any file that holds one, or from a base and deltas. A conditional generator draws the class
/// that its file names, as those of runs do.
///
/// # Errors
/// As [`open_generator_of_class`].
pub fn open_generator(
    files: impl Into<GeneratorFiles>,
    kind: Kind,
    device: Device,
) -> Result<(Generator, Origin)> {
    open_generator_of_class(files, None, kind, device)
}

/// As [`open_generator`], drawing `class` of a conditional generator, or the class that the file names.
///
/// # Errors
/// [`Error::Io`], [`Error::File`] for a file that is something else or a delta of another base, [`Error::Tensors`] for
/// an incomplete one, [`Error::Request`] for a class that is not there, or that is needed and not known.
pub fn open_generator_of_class(
    files: impl Into<GeneratorFiles>,
    class: Option<i64>,
    kind: Kind,
    device: Device,
) -> Result<(Generator, Origin)> {
    GeneratorTable::read(files, class)?.open(kind, device)
}

/// A generator of which only the tables of its files were read: what it is, and that it is complete.
///
/// What can be refused by that is refused before seconds are spent on numbers.
#[derive(Debug)]
pub struct GeneratorTable {
    files: GeneratorFiles,
    named: Named,
    offer: Offer,
    class: Option<i64>,
}

impl GeneratorTable {
    /// Reads the tables. Of a conditional generator `class` will be drawn, or else the class that its file names.
    ///
    /// # Errors
    /// As [`open_generator_of_class`], but for what numbers and hashes tell.
    pub fn read(files: impl Into<GeneratorFiles>, class: Option<i64>) -> Result<Self> {
        Self::of_any_class(files, class, false)
    }

    /// As [`GeneratorTable::read`]; with `any`, the first class is drawn where none is named.
    ///
    /// # Errors
    /// As [`GeneratorTable::read`].
    pub fn of_any_class(
        files: impl Into<GeneratorFiles>,
        class: Option<i64>,
        any: bool,
    ) -> Result<Self> {
        let files = files.into();
        let (named, offer) = offered(&files.base)?;
        checkpoint::check(&offer.what, &offer.needed, &offer.optional, &named)?;
        let mut class = class;
        // An adaptation draws one class of a conditional base.
        for path in &files.deltas {
            let file = checkpoint::open(path)?;
            only_delta(&file)?;
            delta_names(&file, &offer.config)?;
            class = class.or(class_of(&file.metadata, path)?);
        }
        if class.is_none() && offer.config.classes > 0 {
            class = class_of(&named.metadata, &files.base)?;
        }
        if any && offer.config.classes > 0 {
            class = class.or(Some(0));
        }
        offer.config.check_class(class)?;
        Ok(Self { files, named, offer, class })
    }

    /// What the generator is.
    pub fn config(&self) -> &Config {
        &self.offer.config
    }

    /// The class that it will draw.
    pub fn class(&self) -> Option<i64> {
        self.class
    }

    /// What the base's file says about itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.named.metadata
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// [`Error::File`] for damaged data, numbers that are not finite, and deltas of another base.
    pub fn open(self, kind: Kind, device: Device) -> Result<(Generator, Origin)> {
        if !self.files.deltas.is_empty() {
            let (whole, origin) = with_deltas(self)?;
            let same = kind == Kind::Float && device == Device::Cpu;
            return Ok((if same { whole } else { whole.duplicate(kind, device)? }, origin));
        }
        self.open_base(kind, device)
    }

    fn open_base(self, kind: Kind, device: Device) -> Result<(Generator, Origin)> {
        let Self { files: GeneratorFiles { base: path, .. }, named, offer, class } = self;
        let (tensors, report) = catch("reading the generator", || {
            checkpoint::fill(&offer.what, &offer.needed, &offer.optional, &named, kind, device)
        })?;
        let generator =
            Generator::of_class(offer.config, tensors, class).map_err(|e| in_file(e, &path))?;
        let origin = Origin::new(&path, named.metadata, report)?;
        Ok((generator, origin))
    }
}

/// As [`open_generator`], but nothing is added, nothing is cast unless `dtype` asks for it, and numbers that are not
/// finite are counted, not refused. With deltas the result is complete and in float32, as the adaptation left it.
///
/// # Errors
/// As [`open_generator`].
pub fn read_generator(files: &GeneratorFiles, dtype: Option<Kind>) -> Result<StoredGenerator> {
    let cast = |tensors: TensorMap| match dtype {
        Some(kind) => catch("casting a generator", || Ok(copy_map(&tensors, Device::Cpu, kind))),
        None => Ok(tensors),
    };
    if !files.deltas.is_empty() {
        let (generator, origin) = with_deltas(GeneratorTable::read(files, None)?)?;
        let (config, tensors) = (generator.config().clone(), cast(generator.tensors())?);
        // Both parts were refused if they had any.
        return Ok(StoredGenerator { config, tensors, not_finite: NotFinite::default(), origin });
    }
    let (named, offer) = offered(&files.base)?;
    let report = checkpoint::check(&offer.what, &offer.needed, &offer.optional, &named)?;
    let (tensors, not_finite) = checkpoint::read(&report, &named)?;
    let origin = Origin::new(&files.base, named.metadata, report)?;
    Ok(StoredGenerator { config: offer.config, tensors: cast(tensors)?, not_finite, origin })
}

/// What a file offers, and what a generator of that shape needs.
#[derive(Debug)]
struct Offer {
    what: String,
    config: Config,
    needed: ShapeMap,
    optional: ShapeMap,
}

fn offered(path: &Path) -> Result<(Named, Offer)> {
    let file = checkpoint::open(path)?;
    if file.is_delta() {
        return Err(Error::file_hint(
            path,
            "holds only what an adapted generator changed, not the generator",
            where_its_base_is(&file),
        ));
    }
    let named = checkpoint::generator(&file)?;
    let config = generator_config(&named)?;
    let what = format!("{} generator", config.size_in_words());
    let (needed, optional) = (config.parameter_shapes(), config.optional_shapes());
    Ok((named, Offer { what, config, needed, optional }))
}

/// What a generator is, by the shapes of its tensors and the file's metadata; no tensor is read.
///
/// # Errors
/// [`Error::Tensors`] that lists what is missing, [`Error::File`] for metadata that cannot be a generator's.
pub fn generator_config(named: &Named) -> Result<Config> {
    let mut config = Config::infer(&shapes(named)).map_err(|e| in_file(e, &named.origin))?;
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
///
/// # Errors
/// [`Error::File`] when it is no number.
pub fn class_of(metadata: &BTreeMap<String, String>, path: &Path) -> Result<Option<i64>> {
    let Some(text) = metadata.get(CLASS) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| Error::file(path, format!("its `{CLASS}` is {text:?}, expected a number")))
}

/// How a delta can be used: its metadata say where its base was.
fn where_its_base_is(delta: &Checkpoint) -> String {
    let path = delta.path.display();
    let beside = "use the `generator.safetensors` beside it";
    let about = |key: &str| delta.metadata.get(key);
    let (base, hash) = (about("base"), about("base_sha256"));
    let there = base.filter(|base| {
        checkpoint::sha256(base).is_ok_and(|found| hash.is_some_and(|hash| *hash == found))
    });
    match (there, base) {
        (Some(base), _) => format!("name its base, too, `{base}+{path}`, or {beside}"),
        (None, Some(base)) => format!(
            "name its base, too, `BASE+{path}`, where BASE is what was `{base}` (sha256 {}), or {beside}",
            hash.map_or("unknown", String::as_str)
        ),
        (None, None) => beside.into(),
    }
}

/// The base with every delta upon it, in float32 on the CPU.
///
/// The hash of the result, which a delta upon it would name, is that of the two hashes joined by a plus.
fn with_deltas(table: GeneratorTable) -> Result<(Generator, Origin)> {
    let files = table.files.clone();
    let (mut generator, mut origin) = table.open_base(Kind::Float, Device::Cpu)?;
    origin.path = files.joined();
    let mut below = GeneratorFiles::from(&files.base);
    for path in &files.deltas {
        let file = checkpoint::open(path)?;
        check_base(&file, &below, &origin.sha256)?;
        let (tensors, report) = delta_tensors(&file, generator.config())?;
        let whole =
            apply_delta(&generator.tensors(), &tensors).map_err(|error| in_file(error, path))?;
        generator = Generator::of_class(generator.config().clone(), whole, generator.class())
            .map_err(|e| in_file(e, path))?;
        let sum = format!("{}+{}", origin.sha256, checkpoint::sha256(path)?);
        origin.sha256 = checkpoint::sha256_of(sum);
        // What the adaptation says goes before what its base said.
        origin.metadata.extend(file.metadata);
        origin.metadata.insert("format".into(), "nada-generator".into());
        origin.report.unused.extend(report.unused);
        below.deltas.push(path.clone());
    }
    Ok((generator, origin))
}

/// Refuses what is no delta.
fn only_delta(file: &Checkpoint) -> Result<()> {
    if file.is_delta() {
        return Ok(());
    }
    let contents = checkpoint::recognise(file);
    Err(Error::file_hint(
        &file.path,
        format!("holds {contents}; behind a `+` only what an adaptation changed is expected"),
        "use the `delta.safetensors` of a run, or name this file alone if it is a generator",
    ))
}

/// Refuses a delta that was made from something else.
fn check_base(delta: &Checkpoint, below: &GeneratorFiles, found: &str) -> Result<()> {
    let Some(expected) = delta.metadata.get("base_sha256") else {
        return Err(Error::file_hint(
            &delta.path,
            "does not say which base it was made from: its metadata lack `base_sha256`",
            "it is damaged or was not written by `nada`: use another copy",
        ));
    };
    if expected == found {
        return Ok(());
    }
    let base = delta.metadata.get("base").map_or("an unnamed file", String::as_str);
    Err(Error::file_hint(
        &delta.path,
        format!(
            "was made from a base with sha256 {expected} (`{base}`), but `{below}` has sha256 {found}"
        ),
        "name the very generator that the run began with; `nada inspect FILE` tells a file's sha256",
    ))
}

/// What a delta offers; all of it must be tensors of the generator, in their shapes.
fn delta_names(file: &Checkpoint, config: &Config) -> Result<(String, ShapeMap, Named)> {
    let mut known = config.parameter_shapes();
    known.extend(config.optional_shapes());
    let named = Named {
        entries: file.entries.clone(),
        metadata: file.metadata.clone(),
        origin: file.path.clone(),
    };
    let what = format!("delta of a {} generator", config.size_in_words());
    let report = checkpoint::check(&what, &ShapeMap::new(), &known, &named)?;
    if let Some(name) = report.unused.first() {
        return Err(Error::file_hint(
            &file.path,
            format!("changes `{name}`, which a {} generator does not have", config.size_in_words()),
            "it was made for another generator",
        ));
    }
    Ok((what, known, named))
}

fn delta_tensors(file: &Checkpoint, config: &Config) -> Result<(TensorMap, Report)> {
    let (what, known, named) = delta_names(file, config)?;
    checkpoint::fill(&what, &ShapeMap::new(), &known, &named, Kind::Float, Device::Cpu)
}
