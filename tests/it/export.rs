//! `nada export`: what other programs get is what the goldens say, for any batch; and a base with its delta is the run.

use crate::command::{listing, nada};
use crate::common::{assert_close, golden, golden_path};
use crate::convert::assert_same;
use nada::checkpoint;
use nada::config::Config;
use nada::export::form::{Form, FormNoise};
use nada::export::{onnx, torchscript};
use nada::models::{self, open_generator};
use nada::run_dir::{Manifest, ResultInfo, RunDir, Weights};
use nada::stylegan2::Generator;
use nada::torch::TensorMap;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn open(path: &Path) -> Generator {
    open_generator(path, Kind::Float, Device::Cpu).unwrap().0
}

/// A finished run on the shipped faces, made without a training: two tensors differ.
fn made_run(folder: &Path) -> PathBuf {
    let base_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/faces128.safetensors");
    let base = open(&base_file).tensors();
    let mut adapted: TensorMap = base.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect();
    for name in ["convs.1.conv.weight", "to_rgbs.0.bias"] {
        adapted.insert(name.into(), &base[name] * 1.5 + 0.01);
    }
    let weights = Weights::of_file("generator", &base_file).unwrap();
    let config = Config { source: "photo".into(), target: "sketch".into(), ..Config::default() };
    let manifest = Manifest { weights: vec![weights.clone()], ..Manifest::new() };
    let run = RunDir::create(folder.join("runs/s")).unwrap();
    run.write_config(&config, &manifest).unwrap();
    let network = Default::default();
    let info = ResultInfo {
        config: &config,
        iterations: 2,
        resolution: 128,
        base: &weights,
        network: &network,
    };
    run.write_result(&adapted, &base, info).unwrap();
    run.path().to_path_buf()
}

/// Several copies of a batch, in order.
fn times(batch: &Tensor, n: i64) -> Tensor {
    Tensor::cat(&(0..n).map(|_| batch.shallow_clone()).collect::<Vec<_>>(), 0)
}

#[test]
fn torchscript_makes_the_recorded_images_for_any_batch() {
    for name in ["generator32", "generator64"] {
        let folder = tempfile::tempdir().unwrap();
        let io = golden(name, "io.safetensors");
        let generator = open(&golden_path(name, "generator.pt"));
        let path = folder.path().join("g.pt");
        let form = Form::of(&generator, FormNoise::Stored);
        torchscript::save(&path, &form, 1.0, &BTreeMap::new()).unwrap();
        let loaded = torchscript::Loaded::open(&path).unwrap();
        for n in [1, 3] {
            let image = loaded.forward(&times(&io["z"], n)).unwrap();
            assert_close("z", &image, &times(&io["image"], n), 0.0, 1e-4);
            let image = loaded.synthesis(&times(&io["wplus"], n)).unwrap();
            assert_close("w+", &image, &times(&io["image_wplus"], n), 0.0, 1e-4);
        }
        if let (Some(truncated), Some(plain)) =
            (io.get("image_trunc07"), io.get("image_zero_noise"))
        {
            torchscript::save(&path, &form, 0.7, &BTreeMap::new()).unwrap();
            let image = torchscript::Loaded::open(&path).unwrap().forward(&io["z"]).unwrap();
            assert_close("truncated", &image, truncated, 0.0, 1e-4);
            let form = Form::of(&generator, FormNoise::None);
            torchscript::save(&path, &form, 1.0, &BTreeMap::new()).unwrap();
            let z = io["z"].narrow(0, 0, 1);
            let image = torchscript::Loaded::open(&path).unwrap().forward(&z).unwrap();
            assert_close("no noise", &image, plain, 0.0, 1e-4);
        }
    }
}

