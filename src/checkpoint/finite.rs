//! Numbers that are NaN or infinite: what a training that diverged leaves behind.

use crate::error::{Error, Result};
use crate::torch;
use std::fmt;
use std::path::Path;
use tch::{Kind, Tensor};

/// Tensors that are named one by one.
const MAX_NAMED: usize = 4;

/// The tensors of a network that have numbers which are not finite, and how many of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotFinite(Vec<(String, usize, usize)>);

impl NotFinite {
    /// Counts in one more tensor.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn look(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let count = torch::catch("counting numbers that are not finite", || Ok(count(tensor)))?;
        if count > 0 {
            self.0.push((name.to_owned(), count, tensor.numel()));
        }
        Ok(())
    }

    /// Whether every number is finite.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What there is to say of it; `None` when every number is finite.
    pub fn note(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.to_string())
    }

    /// Refuses the file when there are any.
    ///
    /// # Errors
    /// [`Error::File`] with the names of the tensors.
    pub fn refuse(&self, path: &Path) -> Result<()> {
        match self.note() {
            None => Ok(()),
            Some(note) => Err(Error::file_hint(
                path,
                note,
                "the training that wrote it diverged, or it was damaged since: use an earlier checkpoint",
            )),
        }
    }
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [(name, count, of)] = self.0.as_slice() {
            let are = if *count == 1 { "is" } else { "are" };
            return write!(
                f,
                "{count} of the {of} numbers in `{name}` {are} not finite (NaN or infinite)"
            );
        }
        write!(f, "numbers in {} tensors are not finite (NaN or infinite): ", self.0.len())?;
        for (i, (name, count, of)) in self.0.iter().take(MAX_NAMED).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{count} of {of} in `{name}`")?;
        }
        match self.0.len().saturating_sub(MAX_NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn count(tensor: &Tensor) -> usize {
    if tensor.numel() == 0 || !is_floating(tensor.kind()) {
        return 0;
    }
    let tensor = tensor.detach();
    // One pass without a copy; a sum that overflows only costs the count below.
    if tensor.sum(Kind::Float).double_value(&[]).is_finite() {
        return 0;
    }
    let finite = tensor.isfinite().sum(Kind::Int64).int64_value(&[]);
    tensor.numel() - usize::try_from(finite).unwrap_or(0)
}

fn is_floating(kind: Kind) -> bool {
    matches!(kind, Kind::Half | Kind::Float | Kind::Double | Kind::BFloat16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_both_infinities_are_counted_and_named() {
        let mut found = NotFinite::default();
        let row = |numbers: &[f64]| Tensor::from_slice(numbers);
        found.look("fine", &row(&[1e300, 1e300, -1e300])).unwrap();
        found.look("empty", &row(&[])).unwrap();
        found.look("integers", &Tensor::from_slice(&[1_i64, 2])).unwrap();
        assert_eq!(found.note(), None);
        found.look("a", &row(&[f64::INFINITY, f64::NEG_INFINITY, 0.0, f64::NAN])).unwrap();
        let one = "3 of the 4 numbers in `a` are not finite (NaN or infinite)";
        assert_eq!(found.note().unwrap(), one);
        for name in ["b", "c", "d", "e"] {
            let half = row(&[60_000.0, 60_000.0, f64::NAN]).to_kind(Kind::Half);
            found.look(name, &half).unwrap();
        }
        let text = found.refuse(Path::new("x.pt")).unwrap_err().to_string();
        let several = "`x.pt`: numbers in 5 tensors are not finite (NaN or infinite): 3 of 4 in `a`, 1 of 3 in `b`, \
                       1 of 3 in `c`, 1 of 3 in `d` and 1 more";
        assert_eq!(text, several);
    }
}
