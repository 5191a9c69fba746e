//! The one integration binary, so that libtorch is linked once.
#![allow(clippy::unwrap_used)]

mod adapt_run;
mod attacks;
mod bad_input;
mod bombs;
mod cards;
mod checkpoint;
mod cli;
mod clip;
mod command;
mod common;
mod compare;
mod evaluate;
mod fetch;
mod fetch_command;
mod generator;
mod http_server;
mod imaging;
mod layering;
mod nada;
mod ops;
mod pil;
mod preprocess;
mod raw_zip;
mod readme;
mod run_dir;
mod token_table;
mod tokenizer;
mod twins;
mod vocabulary;
