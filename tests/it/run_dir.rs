//! A run folder: what is written, and what survives crashes, full disks and second processes.
#![allow(clippy::unwrap_used)]

use crate::common::assert_close;
use nada::Error;
use nada::adapt::losses::Term;
use nada::adapt::{Pair, StepReport};
use nada::checkpoint::{apply_delta, delta as delta_of};
use nada::config::layering::Layered;
use nada::config::{Config, LayerSet, NamedSet, Parity};
use nada::run_dir::{
    self, Manifest, Record, ResultInfo, RunDir, Weights, check_resumable, config_hash, metrics,
    pictures,
};
use nada::stylegan2::LayerId;
use nada::torch::TensorMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn config() -> Config {
    Config { target: "pencil: \"sketch\" — naïve".into(), ..Config::default() }
}

fn message(error: &Error) -> String {
    format!("{error} / {}", error.hint().unwrap_or_default())
}

/// A run that has begun.
fn begun(folder: &Path) -> RunDir {
    let run = RunDir::create(folder.join("run")).unwrap();
    run.write_config(&config(), &Manifest::new()).unwrap();
    run
}

fn record(step: u64) -> Record {
    let report = StepReport {
        step,
        loss: 0.5 / (step + 1) as f64,
        terms: vec![(Term::Directional, 0.25), (Term::InDomain, f64::NAN)],
        layers: vec![LayerId::Conv1, LayerId::Conv(3)],
        scores: step.is_multiple_of(2).then(|| vec![0.1, f64::INFINITY, 0.3]),
    };
    Record::new(&report, 0.125)
}

fn state(value: f64) -> TensorMap {
    let t = |v: f64| Tensor::full([2, 3], v, (Kind::Float, Device::Cpu));
    TensorMap::from([
        ("model/conv1.conv.weight".to_owned(), t(value)),
        ("adam/square/conv1.conv.weight".to_owned(), t(value).to_kind(Kind::Double)),
        ("adam/step/conv1.conv.weight".to_owned(), Tensor::from((1i64 << 40) + 1)),
    ])
}

#[test]
fn an_occupied_folder_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "x").unwrap();
    let e = message(&RunDir::create(folder.path()).unwrap_err());
    assert!(e.contains("is not empty: it holds `thesis.tex`") && e.contains("--out"), "{e}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let e = RunDir::create(folder.path().join("thesis.tex/runs/a")).unwrap_err();
    assert!(message(&e).contains("thesis.tex` is a file"), "{e}");
    assert_eq!(e.exit_code(), 2);

    let run = begun(folder.path());
    let path = run.path().to_path_buf();
    drop(run);
    let e = message(&RunDir::create(&path).unwrap_err());
    assert!(
        e.contains("holds a run already") && e.contains(&format!("--resume {}", path.display())),
        "{e}"
    );
}

#[test]
fn an_empty_folder_and_one_of_a_start_that_was_killed_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunDir::create(folder.path().join("a/b")).unwrap());
    std::fs::write(folder.path().join("a/b/.probe.x1.part"), "").unwrap();
    RunDir::create(folder.path().join("a/b")).unwrap();
}

#[test]
fn a_place_that_cannot_be_written_is_told_at_once() {
    // Root may write everywhere but into the system's own file systems.
    let place = Path::new("/proc/nada-run");
    if !Path::new("/proc/self").exists() {
        return;
    }
    let e = RunDir::create(place).unwrap_err().to_string();
    assert!(e.starts_with("cannot create `/proc/nada-run`"), "{e}");
}

#[test]
fn what_is_no_run_is_told_with_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let told = |path: &Path| RunDir::open(path).unwrap_err().to_string();
    assert!(told(folder.path()).contains("holds no `config.yaml`"));
    assert!(told(&folder.path().join("x")).contains("there is no such folder"));
    let file = folder.path().join("f");
    std::fs::write(&file, "").unwrap();
    assert!(told(&file).contains("it is a file"));
    assert!(RunDir::is_run(begun(folder.path()).path()));
}

#[test]
fn two_processes_cannot_write_to_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let e = RunDir::resume(run.path()).unwrap_err();
    assert!(e.to_string().starts_with("another process is writing"), "{e}");
    // Reading is free.
    RunDir::open(run.path()).unwrap();
    let path = run.path().to_path_buf();
    drop(run);
    RunDir::resume(path).unwrap();
}

