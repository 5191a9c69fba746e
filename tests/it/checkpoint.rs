//! Checkpoints: the same tensors from every container, and a plain refusal of everything else.
#![allow(clippy::unwrap_used)]

use crate::common::{golden, golden_path};
use nada::checkpoint::{self, Checkpoint, Container, Network};
use nada::torch::{ShapeMap, TensorMap};
use nada::{Error, atomic};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use tch::{Device, Kind, Tensor};

fn open(folder: &str, file: &str) -> Checkpoint {
    checkpoint::open(golden_path(folder, file)).unwrap()
}

fn bytes(folder: &str, file: &str) -> Vec<u8> {
    std::fs::read(golden_path(folder, file)).unwrap()
}

/// The message and hint of a refusal, on one line.
#[track_caller]
pub(crate) fn refusal(bytes: impl Into<Vec<u8>>) -> String {
    told(checkpoint::open_bytes("x.pt", bytes.into()).unwrap_err())
}

fn told(error: Error) -> String {
    format!("{error} | {}", error.hint().unwrap_or_default())
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[track_caller]
fn assert_same(name: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.size(), b.size(), "{name}");
    assert!(a.to_kind(Kind::Double).equal(&b.to_kind(Kind::Double)), "{name} differs");
}

// ---------------------------------------------------------------- containers

#[test]
fn three_containers_give_the_same_generator() {
    let zip = open("generator32", "generator.pt");
    let legacy = open("generator32", "generator_legacy.pt");
    let flat = open("generator32", "generator.safetensors");
    assert_eq!(zip.container, Container::TorchZip);
    assert_eq!(legacy.container, Container::TorchLegacy);
    assert_eq!(flat.container, Container::Safetensors);
    assert!(
        zip.entries.contains_key("g_ema/style.1.weight") && zip.entries.contains_key("latent_avg")
    );
    assert_eq!(zip.whole, "dictionary of 2 items");

    let want = golden("generator32", "generator.safetensors");
    for file in [&zip, &legacy, &flat] {
        let named = checkpoint::generator(file).unwrap();
        assert_eq!(
            named.entries.keys().collect::<Vec<_>>(),
            want.keys().collect::<Vec<_>>(),
            "{}",
            file.container
        );
        for (name, entry) in &named.entries {
            assert_eq!(entry.shape(), want[name].size(), "{name}");
            assert_same(name, &entry.tensor().unwrap(), &want[name]);
        }
    }
}

#[test]
fn overlapping_rows_are_read_by_their_strides() {
    let file = open("clip_vit", "model.pt");
    let table = &file.entries["token_embedding.weight"];
    assert_eq!(table.shape(), [49408, 8]);
    let table = table.tensor().unwrap();
    assert!(table.is_contiguous());
    assert_same(
        "row 1 begins with the second number of row 0",
        &table.get(1).slice(0, 0, 7, 1),
        &table.get(0).slice(0, 1, 8, 1),
    );
}

#[test]
fn all_containers_of_clip_give_the_same_weights() {
    let want = golden("clip_vit", "model.safetensors");
    for (file, container) in [
        ("model.pt", Container::TorchZip),
        ("model.safetensors", Container::Safetensors),
        ("model_jit_fp16.pt", Container::TorchScript),
    ] {
        let file = open("clip_vit", file);
        assert_eq!(file.container, container);
        let named = checkpoint::clip(&file).unwrap();
        assert_eq!(
            named.entries.keys().collect::<Vec<_>>(),
            want.keys().collect::<Vec<_>>(),
            "{container}"
        );
        for (name, entry) in &named.entries {
            assert_same(name, &entry.tensor().unwrap(), &want[name]);
        }
    }
    let file = open("clip_rn", "model.pt");
    let named = checkpoint::clip(&file).unwrap();
    for (name, want) in golden("clip_rn", "model_visual.safetensors") {
        assert_same(&name, &named.entries[&name].tensor().unwrap(), &want);
    }
    assert_eq!(file.entries["visual.bn1.num_batches_tracked"].kind(), Kind::Int64);
    assert_eq!(file.entries["visual.conv1.weight"].kind(), Kind::Half);
}

