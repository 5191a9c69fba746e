//! What a small CLIP says it has read: warnings of `adapt` and `score`, and what `inspect` shows.

use crate::command::{Ran, nada};
use crate::common::golden_path;
use nada::checkpoint::{self, save_safetensors};
use nada::clip::vocabulary::{PHRASES_KEY, WORDS_KEY};
use nada::models;
use nada::run_dir::RunDir;
use nada::torch::TensorMap;
use std::path::Path;
use tch::{Device, Kind};
use tempfile::TempDir;

const WORDS: &str = "a photo face golden statue watercolor cartoon portrait zombie";
const PHRASES: &str = "photo|watercolor=aquarelle|oil painting=oil on canvas|golden statue";
const BOTH: [(&str, &str); 2] = [(WORDS_KEY, WORDS), (PHRASES_KEY, PHRASES)];

/// A tiny CLIP with these metadata.
fn write_clip(file: &Path, metadata: &[(&str, &str)]) {
    let recorded = checkpoint::open(golden_path("clip_vit", "model.pt")).unwrap();
    let named = checkpoint::clip(&recorded).unwrap();
    let tensors: TensorMap =
        named.entries.iter().map(|(name, entry)| (name.clone(), entry.tensor().unwrap())).collect();
    let metadata = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    save_safetensors(file, &tensors, &metadata, Some(Kind::Half)).unwrap();
}

/// A folder with `a.safetensors`, which knows the words above, `b.safetensors`, which knows fewer, and
/// `silent.safetensors`, which does not say.
fn clips() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_clip(&folder.path().join("a.safetensors"), &BOTH);
    write_clip(&folder.path().join("b.safetensors"), &[(WORDS_KEY, "photo golden statue")]);
    write_clip(&folder.path().join("silent.safetensors"), &[("clip.activation", "quick_gelu")]);
    folder
}

/// The warnings of a dry run with these CLIPs.
fn warned(folder: &TempDir, clips: &[&str], source: &str, target: &str) -> Vec<String> {
    let mut args = vec!["adapt", "--source", source, "--target", target, "--dry-run"];
    for clip in clips {
        args.extend(["--clip", clip]);
    }
    warnings(&nada(folder.path(), &args).done())
}

fn warnings(ran: &Ran) -> Vec<String> {
    ran.stderr.lines().filter_map(|l| l.strip_prefix("warning: ")).map(str::to_owned).collect()
}

#[test]
fn adapt_warns_of_words_that_its_clip_never_read_and_names_near_ones() {
    let folder = clips();
    let a = ["a.safetensors"];
    assert_eq!(
        warned(&folder, &a, "photo", "a Watercolour of cartoons"),
        [
            "the target \"a Watercolour of cartoons\" uses `watercolour` and `cartoons`, which a.safetensors never \
          read in training; did you mean `watercolor` for `watercolour`, `cartoon` for `cartoons`?"
        ]
    );
    assert_eq!(
        warned(&folder, &a, "snapshot", "golden werewolf"),
        [
            "the source \"snapshot\" uses `snapshot`, which a.safetensors never read in training; known phrases: \
             `photo`, `watercolor`, `oil painting`, `golden statue`",
            "the target \"golden werewolf\" uses `werewolf`, which a.safetensors never read in training; known \
             phrases: `golden statue`",
        ]
    );
}

#[test]
fn no_warning_where_every_word_is_known_or_the_file_is_silent() {
    let folder = clips();
    // Not a phrase that was taught, but its words were.
    assert_eq!(warned(&folder, &["a.safetensors"], "Photo", "the golden zombie"), [""; 0]);
    assert_eq!(warned(&folder, &["silent.safetensors"], "photo", "werewolf"), [""; 0]);
    let images = golden_path("nada", "target0.png");
    std::fs::create_dir(folder.path().join("images")).unwrap();
    std::fs::copy(images, folder.path().join("images/x.png")).unwrap();
    let args = ["adapt", "--target-images", "images", "--source", "snapshot", "--dry-run"];
    let ran = nada(folder.path(), &[&args[..], &["--clip", "a.safetensors"]].concat()).done();
    assert_eq!(warnings(&ran), [""; 0]);
}

#[test]
fn an_ensemble_is_warned_of_once_for_a_phrase() {
    let folder = clips();
    let all = ["silent.safetensors", "a.safetensors", "b.safetensors"];
    assert_eq!(
        warned(&folder, &all, "photo", "zombie werewolf statue"),
        [
            "the target \"zombie werewolf statue\" uses `werewolf`, which a.safetensors and b.safetensors never read in \
          training, and `zombie`, which b.safetensors never read in training; known phrases: `golden statue`"
        ]
    );
}

