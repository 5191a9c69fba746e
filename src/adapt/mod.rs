//! The paper (Gal et al. 2021, arXiv 2108.00946).

pub mod augment;
pub mod losses;
pub mod optim;
