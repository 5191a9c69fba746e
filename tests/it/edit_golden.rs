//! Editing against goldens `mapper` and `styleclip`: network, losses, gradients, Ranger's steps, searches, directions.

use crate::common::{assert_close, assert_grad_close, golden, golden_path};
use nada::adapt::rate::Ramp;
use nada::checkpoint;
use nada::config::{Levels, MapperConfig, Parity};
use nada::edit::channels::{GlobalDirection, Statistics, layout, text_step};
use nada::edit::mapper::{LevelsMapper, MapperTerm, MapperTraining, Normalise};
use nada::edit::optimise::{Search, Settings, Space};
use nada::edit::{Critic, Eye};
use nada::models::{self, Directions, open_directions};
use nada::stylegan2::{Generator, Noise, StyleCodes};
use nada::torch::TensorMap;
use tch::{Device, Kind, Tensor};

/// float32, then float64: suffix of the recorded name, tolerance of values, of gradients.
const PRECISIONS: [(Kind, &str, f64, f64, f64); 2] =
    [(Kind::Float, "", 1e-4, 1e-5, 1e-3), (Kind::Double, ".f64", 1e-9, 1e-10, 1e-8)];

/// The tensors of `mapper.pt` without their prefix: the mapper's and the decoder's.
fn mapper_file(prefix: &str, kind: Kind) -> TensorMap {
    let file = checkpoint::open(golden_path("mapper", "mapper.pt")).unwrap();
    let own = file.entries.iter().filter_map(|(name, entry)| {
        let name =
            name.strip_prefix("state_dict.").or(name.strip_prefix("state_dict/")).unwrap_or(name);
        Some((name.strip_prefix(prefix)?.to_owned(), entry.tensor().unwrap().to_kind(kind)))
    });
    own.collect()
}

fn decoder(kind: Kind) -> Generator {
    let tensors = mapper_file("decoder.", kind);
    assert!(!tensors.is_empty(), "no decoder among the tensors");
    let config = nada::stylegan2::Config::infer(&nada::torch::shapes(&tensors)).unwrap();
    Generator::new(config, tensors).unwrap()
}

fn mapper(kind: Kind) -> LevelsMapper {
    LevelsMapper::from_tensors(&mapper_file("mapper.", kind), (10, 16), Normalise::Layers).unwrap()
}

/// A CLIP shown images as StyleCLIP does, with the text that was recorded for it.
fn critic(files: &[(&str, &str)], side: i64, tokens: &Tensor, kind: Kind) -> Critic {
    let mut critic = Critic::default();
    for (folder, file) in files {
        let (clip, _) = models::open_clip(&golden_path(folder, file), kind, Device::Cpu).unwrap();
        let text = nada::clip::normalise(&clip.encode_text(&tokens.to_kind(Kind::Int64)));
        let eye = Eye::styleclip(side, clip.resolution(), kind, Device::Cpu).unwrap();
        critic.add_with_text(clip, eye, 1.0, text);
    }
    critic
}

fn training(kind: Kind) -> MapperTraining {
    let io = golden("mapper", "io.safetensors");
    let files = [("mapper", "clip_c1.pt"), ("mapper", "clip_c2.pt")];
    let config = MapperConfig { parity: Parity::Original, ..MapperConfig::default() };
    let critic = critic(&files, 64, &io["tokens"], kind);
    MapperTraining::with_mapper(decoder(kind), mapper(kind), critic, None, config).unwrap()
}

#[test]
fn the_mapper_meets_the_original() {
    let io = golden("mapper", "io.safetensors");
    for (kind, suffix, rtol, atol, _) in PRECISIONS {
        let w = io["w"].to_kind(kind);
        let mapper = mapper(kind);
        let key = format!("delta{suffix}");
        assert_close(&key, &mapper.forward(&w), &io[&key], rtol, atol);
        let seen = mapper.normalised(&w.narrow(1, 0, 4));
        assert_close("pixel norm", &seen, &io["coarse_after_pixelnorm"], 1e-4, 1e-5);
        let mut coarse = mapper_file("mapper.", kind);
        coarse.retain(|name, _| !name.starts_with("fine_mapping"));
        let part = LevelsMapper::from_tensors(&coarse, (10, 16), Normalise::Layers).unwrap();
        assert_close("no fine", &part.forward(&w), &io["delta_no_fine"], 1e-4, 1e-5);
        let moved = mapper.apply(&w, 0.1).unwrap();
        let images = decoder(kind).synthesis().forward(&moved, Noise::Stored);
        assert_close("image", &images, &io["x_hat"], 1e-4, 1e-5);
    }
}

