//! Puts an ONNX graph together, node by node.

use super::proto::{
    AttributeProto, Dimension, FLOAT, GraphProto, INT64, NodeProto, TensorProto, TensorShapeProto,
    TensorType, TypeProto, ValueInfoProto,
};
use crate::error::Result;
use crate::torch::catch;
use tch::{Device, Kind, Tensor};

/// A graph under construction. Values are known by their names.
#[derive(Default)]
pub(super) struct Builder {
    graph: GraphProto,
}

/// The settings of a convolution.
pub(super) struct Geometry {
    pub(super) kernel: i64,
    pub(super) stride: i64,
    pub(super) pad: i64,
    pub(super) group: i64,
}

impl Builder {
    /// The finished graph with its results.
    pub(super) fn finish(mut self, name: &str, outputs: Vec<ValueInfoProto>) -> GraphProto {
        self.graph.name = name.to_owned();
        self.graph.output = outputs;
        self.graph
    }

    /// An input; its first size is free.
    pub(super) fn input(&mut self, name: &str, rest: &[i64]) -> String {
        self.graph.input.push(batch_of(name, rest));
        name.to_owned()
    }

    /// Weights, in float32.
    pub(super) fn weight(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        let mut raw_data = vec![0; tensor.numel() * 4];
        catch("writing weights", || {
            let plain = tensor.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
            plain.copy_data_u8(&mut raw_data, tensor.numel());
            Ok(())
        })?;
        self.graph.initializer.push(TensorProto {
            dims: tensor.size(),
            data_type: FLOAT,
            name: name.to_owned(),
            raw_data,
        });
        Ok(name.to_owned())
    }

    /// Whole numbers, which some operators take as inputs: a list, or a single one without a dimension.
    pub(super) fn integers(&mut self, name: &str, values: &[i64], scalar: bool) -> String {
        self.graph.initializer.push(TensorProto {
            dims: if scalar { vec![] } else { vec![values.len() as i64] },
            data_type: INT64,
            name: name.to_owned(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        });
        name.to_owned()
    }

    /// An operator with one result, which gets the given name.
    pub(super) fn node(
        &mut self,
        op: &str,
        result: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![result.to_owned()],
            name: result.to_owned(),
            op_type: op.to_owned(),
            attribute,
        });
        result.to_owned()
    }

    /// `x Wᵀ + b` for `W: [out, in]`.
    pub(super) fn linear(&mut self, result: &str, x: &str, weight: &str, bias: &str) -> String {
        self.node("Gemm", result, &[x, weight, bias], vec![int("transB", 1)])
    }

    /// `Conv` or `ConvTranspose`.
    pub(super) fn convolution(
        &mut self,
        op: &str,
        result: &str,
        [x, weight]: [&str; 2],
        geometry: &Geometry,
    ) -> String {
        let Geometry { kernel, stride, pad, group } = *geometry;
        let attributes = vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[pad; 4]),
            int("group", group),
        ];
        self.node(op, result, &[x, weight], attributes)
    }
}

/// A value whose first size is free.
pub(super) fn batch_of(name: &str, rest: &[i64]) -> ValueInfoProto {
    let batch = Dimension { dim_value: None, dim_param: Some("N".into()) };
    let known = |&size: &i64| Dimension { dim_value: Some(size), dim_param: None };
    let dim = std::iter::once(batch).chain(rest.iter().map(known)).collect();
    let shape = Some(TensorShapeProto { dim });
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

pub(super) fn float(name: &str, value: f64) -> AttributeProto {
    AttributeProto { name: name.into(), f: Some(value as f32), r#type: 1, ..Default::default() }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(value), r#type: 2, ..Default::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values.into(), r#type: 7, ..Default::default() }
}
