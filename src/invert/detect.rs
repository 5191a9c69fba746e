//! Faces and their five landmarks: MTCNN (Zhang et al. 2016), three small networks in a row.
//!
//! ```text
//! pyramid of the picture ─► P-net ─► boxes ─► R-net (24 px) ─► boxes ─► O-net (48 px) ─► faces, five points each
//! ```
//! Weights and thresholds are those of timesler/facenet-pytorch (MIT); its results are the fixture `mtcnn`.

use super::align::{Landmarks, Point};
use crate::error::{Error, Result};
use crate::imaging::pil;
use crate::torch::{ShapeMap, TensorMap, catch};
use image::RgbImage;
use tch::{Device, Kind, Tensor};

/// Side of the smallest face that is looked for, in pixels.
const SMALLEST: f64 = 20.0;
/// A picture larger than this is made smaller before: its faces are large enough.
const LARGEST_SIDE: u32 = 1600;
/// Each level of the pyramid is so many times as large as the one before.
const FACTOR: f64 = 0.709;
/// The side that P-net sees at once, and the distance between two such places.
const CELL: f64 = 12.0;
const STRIDE: f64 = 2.0;
/// How sure each network must be.
const SURE: [f64; 3] = [0.6, 0.7, 0.7];
/// Boxes that are kept of one level, the surest first. A photo has some hundreds.
const MOST: usize = 4000;

/// A face in a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Face {
    /// Left, top, right and bottom in pixels.
    pub bounds: [f64; 4],
    /// How sure the last network is, 0 to 1.
    pub score: f64,
    /// Eye on the left, eye on the right, nose, corner of the mouth on the left, and on the right, in pixels.
    pub points: [Point; 5],
}

impl Face {
    /// What [`super::align::align`] needs.
    pub fn landmarks(&self) -> Landmarks {
        let [eye_left, eye_right, _, mouth_left, mouth_right] = self.points;
        Landmarks { eye_left, eye_right, mouth_left, mouth_right }
    }

    fn area(&self) -> f64 {
        area(&self.bounds)
    }
}

/// The three networks.
#[derive(Debug)]
pub struct Detector {
    pnet: Stage,
    rnet: Stage,
    onet: Stage,
    device: Device,
}

impl Detector {
    /// Every tensor that it needs: the originals' names behind `pnet.`, `rnet.` and `onet.`.
    pub fn shapes() -> ShapeMap {
        NETWORKS
            .iter()
            .flat_map(|(net, layers)| {
                layers.iter().flat_map(move |layer| {
                    layer.shapes().map(move |(n, s)| (format!("{net}.{n}"), s))
                })
            })
            .collect()
    }

    /// Builds the networks from float32 tensors on one device.
    ///
    /// # Errors
    /// [`Error::Tensors`] with all tensors that are missing or do not fit.
    pub fn new(tensors: &TensorMap) -> Result<Self> {
        let problems: Vec<String> = Self::shapes()
            .into_iter()
            .filter(|(name, shape)| tensors.get(name).is_none_or(|t| t.size() != *shape))
            .map(|(name, shape)| format!("`{name}` {shape:?} is missing, or of another shape"))
            .collect();
        if !problems.is_empty() {
            return Err(Error::Tensors {
                what: "this is no face detector".into(),
                problems,
                hint: Some("use the `mtcnn` that ships with `nada`".into()),
            });
        }
        let stage = |net: &str| Stage::new(tensors, net);
        let device = tensors["pnet.conv1.weight"].device();
        Ok(Self { pnet: stage("pnet"), rnet: stage("rnet"), onet: stage("onet"), device })
    }

