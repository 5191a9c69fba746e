//! The one integration binary, so that libtorch is linked once.

mod clip;
mod checkpoint;
mod common;
mod generator;
mod ops;
mod preprocess;
