//! The rooms of the house and who may enter which: the design's table, kept true by reading the sources.

use regex::Regex;
use std::path::{Path, PathBuf};

/// Each room with the rooms that it may use. `lib` only names them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "adapt",
            "atomic",
            "builtin",
            "checkpoint",
            "clip",
            "config",
            "edit",
            "error",
            "evaluate",
            "export",
            "fetch",
            "imaging",
            "invert",
            "models",
            "regular",
            "rng",
            "run_dir",
            "stylegan2",
            "torch",
        ],
    ),
    // The table of losses and their weights is shared with the configuration.
    ("adapt", &["clip", "config", "error", "imaging", "rng", "stylegan2", "torch"]),
    // Texts become directions as in the training, the mapper's figures are the evaluation's, its identity loss is an
    // encoder's trunk.
    (
        "edit",
        &[
            "adapt",
            "clip",
            "config",
            "error",
            "evaluate",
            "imaging",
            "invert",
            "rng",
            "stylegan2",
            "torch",
        ],
    ),
    // Texts become directions in the evaluation as they do in the training.
    ("evaluate", &["adapt", "clip", "error", "imaging", "rng", "stylegan2", "torch"]),
    // The types of a step's report are adapt's.
    (
        "run_dir",
        &[
            "adapt",
            "atomic",
            "checkpoint",
            "config",
            "error",
            "imaging",
            "regular",
            "stylegan2",
            "torch",
        ],
    ),
    // A name stands for the files of a generator, which `models` opens; one that is not there may be fetched.
    ("builtin", &["checkpoint", "config", "error", "fetch", "models", "run_dir"]),
    ("fetch", &["atomic", "checkpoint", "error", "regular"]),
    // The place where files and networks meet.
    ("models", &["checkpoint", "clip", "edit", "error", "invert", "regular", "stylegan2", "torch"]),
    // Files for other programs; the card says where the models came from.
    (
        "export",
        &["atomic", "checkpoint", "error", "models", "regular", "rng", "stylegan2", "torch"],
    ),
    // Codes are optimised with adapt's Adam, and compared by what CLIP sees.
    ("invert", &["adapt", "clip", "error", "imaging", "rng", "stylegan2", "torch"]),
    ("stylegan2", &["error", "rng", "torch"]),
    ("clip", &["error", "imaging", "torch"]),
    ("checkpoint", &["atomic", "error", "regular", "torch"]),
    ("imaging", &["atomic", "error", "regular", "torch"]),
    ("rng", &["torch"]),
    ("config", &["error"]),
    // Files that a person names: no pipes, no devices.
    ("regular", &["error"]),
    ("atomic", &["error"]),
    ("torch", &["error"]),
    ("error", &[]),
];

/// A use of another room.
#[derive(Debug, PartialEq)]
struct Use {
    line: usize,
    room: String,
}

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    found
}

/// `src/clip/text.rs` is in the room `clip`, two modules below the root.
fn place(path: &Path) -> (String, usize) {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let mut parts: Vec<String> =
        inside.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|p| p == "mod") {
        parts.pop();
    }
    (parts[0].clone(), parts.len())
}

/// The lines that are compiled into the program: no comments, no unit tests.
fn code(text: &str) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// Rooms named by `crate::room`, `crate::{room, …}`, or by enough `super::` to leave this one.
fn uses(code: &[(usize, String)], depth: usize) -> Vec<Use> {
    let path = Regex::new(r"(?:\bcrate::|((?:\bsuper::)+))(\{[^}]*|\w+)").unwrap();
    let name = Regex::new(r"(?:^\{|,)\s*(\w+)").unwrap();
    let mut found = Vec::new();
    for (line, text) in code {
        for hit in path.captures_iter(text) {
            let ups = hit.get(1).map(|s| s.as_str().matches("super").count());
            if ups.is_some_and(|ups| ups < depth) {
                continue;
            }
            let named = &hit[2];
            let rooms: Vec<&str> = if named.starts_with('{') {
                name.captures_iter(named).map(|c| c.get(1).unwrap().as_str()).collect()
            } else {
                vec![named]
            };
            for room in rooms {
                // Re-exported at the root.
                let room = if matches!(room, "Error" | "Result") { "error" } else { room };
                found.push(Use { line: *line, room: room.to_owned() });
            }
        }
    }
    found
}

#[test]
fn every_room_uses_only_the_rooms_that_it_may() {
    let mut faults = Vec::new();
    for path in sources() {
        let (room, depth) = place(&path);
        if room == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            faults.push(format!(
                "{}: `{room}` is a new room, give it a row in MAY_USE",
                path.display()
            ));
            continue;
        };
        let text = std::fs::read_to_string(&path).unwrap();
        for Use { line, room: used } in uses(&code(&text), depth) {
            if used != room && !allowed.contains(&used.as_str()) {
                faults.push(format!("{}:{line}: `{room}` may not use `{used}`", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn only_the_command_line_prints_parses_arguments_or_exits() {
    let speech = Regex::new(
        r"\be?print(ln)?!|\bdbg!|io::(stdout|stderr)|\b(clap|indicatif|anyhow)::|process::exit",
    )
    .unwrap();
    let mut faults = Vec::new();
    for path in sources().into_iter().filter(|path| place(path).0 != "cli") {
        for (line, text) in code(&std::fs::read_to_string(&path).unwrap()) {
            if let Some(hit) = speech.find(&text) {
                faults.push(format!(
                    "{}:{line}: `{}` belongs into cli",
                    path.display(),
                    hit.as_str()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_configuration_never_touches_libtorch() {
    for path in sources().into_iter().filter(|path| place(path).0 == "config") {
        for (line, text) in code(&std::fs::read_to_string(&path).unwrap()) {
            assert!(!text.contains("tch::"), "{}:{line}: {text}", path.display());
        }
    }
}

#[test]
fn a_use_is_seen_in_every_spelling() {
    let seen = |text: &str, depth| -> Vec<String> {
        uses(&code(text), depth).into_iter().map(|u| u.room).collect()
    };
    assert_eq!(seen("use crate::clip::Clip;", 1), ["clip"]);
    assert_eq!(seen("use crate::{clip, config::Config};", 1), ["clip", "config"]);
    assert_eq!(seen("fn f() -> crate::Result<()> { crate::rng::stream(1) }", 1), ["error", "rng"]);
    assert_eq!(seen("use super::super::rng; use super::losses;", 2), ["rng"]);
    assert_eq!(seen("// crate::clip\n#[cfg(test)]\nuse crate::clip;", 1), [] as [&str; 0]);
}
