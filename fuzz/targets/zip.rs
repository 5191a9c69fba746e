//! A zip archive. Half of the seeds carry no checksums, so that changes inside their pickles are seen.
#![no_main]

mod survive;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| {
    let mut bytes = archive.to_vec();
    if let Some(start) = bytes.get_mut(..4) {
        start.copy_from_slice(b"PK\x03\x04");
    }
    survive::survive(bytes);
});
