//! Directions in CLIP's space: from two phrases, or from images. Made once, before the loop.

use crate::clip::{self, Clip, Preprocess, Resize, normalise, templates, tokenizer::Tokenizer};
use crate::config::Losses;
use crate::error::{Error, Result};
use crate::torch::threads::{self, Shared};
use tch::{Kind, Tensor};

/// Phrases that are too near for a direction: the difference of their features is rounding noise.
const NO_DIFFERENCE: f64 = 1e-6;

/// Texts that are encoded together.
const TEXTS: i64 = 8;

/// What one CLIP of the ensemble knows about the two domains. All vectors are unit `[1, E]`.
#[derive(Debug)]
pub struct Direction {
    /// From the source to the target.
    pub towards: Tensor,
    /// The bare target phrase (or the mean target image): what the layer choice searches.
    pub target: Tensor,
    /// Text of the global loss, "a TARGET".
    pub described: Option<Tensor>,
    /// Mean texts of source and target, for the manifold loss.
    pub means: Option<(Tensor, Tensor)>,
    /// Directions of the 15 part phrases `[15, E]`, for the patch loss.
    pub parts: Option<Tensor>,
}

impl Direction {
    /// From two phrases: the mean over 79 templates of differences of normalised features, normalised. Only what a
    /// loss with a weight needs is encoded.
    ///
    /// # Errors
    /// [`Error::Request`] for a phrase that CLIP cannot take, or two phrases that mean the same to it.
    pub fn from_phrases(clip: &Clip, source: &str, target: &str, losses: &Losses) -> Result<Self> {
        let from = template_features(clip, source, &templates::TEMPLATES)?;
        let to = template_features(clip, target, &templates::TEMPLATES)?;
        let difference = mean(&to) - mean(&from);
        if difference.norm().double_value(&[]) < NO_DIFFERENCE {
            return Err(Error::request(
                format!(
                    "\"{source}\" and \"{target}\" are the same to this CLIP: there is no direction between them"
                ),
                "choose phrases that differ in more than case or spaces",
            ));
        }
        let needs_described = losses.global > 0.0;
        let parts =
            if losses.patch > 0.0 { Some(part_directions(clip, source, target)?) } else { None };
        Ok(Self {
            towards: normalise(&difference),
            target: features(clip, &[target.to_owned()])?,
            described: if needs_described {
                Some(features(clip, &[format!("a {target}")])?)
            } else {
                None
            },
            means: (losses.manifold > 0.0)
                .then(|| (normalise(&mean(&from)), normalise(&mean(&to)))),
            parts,
        })
    }

    /// From features of images: `source [M, E]` of generated ones, `target [K, E]` of those that show the target,
    /// both unit. The text losses have no text then and use the mean target.
    ///
    /// # Errors
    /// [`Error::Request`] when the images do not differ from what the generator makes already.
    pub fn from_images(source: &Tensor, target: &Tensor) -> Result<Self> {
        let (from, to) = (mean(source), mean(target));
        let difference = &to - &from;
        if difference.norm().double_value(&[]) < NO_DIFFERENCE {
            return Err(Error::request(
                "the target images look the same to this CLIP as what the generator makes",
                "choose images of another domain",
            ));
        }
        let target = normalise(&to);
        Ok(Self {
            towards: normalise(&difference),
            described: Some(target.shallow_clone()),
            means: Some((normalise(&from), target.shallow_clone())),
            parts: None,
            target,
        })
    }
}

/// Normalised features of a phrase in every template, `[K, E]`.
///
/// # Errors
/// [`Error::Request`] when a filled template is too long for CLIP.
pub fn template_features(clip: &Clip, phrase: &str, templates: &[&str]) -> Result<Tensor> {
    let texts: Vec<String> = templates.iter().map(|t| templates::fill(t, phrase)).collect();
    features(clip, &texts)
}

/// Whether a CLIP can read a phrase in every template: known from its sizes, before any number of it is read.
///
/// # Errors
/// [`Error::Request`] when a filled template is too long for it.
pub fn check_phrase(clip: &clip::Config, phrase: &str) -> Result<()> {
    let context = clip.text.context as usize;
    let fits = |t: &&str| Tokenizer::openai().tokenize(&templates::fill(t, phrase), context);
    templates::TEMPLATES.iter().try_for_each(|template| fits(template).map(drop))
}

/// Normalised features of texts as given, `[K, E]`.
///
/// # Errors
/// [`Error::Request`] when a text is too long for CLIP.
pub fn features(clip: &Clip, texts: &[String]) -> Result<Tensor> {
    let context = clip.config().text.context;
    let mut ids = Vec::new();
    for text in texts {
        ids.extend(Tokenizer::openai().tokenize(text, context as usize)?);
    }
    let tokens =
        Tensor::from_slice(&ids).view([texts.len() as i64, context]).to_device(clip.device());
    let clip = Shared::new(clip);
    threads::rows("encoding phrases", &tokens, TEXTS, |tokens| {
        normalise(&clip.get().encode_text(tokens))
    })
}

/// Normalised features of images `[N, 3, H, W]` in [-1, 1], without gradients.
///
/// # Errors
/// A failure of the device.
pub fn image_features(clip: &Clip, images: &Tensor, resize: Resize) -> Result<Tensor> {
    let preprocess = Preprocess::new(clip.resolution(), resize);
    let clip = Shared::new(clip);
    threads::rows("encoding images", images, 1, |images| {
        normalise(&clip.get().encode_image(&preprocess.apply(images)))
    })
}

/// Normalised features of images that CLIP's own transform has prepared, `[N, 3, R, R]` in [0, 1].
///
/// # Errors
/// A failure of the device.
pub fn prepared_image_features(clip: &Clip, prepared: &Tensor) -> Result<Tensor> {
    let on = |values: [f64; 3]| {
        Tensor::from_slice(&values).to_kind(clip.kind()).to_device(clip.device()).view([1, 3, 1, 1])
    };
    let images = prepared.to_device(clip.device()).to_kind(clip.kind());
    let images = (images - on(crate::clip::preprocess::MEAN)) / on(crate::clip::preprocess::STD);
    let clip = Shared::new(clip);
    threads::rows("encoding images", &images, 1, |images| {
        normalise(&clip.get().encode_image(images))
    })
}

fn part_directions(clip: &Clip, source: &str, target: &str) -> Result<Tensor> {
    let mut rows = Vec::new();
    for part in templates::PART_TEMPLATES {
        let side = |phrase: &str| {
            template_features(clip, &templates::fill(part, phrase), &templates::TEMPLATES)
        };
        rows.push(normalise(&(mean(&side(target)?) - mean(&side(source)?))));
    }
    Ok(Tensor::cat(&rows, 0))
}

fn mean(features: &Tensor) -> Tensor {
    features.mean_dim([0i64].as_slice(), true, None::<Kind>)
}
