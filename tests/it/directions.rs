//! Editing directions of other programs are read by what they hold.
#![allow(clippy::unwrap_used)]

use crate::common::{assert_close, golden, golden_path};
use nada::checkpoint;
use nada::models::{Directions, open_directions};
use nada::torch::TensorMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

fn open(folder: &str, file: &str) -> Directions {
    open_directions(&golden_path(folder, file)).unwrap()
}

#[test]
fn boundaries_of_interfacegan_are_read_from_both_formats() {
    let Directions::Boundary(npy) = open("directions", "interfacegan.npy") else { panic!() };
    let Directions::Boundary(pt) = open("directions", "interfacegan.pt") else { panic!() };
    assert_eq!((npy.size(), &npy), (vec![1, 16], &pt));
    assert_close("length", &npy.norm(), &Tensor::from(1.0), 1e-6, 0.0);
    let Directions::Boundary(pose) = open("directions", "pose.pt") else { panic!() };
    assert_eq!(pose.size(), [8, 16]);
    assert_eq!(pose.double_value(&[7, 15]), 127.0);
}

#[test]
fn components_of_ganspace_are_read_in_both_shapes() {
    let read = |file| match open("directions", file) {
        Directions::Components { mean, components, deviations } => (mean, components, deviations),
        other => panic!("{other:?}"),
    };
    let (a, b) = (read("ganspace.pt"), read("ganspace_hub.pt"));
    assert_eq!((a.0.size(), a.1.size(), a.2.size()), (vec![16], vec![5, 16], vec![5]));
    assert_eq!(a, b);
}

#[test]
fn styleclips_tables_are_read() {
    let want = golden("styleclip", "global.safetensors");
    let Directions::Statistics { means, deviations } = open("styleclip", "S_mean_std") else {
        panic!()
    };
    assert_eq!(means.len(), deviations.len());
    let joined = Tensor::cat(&deviations, 0);
    assert!(joined.min().double_value(&[]) >= 0.0, "spreads are not negative");
    let Directions::Responses(fs3) = open("styleclip", "fs3.npy") else { panic!() };
    assert_eq!(&fs3, &want["fs3"]);
}

#[test]
fn what_holds_no_directions_is_told() {
    let told = |path: &Path| open_directions(path).unwrap_err().to_string();
    let generator = golden_path("generator32", "generator.pt");
    assert!(told(&generator).contains("holds no editing directions"));
    let folder = tempfile::tempdir().unwrap();
    let saved = |tensors: TensorMap| {
        let path = folder.path().join("x.safetensors");
        checkpoint::save_safetensors(&path, &tensors, &Default::default(), None).unwrap();
        told(&path)
    };
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let pca = |components: &[i64]| {
        TensorMap::from([
            ("mean".into(), zeros(&[1, 16])),
            ("comp".into(), zeros(components)),
            ("std".into(), zeros(&[5])),
        ])
    };
    assert!(saved(pca(&[5, 17])).contains("fit neither"));
    let nan = TensorMap::from([("x".into(), zeros(&[1, 4]) / 0.0)]);
    assert!(saved(nan).contains("not finite"));
}
