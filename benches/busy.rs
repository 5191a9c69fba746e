//! `scripts/bench busy`: commands as a user runs them, quiet and beside other work, in turns; the ratio is what counts.
//!
//! Beside one busy loop, which wants one core for itself, a command on two cores cannot have more than three quarters of
//! the machine; two commands at once share it. Ratios up to 2.2 are wanted.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::exit, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Largest ratio to the quiet time.
const WANTED: f64 = 2.2;
/// Turns; the median of their ratios is told.
const TURNS: usize = 3;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/portrait.jpg");
    let (photo, run) = (photo.to_str().unwrap(), folder.path().join("run"));
    let run = run.to_str().unwrap();
    finish(&mut nada(&["adapt", "--target", "sketch", "--iterations", "4", "--out", run]));
    let works: [(&str, &[&str]); 3] = [
        ("adapt, 20 steps", &["adapt", "--target", "sketch", "--iterations", "20"]),
        ("translate, one photo", &["translate", photo, "--domains", run]),
        ("mapper, 20 steps", &["mapper", "--run", run, "--iterations", "20", "--samples", "16"]),
    ];
    println!(
        "{:<22} {:>8} {:>24} {:>24}",
        "work", "quiet, s", "beside a busy loop, ratio", "two at once, ratio"
    );
    for (name, args) in works {
        let (mut quiet, mut beside, mut twice) = (Vec::new(), Vec::new(), Vec::new());
        for turn in 0..TURNS {
            let out = |which: &str| folder.path().join(format!("{which}-{turn}-{}", args[0]));
            let started = |which: &str| {
                let out = out(which);
                nada(&[args, &["--out", out.to_str().unwrap()]].concat())
            };
            let alone = seconds(|| finish(&mut started("quiet")));
            let mut busy = Busy::start();
            beside.push(seconds(|| finish(&mut started("beside"))) / alone);
            busy.stop();
            let both = seconds(|| {
                let mut each = ["one", "two"].map(started);
                each.iter_mut().for_each(finish);
            });
            twice.push(both / alone);
            quiet.push(alone);
        }
        let told = |ratio: f64| format!("{ratio:.2} (wanted {WANTED})");
        println!(
            "{name:<22} {:>8.1} {:>24} {:>24}",
            median(quiet),
            told(median(beside)),
            told(median(twice))
        );
    }
}

fn nada(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nada"));
    command.arg("--quiet").args(args).stdout(Stdio::null()).spawn().unwrap()
}

fn finish(child: &mut Child) {
    let status = child.wait().unwrap();
    assert!(status.success(), "nada failed: {status}");
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A process that computes and never waits.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap())
    }

    fn stop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}
