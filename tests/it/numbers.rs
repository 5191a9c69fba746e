//! What the numbers and shapes of a file say: generators of other sizes, channels and filters, numbers that are not
//! finite, and requests that are refused by a file's table before any number is read.

use crate::command::nada;
use crate::common::{assert_close, golden_path};
use nada::checkpoint::{self, save_safetensors};
use nada::models::{self, open_generator};
use nada::stylegan2::{Latent, Noise};
use nada::torch::TensorMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Generators of other shapes, and what PyTorch draws with them for `z.npy`.
const UNUSUAL: [(&str, &str); 4] = [
    ("const_4x2.pt", "const_4x2_expected.npy"),
    ("one_channel.pt", "one_channel_expected.npy"),
    ("unusual.pt", "unusual_expected.npy"),
    ("unusual_nvidia.pt", "unusual_nvidia_expected.npy"),
];

fn case(name: &str) -> PathBuf {
    golden_path("cases", name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn array(name: &str) -> Tensor {
    checkpoint::open(case(name)).unwrap().entries["array"].tensor().unwrap()
}

fn images(generator: &Path) -> Tensor {
    let (generator, _) = open_generator(generator, Kind::Float, Device::Cpu).unwrap();
    generator.generate(&Latent::Z(array("z.npy")), 1.0, Noise::Stored).unwrap().0
}

/// The tensors of a generator's file under rosinality's names.
fn stored(name: &str) -> TensorMap {
    models::read_generator(&case(name).into(), None).unwrap().tensors
}

#[test]
fn other_sizes_channels_and_filters_are_drawn_as_pytorch_draws_them() {
    assert_close(
        "plain",
        &images(&case("plain_generator.pt")),
        &array("expected_images.npy"),
        0.0,
        1e-5,
    );
    for (file, expected) in UNUSUAL {
        assert_close(file, &images(&case(file)), &array(expected), 0.0, 1e-5);
    }
}

#[test]
fn other_sizes_channels_and_filters_survive_conversion_and_export() {
    let folder = tempfile::tempdir().unwrap();
    for (file, _) in UNUSUAL {
        let path = case(file);
        let wanted = images(&path);
        for out in ["again.pt", "again.safetensors"] {
            nada(folder.path(), &["convert", text(&path), out, "--force"]).done();
            assert!(images(&folder.path().join(out)).equal(&wanted), "{file} as {out}");
        }
        // They compare their images with the generator's themselves.
        for format in ["onnx", "torchscript"] {
            let args = ["export", text(&path), "--format", format, "--out", "x", "--force"];
            let ran = nada(folder.path(), &args).done();
            assert!(ran.stderr.contains("loaded back: 3 images"), "{file}: {}", ran.stderr);
        }
        let told = nada(folder.path(), &["inspect", text(&path), "--json"]).done();
        let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(told["image"], serde_json::json!(wanted.size()[1..]), "{file}");
        assert_eq!(told.get("problems"), None, "{file}");
    }
}

#[test]
fn pictures_keep_the_channels_that_a_generator_draws() {
    let folder = tempfile::tempdir().unwrap();
    for (file, colour, (width, height)) in [
        ("one_channel.pt", image::ColorType::L8, (16, 16)),
        ("const_4x2.pt", image::ColorType::Rgb8, (8, 16)),
        ("unusual.pt", image::ColorType::Rgba8, (20, 12)),
    ] {
        let path = case(file);
        let generate = |out: &str| {
            let args = ["generate", "--generator", text(&path), "--count", "3", "--out", out];
            nada(folder.path(), &[&args[..], &["--force"]].concat()).done();
        };
        generate("single");
        let picture = image::open(folder.path().join("single/000002.png")).unwrap();
        assert_eq!(picture.color(), colour, "{file}");
        assert_eq!((picture.width(), picture.height()), (width, height), "{file}");
        generate("sheet.png");
        assert_eq!(
            image::open(folder.path().join("sheet.png")).unwrap().color(),
            image::ColorType::Rgb8
        );
    }
}

#[test]
fn a_generator_of_any_shape_is_adapted_and_a_large_k_means_all() {
    let folder = tempfile::tempdir().unwrap();
    for (file, inputs) in [("one_channel.pt", 6), ("unusual.pt", 6)] {
        let path = case(file);
        let args =
            ["adapt", "--generator", text(&path), "--preset", "sketch", "--layers", "adaptive"];
        let more = ["--k", "18", "--iterations", "2", "--batch", "2", "--out", file];
        let ran = nada(folder.path(), &[&args[..], &more].concat()).done();
        let note =
            format!("has {inputs} style inputs to choose from: all of them train in every step");
        assert!(
            ran.stderr.contains("`layers.k` is 18") && ran.stderr.contains(&note),
            "{}",
            ran.stderr
        );
        let result = folder.path().join(file).join("generator.safetensors");
        assert!(!images(&result).equal(&images(&case(file))), "{file}");
        assert_eq!(images(&result).size(), images(&case(file)).size());
    }
}

#[test]
fn what_is_wrong_with_a_generator_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    let refused = |change: &dyn Fn(&mut TensorMap)| {
        let mut tensors = stored("plain_generator.pt");
        change(&mut tensors);
        save_safetensors(&path, &tensors, &Default::default(), None).unwrap();
        open_generator(path.as_path(), Kind::Float, Device::Cpu).unwrap_err().to_string()
    };
    let file = path.display();
    let missing = refused(&|tensors| drop(tensors.remove("conv1.noise.weight")));
    let one = format!(
        "`{file}` does not make a complete 16 px generator: `conv1.noise.weight` [1] is missing"
    );
    assert_eq!(missing, one);
    let two = refused(&|tensors| {
        for name in ["to_rgb1", "to_rgbs.0", "to_rgbs.1"] {
            let name = format!("{name}.conv.weight");
            let weight = tensors[&name].narrow(1, 0, 2).contiguous();
            tensors.insert(name, weight);
        }
    });
    let one = format!(
        "`{file}`: no StyleGAN2 generator can be read from these tensors: it draws images of 2 channels; only 1 (grey), 3 \
         (colours) and 4 (colours and opacity) are supported"
    );
    assert_eq!(two, one);
}

#[test]
fn numbers_that_are_not_finite_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = case("nan_weight.pt");
    let told = "1 of the 576 numbers in `convs.1.conv.weight` is not finite";
    let run = |args: &[&str]| nada(folder.path(), args);
    run(&["generate", "--generator", text(&file), "--count", "1"]).refused(1, &[told]);
    run(&["adapt", "--generator", text(&file), "--preset", "sketch", "--out", "x"])
        .refused(1, &[told]);
    for format in ["onnx", "torchscript", "pt", "safetensors"] {
        run(&["export", text(&file), "--format", format]).refused(1, &[told]);
    }
    let converted = run(&["convert", text(&file), "x.safetensors"]).done();
    assert!(
        converted.stderr.starts_with("warning: ") && converted.stderr.contains(told),
        "{}",
        converted.stderr
    );
    let shown = run(&["inspect", text(&file)]).done();
    assert!(shown.stdout.contains("warnings\n") && shown.stdout.contains(told), "{}", shown.stdout);
    let whole = run(&["inspect", text(&case("plain_generator.pt"))]).done();
    assert!(!whole.stdout.contains("warnings"), "{}", whole.stdout);
}

