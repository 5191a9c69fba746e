//! From the nested values of a pickle to named tensors: `{"g_ema": {"style.1.weight": …}}` becomes
//! `g_ema/style.1.weight`.
//!
//! Here is the short list of names that mean something (reference §2.1): torch's tensor builders and storages,
//! dictionaries, `argparse.Namespace`, and the modules of a TorchScript archive. Everything else is described in
//! `others` and left alone.

use super::bytes::Bytes;
use super::entry::{Entry, Storage};
use super::pickle::{Id, Object, Pickle, Value};
use crate::error::Result;
use std::collections::BTreeMap;
use std::sync::Arc;
use tch::Kind;

/// Dictionaries inside dictionaries; optimiser states are 4 deep, TorchScript modules some 12.
const MAX_DEPTH: usize = 64;
/// Values looked at. A value that contains itself many times over stops here.
const MAX_VISITS: usize = 250_000;
/// Bytes of all names, descriptions and shapes together, for keys that are long and deep.
const MAX_NAMES: usize = 32 << 20;
/// Characters of a storage's key; torch writes numbers. A long one would be copied for each tensor that uses it.
const MAX_KEY: usize = 256;

/// Tensors and the rest of a pickle, by name.
#[derive(Default)]
pub(crate) struct Named {
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) others: BTreeMap<String, String>,
}

/// What torch writes in place of a storage: `('storage', class, key, location, numel)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StorageRef {
    pub(crate) key: String,
    /// `None` for kinds that tch does not have.
    pub(crate) kind: Option<Kind>,
    pub(crate) numel: i64,
    /// The sixth item of files from before torch 0.4: key, offset and length of a part.
    pub(crate) view: Option<(String, i64, i64)>,
}

impl StorageRef {
    /// Reads a persistent id; `None` when it is no storage's.
    pub(crate) fn read(pickle: &Pickle, id: Id) -> Option<Self> {
        let items = pickle.items(id)?;
        let (&[tag, class, key, _location, numel], rest) = items.split_first_chunk::<5>()?;
        if pickle.text(tag) != Some("storage") {
            return None;
        }
        let short = |id: Id| pickle.text(id).filter(|key| key.len() <= MAX_KEY).map(str::to_owned);
        let view = match rest.first() {
            Some(&view) => match pickle.items(view) {
                Some(&[key, offset, length]) => {
                    Some((short(key)?, pickle.int(offset)?, pickle.int(length)?))
                }
                _ => None,
            },
            None => None,
        };
        Some(Self {
            key: short(key)?,
            kind: storage_kind(pickle.class_name(class)?),
            numel: pickle.int(numel)?,
            view,
        })
    }
}

/// `torch.FloatStorage` holds floats. Untyped storages count bytes.
fn storage_kind(class: &str) -> Option<Kind> {
    let name = class.strip_prefix("torch.")?;
    let name = name.strip_prefix("cuda.").or(name.strip_prefix("storage.")).unwrap_or(name);
    Some(match name {
        "FloatStorage" => Kind::Float,
        "DoubleStorage" => Kind::Double,
        "HalfStorage" => Kind::Half,
        "BFloat16Storage" => Kind::BFloat16,
        "LongStorage" => Kind::Int64,
        "IntStorage" => Kind::Int,
        "ShortStorage" => Kind::Int16,
        "CharStorage" => Kind::Int8,
        "ByteStorage" | "UntypedStorage" => Kind::Uint8,
        "BoolStorage" => Kind::Bool,
        _ => return None,
    })
}

/// `torch.float32` as it stands in `_rebuild_tensor_v3`.
fn dtype_kind(name: &str) -> Option<Kind> {
    Some(match name.strip_prefix("torch.")? {
        "float32" => Kind::Float,
        "float64" => Kind::Double,
        "float16" => Kind::Half,
        "bfloat16" => Kind::BFloat16,
        "int64" => Kind::Int64,
        "int32" => Kind::Int,
        "int16" => Kind::Int16,
        "int8" => Kind::Int8,
        "uint8" => Kind::Uint8,
        "bool" => Kind::Bool,
        _ => return None,
    })
}

