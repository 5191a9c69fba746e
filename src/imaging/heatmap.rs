//! Which layers trained when: a picture of step × layer, with each layer's share of the whole run.

use super::axis;
use super::canvas::{Area, Canvas, HAIRLINE, MUTED, mix};
use super::caption::{PLAIN, SMALL, TITLE};
use image::{Rgb, RgbImage};

const MARGIN: u32 = 24;
const ROW: u32 = 22;
/// The map's width at most; a run of more steps shows several in one column.
const MAP_WIDTH: u32 = 640;
const MAX_CELL: u32 = 40;
const BAR: u32 = 96;
const KEY_WIDTH: u32 = 120;
const KEY_HEIGHT: u32 = 12;

const NEVER: Rgb<u8> = Rgb([241, 243, 246]);
const REJECTED: Rgb<u8> = Rgb([160, 167, 176]);
/// From never to always, ever darker, so that it reads in grey too.
const RAMP: [Rgb<u8>; 4] = [NEVER, Rgb([158, 202, 225]), Rgb([33, 113, 181]), Rgb([8, 64, 129])];

/// What one step chose.
#[derive(Clone, Debug, Default)]
pub struct LayerStep {
    /// Number of the step.
    pub step: u64,
    /// Indices into the names of the layers; others are passed over.
    pub chosen: Vec<usize>,
    /// What each layer scored, or nothing.
    pub scores: Vec<f32>,
}

/// A picture with a row per layer and a column per step (or per few steps), dark where the layer was chosen.
///
/// With scores, chosen layers are blue and the others grey, both the darker the more they scored in their step.
/// At the right, how often each layer was chosen in all.
pub fn layer_map(title: &str, layers: &[String], steps: &[LayerStep]) -> RgbImage {
    let map = Map::new(layers.len(), steps);
    let name_width = layers.iter().map(|n| PLAIN.width(n)).max().unwrap_or(0).min(200);
    let left = MARGIN + name_width + 10;
    let bars = left + map.width() + 20;
    let key_width = KEY_WIDTH + 12 + SMALL.width(KEY_WITH_SCORES.1);
    let width =
        (bars + BAR + 8 + PLAIN.width("100 %") + MARGIN).max(left + key_width + MARGIN).max(480);
    let title = TITLE.wrap(title, width - 2 * MARGIN, 2);
    let top = MARGIN + title.len() as u32 * TITLE.line_height() + 8 + SMALL.line_height();
    let bottom = top + ROW * layers.len().max(1) as u32;
    let key_top = bottom + 2 * SMALL.line_height() + 24;
    let key_lines = if map.scored { 2 } else { 1 };
    let mut canvas = Canvas::new(width, key_top + key_lines * SMALL.line_height() + MARGIN - 4);

    for (i, line) in title.iter().enumerate() {
        TITLE.write(&mut canvas, MARGIN, MARGIN + i as u32 * TITLE.line_height(), line);
    }
    if steps.is_empty() || layers.is_empty() {
        SMALL.write(&mut canvas, left, top, "nothing to show yet");
        return canvas.into_image();
    }
    SMALL.write(&mut canvas, bars, top - SMALL.line_height() - 2, "share of steps");
    for (i, name) in layers.iter().enumerate() {
        let y = top + ROW * i as u32;
        let name = PLAIN.elide(name, name_width);
        PLAIN.write_right(&mut canvas, left - 10, y + 2, &name);
        for (column, cell) in map.row(i).iter().enumerate() {
            let x = left + column as u32 * map.cell;
            // A gap between steps only where they are wide enough to be counted.
            let w = if map.cell >= 8 { map.cell - 1 } else { map.cell };
            canvas.fill(Area { x, y, w, h: ROW - 1 }, cell.colour(map.scored));
        }
        draw_share(&mut canvas, bars, y, map.shares[i]);
    }
    draw_steps(&mut canvas, &map, steps, left, bottom);
    draw_key(&mut canvas, &map, left, key_top);
    canvas.into_image()
}

/// How often a layer was chosen in the steps of one column, and how it scored (1: best of its step).
#[derive(Clone, Copy, Default)]
struct Cell {
    share: f32,
    score: f32,
}

impl Cell {
    fn colour(self, scored: bool) -> Rgb<u8> {
        if !scored {
            return ramp(self.share);
        }
        // Chosen is never so pale that it could be taken for not chosen.
        mix(mix(NEVER, REJECTED, self.score), ramp(0.4 + 0.6 * self.score), self.share)
    }
}

fn ramp(share: f32) -> Rgb<u8> {
    let at = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f32;
    let i = (at as usize).min(RAMP.len() - 2);
    mix(RAMP[i], RAMP[i + 1], at - i as f32)
}

/// The cells, row by row.
struct Map {
    columns: usize,
    per_column: usize,
    cell: u32,
    cells: Vec<Cell>,
    shares: Vec<f64>,
    scored: bool,
}

