//! The commands beside `adapt`, end to end on the shipped models.

use crate::command::{listing, nada};
use crate::common::{assert_close, golden_path};
use nada::checkpoint::{self, save_safetensors};
use nada::models::open_generator;
use nada::stylegan2::{Generator, Latent, Noise};
use nada::torch::TensorMap;
use serde_json::Value;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn faces() -> Generator {
    let path = format!("{}/checkpoints/faces128.safetensors", env!("CARGO_MANIFEST_DIR"));
    open_generator(Path::new(&path), Kind::Float, Device::Cpu).unwrap().0
}

fn images(path: &Path) -> Tensor {
    let file = checkpoint::open(path).unwrap();
    assert_eq!(file.entries.keys().collect::<Vec<_>>(), ["images"]);
    assert_eq!(file.entries["images"].kind(), Kind::Float);
    file.entries["images"].tensor().unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn generate_draws_one_picture_or_single_files_and_prints_their_paths() {
    let folder = tempfile::tempdir().unwrap();
    let ran = nada(folder.path(), &["generate", "--count", "5", "--out", "new/faces.PNG"]).done();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("new/faces.PNG\n", ""));
    let grid = nada::imaging::load::open_image(folder.path().join("new/faces.PNG")).unwrap();
    assert!(grid.width() > 3 * 128 && grid.height() > 2 * 128);

    let ran = nada(folder.path(), &["generate", "--count", "3", "--out", "new/single"]).done();
    assert_eq!(ran.stdout, "new/single/000000.png\nnew/single/000001.png\nnew/single/000002.png\n");
    let single =
        nada::imaging::load::open_image(folder.path().join("new/single/000002.png")).unwrap();
    assert_eq!((single.width(), single.height()), (128, 128));

    // Without a name it takes the next that is free.
    for name in ["generated.png", "generated-2.png"] {
        assert_eq!(nada(folder.path(), &["generate", "--count", "1"]).done().stdout.trim(), name);
    }
}

#[test]
fn generate_replaces_files_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    std::fs::write(&path, "mine").unwrap();
    let args = ["generate", "--count", "1", "--out", "a.png"];
    nada(folder.path(), &args).refused(2, &["exists already"]);
    nada(folder.path(), &[&args[..], &["--force"]].concat()).done();
    assert!(nada::imaging::load::open_image(&path).is_ok());
    assert_eq!(listing(folder.path()).len(), 1);
}

#[test]
fn raw_images_are_what_the_library_makes_of_the_same_codes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let generator = faces();
    let z = nada::rng::stream(5, 0, "test").normal(&[3, 128], Kind::Float, Device::Cpu);
    let (want, w_plus) =
        generator.generate(&Latent::Z(z.shallow_clone()), 1.0, Noise::Stored).unwrap();
    let save = |name: &str, key: &str, t: &Tensor| {
        let map = TensorMap::from([(key.to_owned(), t.shallow_clone())]);
        save_safetensors(at(name), &map, &Default::default(), None).unwrap();
    };
    let raw = |latents: &str, more: &[&str]| {
        let args = ["generate", "--latents", latents, "--raw", "raw.safetensors", "--force"];
        let ran = nada(folder.path(), &[&args[..], more].concat()).done();
        assert_eq!(ran.stdout, "raw.safetensors\n");
        images(&at("raw.safetensors"))
    };
    save("z.safetensors", "anything", &z);
    assert_close("z", &raw("z.safetensors", &[]), &want, 0.0, 2e-5);
    std::fs::write(at("z.npy"), npy(&z)).unwrap();
    assert_close("z.npy", &raw("z.npy", &["--latent-kind", "z"]), &want, 0.0, 2e-5);
    save("wp.safetensors", "latents", &w_plus);
    assert_close("w+", &raw("wp.safetensors", &[]), &want, 0.0, 2e-5);
    save("one.safetensors", "w_plus", &w_plus.get(1));
    assert_close(
        "one w+",
        &raw("one.safetensors", &["--latent-kind", "w+"]),
        &want.narrow(0, 1, 1),
        0.0,
        2e-5,
    );
    save("w.safetensors", "w", &w_plus.select(1, 0));
    assert_close("w", &raw("w.safetensors", &[]), &want, 0.0, 2e-5);

    let (want, _) = generator.generate(&Latent::Z(z), 0.5, Noise::None).unwrap();
    let got = raw("z.safetensors", &["--truncation", "0.5", "--noise", "none"]);
    assert_close("truncated", &got, &want, 0.0, 2e-5);
    // Not clamped.
    assert!(got.abs().max().double_value(&[]) > 1.0);
}

