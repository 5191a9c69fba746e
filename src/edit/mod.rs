//! Editing images in the latent spaces of a generator, source or adapted, by text or along known directions.
//!
//! - [`mapper`]: a small network that moves every code (StyleCLIP), with StyleGAN-NADA's embedding-norm loss
//! - [`optimise`]: one code, by gradient descent (StyleCLIP)
//! - [`channels`]: a direction in StyleSpace from two phrases, at once (StyleCLIP's global directions)
//! - [`linear`]: directions in W+: InterFaceGAN's boundaries, GANSpace's components, [`sefa`]'s eigenvectors
//!
//! Facts follow orpatashnik/StyleCLIP and rinongal/StyleGAN-nada (reference §1.7, §2.5, §5.1); goldens `mapper` and
//! `styleclip` hold the agreement.

pub mod channels;
mod critic;
mod eye;
mod identity;
pub mod linear;
pub mod mapper;
pub mod optimise;
pub mod sefa;

pub use critic::{Critic, Seen};
pub use eye::Eye;
pub use identity::Identity;
