//! Which network a file holds, and one canonical naming for each: rosinality's names for the generator, OpenAI's
//! for CLIP. All renaming of the program happens here, one file per other naming.
//!
//! What rosinality's names do not have: `embed.weight` `[E, C]` and `embed.bias` `[E]`, the embedding of C classes of
//! a conditional generator, and the metadata key [`CONV_CLAMP`].

mod clip;
mod nested;
mod nvidia;
mod stylegan;
mod tensorflow;

use super::flatten::UNREADABLE;
use super::{Checkpoint, Container, Entry};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
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

/// A dictionary of a file and the network in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The dictionary's name: `g_ema`; empty for the top level.
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
    /// The network that the file is about: a generator before a discriminator, the first one otherwise.
    pub fn network(&self) -> Network {
        let generator = self.parts.iter().find(|part| part.network == Network::Generator);
        match generator.or(self.parts.first()) {
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
    let mut parts = Vec::new();
    for (name, group) in nested::groups(checkpoint) {
        let tensors = group.len();
        if let Some(network) = network(&unwrapped(group).keys().copied().collect()) {
            parts.push(Part { name, network, tensors });
        }
    }
    let tensors = super::pickle::count(checkpoint.entries.len(), "tensor");
    let names: Vec<_> = checkpoint.entries.keys().take(3).map(|name| format!("`{name}`")).collect();
    let whole = match (checkpoint.entries.is_empty(), checkpoint.container) {
        (true, Container::Safetensors) => "no tensors".to_owned(),
        (true, _) => format!("no tensors ({})", checkpoint.whole),
        (false, _) => format!("{tensors} of an unknown network ({}…)", names.join(", ")),
    };
    let is_average = |path: &String| {
        ["mapping.w_avg", "dlatent_avg"].contains(&path.rsplit('/').next().unwrap_or_default())
    };
    let average = latent_avg(checkpoint).is_some() || checkpoint.entries.keys().any(is_average);
    Contents { parts, latent_avg: average, whole }
}

/// The generator of a file, with `latent_avg` if there is one.
///
/// Takes the dictionary `g_ema` (the smoothed weights; NVIDIA's `G_ema` and `Gs`), else `g` (or `G`), else the top
/// level, else the only generator there is, such as the `decoder` in an encoder's file. `latent_avg` becomes `[D]`:
/// encoders' files repeat it for every style input.
///
/// # Errors
/// [`Error::File`] that says what the file holds instead, or why its generator cannot be used.
pub fn generator(checkpoint: &Checkpoint) -> Result<Named> {
    let mut named = pick(checkpoint, &Network::Generator, &GENERATORS)?.ok_or_else(|| {
        mismatch(
            checkpoint,
            &Network::Generator,
            "a generator's file holds `g_ema`, or names such as `convs.0.conv.weight`",
        )
    })?;
    let own = named.entries.get("latent_avg").cloned();
    let Some(average) = own.as_ref().or_else(|| latent_avg(checkpoint)) else { return Ok(named) };
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

/// The CLIP of a file under OpenAI's names, from Hugging Face's or open_clip's. Wrappers (`module.`, `model.`) and the
/// numbers of TorchScript archives (`input_resolution`, `context_length`, `vocab_size`) are dropped.
///
/// # Errors
/// [`Error::File`] that says what the file holds instead.
pub fn clip(checkpoint: &Checkpoint) -> Result<Named> {
    let mut named =
        pick(checkpoint, &Network::Clip, &["", "state_dict", "model"])?.ok_or_else(|| {
            mismatch(
                checkpoint,
                &Network::Clip,
                "use the weights of a CLIP: OpenAI's, open_clip's or Hugging Face's",
            )
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
/// [`Error::File`] that says what the file holds instead.
pub fn encoder(checkpoint: &Checkpoint) -> Result<(Named, BTreeMap<String, String>)> {
    let named = pick(checkpoint, &Network::Encoder, &["state_dict/encoder", "encoder", ""])?
        .ok_or_else(|| {
            mismatch(
                checkpoint,
                &Network::Encoder,
                "use an encoder of ReStyle, pSp or e4e; its file holds `state_dict` and `opts`",
            )
        })?;
    let plain = |text: &String| text.trim_matches('"').to_owned();
    let mut options = checkpoint.metadata.clone();
    for (name, what) in &checkpoint.others {
        if let Some(key) = name.strip_prefix("opts/") {
            options.insert(key.to_owned(), plain(what));
        }
    }
    Ok((named, options))
}

/// The first of the `preferred` dictionaries that makes the `wanted` network, or the only one that does.
fn pick(checkpoint: &Checkpoint, wanted: &Network, preferred: &[&str]) -> Result<Option<Named>> {
    let mut found: BTreeMap<String, Group<'_>> = nested::groups(checkpoint)
        .into_iter()
        .map(|(name, group)| (name, unwrapped(group)))
        .filter(|(_, group)| network(&group.keys().copied().collect()).as_ref() == Some(wanted))
        .collect();
    let preferred = preferred.iter().find_map(|&name| found.remove_entry(name));
    let (name, group) = match preferred {
        Some(chosen) => chosen,
        None if found.len() == 1 => match found.into_iter().next() {
            Some(only) => only,
            None => return Ok(None),
        },
        None => return Ok(None),
    };
    let translated = translated(checkpoint, &name, &group).map_err(|why| {
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
    Ok(Some(Named { entries: translated.entries, metadata, origin: checkpoint.path.clone() }))
}

/// The tensors of a group, called `name` in the file, from whatever naming they are in.
fn translated(
    checkpoint: &Checkpoint,
    name: &str,
    group: &Group<'_>,
) -> std::result::Result<Translated, String> {
    let names = group.keys().copied().collect();
    let path = |attribute: &str| {
        if name.is_empty() { attribute.to_owned() } else { format!("{name}/{attribute}") }
    };
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
    let contents = recognise(checkpoint);
    let several = contents.parts.iter().filter(|part| part.network == *wanted).count() > 1;
    let message = if several {
        format!("holds several of the kind: {contents}; cannot choose one")
    } else {
        format!("holds {contents}, expected {wanted}")
    };
    Error::file_hint(&checkpoint.path, message, hint)
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

fn latent_avg(checkpoint: &Checkpoint) -> Option<&Entry> {
    checkpoint.entries.get("latent_avg").or_else(|| checkpoint.entries.get("g_ema/latent_avg"))
}

/// Dictionaries with a generator, the best first.
const GENERATORS: [&str; 6] = ["g_ema", "G_ema", "Gs", "g", "G", ""];

type Group<'a> = BTreeMap<&'a str, &'a Entry>;

/// Without the prefixes that wrappers put before every name (`DataParallel` writes `module.`).
fn unwrapped(mut group: Group<'_>) -> Group<'_> {
    for prefix in ["module.", "model.", "module."] {
        if !group.is_empty() && group.keys().all(|name| name.starts_with(prefix)) {
            group = group.into_iter().map(|(name, entry)| (&name[prefix.len()..], entry)).collect();
        }
    }
    group
}

/// Which network has such names. A few telling ones decide, so that a file with a missing tensor is still told.
fn network(names: &BTreeSet<&str>) -> Option<Network> {
    let has = |name: &str| names.contains(name);
    let any = |start: &str| names.range(start..).next().is_some_and(|name| name.starts_with(start));
    let unknown = |what: &str| Some(Network::Unknown(what.to_owned()));
    if any("output_layer.") && any("input_layer.") {
        unknown("a network that recognises faces (ArcFace), which is no encoder")
    } else if any("styles.") && any("body.") {
        Some(Network::Encoder)
    } else if any("course_mapping.") || any("medium_mapping.") || any("mapper_0.") {
        Some(Network::Mapper)
    } else if has("conv1.conv.modulation.weight")
        || has("to_rgb1.conv.weight")
        || has("input.input")
        || nvidia::is_generator(names)
    {
        Some(Network::Generator)
    } else if let Some(older) = tensorflow::older(names) {
        unknown(older)
    } else if tensorflow::is_generator(names) {
        Some(Network::Generator)
    } else if has("final_linear.0.weight")
        || has("final_conv.0.weight")
        || nvidia::is_discriminator(names)
        || tensorflow::is_discriminator(names)
    {
        Some(Network::Discriminator)
    } else if has("visual.conv1.weight")
        || (has("token_embedding.weight") && has("text_projection"))
        || clip::is_hugging_face(names)
    {
        Some(Network::Clip)
    } else if clip::towers(names) {
        unknown("a network of two towers that is no CLIP (SigLIP, perhaps), which is not supported")
    } else if any("synthesis.input.") && any("mapping.embed_proj.") {
        unknown("a StyleGAN-XL generator, which is not supported (StyleGAN2's are)")
    } else if any("synthesis.L0_") || any("synthesis.input.") {
        unknown("a StyleGAN3 generator, which is not supported (StyleGAN2's are)")
    } else {
        None
    }
}
