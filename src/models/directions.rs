//! Editing directions from the files of InterFaceGAN, GANSpace and StyleCLIP (reference §2.5, §2.6): readers only.

use crate::checkpoint::{self, Checkpoint, Entry};
use crate::error::{Error, Result};
use crate::torch::catch;
use std::path::Path;
use tch::{Kind, Tensor};

/// A table with at least so many rows holds the responses of channels; a boundary for every style input has fewer.
const CHANNELS: i64 = 65;

/// What a file of directions holds, in float32 on the CPU.
#[derive(Debug)]
pub enum Directions {
    /// InterFaceGAN: the normal of a boundary, `[1, D]`, or one for each style input, `[L, D]`.
    Boundary(Tensor),
    /// GANSpace: principal components of the styles.
    Components {
        /// `[D]`.
        mean: Tensor,
        /// `[K, D]`.
        components: Tensor,
        /// Spread along each, `[K]`.
        deviations: Tensor,
    },
    /// StyleCLIP's `fs3.npy`: what each channel of the style codes does to CLIP's features, `[channels, E]`.
    Responses(Tensor),
    /// StyleCLIP's `S_mean_std`: mean and spread of the channels of each style code, `[C]` each.
    Statistics {
        /// In the order of synthesis, colours included.
        means: Vec<Tensor>,
        /// In the same order.
        deviations: Vec<Tensor>,
    },
}

/// Reads directions, told by what the file holds.
///
/// # Errors
/// [`Error::Io`]; [`Error::File`] for a file that holds something else, or numbers that are none.
pub fn open_directions(path: &Path) -> Result<Directions> {
    let file = checkpoint::open(path)?;
    let named = |name: &str| file.entries.get(name);
    if let (Some(mean), Some(components), Some(deviations)) =
        (named("mean"), named("comp"), named("std"))
    {
        return ganspace(&file, mean, components, deviations);
    }
    if named("0/0").is_some() && named("1/0").is_some() {
        return statistics(&file);
    }
    let only = match file.entries.len() {
        1 => file.entries.values().next(),
        _ => None,
    };
    match only.map(|entry| (entry, entry.shape())) {
        Some((entry, &[width])) => vector(&file, entry, &[1, width]).map(Directions::Boundary),
        Some((entry, &[1, rows, width])) => {
            vector(&file, entry, &[rows, width]).map(Directions::Boundary)
        }
        Some((entry, &[rows, width])) if rows >= CHANNELS => {
            vector(&file, entry, &[rows, width]).map(Directions::Responses)
        }
        Some((entry, &[rows, width])) => {
            vector(&file, entry, &[rows, width]).map(Directions::Boundary)
        }
        _ => Err(unknown(&file)),
    }
}

fn ganspace(
    file: &Checkpoint,
    mean: &Entry,
    components: &Entry,
    deviations: &Entry,
) -> Result<Directions> {
    // GANSpace itself keeps dimensions of size 1 in the middle.
    let plain = |entry: &Entry| -> Vec<i64> {
        let shape = entry.shape();
        let last = shape.len().saturating_sub(1);
        let mut kept: Vec<i64> = shape
            .iter()
            .enumerate()
            .filter(|&(i, &n)| n != 1 || i == last)
            .map(|(_, &n)| n)
            .collect();
        if kept.is_empty() {
            kept.push(1);
        }
        kept
    };
    let width = plain(mean);
    let (&[width], Some(&count)) = (width.as_slice(), components.shape().first()) else {
        return Err(unknown(file));
    };
    let fits = components.numel() as i64 == count * width && deviations.numel() as i64 == count;
    if !fits {
        return Err(Error::file(
            &file.path,
            format!(
                "its components {:?} fit neither the mean {:?} nor the spreads {:?}",
                components.shape(),
                mean.shape(),
                deviations.shape()
            ),
        ));
    }
    Ok(Directions::Components {
        mean: vector(file, mean, &[width])?,
        components: vector(file, components, &[count, width])?,
        deviations: vector(file, deviations, &[count])?,
    })
}

fn statistics(file: &Checkpoint) -> Result<Directions> {
    let list = |which: usize| -> Result<Vec<Tensor>> {
        let entries = (0..).map_while(|i| file.entries.get(&format!("{which}/{i}")));
        entries.map(|entry| vector(file, entry, &[entry.numel() as i64])).collect()
    };
    let (means, deviations) = (list(0)?, list(1)?);
    let sizes = |list: &[Tensor]| list.iter().map(Tensor::numel).collect::<Vec<_>>();
    if sizes(&means) != sizes(&deviations) || 2 * means.len() != file.entries.len() {
        return Err(Error::file(
            &file.path,
            format!(
                "has means of {} style codes and spreads of {}, which do not fit each other",
                means.len(),
                deviations.len()
            ),
        ));
    }
    Ok(Directions::Statistics { means, deviations })
}

/// The numbers of an entry in `shape`; all must be numbers.
fn vector(file: &Checkpoint, entry: &Entry, shape: &[i64]) -> Result<Tensor> {
    let tensor = entry.tensor()?;
    catch("reading directions", || {
        let tensor = tensor.to_kind(Kind::Float).reshape(shape);
        if tensor.numel() == 0 || tensor.isfinite().all().int64_value(&[]) == 0 {
            return Err(Error::file(&file.path, "holds no numbers, or some that are not finite"));
        }
        Ok(tensor)
    })
}

fn unknown(file: &Checkpoint) -> Error {
    let names: Vec<_> = file
        .entries
        .iter()
        .take(4)
        .map(|(name, entry)| format!("`{name}` {:?}", entry.shape()))
        .collect();
    Error::file_hint(
        &file.path,
        format!(
            "holds no editing directions, but {}",
            if names.is_empty() { file.whole.clone() } else { names.join(", ") }
        ),
        "known are InterFaceGAN's boundaries, GANSpace's `mean`, `comp`, `std`, and StyleCLIP's `fs3.npy` and `S_mean_std`",
    )
}
