//! From an image to codes: one pass of a one-shot encoder, or ReStyle's rounds (Alaluf et al. 2021).

use super::config::Config;
use super::encoder::Encoder;
use crate::error::{Error, Result};
use crate::stylegan2::{self, Generator, Noise, Synthesis};
use crate::torch::catch;
use crate::torch::threads::{self, Shared};
use tch::Tensor;

/// The result of one round.
#[derive(Debug)]
pub struct Round {
    /// W+ codes `[N, L, D]`.
    pub codes: Tensor,
    /// What the generator makes of them, `[N, 3, R, R]`, nominally in [-1, 1], not clamped.
    pub images: Tensor,
}

/// Inverts images; the last round is the result.
///
/// The first round starts at the generator's mean latent and the image it makes, or at the end of another encoder's
/// rounds (`start`: encoder bootstrapping). Each round adds to the codes of the one before. An encoder that does not
/// see its last result makes one round, whatever `rounds` says.
///
/// # Shapes
/// `images: [N, C, H, W]` in [-1, 1], of the encoder's size, without the channels of the last result: 3, or those of a
/// mask.
///
/// # Errors
/// [`Error::Request`] when encoder and generator do not belong together, or for images of another shape.
pub fn invert(
    encoder: &Encoder,
    generator: &Generator,
    images: &Tensor,
    rounds: usize,
    start: Option<&Round>,
) -> Result<Vec<Round>> {
    check_codes(encoder.config(), generator.config())?;
    let config = encoder.config();
    let channels = if config.is_iterative() { config.channels - 3 } else { config.channels };
    if images.size().get(1..) != Some(&[channels, config.height, config.width]) {
        return Err(Error::request(
            format!("the encoder got images of shape {:?}", images.size()),
            format!("it takes [N, {channels}, {}, {}]", config.height, config.width),
        ));
    }
    let parts = threads::parts(generator.device(), images.size()[0]).into_iter().map(|samples| {
        let own = |t: &Tensor| t.narrow(0, samples.start, samples.end - samples.start);
        let start = start.map(|s| Round { codes: own(&s.codes), images: own(&s.images) });
        (own(images), start)
    });
    // The weights serve several rounds: what follows from them alone is computed once.
    let fixed = config.is_iterative().then(|| generator.synthesis().fixed());
    let synthesis = Shared::new(fixed.as_ref().unwrap_or(generator.synthesis()));
    let (encoder, generator) = (Shared::new(encoder), Shared::new(generator));
    let each = threads::map("inverting photos", parts.collect(), |(images, start)| {
        let network = (encoder.get(), generator.get(), synthesis.get());
        invert_some(network, &images, rounds, start.as_ref())
    })?;
    let count = each.first().map_or(0, Vec::len);
    let joined = |i: usize, of: fn(&Round) -> &Tensor| {
        Tensor::cat(&each.iter().map(|rounds| of(&rounds[i])).collect::<Vec<_>>(), 0)
    };
    let round = |i| Round { codes: joined(i, |r| &r.codes), images: joined(i, |r| &r.images) };
    Ok((0..count).map(round).collect())
}

/// As [`invert`], for some of the images.
fn invert_some(
    (encoder, generator, synthesis): (&Encoder, &Generator, &Synthesis),
    images: &Tensor,
    rounds: usize,
    start: Option<&Round>,
) -> Result<Vec<Round>> {
    let config = encoder.config();
    let images = images.to_device(encoder.device()).to_kind(encoder.kind());
    let n = images.size()[0];
    let styles = generator.config().num_styles();
    let average = || generator.latent_avg().view([1, 1, -1]).expand([n, styles, -1], true);
    if !config.is_iterative() {
        let codes = encoder.forward(&images)?.expand([n, styles, -1], true);
        let codes = if config.from_average { codes + average() } else { codes };
        return Ok(vec![decode(synthesis, codes)?]);
    }
    let (mut codes, mut last) = match start {
        Some(round) => (round.codes.shallow_clone(), round.images.shallow_clone()),
        None => {
            // One average image serves the whole batch.
            let codes = average();
            let one = decode(synthesis, codes.narrow(0, 0, 1))?;
            (codes, one.images.expand([n, -1, -1, -1], true))
        }
    };
    let mut done = Vec::new();
    for _ in 0..rounds {
        // Of cars, the generator's square has a black bar above and below, which the encoder does not see.
        let seen = last.adaptive_avg_pool2d([config.width, config.width]);
        let seen = seen.narrow(2, (config.width - config.height) / 2, config.height);
        codes = encoder.forward(&Tensor::cat(&[&images, &seen], 1))? + codes;
        let round = decode(synthesis, codes.shallow_clone())?;
        last = round.images.shallow_clone();
        done.push(round);
    }
    Ok(done)
}

fn decode(synthesis: &Synthesis, codes: Tensor) -> Result<Round> {
    let images = catch("making images of codes", || {
        Ok(tch::no_grad(|| synthesis.forward(&codes, Noise::Stored)))
    })?;
    Ok(Round { codes, images })
}

/// Whether an encoder makes the codes that a generator takes.
///
/// # Errors
/// [`Error::Request`] when it does not.
pub fn check_codes(e: &Config, g: &stylegan2::Config) -> Result<()> {
    let styles = g.num_styles();
    let fits = e.codes == 1 || e.codes as i64 == styles;
    if fits && e.style_dim == g.style_dim {
        return Ok(());
    }
    Err(Error::request(
        format!(
            "the encoder makes {} codes of width {}, the generator of {} px takes {styles} of width {}",
            e.codes, e.style_dim, g.resolution, g.style_dim
        ),
        "use the generator that the encoder was trained for, or one adapted from it",
    ))
}
