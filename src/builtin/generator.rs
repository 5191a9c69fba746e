//! Which files a generator's name stands for: `faces128`, `ffhq.pt`, `runs/sketch`, `faces128+sketch-delta.safetensors`.

use super::{
    can_be_fetched, checkpoints_dir, did_you_mean, fetched_file, models_dir, models_in, names_of,
    shipped_hint,
};
use crate::checkpoint::{Address, address};
use crate::error::{Error, Result};
use crate::fetch;
use crate::models::GeneratorFiles;
use crate::run_dir::RunDir;
use std::path::{Path, PathBuf};

/// Where names are looked up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folders<'a> {
    /// What ships with the program.
    pub(super) shipped: Option<&'a Path>,
    /// What the user has fetched.
    pub(super) models: Option<&'a Path>,
}

/// The files of a generator: a shipped name (`./NAME` means a file of that name), a file, the folder of a finished
/// run, the name of what `nada fetch` brought, or `BASE+DELTA`, where BASE is any of these and DELTA the delta file of a run, or its folder. A file whose own
/// name has a plus is that file. One of several networks in a file is named as `FILE#KEY`.
///
/// # Errors
/// [`Error::Request`] for a name or file that does not exist (with the shipped names), for a folder that is no run, and
/// for a run that has not finished.
pub fn resolve_generator(asked: &str) -> Result<GeneratorFiles> {
    let (shipped, models) = (checkpoints_dir(), models_dir(None));
    let folders = Folders { shipped: shipped.as_deref(), models: models.as_deref() };
    resolve_generator_in(asked, folders)
}

/// A generator's name that means the same in any folder: shipped names stay, paths become absolute.
///
/// # Errors
/// [`Error::Request`] as [`resolve_generator`].
pub fn anchored_generator(asked: &str) -> Result<String> {
    let absolute = |path: &Path| address::canonical(path).unwrap_or_else(|_| path.to_path_buf());
    let parts = split(
        asked,
        Folders { shipped: checkpoints_dir().as_deref(), models: models_dir(None).as_deref() },
    )?;
    let base = match shipped(Address::of_name(parts.base).0, checkpoints_dir().as_deref()) {
        Some(_) => parts.base.to_owned(),
        None => absolute(Path::new(parts.base)).display().to_string(),
    };
    let deltas = parts.deltas.iter().map(|delta| format!("+{}", absolute(delta).display()));
    Ok(base + &deltas.collect::<String>())
}

/// What stands before the deltas: `faces128` of `faces128+a.safetensors`.
pub fn base_of(asked: &str) -> &str {
    split(
        asked,
        Folders { shipped: checkpoints_dir().as_deref(), models: models_dir(None).as_deref() },
    )
    .map_or(asked, |parts| parts.base)
}

/// A name taken apart; the base is not looked at yet.
struct Parts<'a> {
    base: &'a str,
    deltas: Vec<PathBuf>,
}

pub(super) fn resolve_generator_in(asked: &str, folders: Folders<'_>) -> Result<GeneratorFiles> {
    let parts = split(asked, folders)?;
    Ok(GeneratorFiles { base: whole(parts.base, folders)?, deltas: parts.deltas })
}

/// Takes deltas off the end as long as the rest is nothing by itself.
fn split<'a>(asked: &'a str, folders: Folders<'_>) -> Result<Parts<'a>> {
    if shipped(asked, folders.shipped).is_some() || Path::new(asked).exists() {
        return Ok(Parts { base: asked, deltas: Vec::new() });
    }
    // File names may have pluses, too: from the right, the first one with something behind it.
    let pluses = || asked.rmatch_indices('+').map(|(at, _)| (&asked[..at], &asked[at + 1..]));
    let found =
        pluses().find(|(base, delta)| !base.is_empty() && address::exists(Path::new(delta)));
    if let Some((base, delta)) = found {
        let mut parts = split(base, folders)?;
        parts.deltas.push(delta_file(Path::new(delta))?);
        return Ok(parts);
    }
    // Only where the base is something, the plus was meant as one.
    let meant = pluses().find(|(base, _)| {
        split(base, folders).is_ok_and(|parts| whole(parts.base, folders).is_ok())
    });
    match meant {
        Some((base, delta)) => Err(Error::request(
            format!("there is no delta `{delta}` to put upon `{base}`"),
            "behind the plus, name the `delta.safetensors` of a run, or the run's folder",
        )),
        None => Ok(Parts { base: asked, deltas: Vec::new() }),
    }
}

/// The delta file of a run, or the file itself.
fn delta_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.into());
    }
    Ok(RunDir::open_finished(path)?.delta_file())
}

fn shipped(asked: &str, folder: Option<&Path>) -> Option<PathBuf> {
    let found =
        models_in(folder).into_iter().find(|m| m.kind == fetch::Kind::Generator && m.name == asked);
    found.map(|model| model.path)
}

/// The file of a generator that is whole by itself.
fn whole(asked: &str, folders: Folders<'_>) -> Result<PathBuf> {
    let (asked, key) = Address::of_name(asked);
    Ok(Address::joined(whole_file(asked, folders)?, key))
}