#[test]
fn onnx_graphs_make_the_recorded_images_for_any_batch() {
    for name in ["generator32", "generator64"] {
        let folder = tempfile::tempdir().unwrap();
        let io = golden(name, "io.safetensors");
        let generator = open(&golden_path(name, "generator.pt"));
        let form = Form::of(&generator, FormNoise::Stored);
        let (synthesis, mapping) = (folder.path().join("s.onnx"), folder.path().join("m.onnx"));
        onnx::save_synthesis(&synthesis, &form, &BTreeMap::new()).unwrap();
        onnx::save_mapping(&mapping, &form, 0.7, &BTreeMap::new()).unwrap();
        let (synthesis, mapping) =
            (onnx::Loaded::open(&synthesis).unwrap(), onnx::Loaded::open(&mapping).unwrap());
        let run = |graph: &onnx::Loaded, name: &str, value: Tensor| {
            graph.run(TensorMap::from([(name.to_owned(), value)])).unwrap()
        };
        for n in [1, 3] {
            let image = run(&synthesis, "w_plus", times(&io["wplus"], n));
            assert_close("w+", &image, &times(&io["image_wplus"], n), 0.0, 1e-4);
            let w_plus = run(&mapping, "z", times(&io["z"], n));
            assert_close("z", &w_plus, &times(&io["latent_trunc07"], n), 0.0, 1e-4);
        }
        assert!(synthesis.run(TensorMap::new()).is_err());
    }
}

#[test]
fn classes_and_clamping_are_worked_in() {
    let folder = tempfile::tempdir().unwrap();
    let expected = golden("nvidia", "expected.safetensors");
    let cases: [(&str, Option<i64>, &str, &str); 4] = [
        ("sg3_clamp.pkl", None, "z", "image_clamp"),
        ("ada_classes.pkl", Some(0), "z", "image_class_0"),
        ("ada_classes.pkl", Some(2), "z", "image_class_2"),
        ("ada_widths.pkl", None, "z_widths", "image_widths"),
    ];
    for (file, class, z, name) in cases {
        let path = golden_path("nvidia", file);
        let opened = models::open_generator_of_class(path, class, Kind::Float, Device::Cpu);
        let form = Form::of(&opened.unwrap().0, FormNoise::Stored);
        let at = |name: &str| folder.path().join(name);
        torchscript::save(&at("g.pt"), &form, 1.0, &BTreeMap::new()).unwrap();
        let image = torchscript::Loaded::open(&at("g.pt")).unwrap().forward(&expected[z]).unwrap();
        assert_close(name, &image, &expected[name], 0.0, 1e-4);
        onnx::save_mapping(&at("m.onnx"), &form, 1.0, &BTreeMap::new()).unwrap();
        onnx::save_synthesis(&at("s.onnx"), &form, &BTreeMap::new()).unwrap();
        let run = |file: &str, input: &str, value: Tensor| {
            let graph = onnx::Loaded::open(&at(file)).unwrap();
            graph.run(TensorMap::from([(input.to_owned(), value)])).unwrap()
        };
        let image = run("s.onnx", "w_plus", run("m.onnx", "z", expected[z].shallow_clone()));
        assert_close(name, &image, &expected[name], 0.0, 1e-4);
    }
    let classes = golden_path("nvidia", "ada_classes.pkl").display().to_string();
    let export = ["export", &classes, "--format", "onnx", "--out", "c.onnx"];
    nada(folder.path(), &export).refused(2, &["--class"]);
    nada(folder.path(), &[&export[..], &["--class", "1"]].concat()).done();
    let card = std::fs::read_to_string(folder.path().join("c.onnx.md")).unwrap();
    assert!(card.contains("| Class | 1 |"), "{card}");
}

