//! What the tests share: golden files and a comparison that says where it differs.
#![allow(dead_code)]

use nada::torch::TensorMap;
use std::path::PathBuf;
use tch::{Kind, Tensor};

/// A file under `tests/golden`.
pub(crate) fn golden_path(folder: &str, file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder).join(file)
}

/// The tensors of a golden safetensors file.
pub(crate) fn golden(folder: &str, file: &str) -> TensorMap {
    let path = golden_path(folder, file);
    Tensor::read_safetensors(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .into_iter()
        .collect()
}

/// Fails, saying by how much and where, unless `|got - want| <= atol + rtol * |want|` everywhere.
#[track_caller]
pub(crate) fn assert_close(name: &str, got: &Tensor, want: &Tensor, rtol: f64, atol: f64) {
    assert_eq!(got.size(), want.size(), "{name}: shapes differ");
    let got = got.detach().to_kind(Kind::Double).contiguous().view(-1);
    let want = want.detach().to_kind(Kind::Double).contiguous().view(-1);
    if got.numel() == 0 {
        return;
    }
    let over = (&got - &want).abs() - (want.abs() * rtol + atol);
    let worst = over.argmax(None, false).int64_value(&[]);
    let (g, w) = (got.double_value(&[worst]), want.double_value(&[worst]));
    let share = over.gt(0.0).to_kind(Kind::Double).mean(None).double_value(&[]);
    assert!(
        g.is_finite() && over.double_value(&[worst]) <= 0.0,
        "{name}: element {worst} is {g:e}, expected {w:e} (difference {:e}); {:.2} % beyond rtol {rtol:e} atol {atol:e}",
        (g - w).abs(),
        share * 100.0
    );
}

/// Gradients: the difference may be `tol` of the largest entry of the tensor.
#[track_caller]
pub(crate) fn assert_grad_close(name: &str, got: &Tensor, want: &Tensor, tol: f64) {
    let scale = want.to_kind(Kind::Double).abs().max().double_value(&[]);
    assert_close(name, got, want, 0.0, scale * tol + 1e-12);
}
