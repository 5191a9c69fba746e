//! The one integration binary, so that libtorch is linked once.

mod checkpoint;
mod common;
