//! `evaluation.json`: every figure, and what it was made with. Nothing in it changes from call to call.

use crate::error::{Error, Result};
use crate::evaluate::Report;
use crate::evaluate::verdict::Finding;
use crate::evaluate::views::View;
use crate::run_dir::Weights;
use crate::run_dir::config_file::TCH_VERSION;
use crate::torch::LIBTORCH_VERSION;
use serde_json::{Value, json};
use std::path::Path;

/// All that is known of an evaluation.
pub(super) struct Document<'a> {
    pub(super) run: &'a Path,
    pub(super) training_seconds: Option<f64>,
    pub(super) truncation: f64,
    pub(super) seed: u64,
    pub(super) device: String,
    pub(super) weights: &'a [Weights],
    pub(super) report: &'a Report,
    pub(super) findings: &'a [Finding],
    pub(super) warnings: &'a [String],
}

impl Document<'_> {
    /// As text, the figures at the top level.
    pub(super) fn json(&self) -> Result<String> {
        let broken = |e: serde_json::Error| Error::request(e.to_string(), "use paths in UTF-8");
        let mut all = serde_json::to_value(self.report).map_err(broken)?;
        let about = json!({
            "run": self.run.display().to_string(),
            "nada": env!("CARGO_PKG_VERSION"),
            "tch": TCH_VERSION,
            "libtorch": LIBTORCH_VERSION,
            "device": self.device,
            "seed": self.seed,
            "truncation": self.truncation,
            "views": View::ALL.map(View::name),
            "weights": self.weights,
            "findings": self.findings,
            "warnings": self.warnings,
            "training_seconds": self.training_seconds,
            "frechet_ratio": self.report.frechet_ratio(),
        });
        if let (Value::Object(all), Value::Object(about)) = (&mut all, about) {
            all.extend(about);
        }
        serde_json::to_string_pretty(&all).map_err(broken)
    }
}
