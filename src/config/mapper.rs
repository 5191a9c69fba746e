//! What the run of a latent mapper is: plain data, as [`super::Config`] is for an adaptation.
//!
//! The defaults are those of rinongal/StyleGAN-nada's mapper (reference §1.7).

use super::{Augment, ClipModel, ClipResize, Output, Parity, SCHEMA};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that decides the result of `nada mapper`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MapperConfig {
    /// Version of this schema.
    pub schema: u32,
    /// Tells the run of a mapper from that of an adaptation.
    pub run: RunKind,
    /// One line for people.
    pub about: String,
    /// Generator whose codes are moved: a shipped name, a file, or the folder of a run.
    pub generator: String,
    /// The class that a conditional generator draws; unset for generators without classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
    /// The CLIP models that guide, each with its weight in the sum of losses.
    pub clip: Vec<ClipModel>,
    /// CLIP models that judge the result; those that guide if there is none.
    pub judge: Vec<String>,
    /// ArcFace's weights for the identity loss (`model_ir_se50.pth`); without them there is none.
    pub arcface: Option<PathBuf>,
    /// What the images must not be taken for, in words: what leaks.
    pub source: String,
    /// What the images shall show, in words.
    pub target: String,
    /// Every random number follows from it.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda[:N]` or `mps`.
    pub device: String,
    /// CPU threads of one operation; 0 lets libtorch choose.
    pub threads: usize,
    /// `original`: codes normalised across layers, images shown to CLIP without its mean and deviation, norms of the
    /// first CLIP only; what the published code does.
    pub parity: Parity,
    /// Which style inputs are moved.
    pub levels: Levels,
    /// s in ŵ = w + s·M(w).
    pub strength: f64,
    /// The training itself.
    pub train: MapperTrain,
    /// Weights of the losses.
    pub losses: MapperLosses,
    /// Random changes shown to CLIP, the same before and after.
    pub augment: Augment,
    /// What is written, and how often.
    pub output: Output,
}

impl Default for MapperConfig {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            run: RunKind::Mapper,
            about: String::new(),
            generator: super::GENERATOR.into(),
            class: None,
            clip: super::Config::default().clip,
            judge: Vec::new(),
            arcface: None,
            source: "photo".into(),
            target: String::new(),
            seed: 0,
            device: "auto".into(),
            threads: 0,
            parity: Parity::None,
            levels: Levels::default(),
            strength: 0.1,
            train: MapperTrain::default(),
            losses: MapperLosses::default(),
            augment: Augment::default(),
            output: Output { sample_every: 2000, snapshot_every: 2000, ..Output::default() },
        }
    }
}

/// The one kind of run that this schema describes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// A latent mapper.
    #[default]
    Mapper,
}

/// Which style inputs a mapper moves. Levels that a small generator does not have are left out by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Levels {
    /// Style inputs 0 to 3: pose, shape of the head.
    pub coarse: bool,
    /// Style inputs 4 to 7: features, hair.
    pub medium: bool,
    /// Style inputs from 8: colours and fine detail.
    pub fine: bool,
}

impl Default for Levels {
    fn default() -> Self {
        Self { coarse: true, medium: true, fine: true }
    }
}

/// How long and how fast to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MapperTrain {
    /// Number of updates.
    pub iterations: u64,
    /// Codes per update.
    pub batch: i64,
    /// Learning rate. The network's weights are stored times 100, as those of StyleGAN2's mapping: hence the size.
    pub lr: f64,
    /// Which optimiser.
    pub optimiser: OptimiserKind,
    /// Truncation ψ of the training codes.
    pub truncation: f64,
    /// How images are resized for CLIP.
    pub clip_resize: ClipResize,
}

impl Default for MapperTrain {
    fn default() -> Self {
        Self {
            iterations: 50_000,
            batch: 2,
            lr: 0.5,
            optimiser: OptimiserKind::Ranger,
            truncation: 0.7,
            clip_resize: ClipResize::Antialias,
        }
    }
}

/// The optimisers of a mapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserKind {
    /// Rectified Adam with Lookahead, as the original.
    Ranger,
    /// Adam with β 0.9 and 0.999.
    Adam,
}

