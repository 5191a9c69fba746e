//! What no shape tells about a CLIP: its activation and its heads, as the small JSON files beside published weights
//! state them.
//!
//! It matters: LAION's and OpenAI's ViT-B/32 have tensors of the same names and shapes, but one computes with GELU and
//! the other with QuickGELU. With the wrong one nothing fails and every score is off.

use serde_json::Value;
use std::collections::BTreeMap;

/// The function between the two layers of a perceptron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// `x·σ(1.702 x)`: OpenAI's, and models trained from them.
    #[default]
    QuickGelu,
    /// `x·Φ(x)`: most of open_clip's, LAION's and DataComp's among them.
    Gelu,
}

impl Activation {
    /// Its name in Hugging Face's configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuickGelu => "quick_gelu",
            Self::Gelu => "gelu",
        }
    }

    /// Its name in messages.
    pub fn shown(self) -> &'static str {
        match self {
            Self::QuickGelu => "QuickGELU",
            Self::Gelu => "GELU",
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        [Self::QuickGelu, Self::Gelu]
            .into_iter()
            .find(|activation| activation.name() == name)
            .ok_or_else(|| format!("the activation {name:?} is not supported (quick_gelu, gelu)"))
    }
}

/// What was stated; what was not stays as in OpenAI's models: QuickGELU, heads 64 wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// The activation of both towers.
    pub activation: Option<Activation>,
    /// Heads of each block of the vision transformer.
    pub vision_heads: Option<i64>,
    /// Heads of each block of the text transformer.
    pub text_heads: Option<i64>,
}

/// Keys under which a converted file keeps its traits in its metadata.
const ACTIVATION_KEY: &str = "clip.activation";
const VISION_HEADS_KEY: &str = "clip.vision_heads";
const TEXT_HEADS_KEY: &str = "clip.text_heads";

impl Traits {
    /// Reads Hugging Face's `config.json` or open_clip's `open_clip_config.json`; `None` when it is about something
    /// other than a CLIP.
    ///
    /// # Errors
    /// Says in words what it states that is not supported, or why it is no JSON.
    pub fn from_json(text: &str) -> Result<Option<Self>, String> {
        let json: Value = serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}"))?;
        if let Some(model) = json.get("model_cfg") {
            return open_clip(model).map(Some);
        }
        match (json.get("text_config"), json.get("vision_config")) {
            (Some(text), Some(vision)) => hugging_face(text, vision).map(Some),
            _ => Ok(None),
        }
    }

    /// What a file says in its own metadata.
    ///
    /// # Errors
    /// Says which value cannot be.
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, String> {
        let heads = |key: &str| {
            let bad = |text: &String| format!("`{key}` is {text:?}, a number of heads is expected");
            metadata.get(key).map(|text| text.parse().map_err(|_| bad(text))).transpose()
        };
        Ok(Self {
            activation: metadata.get(ACTIVATION_KEY).map(|n| Activation::named(n)).transpose()?,
            vision_heads: heads(VISION_HEADS_KEY)?,
            text_heads: heads(TEXT_HEADS_KEY)?,
        })
    }

    /// The metadata that [`Traits::from_metadata`] reads; nothing for what was not stated.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let pairs = [
            (ACTIVATION_KEY, self.activation.map(|a| a.name().to_owned())),
            (VISION_HEADS_KEY, self.vision_heads.map(|n| n.to_string())),
            (TEXT_HEADS_KEY, self.text_heads.map(|n| n.to_string())),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// These, and `other` where these say nothing.
    pub fn or(self, other: Self) -> Self {
        Self {
            activation: self.activation.or(other.activation),
            vision_heads: self.vision_heads.or(other.vision_heads),
            text_heads: self.text_heads.or(other.text_heads),
        }
    }
}

