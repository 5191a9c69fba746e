//! Faces cut out as in FFHQ: upright, eyes and mouth at the places where the generator has them (reference §4.2).
//!
//! Arithmetic follows `align_faces_parallel.py` of yuval-alaluf/restyle-encoder; golden `align`. It needs four points
//! only: the middles of the eyes and the corners of the mouth.

use crate::error::{Error, Result};
use crate::imaging::pil;
use image::{Rgb, RgbImage, imageops};
use std::str::FromStr;

/// A place in a picture, in pixels from the upper left corner.
pub type Point = [f64; 2];

/// Where a face has its eyes and its mouth, as seen by who looks at the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Landmarks {
    /// Middle of the eye on the left.
    pub eye_left: Point,
    /// Middle of the eye on the right.
    pub eye_right: Point,
    /// Corner of the mouth on the left.
    pub mouth_left: Point,
    /// Corner of the mouth on the right.
    pub mouth_right: Point,
}

impl Landmarks {
    /// From five points (eyes, nose, corners of the mouth) or dlib's 68; `None` for another number.
    pub fn from_points(points: &[Point]) -> Option<Self> {
        let mean = |points: &[Point]| {
            let sum = points.iter().fold([0.0, 0.0], |s, p| [s[0] + p[0], s[1] + p[1]]);
            sum.map(|x| x / points.len() as f64)
        };
        match points {
            &[eye_left, eye_right, _nose, mouth_left, mouth_right] => {
                Some(Self { eye_left, eye_right, mouth_left, mouth_right })
            }
            points if points.len() == 68 => Some(Self {
                eye_left: mean(&points[36..42]),
                eye_right: mean(&points[42..48]),
                mouth_left: points[48],
                mouth_right: points[54],
            }),
            _ => None,
        }
    }

    /// The square of FFHQ around the face.
    pub fn quad(&self) -> Quad {
        let middle = |a: Point, b: Point| [(a[0] + b[0]) * 0.5, (a[1] + b[1]) * 0.5];
        let eyes = middle(self.eye_left, self.eye_right);
        let mouth = middle(self.mouth_left, self.mouth_right);
        let eye_to_eye = minus(self.eye_right, self.eye_left);
        let eye_to_mouth = minus(mouth, eyes);
        // Across the face: along the eyes, and at a right angle to the line from eyes to mouth.
        let across = [eye_to_eye[0] + eye_to_mouth[1], eye_to_eye[1] - eye_to_mouth[0]];
        let length = (length(eye_to_eye) * 2.0).max(length(eye_to_mouth) * 1.8) / length(across);
        let x = across.map(|v| v * length);
        let y = [-x[1], x[0]];
        let c = [eyes[0] + eye_to_mouth[0] * 0.1, eyes[1] + eye_to_mouth[1] * 0.1];
        let corner =
            |sx: f64, sy: f64| [c[0] + sx * x[0] + sy * y[0], c[1] + sx * x[1] + sy * y[1]];
        Quad {
            corners: [corner(-1.0, -1.0), corner(-1.0, 1.0), corner(1.0, 1.0), corner(1.0, -1.0)],
            size: self::length(x) * 2.0,
        }
    }
}

fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

fn length(v: Point) -> f64 {
    v[0].hypot(v[1])
}

/// A square in a picture, at any angle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quad {
    /// Upper left, lower left, lower right, upper right.
    pub corners: [Point; 4],
    /// Its side in pixels.
    pub size: f64,
}

impl Quad {
    fn scaled(&self, by: f64) -> Self {
        Self { corners: self.corners.map(|p| p.map(|v| v / by)), size: self.size / by }
    }

    fn moved(&self, dx: f64, dy: f64) -> Self {
        Self { corners: self.corners.map(|[x, y]| [x + dx, y + dy]), size: self.size }
    }

