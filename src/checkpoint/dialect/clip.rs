//! CLIP's names: Hugging Face's and open_clip's to OpenAI's (reference §2.7).

use super::super::Entry;
use std::collections::{BTreeMap, BTreeSet};

type Entries = BTreeMap<String, Entry>;

/// Whether such names are those of transformers' `CLIPModel`, or of one of its towers. SigLIP and others, which share
/// most of them, are not meant.
pub(super) fn is_hugging_face(names: &BTreeSet<&str>) -> bool {
    towers(names) && !names.contains("logit_bias") && !any(names, "vision_model.head.")
}

/// Whether such names are of the family of Hugging Face's two towers, whatever network they make.
pub(super) fn towers(names: &BTreeSet<&str>) -> bool {
    any(names, "vision_model.") || any(names, "text_model.")
}

fn any(names: &BTreeSet<&str>, start: &str) -> bool {
    names.range(start..).next().is_some_and(|name| name.starts_with(start))
}

/// The same tensors under OpenAI's names. What has no place there keeps its name.
///
/// # Errors
/// Says which tensor cannot be brought into OpenAI's form.
pub(super) fn canonical(entries: Entries) -> Result<Entries, String> {
    let names = entries.keys().map(String::as_str).collect();
    if is_hugging_face(&names) {
        return from_hugging_face(entries);
    }
    if names.contains("text.token_embedding.weight") {
        // open_clip's `custom_text` puts the text tower into a module of its own.
        let plain = |name: String| name.strip_prefix("text.").map_or(name.clone(), str::to_owned);
        return Ok(entries.into_iter().map(|(name, entry)| (plain(name), entry)).collect());
    }
    Ok(entries)
}

/// Names outside of the blocks.
const NAMES: &[(&str, &str)] = &[
    ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    // Their spelling.
    ("vision_model.pre_layrnorm.weight", "visual.ln_pre.weight"),
    ("vision_model.pre_layrnorm.bias", "visual.ln_pre.bias"),
    ("vision_model.post_layernorm.weight", "visual.ln_post.weight"),
    ("vision_model.post_layernorm.bias", "visual.ln_post.bias"),
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.weight", "ln_final.weight"),
    ("text_model.final_layer_norm.bias", "ln_final.bias"),
];

/// Projections, which Hugging Face stores as linear layers: turned around.
const TURNED: &[(&str, &str)] =
    &[("visual_projection.weight", "visual.proj"), ("text_projection.weight", "text_projection")];

/// Names within a block.
const BLOCK: &[(&str, &str)] = &[
    ("layer_norm1", "ln_1"),
    ("layer_norm2", "ln_2"),
    ("self_attn.out_proj", "attn.out_proj"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
];

fn from_hugging_face(mut entries: Entries) -> Result<Entries, String> {
    let mut found = Entries::new();
    for (theirs, ours) in NAMES {
        if let Some(entry) = entries.remove(*theirs) {
            found.insert((*ours).to_owned(), entry);
        }
    }
    for (theirs, ours) in TURNED {
        if let Some(entry) = entries.remove(*theirs) {
            let turned = entry.permuted(&[1, 0]).map_err(|why| format!("`{theirs}`: {why}"))?;
            found.insert((*ours).to_owned(), turned);
        }
    }
    let mut attention: BTreeMap<String, BTreeMap<char, Entry>> = BTreeMap::new();
    for (name, entry) in entries {
        // Buffers that count from 0, in files of some versions.
        if name.ends_with(".position_ids") {
            continue;
        }
        let Some((prefix, rest)) = block(&name) else {
            found.insert(name, entry);
            continue;
        };
        let renamed = BLOCK.iter().find_map(|(theirs, ours)| {
            let leaf = rest.strip_prefix(theirs).filter(|leaf| leaf.starts_with('.'))?;
            Some(format!("{prefix}.{ours}{leaf}"))
        });
        match (renamed, projection(rest)) {
            (Some(renamed), _) => drop(found.insert(renamed, entry)),
            (None, Some((which, leaf))) => {
                let joined = format!("{prefix}.attn.in_proj_{leaf}");
                attention.entry(joined).or_default().insert(which, entry);
            }
            (None, None) => drop(found.insert(name, entry)),
        }
    }
    for (name, mut parts) in attention {
        let parts = ['q', 'k', 'v'].map(|which| parts.remove(&which));
        let [Some(q), Some(k), Some(v)] = parts else {
            return Err(format!(
                "`{name}` cannot be made: one of `q_proj`, `k_proj`, `v_proj` is missing"
            ));
        };
        let joined = Entry::joined(vec![q, k, v]).map_err(|why| format!("`{name}`: {why}"))?;
        found.insert(name, joined);
    }
    Ok(found)
}

/// `vision_model.encoder.layers.3.mlp.fc1.bias` is in `visual.transformer.resblocks.3` the tensor `mlp.fc1.bias`.
fn block(name: &str) -> Option<(String, &str)> {
    let (tower, rest) = match name.strip_prefix("vision_model.encoder.layers.") {
        Some(rest) => ("visual.transformer", rest),
        None => ("transformer", name.strip_prefix("text_model.encoder.layers.")?),
    };
    let (number, rest) = rest.split_once('.')?;
    number.parse::<u16>().ok()?;
    Some((format!("{tower}.resblocks.{number}"), rest))
}

/// `self_attn.k_proj.bias` is the `bias` of `k`.
fn projection(name: &str) -> Option<(char, &str)> {
    let (which, leaf) = name.strip_prefix("self_attn.")?.split_once("_proj.")?;
    match (which, leaf) {
        ("q" | "k" | "v", "weight" | "bias") => Some((which.chars().next()?, leaf)),
        _ => None,
    }
}
