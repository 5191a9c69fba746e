//! Built-in defaults < preset < configuration file < flags, remembering where each value came from.

use super::Config;
use crate::error::{Error, Result, near_names};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// The configuration of an adaptation under construction.
pub type Layered = Layers<Config>;

/// A configuration `C` under construction: a tree of values and, for each leaf, who set it.
#[derive(Debug)]
pub struct Layers<C> {
    tree: Value,
    origins: BTreeMap<String, String>,
    schema: PhantomData<C>,
}

impl<C: Default + Serialize> Default for Layers<C> {
    fn default() -> Self {
        let tree = serde_yaml::to_value(C::default()).expect("the defaults are plain data");
        Self { tree, origins: BTreeMap::new(), schema: PhantomData }
    }
}

impl<C: DeserializeOwned> Layers<C> {
    /// Lays a YAML text over what is there. `origin` is how messages and `--print-config` call it.
    ///
    /// # Errors
    /// [`Error::Config`] for unknown keys (near names offered) and wrong types, with line and column.
    pub fn overlay_yaml(&mut self, text: &str, origin: &str) -> Result<()> {
        // Read once as the whole schema: this alone knows lines and columns.
        serde_yaml::from_str::<C>(text).map_err(|e| yaml_error(origin, &e))?;
        let value: Value = serde_yaml::from_str(text).map_err(|e| yaml_error(origin, &e))?;
        self.merge(value, origin);
        Ok(())
    }

    /// Sets one value by its key path (`train.lr`).
    ///
    /// # Panics
    /// When the path is not part of the schema: paths are literals of this program.
    pub fn set(&mut self, path: &str, value: impl Into<Value>, origin: &str) {
        let mut tree = value.into();
        for key in path.rsplit('.') {
            tree = Value::Mapping(Mapping::from_iter([(Value::from(key), tree)]));
        }
        self.merge(tree, origin);
    }

    /// [`Layers::set`], if there is a value.
    pub fn set_given(&mut self, path: &str, value: Option<impl Into<Value>>, origin: &str) {
        if let Some(value) = value {
            self.set(path, value, origin);
        }
    }

    /// The resolved configuration (not yet validated).
    ///
    /// # Errors
    /// [`Error::Config`] when a value has the wrong type.
    pub fn resolve(&self) -> Result<C> {
        serde_yaml::from_value(self.tree.clone()).map_err(|e| yaml_error("the configuration", &e))
    }

    /// The resolved configuration as YAML, every line with the origin of its value.
    pub fn annotated(&self) -> String {
        let mut lines = Vec::new();
        self.write(&self.tree, "", 0, &mut lines);
        let width = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or(0).min(48);
        lines
            .into_iter()
            .map(|(text, origin)| match origin {
                Some(origin) => format!("{text:<width$}  # {origin}\n"),
                None => format!("{text}\n"),
            })
            .collect()
    }

    fn merge(&mut self, overlay: Value, origin: &str) {
        merge(&mut self.tree, overlay, "", origin, &mut self.origins);
    }

    fn origin(&self, path: &str) -> String {
        self.origins.get(path).cloned().unwrap_or_else(|| "default".into())
    }

    fn write(
        &self,
        value: &Value,
        path: &str,
        depth: usize,
        lines: &mut Vec<(String, Option<String>)>,
    ) {
        let Value::Mapping(map) = value else { return };
        let indent = "  ".repeat(depth);
        for (key, value) in map {
            let key = key.as_str().unwrap_or("?");
            let full = join(path, key);
            if let Value::Mapping(_) = value {
                lines.push((format!("{indent}{key}:"), None));
                self.write(value, &full, depth + 1, lines);
            } else {
                // JSON is YAML: one line for lists and quoted strings.
                let text = serde_json::to_string(value).unwrap_or_default();
                lines.push((format!("{indent}{key}: {text}"), Some(self.origin(&full))));
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn merge(
    base: &mut Value,
    overlay: Value,
    path: &str,
    origin: &str,
    origins: &mut BTreeMap<String, String>,
) {
    match (base, overlay) {
        (Value::Mapping(base), Value::Mapping(overlay)) => {
            for (key, value) in overlay {
                let full = join(path, key.as_str().unwrap_or("?"));
                match base.get_mut(&key) {
                    Some(slot) => merge(slot, value, &full, origin, origins),
                    None => {
                        origins.insert(full, origin.to_owned());
                        base.insert(key, value);
                    }
                }
            }
        }
        // An empty section (`train:` with nothing below) changes nothing.
        (Value::Mapping(_), Value::Null) => {}
        (base, value) => {
            origins.insert(path.to_owned(), origin.to_owned());
            *base = value;
        }
    }
}

fn yaml_error(origin: &str, error: &serde_yaml::Error) -> Error {
    let mut message = error.to_string();
    // "unknown field `learning_rate`, expected one of `iterations`, `batch`, …"
    if let Some((_, rest)) = message.split_once("unknown field `")
        && let Some((unknown, known)) = rest.split_once('`')
    {
        let near = near_names(unknown, known.split('`').skip(1).step_by(2));
        if !near.is_empty() {
            message = format!("{message}; did you mean `{}`?", near.join("` or `"));
        }
    }
    Error::Config { origin: origin.to_owned(), problems: vec![message] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LayerSet, NamedSet};
    use proptest::prelude::*;

    #[test]
    fn later_layers_win_and_say_so() {
        let mut layered = Layered::default();
        layered
            .overlay_yaml(
                "train: {lr: 0.001, batch: 4}\nlayers: {choose: adaptive}",
                "preset sketch",
            )
            .unwrap();
        layered.set("train.lr", 0.005, "--lr");
        let config = layered.resolve().unwrap();
        assert_eq!((config.train.lr, config.train.batch), (0.005, 4));
        assert_eq!(config.layers.choose, LayerSet::Named(NamedSet::Adaptive));
        let text = layered.annotated();
        assert!(text.lines().any(|l| l.contains("lr: 0.005") && l.ends_with("# --lr")), "{text}");
        assert!(
            text.lines().any(|l| l.contains("batch: 4") && l.ends_with("# preset sketch")),
            "{text}"
        );
        assert!(text.lines().any(|l| l.contains("mixing") && l.ends_with("# default")), "{text}");
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let mut layered = Layered::default();
        layered.set("target", "caf\u{e9} \"x\": y", "--target");
        let mut again = Layered::default();
        again.overlay_yaml(&layered.annotated(), "file").unwrap();
        assert_eq!(again.resolve().unwrap(), layered.resolve().unwrap());
    }

    #[test]
    fn an_unknown_key_has_its_place_and_near_names() {
        let e = Layered::default()
            .overlay_yaml("train:\n  iteration: 3\n", "my.yaml")
            .unwrap_err()
            .to_string();
        assert!(e.contains("my.yaml") && e.contains("line 2 column 3"), "{e}");
        assert!(e.contains("did you mean `iterations`?"), "{e}");
    }

    proptest! {
        #[test]
        fn the_last_of_any_layers_wins(values in proptest::collection::vec(1u64..1000, 1..6)) {
            let mut layered = Layered::default();
            for v in &values {
                layered.overlay_yaml(&format!("train: {{iterations: {v}}}"), "layer").unwrap();
            }
            prop_assert_eq!(layered.resolve().unwrap().train.iterations, *values.last().unwrap());
        }

        #[test]
        fn any_text_is_an_error_or_a_configuration(text in ".{0,200}") {
            let _ = Layered::default().overlay_yaml(&text, "noise");
        }
    }
}