    /// The square of a whole picture in which this one lies as FFHQ's square does in pictures of `frame`.
    #[must_use]
    pub fn within(&self, frame: &Frame) -> Self {
        let [nw, sw, _, ne] = self.corners;
        // One side of the picture that is looked for, to the right and downwards.
        let right = minus(ne, nw).map(|v| v / frame.side);
        let down = minus(sw, nw).map(|v| v / frame.side);
        let [u, v] = [frame.x - 0.5 * frame.side, frame.y - 0.5 * frame.side];
        let first = [nw[0] - u * right[0] - v * down[0], nw[1] - u * right[1] - v * down[1]];
        let corner = |a: f64, b: f64| {
            [first[0] + a * right[0] + b * down[0], first[1] + a * right[1] + b * down[1]]
        };
        let corners = [first, corner(0.0, 1.0), corner(1.0, 1.0), corner(1.0, 0.0)];
        Self { corners, size: self.size / frame.side }
    }

    /// Left, top, right and bottom, in whole pixels outwards.
    fn bounds(&self) -> [i64; 4] {
        let of = |axis: usize, pick: fn(f64, f64) -> f64| {
            self.corners.iter().map(|p| p[axis]).reduce(pick).unwrap_or_default()
        };
        [
            of(0, f64::min).floor() as i64,
            of(1, f64::min).floor() as i64,
            of(0, f64::max).ceil() as i64,
            of(1, f64::max).ceil() as i64,
        ]
    }
}

/// Where FFHQ's square lies in the pictures that a generator was trained on: faces that were cut out in another way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Its centre, from 0 at the left to 1 at the right.
    pub x: f64,
    /// Its centre, from 0 at the top to 1 at the bottom.
    pub y: f64,
    /// Its side; the picture's is 1.
    pub side: f64,
}

impl Frame {
    /// FFHQ's own.
    pub const FFHQ: Self = Self { x: 0.5, y: 0.5, side: 1.0 };
}

impl FromStr for Frame {
    type Err = Error;

    /// From three numbers: x, y and side, as the metadata of an encoder's file hold them.
    fn from_str(text: &str) -> Result<Self> {
        let numbers: Vec<f64> = text.split_whitespace().map_while(|n| n.parse().ok()).collect();
        let sound = |n: f64| n.is_finite() && n.abs() < 10.0;
        match numbers[..] {
            [x, y, side] if sound(x) && sound(y) && sound(side) && side > 0.05 => {
                Ok(Self { x, y, side })
            }
            _ => Err(Error::request(
                format!("`{text}` does not say where a face lies in a picture"),
                "give three numbers: centre x, centre y and side of FFHQ's square, 1 being the picture's side",
            )),
        }
    }
}

/// A picture ready to be turned, and the square in it.
#[derive(Debug)]
pub struct Framed {
    /// The picture: shrunk, cropped, and padded where the square reaches beyond it.
    pub picture: RgbImage,
    /// The square, in its pixels.
    pub quad: Quad,
}

/// Cuts a square out and turns it upright: `side` × `side` pixels. The square of a face is [`Landmarks::quad`].
///
/// The picture is turned at `transform` pixels, and made smaller after it if that is more than `side`.
///
/// # Errors
/// [`Error::Request`] when the points do not make a face: they coincide, are no numbers, or lie outside the picture.
pub fn align(picture: &RgbImage, quad: Quad, side: u32, transform: u32) -> Result<RgbImage> {
    let framed = frame(picture, quad, side)?;
    let turned = turn(&framed, transform);
    if side < transform { pil::lanczos(&turned, side, side) } else { Ok(turned) }
}

