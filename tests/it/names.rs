//! Networks behind prefixes of all kinds, several of them in one file, files in pieces, and networks that are not ours.
#![allow(clippy::unwrap_used)]

use crate::command::nada;
use crate::common::{assert_close, golden, golden_path};
use nada::checkpoint::{self, Checkpoint, Item, Network};
use nada::clip::Activation;
use nada::models;
use nada::torch::TensorMap;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn zeros(shape: &[i64]) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, Device::Cpu))
}

/// The golden generator's tensors under its own names; `latent_avg` apart.
fn generator() -> (TensorMap, Tensor) {
    let mut tensors = golden("generator32", "generator.safetensors");
    let average = tensors.remove("latent_avg").unwrap();
    (tensors, average)
}

fn behind(prefix: &str, tensors: &TensorMap) -> TensorMap {
    tensors.iter().map(|(name, t)| (format!("{prefix}{name}"), t.shallow_clone())).collect()
}

/// Another generator of the same shapes; filters are as they must be.
fn other(tensors: &TensorMap) -> TensorMap {
    let factor = |name: &str| if name.ends_with(".kernel") { 1.0 } else { 2.0 };
    tensors.iter().map(|(name, t)| (name.clone(), t * factor(name))).collect()
}

fn write(path: &Path, parts: impl IntoIterator<Item = TensorMap>) {
    let tensors: TensorMap = parts.into_iter().flatten().collect();
    checkpoint::save_safetensors(path, &tensors, &BTreeMap::new(), None).unwrap();
}

fn saved(parts: impl IntoIterator<Item = TensorMap>) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    write(&path, parts);
    checkpoint::open(&path).unwrap()
}

#[track_caller]
fn is_generator(file: &Checkpoint, tensors: &TensorMap, average: Option<&Tensor>) {
    let named = checkpoint::generator(file).unwrap();
    for (name, want) in tensors {
        assert_eq!(&named.entries[name].tensor().unwrap(), want, "{name}");
    }
    assert_eq!(named.entries.len(), tensors.len() + usize::from(average.is_some()));
    assert_eq!(named.entries.get("latent_avg").map(|e| e.tensor().unwrap()).as_ref(), average);
}

#[test]
fn the_prefixes_that_tools_write_give_the_right_images() {
    let folder = tempfile::tempdir().unwrap();
    let case = |name: &str| golden_path("cases", name).display().to_string();
    let want = Tensor::read_npy(golden_path("cases", "expected_images.npy")).unwrap();
    for name in [
        "plain_generator.pt",
        "compiled_prefix.pt",
        "lightning_generator_prefix.ckpt",
        "g_ema_prefix.safetensors",
    ] {
        let (file, z) = (case(name), case("z.npy"));
        let told = ["--latents", &z, "--latent-kind", "z", "--raw", "out.safetensors", "--force"];
        nada(folder.path(), &[&["generate", "--generator", &file], &told[..]].concat()).done();
        let made = Tensor::read_safetensors(folder.path().join("out.safetensors")).unwrap();
        let made = &made.iter().find(|(name, _)| name == "images").unwrap().1;
        assert_close(name, made, &want, 0.0, 1e-5);
    }
}

#[test]
fn a_generator_is_found_behind_any_prefix_with_its_mean_latent() {
    let (tensors, average) = generator();
    let mean = |name: &str| TensorMap::from([(name.to_owned(), average.shallow_clone())]);
    for prefix in [
        "",
        "_orig_mod.",
        "module._orig_mod.",
        "generator.",
        "netG.",
        "g_ema.",
        "ema_model.module.",
        "state_dict/generator.",
        "a/b/c.d.e.",
        "params_ema/",
        "state_dict/model.generator.synthesis_and_mapping.",
    ] {
        let own = saved([behind(prefix, &tensors), mean(&format!("{prefix}latent_avg"))]);
        is_generator(&own, &tensors, Some(&average));
        is_generator(
            &saved([behind(prefix, &tensors), mean("latent_avg")]),
            &tensors,
            Some(&average),
        );
        is_generator(&saved([behind(prefix, &tensors)]), &tensors, None);
        assert_eq!(checkpoint::recognise(&own).network(), Network::Generator, "{prefix}");
    }
    // In the middle, and as other programs call it.
    let file = saved([behind("a/b.g.", &tensors), mean("a/mean_latent")]);
    is_generator(&file, &tensors, Some(&average));
    // That of somebody else is not taken.
    let file = saved([behind("a/g.", &tensors), mean("b/latent_avg")]);
    is_generator(&file, &tensors, None);
    // The same in torch's container, where state dictionaries are dictionaries.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pt");
    let company =
        TensorMap::from([("discriminator.final_linear.0.weight".to_owned(), zeros(&[2, 2]))]);
    let state: TensorMap =
        [behind("generator.", &tensors), company].into_iter().flatten().collect();
    let items = [("state_dict", Item::State(&state)), ("latent_avg", Item::Tensor(&average))];
    checkpoint::save_torch(&path, &items, &BTreeMap::new(), None).unwrap();
    is_generator(&checkpoint::open(&path).unwrap(), &tensors, Some(&average));
}

