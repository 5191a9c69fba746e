//! The one integration binary, so that libtorch is linked once.

mod common;
mod imaging;