#[test]
fn clips_encoders_and_mappers_with_such_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.safetensors");
    let spoil = |tensors: &mut TensorMap, name: &str| {
        let tensor = tensors.get_mut(name).unwrap();
        let _ = tensor.flatten(0, -1).narrow(0, 0, 2).fill_(f64::INFINITY);
    };
    let (mut clip, _) = models::read_clip(&golden_path("clip_vit", "model.pt")).unwrap();
    spoil(&mut clip, "visual.proj");
    save_safetensors(&path, &clip, &Default::default(), None).unwrap();
    let told = "numbers in `visual.proj` are not finite";
    let error = models::open_clip(&path, Kind::Float, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains(told) && error.starts_with('`'), "{error}");
    let (_, origin) = models::read_clip(&path).unwrap();
    assert!(origin.notes.iter().any(|note| note.contains(told)), "{:?}", origin.notes);

    let read = |file: &Path| -> TensorMap {
        let file = checkpoint::open(file).unwrap();
        file.entries.iter().map(|(name, entry)| (name.clone(), entry.tensor().unwrap())).collect()
    };
    let mut mapper = read(&golden_path("mapper", "mapper.pt"));
    let name =
        mapper.keys().find(|name| name.contains("_mapping.mapping.1.weight")).unwrap().clone();
    spoil(&mut mapper, &name);
    save_safetensors(&path, &mapper, &Default::default(), None).unwrap();
    let (generator, _) =
        open_generator(golden_path("nada", "frozen.pt"), Kind::Float, Device::Cpu).unwrap();
    let error =
        models::open_mapper(&path, generator.config(), Kind::Float, Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("are not finite"), "{error}");
}

