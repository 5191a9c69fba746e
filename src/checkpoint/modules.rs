//! Pickled networks as named parts: torch's modules as `torch.save(module)` writes them, and in NVIDIA's pickles
//! `torch_utils.persistence` objects and TensorFlow networks. The names are those of a module's `state_dict()`.
//!
//! A persistent object carries the Python source of its class and asks to have it run. Nothing does: the source is
//! one of the texts that nobody looks at, and the parts are found by the names that torch gives them.

use super::pickle::{Id, Object, Pickle, Value};
use std::collections::HashSet;

/// The function that would run the source of a persistent object.
const PERSISTENT: &str = "torch_utils.persistence._reconstruct_persistent_obj";
/// The class of a TensorFlow network in NVIDIA's pickles.
const TENSORFLOW: &str = "dnnlib.tflib.network.Network";

/// What `torch.compile` makes: a module around the module that it got as an argument.
const COMPILED: &str = "torch._dynamo.eval_frame.OptimizedModule";
/// The function that would build a traced module of its attributes.
const TRACED: &str = "torch.fx.graph_module.reduce_graph_module";
/// Image encoders by their classes, which say what no tensor does and `opts` says elsewhere.
const ENCODERS: [&str; 8] = [
    "GradualStyleEncoder",
    "BackboneEncoder",
    "ResNetBackboneEncoder",
    "BackboneEncoderUsingLastLayerIntoW",
    "BackboneEncoderUsingLastLayerIntoWPlus",
    "Encoder4Editing",
    "ProgressiveBackboneEncoder",
    "ResNetProgressiveBackboneEncoder",
];

/// Keys and values of one module. The largest networks have some hundred.
const MAX_PARTS: usize = 50_000;
/// Attributes among which those of every module are: they are the first.
const MAX_BEFORE: usize = 64;
/// Characters of a name; names of layers are short, and a long one would be copied for each part that has it.
const MAX_NAME: usize = 256;

/// What a module is made of, under the names that go behind its own. `looked_at` counts the values that were passed,
/// so that a hostile file cannot have long lists passed again and again.
pub(crate) struct Module {
    pub(crate) parts: Vec<(String, Id)>,
    pub(crate) looked_at: usize,
}

/// The parts of a module; `None` when the value is none, or larger than any.
pub(crate) fn read(pickle: &Pickle, id: Id) -> Option<Module> {
    let Value::Object(object) = pickle.get(id) else { return None };
    let class = pickle.class_name(id)?;
    if class == PERSISTENT {
        let meta = pickle.pairs(*pickle.items(object.args)?.first()?)?;
        let state = pickle.pairs(field(pickle, meta, "state")?)?;
        return torch(pickle, state, meta.len());
    }
    if class == TENSORFLOW {
        return tensorflow(pickle, pickle.pairs(object.state?)?);
    }
    if class == COMPILED {
        let Value::Tuple(args) = pickle.get(object.args) else { return None };
        return Some(Module { parts: vec![("_orig_mod".into(), *args.first()?)], looked_at: 0 });
    }
    let state = state(pickle, class, object)?;
    // Whatever its class is called, a module has these.
    let has =
        |name: &str| state.iter().take(MAX_BEFORE).any(|&(key, _)| pickle.text(key) == Some(name));
    (has("_parameters") && has("_modules")).then(|| torch(pickle, state, 0)).flatten()
}

/// The class of an image encoder, without its module.
pub(crate) fn encoder(class: &str) -> Option<&'static str> {
    let name = class.rsplit('.').next()?;
    ENCODERS.into_iter().find(|encoder| *encoder == name)
}

/// The keyword arguments that a persistent object was made with.
pub(crate) fn arguments(pickle: &Pickle, id: Id) -> Option<&[(Id, Id)]> {
    let Value::Object(object) = pickle.get(id) else { return None };
    let meta = pickle.pairs(*pickle.items(object.args)?.first()?)?;
    let state = pickle.pairs(field(pickle, meta, "state")?)?;
    pickle.pairs(field(pickle, state, "_init_kwargs")?)
}

/// The value of a key; the last one counts, as in Python.
pub(crate) fn field(pickle: &Pickle, pairs: &[(Id, Id)], name: &str) -> Option<Id> {
    if pairs.len() > MAX_PARTS {
        return None;
    }
    pairs.iter().rev().find(|(key, _)| pickle.text(*key) == Some(name)).map(|(_, value)| *value)
}

