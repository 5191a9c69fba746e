//! What a run shows: samples, before and after, the losses, the layers.

use super::{Record, RunDir};
use crate::adapt::Pair;
use crate::adapt::losses::Term;
use crate::config::{Config, Parity};
use crate::error::{IoContext, Result};
use crate::imaging::grid::Grid;
use crate::imaging::heatmap::{LayerStep, layer_map};
use crate::imaging::plot::{Series, Smoothing, line_plot};
use crate::imaging::{save, to_rgb8};
use crate::stylegan2::LayerId;
use image::RgbImage;
use std::path::Path;

impl RunDir {
    /// Writes `samples/NNNNNN.png` after `step` updates and returns where.
    ///
    /// # Errors
    /// [`crate::Error::Io`], or a failure of the device that holds the images.
    pub fn write_samples(
        &self,
        step: u64,
        samples: &Pair,
        config: &Config,
    ) -> Result<std::path::PathBuf> {
        let (folder, path) = (self.samples_dir(), self.sample_file(step));
        std::fs::create_dir_all(&folder).while_doing("create", &folder)?;
        self.write_pair(&path, step, samples, config)?;
        Ok(path)
    }

    /// Writes `before_after.png`.
    ///
    /// # Errors
    /// As [`RunDir::write_samples`].
    pub fn write_before_after(&self, step: u64, samples: &Pair, config: &Config) -> Result<()> {
        self.write_pair(&self.before_after_file(), step, samples, config)
    }

    /// Writes `loss.png`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn write_loss_plot(&self, records: &[Record], config: &Config) -> Result<()> {
        save::png(self.loss_file(), &loss_plot(records, config), &about(config))
    }

    /// Writes `layers.png`; `layers` as in [`layer_picture`].
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn write_layer_map(
        &self,
        records: &[Record],
        layers: &[LayerId],
        config: &Config,
    ) -> Result<()> {
        save::png(self.layers_file(), &layer_picture(records, layers, config), &about(config))
    }

    fn write_pair(&self, path: &Path, step: u64, samples: &Pair, config: &Config) -> Result<()> {
        let picture = pair_picture(step, samples, config)?;
        let (seed, step) = (config.seed.to_string(), step.to_string());
        let title = title(config);
        save::png(path, &picture, &[("Description", &title), ("Seed", &seed), ("Step", &step)])
    }
}

/// What both rows are called: the phrases, or the folder of target images.
pub fn captions(config: &Config) -> (String, String) {
    let images = config.target_images.as_deref().map(|folder| {
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        format!("like {}", name.to_string_lossy())
    });
    let target = match images {
        Some(images) if config.target.trim().is_empty() => images,
        _ => config.target.clone(),
    };
    (config.source.clone(), target)
}

/// Source above, adapted below, captioned with the phrases.
///
/// # Errors
/// A failure of the device that holds the images.
pub fn pair_picture(step: u64, samples: &Pair, config: &Config) -> Result<RgbImage> {
    let (source, target) = captions(config);
    Grid::new()
        .title(title(config))
        .row(source, to_rgb8(&samples.source)?)
        .row(target, to_rgb8(&samples.adapted)?)
        .footer(format!("step {step} of {} · seed {}", config.train.iterations, config.seed))
        .render()
}

/// The total loss and, where there are several, every term before its weight.
pub fn loss_plot(records: &[Record], config: &Config) -> RgbImage {
    let series = |name: &str, value: &dyn Fn(&Record) -> Option<f64>| Series {
        name: name.to_owned(),
        points: records.iter().filter_map(|r| Some((r.step as f64, value(r)?))).collect(),
    };
    let mut curves = vec![series("total", &|r| Some(r.loss))];
    for (name, _) in Term::ALL {
        let term = series(name, &|r| r.terms.get(name).copied());
        if !term.points.is_empty() {
            curves.push(term);
        }
    }
    line_plot(&format!("{}: loss", title(config)), "step", &curves, Smoothing::Auto)
}

/// Which layers trained when.
///
/// `layers` are the rows, coarse first: all that may train, also those that never did. Layers in the records that are
/// not among them get rows below.
pub fn layer_picture(records: &[Record], layers: &[LayerId], config: &Config) -> RgbImage {
    let mut names: Vec<String> = layers.iter().map(ToString::to_string).collect();
    for name in records.iter().flat_map(|r| &r.layers) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let inputs: Vec<Option<usize>> = names.iter().map(|n| score_index(n, config.parity)).collect();
    let mut scores = Vec::new();
    let steps: Vec<LayerStep> = records
        .iter()
        .map(|record| {
            // A choice holds, with its scores, until the next one.
            if let Some(new) = &record.scores {
                let score = |input: &Option<usize>| input.and_then(|i| new.get(i).copied());
                scores = inputs.iter().map(|i| score(i).unwrap_or(0.0) as f32).collect();
            }
            let chosen = record.layers.iter();
            let chosen = chosen.filter_map(|n| names.iter().position(|name| name == n)).collect();
            LayerStep { step: record.step, chosen, scores: scores.clone() }
        })
        .collect();
    layer_map(&format!("{}: layers trained", title(config)), &names, &steps)
}

/// Which score decides over a layer. The original's list is off by one, see [`crate::adapt::layer_choice`].
fn score_index(layer: &str, parity: Parity) -> Option<usize> {
    let index = match (layer.parse::<LayerId>().ok()?, parity) {
        (LayerId::ToRgb(_), Parity::Original) => None,
        (LayerId::Conv(i), Parity::Original) => Some(i as i64 + 2),
        (layer, _) => layer.style_index(),
    };
    index.and_then(|i| usize::try_from(i).ok())
}

fn title(config: &Config) -> String {
    let (source, target) = captions(config);
    format!("{source} → {target}")
}

fn about(config: &Config) -> [(&'static str, &str); 2] {
    [("Source", &config.source), ("Target", &config.target)]
}
