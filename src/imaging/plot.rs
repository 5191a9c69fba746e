//! Curves over the steps of a run: faint as measured, strong as smoothed.

use super::axis;
use super::canvas::{Area, Canvas, HAIRLINE, MUTED, Pen};
use super::caption::{PLAIN, SMALL, TITLE};
use image::{Rgb, RgbImage};

const WIDTH: u32 = 960;
const PLOT_HEIGHT: u32 = 360;
const MARGIN: u32 = 24;
const SWATCH: u32 = 24;

/// Okabe and Ito's colours, told apart by colour-blind readers too; its yellow is left out, too pale on white.
const PALETTE: [Rgb<u8>; 6] = [
    Rgb([0, 114, 178]),
    Rgb([213, 94, 0]),
    Rgb([0, 158, 115]),
    Rgb([204, 121, 167]),
    Rgb([230, 159, 0]),
    Rgb([86, 180, 233]),
];
/// What comes after the last colour begins again, dashed.
const DASH: f32 = 9.0;
/// Losses beyond this are as good as infinite, and would break the arithmetic of the axes.
const HUGE: f64 = 1e30;

/// One curve.
#[derive(Clone, Debug)]
pub struct Series {
    /// As the legend shows it.
    pub name: String,
    /// (x, y), x ascending. Where a number is not finite the curve has a gap.
    pub points: Vec<(f64, f64)>,
}

/// Whether and how the curves are smoothed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Smoothing {
    /// As measured, strong.
    None,
    /// Over a twentieth of the points at both sides (5 to 200); curves of less than 20 points as measured.
    #[default]
    Auto,
    /// Over so many points at both sides.
    Window(usize),
}

/// A picture of curves over a common axis, with a legend that shows each curve's last value.
///
/// A few wild points (1 in 100) neither set the scale nor bend a smoothed curve: they leave the picture at its edge.
pub fn line_plot(title: &str, x_label: &str, series: &[Series], smoothing: Smoothing) -> RgbImage {
    let curves: Vec<Curve> =
        series.iter().enumerate().map(|(i, s)| Curve::new(i, s, smoothing)).collect();
    let title = TITLE.wrap(title, WIDTH - 2 * MARGIN, 2);
    let legend = Legend::layout(&curves);
    let legend_y = MARGIN + title.len() as u32 * TITLE.line_height() + 6;
    let top = legend_y + legend.height() + 14;
    let height = top + PLOT_HEIGHT + 2 * PLAIN.line_height() + MARGIN;

    let mut canvas = Canvas::new(WIDTH, height);
    for (i, line) in title.iter().enumerate() {
        TITLE.write(&mut canvas, MARGIN, MARGIN + i as u32 * TITLE.line_height(), line);
    }
    legend.draw(&mut canvas, &curves, legend_y);

    let Some(((x_lo, x_hi), (y_lo, y_hi))) = ranges(&curves) else {
        let middle = top + PLOT_HEIGHT / 2;
        SMALL.write_centred(&mut canvas, WIDTH / 2, middle, "nothing to show yet");
        return canvas.into_image();
    };
    let whole = curves.iter().flat_map(|c| c.raw.iter().flatten()).all(|p| p.0.fract() == 0.0);
    let (y_ticks, y_step) = axis::ticks(y_lo, y_hi, 6);
    let y_labels: Vec<String> = y_ticks.iter().map(|v| axis::label(*v, y_step)).collect();
    let label_width = y_labels.iter().map(|l| SMALL.width(l)).max().unwrap_or(0);
    let left = MARGIN + label_width + 8;
    let plot = Area { x: left, y: top, w: WIDTH - left - MARGIN, h: PLOT_HEIGHT };
    let scale = Scale { plot, x: (x_lo, x_hi), y: (y_lo, y_hi), whole_x: whole };

    for (value, label) in y_ticks.iter().zip(&y_labels) {
        let y = scale.at(x_lo, *value).1 as u32;
        canvas.fill(Area { y, h: 1, ..plot }, HAIRLINE);
        SMALL.write_right(&mut canvas, left - 8, y.saturating_sub(9), label);
    }
    draw_x_axis(&mut canvas, &scale, x_label);
    for curve in curves.iter().filter(|c| c.is_smoothed) {
        curve.draw(
            &mut canvas,
            &scale,
            &curve.raw,
            Pen { width: 1.0, opacity: 0.28, colour: curve.colour },
        );
    }
    for curve in &curves {
        curve.draw(
            &mut canvas,
            &scale,
            &curve.smooth,
            Pen { width: 2.2, opacity: 1.0, colour: curve.colour },
        );
    }
    canvas.into_image()
}

