//! Latent codes and directions as other programs write them. `tests/golden/make/codes.py` made the files of `codes`;
//! those of `cases` were made beside the right images, with rosinality's class.
#![allow(clippy::unwrap_used)]

use crate::command::nada;
use crate::common::{assert_close, golden, golden_path};
use nada::checkpoint::{self, Container};
use nada::edit::linear::LinearEdit;
use nada::models::{LatentKind, StoredCodes, open_codes, open_direction, open_generator};
use nada::stylegan2::Generator;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

fn case(file: &str) -> PathBuf {
    golden_path("cases", file)
}

/// 16 px, 6 style inputs, w of 16.
fn plain() -> Generator {
    open_generator(case("plain_generator.pt"), Kind::Float, Device::Cpu).unwrap().0
}

fn array(file: &str) -> Tensor {
    checkpoint::open(case(file)).unwrap().entries["array"].tensor().unwrap()
}

fn read(file: &str) -> StoredCodes {
    asked(file, None).unwrap()
}

fn asked(file: &str, kind: Option<LatentKind>) -> nada::Result<StoredCodes> {
    open_codes(&golden_path("codes", file), kind, plain().config())
}

/// Codes of `w_plus.npy`, in this order.
fn w_plus(order: &[i64]) -> Tensor {
    array("w_plus.npy").index_select(0, &Tensor::from_slice(order))
}

/// The numbers, and as w+ [N, 6, 16] whatever space they are in.
#[track_caller]
fn holds(file: &str, kind: LatentKind, order: &[i64]) -> StoredCodes {
    let found = read(file);
    assert_eq!(found.kind, kind, "{file}");
    let want = match kind {
        LatentKind::W => w_plus(order).select(1, 0),
        _ => w_plus(order),
    };
    assert_eq!(found.codes.size(), want.size(), "{file}");
    assert!(found.codes == want, "{file}: other codes, or in another order");
    found
}

use LatentKind::{W, WPlus, Z};

#[test]
fn the_cases_make_their_images() {
    let folder = tempfile::tempdir().unwrap();
    let generator = case("plain_generator.pt").display().to_string();
    let expected = array("expected_images.npy");
    for (file, images, more, words) in [
        ("projected_w.npz", &[0][..], &[][..], ""),
        ("restyle_latents.npy", &[1, 2], &[], "2 photos: `a.jpg`, `b.jpg`"),
        ("restyle_latents.npy#b.jpg", &[2], &[], "last is taken"),
        ("w_plus_one_image.npy", &[0], &[], "taken for one w+ code"),
        ("w_plus_one_image.npy", &[0], &["--latent-kind", "w+"], ""),
        ("w_plus.npy", &[0, 1, 2], &[], ""),
        ("z.npy", &[0, 1, 2], &["--latent-kind", "z"], ""),
    ] {
        let path = case(file).display().to_string();
        let args = ["generate", "--generator", &generator, "--latents", &path];
        let args = [&args[..], more, &["--raw", "raw.safetensors", "--force"]].concat();
        let ran = nada(folder.path(), &args).done();
        let raw = checkpoint::open(folder.path().join("raw.safetensors")).unwrap();
        let want = expected.index_select(0, &Tensor::from_slice(images));
        assert_close(file, &raw.entries["images"].tensor().unwrap(), &want, 0.0, 1e-5);
        assert!(ran.stderr.contains(words), "{file}: {}", ran.stderr);
        assert!(!words.is_empty() || ran.stderr.is_empty(), "{file}: {}", ran.stderr);
    }
    // Six codes z, as they were always taken for: the word of the user counts.
    let path = case("w_plus_one_image.npy");
    let config = plain().config().clone();
    assert_eq!(open_codes(&path, Some(Z), &config).unwrap().codes.size(), [6, 16]);
    assert_eq!(open_codes(&path, Some(W), &config).unwrap().kind, W);
}