fn whole_file(asked: &str, folders: Folders<'_>) -> Result<PathBuf> {
    if let Some(path) = shipped(asked, folders.shipped) {
        return Ok(path);
    }
    let path = Path::new(asked);
    if RunDir::is_run(path) {
        return Ok(RunDir::open_finished(path)?.generator_file());
    }
    if path.is_dir() {
        return Err(Error::request(
            format!("`{asked}` is a folder, and no run: it holds no `config.yaml`"),
            "name a file of weights, or the folder that `nada adapt` wrote",
        ));
    }
    if path.exists() {
        return Ok(path.into());
    }
    if let Some(file) = fetched_file(asked, folders.models) {
        return Ok(file);
    }
    can_be_fetched(asked, fetch::Kind::Generator)?;
    let models = models_in(folders.shipped);
    let names = names_of(&models, fetch::Kind::Generator);
    let near = did_you_mean(asked, names.iter().copied());
    Err(Error::request(
        format!("`{asked}` is no shipped generator, and there is no such file or run{near}"),
        shipped_hint("generators", &names, folders.shipped),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SHIPPED, shipped, text, touch};
    use super::*;

    fn only(shipped: Option<&Path>) -> Folders<'_> {
        Folders { shipped, models: None }
    }
    use crate::run_dir::Manifest;

    #[test]
    fn a_generator_is_a_shipped_name_a_file_or_a_finished_run() {
        let folder = shipped();
        let resolve = |asked: &str| resolve_generator_in(asked, only(Some(folder.path())));
        assert_eq!(resolve("faces128").unwrap(), folder.path().join(SHIPPED).into());
        let file = folder.path().join("README.md");
        assert_eq!(resolve(file.to_str().unwrap()).unwrap(), file.into());

        let run = RunDir::create(folder.path().join("runs/a")).unwrap();
        run.write_config(&crate::config::Config::default(), &Manifest::new()).unwrap();
        let asked = run.path().to_str().unwrap();
        let message = text(&resolve(asked).unwrap_err());
        assert!(message.contains("has not finished") && message.contains("--resume"), "{message}");
        touch(&run.generator_file());
        assert_eq!(resolve(asked).unwrap(), run.generator_file().into());
        // Behind a plus a run stands for what it changed.
        let both = resolve(&format!("faces128+{asked}")).unwrap();
        assert_eq!(both.base, folder.path().join(SHIPPED));
        assert_eq!(both.deltas, [run.delta_file()]);

        let message = text(&resolve(folder.path().to_str().unwrap()).unwrap_err());
        assert!(message.contains("is a folder, and no run"), "{message}");
    }

    #[test]
    fn a_plus_joins_unless_a_file_has_it_in_its_name() {
        let folder = shipped();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let resolve = |asked: &str| resolve_generator_in(asked, only(Some(folder.path())));
        for name in ["a.st", "b.st", "c+d.st"] {
            touch(&folder.path().join(name));
        }
        let joined = |base: &str, deltas: &[&str]| GeneratorFiles {
            base: base.into(),
            deltas: deltas.iter().map(|delta| at(delta).into()).collect(),
        };
        let two = format!("faces128+{}+{}", at("a.st"), at("b.st"));
        assert_eq!(resolve(&two).unwrap(), joined(&at(SHIPPED), &["a.st", "b.st"]));
        let plus = format!("{}+{}", at("c+d.st"), at("a.st"));
        assert_eq!(resolve(&plus).unwrap(), joined(&at("c+d.st"), &["a.st"]));
        let plus = format!("faces128+{}", at("c+d.st"));
        assert_eq!(resolve(&plus).unwrap(), joined(&at(SHIPPED), &["c+d.st"]));
        let message = text(&resolve("faces128+nowhere.st").unwrap_err());
        assert!(
            message.contains("there is no delta `nowhere.st` to put upon `faces128`"),
            "{message}"
        );
        let message = text(&resolve("nothing+nowhere.st").unwrap_err());
        assert!(message.contains("`nothing+nowhere.st` is no shipped generator"), "{message}");
        let message = text(&resolve(&format!("nothing+{}", at("a.st"))).unwrap_err());
        assert!(message.contains("`nothing` is no shipped generator"), "{message}");
    }

    #[test]
    fn an_unknown_generator_is_told_with_the_shipped_names() {
        let folder = shipped();
        let message =
            text(&resolve_generator_in("face128", only(Some(folder.path()))).unwrap_err());
        assert!(
            message.contains("there is no such file or run; did you mean `faces128`?"),
            "{message}"
        );
        assert!(message.ends_with("the shipped generators are `faces128`"), "{message}");
        // A CLIP is no generator.
        assert!(resolve_generator_in("clip-rn", only(Some(folder.path()))).is_err());
        let message = text(&resolve_generator_in("faces128", only(None)).unwrap_err());
        assert!(message.contains("NADA_CHECKPOINTS"), "{message}");
    }
}
