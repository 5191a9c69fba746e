//! Where a CLIP's [`Traits`] stand: in the file's own metadata, in what only one program writes, or in the
//! configuration beside it, if that is this very file's.

use crate::checkpoint::{Address, Checkpoint};
use crate::clip::vocabulary::{PHRASES_KEY, WORDS_KEY};
use crate::clip::{Activation, Config, Traits, VisionConfig};
use crate::error::{Error, IoContext, Result};
use serde_json::Value;
use std::path::Path;

/// A configuration is a page of text.
const MAX_BYTES: u64 = 1 << 20;

/// How a publisher's files are called: weights that begin so have their configuration in the second.
const BESIDE: &[(&str, &str)] = &[
    ("open_clip_", OPEN_CLIP),
    ("model.", HUGGING_FACE),
    ("model-", HUGGING_FACE),
    ("pytorch_model.", HUGGING_FACE),
    ("pytorch_model-", HUGGING_FACE),
];

const HUGGING_FACE: &str = "config.json";
const OPEN_CLIP: &str = "open_clip_config.json";

/// What OpenAI's archives say about themselves in tensors of one number; no other program writes them.
const OPENAI: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];

/// The traits of a CLIP's file, whose shapes make `config`, and what was taken for granted, if anything was.
///
/// # Errors
/// [`Error::File`] about the configuration, or the metadata, that cannot be used.
pub(super) fn find(file: &Checkpoint, config: &Config) -> Result<(Traits, Option<String>)> {
    let own = Traits::from_metadata(&file.metadata).map_err(|why| Error::file(&file.path, why))?;
    let path = Address::of(&file.path).file;
    let stated = beside(file, &path, config)?;
    let (stated, other) = match stated {
        Beside::Its(traits) => (traits, None),
        Beside::Anothers(why) => (Traits::default(), Some(why)),
        Beside::Nothing(what) => (Traits::default(), Some(what)),
    };
    let with = |activation| Traits { activation: Some(activation), ..Traits::default() };
    if is_openais(file) || is_ours(file) {
        return Ok((own.or(with(Activation::QuickGelu)).or(stated), None));
    }
    let known = own.or(stated);
    if known.activation.is_some() {
        return Ok((known, None));
    }
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if let Some(run) = trained_by_open_clip(file) {
        let activation = match run.to_lowercase().contains("quickgelu") {
            true => Activation::QuickGelu,
            false => Activation::Gelu,
        };
        let note = format!(
            "`{name}` comes from open_clip's training and does not say its activation: {} is used, as open_clip does \
             unless a model is named `…-quickgelu` (the run is called {run}); an `{OPEN_CLIP}` beside it decides",
            activation.shown()
        );
        return Ok((known.or(with(activation)), Some(note)));
    }
    let other = other.unwrap_or_default();
    let note = format!(
        "`{name}` does not say its activation and {other}, so QuickGELU is used, as in OpenAI's models; LAION's and \
         others need theirs"
    );
    Ok((known, Some(note)))
}

/// What lies beside a file.
enum Beside {
    Its(Traits),
    /// A configuration of another file; says why.
    Anothers(String),
    /// None; says what was looked for.
    Nothing(String),
}

fn beside(file: &Checkpoint, path: &Path, config: &Config) -> Result<Beside> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let usual = BESIDE.iter().find(|(start, _)| name.starts_with(start)).map(|(_, config)| *config);
    let theirs = file.entries.keys().any(|name| name.contains("vision_model."));
    let tried = match usual {
        Some(usual) => vec![usual],
        None if theirs => vec![HUGGING_FACE],
        None => vec![OPEN_CLIP, HUGGING_FACE],
    };
    let mut why = format!("has no `{}` beside it", tried[0]);
    for name in tried {
        let beside = path.with_file_name(name);
        // A file under a name of its own has it only where no other file is the one that it describes.
        if usual.is_none() && owned(path, name) {
            why = format!("the `{name}` beside it is that of another file");
            continue;
        }
        let described = match read(&beside) {
            Err(_) if usual.is_none() => continue,
            described => described?,
        };
        match described {
            Some((traits, json)) => match differs(&json, config) {
                None => return Ok(Beside::Its(traits)),
                Some(what) => {
                    return Ok(Beside::Anothers(format!(
                        "`{name}` beside it is of another model ({what})"
                    )));
                }
            },
            None => continue,
        }
    }
    Ok(Beside::Nothing(why))
}

