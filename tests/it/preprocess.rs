//! Differentiable preprocessing against torchvision's tensor path.

use crate::common::{assert_close, assert_grad_close, golden};
use nada::clip::{Preprocess, Resize};
use tch::{Device, Kind, Tensor};

const KINDS: [(&str, Resize); 2] = [("aa", Resize::Antialias), ("noaa", Resize::Legacy)];

fn preprocess(images: &Tensor, resolution: i64, resize: Resize) -> Tensor {
    Preprocess::new(resolution, resize).apply(images)
}

#[test]
fn images_of_every_size_and_shape_match_torchvision() {
    let io = golden("preprocess", "io.safetensors");
    for (name, image) in io.iter().filter(|(name, _)| name.starts_with("image.")) {
        let size = &name["image.".len()..];
        for (kind, resize) in KINDS {
            let got = preprocess(image, 32, resize);
            if let Some(want) = io.get(&format!("out32.{size}.{kind}")) {
                assert_close(&format!("{size} {kind} 32"), &got, want, 1e-5, 2e-5);
            }
            let Some(want) = io.get(&format!("out224.{size}.{kind}.sub7")) else { continue };
            let got = preprocess(image, 224, resize);
            let sub = got.slice(2, 3, None, 7).slice(3, 3, None, 7);
            assert_close(&format!("{size} {kind} 224"), &sub, want, 1e-5, 2e-5);
            let got = preprocess(&image.to_kind(Kind::Double), 224, resize);
            let summary = Tensor::stack(&[got.mean(None), got.std(false)], 0);
            let want = &io[&format!("out224.{size}.{kind}.meanstd.f64")];
            assert_close(&format!("{size} {kind} 224 mean, std"), &summary, want, 1e-9, 1e-10);
        }
    }
}

#[test]
fn in_float64_pixels_and_gradients_match_to_nine_digits() {
    let io = golden("preprocess", "io.safetensors");
    for (kind, resize) in KINDS {
        for (element, suffix, rtol) in [(Kind::Float, "", 2e-5), (Kind::Double, ".f64", 1e-9)] {
            let image = io["image.64"].to_kind(element).set_requires_grad(true);
            let got = preprocess(&image, 32, resize);
            let want = &io[&format!("out32.64.{kind}{suffix}")];
            assert_close(&format!("64 {kind}"), &got, want, rtol, rtol / 10.0);
            let probe = io["probe.64"].to_kind(element);
            let grads = Tensor::run_backward(&[(got * probe).sum(None)], &[&image], false, false);
            assert_grad_close(kind, &grads[0], &io[&format!("grad.64.{kind}")], 1e-5);
        }
    }
}

/// libtorch's own operators, where they exist, are the slow twin.
#[test]
fn equals_the_operators_of_libtorch_in_value_and_gradient() {
    for (height, width, resolution) in [(7, 9, 32), (64, 64, 17), (130, 97, 24), (31, 200, 31)] {
        let elements = 3 * height * width;
        let image = (Tensor::arange(elements, (Kind::Double, Device::Cpu)) * 0.7).sin();
        let image = image.view([1, 3, height, width]).set_requires_grad(true);
        let short: i64 = height.min(width);
        let size = [resolution * height / short, resolution * width / short];
        for (kind, resize) in KINDS {
            let resized = match resize {
                _ if size == [height, width] => image.shallow_clone(),
                Resize::Antialias => image.internal_upsample_bicubic2d_aa(size, false, None, None),
                Resize::Legacy => image.upsample_bicubic2d(size, false, None, None),
            };
            let from = size.map(|s| ((s - resolution) as f64 / 2.0).round_ties_even() as i64);
            let crop = resized.narrow(2, from[0], resolution).narrow(3, from[1], resolution);
            let channel = |values: [f64; 3]| Tensor::from_slice(&values).view([3, 1, 1]);
            let want = ((crop + 1.0) / 2.0 - channel(nada::clip::preprocess::MEAN))
                / channel(nada::clip::preprocess::STD);
            let got = preprocess(&image, resolution, resize);
            let name = format!("{height} x {width} to {resolution} {kind}");
            assert_close(&name, &got, &want, 1e-9, 1e-10);
            let grad = |out: &Tensor| {
                let loss = (out * out.detach().sin()).sum(None);
                Tensor::run_backward(&[loss], &[&image], false, false).remove(0)
            };
            assert_grad_close(&name, &grad(&got), &grad(&want), 1e-9);
        }
    }
}

#[test]
fn a_fitting_image_is_only_normalised() {
    let image = golden("preprocess", "io.safetensors").remove("image.32").unwrap();
    let [antialias, legacy] = KINDS.map(|(_, resize)| preprocess(&image, 32, resize));
    assert!(antialias.equal(&legacy));
}