/// A generator's file whose table is whole, and one number of which is not what its checksum says.
fn damaged(folder: &Path) -> PathBuf {
    let mut bytes = std::fs::read(case("plain_generator.pt")).unwrap();
    let numbers =
        Vec::<f32>::try_from(stored("plain_generator.pt")["input.input"].flatten(0, -1)).unwrap();
    let wanted: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at] ^= 1;
    let path = folder.join("damaged.pt");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_a_table_tells_is_refused_before_numbers_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = damaged(folder.path());
    let (file, other) = (text(&file), case("const_4x2.pt"));
    let run = |args: &[&str]| nada(folder.path(), args);
    // Anything that reads its numbers finds the damage.
    run(&["generate", "--generator", file, "--count", "1"]).refused(1, &["damaged.pt"]);
    let codes = Tensor::zeros([1, 18, 512], (Kind::Float, Device::Cpu));
    let codes = TensorMap::from([("w_plus".to_owned(), codes)]);
    save_safetensors(folder.path().join("codes.safetensors"), &codes, &Default::default(), None)
        .unwrap();
    let long = "golden ".repeat(80);
    let filled = |word: &'static str| match word {
        "FILE" => file.to_owned(),
        "OTHER" => text(&other).to_owned(),
        "LONG" => long.clone(),
        word => word.to_owned(),
    };
    for (command, words) in [
        ("generate --generator FILE --class 3", "leave out `--class`"),
        ("generate --generator FILE --latents codes.safetensors", "[1, 18, 512]"),
        ("generate --generator FILE --count 1000000 --out x.png", "too many for one picture"),
        ("adapt --generator FILE --preset sketch --layers convs.99", "no layer `convs.99`"),
        ("adapt --generator FILE --preset sketch --reference OTHER", "16×8 px"),
        ("adapt --generator FILE --preset sketch --class 1", "leave out `--class`"),
        ("adapt --generator FILE --preset sketch --target LONG", "CLIP reads at most"),
        ("mapper --generator FILE --target sketch --class 1", "leave out `--class`"),
        ("edit apply --generator FILE --edit sefa#0=1 --domain OTHER", "16×8 px"),
        ("export FILE --format delta --base OTHER", "another shape"),
        ("export FILE --format onnx --class 1", "leave out `--class`"),
    ] {
        let args: Vec<String> = command.split(' ').map(filled).collect();
        run(&args.iter().map(String::as_str).collect::<Vec<_>>()).refused(2, &[words]);
    }
    let grey = case("one_channel.pt");
    let args = ["invert", "--generator", text(&grey), "--encoder", "none", "--optimize", "2"];
    std::fs::copy(golden_path("photos", "plain.jpg"), folder.path().join("a.jpg")).unwrap();
    run(&[&args[..], &["a.jpg"]].concat()).refused(2, &["16 px images with 1 channels"]);
}