#[test]
fn the_mappers_losses_and_gradients_meet_the_original() {
    let io = golden("mapper", "io.safetensors");
    let grads = golden("mapper", "grads.safetensors");
    let mut compared = 0;
    for (kind, suffix, rtol, atol, grad_tol) in PRECISIONS {
        let training = training(kind);
        let (total, terms) = training.losses(0, &io["w"].to_kind(kind)).unwrap();
        for (term, value) in &terms {
            let name = match term {
                MapperTerm::Clip => "loss_clip",
                MapperTerm::Norm => "loss_norm",
                MapperTerm::L2 => "loss_l2",
                MapperTerm::Identity => panic!("there is no ArcFace"),
            };
            assert_close(name, value, &io[&format!("{name}{suffix}")], rtol, atol);
            compared += 1;
        }
        assert_close("loss", &total, &io[&format!("loss{suffix}")], rtol, atol);
        let params = training.mapper().params();
        let wanted: Vec<&Tensor> = params.values().collect();
        let found = Tensor::run_backward(&[&total], &wanted, false, false);
        for (name, grad) in params.keys().zip(&found) {
            let want = grads.get(&format!("{name}{suffix}")).unwrap_or(&grads[name]);
            let tol = if grads.contains_key(&format!("{name}{suffix}")) { grad_tol } else { 1e-3 };
            assert_grad_close(name, grad, want, tol);
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * (3 + 24));
}

#[test]
fn rangers_steps_meet_the_original() {
    let io = golden("mapper", "io.safetensors");
    // Recorded in float32 only, whose rounding 14 steps of this learning rate make larger.
    let want = golden("mapper", "ranger.safetensors");
    for kind in [Kind::Float, Kind::Double] {
        let mut training = training(kind);
        let w = io["w"].to_kind(kind);
        let (mut seen, mut compared) = (Vec::new(), 0);
        for step in 0..14 {
            seen.push(training.step_with(step, &w).unwrap().loss);
            let prefix = format!("after{}.", step + 1);
            for (name, value) in want.iter().filter(|(n, _)| n.starts_with(&prefix)) {
                let own = &training.mapper().params()[&name[prefix.len()..]];
                let largest = value.abs().max().double_value(&[]);
                assert_close(name, own, value, 0.0, 1e-4 * largest);
                compared += 1;
            }
        }
        assert_eq!(compared, 12);
        assert_close("losses", &Tensor::from_slice(&seen), &want["losses"], 1e-4, 1e-5);
    }
}

#[test]
fn latent_optimisation_meets_the_original() {
    let want = golden("styleclip", "optimization.safetensors");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden_path("styleclip", "manifest.json")).unwrap())
            .unwrap();
    let phrase = manifest["description"].as_str().unwrap();
    let run = |kind: Kind,
               suffix: &str,
               prefix: &str,
               space: Space,
               l2: f64,
               rtol: f64,
               atol: f64| {
        let (generator, _) =
            models::open_generator(golden_path("nada", "frozen.pt"), kind, Device::Cpu).unwrap();
        let (clip, _) =
            models::open_clip(&golden_path("mapper", "clip_c1.pt"), kind, Device::Cpu).unwrap();
        let eye = Eye::styleclip(32, clip.resolution(), kind, Device::Cpu).unwrap();
        let mut critic = Critic::default();
        critic.add(clip, eye, 1.0, phrase).unwrap();
        let start = match prefix {
            // The first step has learning rate 0: behind it the code is still the mean style.
            "free" => want[&format!("free.latent{suffix}")].narrow(0, 0, 1).to_kind(kind),
            _ => want["latent_init"].to_kind(kind),
        };
        let steps = want[&format!("{prefix}.loss")].size()[0] as u64;
        let settings = Settings { steps, space, l2, ..Settings::default() };
        let mut search = Search::new(&generator, &start, &critic, None, settings).unwrap();
        for step in 0..steps {
            let lr = want[&format!("{prefix}.lr.f64")].double_value(&[step as i64]);
            assert!((Ramp::usual(0.1).rate(step, steps) - lr).abs() < 1e-12, "{prefix} {step}");
            if step + 1 == steps {
                let key = format!("{prefix}.image_last{suffix}");
                assert_close(&key, &search.image(), &want[&key], rtol * 10.0, atol * 10.0);
            }
            let report = search.step(step).unwrap();
            let at =
                |name: &str| want[&format!("{prefix}.{name}{suffix}")].double_value(&[step as i64]);
            assert!((report.loss - at("loss")).abs() < rtol.max(1e-9) * at("loss").abs() + atol);
            assert!((report.clip - at("clip_loss")).abs() < rtol * at("clip_loss").abs() + atol);
            if let Some(codes) = search.w_plus() {
                let key = format!("{prefix}.latent{suffix}");
                let recorded = want[&key].get(step as i64).unsqueeze(0);
                assert_close(&key, &codes, &recorded, rtol, atol * 10.0);
            }
        }
        if space == Space::Style {
            for (i, (layer, code)) in search.style_codes().0.iter().enumerate() {
                let key = format!("s.after{steps}.{i}{suffix}");
                assert_close(&format!("{key} {layer}"), code, &want[&key], rtol, atol * 10.0);
            }
        }
    };
    for (kind, suffix, rtol, atol, _) in PRECISIONS {
        run(kind, suffix, "w", Space::WPlus, 0.008, rtol, atol);
        run(kind, suffix, "s", Space::Style, 0.008, rtol, atol);
        run(kind, suffix, "free", Space::WPlus, 0.0, rtol, atol);
    }
}

