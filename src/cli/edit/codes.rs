//! Which generator, which codes: the options that all edits share.

use super::super::generate::latents::{self, Codes, LatentKind};
use super::super::machine::MachineArgs;
use super::super::printer::Printer;
use super::super::truncation;
use crate::builtin;
use crate::checkpoint::Address;
use crate::config;
use crate::error::Result;
use crate::models::{GeneratorTable, Origin};
use crate::stylegan2::Generator;
use clap::Args;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Which generator, and on which machine.
#[derive(Debug, Args)]
pub(super) struct GeneratorArgs {
    /// A shipped name, a checkpoint file, the folder of a run, or BASE+DELTA
    #[arg(long, value_name = "FILE|RUN", default_value = config::GENERATOR, help_heading = "Models")]
    pub(super) generator: String,
    /// Which class a conditional generator shall draw
    #[arg(long, value_name = "N", help_heading = "Models")]
    class: Option<u32>,
    /// Every random number follows from it; images are those of `nada generate --seed`
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Images")]
    pub(super) seed: u64,
    /// Replace files that are there
    #[arg(long, help_heading = "Output")]
    pub(super) force: bool,
    #[command(flatten)]
    machine: MachineArgs,
}

impl GeneratorArgs {
    /// Opens the generator.
    pub(super) fn open(&self, printer: &Printer) -> Result<(Generator, Origin)> {
        self.open_table(self.table()?, printer)
    }

    /// What the generator is, before its numbers are read.
    pub(super) fn table(&self) -> Result<GeneratorTable> {
        let files = builtin::resolve_generator(&self.generator)?;
        GeneratorTable::read(files, self.class.map(i64::from))
    }

    fn open_table(&self, table: GeneratorTable, printer: &Printer) -> Result<(Generator, Origin)> {
        let device = self.machine.device()?;
        let size = table.config().size_in_words();
        let opened = table.open(Kind::Float, device)?;
        printer.detail(&format!("{}: {size} generator", opened.1.path.display()));
        Ok(opened)
    }
}

/// Options of every edit of images.
#[derive(Debug, Args)]
pub(super) struct CodesArgs {
    #[command(flatten)]
    own: GeneratorArgs,
    /// Codes from a file, as `nada generate` reads them, such as those of an inverted photo, instead of random ones
    #[arg(long, value_name = "FILE", conflicts_with = "count", help_heading = "Images")]
    latents: Option<PathBuf>,
    /// What the codes are; by default told by their shape
    #[arg(long, value_name = "KIND", requires = "latents", help_heading = "Images")]
    latent_kind: Option<LatentKind>,
    /// How many images [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=64), help_heading = "Images")]
    count: Option<i64>,
    /// Pull towards the average image: 1 does not, 0 is the average [default: 0.7; 1 with --latents]
    #[arg(long, value_name = "PSI", allow_negative_numbers = true, value_parser = truncation::parse, help_heading = "Images")]
    truncation: Option<f64>,
}

impl std::ops::Deref for CodesArgs {
    type Target = GeneratorArgs;

    fn deref(&self) -> &GeneratorArgs {
        &self.own
    }
}

/// A generator and the W+ codes to be edited.
pub(super) struct Subject {
    pub(super) generator: Generator,
    pub(super) origin: Origin,
    /// `[N, L, D]`.
    pub(super) codes: Tensor,
    /// Where the codes come from, for captions.
    pub(super) about: String,
}

impl CodesArgs {
    /// Opens the generator and makes the codes.
    pub(super) fn subject(&self, printer: &Printer) -> Result<Subject> {
        let table = self.own.table()?;
        let (codes, about) = match &self.latents {
            Some(file) => (
                latents::read(file, self.latent_kind, table.config(), printer)?,
                file.display().to_string(),
            ),
            None => {
                let count = self.count.unwrap_or(4);
                (Codes::Seeded { count, seed: self.seed }, format!("seed {}", self.seed))
            }
        };
        let (generator, origin) = self.own.open_table(table, printer)?;
        let psi = truncation::or_usual(self.truncation, self.latents.is_some());
        let codes = codes.w_plus(&generator, psi)?.contiguous();
        let about = format!("{} · {about} · truncation {psi}", self.generator);
        Ok(Subject { generator, origin, codes, about })
    }
}

/// The name of a generator for files and captions: `sketch` of `runs/sketch`, `ffhq` of `ffhq.pt`.
pub(super) fn short_name(generator: &str) -> String {
    let path = Path::new(Address::of_name(generator).0);
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
