//! ONNX files: the synthesis network (w+ → image) and the mapping network (z → w+), for any batch.
//!
//! Operators of [`OPSET`] that every runtime has: `Gemm`, `Conv` and `ConvTranspose` with weights that the batch shares,
//! and arithmetic.

mod builder;
mod graph;
pub mod proto;
mod run;

use super::form::Form;
use crate::atomic;
use crate::error::{Error, IoContext, Result};
use crate::torch::TensorMap;
use prost::Message;
use proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use std::collections::BTreeMap;
use std::path::Path;
use tch::Tensor;

/// The version of the operators.
pub const OPSET: i64 = 17;
/// The version of the file format that came with [`OPSET`].
const IR_VERSION: i64 = 8;
/// What a protobuf message may have.
const MAX_BYTES: u64 = i32::MAX as u64;

/// Writes `w_plus` [N, L, D] → `image` [N, 3, R, R].
///
/// # Errors
/// [`Error::Io`]; [`Error::Request`] for a generator that does not fit into 2 GiB.
pub fn save_synthesis(path: &Path, form: &Form, metadata: &BTreeMap<String, String>) -> Result<()> {
    save(path, graph::synthesis(form)?, metadata)
}

/// Writes `z` [N, Dz] → `w_plus` [N, L, D], truncated by `psi`.
///
/// # Errors
/// As [`save_synthesis`].
pub fn save_mapping(
    path: &Path,
    form: &Form,
    psi: f64,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    save(path, graph::mapping(form, psi)?, metadata)
}

fn save(path: &Path, graph: GraphProto, metadata: &BTreeMap<String, String>) -> Result<()> {
    let pairs = metadata
        .iter()
        .map(|(key, value)| StringStringEntryProto { key: key.clone(), value: value.clone() });
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "nada".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: String::new(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: pairs.collect(),
    };
    let bytes = model.encoded_len() as u64;
    if bytes > MAX_BYTES {
        return Err(Error::request(
            format!("as ONNX this generator has {bytes} bytes, a file may have {MAX_BYTES}"),
            "use `--format torchscript`, which has no such limit",
        ));
    }
    atomic::write(path, model.encode_to_vec())
}

/// A file that was read back.
#[derive(Debug)]
pub struct Loaded(GraphProto);

impl Loaded {
    /// Reads a file of [`save_synthesis`] or [`save_mapping`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::File`] when it is no such file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).while_doing("read", path)?;
        let model = ModelProto::decode(bytes.as_slice()).map_err(|e| Error::file(path, e))?;
        model.graph.map(Self).ok_or_else(|| Error::file(path, "holds no graph"))
    }

    /// The graph.
    pub fn graph(&self) -> &GraphProto {
        &self.0
    }

    /// Computes the output from the inputs by name.
    ///
    /// # Errors
    /// [`Error::Torch`] for a graph that cannot be computed.
    pub fn run(&self, inputs: TensorMap) -> Result<Tensor> {
        run::run(&self.0, inputs)
    }
}