#[test]
fn smoothed_weights_win_over_their_twin() {
    let (tensors, _) = generator();
    let raw = other(&tensors);
    for (ema, twin) in [
        ("g_ema.", "g."),
        ("netG_ema/", "netG/"),
        ("Gs/", "G/"),
        ("generator_ema.", "generator."),
        ("ema_model.", "online_model."),
        ("ema/", ""),
        ("state_dict/g_ema.", "state_dict/generator."),
        ("params_ema/", "params/"),
        ("generator_a_ema.", "generator_a."),
    ] {
        let file = saved([behind(ema, &tensors), behind(twin, &raw)]);
        is_generator(&file, &tensors, None);
        assert_eq!(checkpoint::recognise(&file).parts.len(), 2, "{ema}");
    }
}

#[test]
fn of_several_generators_a_key_chooses() {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, average) = generator();
    let second = other(&tensors);
    let path = folder.path().join("two.safetensors");
    let mean = TensorMap::from([("nets/latent_avg".to_owned(), average.shallow_clone())]);
    write(&path, [behind("nets/cats.", &tensors), behind("nets/dogs.", &second), mean]);
    let error = checkpoint::generator(&checkpoint::open(&path).unwrap()).unwrap_err();
    let text = format!("{error} / {}", error.hint().unwrap());
    assert_eq!(error.exit_code(), 2);
    for words in ["`nets/cats` and `nets/dogs`", "two.safetensors#nets/dogs`"] {
        assert!(text.contains(words), "{text}");
    }
    let at = |key: &str| format!("{}#{key}", path.display());
    for (key, want) in [("nets/cats", &tensors), ("nets/dogs", &second), ("nets.dogs.", &second)] {
        is_generator(&checkpoint::open(at(key)).unwrap(), want, Some(&average));
    }
    // Still two below this one.
    let error = checkpoint::generator(&checkpoint::open(at("nets")).unwrap()).unwrap_err();
    assert!(error.to_string().contains("`nets/cats` and `nets/dogs`"), "{error}");
    let error = checkpoint::open(at("nets/birds")).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("holds no tensors under `nets/birds`"), "{error}");
    assert!(error.hint().unwrap().contains("#nets/cats`"));
    let hash = |key: &str| checkpoint::sha256(at(key)).unwrap();
    assert_ne!(hash("nets/cats"), hash("nets/dogs"));
    assert_eq!(hash("nets/dogs"), hash("nets.dogs"));

    // The top level is asked for with nothing.
    write(
        &path,
        [
            tensors.iter().map(|(n, t)| (n.clone(), t.shallow_clone())).collect(),
            behind("dogs/", &second),
        ],
    );
    let error = checkpoint::generator(&checkpoint::open(&path).unwrap()).unwrap_err();
    assert!(error.to_string().contains("the top level and `dogs`"), "{error}");
    is_generator(&checkpoint::open(at("")).unwrap(), &tensors, None);
    // A file that is really called so.
    let odd = folder.path().join("two.safetensors#dogs");
    write(&odd, [behind("g.", &tensors)]);
    is_generator(&checkpoint::open(&odd).unwrap(), &tensors, None);
}

