//! The README is true: its `console` blocks are run, in order, in an empty folder.

use std::path::Path;
use std::process::Command;

/// The commands behind `$` in the blocks marked `console`.
fn commands(readme: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.trim_end() {
            "```console" => inside = true,
            "```" => inside = false,
            text if inside => found.extend(text.strip_prefix("$ ").map(str::to_owned)),
            _ => {}
        }
    }
    found
}

#[test]
fn every_command_of_the_readme_works_in_its_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The photo that the commands name lies in the repository.
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    std::fs::copy(root.join("docs/portrait.jpg"), folder.path().join("docs/portrait.jpg")).unwrap();
    let commands = commands(&readme);
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        let run = command.replacen("scripts/nada", env!("CARGO_BIN_EXE_nada"), 1);
        assert_ne!(run, command, "`{command}` does not go through scripts/nada");
        let output =
            Command::new("sh").args(["-c", &run]).current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "`{command}` failed:\n{text}");
        if command.contains("compare") {
            assert!(!text.contains("warning"), "`{command}` warns:\n{text}");
        }
    }
    for file in [
        "runs/sketch/before_after.png",
        "runs/sketch/generator.safetensors",
        "sketches.png",
        "portrait/sheet.png",
        "morph.gif",
    ] {
        assert!(folder.path().join(file).is_file(), "the commands left no {file}");
    }
}

#[test]
fn files_that_the_readme_points_to_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    for part in readme.split("](").skip(1) {
        let target = part.split(')').next().unwrap();
        if !target.starts_with("http") {
            assert!(root.join(target).exists(), "README points to {target}");
        }
    }
}

#[test]
fn the_changelog_knows_the_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let changelog = std::fs::read_to_string(root.join("CHANGELOG.md")).unwrap();
    let first = changelog.lines().find(|l| l.starts_with("## ")).unwrap();
    assert!(first.contains("Unreleased") || first.contains(env!("CARGO_PKG_VERSION")), "{first}");
}
