//! Photos → codes, for `nada invert` and `nada translate`: what is loaded for it, and what is kept of it.

mod args;
mod face_files;
mod inverter;
mod ledger;
mod session;
mod tables;

pub(in crate::cli) use args::InversionArgs;
pub(in crate::cli) use inverter::{InputKind, Inverter};
pub(in crate::cli) use ledger::{FaceRecord, Ledger, StageRecord};
pub(in crate::cli) use session::{Kept, Session};
pub(in crate::cli) use tables::Tables;
