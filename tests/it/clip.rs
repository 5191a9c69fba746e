//! CLIP's towers against OpenAI's: features, logits, what lies inside, and gradients.
#![allow(clippy::unwrap_used)] // in helpers, which clippy does not count as tests

use crate::common::{assert_close, assert_grad_close, golden, golden_path};
use nada::clip::{Clip, Config, Vision, normalise};
use nada::torch::{TensorMap, copy_map, shapes};
use std::io::Read;
use tch::{Device, Kind, Tensor};

/// The tensors of a recorded `model.pt`, told apart by the manifest: its n-th storage is the n-th of `state_dict`.
/// (Reading such files is the checkpoint room's work; these tests are about the model only.)
fn recorded_model(folder: &str) -> TensorMap {
    let manifest = std::fs::read(golden_path(folder, "manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let file = std::fs::File::open(golden_path(folder, "model.pt")).unwrap();
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let entries = manifest["state_dict"].as_array().unwrap();
    let read = |(i, entry): (usize, &serde_json::Value)| {
        let (name, shape): (String, Vec<i64>) = serde_json::from_value(entry.clone()).unwrap();
        let mut bytes = Vec::new();
        let mut storage = archive.by_name(&format!("model/data/{i}")).unwrap();
        storage.read_to_end(&mut bytes).unwrap();
        if name == "token_embedding.weight" {
            // Row i is storage[i..i + width].
            let kind = if bytes.len() < 4 * shape[0] as usize { Kind::Half } else { Kind::Float };
            let row = Tensor::from_data_size(&bytes, &[shape[0] + shape[1] - 1], kind);
            return (name, row.as_strided(&shape, [1, 1], 0));
        }
        let kind = match bytes.len() as i64 / shape.iter().product::<i64>() {
            2 => Kind::Half,
            4 => Kind::Float,
            _ => Kind::Int64,
        };
        (name, Tensor::from_data_size(&bytes, &shape, kind))
    };
    entries.iter().enumerate().map(read).collect()
}

fn clip(tensors: &TensorMap, kind: Kind) -> Clip {
    let config = Config::infer(&shapes(tensors)).unwrap();
    Clip::new(config, copy_map(tensors, Device::Cpu, kind)).unwrap()
}

/// Value tolerances and the largest difference of a gradient, for each kind.
const KINDS: [(Kind, &str, f64, f64, f64); 2] =
    [(Kind::Float, "", 1e-4, 1e-5, 1e-3), (Kind::Double, ".f64", 1e-9, 1e-10, 1e-8)];

fn meets_the_recorded_values(folder: &str, tensors: &TensorMap) {
    let io = golden(folder, "io.safetensors");
    for (kind, suffix, rtol, atol, grad_tol) in KINDS {
        let clip = clip(tensors, kind);
        let close = |name: &str, got: &Tensor, atol: f64| {
            let want = &io[&format!("{name}{suffix}")];
            assert_close(&format!("{folder} {name}{suffix}"), got, want, rtol, atol);
        };
        let image = io["image"].to_kind(kind).set_requires_grad(true);
        let features = clip.encode_image(&image);
        close("image_features", &features, atol);
        let images = normalise(&features);
        close("image_features_normed", &images, atol);
        let loss = (&images * io["probe"].to_kind(kind)).sum(None);
        let grad = Tensor::run_backward(&[loss], &[&image], false, false).remove(0);
        assert_grad_close(folder, &grad, &io["grad_image"], 1e-3);
        if kind == Kind::Double {
            assert_grad_close(folder, &grad.get(0), &io["grad_image_sample0.f64"], grad_tol);
        }

        let tokens = io["tokens"].to_kind(Kind::Int64);
        let texts = clip.encode_text(&tokens);
        assert!(!texts.requires_grad());
        close("text_features", &texts, atol);
        let texts = normalise(&texts);
        close("text_features_normed", &texts, atol);
        let logits = images.matmul(&texts.tr()) * clip.logit_scale();
        close("logits_per_image", &logits, atol * 10.0);
        let hidden = clip.text().unwrap().hidden(&tokens.narrow(0, 0, 1));
        close("text_transformer_out_sample0", &hidden.get(0), atol);
    }
}

#[test]
fn a_vision_transformer_meets_the_recorded_values() {
    meets_the_recorded_values("clip_vit", &recorded_model("clip_vit"));
}

#[test]
fn two_heads_and_another_context_meet_the_recorded_values() {
    meets_the_recorded_values("clip_vit_heads2", &golden("clip_vit_heads2", "model.safetensors"));
}

#[test]
fn a_resnet_meets_the_recorded_values() {
    meets_the_recorded_values("clip_rn", &recorded_model("clip_rn"));
}

#[test]
fn a_resnet_of_another_resolution_and_its_stages_meet_the_recorded_values() {
    let io = golden("clip_rn", "io64.safetensors");
    let mut tensors = recorded_model("clip_rn");
    let positions = io["positional_embedding"].shallow_clone();
    tensors.insert("visual.attnpool.positional_embedding".into(), positions);
    for (kind, suffix, rtol, atol, _) in KINDS {
        let clip = clip(&tensors, kind);
        assert_eq!(clip.resolution(), 64);
        let image = io["image"].to_kind(kind).set_requires_grad(true);
        let features = clip.encode_image(&image);
        let want = &io[&format!("image_features{suffix}")];
        assert_close("image_features", &features, want, rtol, atol);
        let loss = (normalise(&features) * io["probe"].to_kind(kind)).sum(None);
        let grad = Tensor::run_backward(&[loss], &[&image], false, false).remove(0);
        assert_grad_close("grad_image", &grad, &io["grad_image"], 1e-3);

        let Vision::ResNet(resnet) = clip.vision() else { panic!("a ResNet was recorded") };
        let stages = resnet.stages(&image);
        for (name, stage) in [("stem_relu3", 0), ("layer1", 1), ("layer4", 4)] {
            assert_close(name, &stages[stage], &io[name], 1e-4, 1e-5);
        }
    }
}

#[test]
fn the_sizes_are_inferred_and_the_file_holds_no_other_tensors() {
    let tensors = recorded_model("clip_rn");
    let config = Config::infer(&shapes(&tensors)).unwrap();
    assert_eq!((config.embed_dim, config.resolution()), (32, 32));
    let (needed, optional) = (config.shapes(), config.optional_shapes());
    for (name, shape) in shapes(&tensors) {
        assert_eq!(needed.get(&name).or(optional.get(&name)), Some(&shape), "{name}");
    }
}

#[test]
fn missing_and_misshapen_tensors_are_all_told() {
    let mut tensors = golden("clip_vit_heads2", "model.safetensors");
    let config = Config::infer(&shapes(&tensors)).unwrap();
    tensors = copy_map(&tensors, Device::Cpu, Kind::Float);
    tensors.remove("ln_final.bias");
    tensors.insert("visual.ln_pre.bias".into(), Tensor::zeros([1], (Kind::Float, Device::Cpu)));
    let told = Clip::new(config.clone(), tensors).unwrap_err().to_string();
    assert!(told.contains("`ln_final.bias` is missing"), "{told}");
    assert!(told.contains("`visual.ln_pre.bias` has shape [1], expected [128]"), "{told}");

    let mixed = golden("clip_vit_heads2", "model.safetensors");
    let told = Clip::new(config, mixed).unwrap_err();
    assert!(told.to_string().contains("one floating-point kind"), "{told}");
    assert!(told.hint().unwrap().contains("copy_map"));
}

#[test]
fn without_its_text_tower_a_clip_sees_the_same() {
    let clip = clip(&golden("clip_vit_heads2", "model.safetensors"), Kind::Float);
    let image = golden("clip_vit_heads2", "io.safetensors").remove("image").unwrap();
    let before = clip.encode_image(&image);
    let clip = clip.without_text();
    assert!(clip.text().is_none());
    assert!(clip.encode_image(&image).equal(&before));
}

#[test]
fn parameters_that_ask_for_gradients_get_none() {
    let mut tensors =
        copy_map(&golden("clip_vit_heads2", "model.safetensors"), Device::Cpu, Kind::Float);
    let config = Config::infer(&shapes(&tensors)).unwrap();
    for tensor in tensors.values_mut() {
        *tensor = tensor.set_requires_grad(true);
    }
    let clip = Clip::new(config, tensors).unwrap();
    let image = golden("clip_vit_heads2", "io.safetensors").remove("image").unwrap();
    assert!(!clip.encode_image(&image).requires_grad());
}

/// `cargo test --release -- --ignored --nocapture clip::measures` prints speed against arithmetic.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)]
fn measures_forward_and_backward() {
    use nada::clip::VisionConfig;
    use nada::clip::config::{ResNetConfig, TextConfig, VitConfig};
    let threads: i32 = std::env::var("THREADS").map_or(2, |n| n.parse().unwrap());
    tch::set_num_threads(threads);
    let vit = |resolution, patch, width, layers| {
        VisionConfig::Vit(VitConfig { resolution, patch, width, layers, heads: width / 64 })
    };
    let resnet = |resolution, width, blocks| {
        VisionConfig::ResNet(ResNetConfig { resolution, width, blocks })
    };
    // The last column: multiplications and additions of one image, forward, in 10^9.
    let models = [
        ("ViT-B/32", vit(224, 32, 768, 12), 8.8),
        ("ViT-B/16", vit(224, 16, 768, 12), 35.1),
        ("RN50", resnet(224, 64, [3, 4, 6, 3]), 12.2),
        ("shipped RN 64 px", resnet(64, 16, [1, 1, 1, 1]), 0.03),
    ];
    for (name, vision, gflop) in models {
        let text = TextConfig { context: 77, vocab: 100, width: 64, layers: 1, heads: 1 };
        let config = Config { embed_dim: 512, vision, text, activation: Default::default() };
        let options = (Kind::Float, Device::Cpu);
        let random = |(name, shape): (String, Vec<i64>)| {
            let tensor = Tensor::rand(shape, options) * 0.04;
            let tensor = if name.ends_with("running_var") { tensor + 1.0 } else { tensor - 0.02 };
            (name, tensor)
        };
        let tensors = config.shapes().into_iter().map(random).collect();
        let clip = Clip::new(config, tensors).unwrap();
        let r = clip.resolution();
        let images = Tensor::rand([8, 3, r, r], options);
        let mut best = [f64::MAX; 2];
        for _ in 0..5 {
            let images = images.detach().set_requires_grad(true);
            let start = std::time::Instant::now();
            let loss = normalise(&clip.encode_image(&images)).sum(None);
            let forward = start.elapsed().as_secs_f64();
            let _ = Tensor::run_backward(&[loss], &[&images], false, false);
            let both = start.elapsed().as_secs_f64();
            best = [best[0].min(forward), best[1].min(both)];
        }
        // Frozen weights: backward costs as much arithmetic as forward.
        println!(
            "{name:18} batch 8, {threads} threads: forward {:7.1} ms ({:5.1} GFLOP/s), with backward {:7.1} ms ({:5.1} GFLOP/s)",
            best[0] * 1e3,
            8.0 * gflop / best[0],
            best[1] * 1e3,
            16.0 * gflop / best[1]
        );
    }
}
