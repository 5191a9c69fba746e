//! Encoders and ReStyle's rounds against the originals' (goldens of the five kinds).
#![allow(clippy::unwrap_used)]

use crate::common::{assert_close, golden, golden_path};
use nada::invert::{Config, Encoder, Facts, Flavour, Perceptual, invert};
use nada::models;
use nada::stylegan2::Generator;
use tch::{Device, Kind, Tensor};

const KINDS: [(Kind, &str, f64, f64); 2] =
    [(Kind::Float, "", 2e-4, 5e-5), (Kind::Double, ".f64", 1e-9, 1e-10)];

/// The photo and its mirror, `[2, 3, 256, 256]` in [-1, 1] with the rounding of float32.
fn photos() -> Tensor {
    let photo = nada::imaging::load::open_image(golden_path("preprocess", "photo256.png")).unwrap();
    let rgb = photo.to_rgb8();
    let photo = Tensor::from_slice(rgb.as_raw()).view([256, 256, 3]).permute([2, 0, 1]);
    let photo = (photo.to_kind(Kind::Float) / 255.0 - 0.5) / 0.5;
    Tensor::stack(&[&photo, &photo.flip([2])], 0)
}

fn opened(folder: &str, file: &str, kind: Kind) -> (Encoder, Generator) {
    let file = golden_path(folder, file);
    let (encoder, _) = models::open_encoder(&file, kind, Device::Cpu).unwrap();
    let (generator, _) = models::open_generator(&file, kind, Device::Cpu).unwrap();
    (encoder, generator)
}

/// `spread` is how far the original itself is in float32 from float64 (the manifest's `max_abs_f32_vs_f64`).
fn restyle_agrees(folder: &str, flavour: Flavour, spread: f64) {
    let io = golden(folder, "io.safetensors");
    for (kind, suffix, rtol, atol) in KINDS {
        let atol = if kind == Kind::Float { atol + 2.0 * spread } else { atol };
        let (encoder, generator) = opened(folder, "checkpoint.pt", kind);
        let config = encoder.config();
        assert_eq!((config.flavour, config.rounds), (flavour, Some(3)), "{folder}");
        assert!(config.is_iterative() && config.from_average);
        let photos = photos().to_kind(kind);
        let rounds = invert(&encoder, &generator, &photos, 3, None).unwrap();
        assert_eq!(rounds.len(), 3);
        for (i, round) in rounds.iter().enumerate() {
            let close = |name: String, got: &Tensor| {
                assert_close(&format!("{folder} {name}"), got, &io[&name], rtol, atol);
            };
            close(format!("codes.iter{i}{suffix}"), &round.codes);
            // In float64, the last image only was recorded.
            if kind == Kind::Float || i == 2 {
                close(format!("image.iter{i}{suffix}"), &round.images.narrow(0, 0, 1));
            }
        }
        // Bootstrapping from the first round makes the second.
        let again = invert(&encoder, &generator, &photos, 1, Some(&rounds[0])).unwrap();
        assert_close("bootstrapped", &again[0].codes, &rounds[1].codes, rtol, atol);
        let other = (&rounds[0].codes - &rounds[1].codes).abs().max().double_value(&[]);
        assert!(other > 0.01, "the rounds should differ");
    }
}

fn one_pass_agrees(folder: &str, file: &str, flavour: Flavour) {
    let io = golden(folder, "io.safetensors");
    for (kind, suffix, rtol, atol) in KINDS {
        let (encoder, generator) = opened(folder, file, kind);
        assert_eq!(encoder.config().flavour, flavour, "{folder}");
        assert!(!encoder.config().is_iterative());
        let photos = photos().to_kind(kind);
        let close = |name: &str, got: &Tensor| {
            let name = format!("{name}{suffix}");
            assert_close(&format!("{folder} {name}"), got, &io[&name], rtol, atol);
        };
        close("encoder_out", &encoder.forward(&photos).unwrap());
        let rounds = invert(&encoder, &generator, &photos, 5, None).unwrap();
        assert_eq!(rounds.len(), 1);
        close("codes", &rounds[0].codes);
        close("image", &rounds[0].images);
    }
}