#[test]
fn a_class_is_folded_into_the_first_bias_of_a_rosinality_file() {
    let folder = tempfile::tempdir().unwrap();
    let expected = golden("nvidia", "expected.safetensors");
    let classes = golden_path("nvidia", "ada_classes.pkl").display().to_string();
    for class in ["0", "2"] {
        let out = format!("class{class}.pt");
        let export = ["export", &classes, "--format", "pt", "--class", class, "--out", &out];
        let ran = nada(folder.path(), &export).done();
        assert!(!ran.stderr.contains("knows no classes"), "{}", ran.stderr);
        // An ordinary generator, by name and by shape, that makes what NVIDIA's code made of that class.
        let path = folder.path().join(&out);
        let (generator, origin) = open_generator(&path, Kind::Float, Device::Cpu).unwrap();
        assert_eq!((generator.config().classes, origin.metadata.get("class")), (0, None));
        let file = checkpoint::open(&path).unwrap();
        assert!(file.entries.keys().all(|name| !name.contains("embed")));
        let latent = nada::stylegan2::Latent::Z(expected["z"].shallow_clone());
        let (images, _) = generator.generate(&latent, 1.0, nada::stylegan2::Noise::Stored).unwrap();
        let want = &expected[&format!("image_class_{class}")];
        assert_close(class, &images, want, 0.0, 1e-4);
        // Against our own conditional network: nothing but rounding.
        let whole = models::open_generator_of_class(
            Path::new(&classes),
            Some(class.parse().unwrap()),
            Kind::Float,
            Device::Cpu,
        );
        let w = |g: &nada::stylegan2::Generator| g.mapping().forward(&(&expected["z"] * 3.0));
        assert_close("w", &w(&generator), &w(&whole.unwrap().0), 1e-5, 1e-6);
        let card = std::fs::read_to_string(folder.path().join(format!("{out}.md"))).unwrap();
        assert!(card.contains(&format!("| Class | {class}, folded into")), "{card}");
        assert!(card.contains("generator.load_state_dict(state)"), "{card}");
    }
    // Without one all classes stay, and the card promises nothing.
    let whole = ["export", &classes, "--format", "pt", "--out", "whole.pt"];
    let ran = nada(folder.path(), &whole).done();
    assert!(ran.stderr.contains("--class N"), "{}", ran.stderr);
    let card = std::fs::read_to_string(folder.path().join("whole.pt.md")).unwrap();
    assert!(card.contains("does not load it") && !card.contains("load_state_dict"), "{card}");
    nada(folder.path(), &["export", &classes, "--format", "pt", "--class", "9", "--out", "n.pt"])
        .refused(2, &["class"]);
    let half =
        ["export", &classes, "--format", "pt", "--class", "1", "--dtype", "f16", "--out", "h.pt"];
    nada(folder.path(), &half).done();
}

#[test]
fn the_lines_for_rosinalitys_class_know_its_widths() {
    use nada::export::rosinality::python;
    use nada::stylegan2::Config;
    // The tables of rosinality's class, for 4 px to 1024 px.
    let usual = [512, 512, 512, 512, 512, 256, 128, 64, 32];
    let narrow = [512, 512, 512, 512, 256, 128, 64, 32, 16];
    for (resolution, blocks) in [(8, 2), (32, 4), (256, 7), (1024, 9)] {
        for (table, word) in [(usual, ""), (narrow, ", channel_multiplier=1")] {
            let channels = table[..blocks].to_vec();
            let config = Config { channels, ..Config::standard(resolution, 2) };
            let lines = python(&config, "\"g.pt\"", true);
            let word = if blocks < 5 { "" } else { word };
            let made = format!("generator = Generator({resolution}, 512, 8{word})\n");
            assert!(lines.contains(&made), "{lines}");
            assert!(!lines.contains("channels"), "{lines}");
        }
    }
    // NVIDIA's config-e at 256 px is none of them, nor is anything of 2048 px, or with another z.
    let e = Config { channels: vec![512, 512, 512, 512, 256, 128, 32], ..Config::standard(256, 2) };
    let wide = Config { z_dim: 64, ..Config::standard(256, 2) };
    for (config, part) in [
        (e, "channels = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 32}\n"),
        (Config::standard(2048, 2), "2048: 16}"),
        (wide, "generator.style[1] = EqualLinear(64, 512, lr_mul=0.01"),
    ] {
        let lines = python(&config, "\"g.pt\"", false);
        assert!(lines.contains(part) && !lines.contains("latent_avg"), "{lines}");
    }
    // On the card of the shipped faces, which were the ones that misled.
    let folder = tempfile::tempdir().unwrap();
    nada(folder.path(), &["export", "faces128", "--format", "pt"]).done();
    let card = std::fs::read_to_string(folder.path().join("faces128.pt.md")).unwrap();
    assert!(card.contains("has other channels than this file"), "{card}");
    assert!(
        card.contains("channels = {4: 192, ") && card.contains("| Channels | 4 px: 192, "),
        "{card}"
    );
}