/// Walks the pickle from its root. `storage` finds the memory of a reference.
pub(crate) fn flatten(
    bytes: &Bytes,
    pickle: &Pickle,
    storage: &mut dyn FnMut(&StorageRef) -> Result<Arc<Storage>>,
) -> Result<Named> {
    let mut walk = Walk { bytes, pickle, storage, named: Named::default(), visits: 0, letters: 0 };
    walk.value(String::new(), pickle.root, 0, false)?;
    Ok(walk.named)
}

struct Walk<'a> {
    bytes: &'a Bytes,
    pickle: &'a Pickle,
    storage: &'a mut dyn FnMut(&StorageRef) -> Result<Arc<Storage>>,
    named: Named,
    visits: usize,
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
        if self.visits > MAX_VISITS || self.letters > MAX_NAMES {
            return Err(self.bytes.fault(format!(
                "more than {MAX_VISITS} values: it contains itself many times over"
            )));
        }
        let pickle = self.pickle;
        if let Some(pairs) = pickle.pairs(id) {
            let separator = if inside { '.' } else { '/' };
            return self.pairs(&name, pairs, depth, separator, inside);
        }
        match pickle.get(id) {
            Value::Object(object) => self.object(name, id, object, depth, inside),
            Value::Tuple(items) | Value::List(items)
                if items.iter().any(|&i| self.holds_more(i)) =>
            {
                let separator = if inside { '.' } else { '/' };
                for (index, &item) in items.iter().enumerate() {
                    self.value(
                        join(&name, separator, &index.to_string()),
                        item,
                        depth + 1,
                        inside,
                    )?;
                }
                Ok(())
            }
            _ => self.other(name, pickle.describe(id)),
        }
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
            || class == "torch._tensor._rebuild_from_type_v2"
        {
            return match self.tensor(object, class, 0) {
                Ok(Built::Tensor(entry)) => {
                    self.letters += 24 * entry.shape().len();
                    let name = if name.is_empty() { "tensor".into() } else { name };
                    if self.named.entries.insert(name.clone(), entry).is_some() {
                        return Err(self.twice(&name));
                    }
                    Ok(())
                }
                Ok(Built::Odd(what)) => self.other(name, what),
                Err(Fault::Whole(error)) => Err(error),
                Err(Fault::Tensor(why)) => {
                    Err(self.bytes.damaged(format!("tensor `{name}`: {why}")))
                }
            };
        }
        let module = class.starts_with("__torch__.");
        if (module || class == "argparse.Namespace")
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

    fn other(&mut self, name: String, what: String) -> Result<()> {
        self.letters += what.len();
        if self.named.others.insert(name.clone(), what).is_some() {
            return Err(self.twice(&name));
        }
        Ok(())
    }

    fn twice(&self, name: &str) -> crate::Error {
        self.bytes.fault(format!("two values are called `{name}`"))
    }

    /// Whether a value has parts worth walking to.
    fn holds_more(&self, id: Id) -> bool {
        matches!(
            self.pickle.get(id),
            Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Object(_)
        )
    }

    fn tensor(&mut self, object: &Object, class: &str, depth: usize) -> Result<Built, Fault> {
        let pickle = self.pickle;
        let args = pickle.items(object.args).ok_or("its builder has no arguments")?;
        match class {
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                let &data = args.first().ok_or("a parameter without data")?;
                let Value::Object(inner) = pickle.get(data) else {
                    return Err("a parameter whose data are no tensor".into());
                };
                let class = pickle.class_name(data).unwrap_or_default();
                if depth > 4 {
                    return Err("parameters inside parameters".into());
                }
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
        let Value::Persistent(reference) = pickle.get(storage) else {
            return Err("its storage is no reference".into());
        };
        let reference =
            StorageRef::read(pickle, *reference).ok_or("its storage is not understood")?;
        let kind = if typed {
            rest.get(2).and_then(|&dtype| pickle.class_name(dtype)).and_then(dtype_kind)
        } else {
            reference.kind
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
        let memory = (self.storage)(&reference).map_err(Fault::Whole)?;
        Ok(Built::Tensor(Entry::new(memory, kind, offset, shape, strides)?))
    }
}

/// A fault of the file, or of the tensor that is being built.
enum Fault {
    Whole(crate::Error),
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
