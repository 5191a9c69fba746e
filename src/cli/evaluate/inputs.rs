//! A run and what was typed → generators, judges and phrases.

use super::EvaluateArgs;
use super::reference::References;
use crate::builtin::{self, RecordedBase};
use crate::checkpoint::address;
use crate::cli::printer::Printer;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::evaluate::{Evaluation, Judge, Pairs, phrases};
use crate::models::{self, Origin};
use crate::regular;
use crate::run_dir::{Manifest, RunDir, Weights};
use crate::torch;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// What is known before anything is loaded.
pub(super) struct Inputs {
    pub(super) run: RunDir,
    config: Config,
    manifest: Manifest,
    source: String,
    target: String,
    /// Given ones; else the judges are asked, or the usual ones taken.
    phrases: Option<Vec<String>>,
}

/// Everything, ready to look.
pub(super) struct Loaded {
    pub(super) pairs: Pairs,
    pub(super) evaluation: Evaluation,
    pub(super) references: Option<References>,
    pub(super) weights: Vec<Weights>,
    pub(super) warnings: Vec<String>,
    pub(super) psi: f64,
    pub(super) device: String,
}

impl Inputs {
    /// Reads the run's record and refuses what can be refused at once.
    pub(super) fn find(args: &EvaluateArgs) -> Result<Self> {
        let run = RunDir::open_finished(&args.run)?;
        let (config, manifest) = run.read_config()?;
        let phrase = |asked: &Option<String>, own: &str, name: &str| {
            let phrase = asked.clone().unwrap_or_else(|| own.to_owned()).trim().to_owned();
            if phrase.is_empty() {
                return Err(Error::request(
                    format!("this run has no {name} phrase"),
                    format!("say in words what its {name} shows: `--{name} \"…\"`"),
                ));
            }
            Ok(phrase)
        };
        let source = phrase(&args.source, &config.source, "source")?;
        let target = phrase(&args.target, &config.target, "target")?;
        if source.to_lowercase() == target.to_lowercase() {
            return Err(Error::request(
                format!("the source and the target are the same: \"{source}\""),
                "choose phrases that differ in more than case or spaces",
            ));
        }
        let phrases = args.phrases.as_deref().map(read_phrases).transpose()?;
        Ok(Self { run, config, manifest, source, target, phrases })
    }

    /// How long the training took, if its metrics are still there.
    pub(super) fn training_seconds(&self) -> Option<f64> {
        let records = self.run.read_metrics().ok().filter(|records| !records.is_empty())?;
        Some(records.iter().map(|r| r.seconds).filter(|s| s.is_finite()).sum())
    }

    /// Loads the models.
    pub(super) fn load(&self, args: &EvaluateArgs, printer: &Printer) -> Result<Loaded> {
        let references = args.reference.as_deref().map(References::list).transpose()?;
        let device = args.machine.device()?;
        let mut warnings = Vec::new();
        let mut weights = Vec::new();

        let base = RecordedBase::base(self.run.path(), &self.config, &self.manifest);
        let base = base.ok_or_else(|| {
            Error::file(self.run.config_file(), "does not say what the run began with")
        })?;
        let files = base.find(args.generator.as_deref())?;
        let class = self.config.class.map(i64::from);
        let (source, origin) = models::open_generator_of_class(&files, class, Kind::Float, device)?;
        if origin.sha256 != base.sha256 {
            warnings.push(format!("`{files}` has changed since the run"));
        }
        weights.push(Weights::new("source", &origin.path, origin.sha256));
        let path = self.run.generator_file();
        let (adapted, origin) = models::open_generator(&path, Kind::Float, device)?;
        weights.push(Weights::new("adapted", &path, origin.sha256));
        let psi = args.truncation.unwrap_or(self.config.output.sample_truncation);
        let shares_mapping = !self.config.layers.mapping;
        let pairs = Pairs::new(source, adapted, psi, args.seed, shares_mapping)?;

        let (judges, phrases) = self.judges(args, device, &mut weights, printer)?;
        let evaluation = Evaluation::new(judges, phrases)?;
        let device = torch::device_name(device);
        Ok(Loaded { pairs, evaluation, references, weights, warnings, psi, device })
    }

