//! Which network a file holds, and one canonical naming for each: rosinality's names for the generator, OpenAI's
//! for CLIP. All renaming of the program happens here, one file per other naming.
//!
//! What rosinality's names do not have: `embed.weight` `[E, C]` and `embed.bias` `[E]`, the embedding of C classes of
//! a conditional generator, and the metadata key [`CONV_CLAMP`].

mod average;
mod clip;
mod foreign;
mod narrow;
mod nvidia;
mod places;
mod stylegan;
mod telling;
mod tensorflow;
mod twins;

pub(super) use narrow::narrowed;

use super::flatten::UNREADABLE;
use super::{Address, Checkpoint, Container, Entry};
use crate::error::{Error, Result};
use places::Place;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use stylegan::Translated;

/// The metadata key of the bound to which a generator clamps what each of its convolutions puts out.
pub const CONV_CLAMP: &str = "conv_clamp";

/// A network that a group of tensors makes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// StyleGAN2's generator, of rosinality, of NVIDIA's PyTorch or TensorFlow code.
    Generator,
    /// StyleGAN2's discriminator, of the same.
    Discriminator,
    /// CLIP, OpenAI's names.
    Clip,
    /// An image encoder of ReStyle, pSp or e4e (its file holds a generator too, as `decoder.…`).
    Encoder,
    /// A latent mapper of StyleCLIP or StyleGAN-NADA.
    Mapper,
    /// Something else, in words.
    Unknown(String),
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generator => "a StyleGAN2 generator",
            Self::Discriminator => "a StyleGAN2 discriminator",
            Self::Clip => "a CLIP network",
            Self::Encoder => "an image encoder",
            Self::Mapper => "a latent mapper",
            Self::Unknown(what) => what,
        })
    }
}

/// A network in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it lies, the key of `FILE#KEY`: `g_ema`, `state_dict/generator`; empty for the top level.
    pub name: String,
    /// What it makes.
    pub network: Network,
    /// How many tensors it has.
    pub tensors: usize,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its networks, in the order of their names; dictionaries that make none are left out.
    pub parts: Vec<Part>,
    /// Whether there is the mean latent, which truncation needs.
    pub latent_avg: bool,
    /// What there is when no network was recognised.
    whole: String,
}

impl Contents {
    /// The network that the file is about: a generator before all else, what is known before what is not.
    pub fn network(&self) -> Network {
        let first = |fits: fn(&Network) -> bool| self.parts.iter().find(|part| fits(&part.network));
        let generator = first(|network| *network == Network::Generator);
        let known = || first(|network| !matches!(network, Network::Unknown(_)));
        match generator.or_else(known).or(self.parts.first()) {
            Some(part) => part.network.clone(),
            None => Network::Unknown(self.whole.clone()),
        }
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts.is_empty() {
            return f.write_str(&self.whole);
        }
        for (i, part) in self.parts.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}", part.network)?;
            if !part.name.is_empty() {
                write!(f, " (`{}`)", part.name)?;
            }
        }
        Ok(())
    }
}

/// The tensors of one network under their canonical names, still in the file.
#[derive(Clone, Debug)]
pub struct Named {
    /// Tensors by canonical name.
    pub entries: BTreeMap<String, Entry>,
    /// The file's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The file.
    pub origin: PathBuf,
}

/// Tells which networks a file holds.
pub fn recognise(checkpoint: &Checkpoint) -> Contents {
    let part = |place: Place<'_>| Part {
        name: key_of(checkpoint, place.name()),
        tensors: place.group.len(),
        network: place.network,
    };
    let parts = places::find(checkpoint).into_iter().map(part).collect();
    let tensors = super::pickle::count(checkpoint.entries.len(), "tensor");
    let names: Vec<_> = checkpoint.entries.keys().take(3).map(|name| format!("`{name}`")).collect();
    let whole = match (checkpoint.entries.is_empty(), checkpoint.container) {
        (true, Container::Safetensors) => "no tensors".to_owned(),
        (true, _) => format!("no tensors ({})", checkpoint.whole),
        (false, _) => format!("{tensors} of an unknown network ({}…)", names.join(", ")),
    };
    let average = average::is_there(checkpoint);
    Contents { parts, latent_avg: average, whole }
}

