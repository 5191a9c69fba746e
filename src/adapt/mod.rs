//! The paper: StyleGAN-NADA, CLIP-guided domain adaptation (Gal et al. 2021, arXiv 2108.00946).
//!
//! [`Adaptation`] holds a frozen and a trainable generator and makes one step; [`trainer`] is the loop around it.
//! Facts follow rinongal/StyleGAN-nada; where that code is wrong we are right by default and wrong on request
//! ([`crate::config::Parity::Original`]): the routing of the layer choice, noise and crossovers that the twins do
//! not share, the moments of frozen layers, the nudge of equal twins.

pub mod adaptation;
pub mod augment;
pub mod direction;
pub mod judge;
pub mod layer_choice;
pub mod losses;
pub mod optim;
pub mod patches;
pub mod ranger;
pub mod rate;
pub mod trainer;

pub use adaptation::{Adaptation, Pair, StepReport};
pub use direction::Direction;
pub use judge::Judge;
