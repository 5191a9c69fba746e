//! From a photo to the pieces of it that are looked at.

use super::landmarks::Given;
use super::{Photo, PhotoArgs, WhichFace};
use crate::builtin;
use crate::error::{Error, Result};
use crate::imaging::load;
use crate::invert::align::{Frame, Landmarks};
use crate::invert::{Cut, Detector, Face};
use crate::models;
use crate::torch::threads;
use image::{DynamicImage, RgbImage, imageops};
use std::cell::OnceCell;
use tch::Device;

/// A part of a photo.
#[derive(Debug)]
pub(in crate::cli) struct Piece {
    /// What its results are called.
    pub(in crate::cli) name: String,
    pub(in crate::cli) cut: Cut,
}

/// Opens photos and finds what is looked at in them.
pub(in crate::cli) struct Cutter<'a> {
    args: &'a PhotoArgs,
    given: Option<Given>,
    /// Read when the first face is looked for.
    detector: OnceCell<Detector>,
    /// How faces lie in what the encoder was trained on.
    frame: Frame,
    /// Width and height of what the encoder sees.
    shape: (u32, u32),
    device: Device,
}

/// How far a photo is turned to the right where no face is found in it as it lies.
const TURNS: [u32; 3] = [90, 180, 270];

impl<'a> Cutter<'a> {
    /// For pieces that are shown at `shape` (width, height), with faces as in `frame`.
    ///
    /// # Errors
    /// As [`Given::read`]; [`Error::Request`] when one set of points is given for several photos.
    pub(in crate::cli) fn new(
        args: &'a PhotoArgs,
        photos: usize,
        frame: Frame,
        shape: (u32, u32),
        device: Device,
    ) -> Result<Self> {
        let given = args.landmarks.as_deref().map(Given::read).transpose()?;
        if photos > 1 && matches!(given, Some(Given::One(_))) {
            return Err(Error::request(
                format!(
                    "`--landmarks` holds the points of one face, but there are {photos} photos"
                ),
                "name the photos in it: {\"photo.jpg\": [[x, y], …], …}",
            ));
        }
        Ok(Self { args, given, detector: OnceCell::new(), frame, shape, device })
    }

    /// The photo, and its pieces. The photo is in three channels, upright, on white where it was transparent; turned
    /// where a face is found only then, and `say` is told.
    ///
    /// # Errors
    /// As [`load::open_image`]; [`Error::File`] when there is no face, or not the one that was asked for.
    pub(in crate::cli) fn open(
        &self,
        photo: &Photo,
        say: &dyn Fn(&str),
    ) -> Result<(RgbImage, Vec<Piece>)> {
        let mut picture = three_channels(load::open_image(&photo.path)?);
        let cuts = self.cuts(photo, &mut picture, say)?;
        let several = cuts.len() > 1;
        let name = |i: usize| match several {
            true => format!("{}_face{}", photo.name, i + 1),
            false => photo.name.clone(),
        };
        let pieces = cuts.into_iter().enumerate();
        let pieces = pieces.map(|(i, cut)| Piece { name: name(i), cut }).collect();
        Ok((picture, pieces))
    }

    fn cuts(&self, photo: &Photo, picture: &mut RgbImage, say: &dyn Fn(&str)) -> Result<Vec<Cut>> {
        let (width, height) = self.shape;
        if self.args.no_align || self.args.crop.is_some() {
            let cut = Cut::centred(picture, width, height, self.args.crop);
            return Ok(vec![cut.map_err(|e| Error::file(&photo.path, e))?]);
        }
        let turned = |face: Landmarks| Cut::Turned(face.quad().within(&self.frame));
        if let Some(given) = &self.given {
            let face = given.of(&photo.path).ok_or_else(|| {
                Error::file_hint(&photo.path, "`--landmarks` has no points for it", "add them")
            })?;
            return Ok(vec![turned(face)]);
        }
        let faces = self.faces(photo, picture, say)?;
        let wanted = match self.args.face {
            WhichFace::All => 0..faces.len(),
            WhichFace::Largest => 0..1,
            WhichFace::Number(n) => n - 1..n,
        };
        match faces.get(wanted) {
            Some(faces) if !faces.is_empty() => {
                Ok(faces.iter().map(|face| turned(face.landmarks())).collect())
            }
            _ if faces.is_empty() => Err(Error::file_hint(
                &photo.path,
                "no face was found in it, however it is turned",
                "give the points of the face with `--landmarks FILE`; or, if the picture is cut out already or shows no face, use `--no-align`",
            )),
            _ => Err(Error::file_hint(
                &photo.path,
                format!("face {} was asked for, it shows {}", self.args.face, faces.len()),
                "use `--face all` to see them all",
            )),
        }
    }

    /// The faces of a photo, which is turned if they are found only then: the way that shows the surest one.
    fn faces(
        &self,
        photo: &Photo,
        picture: &mut RgbImage,
        say: &dyn Fn(&str),
    ) -> Result<Vec<Face>> {
        let detector = self.detector()?;
        let faces = threads::sparing(|| detector.detect(picture))?;
        if !faces.is_empty() {
            return Ok(faces);
        }
        let mut best: Option<(f64, u32, Vec<Face>)> = None;
        for degrees in TURNS {
            let faces = threads::sparing(|| detector.detect(&turn(picture, degrees)))?;
            let sure = faces.iter().map(|face| face.score).fold(0.0, f64::max);
            if !faces.is_empty() && best.as_ref().is_none_or(|(most, ..)| sure > *most) {
                best = Some((sure, degrees, faces));
            }
        }
        let Some((_, degrees, faces)) = best else { return Ok(faces) };
        say(&format!(
            "`{}` was turned by {degrees}° to the right: no face is found in it as it lies",
            photo.path.display()
        ));
        *picture = turn(picture, degrees);
        Ok(faces)
    }

    fn detector(&self) -> Result<&Detector> {
        if self.detector.get().is_none() {
            let detector = models::open_detector(&builtin::detector_file()?, self.device)?;
            let _ = self.detector.set(detector);
        }
        Ok(self.detector.get().expect("it was read just now"))
    }
}

fn turn(picture: &RgbImage, degrees: u32) -> RgbImage {
    match degrees {
        90 => imageops::rotate90(picture),
        180 => imageops::rotate180(picture),
        _ => imageops::rotate270(picture),
    }
}

/// Without a copy where the picture has three channels already: photos can be large.
fn three_channels(image: DynamicImage) -> RgbImage {
    match image {
        DynamicImage::ImageRgb8(picture) => picture,
        other => load::flatten(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_turned_to_the_right() {
        let mut photo = RgbImage::new(3, 2);
        photo.put_pixel(0, 0, image::Rgb([9, 9, 9]));
        let corner = |degrees| {
            let turned = turn(&photo, degrees);
            let lit = turned.enumerate_pixels().find(|(.., pixel)| pixel[0] == 9).unwrap();
            (turned.dimensions(), (lit.0, lit.1))
        };
        let found = TURNS.map(corner);
        assert_eq!(found, [((2, 3), (1, 0)), ((3, 2), (2, 1)), ((2, 3), (0, 2))]);
    }
}
