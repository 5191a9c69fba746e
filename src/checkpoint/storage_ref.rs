//! How torch writes down which memory a tensor looks at, and what its numbers are.

use super::pickle::{Id, Pickle};
use tch::Kind;

/// Characters of a storage's key; torch writes numbers. A long one would be copied for each tensor that uses it.
const MAX_KEY: usize = 256;

/// What torch writes in place of a storage: `('storage', class, key, location, numel)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StorageRef {
    pub(crate) key: String,
    /// `None` for kinds that tch does not have.
    pub(crate) kind: Option<Kind>,
    pub(crate) numel: i64,
    /// The sixth item of files from before torch 0.4: key, offset and length of a part.
    pub(crate) view: Option<(String, i64, i64)>,
}

impl StorageRef {
    /// Reads a persistent id; `None` when it is no storage's.
    pub(crate) fn read(pickle: &Pickle, id: Id) -> Option<Self> {
        let items = pickle.items(id)?;
        let (&[tag, class, key, _location, numel], rest) = items.split_first_chunk::<5>()?;
        if pickle.text(tag) != Some("storage") {
            return None;
        }
        let short = |id: Id| pickle.text(id).filter(|key| key.len() <= MAX_KEY).map(str::to_owned);
        let view = match rest.first() {
            Some(&view) => match pickle.items(view) {
                Some(&[key, offset, length]) => {
                    Some((short(key)?, pickle.int(offset)?, pickle.int(length)?))
                }
                _ => None,
            },
            None => None,
        };
        Some(Self {
            key: short(key)?,
            kind: storage_kind(pickle.class_name(class)?),
            numel: pickle.int(numel)?,
            view,
        })
    }
}

/// `torch.FloatStorage` holds floats. Untyped storages count bytes.
fn storage_kind(class: &str) -> Option<Kind> {
    let name = class.strip_prefix("torch.")?;
    let name = name.strip_prefix("cuda.").or(name.strip_prefix("storage.")).unwrap_or(name);
    Some(match name {
        "FloatStorage" => Kind::Float,
        "DoubleStorage" => Kind::Double,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        "ByteStorage" | "UntypedStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        _ => return None,
    })
}

/// `torch.float32` as it stands in `_rebuild_tensor_v3`.
pub(crate) fn dtype_kind(name: &str) -> Option<Kind> {
    Some(match name.strip_prefix("torch.")? {
        "float32" => Kind::Float,
        "float64" => Kind::Double,
        "float16" => Kind::Half,
        "bfloat16" => Kind::BFloat16,
        "int64" => Kind::Int64,
        "int32" => Kind::Int,
        "int16" => Kind::Int16,
        "int8" => Kind::Int8,
        "uint8" => Kind::Uint8,
        "bool" => Kind::Bool,
        _ => return None,
    })
}
