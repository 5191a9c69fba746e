//! `nada presets`: what there is, or one of them as it stands.

use super::printer::{Printer, table};
use crate::builtin;
use crate::config::layering::Layered;
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
    for (name, text) in builtin::presets() {
        let mut layered = Layered::default();
        layered.overlay_yaml(text, &format!("preset {name}"))?;
        let config = layered.resolve()?;
        let models: Vec<&str> = config.clip.iter().map(|c| c.model.as_str()).collect();
        let steps = config.train.iterations.to_string();
        rows.push(vec![name.to_owned(), steps, models.join(" + "), config.about]);
    }
    printer.data(&table(&rows))?;
    printer.info("`nada presets NAME` prints one; `nada adapt --preset NAME` uses it");
    Ok(())
}
