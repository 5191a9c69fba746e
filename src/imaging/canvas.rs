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

    /// A line through `points` with smooth edges and round ends, inside `clip` only; one point is a dot.
    ///
    /// The coverage of the whole line is gathered first, so that a see-through line is no darker where it bends.
    pub(super) fn line(&mut self, points: &[(f32, f32)], pen: Pen, clip: Area) {
        let clip = Area {
            w: clip.w.min(self.pixels.width().saturating_sub(clip.x)),
            h: clip.h.min(self.pixels.height().saturating_sub(clip.y)),
            ..clip
        };
        let mut coverage = vec![0f32; clip.w as usize * clip.h as usize];
        let dot = [points.first().copied(), points.first().copied()];
        let dot: Vec<(f32, f32)> =
            if points.len() == 1 { dot.into_iter().flatten().collect() } else { Vec::new() };
        let reach = pen.width / 2.0 + 0.5;
        for pair in points.windows(2).chain(dot.windows(2)) {
            let (a, b) = (pair[0], pair[1]);
            let span = |p: f32, q: f32, from: u32, length: u32| {
                let low = (p.min(q) - reach - from as f32).clamp(0.0, length as f32);
                let high = (p.max(q) + reach - from as f32).clamp(0.0, length as f32);
                low.floor() as u32..high.ceil() as u32
            };
            for row in span(a.1, b.1, clip.y, clip.h) {
                for column in span(a.0, b.0, clip.x, clip.w) {
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
