//! Files made to do harm: none runs anything, none hangs, none fills the memory, each is answered with a message.
//!
//! What `checkpoint.rs` tries one by one is not repeated here. The bombs are opened in a child process, where time and
//! memory can be measured.

use crate::checkpoint::{int, refusal, tensor, text, torch_zip, tuple};
use crate::common::golden_path;
use crate::raw_zip::{End, Member, archive};
use nada::checkpoint::{self, Checkpoint};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use tch::Tensor;

/// Most memory that opening and reading any of these files may take.
const MAX_MEGABYTES: u64 = 256;
/// Longest that it may take. The work is bounded to some seconds at worst; other tests run beside this one.
const MAX_SECONDS: f64 = 20.0;

fn bytes(folder: &str, file: &str) -> Vec<u8> {
    std::fs::read(golden_path(folder, file)).unwrap()
}

fn pickled(ops: &[&[u8]]) -> Vec<u8> {
    torch_zip(&[&b"\x80\x02"[..], &ops.concat(), b"."].concat(), &[])
}

/// All numbers of a file by name, or the first error.
fn read(file: &Checkpoint) -> Result<Vec<(String, Tensor)>, nada::Error> {
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
    locked[1].flags = 1;
    let named = |name: &[u8]| {
        let mut members = plain();
        members[1].name = name.to_vec();
        members
    };
    let cases: [(&str, Vec<Member>, &str); 13] = [
        ("two members of one name", twice, "two members of one name"),
        ("two names of one place", same_place, "share bytes"),
        ("a member inside another", swallowed, "share bytes"),
        ("a member beyond the end", beyond, "share bytes"),
        ("a header beyond the end", nowhere, "broken zip archive"),
        ("two sizes", two_sizes, "has two sizes"),
        ("encrypted", locked, "is compressed or encrypted"),
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

// ---------------------------------------------------------------- bombs, measured

/// The bombs by name, and what each is answered with (nothing: it may open).
fn bombs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let repeat = |ops: &[u8], times: usize| ops.repeat(times);
    let global =
        [text(&"m".repeat(2000)), b"q\0".to_vec(), text(&"n".repeat(2000)), b"q\x01".to_vec()]
            .concat();
    let leaf = |ops: &[u8]| {
        let mut laughs = [ops, b"q\0"].concat();
        for i in 0..60 {
            laughs.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
        }
        laughs
    };
    let deflated = {
        let mut packer =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 100 << 20]).unwrap();
        let data = packer.finish().unwrap();
        let mut bomb = Member::new("x/data/0", &data);
        bomb.method = 8;
        bomb.sizes.1 = 100 << 20;
        archive(&[Member::new("x/data.pkl", b"\x80\x02}."), bomb], &End::default())
    };
    let crowd: Vec<Member> =
        (0..200_000).map(|i| Member::new(&format!("x/data/{i}"), b"")).collect();
    let ghosts: Vec<Member> = (0..200_000)
        .map(|i| Member { ghost: i > 0, offset: Some(0), ..Member::new(&format!("{i}"), b"") })
        .collect();
    let long_key = [text(&"k".repeat(1 << 20)), b"q\x05".to_vec()].concat();
    let storage = [
        b"(".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\nh\x05".to_vec(),
        text("cpu"),
        int(1),
        b"tq\x06".to_vec(),
    ]
    .concat();
    let legacy = |object: &[u8]| {
        [
            &b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."[..],
            b"\x80\x02",
            object,
            b".\x80\x02].",
        ]
        .concat()
    };
    let many_tensors = {
        let mut ops = b"}(".to_vec();
        for i in 0..60_000 {
            ops.extend(text(&i.to_string()));
            ops.extend(tensor("FloatStorage", 1, 0, &[1; 8], &[0; 8]));
        }
        ops.extend(b"u");
        torch_zip(&[b"\x80\x02", &ops[..], b"."].concat(), &[("0", &[0; 4])])
    };
    let header = |text: String, data: usize| {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &vec![0; data]].concat()
    };
    let entries = |n: usize| {
        let one = |i: usize| {
            format!("\"{i}\":{{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[{i},{}]}}", i + 1)
        };
        header(format!("{{{}}}", (0..n).map(one).collect::<Vec<_>>().join(",")), n)
    };
    let ends = End { count: Some(20_000_000), size: Some(1 << 60), offset: Some(0), zip64: true };
    let mut far = archive(
        &[Member::new("x/data.pkl", b"\x80\x02}."), Member::new("x/pad", &vec![0; 24 << 20])],
        &End::default(),
    );
    let directory = far.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap() as u64;
    far.truncate(directory as usize);
    let far = [far, archive(&[], &End { offset: Some(directory), ..ends.clone() })].concat();
    vec![
        (
            "a name joined anew by each opcode",
            pickled(&[&global, &repeat(b"h\0h\x01\x93", 1_000_000)]),
            "MiB",
        ),
        ("two million objects", pickled(&[b"N)", &repeat(b"22\x81", 1_900_000)]), "MiB"),
        ("objects with parts", pickled(&[b"N)(", &repeat(b"N)\x81NNs", 390_000)]), ""),
        (
            "two million names in the memo",
            pickled(&[
                b"N",
                &(0..1_900_000u32)
                    .flat_map(|i| [&b"r"[..], &i.to_le_bytes()].concat())
                    .collect::<Vec<_>>(),
            ]),
            "",
        ),
        ("a memo far away", pickled(&[b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff"]), ""),
        (
            "tuples of everything",
            pickled(&[b"N", &repeat(b"2", 1_000_000), &repeat(b"]q\0(h\0h\0h\0h\0e", 400_000)]),
            "",
        ),
        ("a list of five million", pickled(&[b"Nq\0]", &repeat(b"h\0a", 5_000_000)]), ""),
        (
            "long leaves under a doubling list",
            pickled(&[&leaf(&[b"}", &text(&"\u{1}".repeat(200))[..], b"Ns"].concat())]),
            "many times over",
        ),
        (
            "dictionaries under a doubling list",
            pickled(&[&leaf(
                &[b"}", &text(&"k".repeat(100_000))[..], &text(&"\u{1}".repeat(79)), b"s"].concat(),
            )]),
            "many times over",
        ),
        (
            "tensors under a doubling list",
            torch_zip(
                &[b"\x80\x02", &leaf(&tensor("FloatStorage", 1, 0, &[1; 64], &[0; 64]))[..], b"."]
                    .concat(),
                &[("0", &[0; 4])],
            ),
            "many times over",
        ),
        (
            "a key of a megabyte for each storage",
            pickled(&[&long_key, &storage, &repeat(b"h\x06Q", 300_000)]),
            "",
        ),
        (
            "the same in a legacy file",
            legacy(&[&long_key[..], &storage, &repeat(b"h\x06Q", 300_000)].concat()),
            "",
        ),
        ("sixty thousand tensors", many_tensors, ""),
        ("a deflated bomb", deflated, "compressed"),
        (
            "two hundred thousand members",
            archive(&crowd, &End { zip64: true, ..End::default() }),
            "zip archive",
        ),
        (
            "two hundred thousand ghosts",
            archive(&ghosts, &End { zip64: true, ..End::default() }),
            "zip archive",
        ),
        ("a directory of twenty million", far, "zip archive"),
        (
            "an archive of ends",
            [&b"PK\x03\x04"[..], &repeat(&archive(&[], &ends), 40_000)].concat(),
            "zip archive",
        ),
        (
            "an archive of directories",
            [
                &b"PK\x03\x04"[..],
                &repeat(b"PK\x01\x02", 1_000_000),
                &archive(&[], &End { count: Some(9), ..End::default() }),
            ]
            .concat(),
            "zip archive",
        ),
        (
            "a header of nine megabytes",
            header(format!("{{\"__metadata__\":{{\"a\":\"{}\"}}}}", "x".repeat(9 << 20)), 0),
            "MiB are not read",
        ),
        ("a header of tensors", entries(110_000), ""),
        (
            "a shape of a million",
            header(
                format!(
                    "{{\"a\":{{\"dtype\":\"U8\",\"shape\":[{}0],\"data_offsets\":[0,0]}}}}",
                    "1,".repeat(3_000_000)
                ),
                0,
            ),
            "dimensions",
        ),
        (
            "an array of many dimensions",
            [
                &b"\x93NUMPY\x02\0\0\x80\0\0"[..],
                format!(
                    "{:<32768}",
                    format!(
                        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
                        "1,".repeat(16_000)
                    )
                )
                .as_bytes(),
                &[0; 4],
            ]
            .concat(),
            "dimensions",
        ),
    ]
}

/// What `in_a_child` prints of a file: seconds, megabytes, answer.
fn measure(file: &Path, before: u64) -> String {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let began = Instant::now();
    let answer = match checkpoint::open(file).and_then(|file| read(&file).map(|read| read.len())) {
        Ok(read) => format!("{read} tensors"),
        Err(error) => error.to_string(),
    };
    let seconds = began.elapsed().as_secs_f64();
    let grown = memory("VmHWM").saturating_sub(before) / 1000;
    format!("bomb\t{seconds:.2}\t{grown}\t{}", answer.replace('\n', " "))
}

/// A figure of `/proc/self/status`, in kB.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[ignore = "is started by `bombs_cost_little_time_and_memory`"]
fn in_a_child() {
    let Some(file) = std::env::var_os("NADA_BOMB") else { return };
    // What libtorch takes at its first tensor is not the file's.
    drop(Tensor::from_slice(&[0.0f32]));
    println!("\n{}", measure(Path::new(&file), memory("VmRSS")));
}

/// Seconds, megabytes and the answer, measured by a process that does nothing else.
#[cfg(target_os = "linux")]
fn measured(file: &Path) -> (f64, u64, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["attacks::in_a_child", "--exact", "--ignored", "--nocapture"])
        .env("NADA_BOMB", file)
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("bomb\t")).unwrap();
    let parts: Vec<&str> = line.splitn(3, '\t').collect();
    (parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].to_owned())
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_cost_little_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.pt");
    let mut faults = Vec::new();
    for (name, bytes, words) in bombs() {
        std::fs::write(&file, &bytes).unwrap();
        let (seconds, megabytes, answer) = measured(&file);
        let line = format!(
            "{name}, {} kB: {seconds} s, {megabytes} MB: {answer:.150}",
            bytes.len() / 1000
        );
        println!("{line}");
        if seconds > MAX_SECONDS || megabytes > MAX_MEGABYTES || !answer.contains(words) {
            faults.push(line);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
