//! What follows the magic string of an `.npy` file; and a header with its length put right.
#![no_main]

mod survive;

use libfuzzer_sys::fuzz_target;
use survive::survive;

const MAGIC: &[u8] = b"\x93NUMPY";

fuzz_target!(|rest: &[u8]| {
    survive([MAGIC, rest].concat());
    let split = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
    let (header, numbers) = rest.split_at(split);
    let length = (header.len() as u16).to_le_bytes();
    survive([MAGIC, &[1, 0], &length, header, numbers].concat());
});
