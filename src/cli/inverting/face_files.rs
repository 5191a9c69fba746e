//! The files of one face: its folder under the output folder.

use crate::checkpoint::{self, save_safetensors};
use crate::error::{Error, IoContext, Result};
use crate::imaging::{load, save};
use crate::torch::TensorMap;
use image::RgbImage;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Where a face's files lie.
#[derive(Debug, Clone)]
pub(in crate::cli) struct FaceFiles {
    folder: PathBuf,
}

/// The codes of a face.
#[derive(Debug)]
pub(in crate::cli) struct FaceCodes {
    /// W+ `[1, L, D]`, float32.
    pub(in crate::cli) codes: Tensor,
    /// Every result on the way `[K, L, D]`; the last is `codes`.
    pub(in crate::cli) rounds: Tensor,
    /// Noise maps that belong to it.
    pub(in crate::cli) noise: Option<Vec<Tensor>>,
}

impl FaceFiles {
    pub(in crate::cli) fn new(out: &Path, name: &str) -> Self {
        Self { folder: out.join(name) }
    }

    pub(in crate::cli) fn create(&self) -> Result<()> {
        std::fs::create_dir_all(&self.folder).while_doing("create", &self.folder)
    }

    /// A picture by its name, without `.png`.
    pub(in crate::cli) fn picture(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.png"))
    }

    pub(in crate::cli) fn write_picture(&self, name: &str, picture: &RgbImage) -> Result<()> {
        save::png(self.picture(name), picture, &[])
    }

    pub(in crate::cli) fn read_picture(&self, name: &str) -> Result<RgbImage> {
        Ok(load::flatten(&load::open_image(self.picture(name))?))
    }

    fn latents(&self) -> PathBuf {
        self.folder.join("latents.safetensors")
    }

    /// Whether the codes and the named pictures are there.
    pub(in crate::cli) fn has(&self, pictures: &[&str]) -> bool {
        self.latents().is_file() && pictures.iter().all(|name| self.picture(name).is_file())
    }

    /// Writes the codes, `latents` `[1, L, D]`, as `nada generate --latents` takes them.
    pub(in crate::cli) fn write_codes(
        &self,
        codes: &FaceCodes,
        about: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut tensors = TensorMap::new();
        tensors.insert("latents".into(), codes.codes.shallow_clone());
        tensors.insert("rounds".into(), codes.rounds.shallow_clone());
        for (i, map) in codes.noise.iter().flatten().enumerate() {
            tensors.insert(format!("noise.{i}"), map.shallow_clone());
        }
        save_safetensors(self.latents(), &tensors, about, None)
    }

    /// Reads them back.
    pub(in crate::cli) fn read_codes(&self) -> Result<FaceCodes> {
        let path = self.latents();
        let file = checkpoint::open(&path)?;
        let get = |name: &str| match file.entries.get(name) {
            Some(entry) => Ok(entry.tensor()?.to_kind(Kind::Float)),
            None => Err(Error::file_hint(
                &path,
                format!("`{name}` is missing"),
                "remove the folder, and run again",
            )),
        };
        let names =
            (0..).map(|i| format!("noise.{i}")).take_while(|name| file.entries.contains_key(name));
        let noise = names.map(|name| get(&name)).collect::<Result<Vec<_>>>()?;
        let noise = Some(noise).filter(|maps| !maps.is_empty());
        Ok(FaceCodes { codes: get("latents")?, rounds: get("rounds")?, noise })
    }
}