/// `CLIPConfig` of transformers: what it leaves out is as in ViT-B/32.
fn hugging_face(text: &Value, vision: &Value) -> Result<Traits, String> {
    let activation = |tower: &Value| {
        Activation::named(tower.get("hidden_act").and_then(Value::as_str).unwrap_or("quick_gelu"))
    };
    let (first, second) = (activation(text)?, activation(vision)?);
    if first != second {
        return Err(format!(
            "its towers have different activations ({} and {}), which is not supported",
            first.name(),
            second.name()
        ));
    }
    let heads = |tower: &Value| tower.get("num_attention_heads").and_then(Value::as_i64);
    Ok(Traits { activation: Some(first), vision_heads: heads(vision), text_heads: heads(text) })
}

/// `model_cfg` of open_clip: GELU unless it says `quick_gelu`, heads 64 wide unless it says `head_width`.
fn open_clip(model: &Value) -> Result<Traits, String> {
    let quick = model.get("quick_gelu").and_then(Value::as_bool).unwrap_or(false);
    let number = |group: &str, key: &str| model.get(group)?.get(key)?.as_i64();
    let vision_heads = match (number("vision_cfg", "width"), number("vision_cfg", "head_width")) {
        (_, Some(head)) if head < 1 => return Err(format!("`head_width` is {head}")),
        (Some(width), Some(head)) => Some(width / head),
        _ => None,
    };
    Ok(Traits {
        activation: Some(if quick { Activation::QuickGelu } else { Activation::Gelu }),
        vision_heads,
        text_heads: number("text_cfg", "heads"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Traits {
        Traits::from_json(json).unwrap().unwrap()
    }

    #[test]
    fn hugging_faces_configuration_is_read_with_its_defaults() {
        let openai = r#"{"text_config": {"num_attention_heads": 8}, "vision_config": {"num_attention_heads": 12}}"#;
        let want = Traits {
            activation: Some(Activation::QuickGelu),
            vision_heads: Some(12),
            text_heads: Some(8),
        };
        assert_eq!(read(openai), want);
        let laion =
            r#"{"text_config": {"hidden_act": "gelu"}, "vision_config": {"hidden_act": "gelu"}}"#;
        assert_eq!(read(laion).activation, Some(Activation::Gelu));
        let mixed = r#"{"text_config": {"hidden_act": "gelu"}, "vision_config": {}}"#;
        assert!(Traits::from_json(mixed).unwrap_err().contains("different activations"));
        let odd = r#"{"text_config": {"hidden_act": "swish"}, "vision_config": {}}"#;
        assert!(Traits::from_json(odd).unwrap_err().contains("swish"));
    }

    #[test]
    fn open_clips_configuration_is_read_with_its_defaults() {
        let giant = r#"{"model_cfg": {"vision_cfg": {"width": 1408, "head_width": 88}, "text_cfg": {"heads": 16}}}"#;
        let want = Traits {
            activation: Some(Activation::Gelu),
            vision_heads: Some(16),
            text_heads: Some(16),
        };
        assert_eq!(read(giant), want);
        let quick = r#"{"model_cfg": {"quick_gelu": true, "vision_cfg": {"width": 768}}}"#;
        let want = Traits { activation: Some(Activation::QuickGelu), ..Traits::default() };
        assert_eq!(read(quick), want);
        assert!(
            Traits::from_json(r#"{"model_cfg": {"vision_cfg": {"width": 8, "head_width": 0}}}"#)
                .is_err()
        );
    }

    #[test]
    fn other_json_is_none_and_broken_json_is_an_error() {
        assert_eq!(Traits::from_json(r#"{"model_type": "bert"}"#), Ok(None));
        assert!(Traits::from_json("{").unwrap_err().contains("no JSON"));
    }

    #[test]
    fn metadata_say_what_was_stated_and_no_more() {
        let traits = Traits { activation: Some(Activation::Gelu), ..Traits::default() };
        assert_eq!(traits.metadata().len(), 1);
        assert_eq!(Traits::from_metadata(&traits.metadata()), Ok(traits));
        let bad = BTreeMap::from([(TEXT_HEADS_KEY.to_owned(), "many".to_owned())]);
        assert!(Traits::from_metadata(&bad).unwrap_err().contains("many"));
    }
}
