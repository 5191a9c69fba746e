//! Files made to do harm: none runs anything, none hangs, none fills the memory, each is answered with a message.
//!
//! What `checkpoint.rs` tries one by one is not repeated here; the bombs are in `bombs.rs`.

use crate::checkpoint::{refusal, text, torch_zip, tuple};
use crate::common::golden_path;
use crate::raw_zip::{End, Member, archive};
use nada::checkpoint::{self, Checkpoint};
use tch::Tensor;

fn bytes(folder: &str, file: &str) -> Vec<u8> {
    std::fs::read(golden_path(folder, file)).unwrap()
}

pub(crate) fn pickled(ops: &[&[u8]]) -> Vec<u8> {
    torch_zip(&[&b"\x80\x02"[..], &ops.concat(), b"."].concat(), &[])
}

/// All numbers of a file by name, or the first error.
pub(crate) fn read(file: &Checkpoint) -> Result<Vec<(String, Tensor)>, nada::Error> {
    file.entries.iter().map(|(name, entry)| Ok((name.clone(), entry.tensor()?))).collect()
}

// ---------------------------------------------------------------- code

/// The pickle machine's ways to call, over each of the containers.
#[test]
fn no_opcode_of_no_container_calls_anything() {
    let folder = tempfile::tempdir().unwrap();
    let witness = folder.path().join("witness");
    let command = text(&format!("touch {}", witness.display()));
    let global = |name: &str| format!("c{}\n", name.replacen('.', "\n", 1)).into_bytes();
    let import = [global("builtins.__import__"), tuple(&[text("os")]), b"R".to_vec()].concat();
    let system =
        [global("builtins.getattr"), tuple(&[import, text("system")]), b"R".to_vec()].concat();
    let call = |f: &[u8], args: &[u8]| [f, args, b"R"].concat();
    let one = tuple(std::slice::from_ref(&command));
    let stack_global = [text("os"), text("system"), b"\x93".to_vec()].concat();
    let calls: [(&str, Vec<u8>); 9] = [
        ("getattr of __import__", call(&system, &one)),
        ("eval of a text", call(&global("builtins.eval"), &one)),
        ("STACK_GLOBAL", call(&stack_global, &one)),
        ("NEWOBJ", [&global("subprocess.Popen")[..], &one, b"\x81"].concat()),
        ("NEWOBJ_EX", [&global("subprocess.Popen")[..], &one, b"}\x92"].concat()),
        ("OBJ", [b"(", &global("os.system")[..], &command, b"o"].concat()),
        ("INST", [b"(", &command[..], b"ios\nsystem\n"].concat()),
        (
            "BUILD of a state",
            [&global("codecs.open")[..], b")\x81", &tuple(&[command.clone(), system]), b"b"]
                .concat(),
        ),
        (
            "REDUCE in a key of a storage",
            [&tuple(&[text("storage"), call(&global("os.system"), &one)])[..], b"Q"].concat(),
        ),
    ];
    for (name, call) in calls {
        let whole = [b"\x80\x02}".to_vec(), text("a"), call.clone(), b"s.".to_vec()].concat();
        let legacy = [
            b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec(),
            whole.clone(),
            b"\x80\x02].".to_vec(),
        ]
        .concat();
        let script = archive(
            &[
                Member::new("x/data.pkl", &whole),
                Member::new("x/constants.pkl", &whole),
                Member::new("x/code/a.py", b"import os"),
            ],
            &End::default(),
        );
        for (container, file) in
            [("zip", torch_zip(&whole, &[])), ("legacy", legacy), ("jit", script)]
        {
            let file = checkpoint::open_bytes("x.pt", file)
                .unwrap_or_else(|e| panic!("{name} in {container}: {e}"));
            assert!(file.entries.is_empty() && file.others.contains_key("a"), "{name}");
            assert!(checkpoint::generator(&file).is_err() && checkpoint::clip(&file).is_err());
        }
        // Bare, as NVIDIA's are.
        assert!(refusal(whole).contains("a Python pickle"), "{name}");
    }
    // The extension registry could name anything.
    for opcode in [&b"\x82\x01"[..], b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"] {
        assert!(refusal(pickled(&[opcode])).contains("is not supported"));
    }
    assert!(!witness.exists());
}