/// The generator of a file, with `latent_avg` if there is one.
///
/// Smoothed weights (`g_ema`; NVIDIA's `G_ema` and `Gs`) win over what they were smoothed from; otherwise there must be
/// only one, wherever it lies, or it is asked for as `FILE#KEY`. `latent_avg` becomes `[D]`: encoders' files repeat it for
/// every style input.
///
/// # Errors
/// [`Error::File`] that says what the file holds instead, or why its generator cannot be used; [`Error::Request`] where
/// several remain.
pub fn generator(checkpoint: &Checkpoint) -> Result<Named> {
    let (mut named, beside) = pick(checkpoint, &Network::Generator)?.ok_or_else(|| {
        mismatch(
            checkpoint,
            &Network::Generator,
            "a generator's file holds `g_ema`, or names such as `convs.0.conv.weight`",
        )
    })?;
    let own = named.entries.get("latent_avg").cloned();
    let Some(average) = own.or(beside) else { return Ok(named) };
    let average = &average;
    // As wide as what the last layer of the mapping network puts out.
    let layers = (1..).map(|i| named.entries.get(&format!("style.{i}.weight")));
    let last = layers.take_while(Option::is_some).flatten().last();
    let width = last.and_then(|weight| weight.shape().first().copied());
    let average = match *average.shape() {
        [_] => Ok(average.clone()),
        [1, width] => average.clone().reshaped(&[width]),
        [rows, _] if rows > 0 => repeated(checkpoint, average)?,
        _ => return Err(bad_average(checkpoint, average)),
    };
    let average = average.map_err(|why| Error::file(&checkpoint.path, why))?;
    if width.is_some() && average.shape().last().copied() != width {
        return Err(bad_average(checkpoint, &average));
    }
    named.entries.insert("latent_avg".into(), average);
    Ok(named)
}

/// The CLIP of a file under OpenAI's names, from Hugging Face's or open_clip's. The numbers of TorchScript archives
/// (`input_resolution`, `context_length`, `vocab_size`) are dropped.
///
/// # Errors
/// As [`generator`].
pub fn clip(checkpoint: &Checkpoint) -> Result<Named> {
    let (mut named, _) = pick(checkpoint, &Network::Clip)?.ok_or_else(|| {
        let hint = "use the weights of a CLIP: OpenAI's, open_clip's or Hugging Face's";
        mismatch(checkpoint, &Network::Clip, hint)
    })?;
    named.entries =
        clip::canonical(named.entries).map_err(|why| Error::file(&checkpoint.path, why))?;
    for extra in ["input_resolution", "context_length", "vocab_size"] {
        named.entries.remove(extra);
    }
    Ok(named)
}

/// The image encoder of a file under the originals' names without `encoder.`, and the options it was trained with as
/// plain texts (`opts` of the originals' files, the metadata of safetensors).
///
/// # Errors
/// As [`generator`].
pub fn encoder(checkpoint: &Checkpoint) -> Result<(Named, BTreeMap<String, String>)> {
    let (named, _) = pick(checkpoint, &Network::Encoder)?.ok_or_else(|| {
        let hint = "use an encoder of ReStyle, pSp or e4e; its file holds `state_dict` and `opts`";
        mismatch(checkpoint, &Network::Encoder, hint)
    })?;
    let plain = |text: &String| text.trim_matches('"').to_owned();
    let mut options = checkpoint.metadata.clone();
    let chosen = checkpoint.chosen.as_ref();
    for (name, what) in chosen.map_or(&checkpoint.others, |chosen| &chosen.others) {
        if let Some(key) = name.strip_prefix("opts/") {
            options.insert(key.to_owned(), plain(what));
        }
    }
    Ok((named, options))
}

/// The latent mapper of a file, under the names of StyleCLIP without `mapper.`.
///
/// # Errors
/// As [`generator`].
pub fn mapper(checkpoint: &Checkpoint) -> Result<Named> {
    let (named, _) = pick(checkpoint, &Network::Mapper)?.ok_or_else(|| {
        let contents = recognise(checkpoint);
        let hint = "`nada mapper` trains one; StyleCLIP's files hold `mapper.course_mapping.…`";
        let message = format!("holds no latent mapper, but {contents}");
        Error::file_hint(&checkpoint.path, message, hint)
    })?;
    Ok(named)
}

/// How a part of a file is asked for, `name` being what lies behind what was asked for already.
fn key_of(checkpoint: &Checkpoint, name: &str) -> String {
    let key = checkpoint.chosen.as_ref().map_or("", |chosen| chosen.key.as_str());
    match name {
        "" => key.trim_end_matches(['/', '.']).to_owned(),
        name => format!("{key}{name}"),
    }
}

/// The network of the `wanted` kind that is meant, and the mean latent that lies beside it.
fn pick(checkpoint: &Checkpoint, wanted: &Network) -> Result<Option<(Named, Option<Entry>)>> {
    let mut found = places::find(checkpoint);
    found.retain(|place| place.network == *wanted);
    if checkpoint.chosen.is_some() && found.iter().any(|place| place.prefix.is_empty()) {
        found.retain(|place| place.prefix.is_empty());
    }
    let mut found = twins::without_twins(found);
    if found.len() > 1 {
        return Err(several(checkpoint, wanted, &found));
    }
    let Some(place) = found.pop() else { return Ok(None) };
    let translated = translated(checkpoint, place.prefix, &place.group).map_err(|why| {
        let name = key_of(checkpoint, place.name());
        let shown = if name.is_empty() { String::new() } else { format!("`{name}`: ") };
        Error::file_hint(
            &checkpoint.path,
            format!("{shown}{why}"),
            "StyleGAN2 generators of configurations E and F with usual settings can be used",
        )
    })?;
    let mut metadata = checkpoint.metadata.clone();
    if let Some(clamp) = translated.conv_clamp {
        metadata.insert(CONV_CLAMP.into(), clamp.to_string());
    }
    let named = Named { entries: translated.entries, metadata, origin: checkpoint.path.clone() };
    Ok(Some((named, average::beside(checkpoint, place.prefix))))
}

