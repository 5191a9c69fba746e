//! `scripts/bench`: seconds, arithmetic and memory of one adaptation step, and of a whole command.
//!
//! Every work runs in a fresh process of this program, so that its peak memory is its own. Its floor is its GFLOP
//! (a formula over the shapes, below) over the rate of a convolution probed between the steps of the same process:
//! the ratio to the floor says how much of the time is not the arithmetic that nobody can spare.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::exit, clippy::unwrap_used)]

mod measure;

use measure::{Clock, F32, Probe, generator_gflop, own_peak_gib, peak_gib, vit_b32};
use nada::adapt::direction::Direction;
use nada::adapt::{Adaptation, Judge};
use nada::clip::{self, Resize, VisionConfig, normalise};
use nada::config::{Config, LayerSet, Layers, MapperConfig, NamedSet};
use nada::edit::mapper::MapperTraining;
use nada::edit::{Critic, Eye};
use nada::stylegan2::{self, Generator};
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

const HELP: &str = "\
Measures one adaptation step: seconds, ratio to the floor, peak memory

Usage: scripts/bench [--quick] [--json] [--threads N] [--only NAME]

  --quick      two steps of each work instead of five, ten iterations of the command
  --json       one JSON object per work instead of the table
  --threads N  CPU threads (default 2, what the targets are for)
  --cpu        CPU seconds instead of the clock's (Linux): with --threads 1, steady on a busy machine
  --only NAME  all-layers, adaptive, mapper or command
";

/// A work and its targets.
struct Work {
    name: &'static str,
    about: &'static str,
    /// Largest ratio to the floor, or seconds of the whole command.
    wanted: f64,
    wanted_gib: f64,
}

const WORKS: [Work; 4] = [
    Work {
        name: "all-layers",
        about: "256 px config-f, ViT-B/32, batch 2, all layers",
        wanted: 1.5,
        wanted_gib: 3.5,
    },
    Work {
        name: "adaptive",
        about: "the same, adaptive choice of 9 (search batch 8)",
        wanted: 1.5,
        wanted_gib: 6.0,
    },
    Work {
        name: "mapper",
        about: "a latent mapper for it, with the norm loss, batch 2",
        wanted: 1.5,
        wanted_gib: 3.5,
    },
    Work {
        name: "command",
        about: "nada adapt, shipped models, default preset",
        wanted: 90.0,
        wanted_gib: 1.5,
    },
];

/// What was typed.
struct Options {
    quick: bool,
    json: bool,
    threads: i32,
    cpu: bool,
    only: Option<String>,
    /// Set when this is the process that does the work.
    work: Option<String>,
}

fn options() -> Options {
    let mut o =
        Options { quick: false, json: false, threads: 2, cpu: false, only: None, work: None };
    let mut args = std::env::args().skip(1);
    let refuse = |text: &str| -> ! {
        eprintln!("{text}\n\n{HELP}");
        std::process::exit(2)
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| refuse(&format!("{arg} needs a value")));
        match arg.as_str() {
            "--quick" => o.quick = true,
            "--json" => o.json = true,
            "--cpu" => o.cpu = true,
            "--threads" => {
                let text = value();
                o.threads = text
                    .parse()
                    .ok()
                    .filter(|n| *n > 0)
                    .unwrap_or_else(|| refuse(&format!("`{text}` is no number of threads")));
            }
            "--only" => o.only = Some(value()),
            "--work" => o.work = Some(value()),
            "--bench" => {} // cargo's own
            "--help" | "-h" => {
                println!("{HELP}");
                std::process::exit(0)
            }
            other => refuse(&format!("`{other}` is no option")),
        }
    }
    if let Some(name) = o.only.as_ref().or(o.work.as_ref())
        && !WORKS.iter().any(|w| w.name == name)
    {
        refuse(&format!("there is no work `{name}`"));
    }
    o
}

fn main() {
    let options = options();
    if let Some(name) = &options.work {
        tch::set_num_threads(options.threads);
        nada::torch::keep_freed_memory(); // as the command does
        let result = match name.as_str() {
            "command" => whole_command(&options),
            "mapper" => mapper_steps(&options),
            name => steps(name == "adaptive", &options),
        };
        println!("{result}");
        return;
    }
    if !options.json {
        let clock = if options.cpu { ", CPU seconds" } else { "" };
        println!("{} threads, float32{clock}\n", options.threads);
        println!(
            "{:<50} {:>9} {:>7} {:>8} {:>7} {:>9}  wanted",
            "work", "seconds", "GFLOP", "GFLOP/s", "ratio", "peak GiB"
        );
    }
    for work in WORKS.iter().filter(|w| options.only.as_deref().is_none_or(|o| o == w.name)) {
        let result = in_fresh_process(work, &options);
        if options.json { println!("{result}") } else { row(work, &result) }
    }
}

fn in_fresh_process(work: &Work, options: &Options) -> Value {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--work", work.name, "--threads", &options.threads.to_string()]);
    if options.quick {
        command.arg("--quick");
    }
    if options.cpu {
        command.arg("--cpu");
    }
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{} failed: {}", work.name, output.status);
    let mut result: Value = serde_json::from_slice(&output.stdout).unwrap();
    result["work"] = work.name.into();
    result
}

