//! `nada inspect`: what a file of weights or a run holds, without loading it.

mod networks;

use super::printer::{Printer, harmless, table};
use crate::builtin;
use crate::checkpoint::{self, Address, Checkpoint, Entry, Network, NotFinite, Salvage};
use crate::clip::vocabulary::{PHRASES_KEY, WORDS_KEY};
use crate::error::{Error, Result};
use crate::models::{self, GeneratorFiles};
use crate::run_dir::RunDir;
use crate::torch;
use clap::Args;
use networks::{clip_facts, encoder_facts, generator_facts, or_problems, shape_facts};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tch::Kind;

/// What may be typed behind `nada inspect`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada inspect ffhq.pt
  nada inspect runs/sketch
  nada inspect clip-rn --tensors --json")]
pub(super) struct InspectArgs {
    /// A checkpoint file, the folder of a run, a shipped name, or BASE+DELTA
    #[arg(value_name = "FILE|RUN")]
    what: String,
    /// List all tensors: name, type, shape
    #[arg(long)]
    tensors: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tensors of a damaged file that are named as lost, unless all tensors are asked for.
const LOST: usize = 5;
/// The numbers of more bytes are not counted.
const MAX_COUNTED: u64 = 4 << 30;
/// Columns that a list of phrases fills.
const WIDTH: usize = 96;

/// Facts in the order in which they are shown.
type Facts = Vec<(&'static str, Value)>;

/// Runs the command.
pub(super) fn run(args: &InspectArgs, printer: &Printer) -> anyhow::Result<()> {
    let (name, key) = Address::of_name(&args.what);
    let shipped = builtin::models().into_iter().find(|m| m.name == name);
    let path = shipped.map_or_else(|| args.what.clone().into(), |m| Address::joined(m.path, key));
    let path = if path.is_dir() && !RunDir::is_run(&path) {
        // As Hugging Face and open_clip publish them.
        builtin::resolve_clip(&args.what, None).unwrap_or(path)
    } else {
        path
    };
    let mut broken = None;
    let facts = if RunDir::is_run(&path) {
        if args.tensors {
            return Err(Error::request(
                "`--tensors` lists what a file holds, and this is the folder of a run",
                format!(
                    "try `nada inspect {} --tensors`",
                    path.join("generator.safetensors").display()
                ),
            )
            .into());
        }
        run_facts(&RunDir::open(&path)?)?
    } else if let Some(files) = joined(&args.what)? {
        joined_facts(&files)?
    } else {
        if path.is_dir() {
            // Says what was looked for.
            RunDir::open(&path)?;
        }
        match checkpoint::open(&path) {
            Ok(file) => file_facts(&file, args.tensors, true)?,
            Err(error) => match checkpoint::salvage(&path) {
                Some(found) => {
                    broken = Some(error);
                    salvaged_facts(&found, args.tensors)?
                }
                None => return Err(error.into()),
            },
        }
    };
    let text = if args.json {
        let map: serde_json::Map<String, Value> =
            facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        serde_json::to_string_pretty(&Value::Object(map))?
    } else {
        harmless(&shown(&facts)).into_owned()
    };
    printer.data(&text)?;
    broken.map_or(Ok(()), |error| Err(error.into()))
}

/// What is left of a damaged file, and what is not.
fn salvaged_facts(found: &Salvage, with_tensors: bool) -> Result<Facts> {
    let mut facts = file_facts(&found.checkpoint, with_tensors, false)?;
    let (lost, all) = (found.lost.len(), found.checkpoint.entries.len());
    facts.push(("whole_tensors", json!(format!("{} of {all}", all - lost))));
    let shown = if with_tensors { lost } else { lost.min(LOST) };
    let mut names: Vec<String> = found.lost[..shown].to_vec();
    if shown < lost {
        names.push(format!("and {} more", lost - shown));
    }
    facts.push(("lost", json!(names)));
    Ok(facts)
}

/// The files of `BASE+DELTA`; `None` for anything else.
fn joined(what: &str) -> Result<Option<GeneratorFiles>> {
    if !what.contains('+') || Path::new(what).exists() {
        return Ok(None);
    }
    let files = builtin::resolve_generator(what)?;
    Ok(Some(files).filter(|files| !files.deltas.is_empty()))
}

/// What a base and the deltas upon it make; opened, so that their hashes are compared.
fn joined_facts(files: &GeneratorFiles) -> Result<Facts> {
    let stored = models::read_generator(files, None)?;
    let mut facts: Facts = vec![
        ("file", json!(files.base)),
        ("deltas", json!(files.deltas)),
        ("sha256", json!(stored.origin.sha256)),
    ];
    facts.extend(shape_facts(stored.config, &torch::shapes(&stored.tensors))?);
    facts.extend(stored.not_finite.note().map(|note| ("warnings", json!([note]))));
    facts.push(("metadata", json!(stored.origin.metadata)));
    Ok(facts)
}

/// Which numbers of these tensors are NaN or infinite, or why that is not known. The file was read as a whole for its
/// hash already; only what no network of this program comes near is left unread.
fn not_finite(entries: &BTreeMap<String, Entry>) -> Option<String> {
    let bytes = entries.values().map(|entry| entry.byte_len() as u64).sum::<u64>();
    if bytes > MAX_COUNTED {
        return Some(format!(
            "whether all numbers are finite was not looked at: they have {} GiB",
            bytes >> 30
        ));
    }
    let mut found = NotFinite::default();
    let look = |(name, entry): (&String, &Entry)| found.look(name, &entry.tensor()?);
    match entries.iter().try_for_each(look) {
        Ok(()) => found.note(),
        Err(error) => Some(error.to_string()),
    }
}

/// What a file holds; of a damaged one, no number is read.
fn file_facts(file: &Checkpoint, with_tensors: bool, whole: bool) -> Result<Facts> {
    let contents = checkpoint::recognise(file);
    let mut facts: Facts = vec![
        ("file", json!(file.path)),
        ("bytes", json!(file.bytes)),
        ("sha256", json!(checkpoint::sha256(&file.path)?)),
        ("container", json!(file.container.to_string())),
        ("holds", json!(contents.to_string())),
    ];
    if contents.parts.len() > 1 {
        facts.push(("networks", networks::part_facts(&file.path, &contents)));
    }
    let is_delta = file.is_delta();
    if is_delta {
        facts.retain(|(name, _)| !["holds", "networks"].contains(name));
        facts.push((
            "holds",
            json!("the tensors of an adapted generator that differ from its base"),
        ));
    }
    let mut entries = None;
    match contents.network() {
        Network::Generator if is_delta => {}
        Network::Generator => {
            let named = checkpoint::generator(file);
            entries = named.as_ref().ok().map(|named| named.entries.clone());
            facts.extend(or_problems(named, generator_facts));
        }
        Network::Clip => {
            let named = checkpoint::clip(file);
            entries = named.as_ref().ok().map(|named| named.entries.clone());
            facts.extend(or_problems(named, |named| clip_facts(file, named)));
        }
        Network::Encoder => {
            let named = checkpoint::encoder(file);
            entries = named.as_ref().ok().map(|(named, _)| named.entries.clone());
            facts.extend(or_problems(named, encoder_facts));
        }
        _ => {}
    }
    if whole {
        let warning = not_finite(entries.as_ref().unwrap_or(&file.entries));
        facts.extend(warning.map(|warning| ("warnings", json!([warning]))));
    }
    facts.push(("numbers", json!(file.entries.values().map(Entry::numel).sum::<usize>())));
    if !file.metadata.is_empty() {
        facts.push(("metadata", json!(file.metadata)));
    }
    if with_tensors {
        let tensor = |(name, entry): (&String, &Entry)| json!({ "name": name, "dtype": dtype(entry), "shape": entry.shape() });
        facts.push(("tensors", file.entries.iter().map(tensor).collect()));
        if !file.others.is_empty() {
            facts.push(("others", json!(file.others)));
        }
    }
    Ok(facts)
}

fn run_facts(run: &RunDir) -> Result<Facts> {
    let (config, manifest) = run.read_config()?;
    let records = run.read_metrics()?;
    let last = records.last();
    let steps = last.map_or(0, |r| r.step + 1);
    let mut facts: Facts = vec![
        ("run", json!(run.path())),
        ("source", json!(config.source)),
        ("target", json!(config.target)),
        ("target_images", json!(config.target_images)),
        ("generator", json!(config.generator)),
        ("reference", json!(config.reference)),
        (
            "clip",
            config.clip.iter().map(|c| json!({ "model": c.model, "weight": c.weight })).collect(),
        ),
        ("layers", json!(config.layers.choose)),
        ("seed", json!(config.seed)),
        ("iterations", json!(config.train.iterations)),
        ("steps", json!(steps)),
        ("finished", json!(run.is_finished())),
        ("snapshots", json!(file_names(&run.snapshots_dir()))),
        ("samples", json!(file_names(&run.samples_dir()))),
    ];
    if let Some(last) = last {
        // JSON knows no NaN: serde writes null.
        facts.push(("loss", json!(last.loss)));
        facts.push(("terms", json!(last.terms)));
        let seconds: f64 = records.iter().map(|r| r.seconds).filter(|s| s.is_finite()).sum();
        facts.push(("seconds_per_step", json!(seconds / records.len() as f64)));
    }
    if run.is_finished() {
        facts.push(("result", json!(run.generator_file())));
        facts.push(("result_sha256", json!(checkpoint::sha256(run.generator_file())?)));
    }
    facts.push(("weights", json!(manifest.weights)));
    if !manifest.warnings.is_empty() {
        facts.push(("warnings", json!(manifest.warnings)));
    }
    let mut manifest = json!(manifest);
    if let Some(manifest) = manifest.as_object_mut() {
        // They stand above.
        manifest.remove("weights");
        manifest.remove("warnings");
    }
    facts.push(("manifest", manifest));
    facts.retain(|(_, value)| !value.is_null());
    Ok(facts)
}

/// Names of the files in a folder, sorted; without those being written.
fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// The element type as PyTorch calls it.
fn dtype(entry: &Entry) -> String {
    match entry.kind() {
        Kind::Half => "float16".into(),
        Kind::Float => "float32".into(),
        Kind::Double => "float64".into(),
        Kind::Int => "int32".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Facts for people: a line each, lists of things as tables below.
fn shown(facts: &Facts) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (name, value) in facts {
        let name = name.replace('_', " ");
        let below: Vec<Vec<String>> = match value {
            Value::Array(items) if items.iter().any(Value::is_object) => columns(items),
            Value::Array(groups) if name == "phrases" => {
                let names = groups.iter().map(|group| group.as_array().map_or(&[][..], |n| n));
                let name =
                    |names: &[Value]| names.iter().map(words).collect::<Vec<_>>().join(" = ");
                wrapped(&names.map(name).collect::<Vec<_>>(), WIDTH)
                    .into_iter()
                    .map(|line| vec![line])
                    .collect()
            }
            Value::Array(items) if name == "problems" || name == "warnings" => {
                items.iter().map(|item| vec![words(item)]).collect()
            }
            Value::Object(map) => {
                let pair = |(k, v): (&String, &Value)| vec![k.replace('_', " "), words(v)];
                // They stand above, told apart.
                let is_shown = |key: &&String| ![WORDS_KEY, PHRASES_KEY].contains(&key.as_str());
                map.iter().filter(|(key, _)| is_shown(key)).map(pair).collect()
            }
            value => {
                lines.push(format!("{name:<width$}  {}", words(value)));
                continue;
            }
        };
        if below.is_empty() {
            continue;
        }
        lines.push(name);
        lines.extend(table(&below).lines().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

/// Items with commas, in lines of at most `width` columns unless one is longer.
fn wrapped(items: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let comma = if i + 1 < items.len() { "," } else { "" };
        match lines.last_mut() {
            Some(line) if line.chars().count() + item.chars().count() + 2 <= width => {
                *line = format!("{line} {item}{comma}");
            }
            _ => lines.push(format!("{item}{comma}")),
        }
    }
    lines
}

/// Things as rows under the names of their properties.
fn columns(items: &[Value]) -> Vec<Vec<String>> {
    const FIRST: [&str; 6] = ["name", "role", "model", "resolution", "dtype", "style"];
    let first = items.first().and_then(Value::as_object);
    let mut keys: Vec<&String> = first.into_iter().flat_map(|item| item.keys()).collect();
    keys.sort_by_key(|key| FIRST.iter().position(|f| f == key).unwrap_or(FIRST.len()));
    let row = |item: &Value| keys.iter().map(|key| words(&item[key.as_str()])).collect();
    let head = keys.iter().map(|key| (*key).clone()).collect();
    std::iter::once(head).chain(items.iter().map(row)).collect()
}

/// A value in a line.
fn words(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_number) => {
            value.to_string().replace(',', ", ")
        }
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(" "),
        Value::Object(map) => {
            map.iter().map(|(k, v)| format!("{k} {}", words(v))).collect::<Vec<_>>().join("  ")
        }
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(x) if x.abs() >= 0.01 || x == 0.0 => format!("{x:.4}"),
            Some(x) => format!("{x:.2e}"),
            None => number.to_string(),
        },
    }
}
