//! The one integration binary, so that libtorch is linked once.

mod checkpoint;
mod clip;
mod common;
mod generator;
mod ops;
mod pil;
mod preprocess;
mod tokenizer;
