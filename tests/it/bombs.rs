//! Small files that would grow: each is opened and read in a process of its own, where time and memory are measured.

#![allow(clippy::print_stdout)] // the parent process reads it

use crate::attacks::{pickled, read};
use crate::checkpoint::{int, tensor, text, torch_zip, tuple};
use crate::raw_zip::{End, Member, archive};
use nada::checkpoint;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tch::Tensor;

/// Most memory that opening and reading any of these files may take.
const MAX_MEGABYTES: u64 = 256;
/// Longest that it may take. The work is bounded to some seconds at worst; other tests run beside this one.
const MAX_SECONDS: f64 = 20.0;

/// Its name, its bytes, and what it is answered with (nothing: it may open).
type Bomb = (&'static str, Vec<u8>, &'static str);

/// A value, and lists that double it sixty times.
fn doubled(ops: &[u8]) -> Vec<u8> {
    let mut laughs = [ops, b"q\0"].concat();
    for i in 0..60 {
        laughs.extend([b']', b'q', i + 1, b'(', b'h', i, b'h', i, b'e']);
    }
    laughs
}

/// What begins a legacy file, before its object.
const LEGACY: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// A global and a call of it.
fn call(name: &str, args: &[Vec<u8>]) -> Vec<u8> {
    [format!("c{}\n", name.replace(' ', "\n")).into_bytes(), tuple(args), b"R".to_vec()].concat()
}

