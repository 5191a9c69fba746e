//! The pure functions of StyleGAN2 (Karras et al. 2020, arXiv 1912.04958), in plain tensor operations.
//!
//! Facts follow rosinality/stylegan2-pytorch, whose checkpoints are the common currency. No custom kernel is
//! needed: what the CUDA extensions of the originals fuse is written here so that autograd keeps few tensors.

use std::f64::consts::SQRT_2;
use tch::{Kind, Tensor};

/// Slope of the leaky ReLU for negative numbers; its output is scaled by √2 everywhere in StyleGAN2.
pub const LRELU_SLOPE: f64 = 0.2;

/// The taps of the low-pass filter, `[1, 3, 3, 1] / 8`; the plane filter is its outer product (sum 1).
pub const FIR: [f64; 4] = [0.125, 0.375, 0.375, 0.125];

/// `x / √(mean of squares over the last dimension)`: PixelNorm of `[N, D]`.
pub fn pixel_norm(x: &Tensor) -> Tensor {
    x * (x.square().mean_dim([-1i64].as_slice(), true, x.kind()) + 1e-8).rsqrt()
}

/// Fully connected layer with equalised learning rate, without activation: `x (W·lr/√in)ᵀ + b·lr`.
///
/// # Shapes
/// `x: [N, in]`, `weight: [out, in]`, `bias: [out]`, returns `[N, out]`.
pub fn equal_linear(x: &Tensor, weight: &Tensor, bias: &Tensor, lr_mul: f64) -> Tensor {
    let scale = lr_mul / (weight.size()[1] as f64).sqrt();
    if lr_mul == 1.0 {
        x.linear(&(weight * scale), Some(bias))
    } else {
        x.linear(&(weight * scale), Some(bias * lr_mul))
    }
}

/// `√2 · leaky_relu(x)`.
pub fn scaled_leaky_relu(x: &Tensor) -> Tensor {
    leaky_relu(&(x * SQRT_2))
}

/// Leaky ReLU with StyleGAN2's slope and no gain, in one pass forward and one backward.
///
/// tch's `leaky_relu` has no slope argument, but its derivative operator has: applied to `x` itself it computes
/// `x > 0 ? x : 0.2·x`, and its own derivative with respect to that argument is the one we want.
fn leaky_relu(x: &Tensor) -> Tensor {
    x.detach().leaky_relu_backward(x, LRELU_SLOPE, false)
}

/// Pads, stuffs zeros between samples, filters with `kernel` and takes every `down`-th sample.
///
/// # Shapes
/// `x: [N, C, H, W]`, `kernel: [kh, kw]` (correlated after a flip, as the originals do), `pad: (before, after)`
/// on both axes, negative values crop. Returns `[N, C, (H·up + pad − kh)/down + 1, …]`.
pub fn upfirdn2d(x: &Tensor, kernel: &Tensor, up: i64, down: i64, pad: (i64, i64)) -> Tensor {
    let (n, c, h, w) = x.size4().expect("images have four dimensions");
    let stuffed = if up == 1 {
        x.shallow_clone()
    } else {
        x.reshape([n, c, h, 1, w, 1]).constant_pad_nd([0, up - 1, 0, 0, 0, up - 1]).reshape([
            n,
            c,
            h * up,
            w * up,
        ])
    };
    let padded = stuffed.constant_pad_nd([pad.0, pad.1, pad.0, pad.1]);
    let (ph, pw) = (h * up + pad.0 + pad.1, w * up + pad.0 + pad.1);
    let (kh, kw) = kernel.size2().expect("filters have two dimensions");
    let taps = kernel.flip([0, 1]).reshape([1, 1, kh, kw]).to_kind(x.kind());
    padded
        .reshape([n * c, 1, ph, pw])
        .conv2d::<Tensor>(&taps, None, [down, down], [0, 0], [1, 1], 1)
        .reshape([n, c, (ph - kh) / down + 1, (pw - kw) / down + 1])
}

