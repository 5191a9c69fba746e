//! What a person looks at: photos in, pictures and plots out.
//!
//! - [`load`]: image files from anywhere, with limits and clear refusals
//! - [`grid`]: rows of images with captions (`before_after.png`, `samples/`)
//! - [`plot`]: curves over the steps (`loss.png`)
//! - [`bars`]: histograms, shares, and pictures put together (`evaluation/sheet.png`)
//! - [`heatmap`]: which layers trained when (`layers.png`)
//! - [`save`]: PNG with text inside, animated GIF and PNG; [`video`]: MP4 by ffmpeg
//!
//! Tensors are `[N, 3, H, W]` in [-1, 1]; pictures are [`image::RgbImage`], 8 bit sRGB.

mod axis;
pub mod bars;
mod canvas;
mod caption;
mod foreign;
pub mod grid;
pub mod heatmap;
pub mod load;
pub mod pil;
pub mod plot;
pub mod save;
pub mod video;

use crate::error::{Error, Result};
use image::RgbImage;
use tch::{Device, Kind, Tensor};

/// Pictures of a batch of images.
///
/// `images`: `[N, 3, H, W]`, any float kind, any device. Values are clamped to [-1, 1] and mapped to 0..=255, halves
/// rounded up; what is not a number becomes black.
///
/// # Errors
/// [`Error::Torch`] when the shape is another.
pub fn to_rgb8(images: &Tensor) -> Result<Vec<RgbImage>> {
    let doing = "turning images into pixels";
    let &[n, 3, h, w] = images.size().as_slice() else {
        return Err(Error::Torch {
            doing: doing.into(),
            message: format!("expected [N, 3, H, W], got {:?}", images.size()),
        });
    };
    let pixels = crate::torch::catch(doing, || {
        Ok(images
            .detach()
            .to_kind(Kind::Float)
            .nan_to_num(-1.0, 1.0, -1.0)
            .clamp(-1.0, 1.0)
            .permute([0, 2, 3, 1])
            .g_add_scalar(1.0)
            .g_mul_scalar(127.5)
            .g_add_scalar(0.5)
            .floor()
            .to_kind(Kind::Uint8)
            .to_device(Device::Cpu)
            .contiguous())
    })?;
    let mut pictures = Vec::new();
    for i in 0..n {
        let mut bytes = vec![0u8; (h * w * 3) as usize];
        let count = bytes.len();
        pixels.get(i).copy_data_u8(&mut bytes, count);
        pictures.push(
            RgbImage::from_raw(w as u32, h as u32, bytes).expect("h * w * 3 bytes, as asked"),
        );
    }
    Ok(pictures)
}

/// A picture as a tensor `[1, 3, H, W]`, float32 on the CPU, in [-1, 1].
pub fn from_rgb8(picture: &RgbImage) -> Tensor {
    let (w, h) = picture.dimensions();
    Tensor::from_slice(picture.as_raw())
        .view([1, i64::from(h), i64::from(w), 3])
        .permute([0, 3, 1, 2])
        .to_kind(Kind::Float)
        .g_div_scalar(127.5)
        .g_sub_scalar(1.0)
        .contiguous()
}