fn draw_x_axis(canvas: &mut Canvas, scale: &Scale, name: &str) {
    let Area { x, y, w, h } = scale.plot;
    canvas.fill(Area { x, y: y + h, w, h: 1 }, MUTED);
    let (mut ticks, mut step) = axis::ticks(scale.x.0, scale.x.1, 8);
    if scale.whole_x {
        ticks.retain(|t| t.fract() == 0.0);
        step = step.max(1.0);
    }
    for value in ticks {
        let at = scale.at(value, 0.0).0 as u32;
        canvas.fill(Area { x: at, y: y + h, w: 1, h: 5 }, MUTED);
        let text = axis::label(value, step);
        // The last label stays on the sheet.
        let half = SMALL.width(&text) / 2;
        SMALL.write_centred(canvas, at.min(WIDTH - half - 2), y + h + 7, &text);
    }
    let name = SMALL.elide(name, w);
    SMALL.write_centred(canvas, x + w / 2, y + h + 9 + SMALL.line_height(), &name);
}

/// A series ready to be drawn.
struct Curve<'a> {
    name: &'a str,
    colour: Rgb<u8>,
    dashed: bool,
    raw: Vec<Option<(f64, f64)>>,
    smooth: Vec<Option<(f64, f64)>>,
    is_smoothed: bool,
}

impl<'a> Curve<'a> {
    fn new(index: usize, series: &'a Series, smoothing: Smoothing) -> Self {
        let usable = |v: f64| v.is_finite() && v.abs() < HUGE;
        let raw: Vec<Option<(f64, f64)>> = series
            .points
            .iter()
            .map(|&(x, y)| (usable(x) && usable(y)).then_some((x, y)))
            .collect();
        let window = match smoothing {
            Smoothing::None => 1,
            Smoothing::Auto if raw.len() < 20 => 1,
            Smoothing::Auto => (raw.len() / 20).clamp(5, 200),
            Smoothing::Window(points) => points.min(raw.len()).max(1),
        };
        let smooth = if window > 1 { local_line(&tamed(&raw), window) } else { raw.clone() };
        let (colour, dashed) = (PALETTE[index % PALETTE.len()], index >= PALETTE.len());
        Self { name: &series.name, colour, dashed, raw, smooth, is_smoothed: window > 1 }
    }

    fn last(&self) -> Option<f64> {
        self.smooth.iter().rev().flatten().next().map(|p| p.1)
    }

    /// Draws `points`, piece by piece between the gaps.
    fn draw(&self, canvas: &mut Canvas, scale: &Scale, points: &[Option<(f64, f64)>], pen: Pen) {
        for piece in points.split(Option::is_none) {
            let path: Vec<(f32, f32)> =
                piece.iter().flatten().map(|&(x, y)| scale.at(x, y)).collect();
            let path = thin_out(path);
            match path.as_slice() {
                [] => {}
                [dot] => canvas.line(&[*dot], Pen { width: pen.width + 2.5, ..pen }, canvas.area()),
                _ if self.dashed => {
                    for dash in dashes(&path) {
                        canvas.line(&dash, pen, scale.plot);
                    }
                }
                path => canvas.line(path, pen, scale.plot),
            }
        }
    }
}