#[test]
fn a_run_records_its_warnings_and_quiet_keeps_them_from_the_terminal() {
    let folder = clips();
    let args = [
        "adapt",
        "--target",
        "golden werewolf",
        "--clip",
        "a.safetensors",
        "--iterations",
        "1",
        "--batch",
        "2",
        "--set",
        "augment.copies=1",
        "--out",
        "run",
        "--quiet",
    ];
    let ran = nada(folder.path(), &args).done();
    assert_eq!(ran.stderr, "");
    let (_, manifest) = RunDir::open(folder.path().join("run")).unwrap().read_config().unwrap();
    let [warning] = &manifest.warnings[..] else { panic!("{:?}", manifest.warnings) };
    assert!(warning.starts_with("the target \"golden werewolf\" uses `werewolf`"), "{warning}");
    let shown = nada(folder.path(), &["inspect", "run"]).done().stdout;
    assert!(shown.contains(&format!("warnings\n  {warning}\n")), "{shown}");
    // A run that continues was warned already, and remembers.
    let more = ["adapt", "--resume", "run", "--iterations", "2"];
    assert_eq!(warnings(&nada(folder.path(), &more).done()), [""; 0]);
    let (_, later) = RunDir::open(folder.path().join("run")).unwrap().read_config().unwrap();
    assert_eq!(later.warnings, manifest.warnings);
}

#[test]
fn score_warns_of_each_text() {
    let folder = clips();
    let image = golden_path("nada", "target0.png").display().to_string();
    let args =
        ["score", &image, "--clip", "a.safetensors", "--text", "photo", "--text", "cartoons"];
    let ran = nada(folder.path(), &args).done();
    let expected = "the text \"cartoons\" uses `cartoons`, which a.safetensors never read in training; did you mean \
                    `cartoon`?";
    assert_eq!(warnings(&ran), [expected]);
    let ran = nada(folder.path(), &[&args[..], &["--json", "--quiet"]].concat()).done();
    assert_eq!(ran.stderr, "");
    let scores: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(scores["warnings"], serde_json::json!([expected]));
}

#[test]
fn inspect_counts_the_words_and_lists_the_phrases() {
    let folder = clips();
    let shown = nada(folder.path(), &["inspect", "a.safetensors"]).done().stdout;
    let words = shown.lines().find(|line| line.starts_with("words ")).unwrap();
    // Those of the phrases count: aquarelle, oil, painting, on, canvas.
    assert!(words.ends_with(" 14"), "{shown}");
    let line = "\n  photo, watercolor = aquarelle, oil painting = oil on canvas, golden statue\n";
    assert!(shown.contains(&format!("\nphrases{line}")), "{shown}");
    assert!(!shown.contains("nada.vocabulary"), "{shown}");
    let json = nada(folder.path(), &["inspect", "a.safetensors", "--json"]).done().stdout;
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(facts["words"], 14);
    assert_eq!(facts["phrases"][1], serde_json::json!(["watercolor", "aquarelle"]));
    assert_eq!(facts["metadata"]["nada.vocabulary"], WORDS);
    let silent = nada(folder.path(), &["inspect", "silent.safetensors"]).done().stdout;
    assert!(
        !silent.lines().any(|l| l.starts_with("words") || l.starts_with("phrases")),
        "{silent}"
    );
}

#[test]
fn a_clip_carries_its_vocabulary() {
    let folder = clips();
    let open = |name: &str| {
        models::open_clip(&folder.path().join(name), Kind::Float, Device::Cpu).unwrap().0
    };
    let clip = open("a.safetensors").without_text();
    let known = clip.vocabulary().unwrap();
    assert_eq!(
        known.phrases().collect::<Vec<_>>(),
        ["photo", "watercolor", "oil painting", "golden statue"]
    );
    assert!(known.knows_phrase("oil on canvas"));
    assert!(open("silent.safetensors").vocabulary().is_none());
}

#[test]
fn a_vocabulary_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_clip(&folder.path().join("x.safetensors"), &[(WORDS_KEY, "a \u{1b}[2J")]);
    let words = ["x.safetensors", "holds '\\u{1b}', which no word has", "hint: its metadata"];
    for args in [
        &["adapt", "--target", "a", "--dry-run", "--clip", "x.safetensors"][..],
        &["score", "x.png", "--text", "a", "--clip", "x.safetensors"],
    ] {
        nada(folder.path(), args).refused(1, &words);
    }
    let shown = nada(folder.path(), &["inspect", "x.safetensors"]).done().stdout;
    assert!(shown.contains("problems") && shown.contains("which no word has"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
}
