//! `nada convert`: every number survives every chain of containers, and nothing is replaced unasked.

use crate::command::{command, listing, nada};
use crate::common::{golden, golden_path};
use nada::checkpoint::{self, Container, save_safetensors};
use nada::models::{self, GeneratorFiles};
use nada::stylegan2::LatentAvgOrigin;
use nada::torch::TensorMap;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The tensors of a file by canonical name, as stored.
fn read(path: &Path) -> TensorMap {
    models::read_generator(&GeneratorFiles::from(path), None).unwrap().tensors
}

/// Fails unless both have the same tensors, bit for bit.
#[track_caller]
pub(crate) fn assert_same(a: &TensorMap, b: &TensorMap) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, tensor) in a {
        let bits = |t: &Tensor| t.contiguous().view(-1).view_dtype(Kind::Uint8);
        assert_eq!(tensor.kind(), b[name].kind(), "{name}");
        assert_eq!(tensor.size(), b[name].size(), "{name}");
        assert!(bits(tensor).equal(&bits(&b[name])), "{name}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_chain_of_containers_keeps_every_bit() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let golden = golden_path("generator32", "generator.pt");
    let convert = |from: &Path, to: &str| {
        let ran = nada(folder.path(), &["convert", text(from), to]).done();
        assert_eq!(ran.stdout, format!("{to}\n"));
    };
    convert(&golden, "a.safetensors");
    convert(&at("a.safetensors"), "b.pt");
    convert(&at("b.pt"), "c.safetensors");
    convert(&golden, "d.pt");
    let bytes = |name: &str| std::fs::read(at(name)).unwrap();
    assert!(bytes("a.safetensors") == bytes("c.safetensors"), "the chain changed something");
    assert!(bytes("b.pt") == bytes("d.pt"), "equal tensors must give equal bytes");

    // The golden was written by torch from rosinality's own modules: names, shapes and numbers.
    let entries = |path: &Path| {
        let file = checkpoint::open(path).unwrap();
        assert_eq!(file.container, Container::TorchZip);
        file.entries.iter().map(|(n, e)| (n.clone(), e.tensor().unwrap())).collect::<TensorMap>()
    };
    let (ours, theirs) = (entries(&at("b.pt")), entries(&golden));
    assert!(ours.contains_key("latent_avg") && ours.contains_key("g_ema/noises.noise_6"));
    assert!(ours.contains_key("g_ema/convs.0.conv.blur.kernel"));
    assert_same(&ours, &theirs);
}

#[test]
fn half_precision_is_rounded_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let golden = golden_path("generator32", "generator.safetensors");
    for (from, to) in [(text(&golden), "h.pt"), ("h.pt", "h.safetensors")] {
        nada(folder.path(), &["convert", from, to, "--dtype", "f16"]).done();
    }
    nada(folder.path(), &["convert", "h.pt", "f.safetensors", "--dtype", "f32"]).done();
    let expected: TensorMap = read(&at("f.safetensors"));
    for (name, tensor) in read(&golden).iter().filter(|(name, _)| !name.ends_with(".kernel")) {
        let rounded = tensor.to_kind(Kind::Half).to_kind(Kind::Float);
        assert!(rounded.equal(&expected[name]), "{name}");
    }
    let halves = read(&at("h.safetensors"));
    assert!(halves.values().all(|tensor| tensor.kind() == Kind::Half));
    assert_same(&halves, &rosinality(&read(&at("h.pt"))));
}

/// Without what only rosinality's files hold.
fn rosinality(tensors: &TensorMap) -> TensorMap {
    let kept = tensors.iter().filter(|(name, _)| !name.ends_with(".kernel"));
    kept.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
}