// ---------------------------------------------------------------- archives

#[test]
fn archives_that_lie_are_refused() {
    let pickle = b"\x80\x02}.";
    let plain = || vec![Member::new("x/data.pkl", pickle), Member::new("x/data/0", &[7; 400])];
    let open =
        |members: &[Member], end: &End| checkpoint::open_bytes("x.pt", archive(members, end));
    assert!(open(&plain(), &End::default()).is_ok());
    assert!(open(&plain(), &End { zip64: true, ..End::default() }).is_ok());

    let mut twice = plain();
    twice.push(Member::new("x/data/0", b"other"));
    let mut same_place = plain();
    same_place.push(Member { offset: Some(0), ghost: true, ..Member::new("x/data/1", pickle) });
    same_place[2].local_name = Some(b"x/data.pkl".to_vec());
    // The first swallows the second, header and all.
    let mut swallowed = plain();
    swallowed[0].sizes = (430, 430);
    let mut beyond = plain();
    beyond[1].sizes = (1 << 20, 1 << 20);
    let mut nowhere = plain();
    nowhere[1].offset = Some(0x7fff_0000);
    let mut two_sizes = plain();
    two_sizes[1].sizes.1 = 1 << 30;
    let mut locked = plain();
    locked[0].flags = 1;
    let mut packed = plain();
    packed[0].method = 12;
    let named = |name: &[u8]| {
        let mut members = plain();
        members[1].name = name.to_vec();
        members
    };
    let cases: [(&str, Vec<Member>, &str); 14] = [
        ("two members of one name", twice, "two members of one name"),
        ("two names of one place", same_place, "share bytes"),
        ("a member inside another", swallowed, "share bytes"),
        ("a member beyond the end", beyond, "share bytes"),
        ("a header beyond the end", nowhere, "broken zip archive"),
        ("two sizes", two_sizes, "has two sizes"),
        ("encrypted", locked, "`x/data.pkl` of the zip archive is encrypted"),
        ("packed by bzip2", packed, "`x/data.pkl` of the zip archive is compressed by bzip2"),
        ("..", named(b"x/../../etc/passwd"), "dangerous name"),
        ("an absolute path", named(b"/etc/passwd"), "dangerous name"),
        ("backslashes", named(b"..\\..\\x"), "dangerous name"),
        ("a drive", named(b"C:x"), "dangerous name"),
        ("a zero byte", named(b"x/data\0/0"), "dangerous name"),
        ("a name that ends in ..", named(b"x/.."), "dangerous name"),
    ];
    for (name, members, words) in cases {
        let error = open(&members, &End::default()).err().map(|e| e.to_string());
        assert!(error.as_ref().is_some_and(|e| e.contains(words)), "{name}: {error:?}");
    }
    for zip64 in [false, true] {
        for end in [
            End { count: Some(u64::MAX), zip64, ..End::default() },
            End { count: Some(9), zip64, ..End::default() },
            End { size: Some(u64::MAX), zip64, ..End::default() },
            End { offset: Some(u64::MAX), zip64, ..End::default() },
            End { offset: Some(3), zip64, ..End::default() },
        ] {
            let file = open(&plain(), &end);
            // A directory found in spite of its size or place is as good as the true one.
            if let Ok(file) = file {
                assert_eq!(file.whole, "dictionary of 0 items", "{end:?}");
            }
        }
    }
    let short = open(&plain(), &End { count: Some(1), ..End::default() });
    assert!(short.is_ok_and(|file| file.entries.is_empty()));
}

// ---------------------------------------------------------------- safetensors

