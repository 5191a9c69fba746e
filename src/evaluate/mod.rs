//! Whether an adaptation is any good: figures for pairs of images that a source and an adapted generator make of the
//! same latents and the same noise.
//!
//! - [`views`]: how images are shown to CLIP; changes that no training here uses
//! - [`zero_shot`]: which of many phrases an image is nearest to (target rate, leak rate)
//! - [`identity`]: whether the partner of an image can be found by [`structure`] that ignores style
//! - [`diversity`]: whether images still differ from each other as they did (collapse)
//! - [`detail`]: speckle, as energy of the finest detail
//! - [`frechet`]: the distance of two clouds of features
//!
//! [`Evaluation`] gathers all of them batch by batch, so that memory does not grow with the resolution, and leaves a
//! [`Report`]; [`verdict`] says what is good enough.
//!
//! All images here are `[N, 3, H, W]` in [-1, 1], as [`as_saved`] leaves them: what a person gets in a PNG, not what
//! the generator had in mind. Letters as elsewhere; K is the number of phrases.

pub mod detail;
mod direction;
pub mod diversity;
pub mod frechet;
mod gather;
pub mod identity;
mod judge;
mod pairs;
pub mod phrases;
pub mod report;
mod spread;
pub mod structure;
pub mod verdict;
pub mod views;
pub mod zero_shot;

pub use direction::{edit_cosines, mean_edit_cosine};
pub use gather::{Evaluation, Samples};
pub use judge::Judge;
pub use pairs::Pairs;
pub use report::Report;
pub use spread::Spread;

use crate::imaging::colours;
use tch::{Kind, Tensor};

/// Images as a PNG in colours holds them: clamped to [-1, 1], in steps of 1/255 of that range; what is no number is black.
pub fn as_saved(images: &Tensor) -> Tensor {
    let seen = colours(&images.nan_to_num(-1.0, 1.0, -1.0).clamp(-1.0, 1.0));
    let levels = (seen + 1.0) * 127.5;
    (levels + 0.5).floor() / 127.5 - 1.0
}

/// Numbers of a tensor of any shape, in order, in float64.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().to_kind(Kind::Double).to_device(tch::Device::Cpu).flatten(0, -1);
    Vec::<f64>::try_from(flat.contiguous()).expect("a flat tensor of float64 on the CPU")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{from_rgb8, to_rgb8};
    use crate::rng;
    use tch::Device;

    #[test]
    fn saved_images_are_what_a_file_holds() {
        let images = rng::stream(0, 0, "test").normal(&[1, 3, 8, 8], Kind::Float, Device::Cpu);
        let from_file = from_rgb8(&to_rgb8(&images).unwrap()[0]);
        let difference = (as_saved(&images) - from_file).abs().max();
        assert!(difference.double_value(&[]) < 1e-6);
    }
}
