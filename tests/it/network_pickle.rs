//! NVIDIA's network pickles: every layout gives the same generator as rosinality's, and a hostile one gives an error.
#![allow(clippy::unwrap_used)]

use crate::command::nada;
use crate::common::{assert_close, golden, golden_path};
use nada::checkpoint::{self, Checkpoint, Container, Network, save_safetensors};
use nada::models;
use nada::stylegan2::{Generator, Latent, Noise};
use nada::torch::TensorMap;
use serde_json::Value;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn path(file: &str) -> String {
    golden_path("nvidia", file).display().to_string()
}

fn bytes(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap()
}

fn open(file: &str) -> Checkpoint {
    checkpoint::open(path(file)).unwrap()
}

fn generator(path: &str, class: Option<i64>) -> nada::Result<Generator> {
    let path = Path::new(path);
    let opened = models::open_generator_of_class(path, class, Kind::Float, Device::Cpu);
    opened.map(|(generator, _)| generator)
}

fn draw(generator: &Generator, z: &Tensor, psi: f64) -> Tensor {
    generator.generate(&Latent::Z(z.shallow_clone()), psi, Noise::Stored).unwrap().0
}

/// Message and hint of what keeps these bytes from being a generator.
#[track_caller]
fn refusal(bytes: Vec<u8>) -> String {
    let refused = checkpoint::open_bytes("x.pkl", bytes)
        .and_then(|file| checkpoint::generator(&file))
        .and_then(|named| named.entries.values().try_for_each(|entry| entry.tensor().map(drop)));
    let error = refused.unwrap_err();
    format!("{error} | {}", error.hint().unwrap_or_default())
}

/// The file with one run of bytes replaced by another of the same length, everywhere.
#[track_caller]
fn patched(file: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut all = bytes(file);
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> = (0..all.len()).filter(|&i| all[i..].starts_with(old)).collect();
    assert!(!places.is_empty(), "{file} does not hold {}", String::from_utf8_lossy(old));
    for place in places {
        all[place..place + new.len()].copy_from_slice(new);
    }
    all
}

// ---------------------------------------------------------------- the same generator

/// The tensors of generator32 with another mapping network of its own layers.
fn with_layers(count: i64) -> TensorMap {
    let own = golden("generator32", "generator.safetensors");
    let mut wanted = golden("generator32", "generator.safetensors");
    for i in 1..=8 {
        for leaf in ["weight", "bias"] {
            let source = own[&format!("style.{}.{leaf}", (i - 1) % 4 + 1)].copy();
            let name = format!("style.{i}.{leaf}");
            let _ = if i <= count { wanted.insert(name, source) } else { wanted.remove(&name) };
        }
    }
    wanted
}

#[test]
fn every_layout_gives_the_same_tensors_and_images_to_the_bit() {
    let z = golden("generator32", "io.safetensors").remove("z").unwrap();
    for (file, layers, left_out) in [
        ("ada_8_layers.pkl", 8, &[][..]),
        ("ada_2_layers.pkl", 2, &[]),
        ("sg3_clamp.pkl", 4, &[]),
        ("tensorflow.pkl", 4, &[".kernel"]),
        ("tensorflow_protocol_2.pkl", 4, &[".kernel"]),
        ("tensorflow_fewer.pkl", 4, &[".kernel", "noises.", "latent_avg"]),
    ] {
        let mut wanted = with_layers(layers);
        wanted.retain(|name, _| !left_out.iter().any(|part| name.contains(part)));
        let mut named = checkpoint::generator(&open(file)).unwrap();
        // The level of detail of a progressive growth that StyleGAN2 has no more.
        named.entries.remove("lod");
        assert!(named.entries.keys().eq(wanted.keys()), "{file}: {:?}", named.entries.keys());
        for (name, want) in &wanted {
            let got = named.entries[name].tensor().unwrap();
            assert!(got.kind() == Kind::Float && got.equal(want), "{file}: {name}");
        }
        let config = nada::stylegan2::Config::infer(&nada::torch::shapes(&wanted)).unwrap();
        let mut right = config.clone();
        right.conv_clamp = (file == "sg3_clamp.pkl").then_some(0.75);
        let right = Generator::new(right, wanted).unwrap();
        let read = generator(&path(file), None).unwrap();
        for psi in [1.0, 0.7] {
            assert!(draw(&read, &z, psi).equal(&draw(&right, &z, psi)), "{file} at {psi}");
        }
    }
}

