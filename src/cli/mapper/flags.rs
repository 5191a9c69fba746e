//! `--mapper` and `--mapper-strength` of commands that make images: the mapper travels with its generator.

use super::super::printer::Printer;
use crate::checkpoint::Address;
use crate::error::{Error, Result};
use crate::models::{self, MapperTable, StoredMapper};
use crate::run_dir::RunDir;
use crate::stylegan2::{Config, Generator};
use crate::torch::catch;
use clap::Args;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// The flags.
#[derive(Debug, Args)]
pub(in crate::cli) struct MapperFlags {
    /// Move every code by a mapper: its file, or the folder that `nada mapper` wrote
    #[arg(long, value_name = "FILE|RUN", help_heading = "Images")]
    mapper: Option<PathBuf>,
    /// How far the mapper moves codes: 1 as it was trained, 0 not at all, at most 2
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        requires = "mapper",
        allow_negative_numbers = true,
        help_heading = "Images"
    )]
    mapper_strength: f64,
}

/// A mapper, ready for the codes of one generator.
#[derive(Debug)]
pub(in crate::cli) struct Moved {
    stored: StoredMapper,
    strength: f64,
}

impl MapperFlags {
    /// Opens what was asked for; `None` when nothing was. `sha256` is that of the generator's file: a mapper of another
    /// generator of the same shape is used, and that is said.
    ///
    /// # Errors
    /// [`Error::Request`] for a strength out of range, a folder that is no finished run of a mapper, or a mapper for
    /// another generator; otherwise as [`models::open_mapper`].
    pub(in crate::cli) fn open(
        &self,
        generator: &Generator,
        sha256: &str,
        printer: &Printer,
    ) -> Result<Option<Moved>> {
        let Some(moved) = self.read(generator)? else { return Ok(None) };
        if !moved.is_of(sha256) {
            printer.warn(&format!(
                "the mapper `{}` was trained with another generator than this one",
                moved.stored.origin.path.display()
            ));
        }
        Ok(Some(moved))
    }

    /// As [`MapperFlags::open`] for one of several generators: only the one that the mapper was trained with gets it,
    /// unless its file does not say which that was.
    ///
    /// # Errors
    /// As [`MapperFlags::open`].
    pub(in crate::cli) fn open_for_own(
        &self,
        generator: &Generator,
        sha256: &str,
    ) -> Result<Option<Moved>> {
        Ok(self.read(generator)?.filter(|moved| moved.is_of(sha256)))
    }

    /// Whether the mapper that was asked for fits such a generator, as far as the table of its file tells.
    ///
    /// # Errors
    /// As [`MapperFlags::open`].
    pub(in crate::cli) fn check(&self, generator: &Config) -> Result<()> {
        let Some(asked) = &self.mapper else { return Ok(()) };
        self.check_strength()?;
        MapperTable::read(&file_of(asked)?, generator)?;
        Ok(())
    }

    fn check_strength(&self) -> Result<()> {
        if !(0.0..=2.0).contains(&self.mapper_strength) {
            return Err(Error::request(
                format!("`--mapper-strength` is {}", self.mapper_strength),
                "use a number from 0 to 2; 1 is as the mapper was trained",
            ));
        }
        Ok(())
    }

    fn read(&self, generator: &Generator) -> Result<Option<Moved>> {
        let Some(asked) = &self.mapper else { return Ok(None) };
        self.check_strength()?;
        Ok(Some(Moved { stored: open(asked, generator)?, strength: self.mapper_strength }))
    }

    /// For messages and metadata.
    pub(in crate::cli) fn describe(&self) -> Option<String> {
        let mapper = self.mapper.as_ref()?;
        Some(format!("mapper {} × {}", mapper.display(), self.mapper_strength))
    }
}

/// The mapper in a file or a finished run.
///
/// # Errors
/// As [`MapperFlags::open`].
pub(super) fn open(asked: &Path, generator: &Generator) -> Result<StoredMapper> {
    let file = file_of(asked)?;
    models::open_mapper(&file, generator.config(), generator.kind(), generator.device())
}

/// The file of a mapper, or that in a finished run.
fn file_of(asked: &Path) -> Result<PathBuf> {
    let Address { file: asked, key } = Address::of(asked);
    if !asked.is_dir() {
        return Ok(Address::joined(asked, key.as_deref()));
    }
    let file = RunDir::open(&asked)?.mapper_file();
    if !file.is_file() {
        return Err(Error::request(
            format!("`{}` holds no `mapper.safetensors`", asked.display()),
            "name a finished run of `nada mapper`, or a mapper's file",
        ));
    }
    Ok(Address::joined(file, key.as_deref()))
}

impl Moved {
    /// Whether it was trained with the generator of this hash, or does not say with which.
    fn is_of(&self, sha256: &str) -> bool {
        self.stored.generator_sha256.as_deref().is_none_or(|own| own == sha256)
    }

    /// Moves W+ codes `[N, L, D]`.
    ///
    /// # Errors
    /// [`Error::Request`] for codes of another shape; a failure of the device.
    pub(in crate::cli) fn apply(&self, codes: &Tensor) -> Result<Tensor> {
        catch("moving codes", || {
            tch::no_grad(|| self.stored.mapper.apply(codes, self.strength * self.stored.strength))
        })
    }
}
