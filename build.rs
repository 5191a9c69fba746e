//! Tells the linker where libtorch lies, so that the built binary runs from any folder with no variable set.

use std::path::PathBuf;

fn main() {
    // `scripts/libtorch` touches this file when it links another libtorch.
    println!("cargo:rerun-if-changed=build.rs");
    // torch-sys hands on the folder that it linked against.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        println!(
            "cargo:warning=torch-sys named no libtorch: the binary will need LD_LIBRARY_PATH to find one"
        );
        return;
    };
    // `.libtorch` is a link into the user's cache: the real path outlives this checkout.
    let lib = PathBuf::from(lib);
    let lib = lib.canonicalize().unwrap_or(lib);
    if cfg!(unix) {
        // The linkers of Linux and macOS both know -rpath. Word by word, since -Wl would split a path at its commas.
        for word in ["-rpath", &lib.to_string_lossy()] {
            println!("cargo:rustc-link-arg=-Xlinker");
            println!("cargo:rustc-link-arg={word}");
        }
    }
    println!("cargo:rustc-env=NADA_LIBTORCH_LIB={}", lib.display());
}
