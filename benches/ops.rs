//! The single operations of a step, forward and backward, small enough to run in a minute: `scripts/bench ops`.

#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use nada::adapt::direction::Direction;
use nada::adapt::{Adaptation, Judge};
use nada::clip::{Preprocess, Resize};
use nada::config::{Config, Losses};
use nada::models;
use nada::stylegan2::{self, Generator, Latent, Noise, ops};
use std::path::Path;
use std::time::Duration;
use tch::{Device, Kind, Tensor};

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

fn randn(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, F32)
}

/// Runs `f` and pulls ones back through it to `inputs`.
fn both(f: impl Fn() -> Tensor, inputs: &[&Tensor]) {
    drop(Tensor::run_backward(&[f().sum(None)], inputs, false, false));
}

fn operations(c: &mut Criterion) {
    let (x, style) = (randn(&[2, 128, 64, 64]).set_requires_grad(true), randn(&[2, 128]));
    let weight = randn(&[128, 128, 3, 3]).set_requires_grad(true);
    let wide = randn(&[2, 128, 65, 65]).set_requires_grad(true);
    let image = randn(&[2, 3, 256, 256]).set_requires_grad(true);
    let preprocess = Preprocess::new(224, Resize::Antialias);
    c.bench_function("modulated conv, 128 channels, 64 px", |b| {
        b.iter(|| both(|| ops::modulated_conv2d(&x, &weight, &style), &[&x, &weight]));
    });
    c.bench_function("modulated up conv, 128 channels, 64 to 128 px", |b| {
        b.iter(|| both(|| ops::modulated_conv2d_up(&x, &weight, &style), &[&x, &weight]));
    });
    c.bench_function("blur, 128 channels, 64 px", |b| {
        b.iter(|| both(|| ops::blur(&wide), &[&wide]));
    });
    c.bench_function("blur, the same, channels last", |b| {
        b.iter(|| both(|| ops::blur(&ops::channels_last(&wide)), &[&wide]));
    });
    c.bench_function("resize for CLIP, 256 to 224 px", |b| {
        b.iter(|| both(|| preprocess.apply(&image), &[&image]));
    });
}

fn networks(c: &mut Criterion) {
    let config = stylegan2::Config::standard(64, 1);
    let generator = Generator::random(config, 0, Kind::Float, Device::Cpu).unwrap();
    let codes = tch::no_grad(|| generator.w_plus(&Latent::Z(randn(&[2, 512])), 1.0)).unwrap();
    let fixed = generator.synthesis().fixed();
    let forward = |synthesis: &stylegan2::Synthesis| -> Tensor {
        tch::no_grad(|| synthesis.forward(&codes, Noise::Stored))
    };
    c.bench_function("64 px generator, forward", |b| b.iter(|| forward(generator.synthesis())));
    c.bench_function("64 px generator, weights fixed", |b| b.iter(|| forward(&fixed)));

    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints");
    let faces = shipped.join("faces128.safetensors");
    let (start, _) = models::open_generator(&faces, Kind::Float, Device::Cpu).unwrap();
    let (clip, _) =
        models::open_clip(&shipped.join("clip_rn.safetensors"), Kind::Float, Device::Cpu).unwrap();
    let direction = Direction::from_phrases(&clip, "photo", "sketch", &Losses::default()).unwrap();
    let frozen = start.duplicate(Kind::Float, Device::Cpu).unwrap();
    let mut config = Config { target: "sketch".into(), ..Config::default() };
    config.train.batch = 5;
    config.augment.copies = 4;
    let judge = Judge::new(clip, 1.0, Resize::Antialias, direction);
    let mut run = Adaptation::new(frozen, start, vec![judge], config).unwrap();
    let mut step = 0;
    c.bench_function("one step, shipped models, 5 images in 4 copies", |b| {
        b.iter(|| {
            run.step(step).unwrap();
            step += 1;
        });
    });
}

fn quick() -> Criterion {
    nada::torch::keep_freed_memory();
    tch::set_num_threads(2);
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! { name = all; config = quick(); targets = operations, networks }
criterion_main!(all);