/// Whether a file lies in the folder that a configuration of this name goes with.
fn owned(path: &Path, config: &str) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let files = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    files.take(10_000).any(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        let weights = [".safetensors", ".bin", ".pt", ".index.json"];
        weights.iter().any(|ending| name.ends_with(ending))
            && BESIDE.iter().any(|(start, its)| *its == config && name.starts_with(start))
    })
}

/// What a configuration states; `None` when it is not there, or about something else.
fn read(path: &Path) -> Result<Option<(Traits, Value)>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).while_doing("read", path),
        Ok(about) if !about.is_file() => return Ok(None),
        Ok(about) if about.len() > MAX_BYTES => {
            return Err(Error::file(path, format!("has {} bytes, no configuration", about.len())));
        }
        Ok(_) => {}
    }
    let text = crate::regular::text(path, "a configuration")?;
    let wrong = |why: String| {
        let hint = "it describes the CLIP beside it: fetch it again, or use another model";
        Error::file_hint(path, why, hint)
    };
    let traits = Traits::from_json(&text).map_err(wrong)?;
    let json = serde_json::from_str(&text).unwrap_or_default();
    Ok(traits.map(|traits| (traits, json)))
}

/// The first size that a configuration states otherwise than the tensors have it.
fn differs(json: &Value, config: &Config) -> Option<String> {
    let text = &config.text;
    let mut sizes = vec![
        ("projection_dim", json.pointer("/projection_dim"), config.embed_dim),
        ("embed_dim", json.pointer("/model_cfg/embed_dim"), config.embed_dim),
        ("hidden_size", json.pointer("/text_config/hidden_size"), text.width),
        ("num_hidden_layers", json.pointer("/text_config/num_hidden_layers"), text.layers),
        ("width", json.pointer("/model_cfg/text_cfg/width"), text.width),
        ("layers", json.pointer("/model_cfg/text_cfg/layers"), text.layers),
        ("image_size", json.pointer("/vision_config/image_size"), config.resolution()),
        ("image_size", json.pointer("/model_cfg/vision_cfg/image_size"), config.resolution()),
    ];
    if let VisionConfig::Vit(vit) = &config.vision {
        sizes.extend([
            ("hidden_size", json.pointer("/vision_config/hidden_size"), vit.width),
            ("num_hidden_layers", json.pointer("/vision_config/num_hidden_layers"), vit.layers),
            ("patch_size", json.pointer("/vision_config/patch_size"), vit.patch),
            ("width", json.pointer("/model_cfg/vision_cfg/width"), vit.width),
            ("layers", json.pointer("/model_cfg/vision_cfg/layers"), vit.layers),
            ("patch_size", json.pointer("/model_cfg/vision_cfg/patch_size"), vit.patch),
        ]);
    }
    let stated = sizes.into_iter().filter_map(|(key, size, own)| Some((key, size?.as_i64()?, own)));
    stated
        .into_iter()
        .find(|(_, size, own)| size != own)
        .map(|(key, size, own)| format!("its `{key}` is {size}, the file's {own}"))
}

/// Whether OpenAI's code wrote it: its archives carry numbers that others leave out.
fn is_openais(file: &Checkpoint) -> bool {
    let last = |name: &str| name.rsplit(['/', '.']).next().unwrap_or_default().to_owned();
    let number = |wanted: &str| {
        file.entries.iter().any(|(name, entry)| entry.numel() == 1 && last(name) == wanted)
    };
    OPENAI.iter().all(|name| number(name))
}

/// Whether our training wrote it, which computes as OpenAI's models do.
fn is_ours(file: &Checkpoint) -> bool {
    [WORDS_KEY, PHRASES_KEY].iter().any(|key| file.metadata.contains_key(*key))
}

/// The name of the run of open_clip's training that wrote this checkpoint, if one did.
fn trained_by_open_clip(file: &Checkpoint) -> Option<&str> {
    let others = match &file.chosen {
        Some(chosen) => &chosen.others,
        None => &file.others,
    };
    let state =
        file.chosen.is_some() || file.entries.keys().any(|name| name.starts_with("state_dict/"));
    let name = others.get("name").filter(|name| name.starts_with('"'))?;
    (state && others.contains_key("epoch")).then_some(name.as_str())
}
