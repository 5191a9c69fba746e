//! The `nada` command.

fn main() {}
