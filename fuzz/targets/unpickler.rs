//! A pickle: alone, as NVIDIA's are, and as the `data.pkl` of a torch archive with two storages.
#![no_main]

#[path = "../../tests/it/raw_zip.rs"]
#[allow(dead_code)]
mod raw_zip;
mod survive;

use libfuzzer_sys::fuzz_target;
use raw_zip::{End, Member, archive};
use survive::survive;

fuzz_target!(|pickle: &[u8]| {
    let members = [
        Member::new("x/data.pkl", pickle),
        Member::new("x/data/0", &[1; 64]),
        Member::new("x/data/1", &[0; 8]),
    ];
    survive(archive(&members, &End::default()));
    survive([&b"\x80\x02"[..], pickle].concat());
});