    /// The faces of a picture, the largest first.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn detect(&self, picture: &RgbImage) -> Result<Vec<Face>> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Ok(Vec::new());
        }
        let shrink = f64::from(width.max(height)) / f64::from(LARGEST_SIDE);
        let mut faces = if shrink > 1.0 {
            let size = |n: u32| ((f64::from(n) / shrink).round() as u32).max(1);
            let small = pil::lanczos(picture, size(width), size(height))?;
            let (sx, sy) = (
                f64::from(width) / f64::from(small.width()),
                f64::from(height) / f64::from(small.height()),
            );
            let mut faces = self.detect_in(&small)?;
            for face in &mut faces {
                let [l, t, r, b] = face.bounds;
                face.bounds = [l * sx, t * sy, r * sx, b * sy];
                face.points = face.points.map(|[x, y]| [x * sx, y * sy]);
            }
            faces
        } else {
            self.detect_in(picture)?
        };
        faces.sort_by(|a, b| b.area().total_cmp(&a.area()));
        Ok(faces)
    }

    fn detect_in(&self, picture: &RgbImage) -> Result<Vec<Face>> {
        catch("looking for faces", || {
            tch::no_grad(|| {
                let levels = Tensor::from_slice(picture.as_raw())
                    .view([1, i64::from(picture.height()), i64::from(picture.width()), 3])
                    .permute([0, 3, 1, 2])
                    .to_kind(Kind::Float)
                    .to_device(self.device);
                let boxes = self.propose(&levels);
                let boxes = self.refine(&levels, boxes);
                Ok(self.decide(&levels, boxes))
            })
        })
    }

    /// P-net over a pyramid of the picture.
    fn propose(&self, picture: &Tensor) -> Vec<Candidate> {
        let (height, width) = (picture.size()[2] as f64, picture.size()[3] as f64);
        let mut found = Vec::new();
        let mut scale = CELL / SMALLEST;
        while height.min(width) * scale >= CELL {
            let size = [(height * scale + 1.0) as i64, (width * scale + 1.0) as i64];
            let outputs = self.pnet.forward(&levels(&picture.adaptive_avg_pool2d(size)));
            let scores = outputs[0].softmax(1, Kind::Float).get(0).get(1);
            let moves = outputs[1].get(0);
            let mut level = Vec::new();
            let places =
                Vec::<Vec<i64>>::try_from(scores.ge(SURE[0]).nonzero()).unwrap_or_default();
            for place in places {
                let &[row, column] = place.as_slice() else { continue };
                let corner = |at: i64, end: f64| ((STRIDE * at as f64 + end) / scale).floor();
                let bounds = [
                    corner(column, 1.0),
                    corner(row, 1.0),
                    corner(column, CELL),
                    corner(row, CELL),
                ];
                let moved = |side: i64| moves.double_value(&[side, row, column]);
                level.push(Candidate {
                    bounds,
                    score: scores.double_value(&[row, column]),
                    moves: [moved(0), moved(1), moved(2), moved(3)],
                });
            }
            found.extend(without_doubles(level, 0.5, Overlap::Union));
            scale *= FACTOR;
        }
        let mut boxes = without_doubles(found, 0.7, Overlap::Union);
        for candidate in &mut boxes {
            candidate.shift(0.0);
            candidate.square();
        }
        boxes
    }

    /// R-net on each box.
    fn refine(&self, picture: &Tensor, boxes: Vec<Candidate>) -> Vec<Candidate> {
        let (boxes, crops) = cut(picture, boxes, 24);
        let Some(crops) = crops else { return Vec::new() };
        let outputs = self.rnet.forward(&levels(&crops));
        let kept = scored(boxes, &outputs, SURE[1]).into_iter().map(|(candidate, _)| candidate);
        let mut boxes = without_doubles(kept.collect(), 0.7, Overlap::Union);
        for candidate in &mut boxes {
            candidate.shift(1.0);
            candidate.square();
        }
        boxes
    }

    /// O-net on each box: the last word, and the points.
    fn decide(&self, picture: &Tensor, boxes: Vec<Candidate>) -> Vec<Face> {
        let (boxes, crops) = cut(picture, boxes, 48);
        let Some(crops) = crops else { return Vec::new() };
        let outputs = self.onet.forward(&levels(&crops));
        let mut faces = Vec::new();
        for (mut candidate, row) in scored(boxes, &outputs, SURE[2]) {
            let [left, top, right, bottom] = candidate.bounds;
            let place = |i: i64| outputs[2].double_value(&[row, i]);
            let points = [0, 1, 2, 3, 4].map(|i| {
                [
                    (right - left + 1.0) * place(i) + left - 1.0,
                    (bottom - top + 1.0) * place(i + 5) + top - 1.0,
                ]
            });
            candidate.shift(1.0);
            faces.push((candidate, points));
        }
        let candidates = faces.iter().map(|(candidate, _)| candidate.clone()).collect();
        let kept = without_doubles(candidates, 0.7, Overlap::Smaller);
        kept.into_iter()
            .filter_map(|candidate| {
                let (_, points) =
                    faces.iter().find(|(other, _)| other.bounds == candidate.bounds)?;
                Some(Face { bounds: candidate.bounds, score: candidate.score, points: *points })
            })
            .collect()
    }
}

