//! Makes the complete set of tensors of a model from what a file offers, or says everything that is wrong.

use super::NotFinite;
use super::dialect::Named;
use crate::error::{Error, Result, near_names};
use crate::torch::{self, ShapeMap, TensorMap};
use tch::{Device, Kind};

/// Problems that are listed one by one.
const MAX_LISTED: usize = 20;

/// What became of the tensors of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Used by the model.
    pub applied: Vec<String>,
    /// In the file, but not in the model.
    pub unused: Vec<String>,
    /// Optional in the model, and not in the file.
    pub missing_optional: Vec<String>,
}

/// Reads every tensor of `needed`, and those of `optional` that are there, as `kind` on `device`.
///
/// Strict: names and shapes must agree exactly. `what` names the model in messages ("16 px generator"). The tensors own
/// their memory; integers and bools become `kind` too. Tensors are read one at a time, so that the memory needed is
/// that of the result and one tensor.
///
/// # Errors
/// One [`Error::Tensors`] with every tensor that is missing or has another shape (the first 20, sorted), and names
/// that look alike; [`Error::File`] for damaged data and for numbers that are not finite, [`Error::OutOfMemory`].
pub fn fill(
    what: &str,
    needed: &ShapeMap,
    optional: &ShapeMap,
    offered: &Named,
    kind: Kind,
    device: Device,
) -> Result<(TensorMap, Report)> {
    let report = check(what, needed, optional, offered)?;
    let (mut tensors, mut not_finite) = (TensorMap::new(), NotFinite::default());
    for name in &report.applied {
        let stored = offered.entries[name].tensor()?;
        let tensor = torch::catch(&format!("loading the {what}"), || {
            Ok(stored.to_device(device).to_kind(kind))
        })?;
        not_finite.look(name, &tensor)?;
        tensors.insert(name.clone(), tensor);
    }
    not_finite.refuse(&offered.origin)?;
    Ok((tensors, report))
}

/// The tensors that [`check`] found, as they are stored, and which of them have numbers that are not finite: to be said,
/// or refused.
///
/// # Errors
/// [`Error::File`] for damaged data, [`Error::OutOfMemory`].
pub fn read(report: &Report, offered: &Named) -> Result<(TensorMap, NotFinite)> {
    let (mut tensors, mut not_finite) = (TensorMap::new(), NotFinite::default());
    for name in &report.applied {
        let tensor = offered.entries[name].tensor()?;
        not_finite.look(name, &tensor)?;
        tensors.insert(name.clone(), tensor);
    }
    Ok((tensors, not_finite))
}

/// What [`fill()`] would use, without reading a number.
///
/// # Errors
/// [`Error::Tensors`] as [`fill()`].
pub fn check(
    what: &str,
    needed: &ShapeMap,
    optional: &ShapeMap,
    offered: &Named,
) -> Result<Report> {
    let known = |name: &String| needed.contains_key(name) || optional.contains_key(name);
    let mut report = Report {
        unused: offered.entries.keys().filter(|name| !known(name)).cloned().collect(),
        ..Report::default()
    };
    let mut problems = Vec::new();
    let wanted = needed.iter().map(|pair| (pair, true));
    let wanted = wanted.chain(
        optional.iter().filter(|(name, _)| !needed.contains_key(*name)).map(|pair| (pair, false)),
    );
    for ((name, shape), must) in wanted {
        match offered.entries.get(name) {
            Some(entry) if entry.shape() == shape.as_slice() => report.applied.push(name.clone()),
            Some(entry) => {
                problems.push((
                    name,
                    format!("`{name}` has shape {:?}, expected {shape:?}", entry.shape()),
                ));
            }
            None if must => problems.push((name, format!("`{name}` {shape:?} is missing"))),
            None => report.missing_optional.push(name.clone()),
        }
    }
    if !problems.is_empty() {
        problems.sort();
        return Err(faults(what, offered, &report.unused, problems));
    }
    report.applied.sort();
    Ok(report)
}

fn faults(
    what: &str,
    offered: &Named,
    unused: &[String],
    problems: Vec<(&String, String)>,
) -> Error {
    let hidden = problems.len().saturating_sub(MAX_LISTED);
    let mut lines = Vec::new();
    for (name, mut line) in problems.into_iter().take(MAX_LISTED) {
        if line.ends_with("is missing") {
            let near = near_names(name, unused.iter().map(String::as_str));
            if !near.is_empty() {
                let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
                line = format!("{line}; the file has {}", near.join(", "));
            }
        }
        lines.push(line);
    }
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    Error::Tensors {
        what: format!("`{}` does not make a complete {what}", offered.origin.display()),
        problems: lines,
        hint: Some("the file belongs to another model or size, or is incomplete; `nada inspect FILE` lists what it has".into()),
    }
}
