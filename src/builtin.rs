//! What ships with the program, found from any working directory: presets (inside the binary) and models (beside it).

use crate::error::{Error, Result, near_names};
use crate::fetch;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

mod generator;
mod inversion;

pub use generator::{anchored_generator, base_of, resolve_generator, resolve_recorded};
pub use inversion::{detector_file, encoder_of, resolve_encoder};

/// `presets/*.yaml`, listed by `build.rs`: `default` first, then by name.
const PRESETS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// The generator that is meant when none is named.
pub const GENERATOR: &str = "faces128";
/// `presets/mapper/*.yaml`: settings of `nada mapper` and `nada edit mapper`.
const MAPPER_PRESETS: [(&str, &str); 4] = [
    ("default", include_str!("../presets/mapper/default.yaml")),
    ("edit", include_str!("../presets/mapper/edit.yaml")),
    ("reference", include_str!("../presets/mapper/reference.yaml")),
    ("styleclip", include_str!("../presets/mapper/styleclip.yaml")),
];

/// The file that tells a folder of shipped models from any other called `checkpoints`.
const SIGN: &str = "faces128.safetensors";

/// What finds faces in photos: no model that anybody names.
const DETECTOR: &str = "mtcnn";

/// Names of a CLIP's weights in the folders of Hugging Face's hub; the safe formats first.
const PUBLISHED_CLIP: [&str; 5] = [
    "model.safetensors",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "pytorch_model.bin",
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

/// Every preset with its YAML text.
pub fn presets() -> Vec<(&'static str, &'static str)> {
    PRESETS.to_vec()
}

/// The YAML text of a preset of `nada mapper`.
///
/// # Errors
/// As [`preset`].
pub fn mapper_preset(name: &str) -> Result<&'static str> {
    if let Some((_, text)) = MAPPER_PRESETS.iter().find(|(known, _)| *known == name) {
        return Ok(text);
    }
    let names = || MAPPER_PRESETS.iter().map(|(name, _)| *name);
    Err(Error::request(
        format!("there is no preset `{name}` of a mapper{}", did_you_mean(name, names())),
        format!("the presets of a mapper are {}", quoted(names())),
    ))
}

/// The YAML text of a preset.
///
/// # Errors
/// [`Error::Request`] with the names that there are, near ones first.
pub fn preset(name: &str) -> Result<&'static str> {
    if let Some((_, text)) = PRESETS.iter().find(|(known, _)| *known == name) {
        return Ok(text);
    }
    let names = || PRESETS.iter().map(|(name, _)| *name);
    Err(Error::request(
        format!("there is no preset `{name}`{}", did_you_mean(name, names())),
        format!("the presets are {}", quoted(names())),
    ))
}

/// The folder of the shipped models: `$NADA_CHECKPOINTS` (taken as it is), `checkpoints/` beside the executable or
/// one of the folders above it, `../share/nada/checkpoints` of an installation, or the source tree that this
/// executable was built from.
pub fn checkpoints_dir() -> Option<PathBuf> {
    let exe = std::env::current_exe().and_then(|exe| exe.canonicalize()).ok();
    find_checkpoints(
        std::env::var_os("NADA_CHECKPOINTS"),
        exe.as_deref(),
        Path::new(env!("CARGO_MANIFEST_DIR")),
    )
}

fn find_checkpoints(asked: Option<OsString>, exe: Option<&Path>, source: &Path) -> Option<PathBuf> {
    if let Some(asked) = asked.filter(|a| !a.is_empty()) {
        return Some(asked.into());
    }
    let above = exe.into_iter().flat_map(|exe| exe.ancestors().skip(1));
    let shared = exe.and_then(|exe| Some(exe.parent()?.parent()?.join("share/nada/checkpoints")));
    above
        .map(|folder| folder.join("checkpoints"))
        .chain(shared)
        .chain([source.join("checkpoints")])
        .find(|folder| folder.join(SIGN).is_file())
}

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