#[test]
fn an_onnx_file_says_its_opset_and_leaves_the_batch_free() {
    use prost::Message;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.onnx");
    let form = Form::of(&open(&golden_path("generator32", "generator.pt")), FormNoise::Stored);
    let about = BTreeMap::from([("target".to_owned(), "sketch".to_owned())]);
    onnx::save_synthesis(&path, &form, &about).unwrap();
    let model = onnx::proto::ModelProto::decode(std::fs::read(&path).unwrap().as_slice()).unwrap();
    assert_eq!((model.opset_import[0].version, onnx::OPSET), (17, 17));
    assert_eq!(model.metadata_props[0].value, "sketch");
    let graph = model.graph.unwrap();
    let dims = |value: &onnx::proto::ValueInfoProto| -> Vec<Option<i64>> {
        let shape = value.r#type.clone().unwrap().tensor_type.unwrap().shape.unwrap();
        shape.dim.iter().map(|d| d.dim_value).collect()
    };
    assert_eq!(dims(&graph.input[0]), [None, Some(8), Some(32)]);
    assert_eq!(dims(&graph.output[0]), [None, Some(3), Some(32), Some(32)]);
    // Every name is made once, and before it is used.
    let mut known: BTreeSet<&str> = graph.input.iter().map(|i| i.name.as_str()).collect();
    for weights in &graph.initializer {
        assert!(known.insert(&weights.name), "{}", weights.name);
    }
    for node in &graph.node {
        assert!(node.input.iter().all(|input| known.contains(input.as_str())), "{}", node.name);
        assert!(known.insert(&node.output[0]), "{}", node.name);
    }
}

