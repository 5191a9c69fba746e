//! Small twins of the fuzz targets in `fuzz/`: a few thousand seeded cases for each reader of foreign bytes.
//!
//! The cases are built from parts that make sense, so that most of them get past the first check. Whatever comes:
//! no panic, no long work, and every tensor of a file that opens is read or refused.

use crate::checkpoint::{int, tensor, text, torch_zip, tuple};
use crate::raw_zip::{End, Member, archive};
use nada::checkpoint;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use std::cell::Cell;
use std::io::Write;
use std::time::{Duration, Instant};

/// A case takes microseconds; the machine may be busy.
const MAX_TIME: Duration = Duration::from_secs(5);

fn seeded(cases: u32, seed: u64) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

/// Opens and reads everything. Says whether there was anything to read, so that a test can see that it tests something.
fn survives(bytes: Vec<u8>) -> bool {
    let began = Instant::now();
    let opened = checkpoint::open_bytes("x.pt", bytes.clone());
    if opened.is_err() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        if let Some(left) = checkpoint::salvage(file.path()) {
            let entries = &left.checkpoint.entries;
            let lost = |name: &String| left.lost.contains(name);
            assert!(entries.iter().all(|(name, entry)| !lost(name) || entry.tensor().is_err()));
            let small = entries.iter().filter(|(_, entry)| entry.byte_len() < 1 << 16);
            small.for_each(|(_, entry)| drop(entry.tensor()));
        }
    }
    let read = opened.is_ok_and(|file| {
        let contents = checkpoint::recognise(&file).to_string();
        let _ = (contents, checkpoint::generator(&file), checkpoint::clip(&file));
        for (name, entry) in &file.entries {
            let shape = entry.shape();
            if let Ok(tensor) = entry.tensor() {
                assert_eq!(tensor.size(), shape, "{name}");
                assert_eq!(tensor.kind(), entry.kind(), "{name}");
            }
        }
        !file.entries.is_empty()
    });
    assert!(began.elapsed() < MAX_TIME, "{:?}", began.elapsed());
    read
}

/// Numbers at the edges of what is legal.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0..6i64,
        1 => select(vec![-1, 63, 64, 65, 1 << 20, 1 << 40, 1 << 62, i64::MAX, i64::MIN]),
        1 => any::<i64>(),
    ]
}

fn storage_class() -> impl Strategy<Value = &'static str> {
    select(vec![
        "FloatStorage",
        "HalfStorage",
        "BFloat16Storage",
        "LongStorage",
        "BoolStorage",
        "ByteStorage",
        "UntypedStorage",
        "ComplexFloatStorage",
    ])
}

prop_compose! {
    /// Opcodes of a tensor that is often, but not always, possible.
    fn any_tensor()(
        class in storage_class(),
        numel in prop_oneof![4 => select(vec![4i64, 8, 16, 32, 64]), 1 => number()],
        offset in number(),
        shape in proptest::collection::vec(number(), 0..4),
        strides in proptest::collection::vec(number(), 0..4),
        same in proptest::bool::weighted(0.8),
    ) -> Vec<u8> {
        let mut strides = strides;
        if same {
            strides.resize(shape.len(), 1);
        }
        tensor(class, numel, offset, &shape, &strides)
    }
}

/// One or a few opcodes, whole.
fn opcode() -> impl Strategy<Value = Vec<u8>> {
    let plain = b"NN(((0122)]}aesuetlbRQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94.";
    let names = vec![
        "torch._utils\n_rebuild_tensor_v2",
        "torch._utils\n_rebuild_tensor_v3",
        "torch._utils\n_rebuild_parameter",
        "torch._tensor\n_rebuild_from_type_v2",
        "torch\nFloatStorage",
        "torch\nSize",
        "torch\nfloat32",
        "collections\nOrderedDict",
        "argparse\nNamespace",
        "__torch__.M\nN",
        "os\nsystem",
    ];
    let words =
        vec!["storage", "0", "1", "a", "module", "b/c", "g_ema", "style.1.weight", "ü\u{1b}"];
    prop_oneof![
        8 => select(plain.to_vec()).prop_map(|op| vec![op]),
        3 => any_tensor(),
        2 => select(names).prop_map(|name| format!("c{name}\n").into_bytes()),
        3 => select(words).prop_map(text),
        2 => number().prop_map(int),
        2 => (0..6u8).prop_map(|key| vec![b'h', key]),
        2 => (0..6u8).prop_map(|key| vec![b'q', key]),
        1 => any::<u8>().prop_map(|op| vec![op]),
    ]
}

