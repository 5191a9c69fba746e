//! One CLIP that looks at all pairs, in every view, and keeps only features.

use super::direction::edit_cosines;
use super::views::View;
use crate::adapt::direction::template_features;
use crate::clip::preprocess::{MEAN, STD};
use crate::clip::{Clip, Preprocess, Resize, Vision, normalise, templates::TEMPLATES};
use crate::error::{Error, Result};
use crate::torch::catch;
use crate::torch::threads::{self, Shared, Tensors};
use tch::{Kind, Tensor};

/// Maps inside a CLIP are averaged to at most this side: memory stays small, and a shift by a place is forgiven.
const MAP_SIDE: i64 = 8;
/// Which of [`crate::clip::resnet::ModifiedResNet::stages`] shows structure: late enough not to see single lines.
const RESNET_STAGE: usize = 3;
/// Phrases that are too near for a direction: the difference of their features is rounding noise.
const NO_DIFFERENCE: f64 = 1e-6;

/// A CLIP that judges, with what it has seen so far.
#[derive(Debug)]
pub struct Judge {
    name: String,
    guided: bool,
    clip: Clip,
    preprocess: Preprocess,
    towards: Tensor, // [1, E] unit
    texts: Tensor,   // [K, E] unit
    seen: Vec<Seen>,
    references: Vec<Tensor>, // [n, E]
}

/// What a judge keeps of a batch, or of all. Pairs are (source, adapted).
#[derive(Debug)]
pub(super) struct Seen {
    /// Features of the images as they are, not normalised, `[N, E]`.
    pub(super) plain: (Tensor, Tensor),
    /// Unit features, the mean over all views and the images as they are, `[N, E]`.
    pub(super) shown: (Tensor, Tensor),
    /// Maps inside, `[N, C, h, w]`.
    pub(super) maps: (Tensor, Tensor),
    /// [`edit_cosines`] of the images as they are, then of each view.
    pub(super) cosines: Vec<Vec<f64>>,
}

/// All that a judge has seen.
#[derive(Debug)]
pub(super) struct Testimony {
    pub(super) name: String,
    pub(super) guided: bool,
    pub(super) towards: Tensor,
    pub(super) texts: Tensor,
    pub(super) scale: f64,
    pub(super) seen: Seen,
    /// Features of the reference images, as `Seen::plain`.
    pub(super) references: Option<Tensor>,
}

// SAFETY: tensors and plain data; the matrices of preprocessing are locked.
#[allow(unsafe_code)]
unsafe impl Tensors for Judge {}

impl Judge {
    /// Reads the phrases: the first is the source, the second the target. Each is the mean over the 79 templates of the
    /// training. `guided` says that the training used this CLIP: it then flatters.
    ///
    /// # Errors
    /// [`Error::Request`] for a phrase that is too long, or when source and target are the same to this CLIP.
    pub fn new(name: &str, guided: bool, clip: Clip, phrases: &[String]) -> Result<Self> {
        let mean = |phrase: &String| {
            let features = template_features(&clip, phrase, &TEMPLATES)?;
            Ok(features.mean_dim([0i64].as_slice(), true, None::<Kind>))
        };
        let means = phrases.iter().map(mean).collect::<Result<Vec<_>>>()?;
        let [source, target, ..] = means.as_slice() else {
            return Err(Error::request("two phrases are needed", "give a source and a target"));
        };
        let difference = target - source;
        if difference.norm().double_value(&[]) < NO_DIFFERENCE {
            return Err(Error::request(
                format!("\"{}\" and \"{}\" are the same to `{name}`", phrases[0], phrases[1]),
                "choose phrases that differ in more than case or spaces",
            ));
        }
        let preprocess = Preprocess::new(clip.resolution(), Resize::Antialias);
        Ok(Self {
            name: name.into(),
            guided,
            towards: normalise(&difference),
            texts: normalise(&Tensor::cat(&means, 0)),
            clip: clip.without_text(),
            preprocess,
            seen: Vec::new(),
            references: Vec::new(),
        })
    }

    /// Side of the images that this CLIP takes.
    pub fn resolution(&self) -> i64 {
        self.clip.resolution()
    }

