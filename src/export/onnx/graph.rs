//! The two graphs: w+ → image, and z → w+.

use super::builder::{Builder, Geometry, batch_of, float, int, ints};
use super::proto::GraphProto;
use crate::error::Result;
use crate::export::form::{Form, FormLayer, Step};
use crate::stylegan2::ops::LRELU_SLOPE;
use std::f64::consts::SQRT_2;
use tch::Tensor;

/// A convolution of size 3 that keeps the size of its input.
const SAME: Geometry = Geometry { kernel: 3, stride: 1, pad: 1, group: 1 };
/// A convolution of size 1.
const POINT: Geometry = Geometry { kernel: 1, stride: 1, pad: 0, group: 1 };
/// A transposed convolution to twice the size and one more.
const DOUBLE: Geometry = Geometry { kernel: 3, stride: 2, pad: 0, group: 1 };

/// The names that both graphs use for the numbers that all layers share.
const EPSILON: &str = "epsilon";

/// `w_plus` [N, L, D] → `image` [N, C, H, W].
pub(super) fn synthesis(form: &Form) -> Result<GraphProto> {
    let mut b = Builder::default();
    let w_plus = b.input("w_plus", &[form.num_styles, form.style_dim]);
    b.weight(EPSILON, &Tensor::from_slice(&[1e-8_f32]))?;
    b.weight("gain", &Tensor::from_slice(&[SQRT_2 as f32]))?;
    b.integers("planes", &[2, 3], false);
    if let Some(bound) = form.clamp {
        b.weight("lowest", &Tensor::from(-bound))?;
        b.weight("highest", &Tensor::from(bound))?;
    }
    for i in 0..form.num_styles {
        b.integers(&format!("index_{i}"), &[i], true);
        b.node(
            "Gather",
            &format!("w_{i}"),
            &[&w_plus, &format!("index_{i}")],
            vec![int("axis", 1)],
        );
    }
    let mut x = b.weight("constant", &form.constant)?;
    let mut image: Option<String> = None;
    for layer in &form.layers {
        let name = &layer.name;
        let style = style(&mut b, layer)?;
        let scale = b.node("Unsqueeze", &format!("{name}.scale"), &[&style, "planes"], vec![]);
        let scaled = b.node("Mul", &format!("{name}.scaled"), &[&x, &scale], vec![]);
        match &layer.step {
            Step::Rgb { weight } => {
                let weight = b.weight(&format!("{name}.weight"), weight)?;
                let bias = b.weight(&format!("{name}.bias"), &layer.bias)?;
                let rgb = format!("{name}.conv");
                let rgb = b.convolution("Conv", &rgb, [&scaled, &weight], &POINT);
                let rgb = b.node("Add", &format!("{name}.rgb"), &[&rgb, &bias], vec![]);
                let rgb = clamped(&mut b, form, rgb);
                image = Some(match image {
                    None => rgb,
                    Some(before) => {
                        // Zero-stuffing and the filter in one.
                        let kernel = b.weight(&format!("{name}.kernel"), &layer.kernel())?;
                        let larger = format!("{name}.larger");
                        let from = [before.as_str(), kernel.as_str()];
                        let geometry = filter_geometry(layer, 2);
                        let larger = b.convolution("ConvTranspose", &larger, from, &geometry);
                        b.node("Add", &format!("{name}.image"), &[&larger, &rgb], vec![])
                    }
                });
            }
            Step::Conv { .. } => x = styled_convolution(&mut b, form, layer, &style, &scaled)?,
        }
    }
    b.node("Identity", "image", &[&image.unwrap_or(x)], vec![]);
    Ok(b.finish("synthesis", vec![batch_of("image", &form.image)]))
}

/// w [N, D] → the scale of a layer's input channels, [N, I].
fn style(b: &mut Builder, layer: &FormLayer) -> Result<String> {
    let name = &layer.name;
    let weight = b.weight(&format!("{name}.affine.weight"), &layer.affine_weight)?;
    let bias = b.weight(&format!("{name}.affine.bias"), &layer.affine_bias)?;
    Ok(b.linear(&format!("{name}.style"), &format!("w_{}", layer.style), &weight, &bias))
}

