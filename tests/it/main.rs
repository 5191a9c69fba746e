//! The one integration binary, so that libtorch is linked once.
#![allow(clippy::unwrap_used)]

mod adapt_run;
mod align;
mod bad_input;
mod cards;
mod checkpoint;
mod cli;
mod clip;
mod command;
mod common;
mod compare;
mod convert;
mod detect;
mod dialects;
mod evaluate;
mod export;
mod generator;
mod imaging;
mod invert;
mod layering;
mod nada;
mod network_pickle;
mod ops;
mod pil;
mod preprocess;
mod readme;
mod run_dir;
mod salvage;
mod token_table;
mod tokenizer;
mod vocabulary;
