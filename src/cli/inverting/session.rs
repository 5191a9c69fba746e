//! Photo after photo: opened, cut, inverted in batches, written; what fails is noted, and the rest goes on.

use super::face_files::{FaceCodes, FaceFiles};
use super::inverter::{Inverter, Sight};
use super::ledger::{FaceRecord, Ledger, PhotoRecord, StageRecord};
use crate::checkpoint;
use crate::cli::photos::{Cutter, Photo, Piece};
use crate::cli::printer::Printer;
use crate::cli::{outputs, stop};
use crate::error::{Error, IoContext, Result};
use crate::imaging::plot::{Series, Smoothing, line_plot};
use crate::imaging::{grid::Grid, save, to_rgb8};
use crate::invert::{Inversion, Losses};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tch::Kind;

/// What is written for each face.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Kept {
    /// The photo, the reconstruction and the codes.
    Result,
    /// Also the picture of every round, and a strip of them.
    Everything,
}

/// An output folder that photos are inverted into.
pub(in crate::cli) struct Session<'a> {
    pub(in crate::cli) out: PathBuf,
    pub(in crate::cli) ledger: Ledger,
    pub(in crate::cli) inverter: &'a Inverter,
    ledger_file: PathBuf,
    kept: Kept,
    printer: &'a Printer,
    /// Photos that could not be done, and why.
    pub(in crate::cli) failed: Vec<(PathBuf, Error)>,
}

/// A face that waits for its batch.
struct Waiting {
    photo: usize,
    piece: Piece,
    sight: Sight,
}

impl<'a> Session<'a> {
    /// Opens the folder: a new one, or one that the same settings began.
    ///
    /// # Errors
    /// [`Error::Request`] when it holds something else, or results of other settings (unless `force`).
    pub(in crate::cli) fn open(
        out: &Path,
        name: &str,
        ledger: Ledger,
        inverter: &'a Inverter,
        kept: Kept,
        force: bool,
        printer: &'a Printer,
    ) -> Result<Self> {
        let ledger_file = out.join(name);
        let found = match force {
            true => None,
            false => Ledger::read(&ledger_file)?,
        };
        let ledger = match found {
            None => {
                outputs::claim_folder(out, force)?;
                std::fs::create_dir_all(out).while_doing("create", out)?;
                ledger.write(&ledger_file)?;
                ledger
            }
            Some(found) => match found.differs_from(&ledger) {
                None if found.photos.is_empty() => found,
                None => {
                    printer.info(&format!("going on in `{}`", out.display()));
                    found
                }
                // Nothing was done: there is nothing to mix.
                Some(_) if found.photos.is_empty() => {
                    ledger.write(&ledger_file)?;
                    ledger
                }
                Some(what) => {
                    return Err(Error::request(
                        format!("`{}` holds results of other settings: {what}", out.display()),
                        "choose another folder with `--out`, or make all anew with `--force`",
                    ));
                }
            },
        };
        let out = out.to_path_buf();
        Ok(Self { out, ledger, inverter, ledger_file, kept, printer, failed: Vec::new() })
    }

