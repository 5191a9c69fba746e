//! A folder of images that show the target, from anywhere: what cannot be read is skipped and told.

use crate::cli::printer::Printer;
use crate::cli::stop;
use crate::error::{Error, IoContext, Result};
use crate::evaluate::Evaluation;
use crate::imaging::{load, pil};
use std::path::{Path, PathBuf};
use tch::Tensor;

const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif"];
/// Images that a judge sees at once.
const BATCH: usize = 16;

/// The files of a reference folder.
#[derive(Debug)]
pub(super) struct References {
    folder: PathBuf,
    files: Vec<PathBuf>,
}

impl References {
    /// Images directly in `folder`, by extension, sorted; hidden files and anything else are passed over.
    pub(super) fn list(folder: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).while_doing("read", folder)? {
            let path = entry.while_doing("read", folder)?.path();
            let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            if !hidden && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
                files.push(path);
            }
        }
        files.sort();
        let references = Self { folder: folder.to_path_buf(), files };
        references.enough(references.files.len(), &[])?;
        Ok(references)
    }

    /// Shows every image to every judge. Returns what was skipped, with the reason.
    pub(super) fn look(
        &self,
        evaluation: &mut Evaluation,
        printer: &Printer,
    ) -> Result<Vec<String>> {
        let bar = printer.bar(self.files.len() as u64);
        let (mut skipped, mut read) = (Vec::new(), 0);
        for files in self.files.chunks(BATCH) {
            if stop::asked() {
                return Err(Error::Interrupted);
            }
            let mut images = Vec::new();
            for file in files {
                match load::open_image(file) {
                    Ok(image) => images.push(image),
                    Err(error) => skipped.push(error.to_string()),
                }
            }
            bar.inc(files.len() as u64);
            read += images.len();
            if images.is_empty() {
                continue;
            }
            for judge in evaluation.judges() {
                let side = judge.resolution() as u32;
                let prepared = |image: &image::DynamicImage| {
                    let pixels = pil::clip_transform(image, side)?;
                    Tensor::try_from(pixels).map_err(|e| Error::file(&self.folder, e))
                };
                let batch = images.iter().map(prepared).collect::<Result<Vec<_>>>()?;
                judge.look_at_references(&Tensor::stack(&batch, 0))?;
            }
        }
        bar.finish_and_clear();
        self.enough(read, &skipped)?;
        Ok(skipped)
    }

    fn enough(&self, readable: usize, skipped: &[String]) -> Result<()> {
        if readable >= 2 {
            return Ok(());
        }
        let found = if readable == 0 { "no images" } else { "only one image" };
        // The first tells what is wrong with it; others are most often like it.
        let why = skipped.first().map(|why| format!("; {why}")).unwrap_or_default();
        Err(Error::request(
            format!("the folder `{}` holds {found} that can be read{why}", self.folder.display()),
            "a Fréchet distance needs 2 images at least, better some hundred: PNG, JPEG, WebP, GIF, TIFF or BMP",
        ))
    }
}
