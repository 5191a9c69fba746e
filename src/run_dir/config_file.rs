//! `config.yaml`: what was asked for, and what it was made with.
//!
//! One file, two readers. The YAML is the resolved [`Config`] and nothing else, so that `--config config.yaml` takes
//! it. The [`Manifest`] stands in comment lines marked `#|`: YAML readers pass over them, [`read`] does not.

use super::RunDir;
use crate::atomic;
use crate::checkpoint;
use crate::config::{Config, MapperConfig};
use crate::error::{Error, Result};
use crate::regular;
use crate::torch::LIBTORCH_VERSION;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_yaml::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The version of tch in Cargo.toml.
pub const TCH_VERSION: &str = "0.24.0";

const MARK: &str = "#|";

/// What a run was made with: enough to know later why two runs differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// Version of this program.
    pub nada: String,
    /// Version of the Rust binding.
    pub tch: String,
    /// Version of libtorch that the program was built for.
    pub libtorch: String,
    /// The device that `auto` became.
    pub device: String,
    /// CPU threads really used.
    pub threads: usize,
    /// Operating system and processor: `linux x86_64`.
    pub platform: String,
    /// When the run began, RFC 3339, UTC.
    pub started: String,
    /// Where the average style of the start generator comes from: `stored` or `estimated`.
    pub latent_avg: String,
    /// Numbers that may change in this run.
    pub trained_parameters: u64,
    /// Every file of weights that was read.
    pub weights: Vec<Weights>,
    /// What the user was warned of at the start.
    pub warnings: Vec<String>,
}

impl Manifest {
    /// What is the same for every run of this build, begun now. The rest is the caller's.
    pub fn new() -> Self {
        Self {
            nada: env!("CARGO_PKG_VERSION").into(),
            tch: TCH_VERSION.into(),
            libtorch: LIBTORCH_VERSION.into(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            started: super::rfc3339(SystemTime::now()),
            ..Self::default()
        }
    }

    /// The generator that the run is held against: the frozen twin if it was another one, else the start.
    pub fn base(&self) -> Option<&Weights> {
        self.role("reference").or_else(|| self.role("generator"))
    }

    /// The first file that was read as a `role`.
    pub fn role(&self, role: &str) -> Option<&Weights> {
        self.weights.iter().find(|w| w.role == role)
    }
}

/// A file of weights, told apart by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// `generator`, `reference` or `clip`.
    pub role: String,
    /// Where it was, absolute.
    pub path: PathBuf,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Weights {
    /// A file whose hash is known.
    pub fn new(role: &str, path: &Path, sha256: String) -> Self {
        let path = checkpoint::address::canonical(path).unwrap_or_else(|_| path.to_path_buf());
        Self { role: role.into(), path, sha256 }
    }

    /// Reads the file to hash it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn of_file(role: &str, path: &Path) -> Result<Self> {
        Ok(Self::new(role, path, checkpoint::sha256(path)?))
    }
}

/// The configuration of a kind of run.
pub trait Recorded: Clone + Serialize + DeserializeOwned {
    /// The command that makes and continues such runs.
    const COMMAND: &'static str;
    /// The value of the key `run` in the file, by which the kinds are told apart; adaptations have no such key.
    const KIND: Option<&'static str>;

    /// With everything reset that may change when a run continues: its length, outputs, device and threads.
    #[must_use]
    fn decisive(&self) -> Self;
}

impl Recorded for Config {
    const COMMAND: &'static str = "adapt";
    const KIND: Option<&'static str> = None;

    fn decisive(&self) -> Self {
        let free = Self::default();
        let mut config = self.clone();
        config.train.iterations = free.train.iterations;
        Self {
            about: free.about,
            output: free.output,
            device: free.device,
            threads: free.threads,
            ..config
        }
    }
}

impl Recorded for MapperConfig {
    const COMMAND: &'static str = "mapper";
    const KIND: Option<&'static str> = Some("mapper");

    fn decisive(&self) -> Self {
        let free = Self::default();
        let mut config = self.clone();
        config.train.iterations = free.train.iterations;
        Self {
            about: free.about,
            judge: free.judge,
            output: free.output,
            device: free.device,
            threads: free.threads,
            ..config
        }
    }
}

