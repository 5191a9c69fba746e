//! Inputs that are no photos: masks of labelled regions, and sketches (pSp, Richardson et al. 2021).

use crate::error::{Error, Result};
use crate::imaging::pil;
use image::{GrayImage, RgbImage, imageops};
use tch::{Kind, Tensor};

/// A mask as an encoder for `classes` labels sees it: `[1, classes, height, width]`, 1 where a pixel has the label of its
/// channel, else 0. Its grey levels are the labels; it is resized without mixing them.
///
/// # Errors
/// [`Error::Request`] for a label that the encoder does not know, or a mask in colour.
pub fn one_hot(mask: &RgbImage, classes: i64, width: u32, height: u32) -> Result<Tensor> {
    let mask = imageops::resize(&grey(mask)?, width, height, imageops::FilterType::Nearest);
    let labels = Tensor::from_slice(mask.as_raw()).to_kind(Kind::Int64);
    let highest = labels.max().int64_value(&[]);
    if highest >= classes {
        return Err(Error::request(
            format!("the mask has the label {highest}, the encoder knows 0 to {}", classes - 1),
            "the grey level of a pixel is its label; use the labels that the encoder was trained with",
        ));
    }
    let hot = labels.view([1, i64::from(height), i64::from(width)]).one_hot(classes);
    Ok(hot.permute([0, 3, 1, 2]).to_kind(Kind::Float).contiguous())
}

/// A sketch as pSp's encoder of one channel sees it: `[1, 1, height, width]` in [0, 1], white paper being 1.
///
/// # Errors
/// A size that cannot be made.
pub fn sketch(drawing: &RgbImage, width: u32, height: u32) -> Result<Tensor> {
    let drawing = pil::lanczos(drawing, width, height)?;
    let grey = imageops::grayscale(&drawing);
    let levels = Tensor::from_slice(grey.as_raw()).to_kind(Kind::Float) / 255.0;
    Ok(levels.view([1, 1, i64::from(height), i64::from(width)]))
}

fn grey(mask: &RgbImage) -> Result<GrayImage> {
    let coloured = mask.pixels().any(|p| p.0[0] != p.0[1] || p.0[1] != p.0[2]);
    if coloured {
        return Err(Error::request(
            "the mask is in colour",
            "save it in greys: the grey level of a pixel is its label, 0, 1, 2 …",
        ));
    }
    let levels = mask.pixels().map(|p| p.0[0]).collect();
    Ok(GrayImage::from_raw(mask.width(), mask.height(), levels).expect("a level for each pixel"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn each_label_has_a_channel_and_none_is_mixed() {
        let mask = RgbImage::from_fn(2, 2, |x, y| Rgb([(x + 2 * y) as u8; 3]));
        let hot = one_hot(&mask, 5, 4, 4).unwrap();
        assert_eq!(hot.size(), [1, 5, 4, 4]);
        let per_class: Vec<f64> =
            (0..5).map(|c| hot.get(0).get(c).sum(Kind::Double).double_value(&[])).collect();
        assert_eq!(per_class, [4.0, 4.0, 4.0, 4.0, 0.0]);
        assert_eq!(hot.double_value(&[0, 3, 3, 3]), 1.0);
        let message = one_hot(&mask, 3, 4, 4).unwrap_err().to_string();
        assert!(message.contains("label 3") && message.contains("0 to 2"), "{message}");
        let coloured = RgbImage::from_pixel(2, 2, Rgb([1, 2, 3]));
        assert!(one_hot(&coloured, 5, 4, 4).unwrap_err().to_string().contains("in colour"));
    }

    #[test]
    fn paper_is_one_and_ink_is_zero() {
        let drawing = RgbImage::from_fn(2, 1, |x, _| Rgb([255 * x as u8; 3]));
        let seen = sketch(&drawing, 2, 1).unwrap();
        assert_eq!(
            (seen.double_value(&[0, 0, 0, 0]), seen.double_value(&[0, 0, 0, 1])),
            (0.0, 1.0)
        );
    }
}