impl Map {
    fn new(layers: usize, steps: &[LayerStep]) -> Self {
        let per_column = steps.len().div_ceil(MAP_WIDTH as usize).max(1);
        let columns = steps.len().div_ceil(per_column);
        let cell = (MAP_WIDTH / columns.max(1) as u32).clamp(1, MAX_CELL);
        let scored = steps.iter().any(|s| s.scores.iter().any(|v| v.is_finite() && *v > 0.0));
        let mut cells = vec![Cell::default(); layers * columns];
        let mut shares = vec![0.0; layers];
        for (column, bin) in steps.chunks(per_column).enumerate() {
            for step in bin {
                let best =
                    step.scores.iter().copied().filter(|v| v.is_finite()).fold(0f32, f32::max);
                for layer in 0..layers {
                    let cell = &mut cells[layer * columns + column];
                    if step.chosen.contains(&layer) {
                        cell.share += 1.0 / bin.len() as f32;
                        shares[layer] += 1.0 / steps.len() as f64;
                    }
                    let score = step.scores.get(layer).copied().filter(|v| v.is_finite());
                    if best > 0.0 {
                        cell.score += score.unwrap_or(0.0).max(0.0) / best / bin.len() as f32;
                    }
                }
            }
        }
        Self { columns, per_column, cell, cells, shares, scored }
    }

    fn width(&self) -> u32 {
        self.columns as u32 * self.cell
    }

    fn row(&self, layer: usize) -> &[Cell] {
        &self.cells[layer * self.columns..][..self.columns]
    }
}

fn draw_share(canvas: &mut Canvas, x: u32, y: u32, share: f64) {
    let filled = (f64::from(BAR) * share).round() as u32;
    canvas.fill(Area { x, y: y + 5, w: BAR, h: ROW - 11 }, NEVER);
    canvas.fill(Area { x, y: y + 5, w: filled, h: ROW - 11 }, RAMP[2]);
    let text = format!("{:.0} %", share * 100.0);
    let style = if share > 0.0 { PLAIN } else { SMALL };
    style.write_right(canvas, x + BAR + 8 + PLAIN.width("100 %"), y + 2, &text);
}

/// The numbers of the steps under the map.
fn draw_steps(canvas: &mut Canvas, map: &Map, steps: &[LayerStep], left: u32, y: u32) {
    canvas.fill(Area { x: left, y: y + 2, w: map.width(), h: 1 }, HAIRLINE);
    let first = steps.first().map_or(0, |s| s.step) as f64;
    let last = steps.last().map_or(0, |s| s.step) as f64;
    let most = (map.width() as usize / 70).clamp(1, 8);
    let (mut ticks, distance) = axis::ticks(first, last, most.min(steps.len()));
    ticks.retain(|t| t.fract() == 0.0);
    if ticks.is_empty() {
        ticks.push(first);
    }
    let mut free = 0;
    for tick in ticks {
        let column = steps.partition_point(|s| (s.step as f64) < tick) / map.per_column;
        let x = left + column.min(map.columns - 1) as u32 * map.cell + map.cell / 2;
        let text = axis::label(tick, distance.max(1.0));
        let start = x.saturating_sub(SMALL.width(&text) / 2);
        if start < free {
            continue;
        }
        canvas.fill(Area { x, y: y + 3, w: 1, h: 4 }, MUTED);
        free = SMALL.write(canvas, start, y + 8, &text) + 8;
    }
    let name = match map.per_column {
        1 => "step".to_owned(),
        n => format!("step (a column is {n} steps)"),
    };
    SMALL.write(canvas, left, y + 8 + SMALL.line_height(), &name);
}

const KEY_WITH_SCORES: (&str, &str) =
    ("chosen, by score within its step", "not chosen, by score within its step");

/// Says what the colours mean.
fn draw_key(canvas: &mut Canvas, map: &Map, x: u32, y: u32) {
    let mut bar = |x: u32, y: u32, w: u32, text: &str, cell: &dyn Fn(f32) -> Cell| {
        for i in 0..w {
            let colour = cell(i as f32 / (w - 1) as f32).colour(map.scored);
            canvas.fill(Area { x: x + i, y: y + 3, w: 1, h: KEY_HEIGHT }, colour);
        }
        SMALL.write(canvas, x + w + 10, y, text)
    };
    if map.scored {
        bar(x, y, KEY_WIDTH, KEY_WITH_SCORES.0, &|score| Cell { share: 1.0, score });
        let next = y + SMALL.line_height();
        bar(x, next, KEY_WIDTH, KEY_WITH_SCORES.1, &|score| Cell { share: 0.0, score });
    } else if map.per_column == 1 {
        let after = bar(x, y, KEY_HEIGHT, "chosen", &|_| Cell { share: 1.0, score: 0.0 });
        bar(after + 24, y, KEY_HEIGHT, "not chosen", &|_| Cell::default());
    } else {
        bar(x, y, KEY_WIDTH, "never to always chosen", &|share| Cell { share, score: 0.0 });
    }
}
