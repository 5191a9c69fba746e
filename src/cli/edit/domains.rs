//! Generators that share their codes: a source and what was adapted from it. An edit of the source shows in all.

use super::super::printer::Printer;
use super::codes::{GeneratorArgs, Subject, short_name};
use crate::builtin;
use crate::error::{Error, Result};
use crate::models::{self, GeneratorTable, Origin};
use crate::run_dir::{RunDir, pictures};
use crate::stylegan2::{Config, Generator, Noise, StyleCodes, Synthesis};
use crate::torch::catch;
use std::path::Path;
use tch::{Kind, Tensor};

/// One generator on a sheet.
pub(super) struct Domain {
    pub(super) label: String,
    fixed: Synthesis,
}

impl Domain {
    fn new(label: String, generator: &Generator) -> Self {
        Self { label, fixed: generator.synthesis().fixed() }
    }

    /// Images `[N, 3, H, W]` of W+ codes, whose style codes `change` may change.
    pub(super) fn images(
        &self,
        codes: &Tensor,
        change: impl Fn(StyleCodes) -> Result<StyleCodes>,
    ) -> Result<Tensor> {
        let images = catch("sampling the generator", || {
            tch::no_grad(|| {
                let styles = change(self.fixed.styles(codes))?;
                Ok(self.fixed.forward_styles(&styles, Noise::Stored, None))
            })
        })?;
        if images.isfinite().all().int64_value(&[]) == 0 {
            return Err(Error::request(
                "the edit is so strong that the images are no numbers",
                "use smaller strengths",
            ));
        }
        Ok(images)
    }
}

/// The subject's generator first, then each of `runs`, checked to take the same codes.
///
/// # Errors
/// [`Error::Request`] for a generator of another shape.
pub(super) fn open(
    subject: &Subject,
    own: &str,
    runs: &[String],
    printer: &Printer,
) -> Result<Vec<Domain>> {
    let mut domains = vec![Domain::new(label(own, true), &subject.generator)];
    for asked in runs {
        let files = builtin::resolve_generator(asked)?;
        let class = subject.generator.class();
        let device = subject.generator.device();
        let (generator, origin) =
            models::open_generator_of_class(&files, class, Kind::Float, device)?;
        check_shape(asked, generator.config(), own, subject.generator.config())?;
        if !related(&origin, &subject.origin) {
            printer.warn(&format!(
                "`{asked}` was not adapted from `{own}`: the same codes may show other people"
            ));
        }
        domains.push(Domain::new(label(asked, false), &generator));
    }
    Ok(domains)
}

/// Whether the generators of `runs` take the codes of the subject's, by the tables of their files.
///
/// # Errors
/// As [`open`].
pub(super) fn check(subject: &GeneratorArgs, runs: &[String]) -> Result<()> {
    if runs.is_empty() {
        return Ok(());
    }
    let table = subject.table()?;
    for asked in runs {
        let other = GeneratorTable::read(builtin::resolve_generator(asked)?, table.class())?;
        check_shape(asked, other.config(), &subject.generator, table.config())?;
    }
    Ok(())
}

fn check_shape(asked: &str, other: &Config, own: &str, config: &Config) -> Result<()> {
    if other == config {
        return Ok(());
    }
    Err(Error::request(
        format!(
            "`{asked}` makes {} images from {} style inputs, `{own}` {} from {}, or their channels differ",
            other.size_in_words(),
            other.num_styles(),
            config.size_in_words(),
            config.num_styles(),
        ),
        "domains share their codes: name generators that were adapted from this one",
    ))
}

/// Whether one was adapted from the other, or both from the same.
pub(super) fn related(a: &Origin, b: &Origin) -> bool {
    let base = |o: &Origin| o.metadata.get("base_sha256").cloned();
    let mut hashes = vec![Some(a.sha256.clone()), base(a)];
    hashes.retain(Option::is_some);
    hashes.contains(&Some(b.sha256.clone())) || base(b).is_some_and(|b| hashes.contains(&Some(b)))
}

/// The target of a run, or the name of a generator.
fn label(asked: &str, first: bool) -> String {
    let of_run = RunDir::open(Path::new(asked)).and_then(|run| run.read_config());
    match of_run {
        Ok((config, _)) => pictures::captions(&config).1,
        Err(_) if first => format!("source ({})", short_name(asked)),
        Err(_) => short_name(asked),
    }
}