#[test]
fn restyle_over_psp_meets_the_original() {
    restyle_agrees("restyle_psp", Flavour::Codes, 0.0);
}

#[test]
fn restyle_over_e4e_meets_the_original() {
    restyle_agrees("restyle_e4e", Flavour::Deltas, 0.0);
}

#[test]
fn restyle_with_a_resnet_meets_the_original() {
    restyle_agrees("restyle_psp_resnet34", Flavour::Codes, 2.5e-4);
}

#[test]
fn psp_meets_the_original() {
    one_pass_agrees("psp_gradual", "checkpoint.pt", Flavour::Codes);
}

#[test]
fn e4e_meets_the_original() {
    one_pass_agrees("e4e_encoder4editing", "checkpoint.pt", Flavour::Deltas);
}

/// Which has no options: that its codes are differences is told by the class of its encoder.
#[test]
fn e4e_in_an_archive_of_torchscript_meets_the_original() {
    one_pass_agrees("e4e_encoder4editing", "checkpoint_jit.pt", Flavour::Deltas);
}

#[test]
fn what_does_not_belong_together_is_told() {
    let (encoder, _) = opened("restyle_psp", "checkpoint.pt", Kind::Float);
    let file = golden_path("generator64", "generator.pt");
    let (other, _) = models::open_generator(&file, Kind::Float, Device::Cpu).unwrap();
    let error = invert(&encoder, &other, &photos(), 1, None).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("8 codes of width 8"), "{error}");

    let (_, generator) = opened("restyle_psp", "checkpoint.pt", Kind::Float);
    let small = Tensor::zeros([1, 3, 64, 64], (Kind::Float, Device::Cpu));
    let error = invert(&encoder, &generator, &small, 1, None).unwrap_err();
    assert_eq!(error.exit_code(), 2);

    let wrong = golden_path("generator32", "generator.pt");
    let error = models::open_encoder(&wrong, Kind::Float, Device::Cpu).unwrap_err().to_string();
    assert!(
        error.contains("holds a StyleGAN2 generator (`g_ema`), expected an image encoder"),
        "{error}"
    );
}

#[test]
fn an_encoders_faults_are_told_by_tensor() {
    let (encoder, _) = opened("psp_gradual", "checkpoint.pt", Kind::Float);
    let facts = Facts::read(&Default::default());
    let good = encoder.config().shapes();
    assert_eq!(Config::infer(&good, &facts).unwrap().shapes(), good);
    let told = |shapes| Config::infer(&shapes, &facts).unwrap_err().to_string();
    let mut shapes = good.clone();
    shapes.retain(|name, _| !name.starts_with("body.3.shortcut"));
    assert!(told(shapes).contains("3 stages"));
    let mut shapes = good.clone();
    shapes.insert("styles.2.convs.0.weight".into(), vec![i64::MAX, 8, 3, 3]);
    assert!(told(shapes).contains("`styles.2.convs.0.weight` has shape"));
    let odd = Facts { encoder_type: Some("Transformer".into()), ..facts.clone() };
    let error = Config::infer(&good, &odd).unwrap_err().to_string();
    assert!(error.contains("class `Transformer` is not supported"), "{error}");
}

