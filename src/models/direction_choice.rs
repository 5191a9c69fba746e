//! One direction of a file, for a generator: `FILE`, `FILE#3`, `FILE#NAME`.

use super::directions::{Axes, Directions, open_directions};
use super::keyed;
use crate::edit::linear::Direction;
use crate::error::{Error, Result};
use crate::stylegan2::Config;
use std::path::Path;
use tch::Tensor;

/// A direction from a file.
#[derive(Debug)]
pub struct StoredDirection {
    /// How people call it: the file's name, and the key.
    pub name: String,
    /// Where it goes.
    pub direction: Direction,
    /// What was taken for granted, in words: to be told to the user.
    pub notes: Vec<String>,
}

/// Reads a direction. `key` is its name or number in a file that holds several; without one, `FILE#KEY` may say it.
///
/// # Errors
/// As [`open_directions`]; [`Error::Request`] for a key that is not there or not said, and for files that hold something
/// else. Whether it fits the generator is checked by [`crate::edit::linear::LinearEdit::new`].
pub fn open_direction(path: &Path, key: Option<&str>, config: &Config) -> Result<StoredDirection> {
    let split = if key.is_some() { (path.into(), None) } else { keyed::split(path) };
    let (path, key) = (split.0, key.map(str::to_owned).or(split.1));
    let choice = Choice { path: &path, key: key.as_deref() };
    let mut notes = Vec::new();
    let direction = match open_directions(&path)? {
        Directions::Boundary(rows) => Direction::Along(choice.row(rows, config)?),
        Directions::Components { mean, components, deviations } => {
            let k = choice.number(components.size()[0])?;
            let component = components.get(k);
            let length = component.norm();
            Direction::Coordinate {
                mean,
                component: component / length.clamp_min(f64::from(f32::MIN_POSITIVE)),
                deviation: deviations.double_value(&[k]),
            }
        }
        Directions::Axes(tables) => {
            let fits = |table: &&Axes| table.axes.size()[1] == config.style_dim && !table.in_z;
            let first = tables[0].called;
            let table = tables.iter().find(fits).unwrap_or(&tables[0]);
            if table.called != first {
                notes.push(format!(
                    "its `{first}` are directions in another space than w; `{}` fit w and are taken",
                    table.called
                ));
            } else if table.in_z {
                notes.push(format!("its `{first}` seem to be directions in z, w is edited"));
            }
            let k = choice.number(table.axes.size()[0])?;
            Direction::Along(table.axes.narrow(0, k, 1))
        }
        Directions::Named(mut all) => {
            let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            let found = choice.named(&names)?;
            Direction::Along(all.swap_remove(found).1)
        }
        // A set of directions has no more of them than numbers in each; StyleCLIP's tables have thousands of rows.
        Directions::Responses(rows) if key.is_some() && rows.size()[0] <= rows.size()[1] => {
            Direction::Along(choice.row(rows, config)?)
        }
        Directions::Responses(_) | Directions::Statistics { .. } => {
            return Err(Error::request(
                format!("`{}` is one of StyleCLIP's tables, no direction", path.display()),
                "give both to `nada edit direction --responses fs3.npy --statistics S_mean_std`",
            ));
        }
    };
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let name = key.map_or_else(|| stem.to_string(), |key| format!("{stem}#{key}"));
    Ok(StoredDirection { name, direction, notes })
}

/// Which of several is meant.
struct Choice<'a> {
    path: &'a Path,
    key: Option<&'a str>,
}

impl Choice<'_> {
    /// One of the rows `[rows, D]`, or all of them as one direction, for as many style inputs.
    fn row(&self, rows: Tensor, config: &Config) -> Result<Tensor> {
        let count = rows.size()[0];
        let file = self.path.display();
        match self.key {
            None if count == 1 || count == config.num_styles() => Ok(rows),
            Some(key) if count == 1 => Err(Error::request(
                format!("`{file}` is one boundary, it has no component {key}"),
                "leave out `#`",
            )),
            _ if rows.size()[1] != config.style_dim => Ok(rows),
            None => Err(Error::request(
                format!(
                    "`{file}` holds {count} rows, this generator has {} style inputs",
                    config.num_styles()
                ),
                format!(
                    "if each row is a direction of its own, choose one: `{file}#0=3`; else it belongs to another \
                     generator"
                ),
            )),
            _ => Ok(rows.narrow(0, self.number(count)?, 1)),
        }
    }

    /// The number of one of `count`.
    fn number(&self, count: i64) -> Result<i64> {
        let file = self.path.display();
        let Some(key) = self.key else {
            return Err(Error::request(
                format!("`{file}` holds {count} components, which one is not said"),
                format!("choose one: `{file}#0=3`"),
            ));
        };
        let number = key.parse().ok().filter(|number| (0..count).contains(number));
        number.ok_or_else(|| {
            Error::request(
                format!("`{file}` has no component {key}"),
                format!("its components are 0 to {}", count - 1),
            )
        })
    }

    /// The place of the one with that name.
    fn named(&self, names: &[&str]) -> Result<usize> {
        let file = self.path.display();
        let listed = keyed::list(names);
        let Some(key) = self.key else {
            return Err(Error::request(
                format!(
                    "`{file}` holds {} directions, which one is not said: {listed}",
                    names.len()
                ),
                format!("choose one: `{file}#{}=3`", names.first().unwrap_or(&"NAME")),
            ));
        };
        keyed::find(names, key).ok_or_else(|| {
            Error::request(
                format!("`{file}` has no direction `{key}`"),
                format!("it holds {listed}"),
            )
        })
    }
}