/// More than one that may be meant: only the user can say which.
fn several(checkpoint: &Checkpoint, wanted: &Network, found: &[Place<'_>]) -> Error {
    let file = Address::of(&checkpoint.path).file;
    let keys: Vec<String> = found.iter().map(|place| key_of(checkpoint, place.name())).collect();
    let shown = |key: &String| match key.as_str() {
        "" => "the top level".to_owned(),
        key => format!("`{key}`"),
    };
    let named = |key: &String| format!("`{}#{key}`", file.display());
    let list = |texts: Vec<String>, word: &str| match texts.as_slice() {
        [rest @ .., last] => format!("{} {word} {last}", rest.join(", ")),
        [] => String::new(),
    };
    Error::request(
        format!(
            "`{}` holds several of the kind, expected {wanted}: {}",
            checkpoint.path.display(),
            list(keys.iter().map(shown).collect(), "and")
        ),
        format!("name one of them: {}", list(keys.iter().map(named).collect(), "or")),
    )
}

/// The tensors of a group, whose names begin with `prefix` in the file, from whatever naming they are in.
fn translated(
    checkpoint: &Checkpoint,
    prefix: &str,
    group: &Group<'_>,
) -> std::result::Result<Translated, String> {
    let names = group.keys().copied().collect();
    let path = |attribute: &str| format!("{prefix}{attribute}");
    let own = |key: &str| key.strip_prefix(&path("")).is_some_and(|key| !key.contains('/'));
    let broken = |(key, what): &(&String, &String)| what.starts_with(UNREADABLE) && own(key);
    if let Some((key, what)) = checkpoint.others.iter().find(broken) {
        return Err(format!("`{key}` is {what}"));
    }
    let about = |attribute: &str| checkpoint.others.get(&path(attribute)).map(String::as_str);
    if nvidia::is_generator(&names) {
        return nvidia::canonical(group, &about);
    }
    if tensorflow::is_generator(&names) {
        let prefix = path("static_kwargs.");
        let settings = checkpoint.others.range(prefix.clone()..);
        let settings = settings.map_while(|(name, _)| name.strip_prefix(&prefix)).collect();
        return tensorflow::canonical(group, &about, &settings);
    }
    let entries = group.iter().map(|(&name, &entry)| (name.to_owned(), entry.clone()));
    Ok(Translated { entries: entries.collect(), conv_clamp: None })
}

fn mismatch(checkpoint: &Checkpoint, wanted: &Network, hint: &str) -> Error {
    let mut contents = recognise(checkpoint);
    // Of strangers one says enough: the one that was meant.
    let strange = |part: &&Part| matches!(part.network, Network::Unknown(_));
    let generator = |part: &&Part| strange(part) && part.network.to_string().contains("generator");
    let meant = contents.parts.iter().find(generator).filter(|_| *wanted == Network::Generator);
    let only = contents.parts.first().filter(|_| contents.parts.iter().all(|p| strange(&p)));
    if let Some(part) = meant.or(only).cloned() {
        contents.parts = vec![part];
    }
    Error::file_hint(&checkpoint.path, format!("holds {contents}, expected {wanted}"), hint)
}

fn bad_average(checkpoint: &Checkpoint, average: &Entry) -> Error {
    let shape = average.shape();
    Error::file(
        &checkpoint.path,
        format!("`latent_avg` has shape {shape:?}, expected the width of the style vectors"),
    )
}

/// The row that all rows of `latent_avg` repeat.
fn repeated(
    checkpoint: &Checkpoint,
    average: &Entry,
) -> Result<std::result::Result<Entry, String>> {
    let values = average.tensor()?;
    let same = crate::torch::catch("comparing the rows of `latent_avg`", || {
        Ok(values.equal(&values.narrow(0, 0, 1).expand_as(&values)))
    })?;
    if !same {
        return Err(Error::file_hint(
            &checkpoint.path,
            "the rows of `latent_avg` differ: a mean for each style input, which is not supported",
            "remove it from the file: the mean is then estimated",
        ));
    }
    Ok(average.clone().row(0))
}

/// Tensors of one network by their own names.
type Group<'a> = BTreeMap<&'a str, &'a Entry>;