#[test]
fn every_format_is_written_with_a_card_and_never_over_a_file() {
    let folder = tempfile::tempdir().unwrap();
    made_run(folder.path());
    let golden = golden_path("generator32", "generator.pt").display().to_string();
    let formats: [(&str, &[&str]); 5] = [
        ("safetensors", &["s.safetensors"]),
        ("pt", &["s.pt"]),
        ("torchscript", &["s-torchscript.pt"]),
        ("onnx", &["s.onnx", "s-mapping.onnx"]),
        ("delta", &["s-delta.safetensors"]),
    ];
    let export =
        |args: &[&str]| nada(folder.path(), &[&["export", "runs/s", "--format"], args].concat());
    for (format, files) in formats {
        let ran = export(&[format]).done();
        assert!(ran.stderr.contains("loaded back: 3 images"), "{}", ran.stderr);
        let card = format!("{}.md", files[0]);
        let expected: Vec<&str> = files.iter().copied().chain([card.as_str()]).collect();
        assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
        let text = std::fs::read_to_string(folder.path().join(&card)).unwrap();
        for file in files {
            let hash = checkpoint::sha256(folder.path().join(file)).unwrap();
            assert!(text.contains(&format!("`{file}`, sha256 `{hash}`")), "{text}");
        }
        for part in [
            "| Target | sketch |",
            "faces128.safetensors",
            "## Terms",
            "non-commercial",
            "```python",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        export(&[format]).refused(2, &[&format!("`{}` exists already", files[0])]);
        export(&[format, "--force"]).done();
    }
    let (run, ours) =
        (folder.path().join("runs/s/generator.safetensors"), folder.path().join("s.pt"));
    assert_same(&open(&run).tensors(), &open(&ours).tensors());

    let all = listing(folder.path()).len();
    export(&["onnx", "--dtype", "f16", "--out", "x.onnx"]).refused(2, &["`--dtype`", "or `pt`"]);
    export(&["pt", "--truncation", "0.5", "--out", "x.pt"])
        .refused(2, &["`--truncation`", "`onnx`"]);
    export(&["onnx", "--truncation", "NaN", "--out", "x.onnx"]).refused(2, &["not a number"]);
    export(&["pt", "--base", "faces128", "--out", "x.pt"])
        .refused(2, &["`--base`", "--format delta"]);
    let alone = ["export", &golden, "--format", "delta", "--out", "x.safetensors"];
    nada(folder.path(), &alone).refused(2, &["does not say what it was made from", "--base"]);
    let other = [&alone[..], &["--base", "faces128"]].concat();
    nada(folder.path(), &other).refused(2, &["another shape"]);
    assert_eq!(listing(folder.path()).len(), all);
}

#[test]
fn a_base_with_its_delta_is_the_run_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let run = made_run(folder.path());
    let whole = open(&run.join("generator.safetensors")).tensors();
    for name in ["faces128+runs/s", "faces128+runs/s/delta.safetensors"] {
        nada(folder.path(), &["convert", name, "whole.safetensors", "--force"]).done();
        assert_same(&open(&folder.path().join("whole.safetensors")).tensors(), &whole);
    }
    // As images, and as what it says about itself.
    for (name, raw) in [("faces128+runs/s", "a.st"), ("runs/s", "b.st")] {
        let asked = ["generate", "--generator", name, "--count", "2", "--raw", raw];
        nada(folder.path(), &asked).done();
    }
    let images = |name: &str| {
        let file = checkpoint::open(folder.path().join(name)).unwrap();
        file.entries["images"].tensor().unwrap()
    };
    assert!(images("a.st").equal(&images("b.st")));
    let said = nada(folder.path(), &["inspect", "faces128+runs/s", "--json"]).done().stdout;
    let facts: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&facts["resolution"], &facts["metadata"]["target"]),
        (&128.into(), &"sketch".into())
    );

    // A delta of two generators that know nothing of each other, and a delta upon a delta.
    let mut further = open(&run.join("generator.safetensors")).tensors();
    further.insert("conv1.activate.bias".into(), &whole["conv1.activate.bias"] + 1.0);
    let path = folder.path().join("further.safetensors");
    checkpoint::save_safetensors(&path, &further, &BTreeMap::new(), None).unwrap();
    let asked = ["export", "further.safetensors", "--format", "delta", "--base", "faces128+runs/s"];
    let ran = nada(folder.path(), &asked).done();
    assert!(ran.stderr.contains("1 of 108 tensors differ"), "{}", ran.stderr);
    let name = "faces128+runs/s+further-delta.safetensors";
    nada(folder.path(), &["convert", name, "both.safetensors"]).done();
    assert_same(&open(&folder.path().join("both.safetensors")).tensors(), &further);
}

