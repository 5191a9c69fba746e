//! The few figures of an evaluation that a caption has room for.

use crate::cli::printer::Printer;
use crate::error::{Error, Result};
use crate::regular;
use crate::run_dir::RunDir;
use serde_json::Value;

/// What the words in [`lines`] mean.
pub(super) const LEGEND: &str = "direction: cosine of edits with the phrases · target: nearest to its phrase · \
     identity: own source found first · diversity: adapted / source";

/// Lines for the caption of a run; none when it was never evaluated.
///
/// `generator` is the hash of the run's result: figures of an earlier one are shown with a warning.
///
/// # Errors
/// [`Error::File`] when `evaluation.json` is none.
pub(super) fn lines(run: &RunDir, generator: &str, printer: &Printer) -> Result<Vec<String>> {
    let path = run.path().join("evaluation").join("evaluation.json");
    let name = run.path().display();
    if !path.is_file() {
        printer.warn(&format!("`{name}` has no figures: `nada evaluate {name}` makes them"));
        return Ok(Vec::new());
    }
    let text = regular::text(&path, "an evaluation")?;
    let again = || format!("make it again with `nada evaluate {name}`");
    let all: Value = serde_json::from_str(&text)
        .map_err(|e| Error::file_hint(&path, format!("is no evaluation: {e}"), again()))?;
    if !is_about(&all, generator) {
        printer.warn(&format!(
            "the figures of `{name}` are those of an earlier result: `nada evaluate {name}` makes new ones"
        ));
    }
    let lines = short(&all);
    if lines.is_empty() {
        return Err(Error::file_hint(&path, "holds none of the figures of an evaluation", again()));
    }
    Ok(lines)
}

/// Whether it looked at this generator.
fn is_about(all: &Value, generator: &str) -> bool {
    let weights = all["weights"].as_array().map_or(&[][..], Vec::as_slice);
    weights.iter().any(|w| w["role"] == "adapted" && w["sha256"] == generator)
}

/// A line per figure that is there.
fn short(all: &Value) -> Vec<String> {
    let number = |path: &str| all.pointer(path).and_then(Value::as_f64);
    let ratio = |name: &str, path: &str| number(path).map(|v| format!("{name} {v:.2}"));
    let share = |name: &str, path: &str| number(path).map(|v| format!("{name} {:.0} %", 100.0 * v));
    [
        ratio("direction", "/directional/mean"),
        share("target", "/zero_shot/target_rate"),
        share("identity", "/identity/combined/top1"),
        ratio("diversity", "/diversity/clip_ratio"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_caption_has_four_short_figures() {
        let all = json!({
            "directional": {"mean": 0.4249},
            "zero_shot": {"target_rate": 0.875},
            "identity": {"combined": {"top1": 1.0}},
            "diversity": {"clip_ratio": null},
            "weights": [{"role": "source", "sha256": "a"}, {"role": "adapted", "sha256": "b"}],
        });
        assert_eq!(short(&all), ["direction 0.42", "target 88 %", "identity 100 %"]);
        assert!(is_about(&all, "b") && !is_about(&all, "a"));
        assert!(short(&json!([])).is_empty());
    }
}