#[test]
fn other_networks_are_found_behind_prefixes_too() {
    let read = |folder: &str, file: &str| checkpoint::open(golden_path(folder, file)).unwrap();
    let tensors = |file: &Checkpoint, prefix: &str| -> TensorMap {
        let inside = file.entries.iter().filter_map(|(n, e)| Some((n.strip_prefix(prefix)?, e)));
        inside.map(|(n, e)| (n.to_owned(), e.tensor().unwrap())).collect()
    };
    let names = |named: &checkpoint::Named| named.entries.keys().cloned().collect::<Vec<_>>();
    let (vit, hf) = (read("clip_vit", "model.pt"), read("clip_names/hf", "model.safetensors"));
    for (file, own) in [(&vit, ""), (&hf, "")] {
        let want = names(&checkpoint::clip(file).unwrap());
        for prefix in ["module.", "state_dict/module.", "model/clip_model._orig_mod."] {
            let file = saved([behind(prefix, &tensors(file, own))]);
            assert_eq!(names(&checkpoint::clip(&file).unwrap()), want, "{prefix}");
        }
    }
    let file = read("e4e_encoder4editing", "checkpoint.pt");
    let (want, _) = checkpoint::encoder(&file).unwrap();
    let wrapped = saved([behind("net/e4e._orig_mod.", &tensors(&file, "state_dict/encoder."))]);
    assert_eq!(names(&checkpoint::encoder(&wrapped).unwrap().0), names(&want));
    let file = read("mapper", "mapper.pt");
    let want = checkpoint::mapper(&file).unwrap();
    let own = file.entries.keys().find_map(|n| Some(n[..n.find("course_mapping.")?].to_owned()));
    let wrapped = saved([behind("a.module.", &tensors(&file, &own.unwrap()))]);
    assert_eq!(names(&checkpoint::mapper(&wrapped).unwrap()), names(&want));
}

#[test]
fn a_hostile_table_of_names_takes_no_long_time() {
    let deep =
        |i: usize| format!("{}styles.input.input", "synthesis.styles.mapping.".repeat(i % 300));
    let tensors: TensorMap = (0..1500).map(|i| (format!("{}{i}", deep(i)), zeros(&[1]))).collect();
    let file = saved([tensors]);
    let began = std::time::Instant::now();
    let _ = checkpoint::recognise(&file);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn networks_of_other_programs_are_named() {
    for (names, want) in [
        (
            &["GAN/G.initial_conv.weight", "GAN/G.blocks.0.to_style1.weight"][..],
            "lucidrains' stylegan2-pytorch",
        ),
        (&["g_ema/conv1.conv.modulation.weight", "g_ema/to_rgbs.0.iwt.ll"], "a SWAGAN generator"),
        (&["mapping.clip.a", "synthesis.b4.const"], "a StyleGAN-T generator"),
        (&["G/style_to_conv_modulations.weight", "G/layers.0.0.1.bias"], "a GigaGAN generator"),
        (&["style_to_conv_modulations.weight", "downs.0.0.0.block1.proj.weights"], "AuraSR"),
        (&["synthesis.L0_36_12.weight", "mapping.fc0.weight"], "a StyleGAN3 generator"),
        (
            &["G_ema/synthesis.L0_36_12.weight", "G_ema/mapping.embed_proj.weight"],
            "a StyleGAN-XL generator",
        ),
        (&["generator.progression.0.conv1.0.bias", "style.1.linear.bias"], "a StyleGAN1 generator"),
        (&["progression.0.conv.0.bias", "to_rgb.0.conv.bias"], "a ProGAN generator"),
        (
            &["shared.weight", "linear.weight", "blocks.0.0.conv1.weight", "output_layer.2.weight"],
            "a BigGAN generator",
        ),
        (
            &["generator.gen_z.bias", "generator.conv_to_rgb.bias", "generator.layers.0.bn_0.x"],
            "a BigGAN-deep generator",
        ),
        (&["model/netG/fc_code.weight", "model/netG/GBlocks.0.c1.weight"], "a GALIP generator"),
        (
            &["g/init.init.0.weight_orig", "g/feat_8.1.weight", "g/to_big.weight"],
            "a FastGAN generator",
        ),
        (
            &["input_blocks.0.0.weight", "time_embed.0.weight", "middle_block.0.x"],
            "a diffusion UNet",
        ),
        (&["lora_unet_down_blocks_0.lora_down.weight"], "a LoRA of Stable Diffusion"),
        (&["base.layers.0.q_proj.lora_A.weight"], "a LoRA"),
        (&["encoder.conv_in.weight", "decoder.conv_in.weight", "quant_conv.weight"], "a VAE"),
    ] {
        let tensors = names.iter().map(|name| ((*name).to_owned(), zeros(&[1])));
        let file = saved([tensors.collect()]);
        let error = checkpoint::generator(&file).unwrap_err().to_string();
        assert!(error.contains(want), "{names:?}: {error}");
        assert!(error.contains("which is not supported (StyleGAN2's are)"), "{error}");
    }
}

#[test]
fn inspect_lists_the_keys_and_a_run_remembers_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let case = golden_path("cases", "plain_generator.pt");
    let named = checkpoint::generator(&checkpoint::open(case).unwrap()).unwrap();
    let tensors: TensorMap =
        named.entries.iter().map(|(n, e)| (n.clone(), e.tensor().unwrap())).collect();
    write(
        &folder.path().join("two.safetensors"),
        [behind("cats/", &tensors), behind("dogs/", &other(&tensors))],
    );
    let run = |args: &[&str]| nada(folder.path(), args);
    let text = run(&["inspect", "two.safetensors"]).done().stdout;
    for key in ["two.safetensors#cats", "two.safetensors#dogs", "a StyleGAN2 generator"] {
        assert!(text.contains(key), "{text}");
    }
    let text = run(&["inspect", "two.safetensors#dogs"]).done().stdout;
    assert!(text.contains("resolution") && !text.contains("#cats"), "{text}");
    run(&["convert", "two.safetensors", "x.safetensors"]).refused(2, &["#cats` or `"]);
    run(&["convert", "two.safetensors#dogs", "dogs.pt"]).done();
    let dogs = checkpoint::open(folder.path().join("dogs.pt")).unwrap();
    let read = dogs.entries["g_ema/style.1.weight"].tensor().unwrap();
    assert_eq!(read, &tensors["style.1.weight"] * 2.0);
    run(&["generate", "--generator", "nowhere.pt#dogs"])
        .refused(2, &["`nowhere.pt` is no shipped generator"]);

    let adapt = [
        "adapt",
        "--clip",
        "clip-rn",
        "--generator",
        "two.safetensors#dogs",
        "--source",
        "photo",
        "--target",
        "sketch",
    ];
    run(&[&adapt[..], &["--iterations", "1", "--batch", "2", "--out", "r"]].concat()).done();
    let config = std::fs::read_to_string(folder.path().join("r/config.yaml")).unwrap();
    assert!(config.contains("two.safetensors#dogs"), "{config}");
    std::fs::create_dir(folder.path().join("elsewhere")).unwrap();
    nada(&folder.path().join("elsewhere"), &["adapt", "--resume", "../r", "--iterations", "2"])
        .done();
    // The delta fits its own base only.
    run(&["convert", "two.safetensors#dogs+r", "whole.safetensors"]).done();
    run(&["convert", "two.safetensors#cats+r", "no.safetensors"])
        .refused(1, &["was made from a base"]);
}