#[test]
fn global_directions_meet_the_original() {
    let want = golden("styleclip", "global.safetensors");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden_path("styleclip", "manifest.json")).unwrap())
            .unwrap();
    let (generator, _) =
        models::open_generator(golden_path("nada", "frozen.pt"), Kind::Float, Device::Cpu).unwrap();
    let (clip, _) =
        models::open_clip(&golden_path("clip_vit", "model.pt"), Kind::Float, Device::Cpu).unwrap();
    let Directions::Responses(responses) =
        open_directions(&golden_path("styleclip", "fs3.npy")).unwrap()
    else {
        panic!("no responses")
    };
    let Directions::Statistics { means, deviations } =
        open_directions(&golden_path("styleclip", "S_mean_std")).unwrap()
    else {
        panic!("no statistics")
    };
    let statistics = Statistics { means, deviations };
    let layers = layout(generator.config());
    let split = |joined: &Tensor| {
        let mut at = 0;
        let codes = layers.iter().map(|(layer, width)| {
            at += width;
            (*layer, joined.narrow(1, at - width, *width))
        });
        StyleCodes(codes.collect())
    };
    let join =
        |codes: &StyleCodes| Tensor::cat(&codes.0.iter().map(|(_, c)| c).collect::<Vec<_>>(), 1);
    let cases = manifest["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let i = case["case"].as_i64().unwrap();
        let number = |key: &str| case[key].as_f64().unwrap();
        let step =
            text_step(&clip, case["neutral"].as_str().unwrap(), case["target"].as_str().unwrap())
                .unwrap();
        let recorded = &want[&format!("case{i}.dt")];
        assert_close(&format!("case {i}: Δt"), &step.squeeze(), recorded, 1e-4, 2e-5);
        // With the recorded Δt: a channel at the threshold must not depend on the last digit.
        let relevance = responses.matmul(recorded);
        let direction =
            GlobalDirection::new(&relevance, &statistics, generator.config(), number("beta"))
                .unwrap();
        assert_eq!(direction.note().kept as f64, number("num_channels"), "case {i}");
        let joined = Tensor::cat(&direction.steps().iter().map(|(_, s)| s).collect::<Vec<_>>(), 0);
        assert_close(
            &format!("case {i}: δs"),
            &joined,
            &want[&format!("case{i}.boundary")],
            1e-5,
            1e-6,
        );
        let moved = direction.apply(&split(&want["s_codes"]), number("alpha")).unwrap();
        assert_close(
            &format!("case {i}: codes"),
            &join(&moved),
            &want[&format!("case{i}.codes")],
            1e-5,
            1e-5,
        );
        if let Some(images) = want.get(&format!("case{i}.images")) {
            let got = generator.synthesis().forward_styles(&moved, Noise::Stored, None);
            assert_close(&format!("case {i}: images"), &got, images, 1e-4, 1e-4);
        }
    }
}

#[test]
fn a_level_switched_off_is_the_originals_missing_block() {
    let levels = Levels { fine: false, ..Levels::default() };
    let mapper =
        LevelsMapper::random(levels, (10, 16), Normalise::Width, 0, (Kind::Float, Device::Cpu));
    assert!(mapper.params().keys().all(|name| !name.starts_with("fine_mapping")));
}
