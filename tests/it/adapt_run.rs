//! `nada adapt` from its start to its files, on the shipped models: what it writes, and what stopping does to it.

use crate::command::{Ran, command, listing, nada};
use crate::common::golden_path;
use nada::checkpoint::{self, apply_delta};
use nada::run_dir::RunDir;
use nada::torch::TensorMap;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use tch::Tensor;
use tempfile::TempDir;

/// As small as a run of the shipped models can be, on one thread.
const SMALL: [&str; 10] = [
    "--batch",
    "2",
    "--set",
    "augment.copies=1",
    "--set",
    "output.samples=2",
    "--threads",
    "1",
    "--device",
    "cpu",
];
const STEPS: u64 = 6;

fn adapt(folder: &Path, args: &[&str]) -> Ran {
    nada(folder, &[&["adapt", "--target", "sketch"], &SMALL[..], args].concat())
}

/// An uninterrupted run of six steps that all tests look at and none changes, with what it printed.
fn straight() -> &'static (TempDir, Ran) {
    static RUN: OnceLock<(TempDir, Ran)> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let more = [
            "--iterations",
            "6",
            "--out",
            "run",
            "--json",
            "--snapshot-every",
            "2",
            "--sample-every",
            "3",
        ];
        let ran = adapt(folder.path(), &more).done();
        (folder, ran)
    })
}

/// The folder of a finished run, for tests of what can be done with one.
pub(crate) fn finished() -> std::path::PathBuf {
    straight().0.path().join("run")
}

fn straight_run() -> RunDir {
    RunDir::open(straight().0.path().join("run")).unwrap()
}

fn tensors(path: &Path) -> TensorMap {
    checkpoint::open(path)
        .unwrap()
        .entries
        .iter()
        .map(|(name, entry)| (name.clone(), entry.tensor().unwrap()))
        .collect()
}

/// Equal to the last bit.
#[track_caller]
fn assert_same(got: &TensorMap, want: &TensorMap) {
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>());
    for (name, tensor) in got {
        assert!(tensor.equal(&want[name]), "`{name}` differs");
    }
}

#[track_caller]
fn assert_equals_the_straight_run(run: &Path) {
    let got = tensors(&run.join("generator.safetensors"));
    assert_same(&got, &tensors(&straight_run().generator_file()));
    // The record is whole, too.
    let losses =
        |run: &RunDir| -> Vec<f64> { run.read_metrics().unwrap().iter().map(|r| r.loss).collect() };
    assert_eq!(losses(&RunDir::open(run).unwrap()), losses(&straight_run()));
}

/// Starts a run in the background and returns when it has told of `steps` steps.
fn started(
    folder: &Path,
    args: &[&str],
    steps: usize,
) -> (Child, BufReader<std::process::ChildStdout>) {
    let all =
        [&["adapt", "--target", "sketch", "--json", "--out", "run"], &SMALL[..], args].concat();
    let mut child =
        command(folder, &all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..steps {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "the run ended early");
    }
    (child, out)
}

#[test]
fn a_run_leaves_all_its_files_and_each_is_well_formed() {
    let run = straight_run();
    let (config, manifest) = run.read_config().unwrap();
    assert_eq!((config.target.as_str(), config.train.iterations), ("sketch", STEPS));
    assert_eq!(manifest.weights.len(), 4);
    assert!(manifest.weights.iter().all(|w| w.sha256.len() == 64));
    let metrics = run.read_metrics().unwrap();
    assert_eq!(metrics.iter().map(|r| r.step).collect::<Vec<_>>(), (0..STEPS).collect::<Vec<_>>());
    assert!(metrics.iter().all(|r| r.loss.is_finite() && r.terms.contains_key("directional")));
    let pictures = [run.before_after_file(), run.loss_file(), run.layers_file()];
    for picture in pictures.into_iter().chain([0, 3, 6].map(|step| run.sample_file(step))) {
        assert!(nada::imaging::load::open_image(&picture).unwrap().width() > 200, "{picture:?}");
    }
    let snapshots = listing(&run.snapshots_dir());
    assert_eq!(
        snapshots,
        ["000004.safetensors", "000006.safetensors"].map(Into::<std::path::PathBuf>::into)
    );
    assert_eq!(run.latest_snapshot().snapshot.unwrap().step, STEPS);
    assert!(!listing(run.path()).iter().any(|p| p.to_string_lossy().ends_with(".part")));
}

#[test]
fn base_plus_delta_is_the_generator() {
    let run = straight_run();
    let base = format!("{}/checkpoints/faces128.safetensors", env!("CARGO_MANIFEST_DIR"));
    let (base, delta) = (tensors(Path::new(&base)), tensors(&run.delta_file()));
    assert!(!delta.is_empty() && delta.len() < base.len());
    let mut whole = apply_delta(&base, &delta).unwrap();
    let generator = tensors(&run.generator_file());
    // Filter kernels are constants, and are not written again.
    whole.retain(|name, _| !name.ends_with(".kernel"));
    assert_same(&generator, &whole);
    // The difference alone is no generator, and is told so.
    let folder = tempfile::tempdir().unwrap();
    let delta = run.delta_file().display().to_string();
    let ran = nada(folder.path(), &["generate", "--generator", &delta]);
    ran.refused(1, &["holds only what an adapted generator changed", "generator.safetensors"]);
    assert!(
        nada(folder.path(), &["inspect", &delta]).done().stdout.contains("differ from its base")
    );
}

