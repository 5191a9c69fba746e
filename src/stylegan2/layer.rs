//! The names of a generator's layers, and which style input drives each.

use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// A layer of the generator, named as in rosinality's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerId {
    /// The mapping network, `style`.
    Mapping,
    /// The constant input, `input`.
    Constant,
    /// The convolution at 4 px, `conv1`.
    Conv1,
    /// The first ToRGB, `to_rgb1`.
    ToRgb1,
    /// `convs.N`: even numbers double the resolution.
    Conv(usize),
    /// `to_rgbs.N`: the ToRGB of resolution 8·2^N.
    ToRgb(usize),
}

impl LayerId {
    /// Index of the style code that drives the layer (reference §3.1): `conv1` ← 0, `to_rgb1` ← 1,
    /// `convs.i` ← i + 1, `to_rgbs.b` ← 2b + 3 (a ToRGB shares its code with the next block's first convolution).
    pub fn style_index(self) -> Option<i64> {
        match self {
            Self::Mapping | Self::Constant => None,
            Self::Conv1 => Some(0),
            Self::ToRgb1 => Some(1),
            Self::Conv(i) => Some(i as i64 + 1),
            Self::ToRgb(b) => Some(2 * b as i64 + 3),
        }
    }

    /// Whether the layer turns features into colours.
    pub fn is_to_rgb(self) -> bool {
        matches!(self, Self::ToRgb1 | Self::ToRgb(_))
    }

    /// Whether the layer is a styled 3×3 convolution.
    pub fn is_conv(self) -> bool {
        matches!(self, Self::Conv1 | Self::Conv(_))
    }

    /// Whether the parameter `name` belongs to this layer.
    pub fn owns(self, name: &str) -> bool {
        name.strip_prefix(&self.to_string()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The layer that owns the parameter `name`; `None` for buffers.
    pub fn of_parameter(name: &str) -> Option<Self> {
        let mut parts = name.splitn(3, '.');
        match (parts.next()?, parts.next()?) {
            ("convs", i) => i.parse().ok().map(Self::Conv),
            ("to_rgbs", b) => b.parse().ok().map(Self::ToRgb),
            ("style", _) => Some(Self::Mapping),
            ("input", _) => Some(Self::Constant),
            ("conv1", _) => Some(Self::Conv1),
            ("to_rgb1", _) => Some(Self::ToRgb1),
            _ => None,
        }
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapping => f.write_str("style"),
            Self::Constant => f.write_str("input"),
            Self::Conv1 => f.write_str("conv1"),
            Self::ToRgb1 => f.write_str("to_rgb1"),
            Self::Conv(i) => write!(f, "convs.{i}"),
            Self::ToRgb(b) => write!(f, "to_rgbs.{b}"),
        }
    }
}

impl FromStr for LayerId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let numbered = |prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse().ok());
        match name {
            "style" | "mapping" => Ok(Self::Mapping),
            "input" => Ok(Self::Constant),
            "conv1" => Ok(Self::Conv1),
            "to_rgb1" => Ok(Self::ToRgb1),
            _ => numbered("convs.")
                .map(Self::Conv)
                .or_else(|| numbered("to_rgbs.").map(Self::ToRgb))
                .ok_or_else(|| {
                    Error::request(
                        format!("`{name}` is no layer of a generator"),
                        "layers are called style, input, conv1, to_rgb1, convs.N and to_rgbs.N; `nada inspect` lists them",
                    )
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_own_their_parameters() {
        for layer in [
            LayerId::Mapping,
            LayerId::Constant,
            LayerId::ToRgb1,
            LayerId::Conv(11),
            LayerId::ToRgb(2),
        ] {
            assert_eq!(layer.to_string().parse::<LayerId>().unwrap(), layer);
        }
        assert!(LayerId::Conv(1).owns("convs.1.conv.weight"));
        assert!(!LayerId::Conv(1).owns("convs.11.conv.weight"));
        assert_eq!(LayerId::of_parameter("to_rgbs.3.bias"), Some(LayerId::ToRgb(3)));
        assert_eq!(LayerId::of_parameter("noises.noise_1"), None);
    }

    #[test]
    fn style_indices_follow_the_measured_routing() {
        // golden nada/layers.json, `latent_index_actually_drives`
        assert_eq!(LayerId::Conv(2).style_index(), LayerId::ToRgb(0).style_index());
        assert_eq!(LayerId::ToRgb(2).style_index(), Some(7));
    }
}