    /// The judges, each once, and the phrases that they have read.
    fn judges(
        &self,
        args: &EvaluateArgs,
        device: Device,
        weights: &mut Vec<Weights>,
        printer: &Printer,
    ) -> Result<(Vec<Judge>, Vec<String>)> {
        let guides: Vec<&Weights> =
            self.manifest.weights.iter().filter(|w| w.role == "clip").collect();
        let own: Vec<String> = self.config.clip.iter().map(|c| c.model.clone()).collect();
        let asked = if args.clip.is_empty() { &own } else { &args.clip };
        let mut opened: Vec<(String, bool, crate::clip::Clip, Origin)> = Vec::new();
        for (i, name) in asked.iter().enumerate() {
            let recorded =
                guides.get(i).filter(|w| args.clip.is_empty() && address::exists(&w.path));
            let path: PathBuf = match recorded {
                Some(weights) => weights.path.clone(),
                None => builtin::resolve_clip(name, args.models_dir.as_deref())?,
            };
            let (clip, origin) = models::open_clip(&path, Kind::Float, device)?;
            origin.notes.iter().for_each(|note| printer.warn(note));
            if opened.iter().any(|(.., other)| other.sha256 == origin.sha256) {
                continue;
            }
            let guided = guides.iter().any(|w| w.sha256 == origin.sha256);
            let name = display_name(name, opened.iter().map(|(name, ..)| name.as_str()));
            opened.push((name, guided, clip, origin));
        }
        let others = self.phrases.clone().unwrap_or_else(|| {
            let read = opened.iter().filter_map(|(_, _, clip, _)| clip.vocabulary());
            let known: Vec<String> =
                read.flat_map(|v| v.phrases().map(str::to_owned).collect::<Vec<_>>()).collect();
            if known.is_empty() { phrases::USUAL.map(str::to_owned).into() } else { known }
        });
        let phrases = phrases::around(&self.source, &self.target, others);
        let mut judges = Vec::new();
        for (name, guided, clip, origin) in opened {
            printer.detail(&format!("`{name}` reads {} phrases", phrases.len()));
            judges.push(Judge::new(&name, guided, clip, &phrases)?);
            weights.push(Weights::new("judge", &origin.path, origin.sha256));
        }
        Ok((judges, phrases))
    }
}

/// A name as it stands, a path by its file; a second one of the same name gets a number.
fn display_name<'a>(asked: &str, taken: impl Iterator<Item = &'a str>) -> String {
    let path = Path::new(asked);
    let stem = path.file_stem().filter(|_| path.is_absolute() || path.is_file());
    let name = stem.map_or(asked.to_owned(), |stem| stem.to_string_lossy().into_owned());
    let taken: Vec<&str> = taken.collect();
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken.contains(&name.as_str()))
        .unwrap_or(name)
}

/// Phrases from a file with one per line (`#` begins a remark), or from a list with commas.
fn read_phrases(asked: &str) -> Result<Vec<String>> {
    let path = Path::new(asked);
    let clean = |words: Vec<&str>| -> Vec<String> {
        words.into_iter().map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect()
    };
    let found = if path.exists() {
        let text = regular::text(path, "a list of phrases")?;
        clean(text.lines().map(|line| line.split('#').next().unwrap_or_default()).collect())
    } else if asked.contains(',') {
        clean(asked.split(',').collect())
    } else {
        return Err(Error::request(
            format!("`--phrases {asked}`: there is no such file, and it is no list"),
            "name a file with one phrase per line, or write them with commas: `--phrases photo,sketch,anime`",
        ));
    };
    if found.is_empty() {
        return Err(Error::request(
            format!("`--phrases {asked}` holds no phrase"),
            "write one phrase per line, or several with commas",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_come_from_lists_and_files() {
        assert_eq!(read_phrases(" a b ,c,,").unwrap(), ["a b", "c"]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("phrases.txt");
        std::fs::write(&file, "# styles\nphoto\n\npop art # loud\n").unwrap();
        assert_eq!(read_phrases(file.to_str().unwrap()).unwrap(), ["photo", "pop art"]);
        for wrong in ["phrases.txt", ",", "sketch"] {
            assert_eq!(read_phrases(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn judges_have_names_of_their_own() {
        assert_eq!(display_name("ViT-B/32", [].into_iter()), "ViT-B/32");
        assert_eq!(display_name("/m/mine.pt", ["mine"].into_iter()), "mine-2");
    }
}
