//! Directional similarity: does an edit go where the phrases point?

use super::numbers;
use tch::{Kind, Tensor};

/// An edit shorter than this (of unit vectors) is rounding: it goes nowhere.
const NO_EDIT: f64 = 1e-5;

/// cos(adapted − source, towards) of each pair: 1 is exactly the way of the phrases, −1 the opposite. A pair without
/// any difference counts as 0: what did not move has not arrived.
///
/// # Shapes
/// `source`, `adapted`: `[N, E]` unit; `towards`: `[1, E]` unit. Returns N numbers.
pub fn edit_cosines(source: &Tensor, adapted: &Tensor, towards: &Tensor) -> Vec<f64> {
    let double = |t: &Tensor| t.to_kind(Kind::Double);
    let edit = double(adapted) - double(source);
    let along = (&edit * double(towards)).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
    let length = edit.norm_scalaropt_dim(2.0, [1i64].as_slice(), false);
    let moved = length.gt(NO_EDIT).to_kind(Kind::Double);
    numbers(&(along / length.clamp_min(NO_EDIT) * moved))
}

/// The cosine of the mean edit: what is left when the differences between the samples cancel out. Higher than the mean
/// of [`edit_cosines`]. Shapes as there.
pub fn mean_edit_cosine(source: &Tensor, adapted: &Tensor, towards: &Tensor) -> f64 {
    let mean = |t: &Tensor| t.mean_dim([0i64].as_slice(), true, Kind::Double);
    edit_cosines(&mean(source), &mean(adapted), towards)[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_along_against_across_and_none() {
        let source = Tensor::from_slice2(&[[1.0, 0.0, 0.0]; 4]);
        let towards = Tensor::from_slice2(&[[-1.0, 1.0, 0.0]]) / 2f64.sqrt();
        let adapted = Tensor::from_slice2(&[
            [0.0, 1.0, 0.0],  // along
            [2.0, -1.0, 0.0], // against
            [1.0, 0.0, 1.0],  // across
            [1.0, 0.0, 0.0],  // not moved
        ]);
        let cosines = edit_cosines(&source, &adapted, &towards);
        for (got, want) in cosines.iter().zip([1.0, -1.0, 0.0, 0.0]) {
            assert!((got - want).abs() < 1e-12, "{cosines:?}");
        }
        // Along and against cancel out, what goes across remains.
        assert!(mean_edit_cosine(&source, &adapted, &towards).abs() < 1e-12);
        let both = [adapted.narrow(0, 0, 1), adapted.narrow(0, 2, 1)];
        let mean = mean_edit_cosine(&source.narrow(0, 0, 2), &Tensor::cat(&both, 0), &towards);
        assert!((mean - (2.0f64 / 3.0).sqrt()).abs() < 1e-12, "{mean}");
    }
}
