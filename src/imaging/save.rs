//! Pictures to files: PNG that says where it came from, animated GIF.

use crate::atomic;
use crate::error::{Error, Result};
use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, DynamicImage, Frame, RgbImage};
use std::path::Path;
use std::time::Duration;

const SOFTWARE: &str = concat!("nada ", env!("CARGO_PKG_VERSION"));

/// Writes a PNG; an interrupted write leaves the earlier file. `text` as in [`png_bytes`].
///
/// # Errors
/// As [`png_bytes`], and [`Error::Io`].
pub fn png(path: impl AsRef<Path>, picture: &RgbImage, text: &[(&str, &str)]) -> Result<()> {
    atomic::write(path, png_bytes(picture, text)?)
}

/// As [`png()`] for a picture of any channels: grey stays grey, an opacity is kept.
///
/// # Errors
/// As [`png()`].
pub fn png_of(path: impl AsRef<Path>, picture: &DynamicImage, text: &[(&str, &str)]) -> Result<()> {
    let size = (picture.width(), picture.height());
    let bytes = match picture {
        DynamicImage::ImageLuma8(grey) => encoded(size, png::ColorType::Grayscale, grey, text),
        DynamicImage::ImageRgba8(rgba) => encoded(size, png::ColorType::Rgba, rgba, text),
        other => encoded(size, png::ColorType::Rgb, &other.to_rgb8(), text),
    };
    atomic::write(path, bytes?)
}

/// The bytes of a PNG with text fields inside, such as `("Description", "photo → sketch")` or `("Seed", "0")`;
/// `Software` is always there. Viewers and `exiftool` show them.
///
/// # Errors
/// [`Error::Request`] when the picture has no pixels, or when a field's name is not 1 to 79 Latin-1 letters.
pub fn png_bytes(picture: &RgbImage, text: &[(&str, &str)]) -> Result<Vec<u8>> {
    encoded(picture.dimensions(), png::ColorType::Rgb, picture, text)
}

fn encoded(
    (width, height): (u32, u32),
    colour: png::ColorType,
    pixels: &[u8],
    text: &[(&str, &str)],
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let refused = |e: png::EncodingError| unencodable("PNG", (width, height), &e);
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    for (name, value) in [("Software", SOFTWARE)].iter().chain(text) {
        // The format ends a text at the first zero byte.
        let value = value.replace('\0', " ");
        // The older chunk is known to more programs, but it holds Latin-1 only.
        if value.is_ascii() {
            encoder.add_text_chunk((*name).to_owned(), value).map_err(refused)?;
        } else {
            encoder.add_itxt_chunk((*name).to_owned(), value).map_err(refused)?;
        }
    }
    let mut writer = encoder.write_header().map_err(refused)?;
    writer.write_image_data(pixels).map_err(refused)?;
    writer.finish().map_err(refused)?;
    Ok(bytes)
}

/// Writes an endless animation that shows each frame for `delay_ms` (the format counts in 10 ms).
///
/// # Errors
/// [`Error::Request`] without frames or when their sizes differ, and [`Error::Io`].
pub fn gif(path: impl AsRef<Path>, frames: &[RgbImage], delay_ms: u32) -> Result<()> {
    atomic::write(path, gif_bytes(frames, delay_ms)?)
}

/// The bytes of an animated GIF, see [`gif`].
///
/// # Errors
/// [`Error::Request`] without frames or when their sizes differ.
pub fn gif_bytes(frames: &[RgbImage], delay_ms: u32) -> Result<Vec<u8>> {
    let first = of_one_size(frames)?;
    let delay = Delay::from_saturating_duration(Duration::from_millis(u64::from(delay_ms)));
    let mut bytes = Vec::new();
    // 1 is the slowest and finest choice of the 256 colours, 30 the fastest.
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
    let refused = |e: image::ImageError| unencodable("GIF", first.dimensions(), &e);
    encoder.set_repeat(Repeat::Infinite).map_err(refused)?;
    for frame in frames {
        let rgba = DynamicImage::ImageRgb8(frame.clone()).into_rgba8();
        encoder.encode_frame(Frame::from_parts(rgba, 0, 0, delay)).map_err(refused)?;
    }
    drop(encoder);
    Ok(bytes)
}

/// Writes an endless animation as a PNG: all colours, `fps` frames a second. Programs that do not know animated PNG show
/// the first frame.
///
/// # Errors
/// As [`gif`].
pub fn apng(path: impl AsRef<Path>, frames: &[RgbImage], fps: u32) -> Result<()> {
    let first = of_one_size(frames)?;
    let refused = |e: png::EncodingError| unencodable("PNG", first.dimensions(), &e);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, first.width(), first.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_animated(frames.len() as u32, 0).map_err(refused)?;
    encoder.set_frame_delay(1, fps.clamp(1, 65_535) as u16).map_err(refused)?;
    encoder.add_text_chunk("Software".into(), SOFTWARE.into()).map_err(refused)?;
    let mut writer = encoder.write_header().map_err(refused)?;
    for frame in frames {
        writer.write_image_data(frame.as_raw()).map_err(refused)?;
    }
    writer.finish().map_err(refused)?;
    atomic::write(path, bytes)
}

/// The first of the frames.
fn of_one_size(frames: &[RgbImage]) -> Result<&RgbImage> {
    let Some(first) = frames.first() else {
        return Err(Error::request("an animation without frames", "give at least one"));
    };
    if let Some(odd) = frames.iter().find(|f| f.dimensions() != first.dimensions()) {
        return Err(Error::request(
            format!(
                "frames of different sizes: {:?} and {:?}",
                first.dimensions(),
                odd.dimensions()
            ),
            "make all frames the same size",
        ));
    }
    Ok(first)
}

fn unencodable(format: &str, (w, h): (u32, u32), why: &dyn std::fmt::Display) -> Error {
    let message = format!("a picture of {w} × {h} pixels cannot be written as {format}: {why}");
    Error::Request { message, hint: None }
}