/// Weights of a mapper's losses; what weighs 0 is not computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MapperLosses {
    /// 1 − cos(image, text), scaled as CLIP's logits.
    pub clip: f64,
    /// (‖CLIP(x̂)‖ − ‖CLIP(x)‖)² of raw embeddings: against artefacts. 0 in StyleCLIP.
    pub norm: f64,
    /// (ŵ − w)²: against changes that nobody asked for.
    pub l2: f64,
    /// 1 − cos of ArcFace's features; needs `arcface`.
    pub identity: f64,
}

impl Default for MapperLosses {
    fn default() -> Self {
        Self { clip: 1.0, norm: 0.5, l2: 0.8, identity: 0.1 }
    }
}

impl MapperConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Config`] that lists all faults with the key path of each.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        let mut rule = |holds: bool, message: &dyn Fn() -> String| {
            if !holds {
                problems.push(message());
            }
        };
        let (t, l, o) = (&self.train, &self.losses, &self.output);
        rule(self.schema == SCHEMA, &|| {
            format!("`schema` is {}, this version reads {SCHEMA}", self.schema)
        });
        rule(!self.target.trim().is_empty(), &|| {
            "`target` is empty: say what the images shall show, such as `--target sketch`".into()
        });
        rule(!self.source.trim().is_empty(), &|| {
            "`source` is empty: say what leaks, such as `--source photo`".into()
        });
        let same = self.source.trim().eq_ignore_ascii_case(self.target.trim());
        rule(!same || self.source.trim().is_empty(), &|| {
            format!("`source` and `target` are both \"{}\"", self.target.trim())
        });
        rule(!self.clip.is_empty(), &|| {
            "`clip` is empty: at least one CLIP model must guide".into()
        });
        for c in &self.clip {
            rule(c.weight.is_finite() && c.weight > 0.0, &|| {
                format!("`clip`: the weight of `{}` must be above 0", c.model)
            });
        }
        let levels = self.levels;
        rule(levels.coarse || levels.medium || levels.fine, &|| {
            "`levels`: all are off, nothing would be moved".into()
        });
        rule(self.strength.is_finite() && self.strength > 0.0 && self.strength <= 10.0, &|| {
            format!("`strength` is {}, expected above 0, up to 10", self.strength)
        });
        rule(t.iterations >= 1, &|| "`train.iterations` must be at least 1".into());
        rule((1..=1024).contains(&t.batch), &|| {
            format!("`train.batch` is {}, expected 1 to 1024", t.batch)
        });
        rule(t.lr.is_finite() && t.lr > 0.0, &|| {
            format!("`train.lr` is {}, expected above 0", t.lr)
        });
        rule((0.0..=2.0).contains(&t.truncation), &|| {
            format!("`train.truncation` is {}, expected 0 to 2", t.truncation)
        });
        for (name, weight) in
            [("clip", l.clip), ("norm", l.norm), ("l2", l.l2), ("identity", l.identity)]
        {
            rule(weight.is_finite() && weight >= 0.0, &|| {
                format!("`losses.{name}` is {weight}, expected 0 or more")
            });
        }
        rule(l.clip > 0.0, &|| "`losses.clip` is 0: nothing would lead to the target".into());
        rule((0..=64).contains(&self.augment.copies), &|| {
            format!("`augment.copies` is {}, expected 0 to 64", self.augment.copies)
        });
        rule((1..=64).contains(&o.samples), &|| {
            format!("`output.samples` is {}, expected 1 to 64", o.samples)
        });
        rule(o.keep_snapshots >= 1, &|| "`output.keep_snapshots` must be at least 1".into());
        rule((0.0..=2.0).contains(&o.sample_truncation), &|| {
            format!("`output.sample_truncation` is {}, expected 0 to 2", o.sample_truncation)
        });
        if problems.is_empty() {
            return Ok(());
        }
        Err(Error::Config { origin: "this mapper cannot be trained".into(), problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_listed_at_once() {
        let config = MapperConfig {
            target: " ".into(),
            strength: f64::NAN,
            levels: Levels { coarse: false, medium: false, fine: false },
            losses: MapperLosses { clip: 0.0, norm: -1.0, ..MapperLosses::default() },
            train: MapperTrain { batch: 0, lr: 0.0, ..MapperTrain::default() },
            ..MapperConfig::default()
        };
        let text = config.validate().unwrap_err().to_string();
        for part in [
            "`target`",
            "`strength`",
            "`levels`",
            "losses.clip",
            "losses.norm",
            "batch",
            "`train.lr`",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(MapperConfig { target: "x".into(), ..MapperConfig::default() }.validate().is_ok());
    }
}
