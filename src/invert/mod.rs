//! Real photos into a generator's latent space.
//!
//! ```text
//! photo ─► align ─► encoder ─► W+ codes ─► generator ─► reconstruction
//!                     ▲                        │
//!                     └──── ReStyle: again ◄───┘
//! ```
//! [`Encoder`] is the network of ReStyle, pSp and e4e, every size inferred from its tensors; [`invert`] runs it as its
//! kind asks: once, or ReStyle's few rounds in which it sees its own last result; [`project`] looks for codes without an
//! encoder, or from where one came. Names and arithmetic follow
//! yuval-alaluf/restyle-encoder, eladrich/pixel2style2pixel and omertov/encoder4editing; goldens hold the agreement.

pub mod align;
mod arcface;
mod config;
mod cut;
pub mod detect;
mod encoder;
pub mod labels;
mod layers;
mod lpips;
mod perceptual;
mod projector;
mod pyramid;
mod recipe;
mod restyle;
mod styles;
mod trunk;

pub use arcface::ArcFace;
pub use config::{Config, Facts, Flavour};
pub use cut::Cut;
pub use detect::{Detector, Face};
pub use encoder::Encoder;
pub use lpips::Lpips;
pub use perceptual::{Perceptual, Seen};
pub use projector::{Losses, Projection, Settings, Space, project};
pub use recipe::{Distance, Inputs, Inversion, Recipe, Stage, distances};
pub use restyle::{Round, check_codes, invert};
