//! `nada presets`: what there is, or one of them as it stands.

use super::printer::{Printer, table};
use crate::builtin;
use crate::config::layering::Layered;
use crate::error::{Error, Result};
use clap::Args;

/// What may be typed behind `nada presets`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada presets
  nada presets sketch > mine.yaml
  nada adapt --config mine.yaml --target \"charcoal drawing\"")]
pub(super) struct PresetsArgs {
    /// Print this one, ready to be changed and given to `nada adapt --config`
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Runs the command.
pub(super) fn run(args: &PresetsArgs, printer: &Printer) -> anyhow::Result<()> {
    if let Some(name) = &args.name {
        printer.data(builtin::preset(name)?.trim_end())?;
        return Ok(());
    }
    let mut rows = vec![["NAME", "STEPS", "MODELS", "ABOUT"].map(str::to_owned).to_vec()];
    for (name, _) in builtin::presets() {
        let config = layered(name)?.resolve()?;
        let models: Vec<&str> = config.clip.iter().map(|c| c.model.as_str()).collect();
        let steps = config.train.iterations.to_string();
        rows.push(vec![name.to_owned(), steps, models.join(" + "), config.about]);
    }
    printer.data(&table(&rows))?;
    printer.info("`nada presets NAME` prints one; `nada adapt --preset NAME` uses it");
    Ok(())
}

/// Presets that stand on each other: more is a circle.
const DEEPEST: usize = 8;

/// The defaults, the presets below this one (`base:`), and this one.
///
/// # Errors
/// [`Error::Request`] for a preset that does not exist, and for a circle of them.
pub(super) fn layered(name: &str) -> Result<Layered> {
    let mut pile = vec![(name.to_owned(), builtin::preset(name)?)];
    while let Some(base) = base_of(pile[pile.len() - 1].1) {
        let text = builtin::preset(&base)?;
        if pile.len() == DEEPEST {
            return Err(Error::request(
                format!("preset `{name}` stands on too many others, `{base}` among them"),
                "leave `base:` out of one of them",
            ));
        }
        pile.push((base, text));
    }
    let mut layered = Layered::default();
    for (name, text) in pile.iter().rev() {
        layered.overlay_yaml(text, &format!("preset {name}"))?;
    }
    Ok(layered)
}

/// The preset that a preset or a configuration file stands on.
pub(super) fn base_of(text: &str) -> Option<String> {
    let file: serde_yaml::Value = serde_yaml::from_str(text).ok()?;
    Some(file.get("base")?.as_str()?.to_owned())
}
