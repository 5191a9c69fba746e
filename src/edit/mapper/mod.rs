//! The latent mapper: ŵ = w + s·M(w), so that every code lands where the generator makes what is wanted.
//!
//! StyleCLIP's network ([`LevelsMapper`]); StyleGAN-NADA fits it to an adapted generator that still makes some images
//! of the old domain, and adds the embedding-norm loss, because the mapper otherwise makes artefacts that show as a
//! change of the length of CLIP's features. [`MapperTraining`] makes one step, [`crate::adapt::trainer`] is the loop around it, and
//! [`figures`] say whether it helped.
//!
//! Two things of the published code are done otherwise unless [`crate::config::Parity::Original`] asks for them: it
//! normalises the codes *across the layers* of a level, so that of a code which is the same for all layers (any that
//! comes from z) only the signs are left; and it shows CLIP images without CLIP's mean and deviation.

pub mod figures;
mod network;
mod step;
mod trainee;

pub use network::{Level, LevelsMapper, Normalise};
pub use step::{MapperReport, MapperTerm, MapperTraining};
