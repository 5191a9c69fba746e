//! What every channel does to CLIP's features: the measurement behind `fs3.npy`, in batches and in pieces.

use super::layout;
use super::statistics::{Statistics, sampled_styles};
use crate::clip::{Clip, Preprocess, Resize, normalise};
use crate::error::{Error, Result};
use crate::stylegan2::{Generator, LayerId, Noise, Synthesis};
use crate::torch::{TensorMap, catch};
use tch::{Kind, Tensor};

/// Pixels of a batch of images: large enough for fast convolutions, small enough for memory.
const BATCH_PIXELS: i64 = 1 << 19;
/// Images that share a piece at most.
const GROUP: i64 = 16;

/// How the channels are measured. The original: 100 images, 5 spreads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Images that each channel is tried on.
    pub images: i64,
    /// How many spreads to either side of the mean a channel is set to.
    pub reach: f64,
    /// Truncation of the images.
    pub truncation: f64,
    /// Seed of the images.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { images: 100, reach: 5.0, truncation: 0.7, seed: 5 }
    }
}

/// A CLIP that watches.
#[derive(Debug)]
pub struct ChannelView {
    clip: Clip,
    preprocess: Preprocess,
}

impl ChannelView {
    /// Only the image tower stays.
    pub fn new(clip: Clip) -> Self {
        let preprocess = Preprocess::new(clip.resolution(), Resize::Antialias);
        Self { clip: clip.without_text(), preprocess }
    }

    fn features(&self, images: &Tensor) -> Tensor {
        normalise(&self.clip.encode_image(&self.preprocess.apply(images)))
    }
}

/// A piece of the work: some channels of a layer on some of the images.
#[derive(Debug, Clone, Copy)]
struct Piece {
    layer: usize,
    group: i64,
    channel: i64,
    count: i64,
}

/// How far a measurement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Images made so far.
    pub done: u64,
    /// Images in all: two for each channel and image.
    pub total: u64,
}

/// A measurement that can be interrupted: piece by piece, each of which adds to the sums.
#[derive(Debug)]
pub struct Measurement<'a> {
    generator: &'a Generator,
    fixed: Synthesis,
    statistics: &'a Statistics,
    views: &'a [ChannelView],
    settings: Settings,
    layers: Vec<(LayerId, i64)>,
    pieces: Vec<Piece>,
    next: usize,
    sums: Vec<Tensor>, // of unit changes, [channels, E] per view
}

impl<'a> Measurement<'a> {
    /// Plans the pieces.
    ///
    /// # Errors
    /// [`Error::Request`] for statistics of another generator, no image, or a reach that is no number above 0.
    pub fn new(
        generator: &'a Generator,
        statistics: &'a Statistics,
        views: &'a [ChannelView],
        settings: Settings,
    ) -> Result<Self> {
        statistics.check(generator.config())?;
        if settings.images < 1 || !settings.reach.is_finite() || settings.reach <= 0.0 {
            return Err(Error::request(
                format!("{} images, {} spreads", settings.images, settings.reach),
                "take at least one image, and a reach above 0; the original takes 100 and 5",
            ));
        }
        let layers = layout(generator.config());
        let side = generator.config().resolution;
        let room = (BATCH_PIXELS / (side * side)).clamp(2, 128);
        let mut pieces = Vec::new();
        for (layer, (_, width)) in layers.iter().enumerate().filter(|(_, (l, _))| l.is_conv()) {
            for group in (0..settings.images).step_by(GROUP as usize) {
                let images = GROUP.min(settings.images - group);
                let count = (room / (2 * images)).max(1);
                pieces.extend((0..*width).step_by(count as usize).map(|channel| Piece {
                    layer,
                    group,
                    channel,
                    count: count.min(width - channel),
                }));
            }
        }
        let channels = layers.iter().filter(|(l, _)| l.is_conv()).map(|(_, w)| w).sum::<i64>();
        let options = (Kind::Double, tch::Device::Cpu);
        let sums =
            views.iter().map(|v| Tensor::zeros([channels, v.clip.embed_dim()], options)).collect();
        let fixed = generator.synthesis().fixed();
        Ok(Self { generator, fixed, statistics, views, settings, layers, pieces, next: 0, sums })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let images = |p: &Piece| (2 * p.count * GROUP.min(self.settings.images - p.group)) as u64;
        Progress {
            done: self.pieces[..self.next].iter().map(images).sum(),
            total: self.pieces.iter().map(images).sum(),
        }
    }

