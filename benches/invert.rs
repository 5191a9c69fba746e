//! `scripts/bench invert`: seconds, arithmetic and memory of bringing one photo into a generator.
//!
//! Each part of the way (detection, alignment, encoder, generator) alone, and all of them as `nada invert` goes: once
//! with the models that ship, once in the shapes of FFHQ's (IR-SE50, 1024 px, random weights). The floor is the
//! arithmetic of the convolutions over the rate of a probe in the same process, as in `step`.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::exit, clippy::unwrap_used)]

mod measure;

use measure::{Clock, F32, Probe, generator_gflop, own_peak_gib};
use nada::imaging::{from_rgb8, load};
use nada::invert::align::align;
use nada::invert::{self, Encoder, Facts};
use nada::models;
use nada::stylegan2::{self, Generator, Noise};
use nada::torch::ShapeMap;
use nada::{builtin, config};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// ReStyle's rounds.
const ROUNDS: usize = 5;
const REPEATS: usize = 3;

fn main() {
    // A process for each, so that its peak memory is its own.
    match std::env::args().find(|a| a == "shipped" || a == "full").as_deref() {
        Some(which) => run(which),
        None => {
            println!("2 threads, float32; medians of {REPEATS}\n");
            println!("{:<46} {:>9} {:>8} {:>7}", "part", "seconds", "GFLOP", "ratio");
            for which in ["shipped", "full"] {
                let exe = std::env::current_exe().unwrap();
                let done = std::process::Command::new(exe).arg(which).status().unwrap();
                assert!(done.success(), "{which} failed");
            }
        }
    }
}

