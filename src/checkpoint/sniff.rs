//! What a file is, by its first bytes; and plain words for what it is not.

use super::bytes::Bytes;
use super::{Container, npy, safetensors_file, torch_file, torch_tar};
use crate::error::{Error, Result};

pub(crate) const EXPECTED: &str =
    "expected a checkpoint: `.safetensors`, `.pt` as torch writes it, or NVIDIA's `.pkl`";
const DOWNLOAD: &str = "the download failed: open the link in a browser, and fetch the file itself";

/// Beginnings of files that people confuse with checkpoints.
const KNOWN: &[(&[u8], &str, &str)] = &[
    (b"\x89PNG", "a PNG image", EXPECTED),
    (b"\xff\xd8\xff", "a JPEG image", EXPECTED),
    (b"RIFF", "an image or sound (RIFF)", EXPECTED),
    (b"GIF8", "a GIF image", EXPECTED),
    (b"\x1f\x8b", "compressed with gzip", "unpack it first (`gunzip`)"),
    (b"BZh", "compressed with bzip2", "unpack it first (`bunzip2`)"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it first (`unxz`)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it first (`unzstd`)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras)", EXPECTED),
    (b"GGUF", "a GGUF file", EXPECTED),
    (b"PK\x05\x06", "an empty zip archive", EXPECTED),
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself",
        "run `git lfs pull` where it lies",
    ),
];

/// Tells the container as far as the first bytes do, or why there is none to read.
pub(crate) fn container(bytes: &Bytes) -> Result<Container> {
    let refuse = |what: &str, hint: &str| Err(Error::file_hint(bytes.path(), what, hint));
    let head = &bytes[..bytes.len().min(4096)];
    if head.is_empty() {
        return refuse("is empty", EXPECTED);
    }
    if head.iter().all(|&b| b == 0) {
        return refuse(
            "begins with nothing but zeros",
            "the file is damaged or cut off: fetch it again",
        );
    }
    // Before the rest: the length that begins a safetensors file may look like any other beginning.
    let header = safetensors_file::stated_header(head);
    if header.is_some_and(|length| length <= bytes.len() as u64) {
        return Ok(Container::Safetensors);
    }
    if head.starts_with(b"PK\x03\x04") {
        return Ok(Container::TorchZip);
    }
    if torch_file::legacy_start(head).is_some() {
        return Ok(Container::TorchLegacy);
    }
    if head.starts_with(npy::MAGIC) {
        return Ok(Container::Npy);
    }
    if head[0] == 0x80 {
        // Which code wrote it is told by reading it.
        return Ok(Container::NvidiaTorch);
    }
    if header.is_some() {
        return Ok(Container::Safetensors);
    }
    if torch_tar::is_tar(head) {
        return Ok(Container::TorchTar);
    }
    if let Some((_, what, hint)) = KNOWN.iter().find(|(start, _, _)| head.starts_with(start)) {
        return refuse(&format!("is {what}"), hint);
    }
    let text = String::from_utf8_lossy(head).trim_start().to_lowercase();
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        return refuse("is a web page, not a checkpoint", DOWNLOAD);
    }
    if std::str::from_utf8(&head[..head.len().min(64)]).is_ok_and(|t| !t.contains('\0')) {
        let start: String = text.chars().take(24).collect();
        return refuse(&format!("is a text that begins with {start:?}"), EXPECTED);
    }
    let start: Vec<_> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
    refuse(
        &format!("is of no known format: it begins with the bytes {}", start.join(" ")),
        EXPECTED,
    )
}
