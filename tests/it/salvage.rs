//! Files that broke off: what is left of their table, and what is lost.
#![allow(clippy::unwrap_used)]

use crate::command::nada;
use crate::common::golden_path;
use nada::checkpoint;

const FILES: [&str; 3] = ["generator.pt", "generator_legacy.pt", "generator.safetensors"];

#[test]
fn a_cut_file_keeps_its_table_and_the_tensors_before_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let whole_path = golden_path("generator32", name);
        let whole = checkpoint::open(&whole_path).unwrap();
        let bytes = std::fs::read(&whole_path).unwrap();
        let path = folder.path().join(name);
        let mut lost_before = 0;
        for eighths in (3..8).rev() {
            std::fs::write(&path, &bytes[..bytes.len() * eighths / 8]).unwrap();
            checkpoint::open(&path).unwrap_err();
            let left = checkpoint::salvage(&path).unwrap();
            let names: Vec<_> = left.checkpoint.entries.keys().collect();
            assert_eq!(names, whole.entries.keys().collect::<Vec<_>>(), "{name}");
            assert!(left.lost.len() > lost_before && left.lost.len() < names.len(), "{name}");
            lost_before = left.lost.len();
            for (tensor, entry) in &left.checkpoint.entries {
                assert_eq!(entry.shape(), whole.entries[tensor].shape());
                match entry.tensor() {
                    Ok(read) => assert_eq!(read, whole.entries[tensor].tensor().unwrap()),
                    Err(error) => {
                        assert!(left.lost.contains(tensor), "{tensor}: {error}");
                        assert!(error.to_string().contains("cut off"), "{error}");
                    }
                }
            }
        }
    }
}

#[test]
fn no_cut_at_all_makes_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    for name in FILES {
        let bytes = std::fs::read(golden_path("generator32", name)).unwrap();
        for part in 0..64 {
            std::fs::write(&path, &bytes[..bytes.len() * part / 64]).unwrap();
            if let Some(left) = checkpoint::salvage(&path) {
                // The end of a zip is its index: without it, all numbers may still be there.
                assert!(part > 56 || !left.lost.is_empty(), "{name} {part}");
            }
        }
    }
}

#[test]
fn inspect_tells_what_a_cut_file_was() {
    let folder = tempfile::tempdir().unwrap();
    for name in FILES {
        let bytes = std::fs::read(golden_path("generator32", name)).unwrap();
        std::fs::write(folder.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        let ran = nada(folder.path(), &["inspect", name, "--json"]).refused(1, &[name]);
        let facts: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(facts["resolution"], 32, "{name}");
        assert!(facts["whole_tensors"].as_str().unwrap().contains(" of "), "{facts}");
        assert!(facts["lost"].as_array().unwrap().len() > 1, "{facts}");
    }
    std::fs::write(folder.path().join("page.pt"), "<!doctype html>").unwrap();
    let ran = nada(folder.path(), &["inspect", "page.pt"]).refused(1, &["is a web page"]);
    assert_eq!(ran.stdout, "");
}
