//! Computes a graph that was read back, with libtorch: only the operators that `graph.rs` writes.
//!
//! There is no ONNX runtime here; this shows that the file says what was meant. That real runtimes agree is seen by
//! `scripts/check-exports`.

use super::proto::{AttributeProto, FLOAT, GraphProto, INT64, NodeProto, TensorProto};
use crate::error::{Error, Result};
use crate::torch::{TensorMap, catch};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// The first output for the given inputs.
pub(super) fn run(graph: &GraphProto, inputs: TensorMap) -> Result<Tensor> {
    let mut values: BTreeMap<&str, Tensor> = BTreeMap::new();
    for tensor in &graph.initializer {
        values.insert(&tensor.name, weights(tensor)?);
    }
    for input in &graph.input {
        match inputs.get(&input.name) {
            Some(value) => {
                values.insert(&input.name, value.shallow_clone());
            }
            None => return Err(broken(format!("input `{}` is missing", input.name))),
        }
    }
    for node in &graph.node {
        let name = node.output.first().ok_or_else(|| broken("a node without a result".into()))?;
        let arguments = node.input.iter().map(|input| {
            let value = values.get(input.as_str()).map(Tensor::shallow_clone);
            value.ok_or_else(|| broken(format!("`{name}` needs `{input}`, which nothing makes")))
        });
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let value = catch("running an exported graph", || {
            tch::no_grad(|| {
                operator(node, &arguments)
                    .ok_or_else(|| broken(format!("`{name}` is an unknown `{}`", node.op_type)))
            })
        })?;
        values.insert(name, value);
    }
    let output = graph.output.first().and_then(|output| values.get(output.name.as_str()));
    output.map(Tensor::shallow_clone).ok_or_else(|| broken("there is no output".into()))
}

fn operator(node: &NodeProto, inputs: &[Tensor]) -> Option<Tensor> {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    let int = |name: &str| attribute(name).and_then(|a| a.i);
    let ints = |name: &str| attribute(name).map(|a: &AttributeProto| a.ints.as_slice());
    Some(match (node.op_type.as_str(), inputs) {
        ("Identity", [x]) => x.shallow_clone(),
        ("Add", [a, b]) => a + b,
        ("Sub", [a, b]) => a - b,
        ("Mul", [a, b]) => a * b,
        ("Div", [a, b]) => a / b,
        ("Sqrt", [x]) => x.sqrt(),
        ("Clip", [x, low, high]) => x.clamp(low.double_value(&[]), high.double_value(&[])),
        ("LeakyRelu", [x]) => {
            let slope = f64::from(attribute("alpha")?.f?);
            x.clamp_min(0.0) + x.clamp_max(0.0) * slope
        }
        ("ReduceMean", [x]) => x.mean_dim(ints("axes")?, int("keepdims")? == 1, x.kind()),
        ("Gather", [x, index]) => x.select(int("axis")?, index.int64_value(&[])),
        ("Unsqueeze", [x, axes]) => {
            let axes = Vec::<i64>::try_from(axes).ok()?;
            axes.iter().fold(x.shallow_clone(), |x, &axis| x.unsqueeze(axis))
        }
        ("Expand", [x, shape]) => {
            let ones = Tensor::ones(Vec::<i64>::try_from(shape).ok()?, (x.kind(), x.device()));
            x * ones
        }
        ("Gemm", [x, weight, bias]) if int("transB")? == 1 => {
            x.matmul(&weight.transpose(0, 1)) + bias
        }
        ("Conv", [x, weight]) => {
            let (stride, pad) = (ints("strides")?, ints("pads")?.get(..2)?);
            x.conv2d::<Tensor>(weight, None, stride, pad, [1, 1], int("group")?)
        }
        ("ConvTranspose", [x, weight]) => {
            let (stride, pad) = (ints("strides")?, ints("pads")?.get(..2)?);
            let group = int("group")?;
            x.conv_transpose2d::<Tensor>(weight, None, stride, pad, [0, 0], group, [1, 1])
        }
        _ => return None,
    })
}

fn weights(tensor: &TensorProto) -> Result<Tensor> {
    let kind = match tensor.data_type {
        FLOAT => Kind::Float,
        INT64 => Kind::Int64,
        other => return Err(broken(format!("`{}` has data type {other}", tensor.name))),
    };
    let numel = tensor.dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d.try_into().ok()?));
    let bytes = numel.and_then(|n| n.checked_mul(kind.elt_size_in_bytes()));
    if bytes != Some(tensor.raw_data.len()) {
        return Err(broken(format!("`{}` has not as many numbers as its shape", tensor.name)));
    }
    catch("reading weights", || Ok(Tensor::from_data_size(&tensor.raw_data, &tensor.dims, kind)))
}

fn broken(message: String) -> Error {
    Error::Torch { doing: "running an exported graph".into(), message }
}
