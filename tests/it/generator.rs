//! The generator against goldens `generator32` and `generator64`: images, activations, codes, gradients.

use crate::common::{assert_close, assert_grad_close, golden, golden_path};
use nada::models;
use nada::stylegan2::{Config, Generator, Latent, LatentAvgOrigin, LayerId, Noise};
use nada::torch::{TensorMap, shapes};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

const PRECISIONS: [(Kind, &str, f64, f64); 2] =
    [(Kind::Float, "", 2e-5, 2e-5), (Kind::Double, ".f64", 1e-9, 1e-10)];

fn build(weights: &TensorMap, kind: Kind) -> Generator {
    let config = Config::infer(&shapes(weights)).unwrap();
    Generator::new(config, nada::torch::copy_map(weights, Device::Cpu, kind)).unwrap()
}

/// The stored quantity in the precision of `suffix`, or in float32 where only that was recorded.
fn recorded<'a>(io: &'a TensorMap, name: &str, suffix: &str) -> Option<&'a Tensor> {
    io.get(&format!("{name}{suffix}"))
}

fn check_images(weights: &TensorMap, io: &TensorMap, crossover: i64) {
    for (kind, suffix, rtol, atol) in PRECISIONS {
        let g = build(weights, kind);
        let input = |name: &str| io[name].to_kind(kind);
        let check = |name: &str, got: &Tensor| {
            if let Some(want) = recorded(io, name, suffix) {
                assert_close(&format!("{name} {kind:?}"), got, want, rtol, atol);
            }
        };
        check("w", &g.mapping().forward(&input("z")));
        check("w2", &g.mapping().forward(&input("z2")));
        let (image, _) = g.generate(&Latent::Z(input("z")), 1.0, Noise::Stored).unwrap();
        check("image", &image);
        let (image, codes) = g.generate(&Latent::Z(input("z")), 0.7, Noise::Stored).unwrap();
        check("image_trunc07", &image);
        check("latent_trunc07", &codes);
        let (image, _) = g.generate(&Latent::WPlus(input("wplus")), 1.0, Noise::Stored).unwrap();
        check("image_wplus", &image);
        let mixed = Latent::MixedZ { first: input("z"), second: input("z2"), crossover };
        let (image, codes) = g.generate(&mixed, 1.0, Noise::Stored).unwrap();
        check("image_mix", &image);
        check("latent_mix", &codes);
        let one = input("z").narrow(0, 0, 1);
        check("image_zero_noise", &g.generate(&Latent::Z(one), 1.0, Noise::None).unwrap().0);

        let w_plus = g.w_plus(&Latent::Z(input("z")), 1.0).unwrap();
        let mut styles = g.synthesis().styles(&w_plus);
        for (layer, code) in &styles.0 {
            check(&format!("s.{layer}"), code);
        }
        if io.contains_key("image_s_edit") {
            let edited = styles.get(LayerId::Conv(1)).unwrap().copy();
            let mut channel = edited.select(1, 5);
            let _ = channel.g_add_scalar_(2.0);
            assert!(styles.set(LayerId::Conv(1), edited));
            check("image_s_edit", &g.synthesis().forward_styles(&styles, Noise::Stored, None));
        }
    }
}

fn check_activations(weights: &TensorMap, io: &TensorMap, recorded: &TensorMap) {
    for (kind, suffix, rtol, atol) in PRECISIONS {
        let g = build(weights, kind);
        let w_plus = g.w_plus(&Latent::Z(io["z"].to_kind(kind)), 1.0).unwrap();
        let mut seen = BTreeMap::new();
        let mut tap = |name: &str, value: &Tensor| {
            seen.insert(name.to_owned(), value.narrow(0, 0, 1).copy());
        };
        let _ = g.synthesis().forward_styles(
            &g.synthesis().styles(&w_plus),
            Noise::Stored,
            Some(&mut tap),
        );
        let mut compared = 0;
        for (name, want) in
            recorded.iter().filter(|(n, _)| n.ends_with(".f64") != suffix.is_empty())
        {
            let name = name.trim_end_matches(".f64");
            assert_close(&format!("{name} {kind:?}"), &seen[name], want, rtol, atol);
            compared += 1;
        }
        assert!(compared >= 5, "only {compared} activations were compared");
    }
}

