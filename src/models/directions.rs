//! Editing directions from the files of InterFaceGAN, GANSpace, rosinality and StyleCLIP (reference §2.5, §2.6): readers
//! only. Which of them an edit goes along is chosen in `direction_choice.rs`.

use crate::checkpoint::{self, Checkpoint, Entry};
use crate::error::{Error, Result};
use crate::torch::catch;
use std::collections::BTreeSet;
use std::path::Path;
use tch::{Kind, Tensor};

/// A table with at least so many rows holds the responses of channels; a boundary for every style input has fewer.
const CHANNELS: i64 = 65;

/// What a file of directions holds, in float32 on the CPU.
#[derive(Debug)]
pub enum Directions {
    /// InterFaceGAN: the normal of a boundary, `[1, D]`, or one for each style input, `[L, D]`. Or one direction a row.
    Boundary(Tensor),
    /// GANSpace as e4e ships it: principal components of the styles, along which a coordinate is set.
    Components {
        /// `[D]`.
        mean: Tensor,
        /// `[K, D]`.
        components: Tensor,
        /// Spread along each, `[K]`.
        deviations: Tensor,
    },
    /// Numbered directions that are added: GANSpace's own file, rosinality's factors. The first that fits a generator
    /// counts.
    Axes(Vec<Axes>),
    /// Boundaries by their names, as in [`Directions::Boundary`].
    Named(Vec<(String, Tensor)>),
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

/// Directions by number.
#[derive(Debug)]
pub struct Axes {
    /// `[K, D]`, each times its spread.
    pub axes: Tensor,
    /// What the file calls them.
    pub called: &'static str,
    /// Whether the mean of the codes that they were found in says that these were z.
    pub in_z: bool,
}

/// How files of numbered directions call their tensors. All that are there are read, in this order.
struct Table {
    axes: &'static str,
    /// How far one step goes along each.
    spreads: Option<&'static str>,
    /// The mean of the codes that they were found in.
    mean: Option<&'static str>,
    /// One direction a column.
    columns: bool,
}

/// No mean of many z has a number beyond this one; that of w has some tenths.
const MEAN_OF_Z: f64 = 0.01;

const TABLES: &[Table] = &[
    // GANSpace: the directions in the space of its codes, and those in the space that was looked at.
    Table { axes: "lat_comp", spreads: Some("lat_stdev"), mean: Some("lat_mean"), columns: false },
    Table { axes: "act_comp", spreads: Some("act_stdev"), mean: None, columns: false },
    // rosinality's closed_form_factorization.py: the right singular vectors of the weights.
    Table { axes: "eigvec", spreads: None, mean: None, columns: true },
];

/// What the normal of a boundary is called where other numbers lie beside it (its bias as a rule, which moves nothing
/// along it); and whether it is made one of length 1, as InterFaceGAN does with what scikit-learn found.
const NORMALS: &[(&str, bool)] = &[
    ("boundary", false),
    ("direction", false),
    ("normal", false),
    ("coef_", true),
    ("coef", true),
];

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
    let tables = TABLES.iter().filter_map(|table| axes(&file, table).transpose());
    let tables = tables.collect::<Result<Vec<_>>>()?;
    if !tables.is_empty() {
        return Ok(Directions::Axes(tables));
    }
    let mut boundaries = boundaries(&file)?;
    match boundaries.len() {
        0 => Err(unknown(&file)),
        1 => {
            let (_, only) = boundaries.remove(0);
            let responses = file.entries.len() == 1 && only.size()[0] >= CHANNELS;
            Ok(if responses { Directions::Responses(only) } else { Directions::Boundary(only) })
        }
        _ => Ok(Directions::Named(boundaries)),
    }
}

/// The normals of boundaries, `[1, D]` or `[rows, D]`, in the order of the file; none if there is something else.
fn boundaries(file: &Checkpoint) -> Result<Vec<(String, Tensor)>> {
    let parts = |name: &'_ str| -> (String, String) {
        let (before, last) = name.rsplit_once('/').unwrap_or(("", name));
        (before.to_owned(), last.to_owned())
    };
    let normal = |name: &str| NORMALS.iter().find(|(normal, _)| *normal == parts(name).1);
    let all = file.in_order();
    let with_normal: BTreeSet<String> = all
        .iter()
        .filter(|(name, _)| normal(name).is_some())
        .map(|(name, _)| parts(name).0)
        .collect();
    let mut width = None;
    let mut found = Vec::new();
    for (name, entry) in all {
        let (before, _) = parts(name);
        let normal = normal(name);
        let float =
            matches!(entry.kind(), Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double);
        // Biases, accuracies, labels.
        let beside = normal.is_none() && with_normal.contains(&before);
        if beside || !float || entry.numel() <= 1 {
            continue;
        }
        let shape = match *entry.shape() {
            [width] => [1, width],
            [rows, width] => [rows, width],
            [1, rows, width] | [rows, 1, width] => [rows, width],
            _ => return Ok(Vec::new()),
        };
        if *width.get_or_insert(shape[1]) != shape[1] {
            return Ok(Vec::new());
        }
        let title = if normal.is_some() && !before.is_empty() { before } else { name.to_owned() };
        found.push((title, entry, shape, normal.is_some_and(|(_, unit)| *unit)));
    }
    // Nothing is read of a file that holds something else.
    let read = found.into_iter().map(|(title, entry, shape, to_unit)| {
        let rows = vector(file, entry, &shape)?;
        Ok((title, if to_unit { unit(&rows) } else { rows }))
    });
    read.collect()
}

/// Each row with length 1; rows of zeros stay.
fn unit(rows: &Tensor) -> Tensor {
    let lengths = rows.norm_scalaropt_dim(2.0, [1].as_slice(), true);
    rows / lengths.clamp_min(f64::from(f32::MIN_POSITIVE))
}

/// The directions of a table, if the file has it.
fn axes(file: &Checkpoint, table: &Table) -> Result<Option<Axes>> {
    let Some(entry) = file.entries.get(table.axes) else { return Ok(None) };
    let (count, width) = match *entry.shape() {
        [width, count] if table.columns => (count, width),
        [count, width] | [count, 1, width] | [1, count, width] => (count, width),
        // Activations of a layer with height and width: no directions of codes.
        _ => return Ok(None),
    };
    let plain = if table.columns { [width, count] } else { [count, width] };
    let mut axes = vector(file, entry, &plain)?;
    if table.columns {
        axes = axes.tr().contiguous();
    }
    if let Some(spreads) = table.spreads {
        let spreads = file.entries.get(spreads).filter(|entry| entry.numel() as i64 == count);
        let spreads = spreads.ok_or_else(|| {
            Error::file(
                &file.path,
                format!("its `{}` {:?} lack a spread for each", table.axes, entry.shape()),
            )
        })?;
        axes *= vector(file, spreads, &[count, 1])?;
    }
    let mean = table.mean.and_then(|name| file.entries.get(name));
    let mean = mean.map(|entry| vector(file, entry, &[entry.numel() as i64])).transpose()?;
    let in_z = mean.is_some_and(|mean| mean.abs().max().double_value(&[]) < MEAN_OF_Z);
    Ok(Some(Axes { axes, called: table.axes, in_z }))
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
        "known are InterFaceGAN's boundaries, alone or by name, GANSpace's `lat_comp`, `lat_stdev` or `mean`, `comp`, `std`, \
         rosinality's `eigvec`, and StyleCLIP's `fs3.npy` and `S_mean_std`",
    )
}