#[test]
fn lpips_is_that_of_its_authors() {
    for name in ["alex", "vgg"] {
        let io = golden("lpips", &format!("{name}_io.safetensors"));
        let file = golden_path("lpips", &format!("{name}.safetensors"));
        // The original's shift and scale of colours have the digits of float32.
        for (kind, tolerance) in [(Kind::Float, 1e-5), (Kind::Double, 2e-8)] {
            let lpips = models::open_lpips(std::slice::from_ref(&file), kind, Device::Cpu).unwrap();
            let network = Perceptual::of_lpips(lpips);
            let see = |name: &str| network.see(&io[name].to_kind(kind)).unwrap();
            let distance = network.distance(&see("a"), &see("b")).unwrap();
            assert_close(name, &distance, &io["distance.f64"], tolerance, tolerance);
            let same = network.distance(&see("a"), &see("a")).unwrap();
            assert_close("the same", &same, &same.zeros_like(), 0.0, 0.0);
        }
    }
    let whole = nada::checkpoint::open(golden_path("lpips", "alex.safetensors")).unwrap();
    let halves = tempfile::tempdir().unwrap();
    let write = |name: &str, keep: &dyn Fn(&str) -> bool| {
        let part = whole.entries.iter().filter(|(n, _)| keep(n));
        let part = part.map(|(n, e)| (n.clone(), e.tensor().unwrap())).collect();
        let path = halves.path().join(name);
        nada::checkpoint::save_safetensors(&path, &part, &Default::default(), None).unwrap();
        path
    };
    let net = write("net", &|n| n.starts_with("net."));
    let lin = write("lin", &|n| n.starts_with("lin"));
    models::open_lpips(&[net.clone(), lin], Kind::Float, Device::Cpu).unwrap();
    let error = models::open_lpips(&[net], Kind::Float, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("`lin0.model.1.weight` is missing"), "{error}");
}

#[test]
fn what_clip_sees_differs_more_the_less_images_are_alike() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints");
    let photo = photos().narrow(0, 0, 1).adaptive_avg_pool2d([128, 128]);
    let noise = nada::rng::stream(0, 0, "test").normal(&[1, 3, 128, 128], Kind::Float, Device::Cpu);
    for name in ["clip_rn", "clip_vit"] {
        let file = folder.join(format!("{name}.safetensors"));
        let clip = models::open_clip(&file, Kind::Float, Device::Cpu).unwrap().0;
        let network = Perceptual::of_clip(clip);
        let from = network.see(&photo).unwrap();
        let far = |other: &Tensor| {
            let seen = network.see(other).unwrap();
            network.distance(&seen, &from).unwrap().double_value(&[0])
        };
        let distances =
            [far(&photo), far(&(&photo + &noise * 0.1)), far(&photo.flip([3])), far(&noise)];
        assert!(distances[0] < 1e-6 && distances.is_sorted(), "{name}: {distances:?}");
    }
}

#[test]
fn an_encoder_of_narrow_style_blocks_keeps_the_frame_of_its_faces() {
    let file = nada::checkpoint::open(golden_path("restyle_psp", "checkpoint.pt")).unwrap();
    let (named, options) = nada::checkpoint::encoder(&file).unwrap();
    let mut shapes: nada::torch::ShapeMap =
        named.entries.iter().map(|(n, e)| (n.clone(), e.shape().to_vec())).collect();
    for (name, shape) in &mut shapes {
        if name.starts_with("styles.") && !name.ends_with("linear.bias") {
            let is_linear = name.ends_with("linear.weight");
            let narrow = if is_linear { 1 } else { 0 };
            shape[narrow] = 3;
            if !is_linear && shape.len() == 4 && !name.ends_with("convs.0.weight") {
                shape[1] = 3;
            }
        }
    }
    let mut facts = Facts::read(&options);
    facts.frame = Some("0.5 0.33 1.6".into());
    let config = Config::infer(&shapes, &facts).unwrap();
    assert_eq!((config.style_dim, config.codes), (8, 8));
    assert_eq!((config.frame.y, config.frame.side), (0.33, 1.6));
    let tensors = config
        .shapes()
        .into_iter()
        .map(|(n, s)| (n, Tensor::ones(s, (Kind::Float, Device::Cpu))))
        .collect();
    let encoder = Encoder::new(config, &tensors).unwrap();
    let codes =
        encoder.forward(&Tensor::zeros([1, 6, 256, 256], (Kind::Float, Device::Cpu))).unwrap();
    assert_eq!(codes.size(), [1, 8, 8]);
    facts.frame = Some("0.5 0.33".into());
    assert!(Config::infer(&shapes, &facts).is_err());
}
