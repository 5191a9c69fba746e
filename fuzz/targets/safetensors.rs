//! A safetensors header up to the first zero byte, behind it the numbers; and the bytes as they are.
#![no_main]

mod survive;

use libfuzzer_sys::fuzz_target;
use survive::survive;

fuzz_target!(|data: &[u8]| {
    let split = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (header, numbers) = data.split_at(split);
    survive([&(header.len() as u64).to_le_bytes(), header, numbers].concat());
    survive(data.to_vec());
});