/// Grey levels as the networks want them.
fn levels(picture: &Tensor) -> Tensor {
    (picture - 127.5) * 0.0078125
}

/// A box that may hold a face.
#[derive(Debug, Clone)]
struct Candidate {
    bounds: [f64; 4],
    score: f64,
    /// How far each side should move, in widths and heights.
    moves: [f64; 4],
}

impl Candidate {
    /// Moves the sides as the network said; `unit` is 1 where sizes count both ends.
    fn shift(&mut self, unit: f64) {
        let [left, top, right, bottom] = self.bounds;
        let sizes = [right - left + unit, bottom - top + unit];
        for (i, side) in self.bounds.iter_mut().enumerate() {
            *side += self.moves[i] * sizes[i % 2];
        }
    }

    /// Grows the shorter side about the middle.
    fn square(&mut self) {
        let [left, top, right, bottom] = self.bounds;
        let (w, h) = (right - left, bottom - top);
        let side = w.max(h);
        let (x, y) = (left + w * 0.5 - side * 0.5, top + h * 0.5 - side * 0.5);
        self.bounds = [x, y, x + side, y + side];
    }
}

/// The boxes that lie in the picture, and their pixels, `side` × `side` each.
fn cut(picture: &Tensor, boxes: Vec<Candidate>, side: i64) -> (Vec<Candidate>, Option<Tensor>) {
    let (height, width) = (picture.size()[2], picture.size()[3]);
    let (mut kept, mut crops) = (Vec::new(), Vec::new());
    for candidate in boxes {
        let [x, y, ex, ey] = candidate.bounds.map(|v| v.trunc() as i64);
        let (x, y, ex, ey) = (x.max(1), y.max(1), ex.min(width), ey.min(height));
        if ey > y - 1 && ex > x - 1 {
            let crop = picture.narrow(2, y - 1, ey - y + 1).narrow(3, x - 1, ex - x + 1);
            crops.push(crop.adaptive_avg_pool2d([side, side]));
            kept.push(candidate);
        }
    }
    let crops = if crops.is_empty() { None } else { Some(Tensor::cat(&crops, 0)) };
    (kept, crops)
}

/// The boxes that a network is sure of, with its score and moves, and their rows in its outputs.
fn scored(boxes: Vec<Candidate>, outputs: &[Tensor], sure: f64) -> Vec<(Candidate, i64)> {
    let scores = outputs[0].softmax(1, Kind::Float);
    let rows = boxes.into_iter().zip(0_i64..);
    rows.filter_map(|(candidate, row)| {
        let score = scores.double_value(&[row, 1]);
        let moves = [0, 1, 2, 3].map(|side| outputs[1].double_value(&[row, side]));
        (score > sure).then_some((Candidate { score, moves, ..candidate }, row))
    })
    .collect()
}

/// What an overlap is compared with.
#[derive(Clone, Copy, PartialEq)]
enum Overlap {
    /// The area that two boxes cover together.
    Union,
    /// The smaller of the two; sizes count both ends here.
    Smaller,
}

/// The surest boxes, without those that cover the same.
fn without_doubles(mut boxes: Vec<Candidate>, most: f64, overlap: Overlap) -> Vec<Candidate> {
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    boxes.truncate(MOST);
    let unit = if overlap == Overlap::Smaller { 1.0 } else { 0.0 };
    let area = |b: &[f64; 4]| (b[2] - b[0] + unit) * (b[3] - b[1] + unit);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in boxes {
        let b = &candidate.bounds;
        let covered = kept.iter().any(|other| {
            let a = &other.bounds;
            let w = (a[2].min(b[2]) - a[0].max(b[0]) + unit).max(0.0);
            let h = (a[3].min(b[3]) - a[1].max(b[1]) + unit).max(0.0);
            let share = match overlap {
                Overlap::Union => w * h / (area(a) + area(b) - w * h),
                Overlap::Smaller => w * h / area(a).min(area(b)),
            };
            share > most
        });
        if !covered {
            kept.push(candidate);
        }
    }
    kept
}

fn area(b: &[f64; 4]) -> f64 {
    (b[2] - b[0]) * (b[3] - b[1])
}