#[test]
fn pickles_of_sensible_opcodes() {
    let key = || select(vec!["a", "g_ema", "style.1.weight", "b/c"]).prop_map(text);
    let pair = || (key(), any_tensor()).prop_map(|(key, tensor)| [key, tensor].concat());
    let item = |wild: u32| prop_oneof![4 => pair(), wild => opcode()];
    let ops = prop_oneof![
        proptest::collection::vec(item(1), 0..6),
        proptest::collection::vec(item(40), 0..40),
    ];
    let opened = Cell::new(0);
    proptest!(seeded(10_000, 1), |(ops in ops, wrapped in any::<bool>())| {
        // In a dictionary's marks, what is left on the stack becomes its items.
        let (start, end) = if wrapped { (&b"\x80\x02}("[..], &b"u."[..]) } else { (&b"\x80\x02"[..], &b"."[..]) };
        let pickle = [start, &ops.concat(), end].concat();
        let storages = [("0", &[1; 64][..]), ("1", &[0; 8])];
        opened.set(opened.get() + u32::from(survives(torch_zip(&pickle, &storages))));
        survives(pickle);
    });
    assert!(opened.get() > 20, "only {} held tensors", opened.get());
}

fn member() -> impl Strategy<Value = Member> {
    let names =
        vec!["x/data.pkl", "x/data/0", "x/data/1", "x/version", "x/byteorder", "x/", "y/data.pkl"];
    let flips = prop_oneof![6 => Just(0u8), 1 => any::<u8>()];
    (select(names), proptest::collection::vec(any::<u8>(), 0..40), flips, number()).prop_map(
        |(name, data, how, n)| {
            let tensors = tensor("ByteStorage", 8, 0, &[2, 2], &[2, 1]);
            let pickle = [b"\x80\x02}", &text("t")[..], &tensors, b"s."].concat();
            let data = match name {
                "x/data.pkl" => pickle,
                "x/data/0" => vec![1; 8],
                _ => data,
            };
            let mut m = Member::new(name, &data);
            match how % 9 {
                1 => m.method = n as u16,
                2 => m.flags = n as u16,
                3 => m.crc = n as u32,
                4 => m.sizes.0 = n as u32,
                5 => m.sizes = (n as u32, n as u32),
                6 => m.offset = Some(n as u32),
                7 => m.ghost = true,
                8 => m.local_name = Some(data),
                _ => {}
            }
            m
        },
    )
}

#[test]
fn archives_of_sensible_members() {
    let maybe = || proptest::option::weighted(0.1, number().prop_map(|n| n as u64));
    let end = (maybe(), maybe(), maybe(), any::<bool>());
    let end = end.prop_map(|(count, size, offset, zip64)| End { count, size, offset, zip64 });
    let members = proptest::collection::vec(member(), 1..5);
    let opened = Cell::new(0);
    proptest!(seeded(10_000, 2), |(members in members, end in end, cut in 0..2000usize)| {
        let mut bytes = archive(&members, &end);
        if cut < bytes.len() && cut % 8 == 0 {
            bytes.truncate(cut);
        }
        opened.set(opened.get() + u32::from(survives(bytes)));
    });
    assert!(opened.get() > 20, "only {} held tensors", opened.get());
}