#[test]
fn every_container_of_codes_is_read() {
    holds("fortran.npy", WPlus, &[0, 1, 2]);
    holds("compressed.npz", WPlus, &[0]);
    holds("pickled.npz", WPlus, &[1, 0]);
    holds("tensors.pkl", WPlus, &[1, 0]);
    holds("protocol2.npy", WPlus, &[2, 0]);
    holds("e4e_latents.pt", WPlus, &[0, 1, 2]);
    holds("company.pt", WPlus, &[0, 1, 2]);
    let file = checkpoint::open(golden_path("codes", "compressed.npz")).unwrap();
    assert_eq!((file.container, file.entries.len()), (Container::Npz, 1));
    assert!(file.others["name"].contains("<U5") && file.others["steps"].contains("<i8"));
}

#[test]
fn projectors_and_encoders_are_read() {
    holds("projector_tf.npz", WPlus, &[0]);
    holds("one_style.npz", W, &[0]);
    holds("batches.pt", WPlus, &[0, 1, 2]);
    let found = holds("rosinality_w_plus.pt", WPlus, &[0, 1, 2]);
    assert!(found.notes[0].contains("`faces/z.png`, `faces/a.png`, `faces/10.png`"));
    assert!(found.notes[1].contains("noise maps"), "{:?}", found.notes);
    holds("rosinality_w.pt", W, &[0, 1, 2]);
    holds("rosinality_old.pt", W, &[0, 1, 2]);
    holds("rosinality_flat.pt", W, &[0]);
    // Round 10 follows round 9, and b.png stands before a.png.
    let found = holds("rounds_11.npy", WPlus, &[0, 1]);
    assert!(found.notes.concat().contains("11 rounds"), "{:?}", found.notes);
    holds("rounds_stacked.npy", WPlus, &[0, 1]);
    holds("exstyle_code.npy", WPlus, &[0, 1]);
}

#[test]
fn a_key_names_a_photo_a_tensor_or_a_number() {
    for (file, code) in [
        ("rosinality_w_plus.pt#faces/a.png", 1),
        ("rosinality_w_plus.pt#10.png", 2),
        ("rounds_11.npy#a.png", 1),
        ("rounds_11.npy#a.png/0", 2),
        ("rounds_stacked.npy#b.png", 0),
        ("pickled.npz#b.jpg", 1),
        ("e4e_latents.pt#2", 2),
    ] {
        let found = read(file);
        assert!(found.codes == w_plus(&[code]), "{file}");
    }
    let told = |file: &str| asked(file, None).unwrap_err().to_string();
    assert!(told("rounds_11.npy#c.png").contains("has no `c.png`"));
    assert!(told("e4e_latents.pt#3").contains("has no `3`"));
    assert!(told("e4e_latents.pt#x").contains("has no `x`"));
}

#[test]
fn the_name_of_a_file_tells_the_space_where_its_shape_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let styles = w_plus(&[0, 1]).select(1, 0);
    let kind = |name: &str| {
        checkpoint::save_npy(folder.path().join(name), &styles).unwrap();
        open_codes(&folder.path().join(name), None, plain().config()).unwrap()
    };
    assert_eq!((kind("codes.npy").kind, kind("view.npy").kind), (Z, Z));
    let found = kind("W.npy");
    assert_eq!(found.kind, W);
    assert!(found.notes[0].contains("after the name of the file"), "{:?}", found.notes);
    assert_eq!(kind("faces_w.npy").kind, W);
}

/// What an edit adds to one code.
fn change(key: &str, strength: f64) -> Tensor {
    let generator = plain();
    let found = open_direction(&golden_path("codes", key), None, generator.config()).unwrap();
    let edit = LinearEdit::new(found.name, found.direction, None, &generator).unwrap();
    let codes = Tensor::zeros([1, 6, 16], (Kind::Float, Device::Cpu));
    edit.apply(&codes, strength).unwrap().get(0)
}