/// The attributes of an object; with slots they are the first of two.
fn state<'a>(pickle: &'a Pickle, class: &str, object: &Object) -> Option<&'a [(Id, Id)]> {
    let state = if class == TRACED { object.args } else { object.state? };
    match pickle.get(state) {
        Value::Tuple(two) => pickle.pairs(*two.first()?),
        _ => pickle.pairs(state),
    }
}

/// Parameters, buffers and modules under their own names, and the numbers and texts that describe the module.
fn torch(pickle: &Pickle, state: &[(Id, Id)], before: usize) -> Option<Module> {
    let mut module = Module { parts: Vec::new(), looked_at: 0 };
    module.pass(before + state.len())?;
    let first = &state[..state.len().min(MAX_BEFORE)];
    let passing = field(pickle, first, "_non_persistent_buffers_set");
    let passing = passing.map(|id| members(pickle, id)).unwrap_or_default();
    module.pass(passing.len())?;
    let passing: HashSet<&str> = passing.iter().filter_map(|&id| name(pickle, id)).collect();
    for &(key, value) in state {
        match name(pickle, key) {
            Some(group @ ("_parameters" | "_buffers" | "_modules")) => {
                let pairs = pickle.pairs(value).unwrap_or_default();
                module.pass(pairs.len())?;
                module.parts.extend(pairs.iter().filter_map(|&(key, value)| {
                    let key = name(pickle, key)?;
                    // A layer without a bias has one that is nothing.
                    let left_out = matches!(pickle.get(value), Value::None)
                        || (group == "_buffers" && passing.contains(key));
                    (!left_out).then(|| (key.to_owned(), value))
                }));
            }
            // What pSp and its kin keep beside their networks, and need.
            Some(key @ ("latent_avg" | "opts")) => module.parts.push((key.to_owned(), value)),
            Some(key) if !key.starts_with('_') && is_plain(pickle, value) => {
                module.parts.push((key.to_owned(), value));
            }
            _ => {}
        }
    }
    Some(module)
}

/// Variables, with dots for TensorFlow's slashes; the networks inside; the settings, and what describes the network.
fn tensorflow(pickle: &Pickle, state: &[(Id, Id)]) -> Option<Module> {
    let mut module = Module { parts: Vec::new(), looked_at: 0 };
    module.pass(state.len())?;
    for &(key, value) in state {
        match name(pickle, key) {
            Some("variables") => {
                let variables = pickle.items(value).unwrap_or_default();
                module.pass(variables.len())?;
                for &variable in variables {
                    if let Some(&[key, value]) = pickle.items(variable)
                        && let Some(name) = name(pickle, key)
                    {
                        module.parts.push((name.replace('/', "."), value));
                    }
                }
            }
            Some(group @ ("components" | "static_kwargs")) => {
                let pairs = pickle.pairs(value).unwrap_or_default();
                module.pass(pairs.len())?;
                let prefix = if group == "components" { "" } else { "static_kwargs." };
                module.parts.extend(pairs.iter().filter_map(|&(key, value)| {
                    Some((format!("{prefix}{}", name(pickle, key)?), value))
                }));
            }
            Some("build_module_src") | None => {}
            Some(key) if is_plain(pickle, value) => module.parts.push((key.to_owned(), value)),
            Some(_) => {}
        }
    }
    Some(module)
}

impl Module {
    /// Counts values before they are passed; `None` when there are too many.
    fn pass(&mut self, values: usize) -> Option<()> {
        self.looked_at = self.looked_at.checked_add(values).filter(|&n| n <= MAX_PARTS)?;
        Some(())
    }
}

/// What is in a set; before protocol 4 it is made of a list.
fn members(pickle: &Pickle, id: Id) -> &[Id] {
    match pickle.get(id) {
        Value::Set(items) => items,
        Value::Object(object) => match pickle.get(object.args) {
            Value::Tuple(args) => match args.first().map(|&list| pickle.get(list)) {
                Some(Value::List(items)) => items,
                _ => &[],
            },
            _ => &[],
        },
        _ => &[],
    }
}

/// A text that may be a name.
fn name(pickle: &Pickle, key: Id) -> Option<&str> {
    pickle.text(key).filter(|name| name.len() <= MAX_NAME)
}

/// Numbers, short texts and nothing.
fn is_plain(pickle: &Pickle, id: Id) -> bool {
    match pickle.get(id) {
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => true,
        Value::Text(text) => text.len() <= 256,
        _ => false,
    }
}