#[test]
fn a_seed_decides_and_image_i_is_the_same_whatever_the_count() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |name: &str, args: &[&str]| {
        let out = folder.path().join(name);
        let args = [&["generate", "--raw", name], args].concat();
        nada(folder.path(), &args).done();
        (std::fs::read(&out).unwrap(), images(&out))
    };
    let random = |count, seed| ["--noise", "random", "--count", count, "--seed", seed];
    let (a, first) = bytes("a.safetensors", &random("3", "7"));
    let (b, _) = bytes("b.safetensors", &random("3", "7"));
    let (_, other) = bytes("c.safetensors", &random("3", "8"));
    let (_, fewer) = bytes("d.safetensors", &random("2", "7"));
    assert!(a == b);
    assert!(!first.allclose(&other, 0.1, 0.1, false));
    assert_close("image 1", &fewer.get(1), &first.get(1), 0.0, 2e-5);
    let (_, stored) = bytes("e.safetensors", &["--count", "3", "--seed", "7"]);
    assert!(!stored.equal(&first), "random noise is other than the stored");
}

#[test]
fn many_images_are_made_batch_by_batch() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["generate", "--count", "70", "--raw", "raw.safetensors", "--out", "all.png"];
    assert_eq!(nada(folder.path(), &args).done().stdout, "all.png\nraw.safetensors\n");
    assert_eq!(images(&folder.path().join("raw.safetensors")).size(), [70, 3, 128, 128]);
}

#[test]
fn score_knows_a_face_from_a_sketch_of_one() {
    let folder = tempfile::tempdir().unwrap();
    nada(folder.path(), &["generate", "--count", "2", "--out", "faces"]).done();
    let args = [
        "score",
        "faces/000000.png",
        "faces/000001.png",
        "--text",
        "a photo of a face",
        "--text",
        "a sketch",
    ];
    let ran = nada(folder.path(), &[&args[..], &["--json"]].concat()).done();
    let scores = json(&ran.stdout);
    assert_eq!(scores["images"][1], "faces/000001.png");
    assert_eq!(scores["texts"][0], "a photo of a face");
    for model in ["clip-rn", "clip-vit"] {
        let rows = scores["scores"][model].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for row in rows {
            let (photo, sketch) = (row[0].as_f64().unwrap(), row[1].as_f64().unwrap());
            assert!(photo > sketch && photo <= 1.0 && sketch >= -1.0, "{model}: {photo} {sketch}");
        }
    }
    let ran = nada(folder.path(), &[&args[..], &["--clip", "clip-vit"]].concat()).done();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("clip-vit"));
    let (photo, sketch) = (lines[0].find("a photo").unwrap(), lines[0].find("a sketch").unwrap());
    let cell = &lines[1][photo..sketch];
    assert!(cell.trim_end().ends_with('*'), "{}", ran.stdout);
}

#[test]
fn inspect_tells_a_generator() {
    let folder = tempfile::tempdir().unwrap();
    let file = golden_path("generator32", "generator.pt").display().to_string();
    let facts =
        json(&nada(folder.path(), &["inspect", &file, "--json", "--tensors"]).done().stdout);
    assert_eq!(facts["network"], "generator");
    assert_eq!(facts["container"], "torch (zip)");
    assert_eq!((facts["resolution"].as_i64(), facts["style_inputs"].as_i64()), (Some(32), Some(8)));
    assert_eq!(facts["channels"][0]["resolution"], 4);
    assert_eq!(facts["latent_avg"], true);
    assert_eq!(facts["sha256"].as_str().unwrap().len(), 64);
    assert!(facts.get("problems").is_none(), "{facts}");
    let layer =
        facts["layers"].as_array().unwrap().iter().find(|l| l["name"] == "to_rgbs.1").unwrap();
    assert_eq!(layer["style"], 5);
    let total: i64 =
        facts["layers"].as_array().unwrap().iter().map(|l| l["parameters"].as_i64().unwrap()).sum();
    assert_eq!(facts["parameters"].as_i64(), Some(total));
    let names: Vec<&str> =
        facts["tensors"].as_array().unwrap().iter().filter_map(|t| t["name"].as_str()).collect();
    assert!(names.contains(&"g_ema/conv1.conv.weight"), "{names:?}");
    let text = nada(folder.path(), &["inspect", "faces128"]).done().stdout;
    assert!(text.contains("a StyleGAN2 generator") && text.contains("to_rgbs.3"), "{text}");
}

