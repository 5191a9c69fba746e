//! Files as people's `torch.save` and `torch.jit.save` write them, and as they pack them anew: one generator in all of
//! these forms, whose images PyTorch computed.

use crate::checkpoint::refusal;
use crate::command::nada;
use crate::common::{assert_close, golden_path};
use crate::raw_zip::{End, Member, archive};
use nada::checkpoint::{self, Checkpoint, Container};
use std::io::{Read, Write};
use std::path::Path;
use tch::{Kind, Tensor};

/// The files, and how they are packed.
const FILES: [(&str, Container); 13] = [
    ("plain_generator.pt", Container::TorchZip),
    ("torchscript_generator.pt", Container::TorchScript),
    ("zip_protocol1.pt", Container::TorchZip),
    ("zip_protocol5.pt", Container::TorchZip),
    ("legacy_protocol1.pt", Container::TorchLegacy),
    ("legacy_protocol3.pt", Container::TorchLegacy),
    ("legacy_protocol4.pt", Container::TorchLegacy),
    ("legacy_protocol5.pt", Container::TorchLegacy),
    ("whole_module.pt", Container::TorchZip),
    ("module_legacy.pt", Container::TorchLegacy),
    ("module_legacy_protocol4.pt", Container::TorchLegacy),
    ("module_parallel_protocol1.pt", Container::TorchZip),
    ("module_attributes.pt", Container::TorchZip),
];

fn case(file: &str) -> std::path::PathBuf {
    golden_path("cases", file)
}

/// The same tensors as the plain file has, with the same numbers, and no others.
#[track_caller]
fn is_the_generator(name: &str, file: &Checkpoint) {
    let plain = checkpoint::open(case("plain_generator.pt")).unwrap();
    let mut want = checkpoint::generator(&plain).unwrap().entries;
    if name.contains("module") || name.contains("torchscript") {
        // The mean latent stands beside a network, not in it.
        assert!(want.remove("latent_avg").is_some());
    }
    let got = checkpoint::generator(file).unwrap_or_else(|e| panic!("{name}: {e}")).entries;
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{name}");
    for (tensor, entry) in &want {
        let (got, want) = (got[tensor].tensor().unwrap(), entry.tensor().unwrap());
        assert!(got.kind() == want.kind() && got.equal(&want), "{name}: `{tensor}`");
    }
}

#[test]
fn every_way_to_save_a_generator_gives_the_same_tensors() {
    for (name, container) in FILES {
        let file = checkpoint::open(case(name)).unwrap();
        assert_eq!(file.container, container, "{name}");
        is_the_generator(name, &file);
    }
}

#[test]
fn every_way_to_save_a_generator_gives_the_images_of_pytorch() {
    let want = Tensor::read_npy(case("expected_images.npy")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in FILES {
        let (file, codes) = (case(name), case("z.npy"));
        let (file, codes) = (file.to_str().unwrap(), codes.to_str().unwrap());
        let args = ["generate", "--generator", file, "--latents", codes];
        let out = format!("{name}.safetensors");
        let more = ["--latent-kind", "z", "--raw", &out];
        nada(folder.path(), &[&args[..], &more].concat()).done();
        let made = Tensor::read_safetensors(folder.path().join(&out)).unwrap();
        let (_, images) = made.into_iter().find(|(name, _)| name == "images").unwrap();
        assert_close(name, &images, &want, 0.0, 1e-5);
    }
}

/// What a module holds beside its state dictionary does not become tensors.
#[test]
fn a_pickled_module_has_the_tensors_of_its_state_dictionary() {
    let file = checkpoint::open(case("module_legacy.pt")).unwrap();
    assert!(!file.entries.contains_key("fixed_z"), "a buffer that is not persistent");
    assert_eq!(file.others["size"], "16");
    let file = checkpoint::open(case("module_parallel_protocol1.pt")).unwrap();
    assert!(file.entries.contains_key("g_ema/module.style.1.weight"));
    assert_eq!(file.others["step"], "3");
    let file = checkpoint::open(case("module_attributes.pt")).unwrap();
    assert!(file.entries.contains_key("model/style.1.weight"));
    assert!(!file.entries.keys().any(|name| name.contains("fixed_z") || name.contains("note")));
}

// ---------------------------------------------------------------- packed anew

/// The members of an archive below its own folder.
fn members(file: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&bytes)).unwrap();
    let mut read = Vec::new();
    for i in 0..archive.len() {
        let mut member = archive.by_index_raw(i).unwrap();
        let name = member.name().unwrap().into_owned();
        let (mut packed, mut data) = (Vec::new(), Vec::new());
        member.read_to_end(&mut packed).unwrap();
        match member.compression() {
            zip::CompressionMethod::Stored => data = packed,
            _ => drop(flate2::read::DeflateDecoder::new(&packed[..]).read_to_end(&mut data)),
        }
        read.push((name.split_once('/').unwrap().1.to_owned(), data));
    }
    read
}

