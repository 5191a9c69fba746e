//! Which of several networks of one kind is meant: smoothed weights (`g_ema`, `Gs`, `params_ema` …) win over the
//! weights that they were smoothed from; other than those, nobody but the user knows.

use super::places::Place;
use std::collections::BTreeSet;

/// Words by which smoothed weights are known.
const SMOOTHED: [&str; 6] = ["ema", "shadow", "running", "averaged", "swa", "polyak"];

/// Words that tell one network from its twin no more than no word does.
const NEUTRAL: [&str; 33] = [
    "",
    "g",
    "gs",
    "ge",
    "gen",
    "generator",
    "netg",
    "model",
    "models",
    "module",
    "orig",
    "mod",
    "state",
    "dict",
    "params",
    "param",
    "net",
    "network",
    "networks",
    "weights",
    "checkpoint",
    "online",
    "student",
    "train",
    "encoder",
    "enc",
    "e",
    "mapper",
    "clip",
    "d",
    "disc",
    "discriminator",
    "netd",
];

/// Leaves out the twins of smoothed weights.
pub(super) fn without_twins(mut places: Vec<Place<'_>>) -> Vec<Place<'_>> {
    let smoothed: BTreeSet<String> =
        places.iter().filter(|p| is_smoothed(p.name())).map(|p| plain(p.name())).collect();
    places.retain(|p| is_smoothed(p.name()) || !smoothed.contains(&plain(p.name())));
    places
}

fn components(name: &str) -> impl Iterator<Item = &str> {
    name.split(['/', '.'])
}

fn is_smoothed(name: &str) -> bool {
    components(name).any(|component| {
        component == "Gs"
            || component == "GE"
            || component.starts_with("EMA")
            || component.ends_with("EMA")
            || component.ends_with("Ema")
            || words(component).any(|word| SMOOTHED.contains(&word.as_str()))
    })
}

/// A name without what tells smoothed weights from others, and without what tells nothing.
fn plain(name: &str) -> String {
    let rest = components(name).map(|component| {
        let rest = component.trim_start_matches("EMA").trim_end_matches("EMA");
        rest.trim_end_matches("Ema")
    });
    let nothing = |word: &String| [&SMOOTHED[..], &NEUTRAL].concat().contains(&word.as_str());
    let kept: Vec<String> = rest.flat_map(words).filter(|word| !nothing(word)).collect();
    kept.join(".")
}

fn words(component: &str) -> impl Iterator<Item = String> {
    component.split(['_', '-', ' ']).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothed_weights_are_known_by_their_names() {
        for name in [
            "g_ema",
            "G_ema",
            "Gs",
            "ema",
            "netG_ema",
            "generator_ema",
            "ema_model.module",
            "params_ema",
            "state_dict/ema_generator",
            "GE",
            "g_running",
            "netG-EMA",
            "generatorEMA",
            "model_ema/g",
        ] {
            assert!(is_smoothed(name), "{name}");
            assert_eq!(plain(name), "", "{name}");
        }
        for name in ["", "g", "schema", "G", "netG", "generator", "cinema.g"] {
            assert!(!is_smoothed(name), "{name}");
        }
    }

    #[test]
    fn names_of_their_own_stay_apart() {
        assert_eq!(plain("state_dict/generator_a_ema"), plain("model.generator_a"));
        assert_ne!(plain("generator_a"), plain("generator_b"));
        assert_ne!(plain("decoder"), plain("g"));
    }
}
