//! Two things that only the build knows: the presets that lie in `presets/`, and where libtorch lies, so that the
//! built binary runs from any folder with no variable set.

use std::fmt::Write;
use std::path::PathBuf;

fn main() {
    // `scripts/libtorch` touches this file when it links another libtorch.
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=presets");
    embed_presets("presets", "presets.rs");
    embed_presets("presets/mapper", "mapper_presets.rs");
    link_libtorch();
}

/// Writes the list of a folder's `*.yaml` as Rust, so that a new preset is a new file and nothing else.
fn embed_presets(folder: &str, out: &str) {
    let variable = |name: &str| PathBuf::from(std::env::var_os(name).expect("cargo sets it"));
    let files = std::fs::read_dir(variable("CARGO_MANIFEST_DIR").join(folder));
    let mut files: Vec<PathBuf> = files.into_iter().flatten().flatten().map(|f| f.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    // `default` comes first, the others by name.
    files.sort_by_key(|f| (f.file_stem().is_some_and(|s| s != "default"), f.clone()));
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let _ = writeln!(list, "({name:?}, include_str!({:?})),", file.display().to_string());
    }
    list.push(']');
    std::fs::write(variable("OUT_DIR").join(out), list).expect("OUT_DIR is writable");
}

fn link_libtorch() {
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
