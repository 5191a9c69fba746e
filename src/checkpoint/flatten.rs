//! From the nested values of a pickle to named tensors: `{"g_ema": {"style.1.weight": …}}` becomes
//! `g_ema/style.1.weight`.
//!
//! Here is the short list of names that mean something (reference §2.1, §2.3): torch's tensor builders and storages,
//! NumPy's arrays, dictionaries, `argparse.Namespace`, scikit-learn's models, the modules of a TorchScript archive and
//! those of NVIDIA's pickles (`modules.rs`). Everything else is described in `others` and left alone.

use super::bytes::Bytes;
use super::entry::Entry;
use super::ndarray::Objects;
use super::pickle::{Id, Object, Pickle, Value};
use super::storage::Storage;
use super::storage_ref::{StorageRef, dtype_kind};
use super::{modules, ndarray, torch_file};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tch::Kind;

/// How the description begins of a tensor that is damaged where the rest of the file may not be.
pub(crate) const UNREADABLE: &str = "a tensor that cannot be read";
/// Where pSp and its kin write the class of their encoder.
const ENCODER_TYPE: &str = "opts/encoder_type";
/// Dictionaries inside dictionaries; optimiser states are 4 deep, TorchScript modules some 12.
const MAX_DEPTH: usize = 64;
/// Values looked at. A value that contains itself many times over stops here.
pub(crate) const MAX_VISITS: usize = 250_000;
/// Items of lists that are passed without being walked to: a long list may be passed many times over.
const MAX_PASSED: usize = 20_000_000;
/// Bytes of all names, descriptions and shapes together, for keys that are long and deep.
pub(crate) const MAX_NAMES: usize = 32 << 20;

/// Tensors and the rest of a pickle, by name.
#[derive(Default)]
pub(crate) struct Named {
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) others: BTreeMap<String, String>,
    /// The names of the tensors as they follow each other in the file; empty where it does not say.
    pub(crate) order: Vec<String>,
}

/// Walks the pickle from its root. `bytes` are those that it was read from, `storage` finds the memory of a reference.
pub(crate) fn flatten(
    bytes: &Bytes,
    pickle: &Pickle,
    storage: &mut dyn FnMut(&StorageRef) -> Result<Arc<Storage>>,
) -> Result<Named> {
    flatten_from(bytes, pickle, &[("", pickle.root)], storage)
}

/// As [`flatten`], from values that get the names given.
pub(crate) fn flatten_from(
    bytes: &Bytes,
    pickle: &Pickle,
    roots: &[(&str, Id)],
    storage: &mut dyn FnMut(&StorageRef) -> Result<Arc<Storage>>,
) -> Result<Named> {
    let mut walk = Walk {
        bytes,
        pickle,
        storage,
        nested: HashMap::new(),
        arrays: ndarray::Memory::default(),
        named: Named::default(),
        encoder: None,
        visits: 0,
        passed: 0,
        letters: 0,
    };
    for (name, id) in roots {
        walk.value((*name).to_owned(), *id, 0, false)?;
    }
    if let Some(class) = walk.encoder {
        walk.named.others.entry(ENCODER_TYPE.to_owned()).or_insert(format!("{class:?}"));
    }
    Ok(walk.named)
}

struct Walk<'a> {
    bytes: &'a Bytes,
    pickle: &'a Pickle,
    storage: &'a mut dyn FnMut(&StorageRef) -> Result<Arc<Storage>>,
    /// Storages that are files inside the pickle, by where they begin; or why they cannot be read.
    nested: HashMap<usize, Result<(Arc<Storage>, Kind), String>>,
    arrays: ndarray::Memory,
    named: Named,
    /// The class of the first image encoder among the modules.
    encoder: Option<&'static str>,
    visits: usize,
    passed: usize,
    letters: usize,
}

/// A tensor as it stands in a pickle.
enum Built {
    Tensor(Entry),
    /// A tensor of a sort that is not read; says which.
    Odd(String),
}