#[test]
fn what_a_file_lacks_is_added_for_rosinality_and_nothing_is_made_up() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let whole = golden("generator32", "generator.safetensors");
    let mut bare = rosinality(&whole);
    bare.retain(|name, _| !name.starts_with("noises.") && name != "latent_avg");
    let about = BTreeMap::from([("conv_clamp", "256"), ("target", "a \"naïve\"\nsketch")]);
    let about: BTreeMap<String, String> =
        about.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    save_safetensors(at("bare.safetensors"), &bare, &about, None).unwrap();

    let ran = nada(folder.path(), &["convert", "bare.safetensors", "bare.pt"]).done();
    assert!(ran.stderr.contains("added 7 noise maps"), "{}", ran.stderr);
    assert!(ran.stderr.contains("has no `latent_avg`, and gets none"), "{}", ran.stderr);
    let file = checkpoint::open(at("bare.pt")).unwrap();
    let names: Vec<&String> = file.entries.keys().collect();
    let golden_file = checkpoint::open(golden_path("generator32", "generator.pt")).unwrap();
    let expected: Vec<&String> =
        golden_file.entries.keys().filter(|name| *name != "latent_avg").collect();
    assert_eq!(names, expected);
    for name in expected {
        assert_eq!(file.entries[name].shape(), golden_file.entries[name].shape(), "{name}");
    }
    // The noise that is added is the noise that images were made with before.
    let open = |name: &str| models::open_generator(at(name), Kind::Float, Device::Cpu).unwrap().0;
    let (before, after) = (open("bare.safetensors"), open("bare.pt"));
    assert_same(&before.tensors(), &after.tensors());
    assert_eq!(after.latent_avg_origin(), LatentAvgOrigin::Estimated);

    nada(folder.path(), &["convert", "bare.pt", "again.safetensors"]).done();
    assert_eq!(checkpoint::open(at("again.safetensors")).unwrap().metadata, about);
    let asked = ["convert", "bare.pt", "average.pt", "--estimate-latent-avg"];
    nada(folder.path(), &asked).done();
    assert!(read(&at("average.pt"))["latent_avg"].equal(before.latent_avg()));
}

#[test]
fn the_container_is_laid_out_as_torch_does() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_path("generator32", "generator.safetensors");
    nada(folder.path(), &["convert", text(&golden), "a.pt"]).done();
    let file = std::fs::File::open(folder.path().join("a.pt")).unwrap();
    let mut zip = zip::ZipArchive::new(file).unwrap();
    let mut storages = 0;
    for i in 0..zip.len() {
        let mut member = zip.by_index(i).unwrap();
        let name = member.name().unwrap().into_owned();
        assert_eq!(member.compression(), zip::CompressionMethod::Stored, "{name}");
        if name.contains("/data/") {
            assert_eq!(member.data_start().unwrap() % 64, 0, "{name}");
            storages += 1;
        }
        // Compares the checksum, too.
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut member, &mut bytes).unwrap();
        match name.as_str() {
            "archive/version" => assert_eq!(bytes, b"3\n"),
            "archive/byteorder" => assert_eq!(bytes, b"little"),
            _ => {}
        }
    }
    assert_eq!(storages, read(&folder.path().join("a.pt")).len());
}

#[test]
fn a_clip_gets_openais_names_and_its_whole_token_table() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let script = golden_path("clip_vit", "model_jit_fp16.pt");
    nada(folder.path(), &["convert", text(&script), "vit.safetensors"]).done();
    let (ours, _) = models::read_clip(&at("vit.safetensors")).unwrap();
    assert_same(&ours, &models::read_clip(&script).unwrap().0);
    let names: Vec<String> =
        checkpoint::open(at("vit.safetensors")).unwrap().entries.into_keys().collect();
    let whole = checkpoint::open(golden_path("clip_vit", "model.safetensors")).unwrap();
    assert_eq!(names, whole.entries.into_keys().collect::<Vec<_>>());

    nada(folder.path(), &["convert", "clip-rn", "rn.safetensors"]).done();
    let file = checkpoint::open(at("rn.safetensors")).unwrap();
    assert_eq!(file.entries["token_embedding.weight"].shape()[0], 49408);
    assert!(!file.entries.contains_key("token_embedding.rows"));
    let (clip, _) = models::open_clip(&at("rn.safetensors"), Kind::Float, Device::Cpu).unwrap();
    assert!(clip.vocabulary().is_some(), "the words it has read were lost");
    let ran = nada(folder.path(), &["convert", "clip-rn", "rn.pt"]);
    ran.refused(2, &["is a CLIP model", "safetensors only"]);
}

#[test]
fn a_published_clip_takes_its_configuration_along() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (golden_path("clip_names", "hf"), folder.path().join("own.safetensors"));
    let ran = nada(folder.path(), &["convert", text(&from), "own.safetensors"]).done();
    assert_eq!(ran.stderr, "");
    let open = |path: &Path| models::open_clip(path, Kind::Float, Device::Cpu).unwrap().0;
    let (before, after) = (open(&from.join("model.safetensors")), open(&to));
    assert_eq!(before.config(), after.config());
    let images = &golden("clip_names", "io.safetensors")["images"];
    assert!(before.encode_image(images).equal(&after.encode_image(images)));
}

#[test]
fn the_generator_in_an_encoders_file_becomes_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let from = golden_path("psp_gradual", "checkpoint.pt");
    for (from, to) in
        [(text(&from), "a.safetensors"), ("a.safetensors", "b.pt"), ("b.pt", "c.safetensors")]
    {
        nada(folder.path(), &["convert", from, to]).done();
    }
    let whole = rosinality(&read(&from));
    assert_same(&whole, &read(&folder.path().join("a.safetensors")));
    assert_same(&whole, &read(&folder.path().join("c.safetensors")));
}

