//! What a person looks at: photos in, pictures and plots out.
//!
//! - [`load`]: image files from anywhere, with limits and clear refusals
//! - [`grid`]: rows of images with captions (`before_after.png`, `samples/`)
//! - [`plot`]: curves over the steps (`loss.png`)
//! - [`bars`]: histograms, shares, and pictures put together (`evaluation/sheet.png`)
//! - [`heatmap`]: which layers trained when (`layers.png`)
//! - [`save`]: PNG with text inside, animated GIF and PNG; [`video`]: MP4 by ffmpeg
//!
//! Tensors are `[N, 3, H, W]` in [-1, 1], of some generators `[N, 1, H, W]` or `[N, 4, H, W]` ([`colours()`]); pictures
//! are [`image::RgbImage`], 8 bit sRGB.

mod axis;
pub mod bars;
mod canvas;
mod caption;
mod colours;
mod foreign;
pub mod grid;
pub mod heatmap;
pub mod load;
pub mod pil;
pub mod plot;
pub mod save;
pub mod video;

pub use colours::colours;

use crate::error::{Error, Result};
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use tch::{Device, Kind, Tensor};

/// Pictures of a batch of images, in three colours: see [`colours()`] for images of 1 or 4 channels.
///
/// `images`: `[N, C, H, W]`, any float kind, any device. Values are clamped to [-1, 1] and mapped to 0..=255, halves
/// rounded up; what is not a number becomes black.
///
/// # Errors
/// [`Error::Torch`] when the shape is another.
pub fn to_rgb8(images: &Tensor) -> Result<Vec<RgbImage>> {
    let three = match images.size().as_slice() {
        [_, 1 | 4, _, _] => crate::torch::catch(PIXELS, || Ok(colours(images)))?,
        _ => images.shallow_clone(),
    };
    let (pictures, [_, h, w]) = pixels(&three, &[3])?;
    let picture =
        |bytes| RgbImage::from_raw(w as u32, h as u32, bytes).expect("h * w * 3 bytes, as asked");
    Ok(pictures.into_iter().map(picture).collect())
}

/// As [`to_rgb8`], each picture in the channels that it has: grey, colours, or colours with an opacity.
///
/// # Errors
/// As [`to_rgb8`].
pub fn to_pictures(images: &Tensor) -> Result<Vec<DynamicImage>> {
    let (pictures, [c, h, w]) = pixels(images, &[1, 3, 4])?;
    let (w, h) = (w as u32, h as u32);
    let picture = |bytes| match c {
        1 => GrayImage::from_raw(w, h, bytes).map(DynamicImage::from),
        4 => RgbaImage::from_raw(w, h, bytes).map(DynamicImage::from),
        _ => RgbImage::from_raw(w, h, bytes).map(DynamicImage::from),
    };
    let whole = |bytes| picture(bytes).expect("h * w * c bytes, as asked");
    Ok(pictures.into_iter().map(whole).collect())
}

const PIXELS: &str = "turning images into pixels";

/// The bytes of each image, pixel by pixel, and how many channels, rows and columns they have.
fn pixels(images: &Tensor, channels: &[i64]) -> Result<(Vec<Vec<u8>>, [i64; 3])> {
    let (n, shape) = match *images.size().as_slice() {
        [n, c, h, w] if channels.contains(&c) => (n, [c, h, w]),
        _ => {
            return Err(Error::Torch {
                doing: PIXELS.into(),
                message: format!("expected [N, 3, H, W], got {:?}", images.size()),
            });
        }
    };
    let pixels = crate::torch::catch(PIXELS, || {
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
    let bytes = |i| {
        let mut bytes = vec![0u8; shape.iter().product::<i64>() as usize];
        let count = bytes.len();
        pixels.get(i).copy_data_u8(&mut bytes, count);
        bytes
    };
    Ok(((0..n).map(bytes).collect(), shape))
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
