//! The zip container as an index: names and the ranges of bytes where they lie. A member is unpacked when it is asked
//! for, and never otherwise.

use super::bytes::Bytes;
use super::storage::Storage;
use super::unpacked_limit;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zip::{CompressionMethod, ZipArchive};

/// One file of an archive.
#[derive(Clone)]
pub(crate) struct Member {
    name: String,
    /// Its number in the archive.
    place: usize,
    /// As they stand in the archive.
    packed: Bytes,
    packing: Packing,
    /// Bytes when unpacked, as the archive tells.
    size: usize,
    /// The archive's checksum of the unpacked bytes; `None` where the writer left it out.
    crc32: Option<u32>,
    /// Bytes that members of this archive may still fill when unpacked.
    allowance: Arc<AtomicU64>,
}

const ANEW: &str = "unpack the archive, and zip its folder anew: deflated, and without a password";

#[derive(Clone, Copy, PartialEq)]
enum Packing {
    Stored,
    Deflated,
    Encrypted,
    Other(CompressionMethod),
}

impl Member {
    /// Its number in the archive: members follow each other as they were written.
    pub(crate) fn place(&self) -> usize {
        self.place
    }

    /// Bytes when unpacked.
    pub(crate) fn len(&self) -> usize {
        self.size
    }

    /// The member as memory of tensors. A deflated one is unpacked at the first use of its numbers, and its size
    /// counts at once: all that is unpacked of one archive is bounded by [`unpacked_limit`].
    pub(crate) fn storage(&self) -> Result<Arc<Storage>> {
        let refuse = |what: &str| {
            let message = format!("member `{}` of the zip archive is {what}", self.name);
            Error::file_hint(self.packed.path(), message, ANEW)
        };
        match self.packing {
            Packing::Stored => Ok(Storage::new(self.packed.clone(), self.name.clone(), self.crc32)),
            Packing::Deflated => {
                self.count()?;
                let (packed, name) = (self.packed.clone(), self.name.clone());
                Ok(Storage::deflated(packed, name, self.crc32, self.size))
            }
            Packing::Encrypted => Err(refuse("encrypted")),
            Packing::Other(method) => {
                Err(refuse(&format!("compressed by {}, which is not supported", word(method))))
            }
        }
    }

    /// All its bytes, unpacked now and compared with their checksum.
    pub(crate) fn bytes(&self) -> Result<Bytes> {
        self.storage()?.into_bytes()
    }

    /// Takes what will be unpacked from what the archive may still fill.
    fn count(&self) -> Result<()> {
        let size = self.size as u64;
        let left = |left: u64| left.checked_sub(size);
        let counted = self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        counted.map(|_| ()).map_err(|_| {
            self.packed.fault(format!(
                "its compressed members, with `{}` of {size} bytes, would unpack to far more than the archive's own \
                 length",
                self.name
            ))
        })
    }
}

/// What people call a method.
fn word(method: CompressionMethod) -> String {
    match method {
        CompressionMethod::DEFLATE64 => "Deflate64".into(),
        CompressionMethod::BZIP2 => "bzip2".into(),
        CompressionMethod::LZMA => "LZMA".into(),
        CompressionMethod::ZSTD => "zstd".into(),
        CompressionMethod::XZ => "xz".into(),
        other => format!("{other:?}"),
    }
}

/// The members of a zip archive by name. Folders are left out.
///
/// Nothing is unpacked: a member that is encrypted, or compressed in a way that is not read, is refused when it is
/// asked for. Refused at once: two members of one name, members that share bytes, names that lead out of the archive,
/// data beyond the end of the file.
pub(crate) fn index(bytes: &Bytes) -> Result<BTreeMap<String, Member>> {
    let broken = |e: zip::result::ZipError| bytes.damaged(format!("broken zip archive: {e}"));
    let mut archive = ZipArchive::new(Cursor::new(&bytes[..])).map_err(broken)?;
    if archive.has_duplicate_names() {
        return Err(bytes.fault("the zip archive holds two members of one name"));
    }
    if archive.has_overlapping_files().map_err(broken)? {
        return Err(bytes.damaged("members of the zip archive share bytes"));
    }
    let allowance = Arc::new(AtomicU64::new(unpacked_limit(bytes.len() as u64)));
    let mut members = BTreeMap::new();
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(broken)?;
        let name = file.name().map_err(broken)?.into_owned();
        if file.is_dir() {
            continue;
        }
        if name.starts_with('/')
            || name.contains(['\\', '\0', ':'])
            || name.split('/').any(|part| part == "..")
        {
            return Err(bytes
                .fault(format!("the zip archive holds a member with a dangerous name, {name:?}")));
        }
        let packing = match file.compression() {
            _ if file.encrypted() => Packing::Encrypted,
            CompressionMethod::Stored => Packing::Stored,
            CompressionMethod::DEFLATE => Packing::Deflated,
            other => Packing::Other(other),
        };
        if packing == Packing::Stored && file.size() != file.compressed_size() {
            return Err(bytes.damaged(format!("member `{name}` of the zip archive has two sizes")));
        }
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start
            .zip(usize::try_from(file.compressed_size()).ok())
            .and_then(|(start, size)| start.checked_add(size));
        let packed = start.zip(end).and_then(|(start, end)| bytes.slice(start..end));
        let (Some(packed), Ok(size)) = (packed, usize::try_from(file.size())) else {
            return Err(bytes.damaged(format!(
                "member `{name}` of the zip archive lies beyond the end of the file"
            )));
        };
        // torch writes 0 where checksums are switched off.
        let crc32 = Some(file.crc32()).filter(|&crc| crc != 0);
        let allowance = allowance.clone();
        let member =
            Member { name: name.clone(), place: i, packed, packing, size, crc32, allowance };
        // Names that differ in bytes only (an odd encoding) could meet here.
        if members.insert(name, member).is_some() {
            return Err(bytes.fault("the zip archive holds two members of one name"));
        }
    }
    Ok(members)
}
