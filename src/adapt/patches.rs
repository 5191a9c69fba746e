//! Random square patches at the same place of both twins, for the patch loss.

use crate::rng::Stream;
use tch::Tensor;

/// Draws one centre (x, y) per image, so that a patch of `size` px lies inside `height` × `width`.
pub fn centres(n: i64, size: i64, height: i64, width: i64, stream: &mut Stream) -> Vec<(i64, i64)> {
    let half = size / 2;
    (0..n)
        .map(|_| (stream.integer(half, width - half), stream.integer(half, height - half)))
        .collect()
}

/// Cuts the patch around each centre: `[N, 3, H, W]` → `[N, 3, 2⌊size/2⌋, 2⌊size/2⌋]`.
pub fn cut(images: &Tensor, centres: &[(i64, i64)], size: i64) -> Tensor {
    let half = size / 2;
    let patch = |(i, (x, y)): (usize, &(i64, i64))| {
        images.narrow(0, i as i64, 1).narrow(2, y - half, 2 * half).narrow(3, x - half, 2 * half)
    };
    Tensor::cat(&centres.iter().enumerate().map(patch).collect::<Vec<_>>(), 0)
}