#[test]
fn legacy_files_of_sensible_parts() {
    let magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.".to_vec();
    let mostly = |good: i64| prop_oneof![8 => Just(good), 1 => number()];
    let view = proptest::option::weighted(0.3, (number(), number()));
    let parts =
        (mostly(1001), mostly(16), proptest::collection::vec(any_tensor(), 0..3), view, 0..40usize);
    let opened = Cell::new(0);
    proptest!(seeded(10_000, 3), |((protocol, numel, tensors, view, lost) in parts)| {
        let mut object = b"\x80\x02}(".to_vec();
        for (i, tensor) in tensors.iter().enumerate() {
            object.extend([&text(&i.to_string())[..], tensor].concat());
        }
        let storage = [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), int(16)];
        let view = view.map_or(b"N".to_vec(), |(at, n)| tuple(&[text("1"), int(at), int(n)]));
        let id = [&tuple(&[&storage[..], &[view]].concat())[..], b"Q"].concat();
        let plain = [
            text("t"),
            b"ctorch._utils\n_rebuild_tensor\n".to_vec(),
            tuple(&[id, int(0), tuple(&[int(2)]), tuple(&[int(1)])]),
            b"R".to_vec(),
        ];
        object.extend(plain.concat());
        object.extend(b"u.");
        let keys = [&b"\x80\x02]"[..], &text("0"), b"a."].concat();
        let head = [&b"\x80\x02"[..], &int(protocol), b"."].concat();
        let mut bytes = [&magic[..], &head, b"\x80\x02}.", &object, &keys, &numel.to_le_bytes(), &[0; 64]].concat();
        bytes.truncate(bytes.len() - lost.saturating_sub(30));
        opened.set(opened.get() + u32::from(survives(bytes)));
    });
    assert!(opened.get() > 20, "only {} held tensors", opened.get());
}

#[test]
fn safetensors_headers_of_sensible_parts() {
    let dtype = select(vec!["F32", "F16", "BF16", "U8", "BOOL", "I64", "F8_E4M3", "F33", ""]);
    let name = select(vec!["a", "b", "a/b", "__metadata__", "\\u0000", "\\ud800", ""]);
    let shape = proptest::collection::vec(prop_oneof![6 => 0..4i64, 1 => number()], 0..4);
    let entry = (name, dtype, shape, proptest::option::weighted(0.2, (number(), number())));
    let entries = proptest::collection::vec(entry, 0..4);
    let opened = Cell::new(0);
    proptest!(seeded(10_000, 4), |(entries in entries, data in 0..200usize, exact in proptest::bool::weighted(0.7), edit in (any::<usize>(), any::<u8>(), 0..4u8))| {
        let mut at = 0i64;
        let mut rows = Vec::new();
        for (name, dtype, shape, offsets) in entries {
            let size = match dtype { "F32" => 4, "F16" | "BF16" => 2, "I64" => 8, _ => 1 };
            let len = shape.iter().fold(size, |n: i64, d| n.wrapping_mul(*d));
            let (from, to) = offsets.unwrap_or((at, at.wrapping_add(len)));
            at = to;
            rows.push(format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{from},{to}]}}"));
        }
        let header = format!("{{{}}}", rows.join(","));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        let data = if exact { usize::try_from(at).unwrap_or(data).min(10_000) } else { data };
        bytes.resize(bytes.len() + data, 1);
        if edit.2 == 0 {
            let place = edit.0 % bytes.len();
            bytes[place] = edit.1;
        }
        opened.set(opened.get() + u32::from(survives(bytes)));
    });
    assert!(opened.get() > 20, "only {} held tensors", opened.get());
}

#[test]
fn arrays_of_sensible_headers() {
    let descr =
        select(vec!["'<f4'", "'<f2'", "'<f8'", "'>f4'", "'|O'", "[('a','<f4')]", "'<f4", ""]);
    let fortran = select(vec!["False", "True", "", "0"]);
    let shape = proptest::collection::vec(prop_oneof![8 => 0..4i64, 1 => number()], 0..5);
    let rest = (0..4u8, any::<usize>(), any::<u8>(), 0..6u8, proptest::bool::weighted(0.8));
    let opened = Cell::new(0);
    proptest!(seeded(10_000, 5), |(descr in descr, fortran in fortran, shape in shape, (version, place, value, how, exact) in rest)| {
        let sizes: Vec<String> = shape.iter().map(i64::to_string).collect();
        let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': ({},), }}\n", sizes.join(", "));
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((header.len() as u16).to_le_bytes()),
            _ => bytes.extend((header.len() as u32).to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        let size = if descr.contains('8') { 8 } else if descr.contains('2') { 2 } else { 4 };
        let numel = shape.iter().fold(1i64, |n, d| n.wrapping_mul(*d)).clamp(0, 1000) as usize;
        bytes.resize(bytes.len() + if exact { numel * size } else { place % 64 }, 0);
        let place = place % bytes.len();
        match how {
            0 => bytes[place] = value,
            1 => bytes.truncate(place),
            _ => {}
        }
        if !bytes.is_empty() {
            opened.set(opened.get() + u32::from(survives(bytes)));
        }
    });
    assert!(opened.get() > 20, "only {} held tensors", opened.get());
}
