//! CLIP's preprocessing of files against Pillow.

use crate::common::{assert_close, golden, golden_path};
use nada::imaging::pil::clip_transform;
use tch::{Kind, Tensor};

const PHOTOS: [&str; 4] =
    ["photo256.png", "photo_wide.png", "photo_small_rgba.png", "photo_gray.png"];

/// `[3, n, n]` with CLIP's normalisation.
fn preprocessed(photo: &str, n: u32) -> Tensor {
    let image = image::open(golden_path("preprocess", photo)).unwrap();
    let values = clip_transform(&image, n).unwrap();
    let x = Tensor::from_slice(values.as_slice().unwrap()).view([3, i64::from(n), i64::from(n)]);
    let mean = Tensor::from_slice(&[0.48145466f32, 0.4578275, 0.40821073]).view([3, 1, 1]);
    let std = Tensor::from_slice(&[0.26862954f32, 0.261_302_6, 0.275_777_1]).view([3, 1, 1]);
    (x - mean) / std
}

#[test]
fn files_are_resized_as_pillow_does_it_to_the_last_bit() {
    let want = golden("preprocess", "io.safetensors");
    for photo in PHOTOS {
        let small = preprocessed(photo, 32);
        assert_close(photo, &small, &want[&format!("pil32.{photo}")], 0.0, 1e-6);

        let large = preprocessed(photo, 224);
        let sub7 = large.slice(1, 3, None, 7).slice(2, 3, None, 7);
        assert_close(photo, &sub7, &want[&format!("pil224.{photo}.sub7")], 0.0, 1e-6);
        let large = large.to_kind(Kind::Double);
        let moments = Tensor::stack(&[large.mean(None), large.std(false)], 0);
        assert_close(photo, &moments, &want[&format!("pil224.{photo}.meanstd.f64")], 1e-6, 1e-6);
    }
}
