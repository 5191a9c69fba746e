//! The domains that were asked for, and the generator that they come from.

use crate::builtin::{self, RecordedBase};
use crate::error::{Error, Result};
use crate::models::GeneratorFiles;
use crate::run_dir::{RunDir, Weights, pictures, slug};
use std::collections::BTreeSet;
use std::path::Path;

/// Where runs lie unless somebody says otherwise.
const RUNS: &str = "runs";

/// A generator of a domain.
#[derive(Debug)]
pub(in crate::cli) struct Domain {
    /// As it was typed.
    pub(in crate::cli) name: String,
    pub(in crate::cli) files: GeneratorFiles,
    /// What people call it.
    pub(in crate::cli) label: String,
    /// What its pictures are called.
    pub(in crate::cli) file: String,
    /// The hash of what it was adapted from, where a run tells.
    pub(in crate::cli) base: Option<String>,
    /// What a run was adapted from: its record, and as it was typed.
    start: Option<(Weights, String)>,
}

/// The domains by what was typed, or all finished runs in `runs/`.
///
/// # Errors
/// [`Error::Request`] when there is none, or one that does not exist.
pub(in crate::cli) fn find(asked: &[String], labels: &[String]) -> Result<Vec<Domain>> {
    let names = if asked.is_empty() { finished_runs()? } else { asked.to_vec() };
    if !labels.is_empty() && labels.len() != names.len() {
        return Err(Error::request(
            format!("{} labels for {} domains", labels.len(), names.len()),
            "give `--label` once for each domain, in their order, or leave it out",
        ));
    }
    let mut taken: BTreeSet<String> =
        ["photo", "reconstruction", "strip", "loss"].map(String::from).into();
    let mut domains = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        let mut domain = open(name)?;
        if let Some(label) = labels.get(i) {
            domain.label.clone_from(label);
        }
        let base = Some(slug(&domain.label)).filter(|s| !s.is_empty());
        let base = base.unwrap_or_else(|| "domain".into());
        let free = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}-{n}")));
        domain.file = free.into_iter().find(|f| !taken.contains(f)).unwrap_or(base);
        taken.insert(domain.file.clone());
        domains.push(domain);
    }
    Ok(domains)
}

fn open(name: String) -> Result<Domain> {
    let files = builtin::resolve_generator(&name)?;
    let path = Path::new(&name);
    if !RunDir::is_run(path) {
        let label = path.file_stem().map_or(name.clone(), |s| s.to_string_lossy().into_owned());
        return Ok(Domain { name, files, label, file: String::new(), base: None, start: None });
    }
    let (config, manifest) = RunDir::open(path)?.read_config()?;
    let base = manifest.base();
    let asked = config.reference.as_ref().unwrap_or(&config.generator).clone();
    Ok(Domain {
        files,
        label: pictures::captions(&config).1,
        file: String::new(),
        base: base.map(|w| w.sha256.clone()),
        start: base.map(|w| (w.clone(), asked)),
        name,
    })
}

fn finished_runs() -> Result<Vec<String>> {
    let entries = std::fs::read_dir(RUNS).into_iter().flatten().flatten().map(|e| e.path());
    let mut runs: Vec<String> = entries
        .filter(|path| RunDir::is_run(path))
        .filter(|path| RunDir::open(path).is_ok_and(|run| run.is_finished()))
        .map(|path| path.display().to_string())
        .collect();
    runs.sort();
    if runs.is_empty() {
        return Err(Error::request(
            format!("there is no domain to translate into: `{RUNS}/` holds no finished run"),
            "make one, `nada adapt --source photo --target sketch`, or name some with `--domains`",
        ));
    }
    Ok(runs)
}

/// The generator that photos are inverted into: as it is called, and its files.
///
/// # Errors
/// [`Error::Request`] when the one that a run began with is not there any more.
pub(in crate::cli) fn source(
    asked: Option<&str>,
    domains: &[Domain],
) -> Result<(Option<String>, Option<GeneratorFiles>)> {
    if let Some(asked) = asked {
        return Ok((Some(asked.to_owned()), Some(builtin::resolve_generator(asked)?)));
    }
    let start = |domain: &'_ Domain| {
        let (weights, asked) = domain.start.as_ref()?;
        Some((asked.clone(), RecordedBase::new(Path::new(&domain.name), weights, asked).find(None)))
    };
    match domains.iter().find_map(start) {
        Some((name, files)) => Ok((Some(name), Some(files?))),
        None => Ok((None, None)),
    }
}
