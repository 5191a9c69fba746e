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
/// A column of captions is at most so wide; longer words are elided.
const COLUMN_LETTERS: &str = "0123456789abcdefghijklmn";
/// Larger images are reduced to this side.
const LARGEST: u32 = 512;
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
    /// At the left as a caption: all of it, wrapped, with its notes. The column is as wide as words and notes need, and
    /// a row grows with its caption.
    Column,
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
    columns: Vec<String>,
    rows: Vec<Row>,
    labels: Labels,
    native: bool,
}

#[derive(Clone, Debug)]
struct Row {
    label: String,
    notes: Vec<String>,
    images: Vec<RgbImage>,
    /// Begins a block of rows.
    apart: bool,
}

impl Row {
    /// Label and notes in one line.
    fn line(&self) -> String {
        let parts = std::iter::once(&self.label).chain(&self.notes).map(String::as_str);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
    }
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

    /// What stands over each column, the first image's first; shortened where a column is too narrow.
    #[must_use]
    pub fn columns(mut self, headings: impl IntoIterator<Item = String>) -> Self {
        self.columns = headings.into_iter().collect();
        self
    }

    /// One more row; an empty `label` takes no room.
    #[must_use]
    pub fn row(self, label: impl Into<String>, images: Vec<RgbImage>) -> Self {
        self.noted_row(label, Vec::new(), images)
    }

    /// As [`Grid::row`], with small lines under the label; [`Labels::Left`] has no room for them.
    #[must_use]
    pub fn noted_row(
        mut self,
        label: impl Into<String>,
        notes: Vec<String>,
        images: Vec<RgbImage>,
    ) -> Self {
        self.rows.push(Row { label: label.into(), notes, images, apart: false });
        self
    }

    /// The last row begins a block: there is more room over it.
    #[must_use]
    pub fn apart(mut self) -> Self {
        if let Some(row) = self.rows.last_mut() {
            row.apart = true;
        }
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
        let label_width = if left { self.left_label_width(cell.1) } else { 0 };
        let label_room = if label_width > 0 { label_width + 16 } else { 0 };
        let row_width = label_room + columns.saturating_mul(cell.0 + GAP) - GAP;
        let content = row_width.max(MIN_CONTENT);
        let title = TITLE.wrap(&self.title, content, 2);
        let footer = SMALL.wrap(&self.footer, content, 2);

        let heading = if self.columns.is_empty() { 0 } else { LABEL.line_height() + 6 };
        let title_height = block_height(&title, TITLE, 12) + heading;
        let footer_height = block_height(&footer, SMALL, 8);
        let over =
            |row: &Row| if left || row.line().is_empty() { 0 } else { LABEL.line_height() + 4 };
        let column = self.labels == Labels::Column;
        let captions: Vec<Caption> = self
            .rows
            .iter()
            .map(|row| match (left, column) {
                (false, _) => Caption::default(),
                (true, true) => Caption::full(row, label_width),
                (true, false) => Caption::beside(row, label_width, cell.1),
            })
            .collect();
        // Only a column may make its row higher.
        let high = |i: usize| if column { cell.1.max(captions[i].height()) } else { cell.1 };
        let rows = self.rows.iter().enumerate();
        let rows_height: u32 = rows.map(|(i, r)| high(i) + over(r) + space(i, r, over(r))).sum();
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
        for (column, text) in self.columns.iter().take(columns as usize).enumerate() {
            let x = MARGIN + label_room + column as u32 * (cell.0 + GAP) + cell.0 / 2;
            LABEL.write_centred(&mut canvas, x, y - heading, &LABEL.elide(text, cell.0));
        }
        for (i, row) in self.rows.iter().enumerate() {
            y += space(i, row, over(row));
            if left {
                let above = (high(i) - captions[i].height().min(high(i))) / 2;
                captions[i].write(&mut canvas, MARGIN, y + above);
            } else if over(row) > 0 {
                let line = LABEL.elide(&row.line(), content);
                LABEL.write(&mut canvas, MARGIN, y, &line);
                y += over(row);
            }
            for (column, image) in row.images.iter().enumerate() {
                let image = if self.native { image.clone() } else { fit(image, cell) };
                let x = MARGIN + label_room + column as u32 * (cell.0 + GAP);
                let (x, y) = (x + (cell.0 - image.width()) / 2, y + (high(i) - image.height()) / 2);
                canvas.paste(&image, x, y);
                // A sketch is mostly paper: its edge must be seen on paper.
                let area = Area { x, y, w: image.width(), h: image.height() };
                canvas.frame(area, HAIRLINE);
            }
            y += high(i);
        }
        write_lines(&mut canvas, &footer, SMALL, MARGIN, y + 8);
        Ok(canvas.into_image())
    }