/// A line fitted to the neighbours of each point, nearer ones counting more (Gaussian weights, ± `window` points).
///
/// Unlike an exponential mean it neither lags behind a falling curve nor is pulled at the ends.
fn local_line(points: &[Option<(f64, f64)>], window: usize) -> Vec<Option<(f64, f64)>> {
    let weights: Vec<f64> =
        (0..=window).map(|d| (-0.5 * (2.5 * d as f64 / window as f64).powi(2)).exp()).collect();
    let smoothed = |i: usize| {
        let (x, _) = points[i]?;
        // Weighted sums over the distance d: 1, d, d², y, d·y.
        let [mut s0, mut s1, mut s2, mut t0, mut t1] = [0.0; 5];
        for j in i.saturating_sub(window)..(i + window + 1).min(points.len()) {
            let Some((_, y)) = points[j] else { continue };
            let (w, d) = (weights[i.abs_diff(j)], j as f64 - i as f64);
            s0 += w;
            s1 += w * d;
            s2 += w * d * d;
            t0 += w * y;
            t1 += w * d * y;
        }
        let spread = s0 * s2 - s1 * s1;
        let y = if spread > 1e-9 * s0 * s2 { (s2 * t0 - s1 * t1) / spread } else { t0 / s0 };
        Some((x, y))
    };
    (0..points.len()).map(smoothed).collect()
}

/// From values to places on the sheet.
struct Scale {
    plot: Area,
    x: (f64, f64),
    y: (f64, f64),
    /// Whether x counts something: no ticks between.
    whole_x: bool,
}

impl Scale {
    fn at(&self, x: f64, y: f64) -> (f32, f32) {
        let Area { x: left, y: top, w, h } = self.plot;
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        let up = (y - self.y.0) / (self.y.1 - self.y.0);
        // Far outside is as good as the next sheet, and keeps the pixel arithmetic exact.
        let down = (1.0 - up).clamp(-4.0, 5.0);
        (
            (f64::from(left) + across * f64::from(w)) as f32,
            (f64::from(top) + down * f64::from(h)) as f32,
        )
    }
}

type Range = (f64, f64);

/// What the axes span; `None` when there is no point at all.
fn ranges(curves: &[Curve]) -> Option<(Range, Range)> {
    let xs = || curves.iter().flat_map(|c| c.raw.iter().flatten()).map(|p| p.0);
    let ys = || curves.iter().flat_map(|c| c.raw.iter().flatten()).map(|p| p.1);
    let bulk = bulk(ys())?;
    let smooth = || curves.iter().flat_map(|c| c.smooth.iter().flatten()).map(|p| p.1);
    // The strong line must be seen whole, unless it is the measured one.
    let is_smoothed = curves.iter().any(|c| c.is_smoothed);
    let (lo, hi) = if is_smoothed {
        (smooth().fold(bulk.0, f64::min), smooth().fold(bulk.1, f64::max))
    } else {
        (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max))
    };
    let x = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
    Some((widened(x, 0.0), widened((lo, hi), 0.05)))
}

/// The range of all but the outermost hundredth at either side (of all values, when they are few).
fn bulk(values: impl Iterator<Item = f64>) -> Option<Range> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let cut = if values.len() >= 100 { values.len() / 100 } else { 0 };
    Some((*values.get(cut)?, *values.get(values.len() - 1 - cut)?))
}

/// The points with wild values brought close to the others, so that one of them does not bend the smoothed curve.
fn tamed(points: &[Option<(f64, f64)>]) -> Vec<Option<(f64, f64)>> {
    let Some((lo, hi)) = bulk(points.iter().flatten().map(|p| p.1)) else {
        return points.to_vec();
    };
    let air = (hi - lo) / 2.0;
    points.iter().map(|point| point.map(|(x, y)| (x, y.clamp(lo - air, hi + air)))).collect()
}

