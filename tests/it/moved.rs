//! A run whose start generator lies in another place now: found beside the run, or named, and known by its hash.
#![allow(clippy::unwrap_used)]

use crate::command::{Ran, nada};
use crate::common::golden_path;
use nada::run_dir::RunDir;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

const SMALL: [&str; 13] = [
    "--target",
    "sketch",
    "--batch",
    "2",
    "--set",
    "augment.copies=1",
    "--set",
    "output.samples=2",
    "--layers",
    "all",
    "--threads",
    "1",
    "--quiet",
];

const ADAPT: [&str; 5] = ["adapt", "--generator", "g.pt", "--preset", "default"];

/// `runs/r`, two steps upon `g.pt`, which is called `kept.pt` now: nothing lies in the recorded place any more.
fn made() -> &'static TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::copy(golden_path("generator32", "generator.pt"), at("g.pt")).unwrap();
        let args = ["--iterations", "2", "--out", "runs/r"];
        nada(folder.path(), &[&ADAPT[..], &args, &SMALL].concat()).done();
        std::fs::rename(at("g.pt"), at("kept.pt")).unwrap();
        folder
    })
}

/// Where the run says that it began.
fn recorded() -> String {
    made().path().canonicalize().unwrap().join("g.pt").display().to_string()
}

/// A copy of the run in another place, with the generator at `at`.
fn moved(at: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&made().path().join("runs"), &folder.path().join("runs"));
    if let Some(at) = at {
        std::fs::create_dir_all(folder.path().join(at).parent().unwrap()).unwrap();
        std::fs::copy(made().path().join("kept.pt"), folder.path().join(at)).unwrap();
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let place = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &place);
        } else {
            std::fs::copy(&entry, &place).unwrap();
        }
    }
}

/// Every command that needs what a run began with; `generator` are the words that name it.
fn all(folder: &Path, generator: Option<&str>) -> Vec<(&'static str, Ran)> {
    let named = |option: &str| match generator {
        Some(file) if option.ends_with('=') => vec![format!("{option}{file}")],
        Some(file) => vec![option.to_owned(), file.to_owned()],
        None if option == "--beside=" => vec!["--beside".to_owned()],
        None => Vec::new(),
    };
    let ran = |args: &str, option: &str| {
        let given = named(option);
        let args: Vec<&str> = args.split(' ').chain(given.iter().map(String::as_str)).collect();
        nada(folder, &args)
    };
    vec![
        ("generate", ran("generate --generator runs/r --count 2 --out g.png --force", "--beside=")),
        (
            "evaluate",
            ran("evaluate runs/r --samples 12 --phrases photo,clown --threads 1", "--generator"),
        ),
        ("compare", ran("compare runs/r --count 2 --out c.png --force", "--generator")),
        ("export", ran("export runs/r --format delta --out d.safetensors --force", "--base")),
        ("adapt", ran("adapt --resume runs/r --iterations 3 --quiet", "--generator")),
    ]
}

#[test]
fn a_start_beside_the_run_is_found_by_its_name_and_hash() {
    for place in ["runs/g.pt", "runs/r/g.pt", "g.pt"] {
        let folder = moved(Some(place));
        for (command, ran) in all(folder.path(), None) {
            assert_eq!(ran.code, 0, "{place}, {command}: {}", ran.stderr);
            assert!(!ran.stderr.contains("has changed"), "{place}, {command}: {}", ran.stderr);
        }
        // The record says where it is now, and the configuration is what it was: the run goes on once more.
        let (config, manifest) =
            RunDir::open(folder.path().join("runs/r")).unwrap().read_config().unwrap();
        assert_eq!(config.generator, recorded());
        let now = folder.path().join(place).canonicalize().unwrap();
        assert_eq!(manifest.base().unwrap().path, now);
        nada(folder.path(), &["adapt", "--resume", "runs/r", "--iterations", "4", "--quiet"])
            .done();
    }
}

#[test]
fn a_start_that_is_named_is_taken_where_its_hash_agrees() {
    let folder = moved(Some("elsewhere/renamed.pt"));
    for (command, ran) in all(folder.path(), None) {
        let option = match command {
            "generate" => "`--beside=FILE`",
            "export" => "`--base FILE`",
            _ => "`--generator FILE`",
        };
        assert!(ran.stderr.contains(option), "{command}: {}", ran.stderr);
        assert!(!ran.stderr.contains("the shipped generators"), "{command}: {}", ran.stderr);
        let words = format!("`{}` (sha256 ", recorded());
        ran.refused(2, &[&words, "not there any more, nor beside the run"]);
    }
    let other = golden_path("generator64", "generator.pt").display().to_string();
    for (command, ran) in all(folder.path(), Some(&other)) {
        // A delta may be taken upon any generator of the shape.
        let words: &[&str] = if command == "export" {
            &["another shape"]
        } else {
            &["began with a generator of sha256", "nada inspect"]
        };
        ran.refused(2, words);
    }
    for (command, ran) in all(folder.path(), Some("elsewhere/renamed.pt")) {
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
    }
    // Moved or not, a run goes on to the same bits.
    let straight = tempfile::tempdir().unwrap();
    std::fs::copy(made().path().join("kept.pt"), straight.path().join("g.pt")).unwrap();
    let args = ["--iterations", "3", "--out", "runs/r"];
    nada(straight.path(), &[&ADAPT[..], &args, &SMALL].concat()).done();
    let result = |folder: &Path| {
        let file = nada::checkpoint::open(folder.join("runs/r/generator.safetensors")).unwrap();
        file.entries["conv1.conv.weight"].tensor().unwrap()
    };
    assert!(result(folder.path()).equal(&result(straight.path())));
}

#[test]
fn another_file_of_that_name_is_not_taken() {
    let folder = moved(None);
    std::fs::copy(golden_path("generator64", "generator.pt"), folder.path().join("runs/g.pt"))
        .unwrap();
    for (_, ran) in all(folder.path(), None) {
        ran.refused(2, &["not there any more, nor beside the run"]);
    }
    // One that has changed in its old place is told as before.
    let changed = moved(Some("g.pt"));
    let config = changed.path().join("runs/r/config.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    let here = changed.path().canonicalize().unwrap().join("g.pt").display().to_string();
    std::fs::write(&config, text.replace(&recorded(), &here)).unwrap();
    let other = golden_path("generator32", "generator_legacy.pt");
    std::fs::copy(other, changed.path().join("g.pt")).unwrap();
    nada(changed.path(), &["adapt", "--resume", "runs/r", "--iterations", "3"])
        .refused(1, &["has changed since this run began"]);
}

#[test]
fn a_mapper_goes_on_with_its_generator_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::copy(golden_path("generator32", "generator.pt"), at("g.pt")).unwrap();
    let start = "mapper --generator g.pt --target sketch --source photo --preset default --iterations 1 --samples 2 --batch 2 --threads 1 --out m";
    nada(folder.path(), &start.split(' ').collect::<Vec<_>>()).done();
    std::fs::create_dir(at("elsewhere")).unwrap();
    std::fs::rename(at("g.pt"), at("elsewhere/new.pt")).unwrap();
    let resume = ["mapper", "--resume", "m", "--iterations", "2", "--samples", "2"];
    nada(folder.path(), &resume).refused(2, &["`m` began with", "`--generator FILE`"]);
    nada(folder.path(), &[&resume[..], &["--generator", "elsewhere/new.pt"]].concat()).done();
}