    fn labels_left(&self) -> bool {
        match self.labels {
            Labels::Left | Labels::Column => true,
            Labels::Above => false,
            Labels::Auto => {
                let limit = 2 * LABEL.width(LEFT_LABEL_LETTERS);
                self.rows.iter().all(|r| r.notes.is_empty() && LABEL.width(&r.label) <= limit)
            }
        }
    }

    fn left_label_width(&self, high: u32) -> u32 {
        let least = LABEL.width(LEFT_LABEL_LETTERS);
        if self.labels == Labels::Column {
            return self.column_width(least, high);
        }
        self.widest_line(least)
    }

    /// What the lines of the labels take when they are wrapped to `most`.
    fn widest_line(&self, most: u32) -> u32 {
        let lines = self.rows.iter().flat_map(|r| LABEL.wrap(&r.label, most, usize::MAX));
        lines.map(|line| LABEL.width(&line)).max().unwrap_or(0)
    }

    /// The narrowest column that breaks no word and whose captions are no higher than the images, if there is one.
    fn column_width(&self, least: u32, high: u32) -> u32 {
        let most = LABEL.width(COLUMN_LETTERS);
        let words = self.rows.iter().flat_map(|r| r.label.split_whitespace());
        let words = words.map(|word| LABEL.width(word)).max().unwrap_or(0);
        let notes = self.rows.iter().flat_map(|r| &r.notes).map(|note| SMALL.width(note));
        let notes = notes.max().unwrap_or(0).min(most);
        let fits = |width: u32| self.rows.iter().all(|r| Caption::full(r, width).height() <= high);
        let step = LABEL.width("n").max(1) as usize;
        let mut widths = (words.clamp(least, most).max(notes)..=most).step_by(step);
        self.widest_line(widths.find(|width| fits(*width)).unwrap_or(most)).max(notes)
    }
}

/// An image no larger than a grid shows it, so that many can wait in memory.
pub fn reduced(image: RgbImage) -> RgbImage {
    match image.dimensions() {
        (w, h) if w.max(h) > LARGEST => fit(&image, comfortable((w, h), 1)),
        _ => image,
    }
}

/// The size at which images of `largest` are shown, `columns` beside each other.
fn comfortable((w, h): (u32, u32), columns: u32) -> (u32, u32) {
    let side = w.max(h);
    if side > LARGEST {
        let reduce = |v: u32| (u64::from(v) * u64::from(LARGEST) / u64::from(side)).max(1) as u32;
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

/// Room over row `i`: more where a caption belongs to the row below it, or a block begins.
fn space(i: usize, row: &Row, caption: u32) -> u32 {
    match (i, caption) {
        (0, _) => 0,
        _ if row.apart => 28,
        (_, 0) => GAP,
        _ => 12,
    }
}

/// What stands beside a row.
#[derive(Default)]
struct Caption {
    label: Vec<String>,
    notes: Vec<String>,
}

impl Caption {
    /// The label in as many lines as fit beside images of this height.
    fn beside(row: &Row, width: u32, height: u32) -> Self {
        let lines = (height / LABEL.line_height()).max(1) as usize;
        Self { label: LABEL.wrap(&row.label, width, lines), notes: Vec::new() }
    }

    /// All of it.
    fn full(row: &Row, width: u32) -> Self {
        let notes = row.notes.iter().map(|note| SMALL.elide(note, width)).collect();
        Self { label: LABEL.wrap(&row.label, width, usize::MAX), notes }
    }

    fn height(&self) -> u32 {
        self.label_height() + self.notes.len() as u32 * SMALL.line_height()
    }

    fn label_height(&self) -> u32 {
        let gap = if self.notes.is_empty() { 0 } else { 4 };
        block_height(&self.label, LABEL, gap)
    }

    fn write(&self, canvas: &mut Canvas, x: u32, y: u32) {
        write_lines(canvas, &self.label, LABEL, x, y);
        write_lines(canvas, &self.notes, SMALL, x, y + self.label_height());
    }
}

fn block_height(lines: &[String], style: Style, gap: u32) -> u32 {
    if lines.is_empty() { 0 } else { lines.len() as u32 * style.line_height() + gap }
}

fn write_lines(canvas: &mut Canvas, lines: &[String], style: Style, x: u32, y: u32) {
    for (i, line) in lines.iter().enumerate() {
        style.write(canvas, x, y + i as u32 * style.line_height(), line);
    }
}
