//! Rows of images with captions: what `before_after.png` and `samples/` show.

use super::canvas::{Area, Canvas, HAIRLINE};
use super::caption::{LABEL, SMALL, Style, TITLE};
use crate::error::{Error, Result};
use image::RgbImage;
use image::imageops::FilterType;

const MARGIN: u32 = 20;
const GAP: u32 = 4;
/// A picture with one small image still has room for its title.
const MIN_CONTENT: u32 = 320;
/// The width that a row should have: what a web page or a note shows without scaling.
const COMFORTABLE_ROW: u32 = 960;
const LEFT_LABEL_LETTERS: &str = "0123456789abcd";
const MAX_PIXELS: u64 = 1 << 28;

/// Where the labels of rows stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labels {
    /// At the left, unless one is too long for that.
    #[default]
    Auto,
    /// At the left of the row, wrapped.
    Left,
    /// Over the row, in one line.
    Above,
}

/// Rows of images under a title, each row with a label.
///
/// Images are shown at a comfortable size: enlarged (smoothly, by a whole factor) to at least 128 pixels, reduced to
/// at most 512. Smaller images of a mixed grid are enlarged to the common cell.
///
/// ```
/// use image::{Rgb, RgbImage};
/// # fn main() -> nada::Result<()> {
/// let face = RgbImage::from_pixel(64, 64, Rgb([200, 160, 140]));
/// let picture = nada::imaging::grid::Grid::new()
///     .title("photo → sketch")
///     .row("photo", vec![face.clone(), face.clone()])
///     .row("sketch", vec![face.clone(), face])
///     .footer("step 100 · seed 0")
///     .render()?;
/// assert!(picture.width() > 2 * 128);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Grid {
    title: String,
    footer: String,
    rows: Vec<Row>,
    labels: Labels,
    native: bool,
}

#[derive(Clone, Debug)]
struct Row {
    label: String,
    images: Vec<RgbImage>,
}

impl Grid {
    /// An empty grid.
    pub fn new() -> Self {
        Self::default()
    }

    /// Unlabelled rows of `columns` images.
    pub fn tiles(images: &[RgbImage], columns: usize) -> Self {
        images.chunks(columns.max(1)).fold(Self::new(), |grid, row| grid.row("", row.to_vec()))
    }

    /// The line over everything, in bold; `→` may be used.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The small line under everything.
    #[must_use]
    pub fn footer(mut self, footer: impl Into<String>) -> Self {
        self.footer = footer.into();
        self
    }

    /// One more row; an empty `label` takes no room.
    #[must_use]
    pub fn row(mut self, label: impl Into<String>, images: Vec<RgbImage>) -> Self {
        self.rows.push(Row { label: label.into(), images });
        self
    }

    /// Where the labels stand.
    #[must_use]
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    /// Shows every image pixel for pixel instead of at a comfortable size.
    #[must_use]
    pub fn native_size(mut self) -> Self {
        self.native = true;
        self
    }

