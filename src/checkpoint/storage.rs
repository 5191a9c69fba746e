//! The memory that tensors of a file look at.

use super::bytes::Bytes;
use crate::error::Result;
use std::sync::{Arc, OnceLock};

/// A part of a file that holds numbers. Nothing of it is read before it is looked at.
pub(crate) struct Storage {
    bytes: Bytes,
    name: String,
    crc32: Option<u32>,
    intact: OnceLock<bool>,
    latin1: Option<Latin1>,
    /// How long it should be, if it is not in the file.
    absent: Option<usize>,
}

/// Bytes that were written as a text, one character each: what pickles of protocol 2 do.
struct Latin1 {
    length: usize,
    decoded: OnceLock<Vec<u8>>,
}

impl Storage {
    /// `name` is for messages; a checksum is compared once, at the first use.
    pub(crate) fn new(bytes: Bytes, name: String, crc32: Option<u32>) -> Arc<Self> {
        Arc::new(Self { bytes, name, crc32, intact: OnceLock::new(), latin1: None, absent: None })
    }

    /// Memory that was written as a text in UTF-8, whose characters are the bytes; it is put right at the first use.
    /// `None` when it is no such text.
    pub(crate) fn latin1(text: Bytes, name: String) -> Option<Arc<Self>> {
        let mut length = 0;
        for character in std::str::from_utf8(&text).ok()?.chars() {
            u8::try_from(character).ok()?;
            length += 1;
        }
        let latin1 = Some(Latin1 { length, decoded: OnceLock::new() });
        Some(Arc::new(Self {
            bytes: text,
            name,
            crc32: None,
            intact: OnceLock::new(),
            latin1,
            absent: None,
        }))
    }

    /// Memory that should have `length` bytes, but is not, or not all, in the file.
    pub(crate) fn absent(bytes: Bytes, name: String, length: usize) -> Arc<Self> {
        let (intact, absent) = (OnceLock::new(), Some(length));
        Arc::new(Self { bytes, name, crc32: None, intact, latin1: None, absent })
    }

    /// Whether the file has all of it.
    pub(crate) fn is_whole(&self) -> bool {
        self.absent.is_none()
    }

    /// How many bytes there are for tensors.
    pub(crate) fn len(&self) -> usize {
        if let Some(length) = self.absent {
            return length;
        }
        self.latin1.as_ref().map_or(self.bytes.len(), |text| text.length)
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Compares the bytes with their checksum.
    pub(crate) fn verify(&self) -> Result<()> {
        self.checked().map(|_| ())
    }

    /// The bytes, after a comparison with their checksum.
    pub(crate) fn checked(&self) -> Result<&[u8]> {
        if self.absent.is_some() {
            return Err(self.bytes.damaged(format!("the data of `{}` are cut off", self.name)));
        }
        if let Some(text) = &self.latin1 {
            return Ok(text.decoded.get_or_init(|| self.decode()));
        }
        let intact = self.intact.get_or_init(|| {
            self.crc32.is_none_or(|expected| {
                let mut crc = flate2::Crc::new();
                crc.update(&self.bytes);
                crc.sum() == expected
            })
        });
        if *intact {
            return Ok(&self.bytes);
        }
        Err(self.bytes.damaged(format!("the data of `{}` do not match their checksum", self.name)))
    }

    /// Exactly [`Storage::len`] bytes, whatever has become of the file since it was opened.
    fn decode(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = String::from_utf8_lossy(&self.bytes)
            .chars()
            .map(|character| u8::try_from(character).unwrap_or_default())
            .collect();
        bytes.resize(self.len(), 0);
        bytes
    }
}
