//! Networks under the names of other programs: the same numbers come out as in those programs.
#![allow(clippy::unwrap_used)]

use crate::common::{assert_close, golden, golden_path};
use nada::checkpoint::{self, Network};
use nada::clip::{Activation, VisionConfig};
use nada::models;
use nada::stylegan2::{LatentAvgOrigin, Noise};
use nada::torch::TensorMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn features_agree(file: &Path, program: &str) {
    let io = golden("clip_names", "io.safetensors");
    let (clip, origin) = models::open_clip(file, Kind::Float, Device::Cpu).unwrap();
    assert_eq!(origin.notes, [""; 0]);
    assert_eq!(clip.config().activation, Activation::Gelu);
    let VisionConfig::Vit(vit) = &clip.config().vision else { panic!("{:?}", clip.config()) };
    assert_eq!((vit.heads, clip.config().text.heads), (2, 2));
    let close = |what: &str, got: Tensor| {
        let name = format!("{program}.{what}");
        assert_close(&name, &got, &io[&name], 1e-4, 1e-5);
    };
    close("image", clip.encode_image(&io["images"]));
    close("text", clip.encode_text(&io["tokens"]));
}

#[test]
fn a_clip_of_transformers_gives_transformers_features() {
    features_agree(&golden_path("clip_names/hf", "model.safetensors"), "hf");
    let file = checkpoint::open(golden_path("clip_names/hf", "model.safetensors")).unwrap();
    assert_eq!(checkpoint::recognise(&file).network(), Network::Clip);
}

#[test]
fn a_clip_of_open_clip_gives_open_clips_features() {
    let file = golden_path("clip_names/open_clip", "open_clip_pytorch_model.bin");
    features_agree(&file, "open_clip");
}

#[test]
fn a_folder_as_published_stands_for_its_weights() {
    let folder = golden_path("clip_names", "hf");
    let found = nada::builtin::resolve_clip(folder.to_str().unwrap(), None).unwrap();
    assert_eq!(found, folder.join("model.safetensors"));
    let empty = tempfile::tempdir().unwrap();
    let error = nada::builtin::resolve_clip(empty.path().to_str().unwrap(), None).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("without the weights of a CLIP"), "{error}");
}

#[test]
fn without_its_configuration_a_clip_is_taken_for_openais_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    std::fs::copy(golden_path("clip_names/hf", "model.safetensors"), &file).unwrap();
    let (clip, origin) = models::open_clip(&file, Kind::Float, Device::Cpu).unwrap();
    assert_eq!(clip.config().activation, Activation::QuickGelu);
    assert!(origin.notes[0].contains("no `config.json` beside it"), "{:?}", origin.notes);
    let io = golden("clip_names", "io.safetensors");
    let off = (clip.encode_image(&io["images"]) - &io["hf.image"]).abs().max().double_value(&[]);
    assert!(off > 1e-2, "the activation should matter, the features differ by {off}");

    std::fs::write(folder.path().join("config.json"), "{").unwrap();
    let error = models::open_clip(&file, Kind::Float, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("no JSON"), "{error}");
}

#[test]
fn attention_without_its_keys_is_told() {
    let file = golden_path("clip_names/hf", "model.safetensors");
    let mut tensors: TensorMap = Tensor::read_safetensors(file).unwrap().into_iter().collect();
    let _ = tensors.remove("text_model.encoder.layers.1.self_attn.k_proj.bias").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    checkpoint::save_safetensors(&path, &tensors, &Default::default(), None).unwrap();
    let error = checkpoint::clip(&checkpoint::open(path).unwrap()).unwrap_err().to_string();
    assert!(error.contains("transformer.resblocks.1.attn.in_proj_bias"), "{error}");
}

/// The decoder of an encoder's file makes the image that its program made of the same codes.
fn decoder_agrees(folder: &str, codes: &str, image: &str) {
    let path = golden_path(folder, "checkpoint.pt");
    let file = checkpoint::open(&path).unwrap();
    let contents = checkpoint::recognise(&file);
    let parts: Vec<_> = contents.parts.iter().map(|p| (p.name.as_str(), &p.network)).collect();
    assert_eq!(
        parts,
        [("state_dict/decoder", &Network::Generator), ("state_dict/encoder", &Network::Encoder)]
    );
    let (generator, _) = models::open_generator(&path, Kind::Float, Device::Cpu).unwrap();
    assert_eq!(generator.latent_avg_origin(), LatentAvgOrigin::Stored);
    let stored = file.entries["latent_avg"].tensor().unwrap();
    assert_eq!(generator.latent_avg(), &stored.view([-1, 8]).get(0));
    let io = golden(folder, "io.safetensors");
    let want = &io[image];
    let codes = io[codes].narrow(0, 0, want.size()[0]);
    let made = generator.synthesis().forward(&codes, Noise::Stored);
    assert_close(folder, &made, want, 2e-4, 5e-5);
}

#[test]
fn the_decoder_in_a_restyle_file_is_a_generator() {
    decoder_agrees("restyle_psp", "codes.iter0", "image.iter0");
}

#[test]
fn the_decoder_in_an_e4e_file_is_a_generator() {
    decoder_agrees("e4e_encoder4editing", "codes", "image");
}

#[test]
fn a_tar_archive_of_the_first_torch_is_read() {
    let file = checkpoint::open(golden_path("torch_tar", "part.pt")).unwrap();
    assert_eq!(file.container, checkpoint::Container::TorchTar);
    let whole = checkpoint::open(golden_path("generator32", "generator.pt")).unwrap();
    let read = |name: &str| file.entries[name].tensor().unwrap();
    let mut seen = 0;
    for name in file.entries.keys().filter(|name| !["turned", "part"].contains(&name.as_str())) {
        assert_eq!(read(name), whole.entries[name].tensor().unwrap(), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 6);
    assert_eq!(read("turned"), read("g_ema/style.1.weight").transpose(0, 1));
    assert_eq!(read("part"), read("latent_avg").narrow(0, 2, 3));

    let bytes = std::fs::read(golden_path("torch_tar", "part.pt")).unwrap();
    for part in 0..128 {
        // Its last blocks are zeros, which a tar may lack.
        let cut = bytes[..bytes.len() * part / 128].to_vec();
        let opened = checkpoint::open_bytes("cut.pt", cut);
        assert!(opened.is_err() || part > 60, "{part} of 128 was opened");
    }
    let mut damaged = bytes;
    damaged[0] = b'S';
    let error = checkpoint::open_bytes("x.pt", damaged).unwrap_err().to_string();
    assert!(error.contains("is a tar archive that is broken"), "{error}");
    let mut bundle = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    bundle.append_data(&mut header, "models/a.pt", &b"abc"[..]).unwrap();
    let bundle = bundle.into_inner().unwrap();
    let error = checkpoint::open_bytes("x.pt", bundle).unwrap_err().to_string();
    assert!(error.contains("torch did not write: it has no `pickle`"), "{error}");
}
