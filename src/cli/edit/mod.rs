//! `nada edit`: StyleCLIP's three ways to edit by text, and the directions of others, on any generator.

mod apply;
mod codes;
mod direction;
mod domains;
mod optimise;
mod phrases;
mod prepare;
mod spec;

use super::mapper;
use super::printer::Printer;
use crate::builtin;
use crate::config::{Augment, ClipModel, Config};
use crate::error::Result;
use clap::{Args, Subcommand};

/// The preset whose models and augmentation serve when none are named.
const PRESET: &str = "default";

/// What may be typed behind `nada edit`.
#[derive(Debug, Args)]
pub(super) struct EditArgs {
    #[command(subcommand)]
    way: Way,
}

#[derive(Debug, Subcommand)]
enum Way {
    /// Move single codes until CLIP finds a phrase in their images (StyleCLIP's latent optimisation)
    Optimize(Box<optimise::OptimiseArgs>),
    /// Train a mapper for one edit of any code (StyleCLIP's latent mapper)
    Mapper(Box<mapper::MapperArgs>),
    /// Measure a generator's channels once, for `nada edit direction`
    Prepare(Box<prepare::PrepareArgs>),
    /// Edit by two phrases at once, without training (StyleCLIP's global directions)
    Direction(Box<direction::DirectionArgs>),
    /// Edit along known directions: InterFaceGAN, GANSpace, SeFA, two phrases; several, and in several domains
    Apply(Box<apply::ApplyArgs>),
}

/// Runs the command.
pub(super) fn run(args: &EditArgs, printer: &Printer) -> anyhow::Result<()> {
    match &args.way {
        Way::Optimize(args) => optimise::run(args, printer)?,
        Way::Mapper(args) => mapper::run_edit(args, printer)?,
        Way::Prepare(args) => prepare::run(args, printer)?,
        Way::Direction(args) => direction::run(args, printer)?,
        Way::Apply(args) => apply::run(args, printer)?,
    }
    Ok(())
}

/// The CLIPs that were asked for, with weights, or those of the usual preset.
fn guides(asked: &[String]) -> Result<Vec<ClipModel>> {
    if asked.is_empty() {
        return Ok(usual()?.clip);
    }
    let read = |text: &String| {
        let value = super::adapt::clip_model(text)?;
        serde_yaml::from_value(value)
            .map_err(|e| crate::Error::request(format!("`--clip {text}`: {e}"), "name a CLIP"))
    };
    asked.iter().map(read).collect()
}

/// How the usual preset changes images before its small CLIPs see them.
fn usual_augment() -> Result<Augment> {
    Ok(usual()?.augment)
}

fn usual() -> Result<Config> {
    let mut layered = crate::config::layering::Layered::default();
    layered.overlay_yaml(builtin::preset(PRESET)?, PRESET)?;
    layered.resolve()
}
