//! `metrics.jsonl`: a line of JSON per step, appended.

use super::RunDir;
use crate::adapt::StepReport;
use crate::atomic;
use crate::error::{IoContext, Result};
use crate::regular;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is not on the disk yet is at most about this old.
const FLUSH: Duration = Duration::from_secs(1);

/// A step. Numbers that are none (NaN, ±∞) are written as `null` and read back as NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Line")]
pub struct Record {
    /// Counted from 0.
    pub step: u64,
    /// The weighted sum that was minimised.
    pub loss: f64,
    /// Every active term before its weight, by name.
    pub terms: BTreeMap<String, f64>,
    /// Names of the layers that trained.
    pub layers: Vec<String>,
    /// Movement of each style input, in steps that chose layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<f64>>,
    /// How long the step took.
    pub seconds: f64,
}

impl Record {
    /// A step's report with its duration.
    pub fn new(report: &StepReport, seconds: f64) -> Self {
        Self {
            step: report.step,
            loss: report.loss,
            terms: report.terms.iter().map(|(t, v)| (t.name().to_owned(), *v)).collect(),
            layers: report.layers.iter().map(ToString::to_string).collect(),
            scores: report.scores.clone(),
            seconds,
        }
    }
}

/// A record as it stands in the file.
#[derive(Deserialize)]
struct Line {
    step: u64,
    loss: Option<f64>,
    terms: BTreeMap<String, Option<f64>>,
    layers: Vec<String>,
    scores: Option<Vec<Option<f64>>>,
    seconds: Option<f64>,
}

impl From<Line> for Record {
    fn from(line: Line) -> Self {
        let number = |v: Option<f64>| v.unwrap_or(f64::NAN);
        Self {
            step: line.step,
            loss: number(line.loss),
            terms: line.terms.into_iter().map(|(name, v)| (name, number(v))).collect(),
            layers: line.layers,
            scores: line.scores.map(|all| all.into_iter().map(number).collect()),
            seconds: number(line.seconds),
        }
    }
}

impl RunDir {
    /// Opens the metrics for appending from step `from`, see [`MetricsWriter::open`].
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn metrics(&self, from: u64) -> Result<MetricsWriter> {
        MetricsWriter::open(&self.metrics_file(), from)
    }

    /// The steps so far, see [`read`].
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn read_metrics(&self) -> Result<Vec<Record>> {
        read(&self.metrics_file())
    }
}

/// Appends to a file of metrics.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    out: BufWriter<File>,
    flushed: Instant,
}

impl MetricsWriter {
    /// Opens `path` for appending after [`truncate`] to the steps before `from`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn open(path: &Path, from: u64) -> Result<Self> {
        truncate(path, from)?;
        let file =
            File::options().create(true).append(true).open(path).while_doing("write", path)?;
        Ok(Self { path: path.into(), out: BufWriter::new(file), flushed: Instant::now() })
    }

    /// Adds a line; it reaches the file within about a second of training, or at [`MetricsWriter::flush`].
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn push(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_string(record).expect("a record is plain data");
        line.push('\n');
        self.out
            .write_all(line.as_bytes())
            .map_err(|e| atomic::with_size(e, line.len() as u64))
            .while_doing("write", &self.path)?;
        if self.flushed.elapsed() >= FLUSH { self.flush() } else { Ok(()) }
    }

    /// Hands everything to the system: safe from the death of this process.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn flush(&mut self) -> Result<()> {
        let waiting = self.out.buffer().len() as u64;
        self.out
            .flush()
            .map_err(|e| atomic::with_size(e, waiting))
            .while_doing("write", &self.path)?;
        self.flushed = Instant::now();
        Ok(())
    }

    /// As [`MetricsWriter::flush`], down to the disk: before a snapshot, so that a resumed run has all earlier lines.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.out.get_ref().sync_data().while_doing("write", &self.path)
    }
}

/// The steps in a file of metrics, up to the first line that is cut or damaged. No file: no steps.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn read(path: &Path) -> Result<Vec<Record>> {
    Ok(records(&bytes(path)?).map(|(record, _)| record).collect())
}

/// Drops the lines of step `from` and later, and a last line that was cut off. The file is replaced in one step.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn truncate(path: &Path, from: u64) -> Result<()> {
    let bytes = bytes(path)?;
    let kept = records(&bytes).take_while(|(record, _)| record.step < from).map(|(_, end)| end);
    let end = kept.last().unwrap_or(0);
    if end < bytes.len() { atomic::write(path, &bytes[..end]) } else { Ok(()) }
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(about) if !about.is_file() => regular::about(path).map(drop)?,
        _ => {}
    }
    std::fs::read(path).while_doing("read", path)
}

/// Whole, valid lines from the beginning, each with where it ends.
fn records(bytes: &[u8]) -> impl Iterator<Item = (Record, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = bytes[at..].iter().position(|&b| b == b'\n')?;
        let record = serde_json::from_slice(&bytes[at..at + length]).ok()?;
        at += length + 1;
        Some((record, at))
    })
}
