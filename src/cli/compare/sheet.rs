//! The images of all rows, a generator at a time, and the sheet of them.

use super::inputs::Compared;
use super::{CompareArgs, figures};
use crate::checkpoint;
use crate::cli::generate::latents::Codes;
use crate::cli::generate::{BATCH_PIXELS, MAX_COLUMNS, MAX_GRID_PIXELS};
use crate::cli::printer::Printer;
use crate::error::{Error, Result};
use crate::imaging::grid::{Grid, Labels, reduced};
use crate::imaging::to_rgb8;
use crate::models;
use crate::stylegan2::{self, Generator, Latent, Noise};
use image::RgbImage;
use indicatif::ProgressBar;
use tch::{Device, Kind, Tensor};

/// What a sheet is made of.
pub(super) struct Sheet<'a> {
    pub(super) args: &'a CompareArgs,
    pub(super) psi: f64,
    pub(super) device: Device,
    pub(super) runs: &'a [Compared],
}

/// A row: its caption, and all of its images.
struct Row {
    is_source: bool,
    label: String,
    notes: Vec<String>,
    images: Vec<RgbImage>,
}

/// What a base leaves for the rows below it; the generator itself is dropped.
struct Base {
    config: stylegan2::Config,
    /// One `[1, L, D]` per image.
    styles: Vec<Tensor>,
    /// Its noise buffers: every row gets these.
    noise: Vec<Tensor>,
}

