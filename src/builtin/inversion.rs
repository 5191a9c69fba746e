//! What turns photos into codes: the encoders that ship or were fetched, and the face detector.

use super::{
    DETECTOR, can_be_fetched, checkpoints_dir, did_you_mean, fetched_file, models_dir, models_in,
    names_of, shipped_hint,
};
use crate::checkpoint::Address;
use crate::error::{Error, Result};
use crate::fetch;
use std::path::{Path, PathBuf};

/// The file of an encoder: a shipped name (`./NAME` means a file of that name), a file, or the name of what `nada fetch`
/// brought; each may have a `#KEY` behind it.
///
/// # Errors
/// [`Error::Request`] for a name or file that does not exist, with the shipped names.
pub fn resolve_encoder(asked: &str) -> Result<PathBuf> {
    let (asked, key) = Address::of_name(asked);
    Ok(Address::joined(encoder_file(asked)?, key))
}

fn encoder_file(asked: &str) -> Result<PathBuf> {
    let folder = checkpoints_dir();
    let shipped = models_in(folder.as_deref());
    let of_kind = |kind| shipped.iter().find(|m| m.kind == kind && m.name == asked);
    if let Some(model) = of_kind(fetch::Kind::Encoder) {
        return Ok(model.path.clone());
    }
    let path = Path::new(asked);
    if path.is_dir() {
        return Err(Error::request(
            format!("`{asked}` is a folder, a file of weights is expected"),
            "name the encoder's file",
        ));
    }
    if path.exists() {
        return Ok(path.into());
    }
    if let Some(file) = fetched_file(asked, models_dir(None).as_deref()) {
        return Ok(file);
    }
    can_be_fetched(asked, fetch::Kind::Encoder)?;
    let names = names_of(&shipped, fetch::Kind::Encoder);
    let near = did_you_mean(asked, names.iter().copied());
    Err(Error::request(
        format!("`{asked}` is no shipped encoder, and there is no such file{near}"),
        shipped_hint("encoders", &names, folder.as_deref()),
    ))
}

/// The shipped encoder of a shipped generator: that of `faces128` is `encoder-faces128`.
pub fn encoder_of(generator: &str) -> Option<PathBuf> {
    let name = format!("encoder-{generator}");
    let shipped = models_in(checkpoints_dir().as_deref());
    let found = shipped.into_iter().find(|m| m.kind == fetch::Kind::Encoder && m.name == name);
    found.map(|model| model.path)
}

/// The file of the face detector.
///
/// # Errors
/// [`Error::Request`] when the folder of the shipped models was not found, or does not hold it.
pub fn detector_file() -> Result<PathBuf> {
    let file = checkpoints_dir().map(|folder| folder.join(format!("{DETECTOR}.safetensors")));
    file.filter(|file| file.is_file()).ok_or_else(|| {
        Error::request(
            "the face detector that ships with `nada` was not found",
            "set `NADA_CHECKPOINTS` to the folder with `mtcnn.safetensors`, or say where the faces are with `--landmarks`, or that the photos are cut out already with `--no-align`",
        )
    })
}
