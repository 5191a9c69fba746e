//! NVIDIA's network pickles: a plain pickle with whole networks in it, from stylegan2-ada-pytorch, the stylegan3
//! repository, or the TensorFlow code before them. Pickles of nothing but NumPy's arrays are read beside them.

use super::bytes::Bytes;
use super::flatten::{flatten, flatten_from};
use super::pickle::{Id, Pickle, Value};
use super::unpickle::unpickle;
use super::{Container, Parts, modules, sniff};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// What the three networks of a TensorFlow pickle are called: the generator, the discriminator, and the generator
/// with averaged weights.
const TRIPLE: [&str; 3] = ["G", "D", "Gs"];

/// Reads a file that begins like a pickle and that torch did not write.
pub(crate) fn read(bytes: &Bytes) -> Result<Parts> {
    let pickle = unpickle(bytes, 0).map_err(|error| match error {
        Error::File { message, hint, .. } => Error::File {
            path: bytes.path().into(),
            message: format!("begins like a Python pickle, but {message}"),
            hint,
        },
        other => other,
    })?;
    let names = || {
        pickle.values().iter().filter_map(|value| match value {
            Value::Global(name) => Some(&**name),
            _ => None,
        })
    };
    let (container, writer) = if names().any(|name| name.starts_with("torch_utils.persistence")) {
        (Container::NvidiaTorch, torch_writer(&pickle).to_owned())
    } else if names().any(|name| name.starts_with("dnnlib.tflib")) {
        (Container::NvidiaTensorFlow, tensorflow_writer(&pickle))
    } else if names().any(|name| name.starts_with("tfutil.")) {
        return Err(Error::file_hint(
            bytes.path(),
            "is a network pickle of ProGAN, which is not supported",
            "StyleGAN2 generators are: `.pkl` of NVIDIA, `.pt` of rosinality, `.safetensors`",
        ));
    } else if names().any(|name| {
        name.starts_with("numpy.") && name.contains("multiarray")
            || name == "torch.storage._load_from_bytes"
    }) {
        return arrays(bytes, &pickle);
    } else {
        return Err(Error::file_hint(
            bytes.path(),
            format!(
                "is a Python pickle that torch did not write ({})",
                pickle.describe(pickle.root)
            ),
            sniff::EXPECTED,
        ));
    };
    let named = flatten_from(bytes, &pickle, &roots(&pickle), &mut |reference| {
        Err(bytes.damaged(format!("storage `{}` is not in the file", reference.key)))
    })?;
    Ok(Parts {
        container,
        metadata: BTreeMap::from([("written_by".to_owned(), writer)]),
        whole: pickle.describe(pickle.root),
        named,
    })
}

/// Arrays and tensors in lists and dictionaries, such as StyleCLIP's statistics.
fn arrays(bytes: &Bytes, pickle: &Pickle) -> Result<Parts> {
    let named = flatten(bytes, pickle, &mut |reference| {
        Err(bytes.damaged(format!("storage `{}` is not in the file", reference.key)))
    })?;
    Ok(Parts {
        container: Container::NumpyPickle,
        metadata: BTreeMap::new(),
        whole: pickle.describe(pickle.root),
        named,
    })
}

/// The networks of a TensorFlow pickle by their names; everything at once for other files.
fn roots(pickle: &Pickle) -> Vec<(&'static str, Id)> {
    match pickle.get(pickle.root) {
        Value::Tuple(items) | Value::List(items) if items.len() == TRIPLE.len() => {
            TRIPLE.into_iter().zip(items.iter().copied()).collect()
        }
        _ => vec![("", pickle.root)],
    }
}

/// Which code wrote it, by the arguments of the generator: the stylegan3 repository passes those of the synthesis
/// network one by one.
fn torch_writer(pickle: &Pickle) -> &'static str {
    let root = pickle.pairs(pickle.root).unwrap_or_default();
    let mut generators = ["G_ema", "G"].into_iter().filter_map(|name| {
        let generator = modules::field(pickle, root, name)?;
        modules::arguments(pickle, generator)
    });
    match generators.next().or_else(|| modules::arguments(pickle, pickle.root)) {
        Some(arguments) if modules::field(pickle, arguments, "synthesis_kwargs").is_some() => {
            "stylegan2-ada-pytorch"
        }
        Some(_) => "the stylegan3 repository, or code derived from it",
        None => "code with NVIDIA's torch_utils",
    }
}

/// TensorFlow networks say the version of their format and the function that builds them.
fn tensorflow_writer(pickle: &Pickle) -> String {
    let network = roots(pickle).last().and_then(|(_, id)| modules::read(pickle, *id));
    let told = |name: &str| {
        let module = network.as_ref()?;
        let (_, value) = module.parts.iter().find(|(part, _)| part == name)?;
        match pickle.get(*value) {
            Value::Text(text) => Some(text.to_string()),
            _ => Some(pickle.describe(*value)),
        }
    };
    format!(
        "NVIDIA's TensorFlow code: `{}`, network format {}",
        told("build_func_name").unwrap_or_else(|| "?".into()),
        told("version").unwrap_or_else(|| "?".into())
    )
}
