//! Zip archives written byte by byte, so that every field can lie.

/// One member, as its headers tell it.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) crc: u32,
    /// What the central directory says of the sizes: packed and unpacked.
    pub(crate) sizes: (u32, u32),
    /// Where it says the local header is; the truth if `None`.
    pub(crate) offset: Option<u32>,
    /// The name in the local header; the same if `None`.
    pub(crate) local_name: Option<Vec<u8>>,
    /// Only in the central directory.
    pub(crate) ghost: bool,
}

impl Member {
    pub(crate) fn new(name: &str, data: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(data);
        let size = data.len() as u32;
        Self {
            name: name.as_bytes().to_vec(),
            data: data.to_vec(),
            method: 0,
            flags: 0,
            crc: crc.sum(),
            sizes: (size, size),
            offset: None,
            local_name: None,
            ghost: false,
        }
    }
}

/// What the end of the archive tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// Number of members; the truth if `None`.
    pub(crate) count: Option<u64>,
    /// Size of the central directory.
    pub(crate) size: Option<u64>,
    /// Place of the central directory.
    pub(crate) offset: Option<u64>,
    /// As a zip64 record.
    pub(crate) zip64: bool,
}

/// Local headers and data, the central directory, the end.
pub(crate) fn archive(members: &[Member], end: &End) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    for m in members {
        let here = out.len() as u32;
        let name = m.local_name.as_ref().unwrap_or(&m.name);
        if !m.ghost {
            out.extend(b"PK\x03\x04\x14\x00");
            header(&mut out, m, name);
            out.extend(0u16.to_le_bytes());
            out.extend(name);
            out.extend(&m.data);
        }
        central.extend(b"PK\x01\x02\x14\x00\x14\x00");
        header(&mut central, m, &m.name);
        central.extend([0; 6]); // extra field, comment, disk
        central.extend([0; 6]); // attributes
        central.extend(m.offset.unwrap_or(here).to_le_bytes());
        central.extend(&m.name);
    }
    let count = end.count.unwrap_or(members.len() as u64);
    let size = end.size.unwrap_or(central.len() as u64);
    let offset = end.offset.unwrap_or(out.len() as u64);
    out.extend(central);
    if end.zip64 {
        let here = out.len() as u64;
        out.extend(b"PK\x06\x06");
        out.extend(44u64.to_le_bytes());
        out.extend([45, 0, 45, 0]);
        out.extend([0; 8]);
        for field in [count, count, size, offset] {
            out.extend(field.to_le_bytes());
        }
        out.extend(b"PK\x06\x07\0\0\0\0");
        out.extend(here.to_le_bytes());
        out.extend(1u32.to_le_bytes());
    }
    let short = |n: u64| if end.zip64 { u16::MAX } else { n.min(u16::MAX.into()) as u16 };
    let long = |n: u64| if end.zip64 { u32::MAX } else { n.min(u32::MAX.into()) as u32 };
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(short(count).to_le_bytes());
    out.extend(short(count).to_le_bytes());
    out.extend(long(size).to_le_bytes());
    out.extend(long(offset).to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

/// The fields that both headers share, from the flags to the length of the name.
fn header(out: &mut Vec<u8>, m: &Member, name: &[u8]) {
    out.extend(m.flags.to_le_bytes());
    out.extend(m.method.to_le_bytes());
    out.extend([0, 0, 0x21, 0]); // a time and a day
    out.extend(m.crc.to_le_bytes());
    out.extend(m.sizes.0.to_le_bytes());
    out.extend(m.sizes.1.to_le_bytes());
    out.extend((name.len() as u16).to_le_bytes());
}
