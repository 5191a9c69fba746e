//! `nada evaluate` on a short adaptation of the shipped models: what it prints and writes, and what it refuses.

use crate::command::{Ran, command, listing, nada};
use nada::imaging::load::open_image;
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A run of four steps that all tests look at and none changes.
fn folder() -> &'static TempDir {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let args = [
            "adapt",
            "--target",
            "sketch",
            "--iterations",
            "4",
            "--batch",
            "2",
            "--set",
            "augment.copies=1",
            "--threads",
            "1",
            "--device",
            "cpu",
            "--out",
            "run",
        ];
        nada(folder.path(), &args).done();
        folder
    })
}

/// As little work as shows everything.
fn evaluate(args: &[&str]) -> Ran {
    let few = ["--samples", "12", "--phrases", "photo,clown,pencil drawing", "--threads", "1"];
    let device = ["--device", "cpu"];
    nada(folder().path(), &[&["evaluate", "run"], &few[..], &device, args].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

/// A folder of noise that shows nothing, and some things that are no images.
fn references(path: &Path) {
    std::fs::create_dir(path).unwrap();
    for i in 0..4u8 {
        let pixel = |x: u32, y: u32| [(x * 7) as u8 ^ (i * 40), (y * 5) as u8, i * 60];
        let image = image::RgbImage::from_fn(70, 64, |x, y| image::Rgb(pixel(x, y)));
        image.save(path.join(format!("{i}.png"))).unwrap();
    }
    std::fs::write(path.join("broken.png"), "no image").unwrap();
    std::fs::write(path.join("notes.txt"), "no image either").unwrap();
}

#[test]
fn every_figure_is_there_and_in_its_range() {
    let folder = folder();
    references(&folder.path().join("noise"));
    let ran = evaluate(&["--out", "all", "--json", "--reference", "noise"]).done();
    let all = json(&ran);
    let share = |path: &str| {
        let value = all.pointer(path).unwrap_or_else(|| panic!("{path}")).as_f64().unwrap();
        assert!((-1e-9..=1.0 + 1e-9).contains(&value), "{path}: {value}");
        value
    };
    assert_eq!(
        (&all["samples"], &all["source"], &all["target"]),
        (&12.into(), &"photo".into(), &"sketch".into())
    );
    assert_eq!(all["phrases"], serde_json::json!(["photo", "sketch", "clown", "pencil drawing"]));
    for path in ["/zero_shot/target_rate", "/zero_shot/leak_rate", "/diversity/clip_nearly_same"] {
        share(path);
    }
    let taken = all["zero_shot"]["taken_for"].as_array().unwrap();
    let sum: f64 = taken.iter().map(|t| t["share"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    // Four steps change little: everything is still where it was.
    assert!(share("/identity/combined/top1") > 0.9);
    assert!(share("/identity/edge_correlation") > 0.8);
    assert_eq!(all["identity"]["among"], 12);
    let number = |path: &str| all.pointer(path).unwrap().as_f64().unwrap();
    assert!((0.5..1.5).contains(&number("/diversity/clip_ratio")));
    assert!((0.2..5.0).contains(&number("/high_frequency/median")));
    let directional = number("/directional/mean");
    assert!((-1.0..=1.0).contains(&directional));
    assert!(number("/directional/p10") <= directional && directional <= number("/directional/p90"));
    assert_eq!(all["directional"]["by_view"].as_object().unwrap().len(), 6);

    let judges = all["judges"].as_array().unwrap();
    assert_eq!(judges.len(), 3);
    for judge in judges {
        assert_eq!(judge["guided_the_training"], true);
        assert_eq!(judge["frechet"]["references"], 4);
        assert_eq!(judge["frechet"]["too_few"], true);
        assert!(judge["frechet"]["source"].as_f64().unwrap() > 0.0);
    }
    let weights = all["weights"].as_array().unwrap();
    assert_eq!(weights.len(), 5);
    assert!(weights.iter().all(|w| w["sha256"].as_str().unwrap().len() == 64));
    assert_eq!(all["findings"].as_array().unwrap().len(), 7);
    assert!(all["training_seconds"].as_f64().unwrap() > 0.0);
    for words in ["flatters", "`noise/broken.png`", "few for the 128 features"] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    // What was printed was written, and nothing half-written is left.
    let written = folder.path().join("all");
    let text = std::fs::read_to_string(written.join("evaluation.json")).unwrap();
    assert_eq!(text, ran.stdout);
    assert_eq!(listing(&written).len(), 2);
    let sheet = open_image(written.join("sheet.png")).unwrap();
    assert!(sheet.width() > 900 && sheet.height() > 700);
}

#[test]
fn the_same_seed_gives_the_same_file_and_another_one_others() {
    let file =
        |out: &str| std::fs::read(folder().path().join(out).join("evaluation.json")).unwrap();
    evaluate(&["--out", "one", "--quiet"]).done();
    // Another batch may round otherwise, so the same is asked for.
    evaluate(&["--out", "two", "--quiet"]).done();
    evaluate(&["--out", "three", "--quiet", "--seed", "1"]).done();
    assert!(file("one") == file("two"));
    assert!(file("one") != file("three"));
}

#[test]
fn people_get_a_table_and_may_ask_again() {
    for _ in 0..2 {
        let ran = evaluate(&[]).done();
        for words in [
            "photo -> sketch",
            "guided the training, flatters",
            "directional similarity",
            "target rate",
            "leak rate",
            "identity",
            "diversity",
            "high frequency",
            "taken for: ",
        ] {
            assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
        }
        assert!(ran.stderr.contains("run/evaluation/sheet.png"), "{}", ran.stderr);
    }
    assert!(folder().path().join("run/evaluation/evaluation.json").is_file());
}

#[test]
fn a_judge_that_did_not_guide_is_heard_alone() {
    // Another file with other bytes: the first judge once more, in another dress.
    let folder = folder();
    let shipped = format!("{}/checkpoints/clip_vit.safetensors", env!("CARGO_MANIFEST_DIR"));
    let mut clip = tch::Tensor::read_safetensors(shipped).unwrap();
    for (_, tensor) in clip.iter_mut().filter(|(_, tensor)| tensor.is_floating_point()) {
        *tensor = tensor.to_kind(tch::Kind::Float);
    }
    tch::Tensor::write_safetensors(&clip, folder.path().join("other.safetensors")).unwrap();
    let args = ["--clip", "clip-vit", "--clip", "other.safetensors", "--out", "held", "--json"];
    let ran = evaluate(&args).done();
    let all = json(&ran);
    assert_eq!(all["heard"], serde_json::json!(["other"]));
    assert_eq!(all["judges"][0]["guided_the_training"], true);
    assert_eq!(all["judges"][1]["guided_the_training"], false);
    assert_eq!(all["directional"]["mean"], all["judges"][1]["directional"]["mean"]);
    assert!(!ran.stderr.contains("flatters"), "{}", ran.stderr);
    let row = evaluate(&["--clip", "other.safetensors", "--out", "held", "--markdown"]).done();
    assert_eq!(row.stdout.trim().matches(" | ").count(), 7, "{}", row.stdout);
    assert!(row.stdout.starts_with("| sketch | "), "{}", row.stdout);
}

#[test]
fn wrong_requests_are_refused_before_any_work() {
    let folder = folder();
    let at = |args: &[&str]| nada(folder.path(), &[&["evaluate"], args].concat());
    at(&["nowhere"]).refused(2, &["`nowhere` is no run", "hint: "]);
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    at(&["empty"]).refused(2, &["no `config.yaml`"]);
    let unfinished = folder.path().join("unfinished");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::copy(folder.path().join("run/config.yaml"), unfinished.join("config.yaml")).unwrap();
    at(&["unfinished"]).refused(2, &["has not finished", "--resume unfinished"]);
    for samples in ["0", "1", "-3"] {
        let asked = format!("--samples={samples}");
        at(&["run", &asked]).refused(2, &["2..=20000"]);
    }
    at(&["run", "--reference", "empty"]).refused(2, &["holds no images"]);
    at(&["run", "--reference", "not-there"]).refused(2, &["`not-there`"]);
    at(&["run", "--phrases", "styles.txt"]).refused(2, &["styles.txt", "no such file"]);
    at(&["run", "--clip", "clip-rn-z"]).refused(2, &["did you mean `clip-rn`"]);
    at(&["run", "--truncation", "nan"]).refused(2, &["not a number"]);
    at(&["run", "--target", "photo"]).refused(2, &["source and the target are the same"]);
    at(&["run", "--out", "run/config.yaml"]).refused(2, &["is a file"]);
    assert!(!unfinished.join("evaluation").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_nothing() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    let args =
        ["evaluate", "run", "--samples", "20000", "--phrases", "a,b", "--out", "stopped", "-v"];
    let mut child = command(folder().path(), &args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("reads 4 phrases") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended early");
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("nothing is written"), "{rest}");
    assert!(!folder().path().join("stopped").exists());
}