#[test]
fn progress_for_programs_is_a_line_of_json_per_step_and_one_for_the_result() {
    let (folder, ran) = straight();
    let lines: Vec<Value> = ran.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len() as u64, STEPS + 1);
    assert_eq!(lines[2]["step"], 2);
    assert!(lines[2]["terms"]["directional"].is_number() && lines[2]["layers"].is_array());
    let result = lines[STEPS as usize]["generator"].as_str().unwrap();
    assert!(folder.path().join(result).is_file());
    // People are told on the other channel.
    assert!(
        ran.stderr.contains("step 6/6") && ran.stderr.contains("before_after.png"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_same_command_gives_the_same_bytes_and_another_seed_other_ones() {
    let folder = tempfile::tempdir().unwrap();
    let ran = adapt(folder.path(), &["--iterations", "6", "--out", "again", "--quiet"]).done();
    assert_eq!(ran.stdout.trim(), "again/generator.safetensors");
    assert_eq!(ran.stderr, "");
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    let again = bytes(&folder.path().join("again/generator.safetensors"));
    assert!(again == bytes(&straight_run().generator_file()));
    adapt(folder.path(), &["--iterations", "6", "--out", "other", "--seed", "1"]).done();
    let other = tensors(&folder.path().join("other/generator.safetensors"));
    assert!(
        !other["conv1.conv.weight"]
            .equal(&tensors(&straight_run().generator_file())["conv1.conv.weight"])
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_saves_and_resuming_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    // Far more steps than pass before the signal arrives.
    let (mut child, out) = started(folder.path(), &["--iterations", "60"], 1);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let rest = out.lines().count();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("continue with: nada adapt --resume run"), "{said}");
    let run = RunDir::open(folder.path().join("run")).unwrap();
    assert!(!run.is_finished());
    let saved = run.latest_snapshot().snapshot.unwrap().step;
    assert_eq!(saved, 1 + rest as u64);
    assert_eq!(run.read_metrics().unwrap().len() as u64, saved);
    if saved < STEPS {
        nada(folder.path(), &["adapt", "--resume", "run", "--iterations", "6"]).done();
        assert_equals_the_straight_run(run.path());
    }
}

#[cfg(unix)]
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    // As `nohup` (HUP) and a shell without job control (INT, QUIT) start what runs in the background.
    for (ignored, signal, code) in
        [("HUP", "-HUP", 0), ("INT", "-INT", 0), ("HUP", "-TERM", 130), ("QUIT", "-HUP", 130)]
    {
        let folder = tempfile::tempdir().unwrap();
        let run = command(folder.path(), &[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("trap '' {ignored}; exec \"$@\""), "sh"]).arg(run.get_program());
        shell.args(["adapt", "--target", "sketch", "--json", "--out", "run"]).args(SMALL);
        shell.args(["--iterations", "8"]).current_dir(folder.path());
        shell.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut String::new()).unwrap();
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        out.lines().count();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{ignored} {signal}: {said}");
        let finished = RunDir::open(folder.path().join("run")).unwrap().is_finished();
        assert_eq!(finished, code == 0, "{ignored} {signal}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn kill_9_in_the_middle_loses_only_the_steps_since_the_last_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, _out) =
        started(folder.path(), &["--iterations", "6", "--snapshot-every", "2"], 4);
    child.kill().unwrap();
    child.wait().unwrap();
    let run = RunDir::open(folder.path().join("run")).unwrap();
    assert!(run.latest_snapshot().snapshot.unwrap().step >= 2);
    assert!(run.latest_snapshot().broken.is_empty());
    nada(folder.path(), &["adapt", "--resume", "run"]).done();
    assert_equals_the_straight_run(run.path());
}

#[test]
fn a_finished_run_goes_on_with_more_iterations() {
    let folder = tempfile::tempdir().unwrap();
    adapt(folder.path(), &["--iterations", "3", "--out", "run"]).done();
    let ran = nada(folder.path(), &["adapt", "--resume", "run"]).done();
    assert!(ran.stderr.contains("has all its 3 steps"), "{}", ran.stderr);
    nada(folder.path(), &["adapt", "--resume", "run", "--iterations", "6"]).done();
    assert_equals_the_straight_run(&folder.path().join("run"));
}

#[test]
fn a_second_process_may_not_write_to_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    adapt(folder.path(), &["--iterations", "1", "--out", "run"]).done();
    let _held = RunDir::resume(folder.path().join("run")).unwrap();
    let before = listing(folder.path());
    let ran = nada(folder.path(), &["adapt", "--resume", "run", "--iterations", "2"]);
    ran.refused(2, &["another process is writing to `run`", "hint: "]);
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn a_run_starts_from_an_earlier_run() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = straight_run();
    let earlier = earlier.path().to_str().unwrap();
    let more =
        ["--iterations", "2", "--out", "next", "--generator", earlier, "--reference", "faces128"];
    adapt(folder.path(), &more).done();
    let next = RunDir::open(folder.path().join("next")).unwrap();
    let (_, manifest) = next.read_config().unwrap();
    let of = |role: &str| manifest.weights.iter().find(|w| w.role == role).unwrap().path.clone();
    assert!(of("generator").ends_with("run/generator.safetensors"));
    assert!(of("reference").ends_with("faces128.safetensors"));
    let moved = tensors(&next.generator_file());
    assert!(
        !moved["conv1.conv.weight"]
            .equal(&tensors(&straight_run().generator_file())["conv1.conv.weight"])
    );
}

#[test]
fn checks_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ran = adapt(folder.path(), &["--print-config", "--lr", "0.005"]).done();
    let lr = ran.stdout.lines().find(|l| l.contains("lr:")).unwrap();
    assert!(lr.contains("0.005") && lr.ends_with("# --lr"), "{lr}");
    // The target has a preset of its own; another one has not.
    assert!(ran.stdout.contains("# preset sketch"), "{}", ran.stdout);
    let other =
        nada(folder.path(), &["adapt", "--print-config", "--target", "zombies at night"]).done();
    assert!(other.stdout.contains("# preset default"), "{}", other.stdout);
    let ran = adapt(folder.path(), &["--dry-run", "--out", "run"]).done();
    for words in ["photo -> sketch", "128 px", "clip_rn", "120 steps of 2 images", "convs.9"] {
        assert!(ran.stdout.contains(words), "{}", ran.stdout);
    }
    assert!(listing(folder.path()).is_empty());
}

