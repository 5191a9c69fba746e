//! Which network has such names: a few telling ones decide, so that a file with a missing tensor is still told.

use super::{Network, clip, foreign, nvidia, tensorflow};
use std::collections::BTreeSet;

/// Names that a network of ours may be told by: whole ones.
const WHOLE: [&str; 11] = [
    "conv1.conv.modulation.weight",
    "to_rgb1.conv.weight",
    "input.input",
    "final_linear.0.weight",
    "final_conv.0.weight",
    "b4.out.weight",
    "b4.fc.weight",
    "4x4.Dense0.weight",
    "Output.weight",
    "visual.conv1.weight",
    "token_embedding.weight",
];

/// Beginnings of such names.
const BEGINNINGS: [&str; 11] = [
    "synthesis.",
    "mapping.",
    "styles.",
    "output_layer.",
    "course_mapping.",
    "medium_mapping.",
    "fine_mapping.",
    "mapper_0.",
    "vision_model.",
    "text_model.",
    "text.token_embedding.",
];

/// Whether a network's own names may begin here: what stands before this is its prefix then.
pub(super) fn may_begin(name: &str) -> bool {
    BEGINNINGS.iter().any(|start| name.starts_with(start)) || WHOLE.contains(&name)
}

/// The network that has such names, if one is known.
pub(super) fn network(names: &BTreeSet<&str>) -> Option<Network> {
    let has = |name: &str| names.contains(name);
    let any = |start: &str| begins(names, start);
    let unknown = |what: &str| Some(Network::Unknown(what.to_owned()));
    if let Some(relative) = foreign::relative(names) {
        unknown(&foreign::sentence(relative))
    } else if any("output_layer.") && any("input_layer.") {
        unknown("a network that recognises faces (ArcFace), which is no encoder")
    } else if any("styles.") && any("body.") {
        Some(Network::Encoder)
    } else if any("course_mapping.")
        || any("medium_mapping.")
        || any("fine_mapping.")
        || any("mapper_0.")
    {
        Some(Network::Mapper)
    } else if nvidia::is_discriminator(names) || tensorflow::is_discriminator(names) {
        Some(Network::Discriminator)
    } else if has("conv1.conv.modulation.weight")
        || has("to_rgb1.conv.weight")
        || has("input.input")
        || nvidia::is_generator(names)
    {
        Some(Network::Generator)
    } else if let Some(older) = tensorflow::older(names) {
        unknown(older)
    } else if tensorflow::is_generator(names) {
        Some(Network::Generator)
    } else if has("final_linear.0.weight") || has("final_conv.0.weight") {
        Some(Network::Discriminator)
    } else if has("visual.conv1.weight")
        || (has("token_embedding.weight") && has("text_projection"))
        || clip::is_hugging_face(names)
    {
        Some(Network::Clip)
    } else if clip::towers(names) {
        unknown("a network of two towers that is no CLIP (SigLIP, perhaps), which is not supported")
    } else {
        None
    }
}

/// Whether a network has all its halves, so that it is one by itself wherever it lies.
pub(super) fn is_complete(network: &Network, names: &BTreeSet<&str>) -> bool {
    let has = |name: &str| names.contains(name);
    let any = |start: &str| begins(names, start);
    match network {
        Network::Generator => {
            (has("input.input") && has("conv1.conv.weight") && any("style."))
                || (any("mapping.") && (any("synthesis.b4.") || any("synthesis.4x4.")))
        }
        Network::Clip => {
            (has("visual.conv1.weight")
                && (any("token_embedding.") || any("text.token_embedding.")))
                || (any("vision_model.") && any("text_model."))
        }
        Network::Encoder => any("input_layer."),
        Network::Mapper => true,
        Network::Discriminator => has("final_linear.1.weight") || !has("final_linear.0.weight"),
        Network::Unknown(_) => false,
    }
}

pub(super) fn begins(names: &BTreeSet<&str>, start: &str) -> bool {
    names.range(start..).next().is_some_and(|name| name.starts_with(start))
}