#[test]
fn networks_are_recognised_and_mix_ups_are_named() {
    for (folder, file, want) in [
        ("generator32", "generator.pt", Network::Generator),
        ("generator64", "generator.pt", Network::Generator),
        ("discriminator32", "discriminator.pt", Network::Discriminator),
        ("clip_vit", "model.pt", Network::Clip),
        ("clip_rn", "model.pt", Network::Clip),
    ] {
        assert_eq!(checkpoint::recognise(&open(folder, file)).network(), want, "{folder}");
    }
    let contents = checkpoint::recognise(&open("generator32", "generator.pt"));
    assert!(contents.latent_avg);
    assert_eq!(contents.to_string(), "a StyleGAN2 generator (`g_ema`)");

    let wrong = |folder, file| told(checkpoint::generator(&open(folder, file)).unwrap_err());
    assert_says(
        &wrong("discriminator32", "discriminator.pt"),
        &[
            "discriminator.pt`: holds a StyleGAN2 discriminator (`d`), expected a StyleGAN2 generator",
            "`g_ema`",
        ],
    );
    assert_says(
        &wrong("clip_vit", "model.pt"),
        &["holds a CLIP network, expected a StyleGAN2 generator"],
    );
    let wrong = told(checkpoint::clip(&open("generator32", "generator.pt")).unwrap_err());
    assert_says(&wrong, &["holds a StyleGAN2 generator (`g_ema`), expected a CLIP network"]);
}

#[test]
fn other_networks_of_two_towers_are_refused_by_name() {
    let names = ["vision_model.embeddings.class_embedding", "logit_bias"].map(str::to_owned);
    let file = saved(&names.map(|name| (name, Tensor::from_slice(&[1.0_f32]))).into());
    assert_says(&told(checkpoint::clip(&file).unwrap_err()), &["no CLIP (SigLIP, perhaps)"]);
}

#[test]
fn wrappers_and_shapes_of_the_mean_latent_are_taken_off() {
    let one = || Tensor::zeros([4, 4], (Kind::Float, Device::Cpu));
    let file = |average: Tensor| {
        saved(&TensorMap::from([
            ("g/module.style.1.weight".into(), one()),
            ("g/module.conv1.conv.modulation.weight".into(), one()),
            ("latent_avg".into(), average),
        ]))
    };
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    for (shape, want) in [(&[4][..], &[4][..]), (&[1, 4], &[4]), (&[8, 4], &[4])] {
        let named = checkpoint::generator(&file(zeros(shape))).unwrap();
        assert_eq!(named.entries["latent_avg"].shape(), want);
        assert!(named.entries.contains_key("style.1.weight"));
    }
    let rising = Tensor::arange(32, (Kind::Float, Device::Cpu)).view([8, 4]);
    assert_says(&told(checkpoint::generator(&file(rising)).unwrap_err()), &["rows", "differ"]);
    for shape in [&[5][..], &[1, 1, 4], &[]] {
        assert_says(
            &told(checkpoint::generator(&file(zeros(shape))).unwrap_err()),
            &["`latent_avg` has shape"],
        );
    }
}

// ---------------------------------------------------------------- filling and writing

/// Writes and opens again.
fn saved(tensors: &TensorMap) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    checkpoint::save_safetensors(&path, tensors, &BTreeMap::new(), None).unwrap();
    checkpoint::open(&path).unwrap()
}