/// The file of a CLIP model: a shipped name (`./NAME` means a file of that name), a file, or one of OpenAI's names
/// (`ViT-B/32`, `RN50` …) or that of `nada fetch`, whose file lies in the models folder, see [`models_dir`].
///
/// # Errors
/// [`Error::Request`]: for one of OpenAI's models that is not there, with the paths that were tried and where the file
/// comes from; for anything else, with the names that there are.
pub fn resolve_clip(name_or_path: &str, models_dir: Option<&Path>) -> Result<PathBuf> {
    let models = self::models_dir(models_dir);
    resolve_clip_in(name_or_path, models.as_deref(), checkpoints_dir().as_deref())
}

fn resolve_clip_in(
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

/// The folder of models that the user has fetched: `asked` (`--models-dir`), else `$NADA_MODELS`, else `nada/models`
/// among the user's data (`~/.local/share`, or what the system uses instead).
pub fn models_dir(asked: Option<&Path>) -> Option<PathBuf> {
    find_models_dir(asked, |name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn find_models_dir(
    asked: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let home = |rest: &str| Some(PathBuf::from(variable("HOME")?).join(rest));
    let data = || {
        if cfg!(target_os = "macos") {
            home("Library/Application Support")
        } else if cfg!(windows) {
            variable("LOCALAPPDATA").map(PathBuf::from)
        } else {
            // The specification of XDG says to pass over relative paths.
            let asked = variable("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
            asked.or_else(|| home(".local/share"))
        }
    };
    asked
        .map(Path::to_path_buf)
        .or_else(|| variable("NADA_MODELS").map(PathBuf::from))
        .or_else(|| data().map(|folder| folder.join("nada/models")))
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
    use super::generator::{Folders, resolve_generator_in};
    use super::*;
    use crate::config::layering::Layered;

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
    fn every_preset_can_be_read_and_default_is_first() {
        assert_eq!(presets()[0].0, "default");
        for (name, text) in presets() {
            Layered::default().overlay_yaml(text, name).unwrap();
            assert_eq!(preset(name).unwrap(), text);
        }
        let message = text(&preset("defualt").unwrap_err());
        assert!(message.contains("did you mean `default`?"), "{message}");
    }

    #[test]
    fn checkpoints_are_found_above_the_executable_in_share_and_in_the_source() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        let exe = at("app/target/release/nada");
        let find = |asked: Option<&str>| {
            find_checkpoints(asked.map(Into::into), Some(&exe), &at("source"))
        };
        // A folder of that name with something else in it is passed over.
        touch(&at("app/target/checkpoints/other.pt"));
        assert_eq!(find(None), None);
        touch(&at("source/checkpoints").join(SIGN));
        assert_eq!(find(None), Some(at("source/checkpoints")));
        touch(&at("app/target/share/nada/checkpoints").join(SIGN));
        assert_eq!(find(None), Some(at("app/target/share/nada/checkpoints")));
        touch(&at("app/checkpoints").join(SIGN));
        assert_eq!(find(None), Some(at("app/checkpoints")));
        assert_eq!(find(Some("/elsewhere")), Some("/elsewhere".into()));
        assert_eq!(find(Some("")), Some(at("app/checkpoints")));
    }

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

    #[test]
    fn the_models_folder_is_the_flag_then_the_variable_then_the_users_data() {
        let variables = |set: &'static [(&str, &str)]| {
            move |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
        };
        let set = variables(&[("NADA_MODELS", "/m"), ("HOME", "/h")]);
        assert_eq!(find_models_dir(Some(Path::new("f")), set), Some("f".into()));
        assert_eq!(find_models_dir(None, set), Some("/m".into()));
        assert_eq!(find_models_dir(None, variables(&[])), None);
        #[cfg(target_os = "linux")]
        {
            let home = variables(&[("HOME", "/h")]);
            assert_eq!(find_models_dir(None, home), Some("/h/.local/share/nada/models".into()));
            let xdg = variables(&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")]);
            assert_eq!(find_models_dir(None, xdg), Some("/x/nada/models".into()));
        }
    }
}
