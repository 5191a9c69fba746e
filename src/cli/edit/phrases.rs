//! Two phrases → how much each channel has to do with them: measured channels, and the CLIPs that watched.

use super::super::printer::Printer;
use super::super::unread;
use super::prepare;
use crate::builtin;
use crate::clip::Clip;
use crate::edit::channels::{GlobalDirection, text_step};
use crate::error::{Error, Result};
use crate::models::{self, Channels, Origin};
use crate::stylegan2::Config;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// How many channels change when nobody says otherwise.
pub(super) const USUAL_KEEP: i64 = 100;

/// What turns phrases into edits of one generator.
pub(super) struct Phrases {
    channels: Channels,
    clips: Vec<Clip>, // in the order of `channels.responses`
}

/// The channels in `file`, or where `nada edit prepare` puts them, made sure to be of this generator or of what it was
/// adapted from.
///
/// # Errors
/// [`Error::Request`] for channels that were not measured; [`Error::File`] for those of another generator.
pub(super) fn measured(file: Option<&Path>, generator: &str, origin: &Origin) -> Result<Channels> {
    let path = file.map_or_else(|| prepare::usual_file(generator), Path::to_path_buf);
    let measure = format!("`nada edit prepare --generator {generator}`");
    if !path.exists() && file.is_none() {
        return Err(Error::request(
            format!("`{}` is not there: the channels were not measured", path.display()),
            format!("measure them once with {measure}, or name a file with --channels"),
        ));
    }
    let channels = models::open_channels(&path)?;
    let base = origin.metadata.get("base_sha256");
    let own = [Some(&origin.sha256), base];
    if channels.generator_sha256.as_ref().is_some_and(|sha| !own.contains(&Some(sha))) {
        let short = |sha: Option<&String>| {
            sha.map_or("?".into(), |s| s.chars().take(12).collect::<String>())
        };
        return Err(Error::file_hint(
            &path,
            format!(
                "was measured on another generator (sha256 {}…) than `{generator}` (sha256 {}…)",
                short(channels.generator_sha256.as_ref()),
                short(Some(&origin.sha256))
            ),
            format!("measure this one with {measure}"),
        ));
    }
    Ok(channels)
}

impl Phrases {
    /// Opens the CLIPs that watched the channels.
    ///
    /// # Errors
    /// [`Error::File`] for a CLIP that has changed since; [`Error::Request`] for one of another width, or none at all.
    pub(super) fn open(
        channels: Channels,
        models_dir: Option<&Path>,
        device: Device,
    ) -> Result<Self> {
        if channels.responses.is_empty() {
            return Err(Error::request("no CLIP watched the channels", "measure them again"));
        }
        let mut clips = Vec::new();
        for (witness, table) in &channels.responses {
            let path = builtin::resolve_clip(&witness.name, models_dir)?;
            let (clip, origin) = models::open_clip(&path, Kind::Float, device)?;
            if !witness.sha256.is_empty() && origin.sha256 != witness.sha256 {
                return Err(Error::file_hint(
                    &path,
                    "is not the file that the channels were measured with",
                    "put the earlier file back, or measure the channels again",
                ));
            }
            if table.size()[1] != clip.embed_dim() {
                return Err(Error::request(
                    format!(
                        "the responses have {} numbers a channel, `{}` has {} features",
                        table.size()[1],
                        witness.name,
                        clip.embed_dim()
                    ),
                    "name the CLIP that the tables were made with: StyleCLIP's is ViT-B/32",
                ));
            }
            clips.push(clip);
        }
        Ok(Self { channels, clips })
    }

    /// responses · Δt of every channel, the weighted mean over the CLIPs: `[channels]`. Warns of words that they have
    /// never read.
    ///
    /// # Errors
    /// As [`text_step`].
    pub(super) fn relevance(
        &self,
        neutral: &str,
        target: &str,
        printer: &Printer,
    ) -> Result<Tensor> {
        let watched = || self.channels.responses.iter().zip(&self.clips);
        let guides: Vec<_> = watched()
            .filter_map(|((w, _), clip)| Some((w.name.clone(), clip.vocabulary()?.clone())))
            .collect();
        for (role, phrase) in [("neutral text", neutral), ("target", target)] {
            if let Some(warning) = unread::warning(role, phrase, &guides) {
                printer.warn(&warning);
            }
        }
        let shares = watched().map(|((witness, table), clip)| {
            let step = text_step(clip, neutral, target)?.to_device(Device::Cpu);
            let share = table.to_kind(Kind::Double).matmul(&step.to_kind(Kind::Double).tr());
            Ok(share.squeeze_dim(1) * witness.weight)
        });
        let shares = shares.collect::<Result<Vec<_>>>()?;
        let sum = shares.into_iter().reduce(|a, b| a + b).expect("`open` wants a CLIP");
        let weights: f64 = watched().map(|((witness, _), _)| witness.weight).sum();
        Ok(sum / weights)
    }

    /// The edit of a relevance that reaches β.
    ///
    /// # Errors
    /// As [`GlobalDirection::new`].
    pub(super) fn direction(
        &self,
        relevance: &Tensor,
        beta: f64,
        config: &Config,
    ) -> Result<GlobalDirection> {
        GlobalDirection::new(relevance, &self.channels.statistics, config, beta)
    }
}

/// The β that leaves the `keep` most relevant channels.
pub(super) fn beta_of(relevance: &Tensor, keep: i64) -> f64 {
    let (sorted, _) = relevance.abs().sort(0, true);
    sorted.double_value(&[keep.min(sorted.size()[0]) - 1])
}