#[test]
fn a_model_is_filled_with_owned_tensors_of_the_asked_kind() {
    let named = checkpoint::generator(&open("generator32", "generator.pt")).unwrap();
    let mut needed: ShapeMap =
        named.entries.iter().map(|(n, e)| (n.clone(), e.shape().to_vec())).collect();
    needed.remove("noises.noise_0");
    let optional = ShapeMap::from([("noises.noise_99".into(), vec![1])]);
    let (tensors, report) =
        checkpoint::fill("generator", &needed, &optional, &named, Kind::Double, Device::Cpu)
            .unwrap();
    assert_eq!(report.unused, ["noises.noise_0"]);
    assert_eq!(report.missing_optional, ["noises.noise_99"]);
    assert_eq!(report.applied.len(), needed.len());
    let want = golden("generator32", "generator.safetensors");
    for (name, tensor) in &tensors {
        assert_eq!(tensor.kind(), Kind::Double);
        assert_same(name, tensor, &want[name]);
    }
    // Writable, and not the file's memory.
    let mut weight = tensors["style.1.weight"].shallow_clone();
    let _ = weight.fill_(7.0);
    assert_same(
        "the file",
        &named.entries["style.1.weight"].tensor().unwrap(),
        &want["style.1.weight"],
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_sorted() {
    let named = checkpoint::generator(&open("generator32", "generator.pt")).unwrap();
    let mut needed = ShapeMap::from([
        ("style.1.weight".into(), vec![512, 512]),
        ("style.1.weights".into(), vec![32, 32]),
    ]);
    let fill = |needed: &ShapeMap| {
        checkpoint::fill("generator", needed, &ShapeMap::new(), &named, Kind::Float, Device::Cpu)
            .unwrap_err()
    };
    let error = fill(&needed).to_string();
    assert_says(
        &error,
        &[
            "generator.pt` does not make a complete generator",
            "`style.1.weight` has shape [32, 32], expected [512, 512]",
            "`style.1.weights` [32, 32] is missing; the file has `style.",
        ],
    );
    needed.extend((0..30).map(|i| (format!("zz.{i:02}"), vec![1])));
    let Error::Tensors { problems, hint, .. } = fill(&needed) else { panic!("another error") };
    assert_eq!(problems.len(), 21);
    assert_eq!(problems[20], "and 12 more");
    assert!(problems[..20].is_sorted());
    assert!(hint.is_some());
}

#[test]
fn written_files_come_back_the_same_and_are_the_same_bytes_each_time() {
    let cpu = |kind| (kind, Device::Cpu);
    let tensors = TensorMap::from([
        ("a.bytes".into(), Tensor::from_slice(&[1_u8, 2, 3])),
        ("b".into(), Tensor::arange(6, cpu(Kind::Double)).view([2, 3]).transpose(0, 1)),
        ("c \"quoted\" ü".into(), Tensor::from_slice(&[-1_i64])),
        ("d".into(), Tensor::from_slice(&[true, false])),
        ("e".into(), Tensor::zeros([0, 4], cpu(Kind::Float))),
        ("f".into(), Tensor::from_slice(&[1.5_f32]).squeeze()),
        ("g".into(), Tensor::from_slice(&[1.5_f32]).to_kind(Kind::BFloat16)),
        ("h".into(), Tensor::from_slice(&[1_i16]).expand([3], false)),
        ("i".into(), Tensor::from_slice(&[1_i32])),
        ("j".into(), Tensor::from_slice(&[1_i8])),
    ]);
    let metadata = BTreeMap::from([
        ("source".into(), "photo".into()),
        ("target".into(), "a \"sketch\"\n".into()),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    for path in [&one, &two] {
        checkpoint::save_safetensors(path, &tensors, &metadata, None).unwrap();
    }
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    assert_eq!(checkpoint::sha256(&one).unwrap(), checkpoint::sha256(&two).unwrap());

    let read = checkpoint::open(&one).unwrap();
    assert_eq!(read.metadata, metadata);
    assert_eq!(read.entries.len(), tensors.len());
    for (name, entry) in &read.entries {
        let got = entry.tensor().unwrap();
        assert_eq!(got.kind(), tensors[name].kind(), "{name}");
        assert_same(name, &got, &tensors[name]);
    }
    // Another reader, which wants alignment and no holes.
    for (name, got) in Tensor::read_safetensors(&one).unwrap() {
        assert_same(&name, &got, &tensors[&name]);
    }

    checkpoint::save_safetensors(&two, &tensors, &metadata, Some(Kind::Half)).unwrap();
    let half = checkpoint::open(&two).unwrap();
    assert_eq!(half.entries["b"].kind(), Kind::Half);
    assert_eq!(half.entries["a.bytes"].kind(), Kind::Uint8);
}

#[test]
fn a_header_of_any_length_is_told_from_a_pickle() {
    // Lengths of 0x80, 0x180 … begin with the byte that begins a pickle.
    for length in (0..400).step_by(8) {
        let tensors = TensorMap::from([("a".into(), Tensor::from_slice(&[1_u8]))]);
        let metadata = BTreeMap::from([("note".into(), "x".repeat(length))]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        checkpoint::save_safetensors(&path, &tensors, &metadata, None).unwrap();
        assert_eq!(checkpoint::open(&path).unwrap().container, Container::Safetensors, "{length}");
    }
}

#[test]
fn what_cannot_be_written_is_an_error_that_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let complex =
        TensorMap::from([("z".into(), Tensor::zeros([1], (Kind::ComplexFloat, Device::Cpu)))]);
    assert!(checkpoint::save_safetensors(&path, &complex, &BTreeMap::new(), None).is_err());
    let missing = folder.path().join("no/x");
    let error = checkpoint::save_safetensors(&missing, &TensorMap::new(), &BTreeMap::new(), None)
        .unwrap_err();
    assert_says(&error.to_string(), &["cannot write `", "no/x`"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_has_the_usual_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    atomic::write(&path, "abc").unwrap();
    let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(checkpoint::sha256(&path).unwrap(), want);
    assert_says(
        &checkpoint::sha256(folder.path().join("no")).unwrap_err().to_string(),
        &["cannot read `"],
    );
}

// ---------------------------------------------------------------- bad input

#[test]
fn what_is_no_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = checkpoint::open(folder.path().join("no.pt")).unwrap_err();
    assert_eq!(missing.exit_code(), 2);
    assert_says(&told(missing), &["cannot read `", "no.pt`", "check the spelling"]);
    assert_says(
        &told(checkpoint::open(folder.path()).unwrap_err()),
        &["is a folder, a checkpoint file is expected"],
    );
    #[cfg(unix)]
    assert_says(&told(checkpoint::open("/dev/zero").unwrap_err()), &["is not a regular file"]);
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert_says(
        &told(checkpoint::open(&empty).unwrap_err()),
        &["is empty", "expected a checkpoint"],
    );
}

#[test]
fn what_is_no_checkpoint_is_told_by_name() {
    let mut tar = vec![b'x'; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let header = |n: u64| [&n.to_le_bytes()[..], b"{\"a\":1}"].concat();
    let cases: [(Vec<u8>, &[&str]); 14] = [
        (vec![0; 100_000], &["begins with nothing but zeros", "fetch it again"]),
        (
            vec![0x9e, 3, 0xff, 0x17, 0x88, 1, 2, 3, 4, 5],
            &[
                "is of no known format: it begins with the bytes 9e 03 ff 17",
                "expected a checkpoint",
            ],
        ),
        (
            b"<!DOCTYPE html><html>Quota exceeded".into(),
            &["a web page, not a checkpoint", "the download failed"],
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n".into(),
            &["a Git LFS pointer", "git lfs pull"],
        ),
        (b"\x93NUMPY\x01\0v\0{'descr'".into(), &["a NumPy array", "cut off"]),
        (b"\x89PNG\r\n\x1a\n".into(), &["a PNG image"]),
        (b"hello, this is a text".into(), &["a text that begins with \"hello, this"]),
        (tar, &["a tar archive"]),
        (
            header(1 << 60),
            &[
                "a safetensors file whose header claims 1152921504606846976 bytes, but the file has 15 in all",
                "cut off",
            ],
        ),
        (header(7), &["a safetensors file with a bad header"]),
        (
            b"\x80\x02]q\0(K\x01K\x02K\x03e.".into(),
            &["a Python pickle that torch did not write (list [1, 2, 3])"],
        ),
        (
            b"\x80\x02]q\0(K\x01".into(),
            &["begins like a Python pickle, but bad pickle at byte 8: it ends 1 byte early"],
        ),
        (zip(&[("a/b.txt", b"x")]), &["a zip archive that was not written by torch"]),
        (zip(&[("arr_0.npy", b"x")]), &["a NumPy archive"]),
    ];
    for (bytes, parts) in cases {
        let text = refusal(bytes);
        assert_says(&text, parts);
        let is = text.strip_prefix("`x.pt`: ").unwrap();
        assert!(is.starts_with("is ") || is.starts_with("begins "), "{text}");
    }
}

#[test]
fn a_torch_file_of_something_else_opens_and_is_no_generator() {
    let list = torch_zip(b"\x80\x02]q\0(K\x01K\x02K\x03e.", &[]);
    let file = checkpoint::open_bytes("list.pt", list).unwrap();
    assert!(file.entries.is_empty());
    assert_eq!(file.others[""], "list [1, 2, 3]");
    let text = told(checkpoint::generator(&file).unwrap_err());
    assert_says(&text, &["holds no tensors (list [1, 2, 3]), expected a StyleGAN2 generator"]);

    let bare = torch_zip(
        &[b"\x80\x02", &tensor("FloatStorage", 2, 0, &[2], &[1])[..], b"."].concat(),
        &[("0", &[0; 8])],
    );
    let file = checkpoint::open_bytes("bare.pt", bare).unwrap();
    assert_eq!(file.entries["tensor"].shape(), [2]);
    let text = told(checkpoint::generator(&file).unwrap_err());
    assert_says(&text, &["holds 1 tensor of an unknown network (`tensor`…)"]);
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    for (folder, file) in [
        ("generator32", "generator.pt"),
        ("generator32", "generator_legacy.pt"),
        ("generator32", "generator.safetensors"),
        ("clip_vit", "model_jit_fp16.pt"),
    ] {
        let whole = bytes(folder, file);
        let places =
            (1..64).map(|i| whole.len() * i / 64).chain(1..40).chain(whole.len() - 40..whole.len());
        for cut in places {
            let text = refusal(&whole[..cut]);
            if cut > 4096 {
                assert_says(&text, &["fetch it again"]);
            }
        }
    }
    let legacy = bytes("generator32", "generator_legacy.pt");
    assert_says(&refusal(&legacy[..legacy.len() - 1]), &["cut off at storage 74 of 74"]);
    let flat = bytes("generator32", "generator.safetensors");
    assert_says(
        &refusal(&flat[..flat.len() - 1]),
        &["fewer or more bytes than its header describes"],
    );
    let zip = bytes("generator32", "generator.pt");
    assert_says(&refusal(&zip[..zip.len() / 2]), &["broken zip archive"]);
}

#[test]
fn a_flipped_bit_in_the_data_is_found_by_the_checksum() {
    let mut whole = bytes("generator32", "generator.pt");
    let file = checkpoint::open_bytes("x.pt", whole.clone()).unwrap();
    let weight = file.entries["g_ema/style.1.weight"].tensor().unwrap();
    let mut raw = vec![0; 4096];
    weight.copy_data_u8(&mut raw, 1024);
    let at = whole.windows(4096).position(|w| w == raw).unwrap();
    whole[at + 100] ^= 4;
    let file = checkpoint::open_bytes("x.pt", whole).unwrap();
    let error = told(file.entries["g_ema/style.1.weight"].tensor().unwrap_err());
    assert_says(&error, &["do not match their checksum", "fetch it again"]);
    assert!(file.entries["g_ema/style.1.bias"].tensor().is_ok());
}

// ---------------------------------------------------------------- attacks

/// An archive of stored members.
pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in members {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A torch archive of a pickle and storages.
pub(crate) fn torch_zip(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<_> = storages.iter().map(|(key, _)| format!("x/data/{key}")).collect();
    let mut members = vec![("x/data.pkl", pickle)];
    members.extend(names.iter().zip(storages).map(|(name, (_, bytes))| (name.as_str(), *bytes)));
    zip(&members)
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub(crate) fn int(n: i64) -> Vec<u8> {
    [b"\x8a\x08", &n.to_le_bytes()[..]].concat()
}

pub(crate) fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), items.concat(), b"t".to_vec()].concat()
}

/// Opcodes that build a tensor over storage `0`.
pub(crate) fn tensor(
    class: &str,
    numel: i64,
    offset: i64,
    shape: &[i64],
    strides: &[i64],
) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let storage =
        [tuple(&[text("storage"), class, text("0"), text("cuda:0"), int(numel)]), b"Q".to_vec()]
            .concat();
    let ints = |n: &[i64]| tuple(&n.iter().map(|&n| int(n)).collect::<Vec<_>>());
    let args =
        tuple(&[storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), b"N".to_vec()]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), args, b"R".to_vec()].concat()
}

/// A torch archive `{"t": tensor}` over 64 bytes.
pub(crate) fn with_tensor(
    class: &str,
    numel: i64,
    offset: i64,
    shape: &[i64],
    strides: &[i64],
) -> Vec<u8> {
    let pickle = [
        b"\x80\x02}".to_vec(),
        text("t"),
        tensor(class, numel, offset, shape, strides),
        b"s.".to_vec(),
    ];
    torch_zip(&pickle.concat(), &[("0", &(0..64).collect::<Vec<u8>>())])
}

#[test]
fn views_of_every_legal_sort_are_read() {
    let read = |class, numel, offset, shape: &[i64], strides: &[i64]| {
        let file =
            checkpoint::open_bytes("x.pt", with_tensor(class, numel, offset, shape, strides))
                .unwrap();
        file.entries["t"].tensor().unwrap().to_kind(Kind::Double)
    };
    let rows = |t: &Tensor| Vec::<f64>::try_from(t.view(-1)).unwrap();
    assert_eq!(rows(&read("ByteStorage", 64, 3, &[2, 3], &[1, 2])), [3., 5., 7., 4., 6., 8.]);
    assert_eq!(rows(&read("ByteStorage", 64, 5, &[3], &[0])), [5., 5., 5.]);
    assert_eq!(rows(&read("CharStorage", 64, 63, &[], &[])), [63.]);
    assert_eq!(rows(&read("BoolStorage", 64, 0, &[3], &[1])), [0., 1., 1.]);
    assert_eq!(read("FloatStorage", 16, 16, &[0, 3], &[3, 1]).size(), [0, 3]);
    assert_eq!(rows(&read("ShortStorage", 32, 0, &[1, 2], &[99, 1])), [256., 770.]);
    // Unsupported kinds are listed, not fatal.
    let odd = with_tensor("ComplexFloatStorage", 8, 0, &[1], &[1]);
    let file = checkpoint::open_bytes("x.pt", odd).unwrap();
    assert_says(&file.others["t"], &["unsupported element type"]);
}

#[test]
fn views_that_leave_their_storage_are_refused() {
    for (numel, offset, shape, strides) in [
        (16, 0, &[17][..], &[1][..]),
        (16, 1, &[16], &[1]),
        (16, -1, &[2], &[1]),
        (16, 15, &[2], &[-1]),
        (16, 0, &[-1], &[1]),
        (16, 0, &[2, 2], &[i64::MAX, i64::MAX]),
        (16, i64::MAX, &[2], &[1]),
        (16, 0, &[1 << 40, 1 << 40], &[0, 0]),
        (16, 0, &[1 << 40], &[0]),
        (16, 0, &[2, 2], &[1]),
        (16, 0, &[0, 5], &[i64::MIN, 1]),
    ] {
        let text = refusal(with_tensor("FloatStorage", numel, offset, shape, strides));
        assert_says(&text, &["tensor `t`: "]);
    }
    for numel in [1 << 62, -1, i64::MAX, 17] {
        let text = refusal(with_tensor("FloatStorage", numel, 0, &[1], &[1]));
        assert_says(&text, &["storage `x/data/0` should hold", "but has 64 bytes"]);
    }
    let many: Vec<u8> = (0..200)
        .flat_map(|i| {
            [text(&format!("t{i}")), tensor("FloatStorage", 16, 0, &[1 << 18], &[0]), b"s".to_vec()]
                .concat()
        })
        .collect();
    let text = refusal(torch_zip(&[b"\x80\x02}", &many[..], b"."].concat(), &[("0", &[0; 64])]));
    assert_says(&text, &["its tensors claim 209715200 bytes"]);
    let legacy = bytes("generator32", "generator_legacy.pt");
    let at = legacy.windows(8).rposition(|w| w == 32_i64.to_le_bytes()).unwrap();
    let mut huge = legacy.clone();
    huge[at..at + 8].copy_from_slice(&(1_i64 << 62).to_le_bytes());
    assert_says(&refusal(huge), &["should hold 32 elements, but the data say 4611686018427387904"]);
}

#[test]
fn calls_in_a_pickle_are_only_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let command = format!("touch {}", witness.display());
    for module in
        ["os\nsystem", "posix\nsystem", "builtins\nexec", "builtins\neval", "subprocess\nPopen"]
    {
        let call =
            [format!("c{module}\n").into_bytes(), tuple(&[text(&command)]), b"R".to_vec()].concat();
        let inner =
            [b"cbuiltins\ngetattr\n".to_vec(), tuple(&[call.clone(), text("x")]), b"R)R".to_vec()]
                .concat();
        let pickle =
            [b"\x80\x02}(".to_vec(), text("a"), call, text("b"), inner, b"u.".to_vec()].concat();
        let file = checkpoint::open_bytes("x.pt", torch_zip(&pickle, &[])).unwrap();
        let name = module.replace('\n', ".");
        assert_eq!(file.others["a"], format!("an object of `{name}`"));
        assert!(file.entries.is_empty());
    }
    assert!(!witness.exists());
}

#[test]
fn bombs_end_in_a_message() {
    let bomb = |ops: Vec<u8>| refusal(torch_zip(&[b"\x80\x02", &ops[..], b"."].concat(), &[]));
    // Lists in lists, a list in itself, a dictionary in itself, one that doubles at every level.
    assert_says(
        &bomb([vec![b']'; 100_000], vec![b'a'; 99_999]].concat()),
        &["nested deeper than 64 levels"],
    );
    assert_says(&bomb(b"]q\0h\0a".into()), &["nested deeper than 64 levels"]);
    assert_says(
        &bomb([b"}q\0".to_vec(), text("a"), b"h\0s".to_vec()].concat()),
        &["nested deeper than 64 levels"],
    );
    let mut laughs = b"]q\0".to_vec();
    for i in 0..50 {
        laughs.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
    }
    assert_says(&bomb(laughs), &["it contains itself many times over"]);
    // Too much of everything.
    assert_says(&bomb(vec![b']'; 2_100_000]), &["more than 2000000 values"]);
    assert_says(&bomb(vec![b'('; 2_100_000]), &["more than 2000000 values wait"]);
    assert_says(
        &bomb([b"N".to_vec(), vec![b'2'; 2_100_000]].concat()),
        &["more than 2000000 values wait"],
    );
    // Lengths that are lies.
    assert_says(&bomb(b"X\xff\xff\xff\xff".into()), &["early"]);
    assert_says(&bomb([b"\x8d".to_vec(), vec![0xff; 8]].concat()), &["early"]);
    // Broken machines.
    for ops in [
        &b"R"[..],
        b"e",
        b"u",
        b"t",
        b"h\x05",
        b"(0",
        b"N(Na",
        b"NNa",
        b"NN\x85R\x93",
        b"q\0",
        b"\xff",
        b"o",
        b"(o",
        b"b",
        b"}(Nu",
    ] {
        assert_says(&bomb(ops.into()), &["bad pickle at byte"]);
    }
}

#[test]
fn crooked_archives_are_refused() {
    let pickle = b"\x80\x02}.";
    let rename = |bytes: Vec<u8>, from: &[u8], to: &[u8]| {
        let mut bytes = bytes;
        let places: Vec<_> =
            (0..bytes.len() - from.len()).filter(|&i| bytes[i..].starts_with(from)).collect();
        places.iter().for_each(|&i| bytes[i..i + to.len()].copy_from_slice(to));
        bytes
    };
    let plain = torch_zip(pickle, &[("0", b"0000"), ("1", b"1111")]);
    assert!(checkpoint::open_bytes("x.pt", plain.clone()).is_ok());
    assert_says(
        &refusal(rename(plain.clone(), b"x/data/1", b"x/data/0")),
        &["two members of one name"],
    );
    for name in [b"../../ab", b"/etc/abc", b"C:\\abcde", b"x/../abc"] {
        assert_says(&refusal(rename(plain.clone(), b"x/data/1", name)), &["dangerous name"]);
    }
    // Offsets and sizes of the central directory, each made large.
    let member = |w: &[u8]| w == b"PK\x01\x02";
    let central = plain.windows(4).rposition(member).unwrap();
    for field in [20, 24, 42] {
        let mut bad = plain.clone();
        bad[central + field..central + field + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        refusal(bad);
    }
    // The method and the encryption flag, of a member that is read and of one that is not.
    let pickle = plain.windows(4).position(member).unwrap();
    for (field, value, words) in
        [(10, 8, "do not unpack"), (10, 12, "is compressed by bzip2"), (8, 1, "is encrypted")]
    {
        let mut bad = plain.clone();
        bad[pickle + field] |= value;
        assert_says(&refusal(bad), &["`x/data.pkl`", words]);
        let mut unread = plain.clone();
        unread[central + field] |= value;
        assert!(checkpoint::open_bytes("x.pt", unread).is_ok(), "{words}");
    }
}

// ---------------------------------------------------------------- mutations

/// Opens mutated bytes and reads every small tensor: any answer is right, but no panic, and not for long.
fn survives(bytes: Vec<u8>) {
    if let Ok(file) = checkpoint::open_bytes("x.pt", bytes) {
        let contents = checkpoint::recognise(&file);
        let _ = (contents.to_string(), checkpoint::generator(&file), checkpoint::clip(&file));
        for entry in file.entries.values().filter(|e| e.byte_len() < 1 << 16) {
            let _ = entry.tensor();
        }
    }
}

/// Where the structure of a file lies, so that mutations do not all fall on weights.
fn structure(bytes: &[u8]) -> Vec<usize> {
    let mut places: Vec<_> = (0..bytes.len().min(10_000)).collect();
    places.extend(bytes.len().saturating_sub(6_000)..bytes.len());
    places
}

fn mutate(original: &[u8], places: &[usize], edits: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for &(place, value, how) in edits {
        let at = places[place % places.len()].min(bytes.len().saturating_sub(1));
        match how % 8 {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.insert(at, value),
            2 => {
                bytes.remove(at);
            }
            3 => bytes[at] ^= 1 << (value % 8),
            4 => bytes[at] = [0, 0xff, 0x7f, 0x80, b'.', b'(', b'R', b'Q'][value as usize % 8],
            _ => bytes[at] = value,
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

fn mutations(folder: &str, file: &str, cases: u32) {
    let original = bytes(folder, file);
    let places = structure(&original);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    };
    let edits = proptest::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..6);
    proptest!(config, |(edits in edits)| survives(mutate(&original, &places, &edits)));
}

#[test]
fn no_mutation_of_a_zip_panics() {
    mutations("generator32", "generator.pt", 1500);
}

#[test]
fn no_mutation_of_a_legacy_file_panics() {
    mutations("generator32", "generator_legacy.pt", 1500);
}

#[test]
fn no_mutation_of_a_safetensors_file_panics() {
    mutations("generator32", "generator.safetensors", 1500);
}

#[test]
fn no_pickle_of_random_opcodes_panics() {
    let opcodes = b".(0NIJKMLFGSTUVXcCBRQPbt)]}deuaslhqgpr12\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96io\x00\x01\x02\n";
    let config = ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(8),
        ..ProptestConfig::default()
    };
    let ops = proptest::collection::vec(0..opcodes.len(), 0..60);
    proptest!(config, |(ops in ops)| {
        let mut pickle: Vec<u8> = ops.iter().map(|&i| opcodes[i]).collect();
        pickle.push(b'.');
        survives(torch_zip(&pickle, &[]));
        survives([b"\x80\x02".to_vec(), pickle].concat());
    });
}

#[test]
fn pieces_make_one_tensor_and_too_few_leave_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let piece = |v: f64| Tensor::full([2, 3], v, (Kind::Double, Device::Cpu));
    let save = |shape: &[i64]| {
        checkpoint::save_in_pieces(&path, "x", shape, &BTreeMap::new(), |put| {
            put(&piece(1.0))?;
            put(&piece(2.0))
        })
    };
    save(&[4, 3]).unwrap();
    let read = || checkpoint::open(&path).unwrap().entries["x"].tensor().unwrap();
    let whole = Tensor::cat(&[piece(1.0), piece(2.0)], 0).to_kind(Kind::Float);
    assert!(read().equal(&whole));
    let error = save(&[5, 3]).unwrap_err().to_string();
    assert!(error.contains("48 bytes") && error.contains("needs 60"), "{error}");
    assert!(read().equal(&whole));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