/// Demodulation factors: `1/√(Σ (W·s)² + 1e-8)` per sample and output channel.
///
/// # Shapes
/// `weight: [O, I, k, k]` (scaled), `style: [N, I]`, returns `[N, O]`.
pub fn demodulation(weight: &Tensor, style: &Tensor) -> Tensor {
    demodulation_of(&energy(weight), style)
}

/// What [`demodulation`] needs of the weights `[O, I, k, k]`: Σ W² over the taps, `[O, I]`.
pub fn energy(weight: &Tensor) -> Tensor {
    weight.square().sum_dim_intlist([2i64, 3].as_slice(), false, weight.kind())
}

/// [`demodulation`] from the [`energy`] of the weights.
pub fn demodulation_of(energy: &Tensor, style: &Tensor) -> Tensor {
    (style.square().matmul(&energy.transpose(0, 1)) + 1e-8).rsqrt()
}

/// The same numbers in another order in memory: the channels of a pixel side by side. Convolutions keep it.
pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Modulated convolution with one set of weights for the whole batch: the input is scaled by the style instead
/// of the weights, and the output by the demodulation. The same numbers as the originals' grouped convolution
/// with a weight per sample, without its copies and at several times its speed on a CPU. "Same" padding.
///
/// # Shapes
/// `x: [N, I, H, W]`, `weight: [O, I, k, k]` already times its equalised learning rate, `style: [N, I]`.
/// Returns `[N, O, H, W]`, **before** demodulation.
pub fn modulated_conv2d(x: &Tensor, weight: &Tensor, style: &Tensor) -> Tensor {
    let pad = weight.size()[2] / 2;
    scale_channels(x, style).conv2d::<Tensor>(weight, None, [1, 1], [pad, pad], [1, 1], 1)
}

/// Modulated 1×1 convolution to few channels (ToRGB), not demodulated: here the weights are scaled after all, one
/// small matrix per sample, because that spares passes over the large input (forward and backward).
///
/// # Shapes
/// `x: [N, I, H, W]`, `weight: [O, I, 1, 1]`, `style: [N, I]`; returns `[N, O, H, W]`.
pub fn modulated_rgb(x: &Tensor, weight: &Tensor, style: &Tensor) -> Tensor {
    let (n, _, h, w) = x.size4().expect("images have four dimensions");
    let weights = weight.flatten(1, 3).unsqueeze(0) * style.unsqueeze(1); // [N, O, I]
    weights.bmm(&x.flatten(2, 3)).view([n, -1, h, w])
}

/// Modulated convolution that doubles the resolution: transposed convolution of stride 2, then the low-pass
/// filter. Returns `[N, O, 2H, 2W]`, **before** demodulation (which commutes with the filter).
pub fn modulated_conv2d_up(x: &Tensor, weight: &Tensor, style: &Tensor) -> Tensor {
    blur(&modulated_conv2d_doubled(x, weight, style))
}

/// The first half of [`modulated_conv2d_up`], before any filter: `[N, O, 2H+1, 2W+1]`.
pub fn modulated_conv2d_doubled(x: &Tensor, weight: &Tensor, style: &Tensor) -> Tensor {
    scale_channels(x, style).conv_transpose2d::<Tensor>(
        &weight.transpose(0, 1),
        None,
        [2, 2],
        [0, 0],
        [0, 0],
        1,
        [1, 1],
    )
}

/// Modulated convolution that halves the resolution (discriminator-like nets): low-pass filter, then stride 2.
pub fn modulated_conv2d_down(x: &Tensor, weight: &Tensor, style: &Tensor) -> Tensor {
    let taps = Tensor::from_slice(&FIR).to_kind(x.kind()).to_device(x.device());
    let blurred = upfirdn2d(&scale_channels(x, style), &taps.outer(&taps), 1, 1, (2, 2));
    blurred.conv2d::<Tensor>(weight, None, [2, 2], [0, 0], [1, 1], 1)
}