/// Bytes of a pickle.
fn blob(bytes: &[u8]) -> Vec<u8> {
    [b"B", &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// What NumPy's arrays and NVIDIA's networks could be made to cost.
fn network_bombs() -> Vec<Bomb> {
    let dtype = |name: &str| call("numpy dtype", &[text(name)]);
    let array = |dtype: Vec<u8>, shape: Vec<u8>, data: Vec<u8>| {
        let made = call("numpy.core.multiarray _reconstruct", &[b"N".to_vec()]);
        let state = tuple(&[int(1), shape, dtype, b"\x89".to_vec(), data]);
        [made, state, b"b".to_vec()].concat()
    };
    let shape = |n: i64| tuple(&[int(n)]);
    let letters = text(&"a".repeat(100_000));
    let latin1 = |n: usize| call("_codecs encode", &[text(&"a".repeat(n)), text("latin1")]);
    let ones = [b"K\x01q\x700(".to_vec(), b"h\x70".repeat(1_900_000), b"t".to_vec()].concat();
    let nested = |storage: &[u8]| {
        let storage = call("torch.storage _load_from_bytes", &[blob(storage)]);
        call("torch._utils _rebuild_tensor_v2", &[storage, int(0), shape(1), shape(1)])
    };
    let heavy = [LEGACY, &b"\x80\x02"[..], &b"N0".repeat(1_500_000)[..], b"\xff"].concat();
    let module = |state: &[u8]| {
        let meta =
            [&b"}("[..], &text("type"), &text("class"), &text("state"), state, b"u"].concat();
        call("torch_utils.persistence _reconstruct_persistent_obj", &[meta])
    };
    let key = [text(&"k".repeat(100_000)), b"q\x70".to_vec()].concat();
    let crowded =
        [&key[..], b"0}(", &text("_parameters"), b"}(", &b"h\x70K\x01".repeat(200_000), b"uu"]
            .concat();
    let again = [
        &b"}("[..],
        &text("_x"),
        b"}(",
        &b"NN".repeat(500_000),
        b"uq\x70",
        &[text("_parameters"), b"h\x70".to_vec()].concat().repeat(20_000),
        b"u",
    ]
    .concat();
    let no_state = [b"Nq\x700}(".to_vec(), b"h\x70".repeat(1_900_000), b"u".to_vec()].concat();
    let persistent = call("torch_utils.persistence _reconstruct_persistent_obj", &[no_state]);
    let bare = |ops: &[u8]| [&b"\x80\x02ctorch_utils.persistence\nx\n0"[..], ops, b"."].concat();
    let objects = [&b"\x80\x02N)"[..], &b"22\x81".repeat(1_000_000), b"."].concat();
    let four = [
        &LEGACY[..15],
        &[b"\x80\x02", &objects[2..objects.len() - 1], b"0M\xe9\x03."].concat(),
        &objects,
        &objects,
        &objects,
    ]
    .concat();
    let overlapping = {
        let one = |i: usize| {
            [&b"PK\x03\x04"[..], &[b'a'; 22], b"\x7f\x7f\0\0data/", i.to_string().as_bytes()]
                .concat()
        };
        let first = [&b"PK\x03\x04"[..], &[b'a'; 22], b"\x08\0\0\0data.pkl\x80\x02}."].concat();
        [first, (0..300_000).flat_map(one).collect()].concat()
    };
    vec![
        (
            "an array under a doubling list",
            pickled(&[&doubled(&array(dtype("u1"), shape(100_000), letters))]),
            "many times over",
        ),
        (
            "an array of a long text under it",
            pickled(&[&doubled(&array(dtype("u1"), shape(8_000_000), latin1(8_000_000)))]),
            "many times over",
        ),
        (
            "an array of odd elements and a long shape",
            pickled(&[&doubled(&array(dtype("c16"), ones.clone(), blob(b"x")))]),
            "1900000 dimensions",
        ),
        ("a long list of numbers under it", pickled(&[&doubled(&ones)]), "values"),
        ("a damaged storage under it", pickled(&[&doubled(&nested(&heavy))]), "many times over"),
        ("a module with a long name for each parameter", bare(&module(&crowded)), ""),
        ("a module whose parameters come again", bare(&doubled(&module(&again))), ""),
        ("a module without a state", bare(&doubled(&persistent)), "many times over"),
        ("a legacy file of four heavy pickles", four, "fill the memory"),
        ("members that overlap in a broken archive", overlapping, "zip archive"),
    ]
}

/// The bombs by name, and what each is answered with (nothing: it may open).
fn bombs() -> Vec<Bomb> {
    let repeat = |ops: &[u8], times: usize| ops.repeat(times);
    let global =
        [text(&"m".repeat(2000)), b"q\0".to_vec(), text(&"n".repeat(2000)), b"q\x01".to_vec()]
            .concat();
    let zeros = deflate(&vec![0; 100 << 20]);
    // `stated` is what the archive says of its size.
    let deflated = |name: &str, stated: u32| Member {
        method: 8,
        crc: 0,
        sizes: (zeros.len() as u32, stated),
        ..Member::new(name, &zeros)
    };
    let of_floats = |numel: i64| {
        let ops = tensor("FloatStorage", numel, 0, &[numel], &[1]);
        Member::new("x/data.pkl", &[b"\x80\x02", &ops[..], b"."].concat())
    };
    let nothing = || Member::new("x/data.pkl", b"\x80\x02}.");
    let inflating = |members: &[Member]| archive(members, &End::default());
    let many_deflated = {
        let keys = b'a'..=b'z';
        let numbers = tensor("FloatStorage", 4 << 20, 0, &[1], &[1]);
        let at = numbers.windows(6).position(|w| w == text("0")).unwrap() + 5;
        let mut ops = b"\x80\x02](".to_vec();
        for key in keys.clone() {
            ops.extend_from_slice(&[&numbers[..at], &[key], &numbers[at + 1..]].concat());
        }
        let members = keys.map(|key| deflated(&format!("x/data/{}", key as char), 16 << 20));
        let pickle = Member::new("x/data.pkl", &[&ops[..], b"e."].concat());
        inflating(&std::iter::once(pickle).chain(members).collect::<Vec<_>>())
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
    let legacy = |object: &[u8]| [LEGACY, b"\x80\x02", object, b".\x80\x02]."].concat();
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
            "fill the memory",
        ),
        (
            "two million objects",
            pickled(&[b"N)", &repeat(b"22\x81", 1_900_000)]),
            "fill the memory",
        ),
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
            pickled(&[&doubled(&[b"}", &text(&"\u{1}".repeat(200))[..], b"Ns"].concat())]),
            "many times over",
        ),
        (
            "dictionaries under a doubling list",
            pickled(&[&doubled(
                &[b"}", &text(&"k".repeat(100_000))[..], &text(&"\u{1}".repeat(79)), b"s"].concat(),
            )]),
            "many times over",
        ),
        (
            "tensors under a doubling list",
            torch_zip(
                &[
                    b"\x80\x02",
                    &doubled(&tensor("FloatStorage", 1, 0, &[1; 64], &[0; 64]))[..],
                    b".",
                ]
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
        (
            "a deflated bomb that nothing needs",
            inflating(&[nothing(), deflated("x/data/0", 100 << 20)]),
            "0 tensors",
        ),
        (
            "a deflated bomb of numbers",
            inflating(&[of_floats(25 << 20), deflated("x/data/0", 100 << 20)]),
            "would unpack to far more",
        ),
        (
            "a deflated bomb that says it is small",
            inflating(&[of_floats(1 << 18), deflated("x/data/0", 1 << 20)]),
            "do not unpack",
        ),
        ("many small deflated bombs", many_deflated, "would unpack to far more"),
        (
            "a deflated bomb of opcodes",
            inflating(&[deflated("x/data.pkl", 100 << 20)]),
            "would unpack to far more",
        ),
        (
            "a deflated bomb of settings",
            inflating(&[
                nothing(),
                deflated("x/extra/nada.json", 100 << 20),
                deflated("x/version", 90),
            ]),
            "do not unpack",
        ),
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
    let answer = match checkpoint::open(file).and_then(|file| {
        let contents = checkpoint::recognise(&file);
        let _ = (checkpoint::generator(&file), checkpoint::clip(&file), checkpoint::encoder(&file));
        Ok(format!("{contents}: {} tensors", read(&file)?.len()))
    }) {
        Ok(read) => read,
        Err(error) => {
            drop(checkpoint::salvage(file));
            error.to_string()
        }
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
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["bombs::in_a_child", "--exact", "--ignored", "--nocapture"])
        .env("NADA_BOMB", file)
        .env("OMP_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed().as_secs_f64() > 2.0 * MAX_SECONDS {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(line) = text.lines().find_map(|line| line.strip_prefix("bomb\t")) else {
        let what = format!("{}: {text} {}", output.status, String::from_utf8_lossy(&output.stderr));
        return (began.elapsed().as_secs_f64(), u64::MAX, what.replace('\n', " "));
    };
    let parts: Vec<&str> = line.splitn(3, '\t').collect();
    (parts[0].parse().unwrap(), parts[1].parse().unwrap(), parts[2].to_owned())
}

#[cfg(target_os = "linux")]
fn all_are_harmless(bombs: Vec<Bomb>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.pt");
    let mut faults = Vec::new();
    for (name, bytes, words) in bombs {
        std::fs::write(&file, &bytes).unwrap();
        let (seconds, megabytes, answer) = measured(&file);
        let kilobytes = bytes.len() / 1000;
        let line = format!("{name}, {kilobytes} kB: {seconds} s, {megabytes} MB: {answer:.150}");
        println!("{line}");
        if seconds > MAX_SECONDS || megabytes > MAX_MEGABYTES || !answer.contains(words) {
            faults.push(line);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_cost_little_time_and_memory() {
    all_are_harmless(bombs());
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_inside_networks_cost_little_time_and_memory() {
    all_are_harmless(network_bombs());
}

/// What NumPy's own files could be made to cost.
fn numpy_bombs() -> Vec<Bomb> {
    let npy = |shape: &str, pickle: &[u8]| {
        let header = format!("{{'descr': '|O', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let length = (header.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), b"\x80\x02", pickle, b"."].concat()
    };
    let boxed = |shape: &[Vec<u8>], items: &[u8]| {
        let made = call("numpy.core.multiarray _reconstruct", &[b"N".to_vec()]);
        let dtype = call("numpy dtype", &[text("O8")]);
        let state = tuple(&[int(1), tuple(shape), dtype, b"\x89".to_vec(), items.to_vec()]);
        [made, state, b"b".to_vec()].concat()
    };
    let boxes =
        (0..100).fold(b"N".to_vec(), |inner, _| boxed(&[], &[&b"]"[..], &inner, b"a"].concat()));
    let packed = deflate(&vec![0; 100 << 20]);
    let sizes = (packed.len() as u32, 100 << 20);
    let zeros = Member { method: 8, crc: 0, sizes, ..Member::new("w.npy", &packed) };
    let small = npy("", &boxed(&[], b"](}e"));
    let many: Vec<Member> = (0..100).map(|i| Member::new(&format!("{i}.npy"), &small)).collect();
    vec![
        (
            "boxed arrays under a doubling list",
            npy("2,", &doubled(&boxed(&[int(2)], b"](NNe"))),
            "many times over",
        ),
        ("boxes in boxes", npy("", &boxes), "nested deeper"),
        ("a deflated bomb of an array", archive(&[zeros], &End::default()), "would unpack"),
        ("an archive of many pickles", archive(&many, &End::default()), "far too many values"),
    ]
}

#[cfg(target_os = "linux")]
#[test]
fn bombs_of_numpy_are_harmless() {
    all_are_harmless(numpy_bombs());
}