/// The golden CLIP of Hugging Face in two files with an index, and its configuration.
fn in_shards(folder: &Path) {
    let tensors = golden("clip_names/hf", "model.safetensors");
    let mut map = serde_json::Map::new();
    let mut parts = [TensorMap::new(), TensorMap::new()];
    for (i, (name, tensor)) in tensors.into_iter().enumerate() {
        map.insert(name.clone(), format!("model-0000{}-of-00002.safetensors", i % 2 + 1).into());
        parts[i % 2].insert(name, tensor);
    }
    for (i, part) in parts.into_iter().enumerate() {
        write(&folder.join(format!("model-0000{}-of-00002.safetensors", i + 1)), [part]);
    }
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": map });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::copy(golden_path("clip_names/hf", "config.json"), folder.join("config.json")).unwrap();
}

#[test]
fn a_clip_in_shards_is_read_by_its_folder_its_index_or_a_shard() {
    let folder = tempfile::tempdir().unwrap();
    in_shards(folder.path());
    let io = golden("clip_names", "io.safetensors");
    let mut hashes = Vec::new();
    for name in ["", "model.safetensors.index.json", "model-00002-of-00002.safetensors"] {
        let asked = folder.path().join(name);
        let path = nada::builtin::resolve_clip(asked.to_str().unwrap(), None).unwrap();
        let (clip, origin) = models::open_clip(&path, Kind::Float, Device::Cpu).unwrap();
        assert_eq!(origin.notes, [""; 0]);
        assert_eq!(clip.config().activation, Activation::Gelu);
        assert_close(name, &clip.encode_image(&io["images"]), &io["hf.image"], 1e-4, 1e-5);
        assert_close(name, &clip.encode_text(&io["tokens"]), &io["hf.text"], 1e-4, 1e-5);
        hashes.push(origin.sha256);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    nada(folder.path(), &["convert", ".", "whole.safetensors"]).done();
    nada(folder.path(), &["convert", ".", "model-00001-of-00002.safetensors", "--force"])
        .refused(2, &["is what would be read"]);

    let shard = folder.path().join("model-00001-of-00002.safetensors");
    let index = folder.path().join("model.safetensors.index.json");
    let bytes = std::fs::read(&shard).unwrap();
    let mut tensors: TensorMap = Tensor::read_safetensors(&shard).unwrap().into_iter().collect();
    *tensors.values_mut().next().unwrap() += 1.0;
    write(&shard, [tensors]);
    assert_ne!(checkpoint::sha256(&index).unwrap(), hashes[0]);
    std::fs::write(&shard, bytes).unwrap();
    assert_eq!(checkpoint::sha256(&index).unwrap(), hashes[0]);

    std::fs::remove_file(&shard).unwrap();
    let error = checkpoint::open(&index).unwrap_err();
    assert!(error.to_string().contains("lists `model-00001-of-00002.safetensors`"), "{error}");
    for file in ["../x.safetensors", "/etc/passwd", "", "..", "a/b"] {
        let text = serde_json::json!({ "weight_map": { "t": file } }).to_string();
        std::fs::write(&index, text).unwrap();
        let error = checkpoint::open(&index).unwrap_err().to_string();
        assert!(error.contains("which is no file beside it"), "{error}");
    }
    let swapped =
        serde_json::json!({ "weight_map": { "nothing": "model-00002-of-00002.safetensors" } });
    std::fs::write(&index, swapped.to_string()).unwrap();
    let error = checkpoint::open(&index).unwrap_err().to_string();
    assert!(error.contains("does not hold `nothing`"), "{error}");
}

#[test]
fn the_activation_of_a_clip_is_told_or_said_to_be_assumed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let open = |path: &Path| {
        let (clip, origin) = models::open_clip(path, Kind::Float, Device::Cpu).unwrap();
        (clip.config().activation, origin.notes.join("; "))
    };
    // OpenAI's archive tells; ours do.
    let jit = golden_path("clip_vit", "model_jit_fp16.pt");
    assert_eq!(open(&jit), (Activation::QuickGelu, String::new()));
    let ours = nada::builtin::resolve_clip("clip-vit", None).unwrap();
    assert_eq!(open(&ours), (Activation::QuickGelu, String::new()));

    // A checkpoint of open_clip's training.
    let training = golden_path("clip_names/training", "epoch_32.pt");
    let (activation, note) = open(&training);
    assert_eq!(activation, Activation::Gelu);
    assert!(note.contains("open_clip's training") && note.contains("ViT-B-32"), "{note}");
    std::fs::copy(&training, at("epoch_32.pt")).unwrap();
    std::fs::copy(
        golden_path("clip_names/open_clip", "open_clip_config.json"),
        at("open_clip_config.json"),
    )
    .unwrap();
    assert_eq!(open(&at("epoch_32.pt")), (Activation::Gelu, String::new()));

    // Hugging Face's under a name of its own: nothing beside it, its configuration, another file's, another model's.
    let hf = |name: &str| {
        drop(std::fs::copy(golden_path("clip_names/hf", name), at("mine.safetensors")))
    };
    hf("model.safetensors");
    let (activation, note) = open(&at("mine.safetensors"));
    assert_eq!(activation, Activation::QuickGelu);
    assert!(
        note.contains("no `config.json` beside it") && note.contains("`mine.safetensors`"),
        "{note}"
    );
    let config = std::fs::read_to_string(golden_path("clip_names/hf", "config.json")).unwrap();
    std::fs::write(at("config.json"), &config).unwrap();
    assert_eq!(open(&at("mine.safetensors")), (Activation::Gelu, String::new()));
    std::fs::write(at("pytorch_model.bin"), "x").unwrap();
    let (activation, note) = open(&at("mine.safetensors"));
    assert_eq!(activation, Activation::QuickGelu);
    assert!(note.contains("is that of another file"), "{note}");
    std::fs::remove_file(at("pytorch_model.bin")).unwrap();
    let wider = config.replace("\"patch_size\": 8", "\"patch_size\": 16");
    std::fs::write(at("config.json"), wider).unwrap();
    let (activation, note) = open(&at("mine.safetensors"));
    assert_eq!(activation, Activation::QuickGelu);
    assert!(note.contains("of another model (its `patch_size` is 16, the file's 8)"), "{note}");
}
