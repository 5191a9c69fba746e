//! The one integration binary, so that libtorch is linked once.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod clip;
mod common;
mod generator;
mod imaging;
mod nada;
mod ops;
mod pil;
mod preprocess;
mod readme;
mod run_dir;
mod tokenizer;