/// A layer of the networks.
#[derive(Debug, Clone, Copy)]
enum Plan {
    /// Name, outputs, inputs, side; a PReLU of the number follows.
    Conv(&'static str, i64, i64, i64, Option<&'static str>),
    /// Side of a max-pooling of stride 2, the last one padded.
    Pool(i64),
    /// Name, outputs, inputs; pixels are flattened column by column before the first.
    Dense(&'static str, i64, i64, Option<&'static str>),
}

impl Plan {
    fn shapes(self) -> impl Iterator<Item = (String, Vec<i64>)> {
        let (name, weight, slope) = match self {
            Self::Conv(name, o, i, k, slope) => (name, vec![o, i, k, k], slope),
            Self::Dense(name, o, i, slope) => (name, vec![o, i], slope),
            Self::Pool(_) => ("", Vec::new(), None),
        };
        let outputs = weight.first().copied();
        let layer = outputs.into_iter().flat_map(move |o| {
            [(format!("{name}.weight"), weight.clone()), (format!("{name}.bias"), vec![o])]
        });
        layer.chain(slope.zip(outputs).map(|(slope, o)| (format!("{slope}.weight"), vec![o])))
    }
}

use Plan::{Conv, Dense, Pool};

/// The three networks; those without a PReLU are outputs: the score, the moves, the points.
const NETWORKS: [(&str, &[Plan]); 3] = [
    (
        "pnet",
        &[
            Conv("conv1", 10, 3, 3, Some("prelu1")),
            Pool(2),
            Conv("conv2", 16, 10, 3, Some("prelu2")),
            Conv("conv3", 32, 16, 3, Some("prelu3")),
            Conv("conv4_1", 2, 32, 1, None),
            Conv("conv4_2", 4, 32, 1, None),
        ],
    ),
    (
        "rnet",
        &[
            Conv("conv1", 28, 3, 3, Some("prelu1")),
            Pool(3),
            Conv("conv2", 48, 28, 3, Some("prelu2")),
            Pool(3),
            Conv("conv3", 64, 48, 2, Some("prelu3")),
            Dense("dense4", 128, 576, Some("prelu4")),
            Dense("dense5_1", 2, 128, None),
            Dense("dense5_2", 4, 128, None),
        ],
    ),
    (
        "onet",
        &[
            Conv("conv1", 32, 3, 3, Some("prelu1")),
            Pool(3),
            Conv("conv2", 64, 32, 3, Some("prelu2")),
            Pool(3),
            Conv("conv3", 64, 64, 3, Some("prelu3")),
            Pool(2),
            Conv("conv4", 128, 64, 2, Some("prelu4")),
            Dense("dense5", 256, 1152, Some("prelu5")),
            Dense("dense6_1", 2, 256, None),
            Dense("dense6_2", 4, 256, None),
            Dense("dense6_3", 10, 256, None),
        ],
    ),
];

/// One network.
#[derive(Debug)]
struct Stage(Vec<(Plan, Vec<Tensor>)>);

impl Stage {
    fn new(tensors: &TensorMap, net: &str) -> Self {
        let plans = NETWORKS.iter().find(|(name, _)| *name == net).map_or(&[][..], |(_, p)| p);
        let layer = |plan: &Plan| {
            let own =
                plan.shapes().map(|(name, _)| tensors[&format!("{net}.{name}")].shallow_clone());
            (*plan, own.collect())
        };
        Self(plans.iter().map(layer).collect())
    }

    /// The outputs, in their order.
    fn forward(&self, xs: &Tensor) -> Vec<Tensor> {
        let mut xs = xs.shallow_clone();
        let mut outputs = Vec::new();
        for (plan, own) in &self.0 {
            let (ys, slope) = match *plan {
                Pool(side) => {
                    xs = xs.max_pool2d([side, side], [2, 2], [0, 0], [1, 1], true);
                    continue;
                }
                Conv(.., slope) => {
                    (xs.conv2d(&own[0], Some(&own[1]), [1, 1], [0, 0], [1, 1], 1), slope)
                }
                Dense(.., slope) => {
                    if xs.dim() == 4 {
                        xs = xs.permute([0, 3, 2, 1]).flatten(1, -1);
                    }
                    (xs.linear(&own[0], Some(&own[1])), slope)
                }
            };
            match slope {
                Some(_) => xs = ys.prelu(&own[2]),
                None => outputs.push(ys),
            }
        }
        outputs
    }
}