#[test]
fn names_follow_the_phrase_and_never_collide() {
    assert_eq!(run_dir::slug("  Van Gogh's — «night»!"), "van-gogh-s-night");
    let long = run_dir::slug(&"very ".repeat(30));
    assert!(long.len() <= 40 && !long.ends_with('-'), "{long}");
    let folder = tempfile::tempdir().unwrap();
    let first = RunDir::free_path(folder.path(), "sketch");
    assert!(first.ends_with("sketch"));
    RunDir::create(first).unwrap();
    let second = RunDir::free_path(folder.path(), "sketch");
    assert!(second.ends_with("sketch-2"));
    RunDir::create(second).unwrap();
    assert!(RunDir::free_path(folder.path(), "sketch").ends_with("sketch-3"));
}

#[test]
fn a_configuration_is_read_back_whole_and_serves_as_a_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let mut config = config();
    config.layers.choose = LayerSet::List(vec!["conv1".into(), "convs.3".into()]);
    config.reference = Some("#| not: a manifest".into());
    config.about = "two\n#| lines: 1\n".into();
    config.train.lr = 0.1 + 0.2;
    let weights = folder.path().join("w");
    std::fs::write(&weights, "abc").unwrap();
    let mut manifest = Manifest::new();
    manifest.warnings = vec!["first\n\nsecond: \"x\" # y".into()];
    manifest.weights = vec![Weights::of_file("generator", &weights).unwrap()];
    manifest.trained_parameters = 12;
    run.write_config(&config, &manifest).unwrap();

    assert_eq!(run.read_config().unwrap(), (config.clone(), manifest.clone()));
    assert!(manifest.weights[0].sha256.starts_with("ba7816bf"));
    assert!(manifest.started.starts_with("20") && manifest.started.ends_with('Z'));
    let text = std::fs::read_to_string(run.config_file()).unwrap();
    let mut layered = Layered::default();
    layered.overlay_yaml(&text, "config.yaml").unwrap();
    assert_eq!(layered.resolve().unwrap(), config);
    assert!(text.starts_with("# ") && text.contains("--resume"), "{text}");
    assert!(text.contains("#| tch: 0.24.0"), "{text}");
}

#[test]
fn a_damaged_configuration_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    std::fs::write(run.config_file(), "train:\n  batches: 3\n").unwrap();
    let e = run.read_config().unwrap_err().to_string();
    assert!(e.contains("config.yaml") && e.contains("line 2"), "{e}");
    std::fs::write(run.config_file(), "seed: 3\n").unwrap();
    assert!(run.read_config().unwrap_err().to_string().contains("no record of versions"));
}

#[test]
fn a_run_may_become_longer_but_not_another() {
    let saved = config();
    let mut wanted = saved.clone();
    wanted.train.iterations = 1000;
    wanted.output.sample_every = 7;
    wanted.device = "cpu".into();
    wanted.threads = 3;
    check_resumable(&saved, &wanted).unwrap();
    assert_eq!(config_hash(&saved), config_hash(&wanted));
    wanted.train.lr = 0.5;
    wanted.clip[0].weight = 2.0;
    wanted.layers.choose = LayerSet::Named(NamedSet::Adaptive);
    assert_ne!(config_hash(&saved), config_hash(&wanted));
    let Err(Error::Config { problems, .. }) = check_resumable(&saved, &wanted) else { panic!() };
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems.iter().any(|p| p.starts_with("`train.lr` was 0.002, now 0.5")),
        "{problems:?}"
    );
}

#[test]
fn metrics_are_read_back_and_what_is_no_number_is_null() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    assert_eq!(run.read_metrics().unwrap(), []);
    let mut writer = run.metrics(0).unwrap();
    writer.push(&record(0)).unwrap();
    writer.push(&record(1)).unwrap();
    writer.sync().unwrap();
    let text = std::fs::read_to_string(run.metrics_file()).unwrap();
    assert_eq!(
        text.lines().next().unwrap(),
        r#"{"step":0,"loss":0.5,"terms":{"directional":0.25,"in_domain":null},"layers":["conv1","convs.3"],"scores":[0.1,null,0.3],"seconds":0.125}"#
    );
    let back = run.read_metrics().unwrap();
    assert_eq!((back[1].step, back[1].loss, back[1].seconds), (1, 0.25, 0.125));
    assert!(back[0].terms["in_domain"].is_nan() && back[0].scores.as_ref().unwrap()[1].is_nan());
    assert_eq!(back[1].scores, None);
}

