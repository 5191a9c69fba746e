//! The zip container as an index: names and the ranges of bytes where they lie. Nothing is unpacked.

use super::bytes::Bytes;
use crate::error::Result;
use std::collections::BTreeMap;
use std::io::Cursor;
use zip::{CompressionMethod, ZipArchive};

/// One stored file of an archive.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) bytes: Bytes,
    /// The archive's checksum; `None` where the writer left it out.
    pub(crate) crc32: Option<u32>,
}

/// The members of a zip archive by name. Folders are left out.
///
/// Refused: compressed or encrypted members (torch stores; so there is no bomb), two members of one name, members
/// that share bytes, names that lead out of the archive, data beyond the end of the file.
pub(crate) fn index(bytes: &Bytes) -> Result<BTreeMap<String, Member>> {
    let broken = |e: zip::result::ZipError| bytes.damaged(format!("broken zip archive: {e}"));
    let mut archive = ZipArchive::new(Cursor::new(&bytes[..])).map_err(broken)?;
    if archive.has_duplicate_names() {
        return Err(bytes.fault("the zip archive holds two members of one name"));
    }
    if archive.has_overlapping_files().map_err(broken)? {
        return Err(bytes.damaged("members of the zip archive share bytes"));
    }
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
        if file.compression() != CompressionMethod::Stored || file.encrypted() {
            return Err(bytes.fault(format!(
                "member `{name}` of the zip archive is compressed or encrypted; torch stores plain bytes"
            )));
        }
        if file.size() != file.compressed_size() {
            return Err(bytes.damaged(format!("member `{name}` of the zip archive has two sizes")));
        }
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start
            .zip(usize::try_from(file.size()).ok())
            .and_then(|(start, size)| start.checked_add(size));
        let part = start.zip(end).and_then(|(start, end)| bytes.slice(start..end));
        let part = part.ok_or_else(|| {
            bytes.damaged(format!(
                "member `{name}` of the zip archive lies beyond the end of the file"
            ))
        })?;
        // torch writes 0 where checksums are switched off.
        let crc32 = Some(file.crc32()).filter(|&crc| crc != 0);
        // Names that differ in bytes only (an odd encoding) could meet here.
        if members.insert(name, Member { bytes: part, crc32 }).is_some() {
            return Err(bytes.fault("the zip archive holds two members of one name"));
        }
    }
    Ok(members)
}