    /// Looks at pairs, `[n, 3, H, W]` each.
    ///
    /// # Errors
    /// A failure of the device.
    pub(super) fn look(&mut self, source: &Tensor, adapted: &Tensor) -> Result<()> {
        let parts = threads::parts(source.device(), source.size()[0]).into_iter().map(|samples| {
            let own = |x: &Tensor| x.narrow(0, samples.start, samples.end - samples.start);
            (own(source), own(adapted))
        });
        let judge = Shared::new(&*self);
        let seen = threads::map("encoding images", parts.collect(), |(source, adapted)| {
            let (this, source, adapted) = (judge.get(), &source, &adapted);
            Ok(tch::no_grad(|| {
                let (plain, maps) = (this.both(source, adapted), this.maps(source, adapted));
                let unit = |pair: &(Tensor, Tensor)| (normalise(&pair.0), normalise(&pair.1));
                let mut all = vec![unit(&plain)];
                for view in View::ALL {
                    all.push(unit(&this.both(&view.apply(source), &view.apply(adapted))));
                }
                let cosines = all.iter().map(|(s, a)| edit_cosines(s, a, &this.towards)).collect();
                let mean = |of: &dyn Fn(&(Tensor, Tensor)) -> Tensor| {
                    let sum: Tensor = all.iter().map(of).sum();
                    normalise(&sum)
                };
                let shown = (mean(&|p| p.0.shallow_clone()), mean(&|p| p.1.shallow_clone()));
                Seen { plain, shown, maps, cosines }
            }))
        })?;
        self.seen.extend(seen);
        Ok(())
    }

    /// Looks at reference images that CLIP's own transform has prepared, `[n, 3, R, R]` in [0, 1].
    ///
    /// # Errors
    /// A failure of the device.
    pub fn look_at_references(&mut self, prepared: &Tensor) -> Result<()> {
        let images = prepared.to_device(self.clip.device()).to_kind(self.clip.kind());
        let channel = |values: [f64; 3]| {
            let values = Tensor::from_slice(&values).view([1, 3, 1, 1]);
            values.to_kind(images.kind()).to_device(images.device())
        };
        let images = (&images - channel(MEAN)) / channel(STD);
        let encode = || Ok(tch::no_grad(|| self.clip.encode_image(&images)));
        self.references.push(catch("encoding images", encode)?);
        Ok(())
    }

    /// Everything that was seen.
    pub(super) fn finish(self) -> Testimony {
        let join = |of: &dyn Fn(&Seen) -> &Tensor| {
            Tensor::cat(&self.seen.iter().map(of).collect::<Vec<_>>(), 0)
        };
        let seen = Seen {
            plain: (join(&|s| &s.plain.0), join(&|s| &s.plain.1)),
            shown: (join(&|s| &s.shown.0), join(&|s| &s.shown.1)),
            maps: (join(&|s| &s.maps.0), join(&|s| &s.maps.1)),
            cosines: (0..=View::ALL.len())
                .map(|v| self.seen.iter().flat_map(|s| s.cosines[v].clone()).collect())
                .collect(),
        };
        let references = (!self.references.is_empty()).then(|| Tensor::cat(&self.references, 0));
        Testimony {
            name: self.name,
            guided: self.guided,
            towards: self.towards,
            texts: self.texts,
            scale: self.clip.logit_scale(),
            seen,
            references,
        }
    }

    fn both(&self, source: &Tensor, adapted: &Tensor) -> (Tensor, Tensor) {
        let features = |x: &Tensor| self.clip.encode_image(&self.preprocess.apply(x));
        (features(source), features(adapted))
    }

    fn maps(&self, source: &Tensor, adapted: &Tensor) -> (Tensor, Tensor) {
        let map = |x: &Tensor| {
            let x = self.preprocess.apply(x).to_kind(self.clip.kind());
            let map = match self.clip.vision() {
                Vision::ResNet(resnet) => resnet.stages(&x).swap_remove(RESNET_STAGE),
                Vision::Vit(vit) => vit.middle(&x),
            };
            let (_, _, h, w) = map.size4().expect("maps are [N, C, h, w]");
            map.adaptive_avg_pool2d([h.min(MAP_SIDE), w.min(MAP_SIDE)])
        };
        (map(source), map(adapted))
    }
}
