//! What NVIDIA's namings of generators have in common.

use crate::checkpoint::Entry;
use std::collections::BTreeMap;

/// Tensors under canonical names, and what is not a tensor.
#[derive(Default)]
pub(super) struct Translated {
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) conv_clamp: Option<f64>,
}

impl Translated {
    /// Adds a tensor; two of the same name are a fault of the file.
    pub(super) fn insert(&mut self, name: String, entry: Entry) -> Result<(), String> {
        match self.entries.insert(name.clone(), entry) {
            Some(_) => Err(format!("two of its tensors become `{name}`")),
            None => Ok(()),
        }
    }
}

/// The bound of `conv_clamp` as a file spells it out.
pub(super) fn conv_clamp(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|clamp: &f64| clamp.is_finite() && *clamp > 0.0);
    number.ok_or_else(|| format!("its `conv_clamp` is {text}, expected a number above 0"))
}

/// Refuses a generator with blocks of another architecture than StyleGAN2's own.
pub(super) fn only_skip(architecture: &str) -> Result<(), String> {
    let found = architecture.trim_matches('"');
    if found == "skip" {
        return Ok(());
    }
    Err(format!(
        "the generator has the architecture `{found}`; only `skip`, StyleGAN2's own, is supported"
    ))
}

/// The tensor with `before` dimensions of size 1 before its own, and `after` behind them.
pub(super) fn deeper(entry: &Entry, before: usize, after: usize) -> Result<Entry, String> {
    entry.clone().reshaped(&[&vec![1; before], entry.shape(), &vec![1; after]].concat())
}

/// The number of the block that draws at a resolution: 4 px is 0, 8 px is 1.
pub(super) fn block_number(resolution: u32) -> Option<u32> {
    let fits = resolution.is_power_of_two() && (4..=MAX_RESOLUTION).contains(&resolution);
    fits.then(|| resolution.ilog2() - 2)
}

/// The widest picture that a name may stand for.
const MAX_RESOLUTION: u32 = 1 << 14;

/// `fc3` → 3.
pub(super) fn number(text: &str, prefix: &str) -> Option<u32> {
    let digits = text.strip_prefix(prefix)?;
    // One spelling for each: `fc03` and `fc3` must not become the same tensor.
    let number = digits.parse().ok().filter(|n: &u32| *n < u32::MAX / 4)?;
    (number.to_string() == digits).then_some(number)
}
