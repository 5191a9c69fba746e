//! Pictures of formats that are not read: named, with the way out.

/// A format that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) name: &'static str,
    /// What to do about it.
    pub(super) remedy: &'static str,
}

/// The endings under which they travel: they are pictures, and are not to be taken for something else in a folder.
pub(super) const EXTENSIONS: [&str; 13] =
    ["heic", "heif", "hif", "avif", "jxl", "jp2", "j2k", "psd", "dng", "cr2", "cr3", "nef", "arw"];

const HEIC: Foreign = Foreign {
    name: "HEIC",
    remedy: "save it as JPEG or PNG: `heif-convert photo.heic photo.jpg` (libheif), `sips -s format jpeg photo.heic --out \
             photo.jpg` (macOS), or choose \"Most Compatible\" in the camera settings of an iPhone",
};
const AVIF: Foreign = Foreign {
    name: "AVIF",
    remedy: "save it as JPEG or PNG: `avifdec photo.avif photo.png` (libavif), or with any program that opens it",
};
const JPEG_XL: Foreign = Foreign {
    name: "JPEG XL",
    remedy: "save it as JPEG or PNG: `djxl photo.jxl photo.png` (libjxl), or with any program that opens it",
};
const JPEG_2000: Foreign =
    Foreign { name: "JPEG 2000", remedy: "save it as JPEG or PNG with a program that opens it" };
const PHOTOSHOP: Foreign =
    Foreign { name: "Photoshop", remedy: "export it as PNG from the program that made it" };
const RAW: Foreign = Foreign {
    name: "raw camera",
    remedy: "develop it, and save it as JPEG, PNG or TIFF: what could be read of it is a small preview",
};

/// The format, told by content.
pub(super) fn named(bytes: &[u8]) -> Option<Foreign> {
    if bytes.starts_with(b"\xff\x0a") || bytes.starts_with(b"\0\0\0\x0cJXL ") {
        return Some(JPEG_XL);
    }
    if bytes.starts_with(b"\0\0\0\x0cjP  ") || bytes.starts_with(b"\xff\x4f\xff\x51") {
        return Some(JPEG_2000);
    }
    if bytes.starts_with(b"8BPS") {
        return Some(PHOTOSHOP);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return of_brands(bytes);
    }
    is_raw(bytes).then_some(RAW)
}

/// A file of ISO's boxes: its first one lists the brands that it keeps to.
fn of_brands(bytes: &[u8]) -> Option<Foreign> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let list = bytes.get(8..length.clamp(12, 256).min(bytes.len()))?;
    let mut found = None;
    for brand in list.chunks_exact(4) {
        match brand {
            b"avif" | b"avis" => return Some(AVIF),
            b"crx " => return Some(RAW),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => {
                found = Some(HEIC);
            }
            _ => {}
        }
    }
    found
}

/// Whether a TIFF is what a camera's sensor saw: what stands first in it is then a preview only.
fn is_raw(bytes: &[u8]) -> bool {
    const NEW_SUBFILE_TYPE: u16 = 254;
    const DNG_VERSION: u16 = 50706;
    let big = match bytes.get(..4) {
        Some(b"II*\0") => false,
        Some(b"MM\0*") => true,
        _ => return false,
    };
    if bytes.get(8..10) == Some(b"CR") {
        return true;
    }
    let u16_at = |at: usize| {
        let two: [u8; 2] = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(two) } else { u16::from_le_bytes(two) })
    };
    let u32_at = |at: usize| {
        let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    };
    let Some(directory) = u32_at(4).map(|at| at as usize) else { return false };
    let count = usize::from(u16_at(directory).unwrap_or(0));
    (0..count).map_while(|i| directory.checked_add(2 + 12 * i)).any(|entry| match u16_at(entry) {
        Some(DNG_VERSION) => true,
        // "A smaller version of another image in this file."
        Some(NEW_SUBFILE_TYPE) => u32_at(entry.saturating_add(8)).is_some_and(|kind| kind & 1 == 1),
        _ => false,
    })
}