impl RunDir {
    /// Writes `config.yaml`: once at the start, and again when a resumed run changes what may be changed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_config<C: Recorded>(&self, config: &C, manifest: &Manifest) -> Result<()> {
        let path = self.config_file();
        let yaml = |text: serde_yaml::Result<String>| text.map_err(|e| Error::file(&path, e));
        let mut text = format!(
            "# A run of nada: what was asked for, every default made explicit.\n\
             # Continue it:      nada {command} --resume DIR          (DIR: this folder)\n\
             # Repeat it:        nada {command} --config config.yaml --out ANOTHER\n\
             # Lines marked {MARK} record what it was made with. nada reads them back; changing them changes nothing.\n",
            command = C::COMMAND
        );
        for line in yaml(serde_yaml::to_string(manifest))?.lines() {
            text.push_str(format!("{MARK} {line}").trim_end());
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&yaml(serde_yaml::to_string(config))?);
        atomic::write(&path, text)
    }

    /// Reads `config.yaml` of an adaptation back.
    ///
    /// # Errors
    /// As [`RunDir::read_config_of`].
    pub fn read_config(&self) -> Result<(Config, Manifest)> {
        self.read_config_of()
    }

    /// Reads `config.yaml` back.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Request`] for a run of another kind; [`Error::File`] with line and column when it was
    /// damaged.
    pub fn read_config_of<C: Recorded>(&self) -> Result<(C, Manifest)> {
        read(&self.config_file())
    }
}

/// The configuration and manifest in a `config.yaml`.
///
/// # Errors
/// As [`RunDir::read_config_of`].
pub fn read<C: Recorded>(path: &Path) -> Result<(C, Manifest)> {
    let text = regular::text(path, "a configuration")?;
    let kind = serde_yaml::from_str::<Value>(&text).ok();
    let kind = kind.as_ref().and_then(|file| file.get("run")?.as_str());
    if kind != C::KIND && (kind.is_none() || kind == MapperConfig::KIND) {
        let name = path.parent().unwrap_or(path).display();
        let [found, wanted] = [kind, C::KIND].map(|kind| match kind {
            Some(_) => "a mapper",
            None => "an adaptation",
        });
        return Err(Error::request(
            format!("`{name}` is the run of {found}, that of {wanted} is needed"),
            format!("runs of `nada {}` can be used here", C::COMMAND),
        ));
    }
    let config = serde_yaml::from_str(&text).map_err(|e| Error::file(path, e))?;
    let marked: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(MARK))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    if marked.is_empty() {
        return Err(Error::file(
            path,
            format!("holds no record of versions and hashes (lines marked {MARK})"),
        ));
    }
    let manifest = serde_yaml::from_str(&marked.join("\n"))
        .map_err(|e| Error::file(path, format!("in the lines marked {MARK}: {e}")))?;
    Ok((config, manifest))
}

/// Whether a run made with `saved` may continue with `wanted`.
///
/// # Errors
/// [`Error::Config`] that lists every key that differs and may not.
pub fn check_resumable<C: Recorded>(saved: &C, wanted: &C) -> Result<()> {
    let (mut before, mut now) = (Vec::new(), Vec::new());
    for (config, leaves) in [(saved, &mut before), (wanted, &mut now)] {
        let tree = serde_yaml::to_value(config.decisive())
            .map_err(|e| Error::request(e.to_string(), "use paths that are valid UTF-8"))?;
        flatten("", &tree, leaves);
    }
    let problems: Vec<String> = before
        .iter()
        .zip(&now)
        .filter(|(before, now)| before != now)
        .map(|((key, before), (_, now))| {
            format!("`{key}` was {before}, now {now}: a run continues as it began")
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::Config { origin: "this run cannot be resumed so".into(), problems })
}

/// Every leaf with its key path. Two trees of one schema give the same keys.
fn flatten(path: &str, value: &Value, leaves: &mut Vec<(String, String)>) {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                let key = key.as_str().unwrap_or("?");
                let path = if path.is_empty() { key.into() } else { format!("{path}.{key}") };
                flatten(&path, value, leaves);
            }
        }
        // JSON keeps lists and strings on one line.
        leaf => leaves.push((path.to_owned(), serde_json::to_string(leaf).unwrap_or_default())),
    }
}

/// SHA-256 of all that may not change when a run continues.
pub fn config_hash<C: Recorded>(config: &C) -> String {
    let mut leaves = Vec::new();
    let tree = serde_yaml::to_value(config.decisive()).unwrap_or_default();
    flatten("", &tree, &mut leaves);
    let mut hasher = Sha256::new();
    for (key, value) in leaves {
        hasher.update(format!("{key}: {value}\n"));
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