#[test]
fn metrics_reach_the_file_within_about_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let mut writer = run.metrics(0).unwrap();
    writer.push(&record(0)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1050));
    writer.push(&record(1)).unwrap();
    assert_eq!(run.read_metrics().unwrap().len(), 2);
}

#[test]
fn resuming_drops_later_steps_and_a_line_that_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let mut writer = run.metrics(0).unwrap();
    (0..6).for_each(|step| writer.push(&record(step)).unwrap());
    drop(writer);
    let file = run.metrics_file();
    let whole = std::fs::read(&file).unwrap();
    let steps =
        |file: &Path| metrics::read(file).unwrap().iter().map(|r| r.step).collect::<Vec<_>>();
    for cut in [whole.len() - 1, whole.len() - 20] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert_eq!(steps(&file), [0, 1, 2, 3, 4]);
    }
    let mut writer = run.metrics(3).unwrap();
    writer.push(&record(3)).unwrap();
    drop(writer);
    assert_eq!(steps(&file), [0, 1, 2, 3]);
    // Nothing to drop: the very same bytes stay.
    let before = std::fs::read(&file).unwrap();
    metrics::truncate(&file, 4).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // What a lost block leaves behind is zeros.
    std::fs::write(&file, [&before[..], &[0; 4096]].concat()).unwrap();
    metrics::truncate(&file, 100).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_snapshot_comes_back_bit_for_bit_in_its_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let chosen = [LayerId::Conv1, LayerId::Conv(11), LayerId::ToRgb(2)];
    let mut saved = state(0.1);
    saved.insert("model/nan".into(), Tensor::from_slice(&[f32::NAN, -0.0]));
    saved.insert("model/empty".into(), Tensor::zeros([0], (Kind::Float, Device::Cpu)));
    let path = run.save_snapshot(50, &saved, &chosen, &config(), 2).unwrap();
    assert!(path.ends_with("snapshots/000050.safetensors"));
    let latest = run.latest_snapshot();
    assert!(latest.broken.is_empty(), "{:?}", latest.broken);
    let snapshot = latest.snapshot.unwrap();
    assert_eq!((snapshot.step, &snapshot.layers[..]), (50, &chosen[..]));
    assert_eq!(snapshot.state["adam/step/conv1.conv.weight"].kind(), Kind::Int64);
    assert_eq!(snapshot.state["adam/step/conv1.conv.weight"].int64_value(&[]), (1 << 40) + 1);
    assert!(delta_of(&saved, &snapshot.state).unwrap().is_empty());
    assert_eq!(snapshot.state["adam/square/conv1.conv.weight"].kind(), Kind::Double);
    snapshot.check_config(&config()).unwrap();
    let e = snapshot.check_config(&Config { seed: 9, ..config() }).unwrap_err().to_string();
    assert!(e.contains("another configuration"), "{e}");
}

#[test]
fn only_the_newest_snapshots_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(run.snapshots_dir())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    for step in [50, 100, 999_999, 1_000_000] {
        run.save_snapshot(step, &state(1.0), &[], &config(), 2).unwrap();
    }
    assert_eq!(names(), ["1000000.safetensors", "999999.safetensors"]);
    assert_eq!(run.latest_snapshot().snapshot.unwrap().step, 1_000_000);
    // After going back, what lies ahead belongs to another course.
    run.save_snapshot(60, &state(1.0), &[], &config(), 2).unwrap();
    assert_eq!(names(), ["000060.safetensors"]);
}

