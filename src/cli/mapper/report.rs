//! Whether a mapper helped: a table, JSON and a sheet of pictures, of the same codes with and without it.

use super::super::printer::{Printer, table};
use super::super::stop;
use super::flags;
use super::prepare::Prepared;
use crate::atomic;
use crate::config::MapperConfig;
use crate::edit::mapper::LevelsMapper;
use crate::edit::mapper::figures::{Figures, Testimony, figures, leaks};
use crate::error::{Error, Result};
use crate::imaging::grid::{Grid, Labels};
use crate::imaging::{save, to_rgb8};
use crate::models::StoredMapper;
use crate::rng;
use crate::run_dir::RunDir;
use crate::stylegan2::{Generator, Latent, Noise};
use crate::torch::catch;
use image::RgbImage;
use serde_json::json;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Pixels of a batch.
const BATCH_PIXELS: i64 = 1 << 18;
/// Columns of the sheet.
const SHOWN: usize = 8;

/// Where the sheet goes.
pub(super) fn sheet_file(folder: &RunDir) -> PathBuf {
    folder.path().join("sheet.png")
}

/// A mapper to compare with, by name.
pub(super) struct Other {
    name: String,
    stored: StoredMapper,
}

/// Opens what `--against` names.
pub(super) fn open_others(
    asked: &[PathBuf],
    prepared: &Prepared,
    printer: &Printer,
) -> Result<Vec<Other>> {
    let open = |path: &PathBuf| {
        let stored = flags::open(path, prepared.training.generator())?;
        if stored.generator_sha256.as_ref().is_some_and(|sha| *sha != prepared.generator.sha256) {
            printer.warn(&format!("`{}` was trained with another generator", path.display()));
        }
        Ok(Other { name: short_name(path), stored })
    };
    asked.iter().map(open).collect()
}

fn short_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What was found.
pub(super) struct Report {
    rows: Vec<(String, Figures)>,
    judges: Vec<String>,
    samples: i64,
    /// Codes that leaked most, then the first ones; each with a picture per row.
    worst: Vec<Vec<RgbImage>>,
    first: Vec<Vec<RgbImage>>,
}

/// Makes `samples` images of new codes without and with each mapper, and measures them.
pub(super) fn judge(
    prepared: &Prepared,
    others: &[Other],
    samples: i64,
    printer: &Printer,
) -> Result<Report> {
    let config = prepared.training.config();
    let generator = prepared.training.generator();
    let mappers: Vec<(String, &LevelsMapper, f64)> = std::iter::once((
        "with the mapper".to_owned(),
        prepared.training.mapper(),
        config.strength,
    ))
    .chain(others.iter().map(|o| (o.name.clone(), &o.stored.mapper, o.stored.strength)))
    .collect();
    let variants = 1 + mappers.len();
    let fixed = generator.synthesis().fixed();
    let images = |codes: &Tensor, variant: usize| {
        catch("sampling", || {
            tch::no_grad(|| {
                let codes = match variant.checked_sub(1) {
                    Some(i) => mappers[i].1.apply(codes, mappers[i].2)?,
                    None => codes.shallow_clone(),
                };
                Ok(fixed.forward(&codes, Noise::Stored))
            })
        })
    };
    let side = generator.config().resolution;
    let batch = (BATCH_PIXELS / (side * side)).clamp(1, 32);
    let mut seen: Vec<Testimony> = (0..variants).map(|_| Testimony::default()).collect();
    let bar = printer.bar(samples as u64 * variants as u64);
    for start in (0..samples).step_by(batch as usize) {
        if stop::asked() {
            bar.finish_and_clear();
            return Err(Error::Interrupted);
        }
        let indices: Vec<i64> = (start..samples.min(start + batch)).collect();
        let codes = codes(generator, config, &indices)?;
        for (variant, testimony) in seen.iter_mut().enumerate() {
            testimony.look(&prepared.witnesses, &images(&codes, variant)?)?;
            bar.inc(indices.len() as u64);
        }
    }
    bar.finish_and_clear();
    let of = |t: &Testimony| figures(&prepared.witnesses, &seen[0], t);
    let mut rows = vec![("without".to_owned(), of(&seen[0])?)];
    for ((name, ..), testimony) in mappers.iter().zip(&seen[1..]) {
        rows.push((name.clone(), of(testimony)?));
    }
    let leaks = leaks(&prepared.witnesses, &seen[0])?;
    let mut order: Vec<i64> = (0..samples).collect();
    order.sort_by(|a, b| leaks[*b as usize].total_cmp(&leaks[*a as usize]));
    let pictures = |indices: &[i64]| -> Result<Vec<Vec<RgbImage>>> {
        let codes = codes(generator, config, indices)?;
        (0..variants).map(|variant| to_rgb8(&images(&codes, variant)?)).collect()
    };
    let shown = SHOWN.min(samples as usize);
    let first: Vec<i64> = (0..shown as i64).collect();
    Ok(Report {
        rows,
        judges: prepared.judges.clone(),
        samples,
        worst: pictures(&order[..shown])?,
        first: pictures(&first)?,
    })
}