#[test]
fn what_rosinality_does_not_have_is_drawn_as_the_definition_says() {
    let expected = golden("nvidia", "expected.safetensors");
    let check = |name: &str, generator: &Generator, z: &str| {
        assert_close(name, &draw(generator, &expected[z], 1.0), &expected[name], 0.0, 1e-5);
    };
    let wide = generator(&path("ada_widths.pkl"), None).unwrap();
    let config = wide.config();
    let widths = (config.z_dim, config.mapping_width, config.style_dim, config.mapping_layers);
    assert_eq!(widths, (20, 48, 32, 3));
    check("image_widths", &wide, "z_widths");
    let clamped = generator(&path("sg3_clamp.pkl"), None).unwrap();
    assert_eq!(clamped.config().conv_clamp, Some(0.75));
    check("image_clamp", &clamped, "z");
    for class in 0..3 {
        let generator = generator(&path("ada_classes.pkl"), Some(class)).unwrap();
        assert_eq!((generator.config().classes, generator.class()), (3, Some(class)));
        check(&format!("image_class_{class}"), &generator, "z");
    }
}

#[test]
fn classes_and_clamping_survive_being_written_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let z = golden("generator32", "io.safetensors").remove("z").unwrap();
    for (file, class) in [("ada_classes.pkl", Some(2)), ("sg3_clamp.pkl", None)] {
        let first = generator(&path(file), class).unwrap();
        let written = folder.path().join("g.safetensors");
        let metadata = models::generator_metadata(&first);
        save_safetensors(&written, &first.tensors(), &metadata, None).unwrap();
        let written = written.display().to_string();
        let second = generator(&written, None).unwrap();
        assert_eq!((second.config(), second.class()), (first.config(), first.class()), "{file}");
        let image = draw(&first, &z, 0.7);
        assert!(draw(&second, &z, 0.7).equal(&image), "{file}");
        assert!(draw(&first.duplicate(Kind::Float, Device::Cpu).unwrap(), &z, 0.7).equal(&image));
        // All classes are still there.
        if class.is_some() {
            let other = generator(&written, Some(0)).unwrap();
            let right = generator(&path(file), Some(0)).unwrap();
            assert!(draw(&other, &z, 1.0).equal(&draw(&right, &z, 1.0)));
            assert!(!draw(&other, &z, 0.7).equal(&image));
        }
    }
}