#[test]
fn a_broken_snapshot_is_passed_over_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    assert!(run.latest_snapshot().snapshot.is_none());
    run.save_snapshot(50, &state(1.0), &[], &config(), 3).unwrap();
    let newest = run.save_snapshot(100, &state(2.0), &[], &config(), 3).unwrap();
    let whole = std::fs::read(&newest).unwrap();
    let mut zeros = whole.clone();
    zeros[whole.len() - 16..].fill(0);
    let mut other_step = whole.clone();
    let at = whole.windows(5).position(|w| w == b"\"100\"").unwrap();
    other_step[at + 1] = b'2';
    for broken in [&whole[..whole.len() - 3], &zeros, &other_step, &[0; 300], b""] {
        std::fs::write(&newest, broken).unwrap();
        let latest = run.latest_snapshot();
        assert_eq!(latest.snapshot.unwrap().step, 50);
        assert!(latest.broken[0].contains("000100.safetensors"), "{:?}", latest.broken);
    }
    std::fs::write(&newest, &whole).unwrap();
    assert_eq!(run.latest_snapshot().snapshot.unwrap().step, 100);
}

#[test]
fn resuming_removes_what_a_killed_process_was_writing() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let path = run.path().to_path_buf();
    std::fs::create_dir(run.snapshots_dir()).unwrap();
    let part = run.snapshots_dir().join(".000050.safetensors.Xy12.part");
    std::fs::write(&part, "half").unwrap();
    drop(run);
    RunDir::resume(path).unwrap();
    assert!(!part.exists());
}

#[test]
fn a_full_disk_names_the_space_needed_and_leaves_the_earlier_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |args: &[&str]| std::process::Command::new(args[0]).args(&args[1..]).output();
    let place = folder.path().to_str().unwrap();
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "none", place]);
    if !mounted.is_ok_and(|out| out.status.success()) {
        // Not allowed here: `atomic` and `checkpoint` test the parts.
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let run = begun(Path::new(place));
        run.save_snapshot(50, &state(1.0), &[], &config(), 1).unwrap();
        let mut large = state(2.0);
        let noise = Tensor::zeros([100_000], (Kind::Float, Device::Cpu));
        large.insert("model/large".into(), noise);
        let e = run.save_snapshot(100, &large, &[], &config(), 1).unwrap_err();
        let told = message(&e);
        assert!(told.contains("000100.safetensors") && told.contains("bytes are needed"), "{told}");
        assert!(told.contains("free some space"), "{told}");
        let latest = run.latest_snapshot();
        assert_eq!(latest.snapshot.unwrap().step, 50);
        assert!(latest.broken.is_empty());
        assert_eq!(std::fs::read_dir(run.snapshots_dir()).unwrap().count(), 1);
        // Pictures and metrics meet it too.
        let e = nada::atomic::write(run.loss_file(), vec![1; 1 << 20]).unwrap_err().to_string();
        assert!(e.contains("loss.png") && e.contains("1048576 bytes are needed"), "{e}");
    });
    let _ = mount(&["umount", place]);
    outcome.unwrap();
}

#[test]
fn base_and_delta_make_the_generator() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let t = |v: &[f32]| Tensor::from_slice(v);
    // The base as a float16 file gives it; zero turns negative, and a NaN stays what it is.
    let base = TensorMap::from([
        ("a".to_owned(), t(&[0.5, 1.0]).to_kind(Kind::Half)),
        ("b".to_owned(), t(&[0.0, 2.0])),
        ("c".to_owned(), t(&[f32::NAN])),
    ]);
    let generator = TensorMap::from([
        ("a".to_owned(), t(&[0.5, 1.0])),
        ("b".to_owned(), t(&[-0.0, 2.0])),
        ("c".to_owned(), t(&[f32::NAN])),
        ("d".to_owned(), t(&[3.0]).to_kind(Kind::Double)),
    ]);
    let config = config();
    let weights =
        Weights { role: "generator".into(), path: "/base.pt".into(), sha256: "ab".into() };
    let network = [("class".to_owned(), "3".to_owned())].into();
    let info = ResultInfo {
        config: &config,
        iterations: 7,
        resolution: 64,
        base: &weights,
        network: &network,
    };
    assert!(!run.is_finished());
    assert_eq!(run.write_result(&generator, &base, info).unwrap(), 2);
    assert!(run.is_finished());
    let read = |path: &Path| {
        let file = nada::checkpoint::open(path).unwrap();
        let tensors: TensorMap =
            file.entries.iter().map(|(n, e)| (n.clone(), e.tensor().unwrap())).collect();
        (tensors, file.metadata)
    };
    let (whole, about) = read(&run.generator_file());
    let (delta, about_delta) = read(&run.delta_file());
    assert_eq!(delta.keys().collect::<Vec<_>>(), ["b", "d"]);
    let made = apply_delta(&base, &delta).unwrap();
    assert!(delta_of(&whole, &made).unwrap().is_empty());
    assert!(whole.values().all(|t| t.kind() == Kind::Float));
    assert_eq!((about["format"].as_str(), about["iterations"].as_str()), ("nada-generator", "7"));
    assert_eq!((about["class"].as_str(), about_delta["class"].as_str()), ("3", "3"));
    assert_eq!(
        (about["target"].as_str(), about["resolution"].as_str()),
        (config.target.as_str(), "64")
    );
    assert_eq!(
        (about_delta["format"].as_str(), about_delta["base_sha256"].as_str()),
        ("nada-delta", "ab")
    );

    let wrong = TensorMap::from([("b".to_owned(), t(&[1.0]))]);
    assert!(apply_delta(&base, &wrong).unwrap_err().to_string().contains("`b` has shape [1]"));
    assert!(delta_of(&base, &wrong).unwrap_err().to_string().contains("`a` is missing"));
}

