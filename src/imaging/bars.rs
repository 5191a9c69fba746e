//! Small charts for a sheet: a histogram, bars with names, and pictures put together.

use super::axis;
use super::canvas::{Area, Canvas, HAIRLINE, MUTED};
use super::caption::{LABEL, PLAIN, SMALL};
use image::{Rgb, RgbImage};

const MARGIN: u32 = 20;
const BAR: Rgb<u8> = Rgb([0, 114, 178]);
const PALE: Rgb<u8> = Rgb([180, 205, 225]);
const MARK: Rgb<u8> = Rgb([213, 94, 0]);
const ROW: u32 = 24;
const BINS: usize = 24;

/// How often numbers occur, in 24 bins from `range.0` to `range.1` (what lies outside counts for the last bin), with a
/// line at `mark`, which is named below.
pub fn histogram(
    title: &str,
    values: &[f64],
    range: (f64, f64),
    mark: (f64, &str),
    size: (u32, u32),
) -> RgbImage {
    let (width, height) = (size.0.max(8 * MARGIN), size.1.max(8 * MARGIN));
    let mut canvas = Canvas::new(width, height);
    LABEL.write(&mut canvas, MARGIN, MARGIN, &LABEL.elide(title, width - 2 * MARGIN));
    let top = MARGIN + LABEL.line_height() + 8;
    let below = 2 * SMALL.line_height() + MARGIN;
    let plot = Area {
        x: MARGIN,
        y: top,
        w: width - 2 * MARGIN,
        h: height.saturating_sub(top + below).max(1),
    };
    let (low, high) = range;
    let across = |v: f64| ((v - low) / (high - low)).clamp(0.0, 1.0);
    let mut counts = [0usize; BINS];
    for value in values.iter().filter(|v| v.is_finite()) {
        counts[((across(*value) * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    for (i, count) in counts.iter().enumerate() {
        let edge = |i: usize| plot.x + (plot.w as usize * i / BINS) as u32;
        let h = (f64::from(plot.h) * *count as f64 / most as f64).round() as u32;
        let w = (edge(i + 1) - edge(i)).saturating_sub(1);
        canvas.fill(Area { x: edge(i), y: plot.y + plot.h - h, w, h }, BAR);
    }
    canvas.fill(Area { y: plot.y + plot.h, h: 1, ..plot }, MUTED);
    let place = |v: f64| plot.x + (across(v) * f64::from(plot.w)) as u32;
    let (ticks, step) = axis::ticks(low, high, 6);
    for tick in ticks {
        canvas.fill(Area { x: place(tick), y: plot.y + plot.h, w: 1, h: 5 }, MUTED);
        let text = axis::label(tick, step);
        SMALL.write_centred(&mut canvas, place(tick), plot.y + plot.h + 7, &text);
    }
    canvas.fill(Area { x: place(mark.0), y: plot.y, w: 2, h: plot.h }, MARK);
    let name = SMALL.elide(mark.1, plot.w);
    SMALL.write(&mut canvas, plot.x, plot.y + plot.h + 9 + SMALL.line_height(), &name);
    canvas.into_image()
}

/// A bar with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// At the left.
    pub name: String,
    /// From 0 to 1, as long as the bar; shown in percent.
    pub share: f64,
    /// Whether it is one of those that count: dark instead of pale.
    pub counts: bool,
}

/// Shares with names, one below the other; as many as fit.
pub fn bars(title: &str, bars: &[Bar], size: (u32, u32)) -> RgbImage {
    let (width, height) = (size.0.max(8 * MARGIN), size.1.max(8 * MARGIN));
    let mut canvas = Canvas::new(width, height);
    LABEL.write(&mut canvas, MARGIN, MARGIN, &LABEL.elide(title, width - 2 * MARGIN));
    let top = MARGIN + LABEL.line_height() + 8;
    let room = (height.saturating_sub(top + MARGIN) / ROW) as usize;
    let widest = bars.iter().map(|b| PLAIN.width(&b.name)).max().unwrap_or(0);
    let names = widest.min(width * 2 / 5);
    let (left, number) = (MARGIN + names + 10, SMALL.width("100 %") + 10);
    let full = width.saturating_sub(left + MARGIN + number);
    for (i, bar) in bars.iter().take(room).enumerate() {
        let y = top + i as u32 * ROW;
        PLAIN.write_right(&mut canvas, MARGIN + names, y + 2, &PLAIN.elide(&bar.name, names));
        let share = if bar.share.is_finite() { bar.share.clamp(0.0, 1.0) } else { 0.0 };
        canvas.fill(Area { x: left, y: y + 2, w: full, h: ROW - 6 }, HAIRLINE);
        let w = (f64::from(full) * share).round() as u32;
        let colour = if bar.counts { BAR } else { PALE };
        canvas.fill(Area { x: left, y: y + 2, w, h: ROW - 6 }, colour);
        let text = format!("{:.0} %", 100.0 * share);
        SMALL.write_right(&mut canvas, width - MARGIN, y + 2, &text);
    }
    canvas.into_image()
}

/// Pictures below each other, on paper as wide as the widest.
pub fn stack(pictures: &[RgbImage]) -> RgbImage {
    let width = pictures.iter().map(RgbImage::width).max().unwrap_or(0);
    let mut canvas = Canvas::new(width, pictures.iter().map(RgbImage::height).sum());
    let mut y = 0;
    for picture in pictures {
        canvas.paste(picture, 0, y);
        y += picture.height();
    }
    canvas.into_image()
}

/// Pictures beside each other, on paper as high as the highest.
pub fn beside(pictures: &[RgbImage]) -> RgbImage {
    let height = pictures.iter().map(RgbImage::height).max().unwrap_or(0);
    let mut canvas = Canvas::new(pictures.iter().map(RgbImage::width).sum(), height);
    let mut x = 0;
    for picture in pictures {
        canvas.paste(picture, x, 0);
        x += picture.width();
    }
    canvas.into_image()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inked(picture: &RgbImage, colour: Rgb<u8>) -> usize {
        picture.pixels().filter(|p| **p == colour).count()
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let of = |share| {
            let one = Bar { name: "x".into(), share, counts: true };
            inked(&bars("", &[one], (400, 200)), BAR)
        };
        assert_eq!(of(0.0), 0);
        assert!(of(1.0).abs_diff(2 * of(0.5)) <= (ROW as usize));
        assert_eq!(of(f64::NAN), 0);
    }

    #[test]
    fn a_histogram_shows_its_numbers_and_bears_odd_ones() {
        let values = [0.5, 0.5, f64::NAN, 9.0, -9.0];
        let picture = histogram("h", &values, (-1.0, 1.0), (0.5, "mean"), (400, 200));
        assert_eq!(picture.dimensions(), (400, 200));
        assert!(inked(&picture, BAR) > 100 && inked(&picture, MARK) > 50);
    }

    #[test]
    fn pictures_are_put_together() {
        let (a, b) = (RgbImage::new(3, 5), RgbImage::new(7, 2));
        assert_eq!(stack(&[a.clone(), b.clone()]).dimensions(), (7, 7));
        assert_eq!(beside(&[a, b]).dimensions(), (10, 5));
    }
}
