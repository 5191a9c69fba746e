//! A sheet of paper and the few strokes that captions and plots are made of.

use image::{Rgb, RgbImage};

pub(super) const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
pub(super) const INK: Rgb<u8> = Rgb([31, 35, 40]);
pub(super) const MUTED: Rgb<u8> = Rgb([101, 109, 118]);
pub(super) const HAIRLINE: Rgb<u8> = Rgb([228, 231, 235]);

/// Pixels `x..x + w`, `y..y + h`.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
}

/// How a line is drawn.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    pub(super) colour: Rgb<u8>,
    /// In pixels.
    pub(super) width: f32,
    /// From 0 to 1.
    pub(super) opacity: f32,
}

pub(super) struct Canvas {
    pixels: RgbImage,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        Self { pixels: RgbImage::from_pixel(width.max(1), height.max(1), PAPER) }
    }

    pub(super) fn into_image(self) -> RgbImage {
        self.pixels
    }

    pub(super) fn area(&self) -> Area {
        Area { x: 0, y: 0, w: self.pixels.width(), h: self.pixels.height() }
    }

    /// Lays `colour` over a pixel; outside the sheet nothing happens.
    pub(super) fn blend(&mut self, x: u32, y: u32, colour: Rgb<u8>, opacity: f32) {
        if let Some(pixel) = self.pixels.get_pixel_mut_checked(x, y) {
            *pixel = mix(*pixel, colour, opacity);
        }
    }

    pub(super) fn fill(&mut self, area: Area, colour: Rgb<u8>) {
        for y in area.y..area.y + area.h {
            for x in area.x..area.x + area.w {
                self.blend(x, y, colour, 1.0);
            }
        }
    }

    pub(super) fn paste(&mut self, picture: &RgbImage, x: u32, y: u32) {
        image::imageops::replace(&mut self.pixels, picture, i64::from(x), i64::from(y));
    }

    /// A hairline around `area`, outside it.
    pub(super) fn frame(&mut self, area: Area, colour: Rgb<u8>) {
        let Area { x, y, w, h } = area;
        let (left, top) = (x.saturating_sub(1), y.saturating_sub(1));
        self.fill(Area { x: left, y: top, w: w + 2, h: 1 }, colour);
        self.fill(Area { x: left, y: y + h, w: w + 2, h: 1 }, colour);
        self.fill(Area { x: left, y, w: 1, h }, colour);
        self.fill(Area { x: x + w, y, w: 1, h }, colour);
    }

    /// A line through `points` with smooth edges and round ends, inside `clip` only; one point is a dot.
    ///
    /// The coverage of the whole line is gathered first, so that a see-through line is no darker where it bends.
    pub(super) fn line(&mut self, points: &[(f32, f32)], pen: Pen, clip: Area) {
        let reach = pen.width / 2.0 + 0.5;
        let clip = self.reached(points, reach, clip);
        let mut coverage = vec![0f32; clip.w as usize * clip.h as usize];
        let dot = [points.first().copied().unwrap_or_default(); 2];
        let segments = if points.len() == 1 { dot.windows(2) } else { points.windows(2) };
        for pair in segments {
            let (a, b) = (pair[0], pair[1]);
            for row in covered(a.1, b.1, reach, clip.y, clip.h) {
                for column in covered(a.0, b.0, reach, clip.x, clip.w) {
                    let centre = ((clip.x + column) as f32 + 0.5, (clip.y + row) as f32 + 0.5);
                    let cover = (reach - distance(centre, a, b)).clamp(0.0, 1.0);
                    let cell = &mut coverage[(row * clip.w + column) as usize];
                    *cell = cell.max(cover);
                }
            }
        }
        for (i, cover) in coverage.iter().enumerate().filter(|(_, c)| **c > 0.0) {
            let (column, row) = (i as u32 % clip.w, i as u32 / clip.w);
            self.blend(clip.x + column, clip.y + row, pen.colour, cover * pen.opacity);
        }
    }

    /// The part of `clip` that lies on the sheet and around `points`.
    fn reached(&self, points: &[(f32, f32)], reach: f32, clip: Area) -> Area {
        let right = (clip.x + clip.w).min(self.pixels.width());
        let bottom = (clip.y + clip.h).min(self.pixels.height());
        let bounds = |values: &dyn Fn(&(f32, f32)) -> f32, from: u32, to: u32| {
            let low = points.iter().map(values).fold(f32::INFINITY, f32::min);
            let high = points.iter().map(values).fold(f32::NEG_INFINITY, f32::max);
            let range = covered(low, high, reach, from, to.saturating_sub(from));
            (from + range.start, range.end.saturating_sub(range.start))
        };
        let (x, w) = bounds(&|p| p.0, clip.x, right);
        let (y, h) = bounds(&|p| p.1, clip.y, bottom);
        Area { x, y, w, h }
    }
}

/// Which of the `length` pixels from `start` a stroke between `p` and `q` may touch, counted from `start`.
fn covered(p: f32, q: f32, reach: f32, start: u32, length: u32) -> std::ops::Range<u32> {
    let within = |v: f32| (v - start as f32).clamp(0.0, length as f32);
    within(p.min(q) - reach).floor() as u32..within(p.max(q) + reach).ceil() as u32
}

/// `share` of `b` over `a`.
pub(super) fn mix(a: Rgb<u8>, b: Rgb<u8>, share: f32) -> Rgb<u8> {
    let share = share.clamp(0.0, 1.0);
    Rgb(std::array::from_fn(|i| {
        (f32::from(a.0[i]) * (1.0 - share) + f32::from(b.0[i]) * share).round() as u8
    }))
}

/// From a point to the segment `a`–`b`.
fn distance(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length2 = dx * dx + dy * dy;
    let along = ((p.0 - a.0) * dx + (p.1 - a.1) * dy) / length2;
    let along = if length2 > 0.0 { along.clamp(0.0, 1.0) } else { 0.0 };
    (p.0 - a.0 - along * dx).hypot(p.1 - a.1 - along * dy)
}