/// A range that is never empty, with `air` of its length at both ends.
fn widened((lo, hi): Range, air: f64) -> Range {
    let span = hi - lo;
    if span <= hi.abs().max(lo.abs()) * 1e-9 {
        let half = (hi.abs() * 0.1).max(0.5);
        return (lo - half, hi + half);
    }
    (lo - span * air, hi + span * air)
}

/// At most the outline of what falls into one pixel column, so that a long run costs no more than a short one.
fn thin_out(path: Vec<(f32, f32)>) -> Vec<(f32, f32)> {
    if path.len() < 4 * WIDTH as usize {
        return path;
    }
    let mut kept = Vec::new();
    for column in path.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
        let by_height = |a: &&(f32, f32), b: &&(f32, f32)| a.1.total_cmp(&b.1);
        kept.extend(column.first());
        kept.extend(column.iter().min_by(by_height));
        kept.extend(column.iter().max_by(by_height));
        kept.extend(column.last());
    }
    kept
}

/// The path cut into strokes of equal length with gaps between them.
fn dashes(path: &[(f32, f32)]) -> Vec<Vec<(f32, f32)>> {
    let (mut strokes, mut stroke, mut travelled) = (Vec::new(), Vec::new(), 0f32);
    let mut drawing = true;
    stroke.extend(path.first().copied());
    for pair in path.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            let left = if drawing { DASH } else { DASH * 0.6 } - travelled;
            if length < left {
                travelled += length;
                break;
            }
            let t = left / length.max(f32::MIN_POSITIVE);
            from = (from.0 + (to.0 - from.0) * t, from.1 + (to.1 - from.1) * t);
            if drawing {
                stroke.push(from);
                strokes.push(std::mem::take(&mut stroke));
            } else {
                stroke = vec![from];
            }
            drawing = !drawing;
            travelled = 0.0;
        }
        if drawing {
            stroke.push(to);
        }
    }
    if drawing && stroke.len() > 1 {
        strokes.push(stroke);
    }
    strokes
}

/// The names of the curves in lines that fit the sheet.
struct Legend {
    /// Per curve: x, line, name as shown, value as shown.
    entries: Vec<(u32, u32, String, String)>,
    lines: u32,
}

impl Legend {
    fn layout(curves: &[Curve]) -> Self {
        let (mut x, mut line, mut entries) = (MARGIN, 0, Vec::new());
        for curve in curves {
            let name = PLAIN.elide(curve.name, WIDTH / 3);
            let value = curve.last().map(axis::short).unwrap_or_default();
            let width = SWATCH + 8 + PLAIN.width(&name) + 8 + SMALL.width(&value);
            if x > MARGIN && x + width > WIDTH - MARGIN {
                (x, line) = (MARGIN, line + 1);
            }
            entries.push((x, line, name, value));
            x += width + 24;
        }
        Self { lines: if entries.is_empty() { 0 } else { line + 1 }, entries }
    }

    fn height(&self) -> u32 {
        self.lines * (PLAIN.line_height() + 4)
    }

    fn draw(&self, canvas: &mut Canvas, curves: &[Curve], top: u32) {
        for (curve, (x, line, name, value)) in curves.iter().zip(&self.entries) {
            let y = top + line * (PLAIN.line_height() + 4);
            let middle = y as f32 + 9.5;
            let path = [(*x as f32 + 1.5, middle), ((x + SWATCH) as f32 - 1.5, middle)];
            let pen = Pen { colour: curve.colour, width: 3.0, opacity: 1.0 };
            let strokes = if curve.dashed { dashes(&path) } else { vec![path.to_vec()] };
            for stroke in strokes {
                canvas.line(&stroke, pen, canvas.area());
            }
            let after = PLAIN.write(canvas, x + SWATCH + 8, y, name);
            SMALL.write(canvas, after + 8, y, value);
        }
    }
}