fn row(work: &Work, result: &Value) {
    let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
    let gib = number("peak_gib");
    if work.name == "command" {
        println!(
            "{:<50} {:>9.1} {:>7} {:>8} {:>7} {gib:>9.2}  {} s, {} GiB; first image after {:.1} s (wanted 3 s)",
            work.about,
            number("seconds"),
            "",
            "",
            "",
            work.wanted,
            work.wanted_gib,
            number("first_image")
        );
        return;
    }
    println!(
        "{:<50} {:>9.2} {:>7.0} {:>8.0} {:>7.2} {gib:>9.2}  ratio {}, {} GiB",
        work.about,
        number("seconds"),
        number("gflop"),
        number("rate"),
        number("ratio"),
        work.wanted,
        work.wanted_gib
    );
}

/// A few steps at the size of a real run, with random weights.
fn steps(adaptive: bool, options: &Options) -> Value {
    let shape = stylegan2::Config::standard(256, 2);
    let start = Generator::random(shape.clone(), 0, Kind::Float, Device::Cpu).unwrap();
    let frozen = start.duplicate(Kind::Float, Device::Cpu).unwrap();
    let mut config = Config { target: "sketch".into(), ..Config::default() };
    if adaptive {
        let choose = LayerSet::Named(NamedSet::Adaptive);
        config.layers = Layers { choose, k: 9, batch: 8, ..Layers::default() };
    }
    let (batch, searched) = (config.train.batch as f64, config.layers.batch as f64);
    let clip = vit_b32();
    let gflop = {
        let (g, c) = (generator_gflop(&shape), vit_gflop(clip.config()));
        // Frozen: forward. Trained: forward, gradient of the features, gradient of the weights (of all layers, as
        // in the issue, though the adaptive choice spares some). CLIP: forward twice, backward once.
        let step = batch * (4.0 * g + 3.0 * c);
        // The search: forward, and backward to the codes.
        step + if adaptive { searched * 2.0 * (g + c) } else { 0.0 }
    };
    let judge = Judge::new(clip, 1.0, Resize::Antialias, direction());
    let mut run = Adaptation::new(frozen, start, vec![judge], config).unwrap();
    timed(gflop, options, &mut |step| {
        run.step(step).unwrap();
    })
}

/// A few steps of a mapper: the images of the codes as they were, forward; those of the moved codes forward, and
/// backward to the codes. No weight of the generator or of CLIP has a gradient.
fn mapper_steps(options: &Options) -> Value {
    let shape = stylegan2::Config::standard(256, 2);
    let generator = Generator::random(shape.clone(), 0, Kind::Float, Device::Cpu).unwrap();
    let clip = vit_b32();
    let mut config = MapperConfig::default();
    config.train.batch = 2;
    config.augment.copies = 0;
    let each = generator_gflop(&shape) + vit_gflop(clip.config());
    let mut critic = Critic::default();
    let eye = Eye::clip(clip.resolution(), Resize::Antialias);
    critic.add_with_text(clip, eye, 1.0, normalise(&Tensor::randn([1, 512], F32)));
    let mut run = MapperTraining::new(generator, critic, None, config).unwrap();
    timed(2.0 * 3.0 * each, options, &mut |step| {
        run.step(step).unwrap();
    })
}

/// Seconds of a step beside its floor.
fn timed(gflop: f64, options: &Options, work: &mut dyn FnMut(u64)) -> Value {
    let clock = Clock { cpu: options.cpu };
    let mut probe = Probe::new();
    let mut seconds = Vec::new();
    // The heap still grows in the second step.
    for step in 0..2 {
        work(step);
    }
    for step in 2..(if options.quick { 4 } else { 7 }) {
        probe.measure(clock);
        let before = clock.now();
        work(step);
        seconds.push(clock.now() - before);
    }
    probe.measure(clock);
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    let floor = gflop / probe.best;
    json!({
        "seconds": median, "fastest": seconds[0], "gflop": gflop, "rate": probe.best, "floor": floor,
        "ratio": median / floor, "peak_gib": own_peak_gib(),
    })
}

/// The same for a vision transformer: its linear layers and its attention.
fn vit_gflop(config: &clip::Config) -> f64 {
    let VisionConfig::Vit(vit) = &config.vision else { return 0.0 };
    let (width, patch) = (vit.width as f64, vit.patch as f64);
    let patches = (vit.resolution / vit.patch).pow(2) as f64;
    let tokens = patches + 1.0;
    let block = tokens * 24.0 * width * width + 4.0 * tokens * tokens * width;
    let embed = 2.0 * patches * 3.0 * patch * patch * width;
    (embed + vit.layers as f64 * block) / 1e9
}

/// Any direction will do: the arithmetic is the same.
fn direction() -> Direction {
    let unit = || normalise(&Tensor::randn([1, 512], F32));
    Direction { towards: unit(), target: unit(), described: None, means: None, parts: None }
}

/// `nada adapt` on the shipped models as a user runs it.
fn whole_command(options: &Options) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nada"));
    command.args(["adapt", "--source", "photo", "--target", "sketch", "--quiet", "--out"]);
    command.arg(&out).args(["--threads", &options.threads.to_string()]);
    if options.quick {
        command.args(["--iterations", "10"]);
    }
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let (mut first_image, mut peak) = (f64::NAN, f64::NAN);
    let status = loop {
        if first_image.is_nan() && out.join("samples/000000.png").exists() {
            first_image = start.elapsed().as_secs_f64();
        }
        peak = peak.max(peak_gib(format!("/proc/{}/status", child.id())).unwrap_or(f64::NAN));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "nada adapt failed: {status}");
    json!({
        "seconds": start.elapsed().as_secs_f64(), "first_image": first_image, "peak_gib": peak,
        "iterations": if options.quick { 10 } else { 100 },
    })
}
