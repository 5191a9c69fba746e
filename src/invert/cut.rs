//! Which part of a photo is looked at, and that part at any size.

use super::align::{self, Quad};
use crate::error::{Error, Result};
use crate::imaging::pil;
use image::{RgbImage, imageops};

/// A part of a photo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cut {
    /// A square at any angle: a face, see [`align::align`].
    Turned(Quad),
    /// An upright rectangle inside the photo.
    Upright {
        /// Pixels from the left edge of the photo.
        left: u32,
        /// Pixels from the top edge.
        top: u32,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
}

impl Cut {
    /// The middle of a photo: as much of it as has the proportions `width` : `height`, or only `height` = `crop`
    /// pixels of it.
    ///
    /// # Errors
    /// [`Error::Request`] when the photo is smaller than `crop`, or has no pixels.
    pub fn centred(photo: &RgbImage, width: u32, height: u32, crop: Option<u32>) -> Result<Self> {
        let (w, h) = photo.dimensions();
        let aspect = f64::from(width) / f64::from(height);
        let most = f64::from(h).min(f64::from(w) / aspect);
        let high = crop.map_or(most, f64::from);
        if high > most || high < 1.0 {
            return Err(Error::request(
                format!("the photo has {w} × {h} pixels, too few for a crop of {high}"),
                "use a smaller `--crop`, or leave it out",
            ));
        }
        let high = high.round().min(f64::from(h)) as u32;
        let wide = ((f64::from(high) * aspect).round() as u32).clamp(1, w);
        Ok(Self::Upright { left: (w - wide) / 2, top: (h - high) / 2, width: wide, height: high })
    }

    /// That part at `width` × `height` pixels. A turned square stays a square: `height` pixels each way.
    ///
    /// # Errors
    /// As [`align::align`].
    pub fn take(&self, photo: &RgbImage, width: u32, height: u32) -> Result<RgbImage> {
        match *self {
            Self::Turned(quad) => align::align(photo, quad, height, height),
            Self::Upright { left, top, width: w, height: h } => {
                let part = imageops::crop_imm(photo, left, top, w, h).to_image();
                match part.dimensions() == (width, height) {
                    true => Ok(part),
                    false => pil::lanczos(&part, width, height),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_has_the_proportions_that_are_asked_for() {
        let photo = RgbImage::new(100, 60);
        let of = |w, h, crop| Cut::centred(&photo, w, h, crop);
        let square = Cut::Upright { left: 20, top: 0, width: 60, height: 60 };
        assert_eq!(of(256, 256, None).unwrap(), square);
        let small = Cut::Upright { left: 35, top: 15, width: 30, height: 30 };
        assert_eq!(of(64, 64, Some(30)).unwrap(), small);
        let wide = Cut::Upright { left: 10, top: 0, width: 80, height: 60 };
        assert_eq!(of(256, 192, None).unwrap(), wide);
        assert!(of(64, 64, Some(61)).unwrap_err().to_string().contains("100 × 60"));
        assert_eq!(wide.take(&photo, 256, 192).unwrap().dimensions(), (256, 192));
    }
}
