//! The identity loss: 1 − cosine of ArcFace's features of two images of a face.

use crate::clip::normalise;
use crate::imaging::colours;
use crate::invert::ArcFace;
use tch::Tensor;

/// Side to which images come first.
const SIDE: i64 = 256;
/// What of it shows the face: rows and columns begin here …
const TOP: i64 = 35;
const LEFT: i64 = 32;
/// … and are so many.
const FACE: i64 = 188;

/// A frozen ArcFace that compares faces (pSp's `IDLoss`: averaged to 256 px, cut, averaged to ArcFace's size).
#[derive(Debug)]
pub struct Identity(ArcFace);

impl Identity {
    /// Around a network.
    pub fn new(network: ArcFace) -> Self {
        Self(network)
    }

    /// Features of length 1 of FFHQ-aligned faces `[N, 3, H, W]` in [-1, 1], `[N, E]`. Differentiable.
    pub fn features(&self, images: &Tensor) -> Tensor {
        let images = &colours(images);
        let size = images.size();
        let images = match size[2..] == [SIDE, SIDE] {
            true => images.shallow_clone(),
            false => images.adaptive_avg_pool2d([SIDE, SIDE]),
        };
        let side = self.0.side();
        let face =
            images.narrow(2, TOP, FACE).narrow(3, LEFT, FACE).adaptive_avg_pool2d([side, side]);
        normalise(&self.0.forward(&face))
    }

    /// mean(1 − cos) of two sets of features.
    pub fn distance(&self, before: &Tensor, after: &Tensor) -> Tensor {
        let cosine = (before * after).sum_dim_intlist([-1i64].as_slice(), false, after.kind());
        let distance: Tensor = 1.0 - cosine;
        distance.mean(after.kind())
    }
}
