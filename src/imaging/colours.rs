//! What is seen of images that are not of three colours: grey ones, and those with an opacity.

use tch::Tensor;

/// Images of 1, 3 or 4 channels as `[N, 3, H, W]`, as they look on white paper. Gradients flow through.
///
/// Grey is repeated; the fourth channel is the opacity, -1 for what is not there and 1 for what hides the paper. Images
/// of three channels are given back as they are.
///
/// # Panics
/// For another number of channels, which no generator that was read has.
pub fn colours(images: &Tensor) -> Tensor {
    match images.size().get(1) {
        Some(1) => images.expand([-1, 3, -1, -1], false),
        Some(4) => {
            let opacity = (images.narrow(1, 3, 1) + 1.0).clamp(0.0, 2.0) * 0.5;
            // White is 1: x·a + 1·(1 − a).
            (images.narrow(1, 0, 3) - 1.0) * opacity + 1.0
        }
        Some(3) => images.shallow_clone(),
        other => panic!("images have 1, 3 or 4 channels, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn grey_is_repeated_and_what_is_not_there_is_white() {
        let grey = Tensor::from_slice(&[0.25f64]).view([1, 1, 1, 1]);
        assert_eq!(colours(&grey).size(), [1, 3, 1, 1]);
        assert_eq!(Vec::<f64>::try_from(colours(&grey).flatten(0, -1)).unwrap(), [0.25; 3]);
        let seen = |pixel: [f64; 4]| {
            let image = Tensor::from_slice(&pixel).view([1, 4, 1, 1]).to_kind(Kind::Double);
            Vec::<f64>::try_from(colours(&image).flatten(0, -1)).unwrap()
        };
        assert_eq!(seen([-1.0, 0.5, 1.0, 1.0]), [-1.0, 0.5, 1.0]);
        assert_eq!(seen([-1.0, 0.5, 0.0, -1.5]), [1.0; 3]);
        assert_eq!(seen([-1.0, 0.0, 1.0, 0.0]), [0.0, 0.5, 1.0]);
    }
}
