//! The facts of a network, from the shapes of its tensors.

use super::Facts;
use crate::checkpoint::{Address, Checkpoint, Contents, Named, Part};
use crate::clip;
use crate::error::{Error, Result};
use crate::invert;
use crate::models;
use crate::stylegan2::{self, LayerId};
use crate::torch::ShapeMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// The facts of a network, or what keeps it from being one: both are answers.
pub(super) fn or_problems<N>(named: Result<N>, facts: impl FnOnce(&N) -> Result<Facts>) -> Facts {
    named.and_then(|named| facts(&named)).unwrap_or_else(|error| {
        let problems = match error {
            Error::Tensors { problems, .. } => problems,
            other => vec![other.to_string()],
        };
        vec![("problems", json!(problems))]
    })
}

/// The networks of a file, and how each is asked for.
pub(super) fn part_facts(path: &Path, contents: &Contents) -> Value {
    let file = Address::of(path).file;
    let part = |part: &Part| {
        json!({
            "name": format!("{}#{}", file.display(), part.name),
            "network": part.network.to_string(),
            "tensors": part.tensors,
        })
    };
    contents.parts.iter().map(part).collect()
}

pub(super) fn generator_facts(named: &Named) -> Result<Facts> {
    let config = models::generator_config(named)?;
    shape_facts(config, &shapes(named))
}

/// The facts of a generator with tensors of these shapes.
pub(super) fn shape_facts(config: stylegan2::Config, shapes: &ShapeMap) -> Result<Facts> {
    let blocks = config.channels.iter().enumerate();
    let channels: Vec<Value> = blocks
        .map(|(b, c)| json!({ "resolution": config.block_resolution(b), "channels": c }))
        .collect();
    let layers: Vec<Value> = config
        .layers()
        .into_iter()
        .map(|layer| {
            let own = shapes.iter().filter(|(name, _)| LayerId::of_parameter(name) == Some(layer));
            let parameters: i64 = own
                .filter(|(name, _)| !name.ends_with(".kernel"))
                .map(|(_, shape)| shape.iter().product::<i64>())
                .sum();
            json!({ "name": layer.to_string(), "style": layer.style_index(), "parameters": parameters })
        })
        .collect();
    let needed = config.parameter_shapes();
    let missing = faults(&needed, shapes);
    let noises = shapes.keys().filter(|name| name.starts_with("noises.")).count();
    let mut facts: Facts = vec![
        ("network", json!("generator")),
        ("resolution", json!(config.resolution)),
        ("image", json!([config.image_channels, config.image_size()[0], config.image_size()[1]])),
        ("style_inputs", json!(config.num_styles())),
        ("style_dim", json!(config.style_dim)),
        ("z_dim", json!(config.z_dim)),
        ("mapping_layers", json!(config.mapping_layers)),
        ("mapping_width", json!(config.mapping_width)),
        ("classes", json!(config.classes)),
        ("channels", json!(channels)),
        ("parameters", json!(count(&needed))),
        ("latent_avg", json!(shapes.contains_key("latent_avg"))),
        ("noise_buffers", json!(noises)),
        ("layers", json!(layers)),
    ];
    facts.extend(config.conv_clamp.map(|clamp| ("conv_clamp", json!(clamp))));
    if !missing.is_empty() {
        facts.push(("problems", json!(missing)));
    }
    Ok(facts)
}

pub(super) fn clip_facts(file: &Checkpoint, named: &Named) -> Result<Facts> {
    let shapes = models::clip_shapes(named)?;
    let (config, note) = models::clip_config(file, &mut named.clone())?;
    let vision = match &config.vision {
        clip::VisionConfig::Vit(v) => json!({
            "kind": "vision transformer", "resolution": v.resolution, "patch": v.patch, "width": v.width,
            "layers": v.layers
        }),
        clip::VisionConfig::ResNet(r) => json!({
            "kind": "ResNet", "resolution": r.resolution, "width": r.width, "blocks": r.blocks
        }),
    };
    let t = &config.text;
    let needed = config.shapes();
    let mut problems = faults(&needed, &shapes);
    let known = models::vocabulary(named).unwrap_or_else(|error| {
        problems.push(error.to_string());
        None
    });
    let mut facts: Facts = vec![
        ("network", json!("clip")),
        ("resolution", json!(config.resolution())),
        ("features", json!(config.embed_dim)),
        ("image_tower", vision),
        ("text_tower", json!({ "width": t.width, "layers": t.layers, "context": t.context })),
        ("vocabulary", json!(t.vocab)),
        ("activation", json!(config.activation.shown())),
        ("parameters", json!(count(&needed))),
    ];
    if let Some(note) = note {
        facts.push(("note", json!(note)));
    }
    if let Some(known) = known {
        facts.push(("words", json!(known.words().len())));
        facts.push(("phrases", json!(known.groups())));
    }
    if !problems.is_empty() {
        facts.push(("problems", json!(problems)));
    }
    Ok(facts)
}

/// What an encoder takes, and what it gives.
pub(super) fn encoder_facts((named, options): &(Named, BTreeMap<String, String>)) -> Result<Facts> {
    let shapes = shapes(named);
    let config = invert::Config::infer(&shapes, &invert::Facts::read(options))?;
    let needed = config.shapes();
    let takes = match (config.channels, config.is_iterative()) {
        (_, true) => "a photo and its own last result".to_owned(),
        (3, _) => "a photo".to_owned(),
        (1, _) => "a sketch".to_owned(),
        (labels, _) => format!("a mask of {labels} labels"),
    };
    let gives = match config.flavour {
        invert::Flavour::Codes => "a code for each style input",
        invert::Flavour::Deltas => "a code, and each style input's difference to it",
        invert::Flavour::SingleCode => "one code for all style inputs",
    };
    let mut facts: Facts = vec![
        ("network", json!("encoder")),
        ("takes", json!(takes)),
        ("width", json!(config.width)),
        ("height", json!(config.height)),
        ("gives", json!(gives)),
        ("style_inputs", json!(config.codes)),
        ("style_dim", json!(config.style_dim)),
        ("parameters", json!(count(&needed))),
    ];
    facts.extend(config.rounds.map(|rounds| ("rounds", json!(rounds))));
    let problems = faults(&needed, &shapes);
    if !problems.is_empty() {
        facts.push(("problems", json!(problems)));
    }
    Ok(facts)
}

fn shapes(named: &Named) -> ShapeMap {
    named.entries.iter().map(|(name, entry)| (name.clone(), entry.shape().to_vec())).collect()
}

fn count(shapes: &ShapeMap) -> i64 {
    shapes.values().map(|shape| shape.iter().product::<i64>()).sum()
}

/// What keeps a network from being complete.
fn faults(needed: &ShapeMap, found: &ShapeMap) -> Vec<String> {
    let fault = |(name, shape): (&String, &Vec<i64>)| match found.get(name) {
        Some(same) if same == shape => None,
        Some(other) => Some(format!("`{name}` has shape {other:?}, expected {shape:?}")),
        None => Some(format!("`{name}` is missing")),
    };
    needed.iter().filter_map(fault).collect()
}