#[test]
fn the_target_may_be_given_by_images_and_the_layers_chosen_step_by_step() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("Gold Leaf");
    std::fs::create_dir(&images).unwrap();
    for name in ["target0.png", "target1.png"] {
        std::fs::copy(golden_path("nada", name), images.join(name)).unwrap();
    }
    let args = [
        "adapt",
        "--target-images",
        "Gold Leaf",
        "--iterations",
        "3",
        "--layers",
        "adaptive",
        "--k",
        "4",
    ];
    let ran = nada(folder.path(), &[&args[..], &SMALL].concat()).done();
    // Named after the folder when there is no phrase.
    assert_eq!(ran.stdout.trim(), "runs/gold-leaf/generator.safetensors");
    let run = RunDir::open(folder.path().join("runs/gold-leaf")).unwrap();
    for record in run.read_metrics().unwrap() {
        assert_eq!(record.scores.unwrap().len(), 12);
        assert!((4..14).contains(&record.layers.len()), "{:?}", record.layers);
    }
}

#[test]
fn a_generated_picture_of_a_run_can_show_what_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let run = straight_run();
    let run = run.path().to_str().unwrap();
    let args = ["generate", "--generator", run, "--beside", "--count", "3", "--out", "pairs.png"];
    assert_eq!(nada(folder.path(), &args).done().stdout, "pairs.png\n");
    let pairs = nada::imaging::load::open_image(folder.path().join("pairs.png")).unwrap();
    nada(
        folder.path(),
        &["generate", "--generator", run, "--count", "2", "--raw", "a.safetensors"],
    )
    .done();
    nada(folder.path(), &["generate", "--count", "2", "--raw", "b.safetensors"]).done();
    let images =
        |name: &str| -> Tensor { tensors(&folder.path().join(name)).remove("images").unwrap() };
    assert!(!images("a.safetensors").equal(&images("b.safetensors")));
    assert!(pairs.height() > 2 * 128);
    let ran = nada(folder.path(), &["generate", "--beside", "--out", "x.png"]);
    ran.refused(2, &["`faces128` is no run"]);
}

#[test]
fn a_run_can_be_looked_into() {
    let (folder, _) = straight();
    let ran = nada(folder.path(), &["inspect", "run", "--json"]).done();
    let facts: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&facts["target"], &facts["steps"]), (&"sketch".into(), &STEPS.into()));
    assert_eq!(facts["finished"], true);
    assert_eq!(facts["snapshots"][1], "000006.safetensors");
    assert!(facts["terms"]["directional"].is_number());
    assert_eq!(facts["weights"].as_array().unwrap().len(), 4);
    assert_eq!(facts["result_sha256"].as_str().unwrap().len(), 64);
    let text = nada(folder.path(), &["inspect", "run"]).done().stdout;
    assert!(text.contains("target") && text.contains("sketch"), "{text}");
    nada(folder.path(), &["inspect", "run", "--tensors"]).refused(2, &["generator.safetensors"]);
}
