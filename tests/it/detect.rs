//! Faces and landmarks as facenet-pytorch finds them (fixture `mtcnn`).
#![allow(clippy::unwrap_used)]

use crate::common::golden_path;
use image::RgbImage;
use nada::imaging::load;
use nada::invert::{Detector, Face};
use nada::models;
use serde_json::Value;
use std::path::Path;
use tch::Device;

fn detector() -> Detector {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/mtcnn.safetensors");
    models::open_detector(&file, Device::Cpu).unwrap()
}

fn picture(name: &str) -> RgbImage {
    load::open_image(golden_path("mtcnn", name)).unwrap().to_rgb8()
}

fn wanted(name: &str) -> Vec<(Vec<f64>, f64, Vec<Vec<f64>>)> {
    let text = std::fs::read(golden_path("mtcnn", "faces.json")).unwrap();
    let faces: Value = serde_json::from_slice(&text).unwrap();
    let read = |v: &Value| serde_json::from_value(v.clone()).unwrap();
    let points = |v: &Value| serde_json::from_value(v.clone()).unwrap();
    faces[name]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (read(&f["bounds"]), f["score"].as_f64().unwrap(), points(&f["points"])))
        .collect()
}

fn near(got: &Face, want: &(Vec<f64>, f64, Vec<Vec<f64>>), pixels: f64) -> bool {
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < pixels);
    close(&got.bounds, &want.0)
        && (got.score - want.1).abs() < 1e-3
        && got.points.iter().zip(&want.2).all(|(a, b)| close(a, b))
}

#[test]
fn faces_are_found_where_facenet_pytorch_finds_them() {
    let detector = detector();
    for name in ["portrait", "group"] {
        let found = detector.detect(&picture(&format!("{name}.png"))).unwrap();
        let wanted = wanted(name);
        assert_eq!(found.len(), wanted.len(), "{name}: {found:?}");
        for want in &wanted {
            assert!(found.iter().any(|got| near(got, want, 0.01)), "{name}: {want:?} in {found:?}");
        }
        let areas: Vec<f64> = found
            .iter()
            .map(|f| (f.bounds[2] - f.bounds[0]) * (f.bounds[3] - f.bounds[1]))
            .collect();
        assert!(areas.is_sorted_by(|a, b| a >= b), "the largest first: {areas:?}");
    }
}

#[test]
fn landmarks_of_the_portrait_are_near_those_marked_by_hand() {
    // Marked at twelve times the size, under a grid: irises, tip of the nose, corners of the mouth.
    let marked = [[127.0, 62.8], [154.5, 64.5], [140.5, 79.5], [127.0, 87.5], [153.0, 88.0]];
    let face = detector().detect(&picture("portrait.png")).unwrap()[0];
    for (got, want) in face.points.iter().zip(marked) {
        let off = (got[0] - want[0]).hypot(got[1] - want[1]);
        assert!(off < 3.0, "{got:?} is {off} px from {want:?}");
    }
}

#[test]
fn pictures_without_faces_or_almost_without_pixels_have_none() {
    let detector = detector();
    for (w, h) in [(1, 1), (11, 400), (12, 12), (64, 64), (3, 2000)] {
        assert_eq!(detector.detect(&RgbImage::new(w, h)).unwrap(), [], "{w} x {h}");
    }
}

#[test]
fn a_large_picture_is_made_smaller_and_the_points_come_back_at_its_size() {
    let detector = detector();
    let portrait = picture("portrait.png");
    let large =
        image::imageops::resize(&portrait, 3200, 3200, image::imageops::FilterType::Triangle);
    let (small, large) =
        (detector.detect(&portrait).unwrap()[0], detector.detect(&large).unwrap()[0]);
    for (a, b) in small.points.iter().zip(large.points) {
        let off = (a[0] * 10.0 - b[0]).hypot(a[1] * 10.0 - b[1]);
        assert!(off < 30.0, "{a:?} and {b:?}: {off} px");
    }
}