/// Convolution, demodulation, noise, bias and activation.
fn styled_convolution(
    b: &mut Builder,
    form: &Form,
    layer: &FormLayer,
    style: &str,
    scaled: &str,
) -> Result<String> {
    let name = &layer.name;
    let Step::Conv { weight, energy, noise, up } = &layer.step else { return Ok(scaled.into()) };
    let weight = b.weight(&format!("{name}.weight"), weight)?;
    let mut x = format!("{name}.conv");
    if *up {
        let kernel = b.weight(&format!("{name}.kernel"), &layer.kernel())?;
        let filter = filter_geometry(layer, 1);
        x = b.convolution("ConvTranspose", &x, [scaled, &weight], &DOUBLE);
        x = b.convolution("Conv", &format!("{name}.blur"), [&x, &kernel], &filter);
    } else {
        x = b.convolution("Conv", &x, [scaled, &weight], &SAME);
    }
    let energy = b.weight(&format!("{name}.energy"), energy)?;
    let squared = b.node("Mul", &format!("{name}.style2"), &[style, style], vec![]);
    let sum = b.linear(&format!("{name}.sum"), &squared, &energy, EPSILON);
    let root = b.node("Sqrt", &format!("{name}.root"), &[&sum], vec![]);
    let factor = b.node("Div", &format!("{name}.factor"), &["gain", &root], vec![]);
    let factor = b.node("Unsqueeze", &format!("{name}.demod"), &[&factor, "planes"], vec![]);
    x = b.node("Mul", &format!("{name}.demodulated"), &[&x, &factor], vec![]);
    if let Some(noise) = noise {
        let noise = b.weight(&format!("{name}.noise"), noise)?;
        x = b.node("Add", &format!("{name}.noisy"), &[&x, &noise], vec![]);
    }
    let bias = b.weight(&format!("{name}.bias"), &layer.bias)?;
    x = b.node("Add", &format!("{name}.biased"), &[&x, &bias], vec![]);
    let slope = vec![float("alpha", LRELU_SLOPE)];
    let out = b.node("LeakyRelu", &format!("{name}.out"), &[&x], slope);
    Ok(clamped(b, form, out))
}

/// The low-pass filter of a layer, channel by channel.
fn filter_geometry(layer: &FormLayer, stride: i64) -> Geometry {
    let pad = layer.kernel_padding();
    Geometry { kernel: 2 * pad + 2, stride, pad, group: layer.channels() }
}

/// What a layer puts out, within its bounds if it has any.
fn clamped(b: &mut Builder, form: &Form, x: String) -> String {
    match form.clamp {
        Some(_) => b.node("Clip", &format!("{x}.clamped"), &[&x, "lowest", "highest"], vec![]),
        None => x,
    }
}

/// `z` [N, Dz] → `w_plus` [N, L, D], truncated by `psi`.
pub(super) fn mapping(form: &Form, psi: f64) -> Result<GraphProto> {
    let mut b = Builder::default();
    let z = b.input("z", &[form.z_dim]);
    // Fixed: runtimes warn of inputs that may be left out.
    let psi = b.weight("truncation", &Tensor::from_slice(&[psi as f32]))?;
    b.weight(EPSILON, &Tensor::from_slice(&[1e-8_f32]))?;
    let squared = b.node("Mul", "z2", &[&z, &z], vec![]);
    let axes = vec![ints("axes", &[1]), int("keepdims", 1)];
    let mean = b.node("ReduceMean", "mean", &[&squared], axes);
    let sum = b.node("Add", "mean_epsilon", &[&mean, EPSILON], vec![]);
    let root = b.node("Sqrt", "root", &[&sum], vec![]);
    let mut x = b.node("Div", "normal", &[&z, &root], vec![]);
    for (i, (weight, bias)) in (1..).zip(&form.mapping) {
        let weight = b.weight(&format!("style_{i}.weight"), weight)?;
        let bias = b.weight(&format!("style_{i}.bias"), bias)?;
        x = b.linear(&format!("style_{i}.linear"), &x, &weight, &bias);
        x = b.node(
            "LeakyRelu",
            &format!("style_{i}.out"),
            &[&x],
            vec![float("alpha", LRELU_SLOPE)],
        );
    }
    let average = b.weight("latent_avg", &form.latent_avg)?;
    let shift = b.node("Sub", "shift", &[&x, &average], vec![]);
    let pulled = b.node("Mul", "pulled", &[&shift, &psi], vec![]);
    let w = b.node("Add", "w", &[&average, &pulled], vec![]);
    b.integers("one", &[1], false);
    b.integers("repeats", &[1, form.num_styles, 1], false);
    let row = b.node("Unsqueeze", "row", &[&w, "one"], vec![]);
    b.node("Expand", "w_plus", &[&row, "repeats"], vec![]);
    Ok(b.finish("mapping", vec![batch_of("w_plus", &[form.num_styles, form.style_dim])]))
}
