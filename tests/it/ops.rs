//! The pure functions of StyleGAN2 against golden `units`, values and gradients.

use crate::common::{assert_close, assert_grad_close, golden, golden_path};
use nada::stylegan2::ops;
use nada::torch::TensorMap;
use tch::{Kind, Tensor};

/// Runs `f` on the recorded inputs in both precisions and compares its output and input gradients.
fn check(units: &TensorMap, case: &str, inputs: &[&str], f: impl Fn(&[Tensor]) -> Tensor) {
    let read = |name: &str, kind| units[&format!("{case}.{name}")].to_kind(kind);
    for (kind, suffix, rtol, atol) in
        [(Kind::Float, "", 1e-5, 1e-5), (Kind::Double, ".f64", 1e-9, 1e-10)]
    {
        let xs: Vec<Tensor> =
            inputs.iter().map(|n| read(n, kind).set_requires_grad(true)).collect();
        let y = f(&xs);
        assert_close(
            &format!("{case} {kind:?}"),
            &y,
            &units[&format!("{case}.y{suffix}")],
            rtol,
            atol,
        );
        let loss = (&y * read("probe", kind)).sum(kind);
        let wanted: Vec<(usize, String)> = inputs
            .iter()
            .enumerate()
            .map(|(i, n)| {
                (
                    i,
                    format!(
                        "{case}.{}",
                        n.replacen("in", "grad_in", 1).replacen("param.", "grad.", 1).replacen(
                            'x',
                            "grad_x",
                            usize::from(*n == "x")
                        )
                    ),
                )
            })
            .filter(|(_, n)| units.contains_key(n))
            .collect();
        assert!(!wanted.is_empty(), "{case} has no recorded gradient");
        let leaves: Vec<&Tensor> = wanted.iter().map(|(i, _)| &xs[*i]).collect();
        let grads = Tensor::run_backward(&[loss], &leaves, false, false);
        for ((_, name), grad) in wanted.iter().zip(&grads) {
            assert_grad_close(name, grad, &units[name], 1e-4);
        }
    }
}

#[test]
fn upfirdn2d_meets_all_recorded_cases() {
    let units = golden("units", "upfirdn2d.safetensors");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden_path("units", "manifest.json")).unwrap())
            .unwrap();
    let cases = manifest["upfirdn2d_cases"].as_array().unwrap();
    assert_eq!(cases.len(), 13);
    for case in cases {
        let number = |key: &str| case[key].as_i64().unwrap();
        let pad = (case["pad"][0].as_i64().unwrap(), case["pad"][1].as_i64().unwrap());
        let kernel = &units[&format!("kernel.{}", case["kernel"].as_str().unwrap())];
        check(&units, case["case"].as_str().unwrap(), &["x"], |x| {
            ops::upfirdn2d(&x[0], kernel, number("up"), number("down"), pad)
        });
    }
}

#[test]
fn modulated_convolutions_meet_the_fused_originals() {
    let units = golden("units", "layers.safetensors");
    let inputs = ["in0", "in1", "param.weight", "param.modulation.weight", "param.modulation.bias"];
    type Conv = fn(&Tensor, &Tensor, &Tensor) -> Tensor;
    let cases: [(&str, Conv, bool); 8] = [
        ("modconv_plain", ops::modulated_conv2d, true),
        ("modconv_plain_nodemod", ops::modulated_conv2d, false),
        ("modconv_up", ops::modulated_conv2d_up, true),
        ("modconv_up_nodemod", ops::modulated_conv2d_up, false),
        ("modconv_down", ops::modulated_conv2d_down, true),
        ("modconv_down_nodemod", ops::modulated_conv2d_down, false),
        ("modconv_1x1_rgb", ops::modulated_conv2d, false),
        ("modconv_1x1_rgb", ops::modulated_rgb, false),
    ];
    for (name, conv, demodulate) in cases {
        check(&units, name, &inputs, |x| {
            let weight = x[2].squeeze_dim(0);
            let fan_in: i64 = weight.size()[1..].iter().product();
            let style = ops::equal_linear(&x[1], &x[3], &x[4], 1.0) / (fan_in as f64).sqrt();
            let y = conv(&x[0], &weight, &style);
            if demodulate {
                ops::scale_channels(&y, &ops::demodulation(&weight, &style))
            } else {
                y
            }
        });
    }
}

#[test]
fn a_styled_convolution_meets_its_recorded_tail() {
    let units = golden("units", "layers.safetensors");
    let inputs = [
        "in0",
        "in1",
        "in2",
        "param.conv.weight",
        "param.conv.modulation.weight",
        "param.conv.modulation.bias",
        "param.noise.weight",
        "param.activate.bias",
    ];
    check(&units, "styled_conv_no_noise", &inputs, |x| {
        let weight = x[3].squeeze_dim(0);
        let fan_in: i64 = weight.size()[1..].iter().product();
        let style = ops::equal_linear(&x[1], &x[4], &x[5], 1.0) / (fan_in as f64).sqrt();
        let y = ops::modulated_conv2d_up(&x[0], &weight, &style);
        ops::styled_tail(&y, &ops::demodulation(&weight, &style), Some((&x[2], &x[6])), &x[7])
    });
}

#[test]
fn linear_layers_norms_and_upsampling_meet_their_goldens() {
    let units = golden("units", "layers.safetensors");
    let linear = ["in0", "param.weight", "param.bias"];
    check(&units, "equal_linear", &linear, |x| ops::equal_linear(&x[0], &x[1], &x[2], 1.0));
    check(&units, "equal_linear_act_lrmul001", &linear, |x| {
        ops::scaled_leaky_relu(&ops::equal_linear(&x[0], &x[1], &x[2], 0.01))
    });
    check(&units, "fused_leaky_relu", &["in0", "param.bias"], |x| {
        ops::scaled_leaky_relu(&(&x[0] + x[1].reshape([1, -1, 1, 1])))
    });
    check(&units, "pixel_norm", &["in0"], |x| ops::pixel_norm(&x[0]));
    check(&units, "upsample", &["in0"], |x| ops::upsample_rgb(&x[0]));
}
