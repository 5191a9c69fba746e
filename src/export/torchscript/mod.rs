//! One TorchScript archive with everything: z → image, z → w+, w+ → image, for any batch and device.

mod source;

use super::form::Form;
use crate::checkpoint::{Archive, PickleWriter};
use crate::error::{Error, Result};
use crate::torch::catch;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{CModule, IValue, Kind, Tensor};

/// Writes the archive: `forward(z, truncation=psi)`, `w_plus(z, truncation=psi)`, `mapping(z)` and `synthesis(w_plus)`.
///
/// # Errors
/// [`Error::Io`].
pub fn save(path: &Path, form: &Form, psi: f64, metadata: &BTreeMap<String, String>) -> Result<()> {
    let module = source::module(form, psi);
    let mut pickle = PickleWriter::new();
    let mut tensors = Vec::new();
    pickle.object("__torch__", source::CLASS, |p| {
        for (name, tensor) in module.buffers {
            p.text(&name);
            p.tensor(tensors.len(), Kind::Float, &tensor.size());
            tensors.push(tensor);
        }
        p.text("training");
        p.bool(false);
        p.text("_is_full_backward_hook");
        p.none();
    });
    let mut constants = PickleWriter::new();
    constants.tuple(|_| {});
    let texts = vec![
        ("code/__torch__.py".to_owned(), module.code.into_bytes()),
        ("constants.pkl".to_owned(), constants.finish()),
    ];
    Archive { pickle: pickle.finish(), tensors, dtype: Some(Kind::Float), texts }
        .save(path, metadata)
}

/// An archive that was read back by libtorch.
#[derive(Debug)]
pub struct Loaded(CModule);

impl Loaded {
    /// Loads an archive on the CPU.
    ///
    /// # Errors
    /// [`Error::File`] with libtorch's words.
    pub fn open(path: &Path) -> Result<Self> {
        CModule::load(path).map(Self).map_err(|e| refused(path, &e.to_string()))
    }

    /// z → image, with the truncation that it was written with.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        self.call("forward", z)
    }

    /// w+ → image.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn synthesis(&self, w_plus: &Tensor) -> Result<Tensor> {
        self.call("synthesis", w_plus)
    }

    fn call(&self, method: &str, input: &Tensor) -> Result<Tensor> {
        let failed = |message: String| Error::Torch {
            doing: format!("running the exported `{method}`"),
            message,
        };
        let value = catch("running an export", || {
            Ok(tch::no_grad(|| self.0.method_is(method, &[IValue::Tensor(input.shallow_clone())])))
        })?;
        match value.map_err(|e| failed(e.to_string()))? {
            IValue::Tensor(image) => Ok(image),
            other => Err(failed(format!("it returned {other:?}"))),
        }
    }
}

fn refused(path: &Path, message: &str) -> Error {
    Error::file(
        path,
        format!("libtorch does not load it: {}", message.lines().next().unwrap_or("")),
    )
}
