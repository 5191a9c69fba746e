//! What every target asks of a reader.

use nada::checkpoint;

/// Larger tensors are left out: filling them says nothing new, and takes long.
const LARGEST: usize = 1 << 16;

/// Opens a file and reads its tensors. Whatever comes, it must come as an answer.
pub(crate) fn survive(bytes: Vec<u8>) {
    let Ok(file) = checkpoint::open_bytes("x", bytes) else { return };
    let contents = checkpoint::recognise(&file);
    let _ = (contents.to_string(), checkpoint::generator(&file), checkpoint::clip(&file));
    for entry in file.entries.values().filter(|entry| entry.byte_len() < LARGEST).take(64) {
        if let Ok(tensor) = entry.tensor() {
            assert_eq!(tensor.size(), entry.shape());
            assert_eq!(tensor.kind(), entry.kind());
        }
    }
}
