//! The one integration binary, so that libtorch is linked once.

mod clip;
mod common;
mod generator;
mod ops;
mod preprocess;