#[test]
fn nvidias_pickles_survive_the_chain_with_what_no_tensor_tells() {
    for file in ["ada_2_layers.pkl", "sg3_clamp.pkl", "tensorflow.pkl"] {
        let folder = tempfile::tempdir().unwrap();
        let from = golden_path("nvidia", file);
        for (from, to) in
            [(text(&from), "a.safetensors"), ("a.safetensors", "b.pt"), ("b.pt", "c.safetensors")]
        {
            nada(folder.path(), &["convert", from, to]).done();
        }
        let last = folder.path().join("c.safetensors");
        assert_same(&rosinality(&read(&from)), &read(&last));
        let config =
            |path: &Path| models::read_generator(&GeneratorFiles::from(path), None).unwrap().config;
        assert_eq!(config(&from), config(&last), "{file}");
    }
    let folder = tempfile::tempdir().unwrap();
    let classes = golden_path("nvidia", "ada_classes.pkl");
    nada(folder.path(), &["convert", text(&classes), "c.safetensors"]).done();
    assert_same(&rosinality(&read(&classes)), &read(&folder.path().join("c.safetensors")));
    let ran = nada(folder.path(), &["convert", text(&classes), "c.pt"]).done();
    assert!(ran.stderr.contains("rosinality's code knows no classes"), "{}", ran.stderr);
    let estimated = ["convert", text(&classes), "d.safetensors", "--estimate-latent-avg"];
    let has = read(&classes).contains_key("latent_avg");
    assert_eq!(nada(folder.path(), &estimated).code, if has { 0 } else { 2 });
}

#[test]
fn refusals_name_the_remedy_and_leave_everything_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_path("generator32", "generator.safetensors");
    std::fs::write(folder.path().join("there.pt"), "mine").unwrap();
    let convert =
        |args: &[&str]| nada(folder.path(), &[&["convert", text(&golden)], args].concat());
    convert(&["there.pt"]).refused(2, &["`there.pt` exists already", "--force"]);
    assert_eq!(std::fs::read(folder.path().join("there.pt")).unwrap(), b"mine");
    convert(&["x.onnx"]).refused(2, &["how it is to be packed", "nada export"]);
    nada(folder.path(), &["convert", "nowhere.pt", "x.pt"]).refused(2, &["`nowhere.pt`"]);
    nada(folder.path(), &["convert", "there.pt", "x.safetensors"]).refused(1, &["there.pt"]);

    // A filter that is not StyleGAN2's own is kept.
    let mut odd = golden_tensors();
    odd.insert(
        "to_rgbs.0.upsample.kernel".into(),
        Tensor::ones([4, 4], (Kind::Float, Device::Cpu)),
    );
    save_safetensors(folder.path().join("odd.safetensors"), &odd, &BTreeMap::new(), None).unwrap();
    for name in ["x.pt", "x.safetensors"] {
        nada(folder.path(), &["convert", "odd.safetensors", name]).done();
        let filter = &read(&folder.path().join(name))["to_rgbs.0.upsample.kernel"];
        assert!(filter.equal(&odd["to_rgbs.0.upsample.kernel"]), "{name}");
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    nada(folder.path(), &["convert", "odd.safetensors", "odd.safetensors", "--force"])
        .refused(2, &["is what would be read"]);
    assert_eq!(listing(folder.path()).len(), 2, "{:?}", listing(folder.path()));

    convert(&["there.pt", "--force"]).done();
    assert!(read(&folder.path().join("there.pt")).contains_key("latent_avg"));
    convert(&["noending", "--format", "pt"]).done();
    assert!(folder.path().join("noending").is_file());
}

fn golden_tensors() -> TensorMap {
    golden("generator32", "generator.safetensors")
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_half_written() {
    use std::process::Command;
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_path("generator32", "generator.safetensors");
    let nada = command(folder.path(), &[]);
    for out in ["x.pt", "x.safetensors"] {
        // A limit of 16 KiB on the size of files stands for a full disk; the signal is ignored as nohup does it.
        let script = "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\"";
        let output = Command::new("sh")
            .args(["-c", script, text(Path::new(nada.get_program()))])
            .args(["convert", text(&golden), out])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("cannot write `{out}`")), "{said}");
        assert!(said.contains("bytes are needed"), "{said}");
        assert_eq!(listing(folder.path()), [] as [std::path::PathBuf; 0]);
    }
}