    /// Draws it.
    ///
    /// # Errors
    /// [`Error::Request`] without any image, or when the picture would exceed 2^28 pixels.
    pub fn render(&self) -> Result<RgbImage> {
        let columns = self.rows.iter().map(|r| r.images.len()).max().unwrap_or(0) as u32;
        let images = || self.rows.iter().flat_map(|r| &r.images);
        let largest = images().fold((0, 0), |(w, h), i| (w.max(i.width()), h.max(i.height())));
        if columns == 0 || largest.0 == 0 || largest.1 == 0 {
            return Err(Error::request("a picture without images", "give at least one image"));
        }
        let cell = if self.native { largest } else { comfortable(largest, columns) };

        let left = self.labels_left();
        let label_width = if left { self.left_label_width() } else { 0 };
        let label_room = if label_width > 0 { label_width + 16 } else { 0 };
        let row_width = label_room + columns.saturating_mul(cell.0 + GAP) - GAP;
        let content = row_width.max(MIN_CONTENT);
        let title = TITLE.wrap(&self.title, content, 2);
        let footer = SMALL.wrap(&self.footer, content, 2);

        let title_height = block_height(&title, TITLE, 12);
        let footer_height = block_height(&footer, SMALL, 8);
        let over =
            |row: &Row| if left || row.label.is_empty() { 0 } else { LABEL.line_height() + 4 };
        let rows_height: u32 =
            self.rows.iter().enumerate().map(|(i, r)| cell.1 + over(r) + space(i, over(r))).sum();
        let (width, height) =
            (content + 2 * MARGIN, rows_height + title_height + footer_height + 2 * MARGIN);
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Error::request(
                format!("a picture of {width} × {height} pixels is too large"),
                "show fewer images at once, or write single files",
            ));
        }

        let mut canvas = Canvas::new(width, height);
        let mut y = MARGIN;
        write_lines(&mut canvas, &title, TITLE, MARGIN, y);
        y += title_height;
        for (i, row) in self.rows.iter().enumerate() {
            y += space(i, over(row));
            if left {
                let lines = LABEL.wrap(&row.label, label_width, lines_beside(cell.1));
                let height = lines.len() as u32 * LABEL.line_height();
                write_lines(
                    &mut canvas,
                    &lines,
                    LABEL,
                    MARGIN,
                    y + (cell.1 - height.min(cell.1)) / 2,
                );
            } else if !row.label.is_empty() {
                let line = LABEL.elide(&row.label, content);
                LABEL.write(&mut canvas, MARGIN, y, &line);
                y += over(row);
            }
            for (column, image) in row.images.iter().enumerate() {
                let image = if self.native { image.clone() } else { fit(image, cell) };
                let x = MARGIN + label_room + column as u32 * (cell.0 + GAP);
                let (x, y) = (x + (cell.0 - image.width()) / 2, y + (cell.1 - image.height()) / 2);
                canvas.paste(&image, x, y);
                // A sketch is mostly paper: its edge must be seen on paper.
                let area = Area { x, y, w: image.width(), h: image.height() };
                canvas.frame(area, HAIRLINE);
            }
            y += cell.1;
        }
        write_lines(&mut canvas, &footer, SMALL, MARGIN, y + 8);
        Ok(canvas.into_image())
    }

    fn labels_left(&self) -> bool {
        match self.labels {
            Labels::Left => true,
            Labels::Above => false,
            Labels::Auto => {
                let limit = 2 * LABEL.width(LEFT_LABEL_LETTERS);
                self.rows.iter().all(|r| LABEL.width(&r.label) <= limit)
            }
        }
    }

    fn left_label_width(&self) -> u32 {
        let most = LABEL.width(LEFT_LABEL_LETTERS);
        self.rows
            .iter()
            .flat_map(|r| LABEL.wrap(&r.label, most, usize::MAX))
            .map(|line| LABEL.width(&line))
            .max()
            .unwrap_or(0)
    }
}

/// The size at which images of `largest` are shown, `columns` beside each other.
fn comfortable((w, h): (u32, u32), columns: u32) -> (u32, u32) {
    let side = w.max(h);
    if side > 512 {
        let reduce = |v: u32| (u64::from(v) * 512 / u64::from(side)).max(1) as u32;
        return (reduce(w), reduce(h));
    }
    // Beyond three times, smoothing shows more blur than image.
    let wanted = (COMFORTABLE_ROW / columns / side).min(3);
    let factor = wanted.max(128u32.div_ceil(side));
    (w * factor, h * factor)
}

/// `image` as large as `cell` allows, its proportions kept.
fn fit(image: &RgbImage, cell: (u32, u32)) -> RgbImage {
    if image.dimensions() == cell || image.width() == 0 || image.height() == 0 {
        return image.clone();
    }
    let scale = f64::min(
        f64::from(cell.0) / f64::from(image.width()),
        f64::from(cell.1) / f64::from(image.height()),
    );
    let size = |v: u32, most: u32| ((f64::from(v) * scale).round() as u32).clamp(1, most);
    let (w, h) = (size(image.width(), cell.0), size(image.height(), cell.1));
    image::imageops::resize(image, w, h, FilterType::CatmullRom)
}

/// Room over row `i`: more where a caption belongs to the row below it.
fn space(i: usize, caption: u32) -> u32 {
    match (i, caption) {
        (0, _) => 0,
        (_, 0) => GAP,
        _ => 12,
    }
}

fn lines_beside(height: u32) -> usize {
    (height / LABEL.line_height()).max(1) as usize
}

fn block_height(lines: &[String], style: Style, gap: u32) -> u32 {
    if lines.is_empty() { 0 } else { lines.len() as u32 * style.line_height() + gap }
}

fn write_lines(canvas: &mut Canvas, lines: &[String], style: Style, x: u32, y: u32) {
    for (i, line) in lines.iter().enumerate() {
        style.write(canvas, x, y + i as u32 * style.line_height(), line);
    }
}
