//! What follows the magic number of a legacy torch file.
#![no_main]

mod survive;

use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.";

fuzz_target!(|rest: &[u8]| survive::survive([MAGIC, rest].concat()));