impl Walk<'_> {
    /// `inside` is true within a TorchScript module, whose parts are joined by dots as in its state dictionary.
    fn value(&mut self, name: String, id: Id, depth: usize, inside: bool) -> Result<()> {
        self.visits += 1;
        self.letters += name.len();
        if depth > MAX_DEPTH {
            let start: String = name.chars().take(60).collect();
            return Err(self
                .bytes
                .fault(format!("values are nested deeper than {MAX_DEPTH} levels at `{start}…`")));
        }
        self.check_visits()?;
        let pickle = self.pickle;
        if let Some(pairs) = pickle.pairs(id) {
            let separator = if inside { '.' } else { '/' };
            return self.pairs(&name, pairs, depth, separator, inside);
        }
        match pickle.get(id) {
            Value::Object(object) => self.object(name, id, object, depth, inside),
            Value::Tuple(items) | Value::List(items) => self.list(name, id, items, depth, inside),
            _ => self.other(name, pickle.describe(id)),
        }
    }

    fn list(
        &mut self,
        name: String,
        id: Id,
        items: &[Id],
        depth: usize,
        inside: bool,
    ) -> Result<()> {
        self.passed = self.passed.saturating_add(items.len());
        if !items.iter().any(|&i| self.holds_more(i)) {
            return self.other(name, self.pickle.describe(id));
        }
        let separator = if inside { '.' } else { '/' };
        for (index, &item) in items.iter().enumerate() {
            self.value(join(&name, separator, &index.to_string()), item, depth + 1, inside)?;
        }
        Ok(())
    }

    fn check_visits(&self) -> Result<()> {
        if self.visits > MAX_VISITS || self.passed > MAX_PASSED || self.letters > MAX_NAMES {
            return Err(self.bytes.fault(format!(
                "more than {MAX_VISITS} values: it contains itself many times over"
            )));
        }
        Ok(())
    }

    fn object(
        &mut self,
        name: String,
        id: Id,
        object: &Object,
        depth: usize,
        inside: bool,
    ) -> Result<()> {
        let pickle = self.pickle;
        let class = pickle.class_name(id).unwrap_or_default();
        if class.starts_with("torch._utils._rebuild_")
            || class.starts_with("torch._tensor._rebuild_from_type")
        {
            let built = self.tensor(object.args, class, 0);
            return self.built(name, built);
        }
        if let Some(objects) = ndarray::objects(pickle, class, object) {
            return match objects {
                Objects::One(item) => self.value(name, item, depth + 1, inside),
                Objects::Many(list, items) => self.list(name, list, items, depth, inside),
            };
        }
        // Single numbers are tensors where they are variables of a network; elsewhere they are settings.
        if (inside || !ndarray::is_scalar(class))
            && let Some(array) = ndarray::read(self.bytes, pickle, class, object, &mut self.arrays)
        {
            return self.built(name, array.map(Built::from).map_err(Fault::Tensor));
        }
        self.encoder = self.encoder.or_else(|| modules::encoder(class));
        if let Some(module) = modules::read(pickle, id) {
            self.visits += module.looked_at;
            self.check_visits()?;
            let separator = if inside { '.' } else { '/' };
            for (part, value) in module.parts {
                self.value(join(&name, separator, &part), value, depth + 1, true)?;
            }
            return Ok(());
        }
        let module = class.starts_with("__torch__.");
        let plain = class == "argparse.Namespace" || class.starts_with("sklearn.");
        if (module || plain)
            && let Some(pairs) = object.state.and_then(|state| pickle.pairs(state))
        {
            let separator = if module && inside { '.' } else { '/' };
            return self.pairs(&name, pairs, depth, separator, module);
        }
        self.other(name, pickle.describe(id))
    }

    fn pairs(
        &mut self,
        name: &str,
        pairs: &[(Id, Id)],
        depth: usize,
        separator: char,
        inside: bool,
    ) -> Result<()> {
        for &(key, value) in pairs {
            let part = match self.pickle.get(key) {
                Value::Text(text) => text.to_string(),
                _ => self.pickle.describe(key),
            };
            self.value(join(name, separator, &part), value, depth + 1, inside)?;
        }
        Ok(())
    }

    fn built(&mut self, name: String, built: Result<Built, Fault>) -> Result<()> {
        match built {
            Ok(Built::Tensor(entry)) => {
                self.letters += 24 * entry.shape().len();
                let name = if name.is_empty() { "tensor".into() } else { name };
                if self.named.entries.insert(name.clone(), entry).is_some() {
                    return Err(self.twice(&name));
                }
                self.named.order.push(name);
                Ok(())
            }
            Ok(Built::Odd(what)) => self.other(name, what),
            Err(Fault::Whole(error)) => Err(error),
            Err(Fault::Unreadable(why)) => self.other(name, format!("{UNREADABLE}: {why}")),
            Err(Fault::Tensor(why)) => Err(self.bytes.damaged(format!("tensor `{name}`: {why}"))),
        }
    }

    fn other(&mut self, name: String, what: String) -> Result<()> {
        self.letters += what.len();
        if self.named.others.insert(name.clone(), what).is_some() {
            return Err(self.twice(&name));
        }
        Ok(())
    }

    fn twice(&self, name: &str) -> Error {
        self.bytes.fault(format!("two values are called `{name}`"))
    }

    /// Whether a value has parts worth walking to.
    fn holds_more(&self, id: Id) -> bool {
        matches!(
            self.pickle.get(id),
            Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Object(_)
        )
    }

    /// The tensor that a builder would make of its arguments.
    fn tensor(&mut self, args: Id, class: &str, depth: usize) -> Result<Built, Fault> {
        let pickle = self.pickle;
        let args = pickle.items(args).ok_or("its builder has no arguments")?;
        if depth > 4 {
            return Err("parameters inside parameters".into());
        }
        match class {
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch._utils._rebuild_device_tensor_from_cpu_tensor"
            | "torch._utils._rebuild_device_tensor_from_numpy"
            | "torch._utils._rebuild_xla_tensor" => {
                let &data = args.first().ok_or("a parameter without data")?;
                let Value::Object(inner) = pickle.get(data) else {
                    return Err("a parameter whose data are no tensor".into());
                };
                let class = pickle.class_name(data).unwrap_or_default();
                if let Some(array) =
                    ndarray::read(self.bytes, pickle, class, inner, &mut self.arrays)
                {
                    return Ok(array?.into());
                }
                self.tensor(inner.args, class, depth + 1)
            }
            // With attributes of its own: builder, class, the builder's arguments, attributes.
            "torch._tensor._rebuild_from_type" | "torch._tensor._rebuild_from_type_v2" => {
                let &[builder, _, inner, ..] = args else {
                    return Err("its builder lacks arguments".into());
                };
                let class = pickle.class_name(builder).unwrap_or_default();
                self.tensor(inner, class, depth + 1)
            }
            "torch._utils._rebuild_tensor"
            | "torch._utils._rebuild_tensor_v2"
            | "torch._utils._rebuild_tensor_v3" => self.strided(args, class.ends_with("v3")),
            other => Ok(Built::Odd(format!(
                "a tensor of an unsupported sort (`{}`)",
                other.trim_start_matches("torch._utils.")
            ))),
        }
    }

    fn strided(&mut self, args: &[Id], typed: bool) -> Result<Built, Fault> {
        let pickle = self.pickle;
        let (&[storage, offset, shape, strides], rest) =
            args.split_first_chunk::<4>().ok_or("its builder lacks arguments")?;
        let place = match pickle.get(storage) {
            Value::Persistent(reference) => Place::Outside(
                StorageRef::read(pickle, *reference).ok_or("its storage is not understood")?,
            ),
            Value::Object(object) => {
                let (memory, kind) = self.nested(storage, object)?;
                Place::Nested(memory, kind)
            }
            _ => return Err("its storage is no reference".into()),
        };
        let kind = if typed {
            rest.get(2).and_then(|&dtype| pickle.class_name(dtype)).and_then(dtype_kind)
        } else {
            match &place {
                Place::Outside(reference) => reference.kind,
                Place::Nested(_, kind) => Some(*kind),
            }
        };
        let Some(kind) = kind else {
            return Ok(Built::Odd("a tensor of an unsupported element type".into()));
        };
        let ints = |id: Id| -> Option<Vec<i64>> {
            pickle.items(id)?.iter().map(|&n| pickle.int(n)).collect()
        };
        let offset = pickle.int(offset).ok_or("its offset is no integer")?;
        let shape = ints(shape).ok_or("its shape is no list of integers")?;
        let strides = ints(strides).ok_or("its strides are no list of integers")?;
        let memory = match place {
            Place::Outside(reference) => (self.storage)(&reference).map_err(Fault::Whole)?,
            Place::Nested(memory, _) => memory,
        };
        Ok(Built::Tensor(Entry::new(memory, kind, offset, shape, strides)?))
    }

    /// A storage that is a file of its own inside the pickle, as torch pickles them without a file around.
    fn nested(&mut self, id: Id, object: &Object) -> Result<(Arc<Storage>, Kind), Fault> {
        if self.pickle.class_name(id) != Some("torch.storage._load_from_bytes") {
            return Err("its storage is not understood".into());
        }
        let args = self.pickle.items(object.args).unwrap_or_default();
        let Some(Value::Blob(range)) = args.first().map(|&arg| self.pickle.get(arg)) else {
            return Err("its storage holds no bytes".into());
        };
        if let Some(known) = self.nested.get(&range.start) {
            return known.clone().map_err(Fault::Unreadable);
        }
        let part = self.bytes.slice(range.clone()).ok_or("its storage lies beyond the file")?;
        let read = match torch_file::read_storage(&part) {
            Ok(read) => Ok(read),
            Err(Error::File { message, .. }) => Err(message),
            Err(other) => return Err(Fault::Whole(other)),
        };
        self.nested.insert(range.start, read.clone());
        read.map_err(Fault::Unreadable)
    }
}

impl From<ndarray::Array> for Built {
    fn from(array: ndarray::Array) -> Self {
        match array {
            ndarray::Array::Numbers(entry) => Self::Tensor(entry),
            ndarray::Array::Odd(what) => Self::Odd(what.into()),
        }
    }
}

/// Where the memory of a tensor is.
enum Place {
    Outside(StorageRef),
    Nested(Arc<Storage>, Kind),
}

/// A fault of the file, or of the tensor that is being built.
enum Fault {
    Whole(Error),
    /// The tensor has a file of its own, which is damaged: others may be whole.
    Unreadable(String),
    Tensor(String),
}

impl From<&str> for Fault {
    fn from(why: &str) -> Self {
        Self::Tensor(why.into())
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self::Tensor(why)
    }
}

fn join(name: &str, separator: char, part: &str) -> String {
    if name.is_empty() { part.to_owned() } else { format!("{name}{separator}{part}") }
}
