//! Text in pictures: a bitmap font for the Latin letters, three signs drawn by hand, and fitting to a width.

use super::canvas::{Canvas, INK, MUTED, Pen};
use image::Rgb;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// A manner of writing.
#[derive(Clone, Copy)]
pub(super) struct Style {
    height: RasterHeight,
    weight: FontWeight,
    colour: Rgb<u8>,
}

/// The line over a picture.
pub(super) const TITLE: Style = bold(RasterHeight::Size24);
/// The name of a row of images.
pub(super) const LABEL: Style = bold(RasterHeight::Size20);
/// Names in plots.
pub(super) const PLAIN: Style =
    Style { height: RasterHeight::Size16, weight: FontWeight::Regular, colour: INK };
/// Numbers on axes, remarks.
pub(super) const SMALL: Style =
    Style { height: RasterHeight::Size16, weight: FontWeight::Regular, colour: MUTED };

const fn bold(height: RasterHeight) -> Style {
    Style { height, weight: FontWeight::Bold, colour: INK }
}

impl Style {
    /// Pixels from one line to the next.
    pub(super) fn line_height(self) -> u32 {
        self.height.val() as u32 + 2
    }

    /// Pixels that `text` takes in one line.
    pub(super) fn width(self, text: &str) -> u32 {
        clean(text).map(|c| self.advance(c)).sum()
    }

    fn advance(self, c: char) -> u32 {
        let one = get_raster_width(self.weight, self.height) as u32;
        if c == '→' { 2 * one } else { one }
    }

    /// `text`, or as much of it as fits into `width` pixels with a `…`.
    pub(super) fn elide(self, text: &str, width: u32) -> String {
        if self.width(text) <= width {
            return clean(text).collect();
        }
        let room = width.saturating_sub(self.advance('…'));
        let mut used = 0;
        let kept: String = clean(text)
            .take_while(|c| {
                used += self.advance(*c);
                used <= room
            })
            .collect();
        format!("{}…", kept.trim_end())
    }

    /// `text` in at most `most` lines of `width` pixels, broken between words; what is left over is elided.
    pub(super) fn wrap(self, text: &str, width: u32, most: usize) -> Vec<String> {
        let text: String = clean(text).collect();
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            let count = lines.len();
            match lines.last_mut() {
                // The last line takes all that is left, and is cut below.
                Some(last) if count == most || self.width(&format!("{last} {word}")) <= width => {
                    last.push(' ');
                    last.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.iter().map(|line| self.elide(line, width)).collect()
    }

    /// Writes one line whose box has its upper left corner at (`x`, `y`); returns the `x` behind it.
    pub(super) fn write(self, canvas: &mut Canvas, x: u32, y: u32, text: &str) -> u32 {
        let mut x = x;
        for c in clean(text) {
            self.glyph(canvas, x, y, c);
            x += self.advance(c);
        }
        x
    }

    /// As [`Style::write`], ending at `x`.
    pub(super) fn write_right(self, canvas: &mut Canvas, x: u32, y: u32, text: &str) {
        self.write(canvas, x.saturating_sub(self.width(text)), y, text);
    }

    /// As [`Style::write`], with its middle at `x`.
    pub(super) fn write_centred(self, canvas: &mut Canvas, x: u32, y: u32, text: &str) {
        self.write(canvas, x.saturating_sub(self.width(text) / 2), y, text);
    }

    fn glyph(self, canvas: &mut Canvas, x: u32, y: u32, c: char) {
        let (fx, fy) = (x as f32, y as f32);
        let (w, h) = (self.advance(c) as f32, self.height.val() as f32);
        let bold = matches!(self.weight, FontWeight::Bold);
        let pen = Pen { colour: self.colour, width: if bold { 2.2 } else { 1.3 }, opacity: 1.0 };
        match c {
            '→' => {
                let (tip, middle, head) = (fx + w - 2.0, fy + 0.52 * h, 0.2 * h);
                let clip = canvas.area();
                canvas.line(&[(fx + 2.5, middle), (tip, middle)], pen, clip);
                let barbs =
                    [(tip - head, middle - head), (tip, middle), (tip - head, middle + head)];
                canvas.line(&barbs, pen, clip);
            }
            '…' => {
                for i in 0..3 {
                    let at = (fx + w * (i as f32 + 0.5) / 3.0, fy + 0.8 * h);
                    canvas.line(&[at], Pen { width: pen.width.min(1.6), ..pen }, canvas.area());
                }
            }
            _ => {
                let raster = get_raster(c, self.weight, self.height)
                    .or_else(|| get_raster('?', self.weight, self.height));
                for (row, line) in raster.iter().flat_map(|r| r.raster().iter().enumerate()) {
                    for (column, ink) in line.iter().enumerate().filter(|(_, ink)| **ink > 0) {
                        let (px, py) = (x + column as u32, y + row as u32);
                        canvas.blend(px, py, self.colour, f32::from(*ink) / 255.0);
                    }
                }
            }
        }
    }
}

/// What can be shown of `text`: white space is one blank, typographic quotes and dashes are plain, and marks without
/// a width of their own are left out.
fn clean(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter_map(|c| match c {
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => {
            None
        }
        '‘' | '’' | '‚' => Some('\''),
        '“' | '”' | '„' => Some('"'),
        '‐'..='―' | '−' => Some('-'),
        c if c.is_whitespace() || c.is_control() => Some(' '),
        c => Some(c),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_wrapped_between_words_and_elided_at_the_end() {
        let ten = PLAIN.width("0123456789");
        assert_eq!(PLAIN.wrap("a photo of a dog", ten, 3), ["a photo of", "a dog"]);
        assert_eq!(PLAIN.wrap("a photo of a dog and cat", ten, 2), ["a photo of", "a dog and…"]);
        assert_eq!(PLAIN.wrap("unbreakable-word", ten, 2), ["unbreakab…"]);
        assert!(PLAIN.wrap("  ", ten, 2).is_empty());
        assert_eq!(PLAIN.elide("0123456789", ten), "0123456789");
        assert_eq!(PLAIN.elide("anything", 0), "…");
    }

    #[test]
    fn what_the_font_lacks_still_takes_its_place() {
        assert_eq!(PLAIN.width("“naïve”\n"), PLAIN.width("\"naive\" "));
        assert_eq!(PLAIN.width("e\u{301}"), PLAIN.width("e"));
        assert_eq!(PLAIN.width("猫"), PLAIN.width("?"));
    }
}
