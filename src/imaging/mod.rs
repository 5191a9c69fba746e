//! Pictures in and out.

pub mod pil;
