//! CLIP: the judge that knows both words and pictures.

pub mod clean;
mod html;
pub mod templates;
pub mod tokenizer;
