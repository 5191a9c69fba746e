//! Generators for other programs: rosinality's checkpoints, TorchScript, ONNX, deltas, and a card beside each.
//!
//! `form` is the generator as plain layers; `torchscript` and `onnx` write it down. Nothing here draws or trains.

pub mod card;
pub mod form;
pub mod onnx;
pub mod rosinality;
pub mod torchscript;
