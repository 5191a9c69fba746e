//! The feature pyramid of pSp and e4e: fine codes come from finer maps than coarse ones.

use super::layers::{Conv, Module};
use tch::Tensor;

/// Codes before this one come from the coarsest map.
const MIDDLE: usize = 3;
/// Codes from this one on come from the finest map.
const FINE: usize = 7;

/// The two convolutions that bring finer maps to the width of the coarsest.
#[derive(Debug)]
pub(super) struct Pyramid {
    middle: Conv,
    fine: Conv,
}

impl Pyramid {
    pub(super) fn new(p: &Module<'_>) -> Self {
        Self {
            middle: Conv::biased(&p.at("latlayer1"), 1),
            fine: Conv::biased(&p.at("latlayer2"), 1),
        }
    }

    /// The fine, middle and coarse outputs of the trunk to the three maps, coarse first.
    pub(super) fn forward(&self, outputs: &[Tensor]) -> [Tensor; 3] {
        let [fine, middle, coarse] = outputs else {
            unreachable!("a pyramid asks the trunk for three maps")
        };
        let middle = add_upsampled(coarse, &self.middle.forward(middle));
        let fine = add_upsampled(&middle, &self.fine.forward(fine));
        [coarse.shallow_clone(), middle, fine]
    }

    /// Which of the three maps the code of that number is read from.
    pub(super) fn map_of(code: usize) -> usize {
        usize::from(code >= MIDDLE) + usize::from(code >= FINE)
    }
}

fn add_upsampled(small: &Tensor, large: &Tensor) -> Tensor {
    let size = &large.size()[2..];
    small.upsample_bilinear2d(size, true, None, None) + large
}