    /// Measures pieces of one layer and group of images as long as `more` allows. `false` when nothing is left.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn advance(&mut self, mut more: impl FnMut(Progress) -> bool) -> Result<bool> {
        let Some(&first) = self.pieces.get(self.next) else { return Ok(false) };
        let images = GROUP.min(self.settings.images - first.group);
        let Settings { truncation, seed, .. } = self.settings;
        // The images are drawn one by one, so that they do not depend on how they are grouped.
        let each = (first.group..first.group + images)
            .map(|i| sampled_styles(self.generator, i, 1, truncation, seed))
            .collect::<Result<Vec<_>>>()?;
        catch("measuring channels", || {
            tch::no_grad(|| {
                let code = |layer: usize| {
                    Tensor::cat(&each.iter().map(|c| &c.0[layer].1).collect::<Vec<_>>(), 0)
                };
                let codes: Vec<(LayerId, Tensor)> =
                    self.layers.iter().enumerate().map(|(i, (id, _))| (*id, code(i))).collect();
                let codes = crate::stylegan2::StyleCodes(codes);
                let start = self.fixed.partway(&codes, first.layer, Noise::Stored);
                while let Some(&piece) = self.pieces.get(self.next) {
                    if (piece.layer, piece.group) != (first.layer, first.group) {
                        break;
                    }
                    let copies = 2 * piece.count;
                    let changed = self.changed(&codes.0[piece.layer].1, piece);
                    let mut rest = vec![changed];
                    let later = codes.0[piece.layer + 1..].iter();
                    rest.extend(later.map(|(_, c)| c.repeat_interleave_self_int(copies, 0, None)));
                    let pictures = self.fixed.resume(start.repeated(copies), &rest, Noise::Stored);
                    self.record(&pictures, piece, images);
                    self.next += 1;
                    if !more(self.progress()) {
                        break;
                    }
                }
            });
            Ok(())
        })?;
        Ok(self.next < self.pieces.len())
    }

    /// The codes of the piece's layer, for every image (outermost) the channels of the piece at mean + and − reach:
    /// `[images · count · 2, C]`.
    fn changed(&self, code: &Tensor, piece: Piece) -> Tensor {
        let on = |t: &Tensor| t.to_device(code.device()).to_kind(code.kind());
        let mean = on(&self.statistics.means[piece.layer]);
        let step = on(&self.statistics.deviations[piece.layer]) * self.settings.reach;
        let width = code.size()[1];
        let (images, count) = (code.size()[0], piece.count);
        let changed = code.view([images, 1, 1, width]).repeat([1, count, 2, 1]);
        for i in 0..count {
            let c = piece.channel + i;
            for (side, sign) in [1.0, -1.0].into_iter().enumerate() {
                let value = mean.get(c) + step.get(c) * sign;
                let place = changed.narrow(1, i, 1).narrow(2, side as i64, 1).narrow(3, c, 1);
                place.shallow_clone().copy_(&value.expand_as(&place));
            }
        }
        changed.view([images * count * 2, width])
    }

    /// Adds the unit changes of CLIP's features to the sums.
    fn record(&mut self, pictures: &Tensor, piece: Piece, images: i64) {
        let before: i64 =
            self.layers[..piece.layer].iter().filter(|(l, _)| l.is_conv()).map(|(_, w)| w).sum();
        for (view, sum) in self.views.iter().zip(&self.sums) {
            let features = view.features(pictures).to_kind(Kind::Double);
            let features = features.view([images, piece.count, 2, -1]);
            let change = features.select(2, 0) - features.select(2, 1);
            let length = change.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true);
            // A channel that does nothing has no direction.
            let unit = (change / length.clamp_min(1e-9))
                .sum_dim_intlist([0i64].as_slice(), false, Kind::Double)
                .to_device(tch::Device::Cpu);
            let mut rows = sum.narrow(0, before + piece.channel, piece.count);
            rows += unit;
        }
    }

    /// The responses of all channels, unit rows `[channels, E]` for each view, float32.
    pub fn responses(&self) -> Vec<Tensor> {
        let unit = |sum: &Tensor| {
            let length = sum.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true);
            (sum / length.clamp_min(1e-9)).to_kind(Kind::Float)
        };
        self.sums.iter().map(unit).collect()
    }

    /// What a later process needs to go on: the sums, and how many pieces are in them. Shares memory.
    pub fn state(&self) -> TensorMap {
        let mut state = TensorMap::from([("next".into(), Tensor::from_slice(&[self.next as i64]))]);
        for (i, sum) in self.sums.iter().enumerate() {
            state.insert(format!("sums/{i}"), sum.shallow_clone());
        }
        state
    }

    /// Goes on from [`Measurement::state`] of a measurement of the same plan.
    ///
    /// # Errors
    /// [`Error::Tensors`] when it is of another plan.
    pub fn restore(&mut self, state: &TensorMap) -> Result<()> {
        let next = state.get("next").filter(|t| t.kind() == Kind::Int64 && t.numel() == 1);
        let next = next.map(|t| t.int64_value(&[0]));
        let sums: Vec<Option<&Tensor>> =
            (0..self.sums.len()).map(|i| state.get(&format!("sums/{i}"))).collect();
        let fits = sums.iter().zip(&self.sums).all(|(new, old)| {
            new.is_some_and(|n| n.size() == old.size() && n.kind() == old.kind())
        });
        match next {
            Some(next) if fits && (0..=self.pieces.len() as i64).contains(&next) => {
                self.next = next as usize;
                self.sums = sums.into_iter().flatten().map(Tensor::copy).collect();
                Ok(())
            }
            _ => Err(Error::Tensors {
                what: "this measurement cannot be continued".into(),
                problems: vec!["it is of another generator, other CLIPs or other settings".into()],
                hint: Some("begin it anew with `--force`".into()),
            }),
        }
    }
}
