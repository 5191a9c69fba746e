//! StyleCLIP's global directions: an edit in StyleSpace from two phrases, without any training.
//!
//! ```text
//! once per generator:  many z ─► S codes ─► mean and spread of every channel          [statistics]
//!                      each channel to mean ± 5 spreads ─► images ─► CLIP ─► response  [response]
//! per edit, at once:   response · Δtext ─► relevance; below β nothing; × spread ─► s + α·δs  [direction]
//! ```
//! Facts: StyleCLIP `global_directions` (reference §5.1 C); golden `styleclip/global`. The original measures a channel at
//! a time through the whole network, which takes hours; here a layer's channels go in batches from that layer on,
//! because nothing before it changes.

mod direction;
mod response;
mod statistics;

pub use direction::{GlobalDirection, ThresholdNote, text_step};
pub use response::{ChannelView, Measurement, Progress, Settings as ResponseSettings};
pub use statistics::{Statistics, sampled_styles};

use crate::stylegan2::{Config, LayerId};

/// The styled layers of a generator and the width of their style codes, in the order of synthesis, colours included.
pub fn layout(config: &Config) -> Vec<(LayerId, i64)> {
    let width = |layer| config.layer_channels(layer).map(|(inputs, _)| (layer, inputs));
    config.layers().into_iter().filter_map(width).collect()
}

/// The number of channels that directions are made of: those of the convolutions.
pub fn channel_count(config: &Config) -> i64 {
    layout(config).iter().filter(|(layer, _)| layer.is_conv()).map(|(_, width)| width).sum()
}
