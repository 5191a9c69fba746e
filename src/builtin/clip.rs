//! Which file a CLIP's name stands for: `clip-rn`, `ViT-B/32`, a file, a folder of Hugging Face's.

use super::{
    can_be_fetched, checkpoints_dir, did_you_mean, fetched_file, models_in, names_of, quoted,
    shipped_hint,
};
use crate::checkpoint::Address;
use crate::error::{Error, Result};
use crate::fetch;
use std::path::{Path, PathBuf};

/// Names of a CLIP's weights in the folders of Hugging Face's hub; the safe formats first.
const PUBLISHED_CLIP: [&str; 8] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
];

/// OpenAI's models: the name, the file as OpenAI calls it, the same weights on Hugging Face where they have a home.
const OPENAI_CLIP: [(&str, &str, Option<&str>); 9] = [
    ("RN50", "RN50", None),
    ("RN101", "RN101", None),
    ("RN50x4", "RN50x4", None),
    ("RN50x16", "RN50x16", None),
    ("RN50x64", "RN50x64", None),
    ("ViT-B/32", "ViT-B-32", Some("openai/clip-vit-base-patch32")),
    ("ViT-B/16", "ViT-B-16", Some("openai/clip-vit-base-patch16")),
    ("ViT-L/14", "ViT-L-14", Some("openai/clip-vit-large-patch14")),
    ("ViT-L/14@336px", "ViT-L-14-336px", Some("openai/clip-vit-large-patch14-336")),
];

/// The file of a CLIP model: a shipped name (`./NAME` means a file of that name), a file, or one of OpenAI's names
/// (`ViT-B/32`, `RN50` …) or that of `nada fetch`, whose file lies in the models folder, see [`super::models_dir`]. Each may have a `#KEY` behind it.
///
/// # Errors
/// [`Error::Request`]: for one of OpenAI's models that is not there, with the paths that were tried and where the file
/// comes from; for anything else, with the names that there are.
pub fn resolve_clip(name_or_path: &str, models_dir: Option<&Path>) -> Result<PathBuf> {
    let models = super::models_dir(models_dir);
    let (asked, key) = Address::of_name(name_or_path);
    let file = resolve_clip_in(asked, models.as_deref(), checkpoints_dir().as_deref())?;
    Ok(Address::joined(file, key))
}

pub(super) fn resolve_clip_in(
    asked: &str,
    models: Option<&Path>,
    checkpoints: Option<&Path>,
) -> Result<PathBuf> {
    let shipped = models_in(checkpoints);
    if let Some(model) = shipped.iter().find(|m| m.kind == fetch::Kind::Clip && m.name == asked) {
        return Ok(model.path.clone());
    }
    let path = Path::new(asked);
    if path.is_dir() {
        return clip_in_folder(path);
    }
    if path.exists() {
        return Ok(path.into());
    }
    let plain = |name: &str| name.to_lowercase().replace(['/', '@'], "-");
    if let Some((name, stem, hub)) = OPENAI_CLIP.iter().find(|(n, ..)| plain(n) == plain(asked)) {
        return openai_file(name, stem, *hub, models);
    }
    if let Some(file) = fetched_file(asked, models) {
        return Ok(file);
    }
    can_be_fetched(asked, fetch::Kind::Clip)?;
    let clips = names_of(&shipped, fetch::Kind::Clip);
    let known = clips.iter().copied().chain(OPENAI_CLIP.iter().map(|(name, ..)| *name));
    let near = did_you_mean(asked, known);
    Err(Error::request(
        format!("`{asked}` is no known CLIP model, and there is no such file{near}"),
        format!(
            "{}; OpenAI's, from the models folder: {}",
            shipped_hint("CLIP models", &clips, checkpoints),
            quoted(OPENAI_CLIP.iter().map(|(name, ..)| *name))
        ),
    ))
}

/// The weights in a folder as Hugging Face and open_clip publish it.
fn clip_in_folder(folder: &Path) -> Result<PathBuf> {
    let files = PUBLISHED_CLIP.map(|name| folder.join(name));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        Error::request(
            format!("`{}` is a folder without the weights of a CLIP", folder.display()),
            format!("looked for {}; name the file itself", quoted(PUBLISHED_CLIP.into_iter())),
        )
    })
}

fn openai_file(
    name: &str,
    stem: &str,
    hub: Option<&str>,
    models: Option<&Path>,
) -> Result<PathBuf> {
    let Some(models) = models else {
        return Err(Error::request(
            format!("`{name}` needs a models folder, and this system names no home folder for one"),
            "use `--models-dir DIR`, or set `NADA_MODELS`",
        ));
    };
    let tried = ["pt", "safetensors"].map(|extension| models.join(format!("{stem}.{extension}")));
    if let Some(file) = tried.iter().find(|file| file.is_file()) {
        return Ok(file.clone());
    }
    let tried: Vec<String> = tried.iter().map(|file| file.display().to_string()).collect();
    let hub = hub.map_or(String::new(), |id| {
        format!(" (or `{id}` from Hugging Face, whose folder `--clip` takes, too)")
    });
    Err(Error::request(
        format!(
            "the weights of `{name}` were not found, looked for {}",
            quoted(tried.iter().map(String::as_str))
        ),
        format!(
            "`nada fetch {name}` gets it; or fetch `{stem}.pt` from the address listed under `{name}` in https://github.com/openai/CLIP/blob/main/clip/clip.py{hub}, and put it there; `--models-dir DIR` or `NADA_MODELS` name another folder"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shipped, text, touch};
    use super::*;

    #[test]
    fn openais_names_mean_files_in_the_models_folder() {
        let (folder, models) = (shipped(), tempfile::tempdir().unwrap());
        let resolve =
            |asked: &str| resolve_clip_in(asked, Some(models.path()), Some(folder.path()));
        assert_eq!(resolve("clip-rn").unwrap(), folder.path().join("clip_rn.safetensors"));
        let message = text(&resolve("ViT-L/14@336px").unwrap_err());
        for part in [
            "ViT-L-14-336px.pt`",
            "ViT-L-14-336px.safetensors`",
            "openai/CLIP",
            "clip-vit-large-patch14-336",
        ] {
            assert!(message.contains(part), "{message}");
        }
        touch(&models.path().join("ViT-L-14-336px.safetensors"));
        assert!(resolve("vit-l-14-336px").unwrap().ends_with("ViT-L-14-336px.safetensors"));
        touch(&models.path().join("ViT-L-14-336px.pt"));
        assert!(resolve("ViT-L/14@336px").unwrap().ends_with("ViT-L-14-336px.pt"));
        let message = text(&resolve("ViT-B/23").unwrap_err());
        assert!(message.contains("did you mean `ViT-B/32`"), "{message}");
        assert!(message.contains("the shipped CLIP models are `clip-rn`, `clip-vit`"), "{message}");
        assert!(
            text(&resolve(folder.path().to_str().unwrap()).unwrap_err()).contains("is a folder")
        );
    }
}