#[test]
fn directions_of_other_programs_are_added() {
    let expected = golden("codes", "expected.safetensors");
    let everywhere = |name: &str, times: f64| (&expected[name] * times).expand([6, 16], false);
    let unit = &expected["boundary"] / expected["boundary"].norm();
    for (key, want) in [
        ("factor.pt#3", everywhere("factor", 2.0)),
        ("named.pt#face/age", everywhere("boundary", 2.0)),
        ("named.pt#smile", everywhere("boundary", 4.0)),
        ("named.pt#pose", &expected["layered"] * 2.0),
        ("named.npz#age", everywhere("boundary", 2.0)),
        ("named.npz#1", &expected["layered"] * 2.0),
        ("named_bias.pt#age", everywhere("boundary", 2.0)),
        ("named_bias.pt#pose", &expected["layered"] * 2.0),
        ("higan.npy", everywhere("boundary", 2.0)),
        ("svm.npy", (&unit * 2.0).expand([6, 16], false)),
        ("svc.pkl", (&unit * 2.0).expand([6, 16], false)),
        ("flat_bias.pt", everywhere("boundary", 2.0)),
        ("rows.npy#0", everywhere("boundary", 2.0)),
        ("ganspace_z.npz#1", everywhere("ganspace_z", 2.0)),
        ("ganspace_zero_mean.npz#1", everywhere("ganspace_z", 2.0)),
    ] {
        assert_close(key, &change(key, 2.0), &want, 1e-6, 1e-6);
    }
}

#[test]
fn what_names_no_direction_is_told() {
    let config = plain().config().clone();
    let told = |key: &str| {
        let error = open_direction(&golden_path("codes", key), None, &config).unwrap_err();
        format!("{error} {}", error.hint().unwrap_or_default())
    };
    assert!(told("named.pt").contains("`face/age`, `face/smile`, `pose`"));
    assert!(told("named.pt#beard").contains("no direction `beard`"));
    assert!(told("named.pt#beard").contains("`face/age`"));
    assert!(told("rows.npy").contains("holds 4 rows, this generator has 6 style inputs"));
    assert!(told("factor.pt#5").contains("0 to 4"));
    assert!(told("higan.npy#2").contains("is one boundary"));
    let found = open_direction(&golden_path("codes", "ganspace_z.npz#0"), None, &config).unwrap();
    assert!(found.notes[0].contains("`act_comp` fit w"), "{:?}", found.notes);
}

fn edited(folder: &Path, edit: &str) -> (Tensor, String) {
    let (generator, codes) = (case("plain_generator.pt"), case("w_plus.npy"));
    let (generator, codes) = (generator.display().to_string(), codes.display().to_string());
    let args = ["edit", "apply", "--generator", &generator, "--latents", &codes, "--edit", edit];
    let out = ["--save-codes", "out.safetensors", "--out", "sheet.png", "--force"];
    let ran = nada(folder, &[&args[..], &out].concat()).done();
    let saved = checkpoint::open(folder.join("out.safetensors")).unwrap();
    (saved.entries["w_plus"].tensor().unwrap(), ran.stderr)
}

#[test]
fn ganspaces_own_file_moves_codes_as_ganspace_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = case("ganspace_components.npz");
    let (found, told) = edited(folder.path(), &format!("{}#0=2", path.display()));
    let file = checkpoint::open(&path).unwrap();
    let [component, spreads] = ["lat_comp", "lat_stdev"].map(|n| file.entries[n].tensor().unwrap());
    let want = array("w_plus.npy") + component.get(0).get(0) * spreads.get(0) * 2.0;
    assert_close("ganspace", &found, &want, 0.0, 1e-5);
    assert!(told.is_empty(), "{told}");
    let zeros = golden_path("codes", "zeros.npy");
    let (found, told) = edited(folder.path(), &format!("{}=2", zeros.display()));
    assert!(found == array("w_plus.npy"));
    assert!(told.contains("warning: `zeros` is a direction of zeros"), "{told}");
}
