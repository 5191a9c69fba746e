//! The token table of a CLIP that was trained on few words, and its full form.
//!
//! Of the 49,408 rows of CLIP's token table a small CLIP has read some hundreds; the rest would be megabytes of noise.
//! Our training script (`scripts/train/clip.py`) stores the rows that it has read, and one more that stands for
//! every other token. Spread out, that is the table OpenAI's models have, and nothing behind it knows the difference.

use crate::checkpoint::{Entry, Named};
use crate::clip::tokenizer::VOCABULARY;
use crate::error::{Error, Result};
use std::path::Path;
use tch::{Device, Kind, Tensor};

const IDS: &str = "token_embedding.ids";
const ROWS: &str = "token_embedding.rows";
const OTHER: &str = "token_embedding.other";

/// No CLIP's text tower comes near; a small file must not ask for terabytes once it is spread.
const WIDEST: i64 = 4096;

/// The rows that were read, and the one for all others.
#[derive(Debug)]
pub(super) struct TokenTable {
    ids: Entry,   // [K], ascending
    rows: Entry,  // [K, W]
    other: Entry, // [W]
}

impl TokenTable {
    /// The names that [`TokenTable::find`] reads; no model has tensors of these names.
    pub(super) const NAMES: [&str; 3] = [IDS, ROWS, OTHER];

    /// The narrow table among a file's tensors; `None` for a file with an ordinary one.
    ///
    /// # Errors
    /// [`Error::Tensors`] when only parts are there, or their shapes disagree.
    pub(super) fn find(named: &Named) -> Result<Option<Self>> {
        let parts = Self::NAMES.map(|name| named.entries.get(name).cloned());
        if parts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let fault = |problem: String| Error::Tensors {
            what: format!("the token table of `{}`", named.origin.display()),
            problems: vec![problem],
            hint: Some("the file is damaged or was not written by `scripts/train/clip.py`".into()),
        };
        let [Some(ids), Some(rows), Some(other)] = parts else {
            return Err(fault(format!("`{IDS}`, `{ROWS}` and `{OTHER}` belong together")));
        };
        match (ids.shape(), rows.shape(), other.shape()) {
            ([k], [rows_k, width], [other_width])
                if k == rows_k
                    && width == other_width
                    && (1..=VOCABULARY as i64).contains(k)
                    && (1..=WIDEST).contains(width) => {}
            (i, r, o) => {
                return Err(fault(format!(
                    "`{IDS}` {i:?}, `{ROWS}` {r:?} and `{OTHER}` {o:?} do not fit: expected [K], [K, W] and [W], W at most {WIDEST}"
                )));
            }
        }
        if named.entries.contains_key("token_embedding.weight") {
            return Err(fault(format!("holds both `{ROWS}` and `token_embedding.weight`")));
        }
        if !matches!(ids.kind(), Kind::Int | Kind::Int64) {
            return Err(fault(format!("`{IDS}` holds {:?}, expected integers", ids.kind())));
        }
        Ok(Some(Self { ids, rows, other }))
    }

    /// The shape of the full table: `[49408, W]`.
    pub(super) fn shape(&self) -> Vec<i64> {
        vec![VOCABULARY as i64, self.other.shape()[0]]
    }

    /// The kind of its numbers, as stored.
    pub(super) fn kind(&self) -> Kind {
        self.rows.kind()
    }

    /// The full table.
    ///
    /// # Errors
    /// [`Error::File`] for damaged data or an id that is no token.
    pub(super) fn spread(&self, path: &Path, kind: Kind, device: Device) -> Result<Tensor> {
        let ids = self.ids.tensor()?.to_kind(Kind::Int64);
        let (low, high) = (ids.min().int64_value(&[]), ids.max().int64_value(&[]));
        if low < 0 || high >= VOCABULARY as i64 {
            let message =
                format!("`{IDS}` has ids from {low} to {high}, tokens are 0 to {}", VOCABULARY - 1);
            return Err(Error::file(path, message));
        }
        let read = |entry: &Entry| entry.tensor().map(|t| t.to_kind(kind));
        let mut table = read(&self.other)?.repeat([VOCABULARY as i64, 1]);
        let _ = table.index_copy_(0, &ids, &read(&self.rows)?);
        Ok(table.to_device(device))
    }
}