/// The steps before the turn: shrinks what is far too large, crops, and pads with mirrored, blurred surroundings.
///
/// # Errors
/// As [`align`].
pub fn frame(picture: &RgbImage, mut quad: Quad, side: u32) -> Result<Framed> {
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let [left, top, right, bottom] = quad.bounds();
    let sound = quad.size.is_finite() && quad.size >= 1.0 && quad.size < 1e6;
    if !sound || right <= 0 || bottom <= 0 || left >= width || top >= height {
        return Err(Error::request(
            "these points make no face inside the picture",
            "check the landmarks: x and y in pixels, eyes before the mouth, left before right",
        ));
    }
    let mut picture = picture.clone();
    let shrink = (quad.size / f64::from(side) * 0.5).floor();
    if shrink > 1.0 {
        let size = |n: i64| ((n as f64 / shrink).round_ties_even() as u32).max(1);
        picture = pil::lanczos(&picture, size(width), size(height))?;
        quad = quad.scaled(shrink);
    }
    let border = (quad.size * 0.1).round_ties_even().max(3.0) as i64;
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let [left, top, right, bottom] = quad.bounds();
    let (x, y) = ((left - border).max(0), (top - border).max(0));
    let (x1, y1) = ((right + border).min(width), (bottom + border).min(height));
    if x1 - x < width || y1 - y < height {
        let (w, h) = ((x1 - x).max(1) as u32, (y1 - y).max(1) as u32);
        picture = imageops::crop_imm(&picture, x as u32, y as u32, w, h).to_image();
        quad = quad.moved(-x as f64, -y as f64);
    }
    let [left, top, right, bottom] = quad.bounds();
    let (width, height) = (i64::from(picture.width()), i64::from(picture.height()));
    let mut pad = [border - left, border - top, right - width + border, bottom - height + border]
        .map(|n| n.max(0));
    if pad.iter().max().is_some_and(|&most| most > border - 4) {
        let least = (quad.size * 0.3).round_ties_even() as i64;
        pad = pad.map(|n| n.max(least));
        picture = padded(&picture, pad.map(|n| n as usize), quad.size * 0.02);
        quad = quad.moved(pad[0] as f64, pad[1] as f64);
    }
    Ok(Framed { picture, quad })
}

/// Mirrors the picture beyond its edges (left, top, right, bottom), and lets it fade there into a blur and then into
/// its median colour.
fn padded(picture: &RgbImage, pad: [usize; 4], sigma: f64) -> RgbImage {
    let [left, top, right, bottom] = pad;
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let (width, height) = (w + left + right, h + top + bottom);
    let planes: Vec<Vec<f32>> = (0..3)
        .map(|c| {
            let mirrored = mirrored(picture, c, pad, width, height);
            let mask = |i: usize| {
                let (x, y) = (i % width, i / width);
                let near = |a: usize, before: usize, all: usize, after: usize| {
                    (a as f32 / before as f32).min((all - 1 - a) as f32 / after as f32)
                };
                (1.0 - near(x, left, width, right)).max(1.0 - near(y, top, height, bottom))
            };
            let blurred = blurred(&mirrored, width, height, sigma);
            let mut plane: Vec<f32> = mirrored
                .iter()
                .zip(&blurred)
                .enumerate()
                .map(|(i, (&sharp, &soft))| {
                    sharp + (soft - sharp) * (mask(i) * 3.0 + 1.0).clamp(0.0, 1.0)
                })
                .collect();
            let middle = median(&plane);
            for (i, value) in plane.iter_mut().enumerate() {
                *value += (middle - *value) * mask(i).clamp(0.0, 1.0);
            }
            plane
        })
        .collect();
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        let level = |c: usize| planes[c][at].round_ties_even().clamp(0.0, 255.0) as u8;
        Rgb([level(0), level(1), level(2)])
    })
}

/// One channel, mirrored beyond its edges without repeating them.
fn mirrored(
    picture: &RgbImage,
    channel: usize,
    pad: [usize; 4],
    width: usize,
    height: usize,
) -> Vec<f32> {
    let (w, h) = (picture.width() as usize, picture.height() as usize);
    let columns: Vec<usize> = (0..width).map(|x| reflect(x as i64 - pad[0] as i64, w)).collect();
    let mut plane = Vec::with_capacity(width * height);
    for y in 0..height {
        let row = reflect(y as i64 - pad[1] as i64, h) * w;
        plane.extend(columns.iter().map(|x| f32::from(picture.as_raw()[(row + x) * 3 + channel])));
    }
    plane
}