#[test]
fn inspect_tells_a_clip_and_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let vit = golden_path("clip_vit", "model.pt").display().to_string();
    let facts = json(&nada(folder.path(), &["inspect", &vit, "--json"]).done().stdout);
    assert_eq!(facts["network"], "clip");
    assert_eq!(facts["image_tower"]["kind"], "vision transformer");
    assert!(facts["vocabulary"].is_number() && facts["text_tower"]["context"].is_number());
    let text = nada(folder.path(), &["inspect", "clip-rn"]).done().stdout;
    assert!(text.contains("ResNet") && text.contains("49408"), "{text}");

    let unknown = golden_path("generator32", "io.safetensors").display().to_string();
    let text = nada(folder.path(), &["inspect", &unknown, "--tensors"]).done().stdout;
    assert!(text.contains("of an unknown network") && text.contains("float32"), "{text}");
    std::fs::write(
        folder.path().join("z.npy"),
        npy(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))),
    )
    .unwrap();
    let text = nada(folder.path(), &["inspect", "z.npy", "--tensors"]).done().stdout;
    assert!(text.contains("NumPy array") && text.contains("[2, 3]"), "{text}");
}

#[test]
fn presets_are_listed_and_printed_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let ran = nada(folder.path(), &["presets"]).done();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let (presets, mappers) = (nada::builtin::presets(), nada::builtin::mapper_presets());
    assert_eq!(lines.len(), 1 + presets.len() + mappers.len());
    assert!(lines[1 + presets.len()].starts_with("mapper/default"), "{}", lines[1 + presets.len()]);
    assert!(
        lines[1].starts_with("default") && lines[1].contains("clip-rn + clip-vit"),
        "{}",
        lines[1]
    );
    let ran = nada(folder.path(), &["presets", "default"]).done();
    let file = format!("{}/presets/default.yaml", env!("CARGO_MANIFEST_DIR"));
    assert_eq!(ran.stdout.trim_end(), std::fs::read_to_string(file).unwrap().trim_end());
    assert_eq!(ran.stderr, "");
    let ran = nada(folder.path(), &["presets", "mapper/edit"]).done();
    assert!(ran.stdout.contains("norm: 0.0"), "{}", ran.stdout);
}

#[test]
fn every_preset_makes_a_valid_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in nada::builtin::presets() {
        nada(folder.path(), &["adapt", "--target", "x", "--preset", name, "--print-config"]).done();
    }
    assert!(listing(folder.path()).is_empty());
}

#[test]
fn every_shell_gets_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = nada(folder.path(), &["completions", shell]).done().stdout;
        assert!(script.contains("--target-images") || script.contains("target-images"), "{shell}");
    }
}

#[test]
fn quiet_says_nothing_but_data_and_help_shows_examples() {
    let folder = tempfile::tempdir().unwrap();
    let ran = nada(folder.path(), &["--quiet", "presets"]).done();
    assert!(!ran.stdout.is_empty() && ran.stderr.is_empty());
    for command in ["adapt", "generate", "score", "inspect", "presets", "completions"] {
        let help = nada(folder.path(), &[command, "--help"]).done().stdout;
        assert!(help.contains(&format!("nada {command}")) && help.contains("Examples:"), "{help}");
    }
}

/// A `.npy` file of version 1, as NumPy writes it.
fn npy(tensor: &Tensor) -> Vec<u8> {
    let shape: Vec<String> = tensor.size().iter().map(|d| format!("{d}, ")).collect();
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", shape.concat());
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let values: Vec<f32> = tensor.reshape([-1]).try_into().unwrap();
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}
