//! Small files that would grow: each is opened and read in a process of its own, where time and memory are measured.

#![allow(clippy::print_stdout)] // the parent process reads it

use crate::attacks::{pickled, read};
use crate::checkpoint::{int, tensor, text, torch_zip};
use crate::raw_zip::{End, Member, archive};
use nada::checkpoint;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use tch::Tensor;

/// Most memory that opening and reading any of these files may take.
const MAX_MEGABYTES: u64 = 256;
/// Longest that it may take. The work is bounded to some seconds at worst; other tests run beside this one.
const MAX_SECONDS: f64 = 20.0;

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
        .args(["bombs::in_a_child", "--exact", "--ignored", "--nocapture"])
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