#[test]
fn a_class_must_be_there_and_must_be_said() {
    let ask = |file: &str, class| generator(&path(file), class).unwrap_err();
    for (file, class, message, hint) in [
        ("ada_classes.pkl", None, "draws 3 classes, which one is not said", "`--class 2`"),
        ("ada_classes.pkl", Some(3), "class 3 was asked for", "`--class 2`"),
        ("ada_classes.pkl", Some(-1), "class -1 was asked for", "`--class 0`"),
        ("ada_2_layers.pkl", Some(0), "a class was asked for", "leave out `--class`"),
    ] {
        let error = ask(file, class);
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn parts_and_writers_are_told() {
    for (file, container, writer, parts) in [
        ("ada_2_layers.pkl", Container::NvidiaTorch, "stylegan2-ada-pytorch", ["D", "G", "G_ema"]),
        ("sg3_clamp.pkl", Container::NvidiaTorch, "the stylegan3 repository", ["D", "G", "G_ema"]),
        (
            "tensorflow.pkl",
            Container::NvidiaTensorFlow,
            "`G_main`, network format 4",
            ["D", "Gs", ""],
        ),
    ] {
        let file = open(file);
        assert_eq!(file.container, container);
        assert!(file.metadata["written_by"].contains(writer), "{:?}", file.metadata);
        let contents = checkpoint::recognise(&file);
        assert!(contents.latent_avg, "{contents}");
        for part in contents.parts.iter() {
            assert!(parts.contains(&part.name.as_str()), "{contents}");
            let wanted = if part.name == "D" { Network::Discriminator } else { Network::Generator };
            assert_eq!(part.network, wanted, "{contents}");
        }
        assert_eq!(contents.parts.len(), parts.iter().filter(|part| !part.is_empty()).count());
    }
    assert!(!checkpoint::recognise(&open("tensorflow_fewer.pkl")).latent_avg);
}

// ---------------------------------------------------------------- refused by name

#[test]
fn what_is_not_supported_is_refused_with_its_name() {
    let tf = "tensorflow.pkl";
    let ada = "ada_2_layers.pkl";
    let double = |x: f64| [b"G".to_vec(), x.to_be_bytes().to_vec()].concat();
    for (bytes, words) in [
        (bytes("stylegan3.pkl"), "a StyleGAN3 generator"),
        (patched(tf, b"Conv/mod_weight", b"StyleMod/weight"), "a StyleGAN1 generator"),
        (patched(tf, b"4x4/ToRGB/weight", b"ToRGB_lod3/weigh"), "configurations A to D"),
        (patched(tf, b"8x8/Conv0_up/bias", b"8x8/Skip/biasbias"), "the architecture `resnet`"),
        (patched(tf, b"\x8c\x04skip", b"\x8c\x04orig"), "`architecture` is \"orig\""),
        (patched(tf, b"fmap_max", b"fmap_odd"), "the setting `fmap_odd`"),
        (patched(tf, b"32x32/Conv1/weight", b"LabelConcat/weight"), "as the first StyleGAN2 did"),
        (patched("ada_8_layers.pkl", b"\x8c\x04skip", b"\x8c\x04orig"), "the architecture `orig`"),
        (patched("sg3_clamp.pkl", b"\x8c\x04skip", b"\x8c\x04orig"), "the architecture `orig`"),
        (patched(ada, b"lrelu", b"swish"), "only \"lrelu\" is supported"),
        (patched(ada, &double(0.01), &double(0.02)), "bias_gain` is 0.02"),
        (patched("sg3_clamp.pkl", &double(0.75), &double(-1.0)), "`conv_clamp` is -1"),
    ] {
        let text = refusal(bytes);
        assert!(text.contains(words), "{words}: {text}");
    }
    let three = array("f4", "<", &[0], false, b"C\0");
    let old = variable_of("X\x07\0\0\0versionK\x03s", "synthesis/4x4/Conv/mod_weight", &three);
    assert!(refusal(old).contains("stored in format 3"));
    let progan = b"\x80\x02ctfutil\nNetwork\n)\x81.".to_vec();
    assert!(refusal(progan).contains("a network pickle of ProGAN"));
}

#[test]
fn names_are_enough_and_grey_pictures_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.safetensors");
    let source = open("ada_2_layers.pkl");
    let own = |name: &str| name.strip_prefix("G_ema/").map(str::to_owned);
    let mut tensors: TensorMap = source
        .entries
        .iter()
        .filter_map(|(name, entry)| Some((own(name)?, entry.tensor().unwrap())))
        .collect();
    save_safetensors(&file, &tensors, &Default::default(), None).unwrap();
    let named = checkpoint::generator(&checkpoint::open(&file).unwrap()).unwrap();
    let wanted = checkpoint::generator(&source).unwrap();
    assert!(named.entries.keys().eq(wanted.entries.keys()));
    for (name, tensor) in &mut tensors {
        if name.ends_with(".torgb.weight") || name.ends_with(".torgb.bias") {
            *tensor = tensor.narrow(0, 0, 1);
        }
    }
    save_safetensors(&file, &tensors, &Default::default(), None).unwrap();
    let opened = models::open_generator(file.as_path(), Kind::Float, Device::Cpu).unwrap();
    assert_eq!(opened.0.config().image_channels, 1);
}

// ---------------------------------------------------------------- hostile and damaged files

#[test]
fn a_damaged_discriminator_does_not_keep_the_generator_from_being_read() {
    for (file, weight) in
        [("ada_2_layers.pkl", "D/b4.fc.weight"), ("tensorflow.pkl", "D/4x4.Dense0.weight")]
    {
        let whole = open(file);
        let numbers = whole.entries[weight].tensor().unwrap();
        let mut pattern = vec![0; numbers.numel() * 4];
        numbers.copy_data_u8(&mut pattern, numbers.numel());
        let damaged = patched(file, &pattern, &vec![0xff; pattern.len()]);
        let damaged = checkpoint::open_bytes("x.pkl", damaged).unwrap();
        let lost = damaged.entries[weight].tensor().unwrap();
        assert!(bool::try_from(lost.isnan().all()).unwrap());
        let (a, b) =
            (checkpoint::generator(&whole).unwrap(), checkpoint::generator(&damaged).unwrap());
        for (name, entry) in &a.entries {
            assert!(entry.tensor().unwrap().equal(&b.entries[name].tensor().unwrap()), "{name}");
        }
    }
    // The head of a storage inside the pickle: that tensor alone is lost, and said to be where it is needed.
    let magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    let mut all = bytes("ada_2_layers.pkl");
    let heads: Vec<usize> = (0..all.len()).filter(|&i| all[i..].starts_with(&magic)).collect();
    let first = *heads.first().unwrap();
    all[first] = 0;
    let damaged = checkpoint::open_bytes("x.pkl", all).unwrap();
    let lost: Vec<_> =
        damaged.others.iter().filter(|(_, what)| what.contains("cannot be read")).collect();
    assert!(lost.iter().all(|(name, _)| name.ends_with("synthesis.b4.const")), "{lost:?}");
    let text = checkpoint::generator(&damaged).unwrap_err().to_string();
    assert!(text.contains("`G_ema/synthesis.b4.const` is a tensor that cannot be read"), "{text}");
}

#[test]
fn nothing_in_a_network_pickle_runs() {
    let ran = Path::new("/tmp/nada-ran-a-pickle");
    let _ = std::fs::remove_file(ran);
    for file in ["ada_2_layers.pkl", "sg3_clamp.pkl", "tensorflow.pkl"] {
        let file = open(file);
        for entry in file.entries.values() {
            drop(entry.tensor().unwrap());
        }
        assert!(file.others.values().all(|what| !what.contains("os.system")));
    }
    assert!(!ran.exists());
}

#[test]
fn files_cut_off_anywhere_are_refused() {
    for file in ["ada_2_layers.pkl", "tensorflow.pkl", "tensorflow_protocol_2.pkl"] {
        let whole = bytes(file);
        for i in 1..64 {
            let text = refusal(whole[..whole.len() * i / 64].to_vec());
            assert!(text.contains("early") || text.contains("a line that does not end"), "{text}");
        }
    }
}

/// A pickle of protocol 2 of one persistent object with this in its `_parameters`: opcodes that push key and value.
fn persistent(parameters: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n".as_slice(),
        b"}(X\x05\0\0\0state}(X\x0b\0\0\0_parameters}(",
        parameters,
        b"uuu\x85R.",
    ]
    .concat()
}