#[test]
fn a_delta_upon_another_base_is_refused_with_both_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let run = made_run(folder.path());
    let faces = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/faces128.safetensors");
    let (ours, theirs) = (checkpoint::sha256(&faces).unwrap(), run.join("generator.safetensors"));
    let found = checkpoint::sha256(&theirs).unwrap();
    let generate = |name: &str| {
        nada(folder.path(), &["generate", "--count", "1", "--out", "x.png", "--generator", name])
    };
    generate("runs/s+runs/s").refused(1, &[&ours, &found, "faces128.safetensors", "nada inspect"]);
    generate("faces128+runs/s/generator.safetensors")
        .refused(1, &["only what an adaptation changed"]);
    generate("faces128+runs/t").refused(2, &["there is no delta `runs/t`"]);
    generate("runs/s/delta.safetensors")
        .refused(1, &["holds only what", &format!("{}+runs/s/delta.safetensors", faces.display())]);

    // A delta with a tensor that no generator has, and one of another shape.
    let about = checkpoint::open(run.join("delta.safetensors")).unwrap().metadata;
    let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
    for (name, shape, words) in [
        ("convs.99.conv.weight", &[1][..], "changes `convs.99.conv.weight`"),
        ("to_rgb1.bias", &[4][..], "expected [1, 3, 1, 1]"),
    ] {
        let odd = TensorMap::from([(name.to_owned(), ones(shape))]);
        checkpoint::save_safetensors(folder.path().join("odd.st"), &odd, &about, None).unwrap();
        generate("faces128+odd.st").refused(1, &["odd.st", words]);
    }
    assert!(!folder.path().join("x.png").exists());
}

#[test]
fn a_run_can_begin_with_a_base_and_a_delta() {
    let folder = tempfile::tempdir().unwrap();
    made_run(folder.path());
    let asked = [
        "adapt",
        "--generator",
        "faces128+runs/s",
        "--target",
        "cartoon",
        "--iterations",
        "1",
        "--out",
        "runs/next",
        "--quiet",
    ];
    nada(folder.path(), &asked).done();
    let (config, manifest) =
        RunDir::open(folder.path().join("runs/next")).unwrap().read_config().unwrap();
    let delta = folder.path().canonicalize().unwrap().join("runs/s/delta.safetensors");
    assert_eq!(config.generator, format!("faces128+{}", delta.display()));
    let base = models::GeneratorFiles {
        base: Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/faces128.safetensors"),
        deltas: vec![delta],
    };
    let (_, origin) = open_generator(&base, Kind::Float, Device::Cpu).unwrap();
    assert_eq!(manifest.base().unwrap().sha256, origin.sha256);
    // What it began with is found again: above its images, on a sheet, and below its own delta.
    nada(folder.path(), &["generate", "--generator", "runs/next", "--beside", "--count", "2"])
        .done();
    nada(folder.path(), &["compare", "runs/next", "--columns", "2", "--out", "sheet.png"]).done();
    nada(folder.path(), &["convert", "faces128+runs/s+runs/next", "c.safetensors"]).done();
    assert_same(
        &open(&folder.path().join("c.safetensors")).tensors(),
        &open(&folder.path().join("runs/next/generator.safetensors")).tensors(),
    );
    nada(folder.path(), &["adapt", "--resume", "runs/next", "--iterations", "2", "--quiet"]).done();
    // All runs moved together: the delta that it began with lies beside it, in the folder of its run.
    std::fs::rename(folder.path().join("runs"), folder.path().join("moved")).unwrap();
    let ran = nada(folder.path(), &["adapt", "--resume", "moved/next", "--iterations", "3"]).done();
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
}

#[test]
fn classes_and_clamping_are_worked_into_the_graphs() {
    let folder = tempfile::tempdir().unwrap();
    for (file, class) in [("ada_classes.pkl", Some("1")), ("sg3_clamp.pkl", None)] {
        let path = golden_path("nvidia", file).display().to_string();
        for format in ["torchscript", "onnx"] {
            let out = format!("{file}.{format}");
            let mut args = vec!["export", &path, "--format", format, "--out", &out];
            args.extend(class.iter().flat_map(|class| ["--class", class]));
            let ran = nada(folder.path(), &args).done();
            assert!(ran.stderr.contains("loaded back"), "{}", ran.stderr);
        }
        // Whole files hold every class.
        let out = format!("{file}.safetensors");
        nada(folder.path(), &["export", &path, "--format", "safetensors", "--out", &out]).done();
    }
    let path = golden_path("nvidia", "ada_classes.pkl").display().to_string();
    let asked = ["export", &path, "--format", "onnx", "--out", "none.onnx"];
    nada(folder.path(), &asked).refused(2, &["--class"]);
}
