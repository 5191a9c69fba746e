//! Image files from anywhere: recognised by content, bounded, upright, refused by name.

use super::foreign;
use crate::error::{Error, IoContext, Result};
use crate::regular;
use crate::torch::catch;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Larger files are refused before they are read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Larger pictures are refused before they are decoded (a few bytes can claim any size).
const MAX_SIDE: u32 = 1 << 15;
/// What one decoded picture may take.
const MAX_DECODED_BYTES: u64 = 1 << 30;

const EXTENSIONS: [&str; 10] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "tif", "tiff", "bmp"];
const READ: [ImageFormat; 6] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Gif,
    ImageFormat::Tiff,
    ImageFormat::Bmp,
];
/// What file managers leave behind in a folder of pictures.
const DROPPINGS: [&str; 3] = ["thumbs.db", "desktop.ini", "icon\r"];
/// What is read.
pub const READABLE: &str = "PNG, JPEG, WebP, GIF, TIFF or BMP";

/// Reads a PNG, JPEG, WebP, GIF (its first frame), TIFF (its first page) or BMP, whatever its extension, and turns it
/// upright (EXIF).
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`Error::File`] when it is a folder, a pipe, empty, no image, corrupt, cut off,
/// of a format that is not read (which is named), or larger than 32,768 pixels a side, 1 GiB decoded or 256 MiB on disk.
pub fn open_image(path: impl AsRef<Path>) -> Result<DynamicImage> {
    let path = path.as_ref();
    if path.is_dir() {
        return Err(Error::file_hint(path, "a folder, not an image", "name one image file"));
    }
    let bytes = regular::bytes(path, MAX_FILE_BYTES, "an image")?;
    if let Some(format) = foreign::named(&bytes) {
        return Err(Error::file_hint(
            path,
            format!("{} images are not read, only {READABLE}", format.name),
            format.remedy,
        ));
    }
    // A decoder that gives up in the middle is no reason to give up the work.
    let decoded = catch("decoding an image", || Ok(decode(&bytes)));
    let decoded = decoded.unwrap_or_else(|_| Err("corrupt image".into()));
    decoded.map_err(|message| {
        Error::file_hint(path, message, "open it in a viewer, or save it again as PNG")
    })
}

/// A picture of three channels: what is transparent shows white, as on paper.
pub fn flatten(image: &DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.to_rgb8();
    }
    let rgba = image.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u32::from);
        image::Rgb([r, g, b].map(|c| ((c * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}

/// The image files that lie directly in `dir`, sorted by name. Hidden files are passed over.
///
/// Goes by extension only: whether a file decodes is seen by [`open_image`].
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read, [`Error::Request`] when it is empty, [`Error::File`] that names
/// whatever else lies in it.
pub fn image_files(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let dir = dir.as_ref();
    let (images, others) = sorted_files(dir)?;
    match others.as_slice() {
        [] if images.is_empty() => Err(Error::request(
            format!("the folder `{}` holds no images", dir.display()),
            format!("put some {READABLE} files into it, or name another folder"),
        )),
        [] => Ok(images),
        [one] => Err(Error::file_hint(one, "not an image", "remove it from the folder")),
        many => Err(Error::file_hint(
            dir,
            format!("{} things in it are no images: {}", many.len(), names(many)),
            "remove them from the folder",
        )),
    }
}

/// What lies directly in `dir`: images by their extensions, and other things; both sorted by name. Hidden files and
/// what file managers leave behind are passed over.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be read.
pub fn sorted_files(dir: impl AsRef<Path>) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let dir = dir.as_ref();
    let (mut images, mut others) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).while_doing("read", dir)? {
        let path = entry.while_doing("read", dir)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.starts_with('.') || DROPPINGS.contains(&name.as_str()) {
            continue;
        }
        let known = Path::new(&name)
            .extension()
            .map(|e| e.to_string_lossy())
            // Those of formats that are not read, too: opening them tells what to do.
            .is_some_and(|e| {
                EXTENSIONS.contains(&e.as_ref()) || foreign::EXTENSIONS.contains(&e.as_ref())
            });
        if known && !path.is_dir() { images.push(path) } else { others.push(path) }
    }
    images.sort();
    others.sort();
    Ok((images, others))
}

/// The first few names, in backticks.
fn names(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths
        .iter()
        .take(5)
        .map(|p| format!("`{}`", p.file_name().unwrap_or_default().to_string_lossy()))
        .collect();
    let rest = if paths.len() > shown.len() { ", …" } else { "" };
    shown.join(", ") + rest
}

/// The picture, or what is wrong with it.
fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let format = match image::guess_format(bytes) {
        Ok(f) if READ.contains(&f) => f,
        Ok(other) => return Err(format!("{other:?} images are not read, only {READABLE}")),
        Err(_) => return Err(format!("not an image (expected {READABLE})")),
    };
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err("corrupt Jpeg image: it ends too early".into());
    }
    let explain = |e: ImageError| match e {
        ImageError::Limits(_) => "too large (at most 32768 pixels a side and 1 GiB decoded)".into(),
        e @ ImageError::Unsupported(_) => {
            format!("this kind of {format:?} is not read: {}", first_line(&e.to_string()))
        }
        e => format!("corrupt {format:?} image: {}", first_line(&e.to_string())),
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(explain)?;
    limits.reserve(decoder.total_bytes()).map_err(explain)?;
    let (w, h) = decoder.dimensions();
    if w == 0 || h == 0 {
        return Err(format!("corrupt {format:?} image: it is {w} × {h} pixels"));
    }
    // A damaged EXIF block is no reason to refuse sound pixels.
    let upright = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(explain)?;
    image.apply_orientation(upright);
    Ok(image)
}

/// Whether an end marker follows the pixel data. The decoder fills what is missing with grey and says nothing.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    // Segments before the pixels are skipped by their length: an EXIF thumbnail has an end marker of its own.
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            0xda => return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    // No pixels, or stray bytes between segments: the decoder shall judge.
    true
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}