/// The opcodes of a tensor `mapping.fc0.weight` with a storage of these bytes.
fn tensor(storage: &[u8], shape: u8, stride: u8) -> Vec<u8> {
    [
        b"X\x12\0\0\0mapping.fc0.weightctorch._utils\n_rebuild_tensor_v2\n(".as_slice(),
        b"ctorch.storage\n_load_from_bytes\n(B",
        &(storage.len() as u32).to_le_bytes(),
        storage,
        b"tRK\0(K",
        &[shape],
        b"t(K",
        &[stride],
        b"t\x89}tR",
    ]
    .concat()
}

/// What `torch.save` makes of a storage of floats, in its old format, that claims `numel` numbers.
fn storage(numel: i64, data: &[u8]) -> Vec<u8> {
    let claimed =
        i32::try_from(numel).map_or(numel.to_le_bytes().to_vec(), |n| n.to_le_bytes().to_vec());
    let count = if claimed.len() == 4 { b"J".to_vec() } else { vec![0x8a, 8] };
    [
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}."
            .as_slice(),
        b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu",
        &count,
        &claimed,
        b"NtQ.\x80\x02]X\x01\0\0\x000a.",
        &numel.to_le_bytes(),
        data,
    ]
    .concat()
}

#[test]
fn hostile_storages_are_errors() {
    let good = persistent(&tensor(&storage(2, &[0; 8]), 2, 1));
    let file = checkpoint::open_bytes("x.pkl", good).unwrap();
    assert_eq!(file.entries["mapping.fc0.weight"].shape(), [2]);
    for (storage, shape, stride, words) in [
        (storage(2, &[0; 8]), 3, 1, "needs 3 elements"),
        (storage(2, &[0; 8]), 2, 2, "needs 3 elements"),
        (storage(1 << 62, &[0; 8]), 2, 1, "claims 4611686018427387904 elements"),
        (storage(-1, &[0; 8]), 2, 1, "claims -1 elements"),
        (storage(3, &[0; 8]), 2, 1, "cut off at storage 1 of 1"),
        (b"nothing of torch's".to_vec(), 2, 1, "not in torch's legacy format"),
        (storage(2, &[])[..40].to_vec(), 2, 1, "early"),
        (
            b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.K\x01.".to_vec(),
            2,
            1,
            "protocol 1",
        ),
    ] {
        // A fault inside the storage loses that tensor, one of its use says that the file is inconsistent.
        let bytes = persistent(&tensor(&storage, shape, stride));
        let text = match checkpoint::open_bytes("x.pkl", bytes) {
            Ok(file) => file.others["mapping.fc0.weight"].clone(),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn modules_inside_themselves_end() {
    // A module that is its own part, and forty levels of which each holds the next one twice.
    let itself = b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(X\x05\0\0\0state}q\0(X\x08\0\0\0_modules}(X\x01\0\0\0a\
        ctorch_utils.persistence\n_reconstruct_persistent_obj\n}(X\x05\0\0\0stateh\0u\x85Ruuu\x85R.";
    let text = refusal(itself.to_vec());
    assert!(text.contains("nested deeper than 64 levels"), "{text}");
    let global = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n";
    let mut bomb = b"\x80\x02}(X\x01\0\0\0tK\x01u".to_vec();
    for level in 0..40_u8 {
        bomb.extend([b'q', level]);
        bomb.extend(b"0");
        bomb.extend(global);
        bomb.extend(b"}(X\x05\0\0\0state}(X\x08\0\0\0_modules}(X\x01\0\0\0ah");
        bomb.push(level);
        bomb.extend(b"X\x01\0\0\0bh");
        bomb.push(level);
        bomb.extend(b"uuu\x85R");
    }
    bomb.push(b'.');
    let text = refusal(bomb);
    assert!(text.contains("contains itself many times over"), "{text}");
}

/// A TensorFlow network of protocol 2 with one variable: opcodes that push its value.
fn variable(value: &[u8]) -> Vec<u8> {
    variable_of("", "dlatent_avg", value)
}

/// As [`variable`], with opcodes that set more of the network's state.
fn variable_of(more: &str, name: &str, value: &[u8]) -> Vec<u8> {
    [
        b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81}".as_slice(),
        more.as_bytes(),
        &unicode("variables"),
        b"]",
        &unicode(name),
        value,
        b"\x86asb.",
    ]
    .concat()
}

/// The opcodes of an array of old NumPy's.
fn array(dtype: &str, order: &str, shape: &[u8], fortran: bool, data: &[u8]) -> Vec<u8> {
    [
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R(K\x01("
            .as_slice(),
        &shape.iter().flat_map(|&size| [b'K', size]).collect::<Vec<u8>>(),
        b"tcnumpy\ndtype\n",
        &unicode(dtype),
        b"K\0K\x01\x87R(K\x03",
        &unicode(order),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb",
        if fortran { b"\x88" } else { b"\x89" },
        data,
        b"tb",
    ]
    .concat()
}

#[test]
fn arrays_of_any_numpy_are_read_and_hostile_ones_are_errors() {
    let raw = |data: &[u8]| [&[b'C', data.len() as u8], data].concat();
    let six: Vec<u8> =
        [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let read = |value: &[u8]| {
        let file = checkpoint::open_bytes("x.pkl", variable(value))?;
        file.entries["dlatent_avg"].tensor()
    };
    let straight = read(&array("f4", "<", &[2, 3], false, &raw(&six))).unwrap();
    assert!(straight.equal(&Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]).view([2, 3])));
    let turned = read(&array("f4", "<", &[3, 2], true, &raw(&six))).unwrap();
    assert!(turned.equal(&straight.tr()));
    // Bytes as a text, as Python 3 writes them in protocol 2; a long one stays in the file until it is used.
    let encoded = |text: &str, coding: &str| {
        [b"c_codecs\nencode\n".as_slice(), &unicode(text), &unicode(coding), b"\x86R"].concat()
    };
    let latin1: String = six.iter().map(|&byte| char::from(byte)).collect();
    let text = encoded(&latin1, "latin1");
    assert!(read(&array("f4", "<", &[2, 3], false, &text)).unwrap().equal(&straight));
    let long = encoded(&latin1.repeat(20_000), "latin1");
    let repeated = read(&array("f4", "<", &[200, 200, 3], false, &long)).unwrap();
    assert!(repeated.view([-1, 2, 3]).get(19_999).equal(&straight));

    for (value, words) in [
        (array("f4", ">", &[6], false, &raw(&six)), "big-endian"),
        (array("f4", "<", &[7], false, &raw(&six)), "needs 7 elements"),
        (array("f4", "<", &[5], false, &raw(&six)), "takes 20 bytes, but 24 follow"),
        (array("f4", "<", &[7], true, &raw(&six)), "needs 7 elements"),
        (array("f4", "<", &[2, 3], false, &encoded("Ā", "latin1")), "no text of bytes"),
        (array("f4", "<", &[2, 3], false, &encoded(&latin1, "hex")), "an unknown coding"),
        (array("f4", "<", &[6], false, b"K\x01"), "no bytes"),
        (array("f4", "<", &[6], false, &encoded(&latin1, "latin1")[..26]), "bad pickle"),
    ] {
        let text = read(&value).unwrap_err().to_string();
        assert!(text.contains(words), "{words}: {text}");
    }
    let objects = array("O", "|", &[6], false, &raw(&six));
    let file = checkpoint::open_bytes("x.pkl", variable(&objects)).unwrap();
    assert!(file.others["dlatent_avg"].contains("unsupported element type"), "{:?}", file.others);
}

fn unicode(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

// ---------------------------------------------------------------- the commands

#[test]
fn the_commands_take_network_pickles() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| nada(folder.path(), args);
    let (ada, classes) = (path("ada_2_layers.pkl"), path("ada_classes.pkl"));
    let facts = run(&["inspect", &ada, "--json", "--tensors"]).done();
    let facts: Value = serde_json::from_str(&facts.stdout).unwrap();
    assert_eq!(facts["container"], "network pickle (NVIDIA, PyTorch)");
    assert_eq!(
        facts["holds"],
        "a StyleGAN2 discriminator (`D`), a StyleGAN2 generator (`G`), a StyleGAN2 generator (`G_ema`)"
    );
    assert_eq!(facts["metadata"]["written_by"], "stylegan2-ada-pytorch");
    let told =
        ["resolution", "mapping_layers", "classes", "latent_avg"].map(|key| facts[key].to_string());
    assert_eq!(told, ["32", "2", "0", "true"]);
    assert!(facts["problems"].is_null(), "{facts}");
    let text = run(&["inspect", &path("stylegan3.pkl")]).done().stdout;
    assert!(text.contains("a StyleGAN3 generator, which is not supported"), "{text}");

    run(&["generate", "--generator", &ada, "--count", "2", "--out", "a.png"]).done();
    run(&["generate", "--generator", &path("stylegan3.pkl"), "--out", "b.png"])
        .refused(1, &["a StyleGAN3 generator", "stylegan3.pkl"]);
    let draw = ["generate", "--generator", &classes, "--count", "2", "--raw", "c.safetensors"];
    run(&draw).refused(2, &["draws 3 classes", "--class 0"]);
    run(&[&draw[..], &["--class", "7"]].concat()).refused(2, &["class 7"]);
    run(&[&draw[..], &["--class", "1"]].concat()).done();
}

#[test]
fn a_class_of_a_conditional_generator_is_adapted_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| nada(folder.path(), args);
    let classes = path("ada_classes.pkl");
    let adapt = [
        "adapt",
        "--target",
        "sketch",
        "--generator",
        &classes,
        "--preset",
        "default",
        "--iterations",
        "1",
        "--batch",
        "2",
        "--set",
        "augment.copies=1",
        "--set",
        "output.samples=2",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--out",
        "run",
    ];
    run(&adapt).refused(2, &["draws 3 classes"]);
    run(&[&adapt[..], &["--class", "1"]].concat()).done();
    let result = folder.path().join("run/generator.safetensors");
    let read = generator(&result.display().to_string(), None).unwrap();
    assert_eq!((read.class(), read.config().classes), (Some(1), 3));
    let config = std::fs::read_to_string(folder.path().join("run/config.yaml")).unwrap();
    assert!(config.contains("class: 1"), "{config}");
    run(&["generate", "--generator", "run", "--beside", "--count", "2", "--out", "p.png"]).done();
    run(&["adapt", "--resume", "run", "--iterations", "2"]).done();
    run(&["compare", "run", "--out", "sheet.png"]).done();
}
