//! Where models lie: those that ship, and those that the user has fetched.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The file that tells a folder of shipped models from any other called `checkpoints`.
pub(super) const SIGN: &str = "faces128.safetensors";

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

#[cfg(test)]
mod tests {
    use super::super::tests::touch;
    use super::*;

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
