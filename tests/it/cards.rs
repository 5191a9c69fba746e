//! Every model that ships has a card, and the card is about that very file.

use nada::checkpoint;
use regex::Regex;
use std::path::{Path, PathBuf};

/// Everything in `checkpoints/` together: what a clone of the repository has to carry.
const MOST_BYTES: u64 = 30_000_000;

/// The sections of a card, in this order; others may stand between them.
const SECTIONS: [&str; 5] = ["Data", "Terms", "Recipe", "Figures", "Limits"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints")
}

/// Every `NAME.safetensors` that ships, with the text of its card `NAME.md`.
fn cards() -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    models.sort();
    assert!(models.len() >= 2, "{models:?}");
    let card = |model: PathBuf| {
        let card = model.with_extension("md");
        let text = std::fs::read_to_string(&card).unwrap_or_else(|e| {
            panic!("{} needs a card: {}: {e}", model.display(), card.display())
        });
        (model, text)
    };
    models.into_iter().map(card).collect()
}

/// The headings of the second level with the text below each.
fn sections(card: &str) -> Vec<(&str, &str)> {
    card.split("\n## ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .map(|(heading, text)| (heading.trim(), text.trim()))
        .collect()
}

fn section<'a>(card: &'a str, heading: &str) -> &'a str {
    let found = sections(card).into_iter().find(|(name, _)| *name == heading);
    found.unwrap_or_else(|| panic!("no `## {heading}` in:\n{card}")).1
}

#[test]
fn a_card_names_the_exact_bytes_of_its_file() {
    for (model, card) in cards() {
        let name = model.file_name().unwrap().to_str().unwrap();
        assert!(card.contains(&format!("`{name}`")), "the card does not name `{name}`");
        let hash = checkpoint::sha256(&model).unwrap();
        assert!(card.contains(&format!("`{hash}`")), "{name} has sha256 {hash}");
        let bytes = std::fs::metadata(&model).unwrap().len();
        let stated = card.replace(',', "");
        assert!(stated.contains(&format!("{bytes} bytes")), "{name} has {bytes} bytes");
    }
}

#[test]
fn a_card_has_every_section_with_something_in_it() {
    for (model, card) in cards() {
        let mut headings: Vec<&str> = sections(&card).into_iter().map(|(h, _)| h).collect();
        headings.retain(|heading| SECTIONS.contains(heading));
        assert_eq!(headings, SECTIONS, "{}", model.display());
        for (heading, text) in sections(&card) {
            assert!(text.len() > 20, "{}: `## {heading}` says nothing", model.display());
        }
        let terms = section(&card, "Terms");
        assert!(terms.to_lowercase().contains("non-commercial"), "{}: {terms}", model.display());
        let figures = section(&card, "Figures");
        assert!(figures.contains(|c: char| c.is_ascii_digit()), "{}: {figures}", model.display());
    }
}

#[test]
fn a_recipe_says_how_long_it_took() {
    let time = Regex::new(r"\d+(\.\d+)? (hours?|minutes?)\b").unwrap();
    for (model, card) in cards() {
        let recipe = section(&card, "Recipe");
        assert!(time.is_match(recipe), "{}: no hours or minutes in: {recipe}", model.display());
    }
}

#[test]
fn a_recipe_gives_the_command_that_made_the_file_or_says_that_there_is_none() {
    // A fenced block with a command of scripts/train/, which the repository has.
    let command = Regex::new(r"(?m)^```\w*\n(?:.*\n)*?.*(scripts/train/\w+\.py)").unwrap();
    for (model, card) in cards() {
        let recipe = section(&card, "Recipe");
        let Some(found) = command.captures(recipe) else {
            let owned_up = recipe.contains("not one of this repository's scripts");
            assert!(owned_up, "{}: no command line in: {recipe}", model.display());
            continue;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(&found[1]);
        assert!(script.is_file(), "{}: there is no {}", model.display(), script.display());
    }
}

#[test]
fn all_that_ships_is_small() {
    let sizes = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    let all: u64 = sizes.sum();
    assert!(all <= MOST_BYTES, "{all} bytes in checkpoints/, at most {MOST_BYTES}");
}