#[test]
fn pictures_are_written_with_what_they_show() {
    let folder = tempfile::tempdir().unwrap();
    let run = begun(folder.path());
    let mut config = config();
    let grey = |v: f64| Tensor::full([3, 3, 16, 16], v, (Kind::Float, Device::Cpu));
    let pair = Pair { source: grey(-1.0), adapted: grey(1.0) };
    let path = run.write_samples(50, &pair, &config).unwrap();
    assert!(path.ends_with("samples/000050.png"));
    run.write_before_after(300, &pair, &config).unwrap();
    let records: Vec<Record> = (0..30).map(record).collect();
    run.write_loss_plot(&records, &config).unwrap();
    run.write_layer_map(&records, &[LayerId::Conv1, LayerId::Conv(0)], &config).unwrap();
    run.write_layer_map(&[], &[], &config).unwrap();
    for file in [path, run.before_after_file(), run.loss_file(), run.layers_file()] {
        assert!(image::open(&file).unwrap().width() > 300, "{}", file.display());
    }
    // The source row lies above: dark before light.
    let picture = pictures::pair_picture(0, &pair, &config).unwrap();
    let find = |v: u8| {
        picture.enumerate_pixels().filter(|p| p.2.0 == [v; 3]).map(|p| p.1).collect::<Vec<_>>()
    };
    let dark = find(0);
    assert!(dark.iter().max().unwrap() < &(picture.height() * 2 / 3));
    assert!(dark.len() >= 3 * 128 * 128);
    config.target = String::new();
    config.target_images = Some("/photos/my cats".into());
    assert_eq!(pictures::captions(&config).1, "like my cats");
    assert_close("shape", &pair.source, &grey(-1.0), 0.0, 0.0);
}

#[test]
fn fixed_layers_fill_their_rows_and_layers_never_chosen_have_empty_ones() {
    let config = config();
    let steps: Vec<Record> = (0..8).map(|s| Record { scores: None, ..record(s) }).collect();
    let picture = pictures::layer_picture(
        &steps,
        &[LayerId::Conv1, LayerId::Conv(0), LayerId::Conv(3)],
        &config,
    );
    let full = picture.pixels().filter(|p| p.0 == [8, 64, 129]).count();
    let one_row = pictures::layer_picture(&steps[..], &[LayerId::Conv1, LayerId::Conv(3)], &config);
    assert_eq!(full, one_row.pixels().filter(|p| p.0 == [8, 64, 129]).count());
    assert!(full > 2 * 8 * 30 * 20, "{full}");
    assert!(picture.height() > one_row.height());
    // The original's scores belong to other layers.
    let scored: Vec<Record> = (0..8)
        .map(|s| Record { scores: Some(vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0]), ..record(s) })
        .collect();
    let original = Config { parity: Parity::Original, ..config.clone() };
    let rows = [LayerId::Conv1, LayerId::Conv(3)];
    assert_ne!(
        pictures::layer_picture(&scored, &rows, &original),
        pictures::layer_picture(&scored, &rows, &config)
    );
}
