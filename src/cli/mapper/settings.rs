//! What was typed → what is meant: defaults < preset < run < file < flags.

use super::MapperArgs;
use crate::builtin;
use crate::checkpoint::address;
use crate::config::MapperConfig;
use crate::config::layering::Layers;
use crate::error::{IoContext, Result};
use crate::run_dir::RunDir;
use serde_yaml::Value;

/// What a mapper is for: it decides over the usual preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A domain that the generator only makes sometimes, with the norm loss.
    Domain,
    /// One edit, as StyleCLIP.
    Edit,
}

impl Purpose {
    /// The preset for the shipped models, and that for a generator of the user's own.
    fn presets(self) -> [&'static str; 2] {
        match self {
            Self::Domain => ["default", "reference"],
            Self::Edit => ["edit", "styleclip"],
        }
    }
}

/// A level, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LevelName {
    /// Style inputs 0 to 3
    Coarse,
    /// Style inputs 4 to 7
    Medium,
    /// Style inputs from 8
    Fine,
}

/// All layers of a new run, not yet resolved, and the name of the preset below them.
pub(super) fn layer(args: &MapperArgs, purpose: Purpose) -> Result<(Layers<MapperConfig>, String)> {
    let adapted = match &args.run {
        Some(run) => Some((run, RunDir::open_finished(run)?.read_config()?.0)),
        None => None,
    };
    let generator = adapted
        .as_ref()
        .map(|(run, _)| run.to_string_lossy().into_owned())
        .or_else(|| args.generator.clone());
    let of_run = adapted.as_ref().map(|(_, config)| config.generator.clone());
    let [shipped, own] = purpose.presets();
    let usual = match of_run.as_deref().or(generator.as_deref()).map(builtin::base_of) {
        Some(own_name)
            if !builtin::models().iter().any(|m| m.name == own_name)
                && !RunDir::is_run(own_name) =>
        {
            own
        }
        _ => shipped,
    };
    let preset = args.training.preset.clone().unwrap_or_else(|| usual.to_owned());
    let mut layered = Layers::<MapperConfig>::default();
    layered.overlay_yaml(builtin::mapper_preset(&preset)?, &format!("preset {preset}"))?;
    if let Some((run, config)) = &adapted {
        let origin = run.display().to_string();
        let models: Vec<Value> =
            config.clip.iter().filter_map(|c| serde_yaml::to_value(c).ok()).collect();
        layered.set("clip", Value::Sequence(models), &origin);
        layered.set("source", config.source.clone(), &origin);
        if !config.target.is_empty() {
            layered.set("target", config.target.clone(), &origin);
        }
        layered.set_given("class", config.class, &origin);
    }
    if let Some((path, text)) = args.training.config_file()? {
        layered.overlay_yaml(&text, &path.display().to_string())?;
    }
    let from = if adapted.is_some() { "--run" } else { "--generator" };
    layered.set_given("generator", generator, from);
    layered.set_given("class", args.class, "--class");
    layered.set_given("source", args.source.clone(), "--source");
    layered.set_given("target", args.target.clone(), "--target");
    let models =
        args.clip.iter().map(|c| crate::cli::adapt::clip_model(c)).collect::<Result<Vec<_>>>()?;
    layered.set_given("clip", (!models.is_empty()).then(|| Value::Sequence(models)), "--clip");
    let judges: Vec<Value> = args.judge.iter().cloned().map(Value::from).collect();
    layered.set_given("judge", (!judges.is_empty()).then(|| Value::Sequence(judges)), "--judge");
    let arcface = args.arcface.as_ref().map(|p| Value::from(p.to_string_lossy().into_owned()));
    layered.set_given("arcface", arcface, "--arcface");
    layered.set_given("strength", args.strength, "--strength");
    if !args.levels.is_empty() {
        for (path, level) in [
            ("levels.coarse", LevelName::Coarse),
            ("levels.medium", LevelName::Medium),
            ("levels.fine", LevelName::Fine),
        ] {
            layered.set(path, args.levels.contains(&level), "--levels");
        }
    }
    args.training.overlay(&mut layered)?;
    Ok((layered, preset))
}

/// Makes paths absolute, so that the run can be continued from any folder. Shipped names stay.
pub(super) fn anchor(config: &mut MapperConfig) -> Result<()> {
    config.generator = builtin::anchored_generator(&config.generator)?;
    if let Some(file) = &mut config.arcface {
        *file = address::canonical(file).while_doing("read", &*file)?;
    }
    Ok(())
}
