//! StyleGAN-NADA: two phrases in, a generator of a new image domain out, without one training image.
//!
//! Shape letters used everywhere: N batch, C channels, H W pixels, L number of style inputs (18 at 1024 px),
//! D style width (512), E width of a CLIP's embedding, T tokens (77). Images are `[N, 3, H, W]` in [-1, 1].

pub mod adapt;
pub mod atomic;
pub mod builtin;
pub mod checkpoint;
pub mod cli;
pub mod clip;
pub mod config;
pub mod edit;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod fetch;
pub mod imaging;
pub mod invert;
pub mod models;
mod regular;
pub mod rng;
pub mod run_dir;
pub mod stylegan2;
pub mod torch;

pub use error::{Error, Result};