fn check_gradients(weights: &TensorMap, io: &TensorMap, recorded: &TensorMap) {
    for (kind, suffix, tol) in [(Kind::Float, "", 1e-3), (Kind::Double, ".f64", 1e-8)] {
        let g = build(weights, kind);
        g.set_trainable(|name| !name.starts_with("style."));
        let w_plus = io["wplus"].to_kind(kind).set_requires_grad(true);
        let image = g.synthesis().forward(&w_plus, Noise::Stored);
        let loss = (image * recorded["probe"].to_kind(kind)).sum(kind);
        assert_close("loss", &loss, &recorded[&format!("loss{suffix}")], 1e-4, 1e-5);
        let mut leaves = vec![("wplus".to_owned(), &w_plus)];
        leaves.extend(g.params().iter().map(|(n, t)| (format!("param.{n}"), t)));
        leaves.retain(|(n, _)| recorded.contains_key(&format!("{n}{suffix}")));
        assert!(leaves.len() > 20);
        let tensors: Vec<&Tensor> = leaves.iter().map(|(_, t)| *t).collect();
        let grads = Tensor::run_backward(&[loss], &tensors, false, false);
        for ((name, _), grad) in leaves.iter().zip(&grads) {
            assert_grad_close(
                &format!("{name} {kind:?}"),
                grad,
                &recorded[&format!("{name}{suffix}")],
                tol,
            );
        }
    }
}

#[test]
fn a_32_px_generator_meets_the_original() {
    let weights = golden("generator32", "generator.safetensors");
    let io = golden("generator32", "io.safetensors");
    check_images(&weights, &io, 3);
    check_activations(&weights, &io, &golden("generator32", "activations.safetensors"));
    check_gradients(&weights, &io, &golden("generator32", "grads.safetensors"));
}

#[test]
fn a_64_px_generator_meets_the_original() {
    let path = golden_path("generator64", "generator.pt");
    let weights = models::open_generator(&path, Kind::Float, Device::Cpu).unwrap().0.tensors();
    let io = golden("generator64", "io.safetensors");
    check_images(&weights, &io, 5);
    check_activations(&weights, &io, &golden("generator64", "activations.safetensors"));
    check_gradients(&weights, &io, &golden("generator64", "grads.safetensors"));
}

#[test]
fn a_missing_latent_avg_is_estimated_and_said_so() {
    let mut weights = golden("generator32", "generator.safetensors");
    assert_eq!(build(&weights, Kind::Float).latent_avg_origin(), LatentAvgOrigin::Stored);
    weights.remove("latent_avg");
    let (a, b) = (build(&weights, Kind::Float), build(&weights, Kind::Float));
    assert_eq!(a.latent_avg_origin(), LatentAvgOrigin::Estimated);
    assert_eq!(a.latent_avg(), b.latent_avg());
}

#[test]
fn shapes_that_disagree_are_listed_together() {
    let mut weights = golden("generator32", "generator.safetensors");
    let config = Config::infer(&shapes(&weights)).unwrap();
    weights.insert("convs.1.activate.bias".into(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
    weights.remove("convs.2.conv.weight");
    let text = Generator::new(config, weights).unwrap_err().to_string();
    assert!(text.contains("`convs.1.activate.bias` has shape [3], expected [16]"), "{text}");
    assert!(text.contains("`convs.2.conv.weight` is missing"), "{text}");
}

#[test]
fn with_its_weights_fixed_a_synthesis_network_makes_the_same_images_and_code_gradients() {
    let (weights, io) =
        (golden("generator32", "generator.safetensors"), golden("generator32", "io.safetensors"));
    for (kind, _, rtol, atol) in PRECISIONS {
        let g = build(&weights, kind);
        g.set_trainable(|_| true);
        let w_plus = tch::no_grad(|| g.w_plus(&Latent::Z(io["z"].to_kind(kind)), 1.0)).unwrap();
        let through = |synthesis: &nada::stylegan2::Synthesis| {
            let codes = w_plus.contiguous().detach().copy().set_requires_grad(true);
            let image = synthesis.forward(&codes, Noise::Stored);
            let pull = image.square().sum(None);
            (image, Tensor::run_backward(&[pull], &[&codes], false, false).remove(0))
        };
        let fixed = g.synthesis().fixed();
        let ((image, gradient), (want, wanted)) = (through(&fixed), through(g.synthesis()));
        assert_close("image", &image, &want, rtol, atol);
        assert_grad_close("codes", &gradient, &wanted, rtol);
        assert!(!tch::no_grad(|| fixed.forward(&w_plus, Noise::Stored)).requires_grad());
        assert!(!fixed.forward(&w_plus, Noise::Stored).requires_grad(), "a parameter is reached");
    }
}