/// `x: [N, C, H, W]` times one number per sample and channel, `[N, C]`.
pub fn scale_channels(x: &Tensor, factors: &Tensor) -> Tensor {
    x * factors.unsqueeze(-1).unsqueeze(-1)
}

/// The usual filter of StyleGAN2 with its gain of 4, `[4, 4]`, float32 on the CPU (which holds it exactly).
pub fn usual_filter() -> Tensor {
    let taps = Tensor::from_slice(&FIR).to_kind(Kind::Float) * 2.0;
    taps.outer(&taps)
}

fn usual_filter_for(x: &Tensor) -> Tensor {
    usual_filter().to_kind(x.kind()).to_device(x.device())
}

/// The low-pass filter behind a transposed convolution: gain 4, padding 1, `[N, C, 2H+1, 2W+1]` → `[N, C, 2H, 2W]`.
pub fn blur(x: &Tensor) -> Tensor {
    // The symmetric taps need no flip.
    depthwise(x, &usual_filter_for(x))
}

/// As [`blur`] with another filter, as [`even_filter`] gives it.
pub fn blur_with(x: &Tensor, filter: &Tensor) -> Tensor {
    depthwise(x, &filter.flip([0, 1]))
}

fn depthwise(x: &Tensor, taps: &Tensor) -> Tensor {
    let (channels, side) = (x.size()[1], taps.size()[0]);
    let kernel = taps.expand([channels, 1, side, side], false);
    let pad = filter_padding(taps);
    x.conv2d::<Tensor>(&kernel, None, [1, 1], [pad, pad], [1, 1], channels)
}

/// Doubles an RGB image: zero-stuffing, then the low-pass filter with gain 4 and padding (2, 1).
pub fn upsample_rgb(x: &Tensor) -> Tensor {
    upsample_rgb_with(x, &usual_filter_for(x))
}

/// As [`upsample_rgb`] with another filter, as [`even_filter`] gives it.
pub fn upsample_rgb_with(x: &Tensor, filter: &Tensor) -> Tensor {
    let (channels, side) = (x.size()[1], filter.size()[0]);
    // A transposed convolution of stride 2 is zero-stuffing and filtering in one, which turns the taps.
    let kernel = filter.expand([channels, 1, side, side], false).contiguous();
    let pad = filter_padding(filter);
    x.conv_transpose2d::<Tensor>(&kernel, None, [2, 2], [pad, pad], [0, 0], channels, [1, 1])
}

/// A stored filter `[k, k]` with an even number of taps on each side: an odd one gets a row and a column of zeros in front.
///
/// The originals pad by `(k + 1) / 2 - 1` in front and `k / 2 - 1` behind. With an even side both are
/// [`filter_padding`], and ordinary convolutions do.
pub fn even_filter(filter: &Tensor) -> Tensor {
    match filter.size()[0] % 2 {
        0 => filter.shallow_clone(),
        _ => filter.constant_pad_nd([1, 0, 1, 0]),
    }
}

/// The padding on each side that lets an even filter give twice the size of a small image.
pub fn filter_padding(even_filter: &Tensor) -> i64 {
    even_filter.size()[0] / 2 - 1
}

/// `√2·leaky_relu(y·demodulation + strength·noise + bias)`, the tail of every styled convolution.
///
/// The gain is folded into the small factors, and all but the first product works in place, so that autograd
/// keeps two tensors of full size instead of five.
///
/// # Shapes
/// `y: [N, C, H, W]`, `demodulation: [N, C]`, `noise: [1 or N, 1, H, W]` with `strength: [1]`, `bias: [C]`.
pub fn styled_tail(
    y: &Tensor,
    demodulation: &Tensor,
    noise: Option<(&Tensor, &Tensor)>,
    bias: &Tensor,
) -> Tensor {
    let mut out = scale_channels(y, &(demodulation * SQRT_2));
    if let Some((noise, strength)) = noise {
        out = out.g_add_(&(noise * (strength * SQRT_2)));
    }
    leaky_relu(&out.g_add_(&(bias * SQRT_2).reshape([1, -1, 1, 1])))
}
