//! Real photos into a generator's latent space.
//!
//! ```text
//! photo ─► align ─► encoder ─► W+ codes ─► generator ─► reconstruction
//!                     ▲                        │
//!                     └──── ReStyle: again ◄───┘
//! ```
//! [`Encoder`] is the network of ReStyle, pSp and e4e, every size inferred from its tensors; [`invert`] runs it as its
//! kind asks: once, or ReStyle's few rounds in which it sees its own last result. Names and arithmetic follow
//! yuval-alaluf/restyle-encoder, eladrich/pixel2style2pixel and omertov/encoder4editing; goldens hold the agreement.

pub mod align;
mod arcface;
mod config;
pub mod detect;
mod encoder;
mod layers;
mod pyramid;
mod restyle;
mod styles;
mod trunk;

pub use arcface::ArcFace;
pub use config::{Config, Facts, Flavour};
pub use detect::{Detector, Face};
pub use encoder::Encoder;
pub use restyle::{Round, invert};