#[test]
fn safetensors_headers_that_lie_are_refused() {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!("{{\"a\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    assert!(checkpoint::open_bytes("x", file(&one("F32", "[2]", "[0,8]"), 8)).is_ok());
    let many = vec!["1"; 65].join(",");
    let overlap = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\
                   \"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}";
    let twice = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\
                 \"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}";
    for (header, words) in [
        (one("F32", "[4611686018427387904]", "[0,8]"), "bad header"),
        (one("F32", "[4294967296,4294967296,4294967296]", "[0,8]"), "bad header"),
        (one("F32", "[-2]", "[0,8]"), "bad header"),
        (one("F32", "[2.0]", "[0,8]"), "bad header"),
        (one("F32", "[2]", "[8,0]"), "bad header"),
        (one("F32", "[2]", "[0,18446744073709551615]"), "bad header"),
        (one("F32", "[3]", "[0,8]"), "bad header"),
        (one("F33", "[2]", "[0,8]"), "bad header"),
        (one("F32", "[1]", "[4,8]"), "bad header"),
        (one("F32", "[2]", "[0,8]") + "x", "bad header"),
        (one("U8", &format!("[8,{many}]"), "[0,8]"), "dimensions"),
        (overlap.into(), "bad header"),
        (twice.into(), ""),
        (one("F32", "[1]", "[0,4]"), "fewer or more bytes"),
        ("[".repeat(10_000), "web page | text | known format"),
        (format!("{{\"a\":{}", "[".repeat(10_000)), "bad header"),
        (format!("{{\"a\":{}", "{\"a\":".repeat(10_000)), "bad header"),
        ("{\"__metadata__\":{\"a\":1}}".into(), "bad header"),
        ("{\"a\":{}}".into(), "bad header"),
    ] {
        let text = refusal(file(&header, 8));
        let start: String = header.chars().take(60).collect();
        assert!(words.split(" | ").any(|w| text.contains(w)), "{start}: {text}");
    }
}

// ---------------------------------------------------------------- cut off, and bits turned

#[test]
fn an_array_cut_off_anywhere_is_refused() {
    let header =
        format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 32), }");
    let whole = [b"\x93NUMPY\x01\0v\0", header.as_bytes(), &[1; 2048]].concat();
    assert!(checkpoint::open_bytes("x.npy", whole.clone()).is_ok());
    for cut in (1..64).map(|i| whole.len() * i / 64).chain(0..140) {
        refusal(&whole[..cut]);
    }
    refusal([&whole[..], b"x"].concat());
}

/// Every container knows its own checksums or none; but a turned bit never makes other weights of an archive unnoticed.
#[test]
fn a_turned_bit_in_an_archive_is_found_or_changes_nothing() {
    for (folder, name, step) in
        [("generator32", "generator.pt", 701), ("clip_vit", "model_jit_fp16.pt", 24_001)]
    {
        let whole = bytes(folder, name);
        let want = read(&checkpoint::open_bytes("x.pt", whole.clone()).unwrap()).unwrap();
        let mut found = 0;
        let mut tried = 0;
        let ends = whole.len() * 8 - 100_000..whole.len() * 8;
        for bit in (0..whole.len() * 8).step_by(step).chain(ends.step_by(step / 7)) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            tried += 1;
            let Ok(got) = checkpoint::open_bytes("x.pt", bytes).and_then(|file| read(&file)) else {
                found += 1;
                continue;
            };
            assert_eq!(got.len(), want.len(), "{name}, bit {bit}");
            for ((a, x), (b, y)) in got.iter().zip(&want) {
                assert!(a == b && x.kind() == y.kind() && x.equal(y), "{name}, bit {bit}: `{a}`");
            }
        }
        assert!(found * 2 > tried, "{name}: {found} of {tried}");
    }
}

/// Without checksums a bit may change a number, but neither the shape of the file nor the program.
#[test]
fn a_turned_bit_anywhere_ends_in_tensors_or_in_a_message() {
    for (name, step) in [("generator_legacy.pt", 1601), ("generator.safetensors", 1601)] {
        let whole = bytes("generator32", name);
        for bit in (0..100_000).step_by(197).chain((0..whole.len() * 8).step_by(step)) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(file) = checkpoint::open_bytes("x.pt", bytes) {
                let _ = (read(&file), checkpoint::recognise(&file).to_string());
            }
        }
    }
}
