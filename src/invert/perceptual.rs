//! How different two images look: distances between what a network sees in them, place by place.
//!
//! As LPIPS (Zhang et al. 2018): every pixel of a feature map is brought to length 1, the squared differences are
//! summed over the channels, and averaged over the places. The features are those of a CLIP's image tower, so that no
//! further weights are needed, or LPIPS's own.

use super::lpips::Lpips;
use crate::clip::{Clip, Preprocess, Resize, Vision, VisionConfig};
use crate::error::Result;
use crate::torch::catch;
use crate::torch::threads::Tensors;
use std::ops::Range;
use tch::{Kind, Tensor};

/// Keeps a pixel without any feature from dividing by zero; LPIPS's.
const EPS: f64 = 1e-10;
/// A convolutional tower looks at images of up to so many times its side: its maps are finer then.
const FINER: i64 = 2;

/// A network whose features are compared.
#[derive(Debug)]
pub struct Perceptual {
    network: Network,
}

#[derive(Debug)]
enum Network {
    Clip(Box<Clip>),
    Lpips(Lpips),
}

/// What a network sees in some images: a map `[N, C, h, w]` per level, with pixels of length 1.
#[derive(Debug)]
pub struct Seen(Vec<Tensor>);

// SAFETY: tensors and plain data; the matrices of preprocessing are locked.
#[allow(unsafe_code)]
unsafe impl Tensors for Perceptual {}
// SAFETY: tensors alone.
#[allow(unsafe_code)]
unsafe impl Tensors for Seen {}

impl Seen {
    /// What was seen of some of the images.
    pub fn part(&self, samples: &Range<i64>) -> Self {
        let own = |t: &Tensor| t.narrow(0, samples.start, samples.end - samples.start);
        Self(self.0.iter().map(own).collect())
    }
}

impl Perceptual {
    /// The inner maps of a CLIP's image tower; the text tower is dropped.
    pub fn of_clip(clip: Clip) -> Self {
        Self { network: Network::Clip(Box::new(clip.without_text())) }
    }

    /// LPIPS.
    pub fn of_lpips(lpips: Lpips) -> Self {
        Self { network: Network::Lpips(lpips) }
    }

    /// What the network sees in images `[N, 3, H, W]` of [-1, 1]. Differentiable in the images.
    ///
    /// # Errors
    /// A failure of the device, also for images too small for the network.
    pub fn see(&self, images: &Tensor) -> Result<Seen> {
        catch("comparing what images look like", || {
            let maps = match &self.network {
                Network::Clip(clip) => clip_maps(clip, images),
                Network::Lpips(lpips) => lpips.maps(images),
            };
            Ok(Seen(maps.iter().map(of_length_one).collect()))
        })
    }

    /// The distances `[N]` of images that were seen; 0 for the same image. One image may stand against many.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn distance(&self, a: &Seen, b: &Seen) -> Result<Tensor> {
        catch("comparing what images look like", || {
            let count = a.0.len() as f64;
            let levels = a.0.iter().zip(&b.0).enumerate().map(|(level, (a, b))| {
                let squares = (a - b).square();
                let channels = match &self.network {
                    // Half of it is one minus the cosine: 0 to 2, averaged over the levels.
                    Network::Clip(_) => {
                        let sum = squares.sum_dim_intlist([1i64].as_slice(), true, squares.kind());
                        sum * (0.5 / count)
                    }
                    Network::Lpips(lpips) => lpips.weigh(level, &squares),
                };
                channels.mean_dim([1i64, 2, 3].as_slice(), false, channels.kind())
            });
            Ok(levels.reduce(|sum, level| sum + level).expect("a network has levels"))
        })
    }
}

/// The maps of a tower. A transformer must have images of its own size; a convolutional one sees finer in larger ones.
fn clip_maps(clip: &Clip, images: &Tensor) -> Vec<Tensor> {
    let own = clip.resolution();
    let side = match clip.config().vision {
        VisionConfig::Vit(_) => own,
        VisionConfig::ResNet(_) => images.size()[2].min(FINER * own).max(own) / 32 * 32,
    };
    let images = Preprocess::new(side, Resize::Antialias).apply(images).to_kind(clip.kind());
    match clip.vision() {
        Vision::Vit(vit) => vit.maps(&images),
        // The last stage means things, not places.
        Vision::ResNet(resnet) => resnet.stages(&images).into_iter().take(4).collect(),
    }
}

fn of_length_one(map: &Tensor) -> Tensor {
    let square: Tensor = map.square().sum_dim_intlist([1i64].as_slice(), true, None::<Kind>);
    map / (square.sqrt() + EPS)
}