/// Codes that no training draws, one by one: they do not depend on the batch.
fn codes(generator: &Generator, config: &MapperConfig, indices: &[i64]) -> Result<Tensor> {
    let (kind, device) = (generator.kind(), generator.device());
    let shape = [1, generator.config().z_dim];
    let z: Vec<Tensor> = indices
        .iter()
        .map(|&i| rng::stream(config.seed, i as u64, "mapper report").normal(&shape, kind, device))
        .collect();
    tch::no_grad(|| generator.w_plus(&Latent::Z(Tensor::cat(&z, 0)), config.train.truncation))
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows = vec![
            [
                "",
                "leak rate",
                "target",
                "norm drift",
                "|norm drift|",
                "CLIP diversity",
                "pixel diversity",
                "likeness",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for (name, f) in &self.rows {
            rows.push(vec![
                name.clone(),
                format!("{:.1} %", 100.0 * f.leak_rate),
                format!("{:.3}", f.target_cosine),
                format!("{:+.1} %", 100.0 * f.norm_drift),
                format!("{:.1} %", 100.0 * f.norm_drift_abs),
                format!("{:.3}", f.clip_diversity),
                format!("{:.3}", f.pixel_diversity),
                format!("{:.3}", f.likeness),
            ]);
        }
        format!("{}\n{} codes, judged by {}", table(&rows), self.samples, self.judges.join(", "))
    }

    /// For programs.
    pub(super) fn json(&self) -> String {
        let rows: Vec<_> =
            self.rows.iter().map(|(name, f)| json!({ "name": name, "figures": f })).collect();
        json!({ "samples": self.samples, "judges": self.judges, "variants": rows }).to_string()
    }

    /// `report.json` and `sheet.png`.
    pub(super) fn write(&self, folder: &RunDir, config: &MapperConfig) -> Result<()> {
        atomic::write(folder.path().join("report.json"), format!("{}\n", self.json()))?;
        let mut grid = Grid::new()
            .title(format!("{}: the codes that look most like {}", config.target, config.source))
            .labels(Labels::Column);
        let notes = |f: &Figures| {
            vec![
                format!("leak rate {:.0} %", 100.0 * f.leak_rate),
                format!("norm drift {:+.1} %", 100.0 * f.norm_drift),
                format!("diversity {:.2}", f.clip_diversity),
            ]
        };
        for ((name, f), images) in self.rows.iter().zip(&self.worst) {
            grid = grid.noted_row(name.clone(), notes(f), images.clone());
        }
        for (i, ((name, _), images)) in self.rows.iter().zip(&self.first).enumerate() {
            let label = if i == 0 { format!("{name}: the first codes") } else { name.clone() };
            grid = grid.row(label, images.clone());
            if i == 0 {
                grid = grid.apart();
            }
        }
        let footer = format!(
            "{} codes at truncation {} · seed {} · judged by {}",
            self.samples,
            config.train.truncation,
            config.seed,
            self.judges.join(", ")
        );
        let picture = grid.footer(footer).render()?;
        save::png(sheet_file(folder), &picture, &[("Description", &config.target)])
    }
}