/// Where a place beyond the edges of `n` pixels is mirrored to.
fn reflect(at: i64, n: usize) -> usize {
    if n <= 1 {
        return 0;
    }
    let period = 2 * (n as i64 - 1);
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

/// Gaussian blur, cut off at four sigma; the edge pixel is repeated once by the mirror (scipy's `reflect`).
fn blurred(plane: &[f32], width: usize, height: usize, sigma: f64) -> Vec<f32> {
    let radius = (4.0 * sigma + 0.5) as i64;
    let weights: Vec<f64> =
        (-radius..=radius).map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|w| (w / sum) as f32).collect();
    let edge = |at: i64, n: usize| {
        let at = at.rem_euclid(2 * n as i64);
        at.min(2 * n as i64 - 1 - at) as usize
    };
    let pass = |from: &[f32], n: usize, step: usize, lines: usize, stride: usize| {
        let mut to = vec![0.0; from.len()];
        for line in 0..lines {
            for i in 0..n {
                let sum: f32 = weights
                    .iter()
                    .enumerate()
                    .map(|(k, w)| {
                        from[line * stride + edge(i as i64 + k as i64 - radius, n) * step] * w
                    })
                    .sum();
                to[line * stride + i * step] = sum;
            }
        }
        to
    };
    let down = pass(plane, height, width, width, 1);
    pass(&down, width, 1, height, width)
}

fn median(plane: &[f32]) -> f32 {
    let mut sorted = plane.to_vec();
    let middle = sorted.len() / 2;
    let (below, &mut upper, _) = sorted.select_nth_unstable_by(middle, f32::total_cmp);
    if plane.len() % 2 == 1 {
        return upper;
    }
    (below.iter().copied().fold(f32::MIN, f32::max) + upper) / 2.0
}

/// The square as an upright picture of `side` × `side` pixels, bilinear; black where it leaves the picture (Pillow's
/// `QUAD` transform).
fn turn(framed: &Framed, side: u32) -> RgbImage {
    let [nw, sw, se, ne] = framed.quad.corners.map(|p| p.map(|v| v + 0.5));
    let step = 1.0 / f64::from(side);
    let (width, height) = (framed.picture.width() as i64, framed.picture.height() as i64);
    let pixels = framed.picture.as_raw();
    RgbImage::from_fn(side, side, |x, y| {
        let (u, v) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let at = |axis: usize| {
            nw[axis]
                + (ne[axis] - nw[axis]) * step * u
                + (sw[axis] - nw[axis]) * step * v
                + (se[axis] - sw[axis] - ne[axis] + nw[axis]) * step * step * u * v
        };
        let (px, py) = (at(0), at(1));
        if !(px >= 0.0 && py >= 0.0 && px < width as f64 && py < height as f64) {
            return Rgb([0; 3]);
        }
        let (px, py) = (px - 0.5, py - 0.5);
        let (x0, y0) = (px.floor(), py.floor());
        let (dx, dy) = (px - x0, py - y0);
        let near = |x: f64, y: f64, c: usize| {
            let x = (x as i64).clamp(0, width - 1);
            let y = (y as i64).clamp(0, height - 1);
            f64::from(pixels[((y * width + x) * 3) as usize + c])
        };
        let level = |c: usize| {
            let row = |y: f64| {
                let (a, b) = (near(x0, y, c), near(x0 + 1.0, y, c));
                a + (b - a) * dx
            };
            let (a, b) = (row(y0), row(y0 + 1.0));
            (a + (b - a) * dy) as u8
        };
        Rgb([level(0), level(1), level(2)])
    })
}