    /// Inverts what is not done yet.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after what was done is written; what is wrong with single photos is kept in
    /// [`Session::failed`].
    pub(in crate::cli) fn run(&mut self, photos: &[Photo], cutter: &Cutter<'_>) -> Result<()> {
        let note = *self.printer;
        stop::listen(move || {
            note.info("stopping after this batch; the same command goes on from there")
        });
        let bar = self.bar(photos.len() as u64);
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut hashes: BTreeMap<usize, String> = BTreeMap::new();
        let mut pieces_before = 0;
        for (i, photo) in photos.iter().enumerate() {
            if stop::asked() {
                break;
            }
            bar.set_message(photo.name.clone());
            match self.prepare(photo, cutter, &bar) {
                Ok(None) => bar.inc(1),
                Ok(Some((hash, pieces))) => {
                    hashes.insert(i, hash);
                    waiting.extend(pieces.into_iter().map(|(piece, sight)| Waiting {
                        photo: i,
                        piece,
                        sight,
                    }));
                }
                Err(error) if is_about_photo(&error) => {
                    // An only photo's failure is the command's.
                    if photos.len() > 1 {
                        bar.suspend(|| self.printer.warn(&format!("passed over: {error}")));
                    }
                    self.failed.push((photo.path.clone(), error));
                    bar.inc(1);
                }
                Err(error) => return Err(error),
            }
            // Whole photos only: a photo is done when all its faces are.
            if waiting.len() >= self.inverter.batch() || i + 1 == photos.len() {
                let batch = std::mem::take(&mut waiting);
                let done = batch.iter().map(|w| w.photo).collect::<BTreeSet<_>>();
                let count = batch.len();
                self.finish(photos, batch, &hashes, pieces_before, &bar)?;
                pieces_before += count;
                bar.inc(done.len() as u64);
            }
        }
        bar.finish_and_clear();
        if stop::asked() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The faces that are done, in the order of the photos.
    pub(in crate::cli) fn faces(&self, photos: &[Photo]) -> Vec<FaceRecord> {
        let of = |photo: &Photo| self.ledger.photos.get(&key(&photo.path));
        photos.iter().filter_map(of).flat_map(|record| record.faces.clone()).collect()
    }

    /// Notes that a face has a picture of a domain.
    pub(in crate::cli) fn note_domain(&mut self, face: &str, domain: &str, sha256: &str) {
        for record in self.ledger.photos.values_mut().flat_map(|photo| &mut photo.faces) {
            if record.name == face {
                record.domains.insert(domain.into(), sha256.into());
            }
        }
    }

    pub(in crate::cli) fn write_ledger(&self) -> Result<()> {
        self.ledger.write(&self.ledger_file)
    }

    pub(in crate::cli) fn files(&self, face: &str) -> FaceFiles {
        FaceFiles::new(&self.out, face)
    }

    /// A bar over so many things.
    pub(in crate::cli) fn bar(&self, length: u64) -> ProgressBar {
        let bar = self.printer.bar(length);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:24.cyan/dim} {pos}/{len}  {msg}  {eta} left")
        {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar
    }

    /// What is seen of a photo and its hash; nothing when it was done before.
    #[allow(clippy::type_complexity)]
    fn prepare(
        &self,
        photo: &Photo,
        cutter: &Cutter<'_>,
        bar: &ProgressBar,
    ) -> Result<Option<(String, Vec<(Piece, Sight)>)>> {
        let hash = checkpoint::sha256(&photo.path)?;
        if let Some(known) = self.ledger.photos.get(&key(&photo.path))
            && known.sha256 == hash
            && known.faces.iter().all(|f| self.files(&f.name).has(&["photo", "reconstruction"]))
        {
            return Ok(None);
        }
        let (picture, pieces) =
            cutter.open(photo, &|text| bar.suspend(|| self.printer.warn(text)))?;
        let seen = pieces.into_iter().map(|piece| {
            let sight = self.inverter.look(&picture, &piece.cut);
            let sight = sight.map_err(|error| match error {
                Error::Request { message, hint } => {
                    Error::File { path: photo.path.clone(), message, hint }
                }
                other => other,
            })?;
            Ok((piece, sight))
        });
        Ok(Some((hash, seen.collect::<Result<_>>()?)))
    }

    /// Inverts a batch and writes all of it.
    fn finish(
        &mut self,
        photos: &[Photo],
        batch: Vec<Waiting>,
        hashes: &BTreeMap<usize, String>,
        before: usize,
        bar: &ProgressBar,
    ) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let size = self.inverter.batch();
        let (mut names, mut sights) = (Vec::new(), Vec::new());
        for Waiting { photo, piece, sight } in batch {
            names.push((photo, piece.name));
            sights.push(sight);
        }
        let mut records: BTreeMap<usize, Vec<FaceRecord>> = BTreeMap::new();
        for (chunk, start) in sights.chunks(size).zip((0..).step_by(size)) {
            let steps = self.inverter.refine.as_ref().map_or(0, |r| r.steps);
            let mut each = |losses: &Losses| {
                if losses.step.is_multiple_of(10) {
                    bar.set_message(format!(
                        "step {}/{steps}  loss {:.4}",
                        losses.step, losses.total
                    ));
                    bar.tick();
                }
                if self.printer.verbose && losses.step.is_multiple_of(50) {
                    let Losses { step, total, pixel, perceptual } = losses;
                    self.printer.detail(&format!(
                        "step {step}/{steps}  loss {total:.4}  pixel {pixel:.4}  perceptual {perceptual:.4}"
                    ));
                }
                if stop::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let found = self.inverter.invert(chunk, before + start, &mut each)?;
            if stop::asked() && found.losses.len() < steps as usize {
                // Half an optimisation is no result.
                return Err(Error::Interrupted);
            }
            for (i, sight) in chunk.iter().enumerate() {
                let (photo, name) = &names[start + i];
                let record = self.write(name, sight, &found, i, &photos[*photo])?;
                records.entry(*photo).or_default().push(record);
            }
        }
        for (photo, faces) in records {
            let sha256 = hashes[&photo].clone();
            let name = photos[photo].name.clone();
            let record = PhotoRecord { name, sha256, faces };
            self.ledger.photos.insert(key(&photos[photo].path), record);
        }
        self.write_ledger()
    }

    /// Writes the files of one face of a batch.
    fn write(
        &self,
        name: &str,
        sight: &Sight,
        found: &Inversion,
        i: usize,
        photo: &Photo,
    ) -> Result<FaceRecord> {
        let files = self.files(name);
        files.create()?;
        let row = i as i64;
        let at =
            |t: &tch::Tensor| t.narrow(0, row, 1).to_device(tch::Device::Cpu).to_kind(Kind::Float);
        let codes: Vec<tch::Tensor> = found.stages.iter().map(|stage| at(&stage.codes)).collect();
        let last = codes.last().ok_or_else(|| {
            Error::request("no round was made", "use at least one round, or `--optimize`")
        })?;
        let noise = found.noise.as_ref().map(|maps| maps.iter().map(at).collect());
        let codes =
            FaceCodes { codes: last.shallow_clone(), rounds: tch::Tensor::cat(&codes, 0), noise };
        let mut stages = Vec::new();
        let mut pictures = Vec::new();
        for stage in &found.stages {
            let error = stage.errors.get(i);
            stages.push(StageRecord {
                name: stage.name.clone(),
                pixel: error.map(|e| e.pixel),
                perceptual: error.and_then(|e| e.perceptual),
            });
            pictures.extend(to_rgb8(&stage.images.narrow(0, row, 1))?);
        }
        if self.kept == Kept::Everything {
            for (stage, picture) in stages.iter().zip(&pictures) {
                files.write_picture(&stage.name.replace(' ', "_"), picture)?;
            }
            let heads = std::iter::once("photo".to_owned()).chain(stages.iter().map(head));
            let mut row = vec![sight.shown.clone()];
            row.extend(pictures.iter().cloned());
            let strip = Grid::new().title(name).heads(heads).row("", row).render()?;
            files.write_picture("strip", &strip)?;
            if !found.losses.is_empty() {
                files.write_picture("loss", &loss_plot(name, &found.losses))?;
            }
        }
        files.write_picture("photo", &sight.shown)?;
        if let Some(picture) = pictures.last() {
            files.write_picture("reconstruction", picture)?;
        }
        let generator = &self.inverter.weights[0];
        let about = [
            ("photo", photo.path.display().to_string()),
            ("generator", generator.path.display().to_string()),
            ("generator_sha256", generator.sha256.clone()),
            ("latent_kind", "w+".to_owned()),
        ];
        files.write_codes(&codes, &about.map(|(k, v)| (k.to_owned(), v)).into())?;
        Ok(FaceRecord { name: name.into(), stages, domains: BTreeMap::new() })
    }

    /// All faces as rows, `columns` of each by the names of their pictures; several sheets when there are many.
    /// Returns their files.
    pub(in crate::cli) fn sheets(
        &self,
        title: &str,
        faces: &[FaceRecord],
        columns: &[(String, String)],
    ) -> Result<Vec<PathBuf>> {
        const ROWS: usize = 12;
        let mut written = Vec::new();
        for (i, page) in faces.chunks(ROWS).enumerate() {
            let heads = columns.iter().map(|(_, head)| head.clone());
            let mut sheet = Grid::new().title(title).heads(heads);
            for face in page {
                let files = self.files(&face.name);
                let row = columns.iter().map(|(name, _)| files.read_picture(name));
                sheet = sheet.row(face.name.clone(), row.collect::<Result<_>>()?);
            }
            let name = if i == 0 { "sheet.png".to_owned() } else { format!("sheet_{}.png", i + 1) };
            let path = self.out.join(name);
            save::png(&path, &sheet.render()?, &[("Description", title)])?;
            written.push(path);
        }
        Ok(written)
    }

    /// Everything that failed, together.
    ///
    /// # Errors
    /// The only failure of an only photo; [`Error::Partly`] with all of them else.
    pub(in crate::cli) fn report_failures(&mut self, photos: usize) -> Result<()> {
        match self.failed.len() {
            0 => Ok(()),
            1 if photos == 1 => Err(self.failed.remove(0).1),
            _ => {
                let problems = self.failed.iter().map(|(_, e)| e.to_string()).collect();
                let hints: BTreeSet<String> =
                    self.failed.iter().filter_map(|(_, e)| e.hint()).collect();
                let hints = hints.into_iter().collect::<Vec<_>>().join("; ");
                let hint = Some(hints).filter(|h| !h.is_empty());
                Err(Error::Partly { what: "photos", total: photos, problems, hint })
            }
        }
    }
}

/// `round 3` and what it is away.
fn head(stage: &StageRecord) -> String {
    let numbers = [("px", stage.pixel), ("look", stage.perceptual)];
    let shown: Vec<String> =
        numbers.iter().filter_map(|(n, v)| v.map(|v| format!("{n} {v:.3}"))).collect();
    format!("{} {}", stage.name, shown.join(" "))
}

fn loss_plot(name: &str, losses: &[Losses]) -> image::RgbImage {
    let series = |name: &str, of: fn(&Losses) -> f64| Series {
        name: name.into(),
        points: losses.iter().map(|l| (f64::from(l.step), of(l))).collect(),
    };
    let curves = [
        series("loss", |l| l.total),
        series("pixel", |l| l.pixel),
        series("perceptual", |l| l.perceptual),
    ];
    line_plot(&format!("{name}: optimisation of its codes"), "step", &curves, Smoothing::None)
}

/// How a photo is called in the ledger.
fn key(path: &Path) -> String {
    path.display().to_string()
}

/// Whether an error concerns one photo, so that the others can go on.
fn is_about_photo(error: &Error) -> bool {
    match error {
        Error::File { .. } => true,
        Error::Io { doing, .. } => *doing == "read",
        _ => false,
    }
}
