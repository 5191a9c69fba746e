//! Tells the linker where libtorch lies, so that the built binary runs from any folder with no variable set.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // torch-sys hands on the folder that it linked against.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    // `.libtorch` is a link into the user's cache: the real path outlives this checkout.
    let lib = Path::new(&lib).canonicalize().unwrap_or_else(|_| Path::new(&lib).to_path_buf());
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:rustc-env=NADA_LIBTORCH_LIB={}", lib.display());
}