impl Sheet<'_> {
    /// Makes all images and puts them together.
    pub(super) fn draw(&self, printer: &Printer) -> Result<RgbImage> {
        let notes = self.notes(printer)?;
        let sources = if self.args.mixed { self.runs.len() } else { 1 };
        let rows = self.runs.len() + sources;
        let bar = printer.bar(rows as u64 * self.args.count as u64);
        let mut all: Vec<Row> = Vec::with_capacity(rows);
        let mut base: Option<Base> = None;
        for (run, notes) in self.runs.iter().zip(notes) {
            let common = match base.take().filter(|_| !self.args.mixed) {
                Some(common) => common,
                None => {
                    let (own, images) = self.source(run, rows, &bar, printer)?;
                    let label = self.source_label(run);
                    all.push(Row { is_source: true, label, notes: Vec::new(), images });
                    own
                }
            };
            let images = self.adapted(run, &common, &bar)?;
            all.push(Row { is_source: false, label: run.label.clone(), notes, images });
            base = Some(common);
        }
        bar.finish_and_clear();
        self.grid(&all).render()
    }

    /// The figures of each run, read before the long work.
    fn notes(&self, printer: &Printer) -> Result<Vec<Vec<String>>> {
        let of = |run: &Compared| {
            if !self.args.figures {
                return Ok(Vec::new());
            }
            let hash = checkpoint::sha256(run.run.generator_file())?;
            figures::lines(&run.run, &hash, printer)
        };
        self.runs.iter().map(of).collect()
    }

    /// What a source row is called: all the phrases for it, in a common one.
    fn source_label(&self, run: &Compared) -> String {
        if self.args.mixed {
            return run.source();
        }
        let mut phrases: Vec<String> = Vec::new();
        for phrase in self.runs.iter().map(Compared::source) {
            if !phrases.contains(&phrase) {
                phrases.push(phrase);
            }
        }
        phrases.join(" / ")
    }

    /// The images of what a run began with.
    fn source(
        &self,
        run: &Compared,
        rows: usize,
        bar: &ProgressBar,
        printer: &Printer,
    ) -> Result<(Base, Vec<RgbImage>)> {
        let files = run.base_files(self.args.generator.as_deref())?;
        let class = run.config.class.map(i64::from);
        let (generator, origin) =
            models::open_generator_of_class(&files, class, Kind::Float, self.device)?;
        if origin.sha256 != run.base.sha256 {
            printer.warn(&format!("`{files}` has changed since `{}`", run.name()));
        }
        let config = generator.config().clone();
        self.check_room(rows, config.resolution)?;
        let stored = generator.tensors();
        let buffers = (0..config.num_noises()).map(|i| format!("noises.noise_{i}"));
        let noise: Vec<Tensor> = buffers.filter_map(|n| Some(stored.get(&n)?.copy())).collect();
        let mut styles = Vec::new();
        let images = self.images(&generator, &noise, bar, |codes, start, n| {
            let w =
                tch::no_grad(|| generator.w_plus(&codes.batch(&generator, start, n), self.psi))?;
            styles.extend((0..n).map(|i| w.narrow(0, i, 1).copy()));
            Ok((Latent::WPlus(w), 1.0))
        })?;
        Ok((Base { config, styles, noise }, images))
    }

    /// The images of a run, from the codes and with the noise of its base.
    fn adapted(&self, run: &Compared, base: &Base, bar: &ProgressBar) -> Result<Vec<RgbImage>> {
        let path = run.run.generator_file();
        let (generator, _) = models::open_generator(&path, Kind::Float, self.device)?;
        if *generator.config() != base.config {
            return Err(Error::request(
                format!("what `{}` began with has another shape than its result", run.name()),
                "the start generator was replaced since: put the earlier file back, or leave this run out",
            ));
        }
        self.images(&generator, &base.noise, bar, |codes, start, n| {
            // A mapping network that trained makes styles of its own.
            if run.config.layers.mapping {
                return Ok((codes.batch(&generator, start, n), self.psi));
            }
            let range = start as usize..(start + n) as usize;
            Ok((Latent::WPlus(Tensor::cat(&base.styles[range], 0)), 1.0))
        })
    }

    /// All images of a generator, batch by batch; `latent` gives the codes of `n` from `start`, and their truncation.
    fn images(
        &self,
        generator: &Generator,
        noise: &[Tensor],
        bar: &ProgressBar,
        mut latent: impl FnMut(&Codes, i64, i64) -> Result<(Latent, f64)>,
    ) -> Result<Vec<RgbImage>> {
        let count = self.args.count;
        let codes = Codes::Seeded { count, seed: self.args.seed };
        let batch = (BATCH_PIXELS / generator.config().resolution.pow(2)).clamp(1, 64);
        let mut pictures = Vec::with_capacity(count as usize);
        for start in (0..count).step_by(batch as usize) {
            let n = batch.min(count - start);
            let (latent, psi) = latent(&codes, start, n)?;
            let (images, _) = generator.generate(&latent, psi, Noise::Maps(noise))?;
            pictures.extend(to_rgb8(&images)?.into_iter().map(reduced));
            bar.inc(n as u64);
        }
        Ok(pictures)
    }

    /// A sheet of too many images is refused before they are made.
    fn check_room(&self, rows: usize, resolution: i64) -> Result<()> {
        let side = resolution.clamp(128, 512);
        let pixels = (rows as i64).saturating_mul(self.args.count).saturating_mul(side * side);
        if pixels < MAX_GRID_PIXELS {
            return Ok(());
        }
        Err(Error::request(
            format!("{rows} rows of {} images are too many for one picture", self.args.count),
            "give a smaller `--count`, or compare fewer runs at once",
        ))
    }

    /// Blocks of columns, each with all rows.
    fn grid(&self, rows: &[Row]) -> Grid {
        let count = self.args.count as usize;
        let columns = self.args.columns.map_or(MAX_COLUMNS, usize::from).clamp(1, count.max(1));
        let mut grid = Grid::new().labels(Labels::Column).title(self.args.title.clone());
        for start in (0..count).step_by(columns) {
            for row in rows {
                let images = row.images[start..count.min(start + columns)].to_vec();
                grid = grid.noted_row(row.label.clone(), row.notes.clone(), images);
                if row.is_source {
                    grid = grid.apart();
                }
            }
        }
        let made = format!("seed {} · truncation {}", self.args.seed, self.psi);
        let told = rows.iter().any(|row| !row.notes.is_empty());
        grid.footer(if told { format!("{made} · {}", figures::LEGEND) } else { made })
    }
}
