//! Faces cut out as the original does (golden `align`).
#![allow(clippy::unwrap_used)]

use crate::common::{assert_close, golden, golden_path};
use image::RgbImage;
use nada::imaging::load;
use nada::invert::align::{Frame, Landmarks, Point, Quad, align, frame};
use tch::{Kind, Tensor};

fn picture(folder: &str, file: &str) -> RgbImage {
    load::open_image(golden_path(folder, file)).unwrap().to_rgb8()
}

fn cases() -> Vec<(Landmarks, u32, u32)> {
    let text = std::fs::read(golden_path("align", "cases.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let number = |case: &serde_json::Value, key: &str| case[key].as_u64().unwrap() as u32;
    cases
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let points: Vec<Point> = serde_json::from_value(case["landmarks68"].clone()).unwrap();
            let face = Landmarks::from_points(&points).unwrap();
            (face, number(case, "output_size"), number(case, "transform_size"))
        })
        .collect()
}

fn tensor(corners: &[Point]) -> Tensor {
    Tensor::from_slice(&corners.concat()).view([-1, 2])
}

/// The largest difference of a grey level, and the share of levels that differ by more than one.
fn difference(got: &RgbImage, want: &RgbImage) -> (u8, f64) {
    assert_eq!(got.dimensions(), want.dimensions());
    let differences: Vec<u8> =
        got.as_raw().iter().zip(want.as_raw()).map(|(a, b)| a.abs_diff(*b)).collect();
    let beyond = differences.iter().filter(|&&d| d > 1).count();
    (*differences.iter().max().unwrap(), beyond as f64 / differences.len() as f64)
}

#[test]
fn squares_are_the_originals() {
    let want = golden("align", "quads.safetensors");
    let photo = picture("preprocess", "photo256.png");
    for (i, (face, side, _)) in cases().into_iter().enumerate() {
        let row = |name: &str| want[name].get(i as i64).to_kind(Kind::Double);
        assert_close("quad", &tensor(&face.quad().corners), &row("quad"), 1e-9, 1e-9);
        let framed = frame(&photo, face.quad(), side).unwrap();
        assert_close("final", &tensor(&framed.quad.corners), &row("quad_final"), 1e-9, 1e-9);
    }
}

#[test]
fn crops_are_the_originals() {
    let photo = picture("preprocess", "photo256.png");
    for (i, (face, side, transform)) in cases().into_iter().enumerate() {
        let got = align(&photo, face.quad(), side, transform).unwrap();
        let (most, beyond) = difference(&got, &picture("align", &format!("case{i}.png")));
        assert!(most <= 2 && beyond < 1e-3, "case {i}: up to {most}, {beyond} beyond 1");
    }
    let (face, side, _) = cases()[3];
    let padded = frame(&photo, face.quad(), side).unwrap().picture;
    let (most, beyond) = difference(&padded, &picture("align", "case3_padded.png"));
    assert!(most <= 1, "padded: up to {most}, {beyond} beyond 1");
}

#[test]
fn points_that_make_no_face_are_refused() {
    let photo = picture("preprocess", "photo256.png");
    let face = |points: [Point; 5]| Landmarks::from_points(&points).unwrap();
    for points in [
        [[50.0, 50.0]; 5],
        [[f64::NAN, 1.0]; 5],
        [[900.0, 900.0], [940.0, 900.0], [920.0, 920.0], [905.0, 940.0], [935.0, 940.0]],
        [[-9e9, 0.0], [9e9, 0.0], [0.0, 5.0], [-5.0, 9.0], [5.0, 9.0]],
    ] {
        let error = align(&photo, face(points).quad(), 64, 64).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains("make no face"), "{error}");
    }
    assert!(Landmarks::from_points(&[[0.0, 0.0]; 4]).is_none());
}

#[test]
fn any_square_that_touches_the_picture_is_cut_without_a_panic() {
    let photo =
        image::imageops::crop_imm(&picture("preprocess", "photo256.png"), 0, 0, 9, 5).to_image();
    for scale in [1.0, 3.0, 40.0] {
        for shift in [-30.0, 0.0, 4.0] {
            let at = |x: f64, y: f64| [x * scale + shift, y * scale + shift];
            let points = [at(0.0, 0.0), at(2.0, 0.2), at(1.0, 1.0), at(0.2, 2.0), at(1.8, 2.1)];
            let face = Landmarks::from_points(&points).unwrap();
            if let Ok(cut) = align(&photo, face.quad(), 16, 32) {
                assert_eq!(cut.dimensions(), (16, 16));
            }
        }
    }
}

#[test]
fn a_face_is_cut_as_the_pictures_of_another_frame_show_it() {
    let points = [[40.0, 40.0], [60.0, 42.0], [50.0, 50.0], [43.0, 62.0], [57.0, 63.0]];
    let quad = Landmarks::from_points(&points).unwrap().quad();
    assert_eq!(quad.within(&Frame::FFHQ).corners, quad.corners);
    // FFHQ's square is to be half as large as the picture, its centre at 0.25, 0.75.
    let frame: Frame = "0.25 0.75 0.5".parse().unwrap();
    let wide = quad.within(&frame);
    assert!((wide.size - 2.0 * quad.size).abs() < 1e-9);
    let at = |q: &Quad, u: f64, v: f64| {
        let [nw, sw, _, ne] = q.corners;
        [0, 1].map(|i| nw[i] + u * (ne[i] - nw[i]) + v * (sw[i] - nw[i]))
    };
    for (a, b) in at(&wide, 0.25, 0.75).into_iter().zip(at(&quad, 0.5, 0.5)) {
        assert!((a - b).abs() < 1e-9);
    }
    for (a, b) in at(&wide, 0.0, 0.5).into_iter().zip(quad.corners[0]) {
        assert!((a - b).abs() < 1e-9);
    }
    for wrong in ["", "0.5 0.5", "0.5 0.5 0", "nan 0 1", "1 2 3 x"] {
        assert!(wrong.parse::<Frame>().is_err() == (wrong != "1 2 3 x"), "{wrong}");
    }
}