fn deflated(name: &str, data: &[u8]) -> Member {
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(data).unwrap();
    let packed = packer.finish().unwrap();
    let plain = Member::new(name, data);
    Member { method: 8, sizes: (packed.len() as u32, plain.sizes.1), data: packed, ..plain }
}

#[test]
fn an_archive_that_was_packed_anew_is_read() {
    for name in ["plain_generator.pt", "torchscript_generator.pt", "whole_module.pt"] {
        for root in ["", "archive/", "My models/ffhq 16/"] {
            for zip64 in [false, true] {
                let mut packed: Vec<Member> = members(&case(name))
                    .iter()
                    .map(|(name, data)| deflated(&format!("{root}{name}"), data))
                    .collect();
                packed.insert(0, deflated(&format!("__MACOSX/{root}data.pkl"), b"notes"));
                let bytes = archive(&packed, &End { zip64, ..End::default() });
                is_the_generator(
                    &format!("{name} in `{root}`"),
                    &checkpoint::open_bytes("x.zip", bytes).unwrap(),
                );
            }
        }
    }
}

#[test]
fn a_damaged_deflated_member_is_told_where_it_is_read() {
    let mut packed: Vec<Member> =
        members(&case("plain_generator.pt")).iter().map(|(n, d)| deflated(n, d)).collect();
    let first = packed.iter_mut().find(|m| m.name == b"data/0").unwrap();
    first.crc ^= 1;
    let file = checkpoint::open_bytes("x.pt", archive(&packed, &End::default())).unwrap();
    let faults: Vec<String> = file
        .entries
        .values()
        .filter_map(|entry| entry.tensor().err())
        .map(|e| e.to_string())
        .collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("the data of `data/0` do not unpack"), "{faults:?}");
}

#[test]
fn members_that_are_not_read_may_be_packed_in_any_way() {
    let mut packed: Vec<Member> = members(&case("torchscript_generator.pt"))
        .iter()
        .map(|(n, d)| Member::new(&format!("x/{n}"), d))
        .collect();
    let code: Vec<_> = packed.iter_mut().filter(|m| m.name.starts_with(b"x/code/")).collect();
    assert!(code.len() > 1);
    for (i, member) in code.into_iter().enumerate() {
        // bzip2, or under a password; and no data that could be either.
        (member.method, member.flags) = if i % 2 == 0 { (12, 0) } else { (0, 1) };
    }
    let bytes = archive(&packed, &End::default());
    is_the_generator("torchscript with odd code", &checkpoint::open_bytes("x.pt", bytes).unwrap());
}

#[test]
fn a_checkpoint_in_an_ordinary_zip_is_named() {
    let zip = |names: &[&str]| {
        let members: Vec<_> = names.iter().map(|name| deflated(name, b"something")).collect();
        refusal(archive(&members, &End::default()))
    };
    let one = zip(&["README.md", "release/ffhq.pt"]);
    assert!(one.contains("holds `release/ffhq.pt`, unpack it first"), "{one}");
    let many = zip(&["a.pkl", "b.safetensors", "c.PTH", "d.ckpt", "__MACOSX/a.pkl"]);
    assert!(
        many.contains("holds `a.pkl`, `b.safetensors`, `c.PTH` and 1 more, unpack it first"),
        "{many}"
    );
    let two = zip(&["a/data.pkl", "a/data/0", "b/data.pkl"]);
    assert!(two.contains("several checkpoints: `a/data.pkl`, `b/data.pkl`"), "{two}");
}

/// Numbers beyond 64 bits, as seeds are, stand as texts up to protocol 1.
#[test]
fn long_numbers_of_old_protocols_are_read() {
    let pickle = b"(dX\x04\0\0\0seedL119547037146038801333356L\nsX\x01\0\0\0aK\x07s.";
    let bytes = archive(&[Member::new("x/data.pkl", pickle)], &End::default());
    let file = checkpoint::open_bytes("x.pt", bytes).unwrap();
    assert_eq!(file.others["a"], "7");
    assert_eq!(file.others["seed"], "an integer of 24 bytes");
}

#[test]
fn clips_of_torchscript_keep_their_halves() {
    for (folder, half) in [("clip_vit", "visual.proj"), ("clip_rn", "visual.conv1.weight")] {
        let file = checkpoint::open(golden_path(folder, "model_jit_fp16.pt")).unwrap();
        assert_eq!(file.entries[half].kind(), Kind::Half, "{folder}");
        let bytes = std::fs::read(&file.path).unwrap();
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(&bytes)).unwrap();
        let packed = (0..archive.len()).filter(|&i| {
            let member = archive.by_index_raw(i).unwrap();
            member.compression() != zip::CompressionMethod::Stored
        });
        assert!(packed.count() > 1, "{folder}: was packed anew, without compression");
    }
}
