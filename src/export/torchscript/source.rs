//! The code of a TorchScript archive, as `torch.jit.save` would write it: plain calls of torch's operators.
//!
//! It is written, not traced: a trace fixes the batch it was made with and has one method, and its weights are constants
//! that stay on the device they were traced on.

use crate::export::form::{Form, FormLayer, Step};
use crate::stylegan2::ops::LRELU_SLOPE;
use std::f64::consts::SQRT_2;
use std::fmt::Write;
use tch::Tensor;

/// The class that the archive holds, in the module `__torch__`.
pub(super) const CLASS: &str = "Generator";

/// The module's code, and its tensors by attribute.
pub(super) struct Module {
    pub(super) code: String,
    pub(super) buffers: Vec<(String, Tensor)>,
}

/// Writes the code of a generator; `psi` is the truncation that holds unless another one is passed.
pub(super) fn module(form: &Form, psi: f64) -> Module {
    let mut buffers = vec![
        ("latent_avg".to_owned(), form.latent_avg.shallow_clone()),
        ("constant".to_owned(), form.constant.shallow_clone()),
    ];
    let mut put = |name: String, tensor: &Tensor| -> String {
        let value = format!("self.{name}");
        buffers.push((name, tensor.contiguous()));
        value
    };
    let mapping = mapping(form, &mut put);
    let synthesis = synthesis(form, &mut put);
    let names: Vec<String> = buffers.iter().map(|(name, _)| format!("\"{name}\", ")).collect();
    let types: String = buffers.iter().map(|(name, _)| format!("  {name} : Tensor\n")).collect();
    let (styles, psi) = (form.num_styles, float(psi));
    let this = format!("self: __torch__.{CLASS}");
    let code = format!(
        "class {CLASS}(Module):
  __parameters__ = []
  __buffers__ = [{names}]
{types}  training : bool
  _is_full_backward_hook : Optional[bool]
  def forward({this},
    z: Tensor,
    truncation: float={psi}) -> Tensor:
    return (self).synthesis((self).w_plus(z, truncation, ), )
  def w_plus({this},
    z: Tensor,
    truncation: float={psi}) -> Tensor:
    w = torch.sub((self).mapping(z, ), self.latent_avg)
    w = torch.add(self.latent_avg, torch.mul(w, truncation))
    return torch.repeat(torch.unsqueeze(w, 1), [1, {styles}, 1])
  def mapping({this},
    z: Tensor) -> Tensor:
{mapping}    return x
  def synthesis({this},
    w_plus: Tensor) -> Tensor:
{synthesis}    return image
",
        names = names.concat(),
    );
    Module { code, buffers }
}

fn mapping(form: &Form, put: &mut impl FnMut(String, &Tensor) -> String) -> String {
    let mut code = String::from(
        "    x = torch.mul(z, torch.rsqrt(torch.add(torch.mean(torch.square(z), [1], True), 1e-08)))\n",
    );
    for (i, (weight, bias)) in (1..).zip(&form.mapping) {
        let weight = put(format!("style_{i}_weight"), weight);
        let bias = put(format!("style_{i}_bias"), bias);
        line(&mut code, &format!("x = {}", leaky(&format!("torch.linear(x, {weight}, {bias})"))));
    }
    code
}

fn synthesis(form: &Form, put: &mut impl FnMut(String, &Tensor) -> String) -> String {
    let mut code = String::new();
    line(&mut code, "x = self.constant");
    let mut begun = false;
    for layer in &form.layers {
        let FormLayer { name, style, affine_weight, affine_bias, step, bias, .. } = layer;
        let affine = put(format!("{name}_affine_weight"), affine_weight);
        let affine_bias = put(format!("{name}_affine_bias"), affine_bias);
        let bias = put(format!("{name}_bias"), bias);
        let w = format!("torch.select(w_plus, 1, {style})");
        line(&mut code, &format!("s = torch.linear({w}, {affine}, {affine_bias})"));
        let scaled = format!("torch.mul(x, {})", planes("s"));
        match step {
            Step::Rgb { weight } => {
                let weight = put(format!("{name}_weight"), weight);
                let rgb = conv(&scaled, &weight, 0, 1);
                line(&mut code, &format!("rgb = torch.add({rgb}, {bias})"));
                clamped(&mut code, "rgb", form.clamp);
                if begun {
                    let kernel = put(format!("{name}_kernel"), &layer.kernel());
                    let (pad, channels) = (layer.kernel_padding(), layer.channels());
                    let larger = transposed("image", &kernel, pad, channels);
                    line(&mut code, &format!("image = torch.add({larger}, rgb)"));
                } else {
                    line(&mut code, "image = rgb");
                    begun = true;
                }
            }
            Step::Conv { weight, energy, noise, up } => {
                let weight = put(format!("{name}_weight"), weight);
                let energy = put(format!("{name}_energy"), energy);
                let energy = format!("torch.linear(torch.square(s), {energy})");
                let factor = format!("torch.rsqrt(torch.add({energy}, 1e-08))");
                line(&mut code, &format!("d = torch.mul({factor}, {})", float(SQRT_2)));
                if *up {
                    let kernel = put(format!("{name}_kernel"), &layer.kernel());
                    let (pad, channels) = (layer.kernel_padding(), layer.channels());
                    line(&mut code, &format!("x = {}", transposed(&scaled, &weight, 0, 1)));
                    line(&mut code, &format!("x = {}", conv("x", &kernel, pad, channels)));
                } else {
                    line(&mut code, &format!("x = {}", conv(&scaled, &weight, 1, 1)));
                }
                line(&mut code, &format!("x = torch.mul(x, {})", planes("d")));
                if let Some(noise) = noise {
                    let noise = put(format!("{name}_noise"), noise);
                    line(&mut code, &format!("x = torch.add(x, {noise})"));
                }
                line(&mut code, &format!("x = {}", leaky(&format!("torch.add(x, {bias})"))));
                clamped(&mut code, "x", form.clamp);
            }
        }
    }
    code
}

fn line(code: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(code, "    {text}");
}

fn clamped(code: &mut String, name: &str, bound: Option<f64>) {
    if let Some(bound) = bound {
        let (low, high) = (float(-bound), float(bound));
        line(code, &format!("{name} = torch.clamp({name}, {low}, {high})"));
    }
}

/// `[N, C]` as `[N, C, 1, 1]`.
fn planes(value: &str) -> String {
    format!("torch.unsqueeze(torch.unsqueeze({value}, 2), 3)")
}

fn leaky(value: &str) -> String {
    format!("torch.leaky_relu({value}, {})", float(LRELU_SLOPE))
}

fn conv(x: &str, weight: &str, pad: i64, groups: i64) -> String {
    format!("torch.conv2d({x}, {weight}, None, [1, 1], [{pad}, {pad}], [1, 1], {groups})")
}

fn transposed(x: &str, weight: &str, pad: i64, groups: i64) -> String {
    format!(
        "torch.conv_transpose2d({x}, {weight}, None, [2, 2], [{pad}, {pad}], [0, 0], {groups}, [1, 1])"
    )
}

/// A number as TorchScript reads it: with a point, or it would be an integer.
fn float(value: f64) -> String {
    format!("{value:?}")
}