fn run(which: &str) {
    tch::set_num_threads(2);
    nada::torch::keep_freed_memory();
    let (encoder, generator, name) = match which {
        "full" => {
            let shape = stylegan2::Config::standard(1024, 2);
            let generator = Generator::random(shape, 0, Kind::Float, Device::Cpu).unwrap();
            (ir_se50(), generator, "IR-SE50, 256 px; generator 1024 px")
        }
        _ => {
            let file = builtin::encoder_of(config::GENERATOR).expect("an encoder ships");
            let generator = builtin::resolve_generator(config::GENERATOR).unwrap();
            let generator = models::open_generator(generator, Kind::Float, Device::Cpu).unwrap().0;
            let encoder = models::open_encoder(&file, Kind::Float, Device::Cpu).unwrap().0;
            (encoder, generator, "the models that ship")
        }
    };
    let mut probe = Probe::new();
    let clock = Clock { cpu: false };
    let (e, g) = (encoder_gflop(encoder.config()), generator_gflop(generator.config()));
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mtcnn/portrait.png");
    let photo = load::flatten(&load::open_image(photo).unwrap());
    let detector = models::open_detector(&builtin::detector_file().unwrap(), Device::Cpu).unwrap();
    let side = encoder.config().width as u32;
    let quad = || detector.detect(&photo).unwrap()[0].landmarks().quad();
    let found = quad().within(&encoder.config().frame);
    let aligned = || from_rgb8(&align(&photo, found, side, side).unwrap());
    let image = aligned();
    let seen = Tensor::cat(&[&image, &image], 1);
    let codes = generator.latent_avg().expand([1, generator.config().num_styles(), -1], true);

    let mut row = |what: &str, gflop: Option<f64>, work: &mut dyn FnMut()| {
        work();
        let mut times: Vec<f64> = (0..REPEATS)
            .map(|_| {
                probe.measure(clock);
                let start = clock.now();
                work();
                clock.now() - start
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let seconds = times[REPEATS / 2];
        match gflop {
            Some(gflop) => {
                let ratio = seconds * probe.best / gflop;
                println!("{what:<46} {seconds:>9.4} {gflop:>8.1} {ratio:>7.2}");
            }
            None => println!("{what:<46} {seconds:>9.4}"),
        }
    };
    println!("{name}");
    row(&format!("  detection in {} × {} px", photo.width(), photo.height()), None, &mut || {
        quad();
    });
    row(&format!("  alignment to {side} px"), None, &mut || {
        let _ = aligned();
    });
    row("  encoder, one pass", Some(e), &mut || {
        let _ = encoder.forward(&seen).unwrap();
    });
    let synthesis = generator.synthesis().fixed();
    row("  generator, one image", Some(g), &mut || {
        let _ = tch::no_grad(|| synthesis.forward(&codes, Noise::Stored));
    });
    let all = ROUNDS as f64 * e + (ROUNDS + 1) as f64 * g;
    row(&format!("  all of it, {ROUNDS} rounds"), Some(all), &mut || {
        quad();
        invert::invert(&encoder, &generator, &aligned(), ROUNDS, None).unwrap();
    });
    println!("{:<46} {:>9.2} GiB (wanted: ratio 1.5, 4 GiB)\n", "  peak memory", own_peak_gib());
}

/// ReStyle's encoder of FFHQ, random.
fn ir_se50() -> Encoder {
    let mut shapes = ShapeMap::new();
    shapes.insert("input_layer.0.weight".into(), vec![64, 6, 3, 3]);
    let mut from = 64;
    let mut unit = 0;
    for (to, count) in [(64, 3), (128, 4), (256, 14), (512, 3)] {
        for _ in 0..count {
            let at = |leaf: &str| format!("body.{unit}.{leaf}");
            shapes.insert(at("res_layer.1.weight"), vec![to, from, 3, 3]);
            shapes.insert(at("res_layer.5.fc1.weight"), vec![to / 16, to, 1, 1]);
            if from != to {
                shapes.insert(at("shortcut_layer.0.weight"), vec![to, from, 1, 1]);
            }
            from = to;
            unit += 1;
        }
    }
    for style in 0..18 {
        for conv in 0..4 {
            let name = format!("styles.{style}.convs.{}.weight", 2 * conv);
            shapes.insert(name, vec![512, 512, 3, 3]);
        }
        shapes.insert(format!("styles.{style}.linear.weight"), vec![512, 512]);
    }
    let facts = Facts::read(&Default::default());
    let config = invert::Config::infer(&shapes, &facts).unwrap();
    let tensors = config.shapes().into_iter().map(|(name, shape)| {
        let tensor = match name.ends_with("running_var") {
            true => Tensor::ones(shape, F32),
            false => Tensor::randn(shape, F32) * 0.02,
        };
        (name, tensor)
    });
    Encoder::new(config, &tensors.collect()).unwrap()
}

/// Multiplications and additions of one pass of an IR-SE encoder, in 10^9; elementwise work counts nothing.
fn encoder_gflop(config: &invert::Config) -> f64 {
    let shapes = config.shapes();
    let mut side = config.width as f64;
    let conv = |name: &str, side: f64| {
        let size = &shapes[name];
        2.0 * size.iter().product::<i64>() as f64 * side * side
    };
    let mut flop = conv("input_layer.0.weight", side);
    for unit in 0.. {
        let at = |leaf: &str| format!("body.{unit}.{leaf}");
        if !shapes.contains_key(&at("res_layer.1.weight")) {
            break;
        }
        flop += conv(&at("res_layer.1.weight"), side);
        let shortcut = at("shortcut_layer.0.weight");
        if unit == 0 || shapes.contains_key(&shortcut) {
            side /= 2.0;
        }
        flop += conv(&at("res_layer.3.weight"), side);
        if shapes.contains_key(&shortcut) {
            flop += conv(&shortcut, side);
        }
    }
    for style in 0..config.codes {
        let mut side = side;
        for convolution in 0.. {
            let name = format!("styles.{style}.convs.{}.weight", 2 * convolution);
            if !shapes.contains_key(&name) {
                break;
            }
            side /= 2.0;
            flop += conv(&name, side);
        }
    }
    flop / 1e9
}
