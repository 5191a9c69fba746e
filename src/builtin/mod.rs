//! What ships with the program, found from any working directory: presets (inside the binary) and models (beside it).

use crate::error::{Error, Result, near_names};
use crate::fetch;
use std::path::{Path, PathBuf};

mod clip;
mod folders;
mod generator;
mod inversion;
mod presets;
mod recorded;

pub use clip::resolve_clip;
pub use folders::{checkpoints_dir, models_dir};
pub use generator::{anchored_generator, base_of, resolve_generator};
pub use inversion::{detector_file, encoder_of, resolve_encoder};
pub use presets::{OF_MAPPER, mapper_preset, mapper_presets, preset, presets};
pub use recorded::RecordedBase;

/// What finds faces in photos: no model that anybody names.
const DETECTOR: &str = "mtcnn";

/// A model that ships.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipped {
    /// As `--generator` and `--clip` take it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub kind: fetch::Kind,
}

/// The shipped models, by name: each `NAME.safetensors` in [`checkpoints_dir`]. Files that begin with `clip_` are CLIP
/// models, those that begin with `encoder_` make codes of photos; both are named with dashes: `clip_rn.safetensors` is
/// `clip-rn`. The face detector is left out.
pub fn models() -> Vec<Shipped> {
    models_in(checkpoints_dir().as_deref())
}

fn models_in(folder: Option<&Path>) -> Vec<Shipped> {
    let files = folder.into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    let mut models: Vec<Shipped> = files
        .filter_map(|file| {
            let name = file.file_name().to_str()?.strip_suffix(".safetensors")?.to_owned();
            if name == DETECTOR {
                return None;
            }
            let kind = match name.split_once('_') {
                Some(("clip", _)) => fetch::Kind::Clip,
                Some(("encoder", _)) => fetch::Kind::Encoder,
                _ => fetch::Kind::Generator,
            };
            let name = if kind == fetch::Kind::Generator { name } else { name.replace('_', "-") };
            Some(Shipped { name, path: file.path(), kind })
        })
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    models
}

/// The names of the models of a kind.
fn names_of(models: &[Shipped], kind: fetch::Kind) -> Vec<&str> {
    models.iter().filter(|m| m.kind == kind).map(|m| m.name.as_str()).collect()
}

/// The endings of weights in the models folder, in the order in which they are looked for.
const WEIGHTS: [&str; 3] = ["safetensors", "pt", "pkl"];

/// The file in the models folder that `nada fetch NAME` made, or that somebody put there under such a name.
fn fetched_file(asked: &str, models: Option<&Path>) -> Option<PathBuf> {
    let stem =
        fetch::find(asked).map_or_else(|_| asked.to_owned(), |weights| fetch::stem(&weights.name));
    // A name, not a path that leads elsewhere.
    if stem.is_empty() || stem.contains(['/', '\\']) || stem.starts_with('.') {
        return None;
    }
    let tried =
        WEIGHTS.iter().map(|extension| models.map(|m| m.join(format!("{stem}.{extension}"))));
    tried.flatten().find(|file| file.is_file())
}

/// An error that says how to get it, if `asked` is in the table of `nada fetch`.
fn can_be_fetched(asked: &str, kind: fetch::Kind) -> Result<()> {
    match fetch::find(asked) {
        Ok(weights) if weights.kind == kind => Err(Error::request(
            format!("the weights of `{}` are not there yet", weights.name),
            format!("`nada fetch {}` gets them", weights.name),
        )),
        _ => Ok(()),
    }
}

fn shipped_hint(what: &str, names: &[&str], folder: Option<&Path>) -> String {
    match folder {
        Some(folder) if names.is_empty() => {
            format!("there are no shipped {what} in `{}`", folder.display())
        }
        Some(_) => format!("the shipped {what} are {}", quoted(names.iter().copied())),
        None => {
            "the folder of the shipped models was not found: set `NADA_CHECKPOINTS` to it".into()
        }
    }
}

fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = near_names(name, known);
    if near.is_empty() {
        String::new()
    } else {
        format!("; did you mean `{}`?", near.join("` or `"))
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::clip::resolve_clip_in;
    use super::folders::SIGN;
    use super::generator::{Folders, resolve_generator_in};
    use super::*;

    pub(super) const SHIPPED: &str = SIGN;

    pub(super) fn touch(path: &Path) -> &Path {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
        path
    }

    pub(super) fn shipped() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in
            [SIGN, "clip_rn.safetensors", "clip_vit.safetensors", "mtcnn.safetensors", "README.md"]
        {
            touch(&folder.path().join(name));
        }
        folder
    }

    pub(super) fn text(error: &Error) -> String {
        assert_eq!(error.exit_code(), 2);
        format!("{error} / {}", error.hint().unwrap())
    }

    #[test]
    fn what_was_fetched_is_found_by_its_name() {
        let (folder, models) = (shipped(), tempfile::tempdir().unwrap());
        let folders = Folders { shipped: Some(folder.path()), models: Some(models.path()) };
        let generator = |asked: &str| resolve_generator_in(asked, folders).map(|files| files.base);
        let message = text(&generator("FFHQ").unwrap_err());
        assert!(message.contains("`ffhq` are not there yet / `nada fetch ffhq`"), "{message}");
        let file = models.path().join("ffhq.pkl");
        touch(&file);
        assert_eq!(generator("FFHQ").unwrap(), file);
        // One that somebody put there.
        touch(&models.path().join("mine.pt"));
        assert!(generator("mine").unwrap().ends_with("mine.pt"));
        for asked in ["../mine", "", ".", "a/mine"] {
            assert!(generator(asked).is_err() || asked == ".", "{asked}");
        }
        let clip = |asked: &str| resolve_clip_in(asked, Some(models.path()), Some(folder.path()));
        let message = text(&clip("hf-ViT-B/32").unwrap_err());
        assert!(message.contains("`nada fetch hf-ViT-B/32` gets them"), "{message}");
        touch(&models.path().join("hf-ViT-B-32.pt"));
        assert!(clip("hf-ViT-B/32").unwrap().ends_with("hf-ViT-B-32.pt"));
        assert!(text(&clip("RN50").unwrap_err()).contains("`nada fetch RN50` gets it"));
    }
}
