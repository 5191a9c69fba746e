//! The memory that tensors of a file look at.

use super::bytes::Bytes;
use crate::error::Result;
use std::io::Read;
use std::sync::{Arc, OnceLock};

/// A part of a file that holds numbers. Nothing of it is read before it is looked at.
pub(crate) struct Storage {
    bytes: Bytes,
    name: String,
    crc32: Option<u32>,
    form: Form,
}

/// How the numbers stand in the file.
enum Form {
    /// As they are; whether they agree with their checksum is asked once.
    Plain(OnceLock<bool>),
    /// In another form, `length` bytes when unpacked; that is done once, or is impossible.
    Packed { packing: Packing, length: usize, unpacked: OnceLock<Option<Vec<u8>>> },
    /// Not, or not all; how many bytes there should be.
    Absent(usize),
}

#[derive(Clone, Copy)]
enum Packing {
    /// Written as a text, one character each: what pickles of protocol 2 do.
    Latin1,
    /// Compressed, as zip archives do.
    Deflate,
}

impl Storage {
    /// `name` is for messages; a checksum is compared once, at the first use.
    pub(crate) fn new(bytes: Bytes, name: String, crc32: Option<u32>) -> Arc<Self> {
        Arc::new(Self { bytes, name, crc32, form: Form::Plain(OnceLock::new()) })
    }

    /// Memory that was written as a text in UTF-8, whose characters are the bytes; it is put right at the first use.
    /// `None` when it is no such text.
    pub(crate) fn latin1(text: Bytes, name: String) -> Option<Arc<Self>> {
        let mut length = 0;
        for character in std::str::from_utf8(&text).ok()?.chars() {
            u8::try_from(character).ok()?;
            length += 1;
        }
        Some(Self::packed(text, name, None, Packing::Latin1, length))
    }

    /// Memory of `length` bytes that was deflated; it is unpacked at the first use, and compared with its checksum.
    /// The caller bounds the length.
    pub(crate) fn deflated(
        packed: Bytes,
        name: String,
        crc32: Option<u32>,
        length: usize,
    ) -> Arc<Self> {
        Self::packed(packed, name, crc32, Packing::Deflate, length)
    }

    fn packed(
        bytes: Bytes,
        name: String,
        crc32: Option<u32>,
        packing: Packing,
        length: usize,
    ) -> Arc<Self> {
        let form = Form::Packed { packing, length, unpacked: OnceLock::new() };
        Arc::new(Self { bytes, name, crc32, form })
    }

    /// Memory that should have `length` bytes, but is not, or not all, in the file.
    pub(crate) fn absent(bytes: Bytes, name: String, length: usize) -> Arc<Self> {
        Arc::new(Self { bytes, name, crc32: None, form: Form::Absent(length) })
    }

    /// Whether the file has all of it.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self.form, Form::Absent(_))
    }

    /// How many bytes there are for tensors.
    pub(crate) fn len(&self) -> usize {
        match self.form {
            Form::Plain(_) => self.bytes.len(),
            Form::Packed { length, .. } | Form::Absent(length) => length,
        }
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The bytes, after a comparison with their checksum: exactly [`Storage::len`], whatever has become of the file
    /// since it was opened.
    pub(crate) fn checked(&self) -> Result<&[u8]> {
        let fault = match &self.form {
            Form::Plain(intact) => {
                if *intact.get_or_init(|| self.agrees(&self.bytes)) {
                    return Ok(&self.bytes);
                }
                "do not match their checksum"
            }
            Form::Packed { packing, unpacked, .. } => {
                if let Some(bytes) = unpacked.get_or_init(|| self.decoded(*packing)) {
                    return Ok(bytes);
                }
                "do not unpack to what the archive says of them"
            }
            Form::Absent(_) => "are cut off",
        };
        Err(self.bytes.damaged(format!("the data of `{}` {fault}", self.name)))
    }

    /// The bytes as [`Storage::checked`] gives them, to keep; without a copy where nobody else holds the memory.
    pub(crate) fn into_bytes(self: Arc<Self>) -> Result<Bytes> {
        self.checked()?;
        let path = self.bytes.path().to_path_buf();
        let held = |bytes| Bytes::held(&path, bytes);
        match Arc::try_unwrap(self).map(|storage| (storage.bytes, storage.form)) {
            Ok((_, Form::Packed { unpacked, .. })) => {
                Ok(held(unpacked.into_inner().flatten().unwrap_or_default()))
            }
            Ok((bytes, _)) => Ok(bytes),
            Err(shared) => shared.checked().map(|bytes| held(bytes.to_vec())),
        }
    }

    fn agrees(&self, bytes: &[u8]) -> bool {
        self.crc32.is_none_or(|expected| {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            crc.sum() == expected
        })
    }

    fn decoded(&self, packing: Packing) -> Option<Vec<u8>> {
        let length = self.len();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).ok()?;
        match packing {
            Packing::Latin1 => {
                let text = String::from_utf8_lossy(&self.bytes);
                bytes
                    .extend(text.chars().take(length).map(|c| u8::try_from(c).unwrap_or_default()));
                bytes.resize(length, 0);
            }
            Packing::Deflate => {
                // One byte more than there should be is enough to see that there are too many.
                let packed = flate2::read::DeflateDecoder::new(&self.bytes[..]);
                packed.take(length as u64 + 1).read_to_end(&mut bytes).ok()?;
            }
        }
        Some(bytes).filter(|bytes| bytes.len() == length && self.agrees(bytes))
    }
}
