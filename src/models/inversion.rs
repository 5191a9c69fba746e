//! Files → what turns photos into codes: encoders, the face detector, LPIPS.

use super::{Origin, in_file, shapes};
use crate::checkpoint::{self, Named};
use crate::error::Result;
use crate::invert::{self, ArcFace, Detector, Encoder, Lpips};
use crate::torch::{ShapeMap, catch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Kind};

/// Reads an image encoder of ReStyle, pSp or e4e.
///
/// # Errors
/// As [`super::open_generator`].
pub fn open_encoder(path: &Path, kind: Kind, device: Device) -> Result<(Encoder, Origin)> {
    EncoderTable::read(path)?.open(kind, device)
}

/// An encoder of which only the table of its file was read: what it is, and that it is complete.
#[derive(Debug)]
pub struct EncoderTable {
    named: Named,
    config: invert::Config,
}

impl EncoderTable {
    /// Reads the table.
    ///
    /// # Errors
    /// As [`open_encoder`], but for what the numbers tell.
    pub fn read(path: &Path) -> Result<Self> {
        let file = checkpoint::open(path)?;
        let (named, options) = checkpoint::encoder(&file)?;
        let facts = invert::Facts::read(&options);
        let config =
            invert::Config::infer(&shapes(&named), &facts).map_err(|e| in_file(e, path))?;
        checkpoint::check("encoder", &config.shapes(), &config.optional_shapes(), &named)?;
        Ok(Self { named, config })
    }

    /// What the encoder takes and makes.
    pub fn config(&self) -> &invert::Config {
        &self.config
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// [`crate::Error::File`] for damaged data and numbers that are not finite.
    pub fn open(self, kind: Kind, device: Device) -> Result<(Encoder, Origin)> {
        let Self { named, config } = self;
        let (needed, optional) = (config.shapes(), config.optional_shapes());
        let (tensors, report) = catch("reading the encoder", || {
            checkpoint::fill("encoder", &needed, &optional, &named, kind, device)
        })?;
        let path = &named.origin;
        let encoder = Encoder::new(config, &tensors).map_err(|e| in_file(e, path))?;
        Ok((encoder, Origin::new(path, named.metadata.clone(), report)?))
    }
}

/// Reads the face detector that ships.
///
/// # Errors
/// As [`super::open_generator`].
pub fn open_detector(path: &Path, device: Device) -> Result<Detector> {
    let file = checkpoint::open(path)?;
    let named =
        Named { entries: file.entries, metadata: file.metadata, origin: path.to_path_buf() };
    let needed = Detector::shapes();
    let (tensors, _) = catch("reading the face detector", || {
        checkpoint::fill("face detector", &needed, &ShapeMap::new(), &named, Kind::Float, device)
    })?;
    Detector::new(&tensors)
}

/// Reads LPIPS from one file, or from two: a backbone of torchvision, and the weights of its channels.
///
/// # Errors
/// As [`super::open_generator`].
pub fn open_lpips(paths: &[PathBuf], kind: Kind, device: Device) -> Result<Lpips> {
    let mut entries = BTreeMap::new();
    for path in paths {
        let file = checkpoint::open(path)?;
        let known = file.entries.into_iter();
        entries.extend(known.filter_map(|(name, e)| Some((Lpips::canonical_name(&name)?, e))));
    }
    let origin = paths.first().cloned().unwrap_or_default();
    let named = Named { entries, metadata: BTreeMap::new(), origin: origin.clone() };
    let needed = Lpips::shapes(&shapes(&named)).map_err(|e| in_file(e, &origin))?;
    let (tensors, _) = catch("reading LPIPS", || {
        checkpoint::fill("LPIPS", &needed, &ShapeMap::new(), &named, kind, device)
    })?;
    Lpips::new(&tensors).map_err(|e| in_file(e, &origin))
}

/// Reads the face recogniser of the identity loss, `model_ir_se50.pth`.
///
/// # Errors
/// As [`super::open_generator`].
pub fn open_arcface(path: &Path, device: Device) -> Result<(ArcFace, Origin)> {
    let file = checkpoint::open(path)?;
    let named =
        Named { entries: file.entries, metadata: file.metadata, origin: path.to_path_buf() };
    let needed = ArcFace::shapes(&shapes(&named)).map_err(|e| in_file(e, path))?;
    let (tensors, report) = catch("reading ArcFace", || {
        checkpoint::fill("ArcFace network", &needed, &ShapeMap::new(), &named, Kind::Float, device)
    })?;
    let network = ArcFace::new(&tensors).map_err(|e| in_file(e, path))?;
    Ok((network, Origin::new(path, named.metadata, report)?))
}
