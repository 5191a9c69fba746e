//! Channels in batches are channels one by one; ArcFace compares faces and lets gradients through.
#![allow(clippy::print_stderr)]

use crate::common::assert_close;
use nada::builtin;
use nada::clip::{Preprocess, Resize, normalise};
use nada::config::Config;
use nada::edit::Identity;
use nada::edit::channels::{
    ChannelView, Measurement, ResponseSettings, Statistics, sampled_styles,
};
use nada::invert::ArcFace;
use nada::models;
use nada::rng;
use nada::stylegan2::{Generator, Noise};
use nada::torch::TensorMap;
use std::time::Instant;
use tch::{Device, Kind, Tensor};

fn shipped() -> (Generator, nada::clip::Clip) {
    let files = builtin::resolve_generator(&Config::default().generator).unwrap();
    let (generator, _) = models::open_generator(files, Kind::Float, Device::Cpu).unwrap();
    let clip = builtin::resolve_clip("clip-first-a", None).unwrap();
    (generator, models::open_clip(&clip, Kind::Float, Device::Cpu).unwrap().0)
}

#[test]
fn channels_in_batches_are_channels_one_by_one() {
    let (generator, clip) = shipped();
    let statistics = Statistics::measure(&generator, 500, 0.7, 5).unwrap();
    let views = [ChannelView::new(clip)];
    let settings = ResponseSettings { images: 2, ..ResponseSettings::default() };
    let mut measurement = Measurement::new(&generator, &statistics, &views, settings).unwrap();
    let began = Instant::now();
    // One piece: some channels of the first layer; then it is put away and taken up again.
    assert!(measurement.advance(|_| false).unwrap());
    let fast = began.elapsed().as_secs_f64() / measurement.progress().done as f64;
    let state: TensorMap =
        measurement.state().into_iter().map(|(name, t)| (name, t.copy())).collect();
    let mut again = Measurement::new(&generator, &statistics, &views, settings).unwrap();
    again.restore(&state).unwrap();
    assert_eq!(again.progress(), measurement.progress());
    assert_eq!(again.responses()[0], measurement.responses()[0]);
    // Another plan has another number of rows or pieces.
    assert!(again.restore(&TensorMap::new()).is_err());

    let (_, clip) = shipped();
    let eye = Preprocess::new(clip.resolution(), Resize::Antialias);
    let found = measurement.responses().swap_remove(0);
    let began = Instant::now();
    let mut made = 0;
    for channel in 0..4i64 {
        let mut sum = Tensor::zeros([clip.embed_dim()], (Kind::Double, Device::Cpu));
        for image in 0..2 {
            let mut sides = Vec::new();
            for sign in [5.0, -5.0] {
                let codes = sampled_styles(&generator, image, 1, 0.7, 5).unwrap();
                let value = statistics.means[0].double_value(&[channel])
                    + sign * statistics.deviations[0].double_value(&[channel]);
                let _ = codes.0[0].1.narrow(1, channel, 1).fill_(value);
                let picture = tch::no_grad(|| {
                    generator.synthesis().forward_styles(&codes, Noise::Stored, None)
                });
                let seen = tch::no_grad(|| normalise(&clip.encode_image(&eye.apply(&picture))));
                sides.push(seen.squeeze_dim(0).to_kind(Kind::Double));
                made += 1;
            }
            let change = &sides[0] - &sides[1];
            sum += &change / change.norm();
        }
        let want = &sum / sum.norm();
        assert_close(&format!("channel {channel}"), &found.get(channel), &want, 0.0, 2e-3);
    }
    let slow = began.elapsed().as_secs_f64() / f64::from(made);
    // Shown with --nocapture: the factor that batches and shared beginnings gain.
    eprintln!("one by one {:.2} ms an image, in batches {:.2} ms", slow * 1e3, fast * 1e3);
}

/// A narrow IR-SE network with a head, for 32 px.
fn arcface(seed: u64) -> TensorMap {
    let mut tensors = TensorMap::new();
    let mut add = |name: String, shape: &[i64], positive: bool| {
        let mut drawn = rng::stream(seed, tensors.len() as u64, "arcface");
        let values = drawn.normal(shape, Kind::Float, Device::Cpu) * 0.3;
        tensors.insert(name, if positive { values.abs() + 0.5 } else { values });
    };
    let norm = |add: &mut dyn FnMut(String, &[i64], bool), name: &str, width: i64| {
        for (leaf, positive) in
            [("weight", true), ("bias", false), ("running_mean", false), ("running_var", true)]
        {
            add(format!("{name}.{leaf}"), &[width], positive);
        }
    };
    add("input_layer.0.weight".into(), &[8, 3, 3, 3], false);
    norm(&mut add, "input_layer.1", 8);
    add("input_layer.2.weight".into(), &[8], true);
    for (i, (from, to)) in [(8, 8), (8, 12), (12, 16), (16, 16)].into_iter().enumerate() {
        let at = |leaf: &str| format!("body.{i}.{leaf}");
        norm(&mut add, &at("res_layer.0"), from);
        add(at("res_layer.1.weight"), &[to, from, 3, 3], false);
        add(at("res_layer.2.weight"), &[to], true);
        add(at("res_layer.3.weight"), &[to, to, 3, 3], false);
        norm(&mut add, &at("res_layer.4"), to);
        if i > 0 {
            add(at("shortcut_layer.0.weight"), &[to, from, 1, 1], false);
            norm(&mut add, &at("shortcut_layer.1"), to);
        }
    }
    norm(&mut add, "output_layer.0", 16);
    add("output_layer.3.weight".into(), &[6, 16 * 4], false);
    add("output_layer.3.bias".into(), &[6], false);
    norm(&mut add, "output_layer.4", 6);
    tensors
}

#[test]
fn the_identity_loss_is_zero_for_the_same_face_and_reaches_the_image() {
    let network = ArcFace::new(&arcface(1)).unwrap();
    assert_eq!(network.side(), 32);
    let identity = Identity::new(network);
    let face =
        |purpose| rng::stream(0, 0, purpose).normal(&[2, 3, 64, 64], Kind::Float, Device::Cpu);
    let before = identity.features(&face("a"));
    assert_close(
        "length",
        &before.norm_scalaropt_dim(2, [-1], false),
        &Tensor::ones([2], (Kind::Float, Device::Cpu)),
        1e-5,
        0.0,
    );
    assert!(identity.distance(&before, &before).double_value(&[]).abs() < 1e-6);
    let other = face("b").set_requires_grad(true);
    let distance = identity.distance(&before, &identity.features(&other));
    assert!(distance.double_value(&[]) > 1e-4);
    let gradient = Tensor::run_backward(&[&distance], &[&other], false, false).swap_remove(0);
    assert!(gradient.abs().max().double_value(&[]) > 0.0);
}

#[test]
fn what_is_no_arcface_is_told() {
    let mut tensors = arcface(1);
    tensors.remove("output_layer.3.weight");
    let text = ArcFace::new(&tensors).unwrap_err().to_string();
    assert!(text.contains("`output_layer.3.weight` is missing"), "{text}");
    assert!(ArcFace::new(&TensorMap::new()).is_err());
}
