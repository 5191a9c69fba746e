//! A pickle as data: values in one arena, which refer to each other by number.

use std::ops::Range;

/// The number of a value in its [`Pickle`].
pub(crate) type Id = u32;

/// What a pickle can hold.
#[derive(Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, little-endian two's complement.
    Long(Box<[u8]>),
    Float(f64),
    Text(Box<str>),
    /// Raw bytes, as a range of the file's bytes: not copied.
    Blob(Range<usize>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// `module.name` of a class or function.
    Global(Box<str>),
    Object(Box<Object>),
    /// A reference to something outside the pickle; torch's storages.
    Persistent(Id),
}

/// A call or an instance, as written down; nothing was called.
#[derive(Debug)]
pub(crate) struct Object {
    /// The class or function.
    pub(crate) class: Id,
    /// Its arguments.
    pub(crate) args: Id,
    /// Items appended to it.
    pub(crate) items: Vec<Id>,
    /// Keys and values set in it.
    pub(crate) pairs: Vec<(Id, Id)>,
    /// What its `__setstate__` would get.
    pub(crate) state: Option<Id>,
}

/// A pickle as data.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(super) values: Vec<Value>,
    /// The whole.
    pub(crate) root: Id,
    /// Position after its last byte.
    pub(crate) end: usize,
}

impl Pickle {
    /// The value of that number.
    pub(crate) fn get(&self, id: Id) -> &Value {
        // Every id was handed out by this arena, which never shrinks.
        &self.values[id as usize]
    }

    /// Every value, in the order of creation.
    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    /// The name of the class of an object, or of a global itself.
    pub(crate) fn class_name(&self, id: Id) -> Option<&str> {
        let Value::Object(object) = self.get(id) else { return self.global(id) };
        match self.global(object.class)? {
            // Up to protocol 1, the class of an instance is an argument.
            "copyreg._reconstructor" | "copy_reg._reconstructor" => match self.get(object.args) {
                Value::Tuple(args) => self.global(*args.first()?),
                _ => None,
            },
            name => Some(name),
        }
    }

    /// The name of a global, also where torch's legacy files put the source of a class beside it:
    /// `('module', class, file, source)`.
    fn global(&self, id: Id) -> Option<&str> {
        let class = match self.get(id) {
            Value::Persistent(about) => match self.get(*about) {
                Value::Tuple(items) if self.text(*items.first()?) == Some("module") => {
                    *items.get(1)?
                }
                _ => return None,
            },
            _ => id,
        };
        match self.get(class) {
            Value::Global(name) => Some(name),
            _ => None,
        }
    }

    /// The pairs of a dictionary, however it was written.
    pub(crate) fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(pairs) => Some(pairs),
            Value::Object(object)
                if matches!(
                    self.class_name(id),
                    Some(
                        "collections.OrderedDict"
                            | "collections.defaultdict"
                            | "dnnlib.util.EasyDict"
                    )
                ) =>
            {
                Some(&object.pairs)
            }
            _ => None,
        }
    }

    /// The items of a tuple or list, or of a `torch.Size`.
    pub(crate) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            Value::Object(object) if self.class_name(id) == Some("torch.Size") => {
                match self.get(object.args) {
                    Value::Tuple(args) => args.first().and_then(|&sizes| match self.get(sizes) {
                        Value::Tuple(items) | Value::List(items) => Some(items.as_slice()),
                        _ => None,
                    }),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// An integer.
    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// A text.
    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A few words about a value, for people; never long, never deep.
    pub(crate) fn describe(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "none".into(),
            Value::Bool(b) => b.to_string(),
            Value::Int(n) => n.to_string(),
            Value::Long(bytes) => format!("an integer of {} bytes", bytes.len()),
            Value::Float(x) => x.to_string(),
            Value::Text(text) if text.chars().count() > 80 => {
                format!(
                    "{:?}… ({} characters)",
                    text.chars().take(60).collect::<String>(),
                    text.chars().count()
                )
            }
            Value::Text(text) => format!("{text:?}"),
            Value::Blob(range) => format!("{} bytes", range.len()),
            Value::Tuple(items) => self.describe_items("tuple", items),
            Value::List(items) => self.describe_items("list", items),
            Value::Set(items) => self.describe_items("set", items),
            Value::Dict(pairs) => format!("dictionary of {}", count(pairs.len(), "item")),
            Value::Global(name) => format!("the name `{}`", shorten(name)),
            Value::Object(_) => match self.class_name(id) {
                Some(name) => format!("an object of `{}`", shorten(name)),
                None => "an object".into(),
            },
            Value::Persistent(_) => "a reference".into(),
        }
    }

    fn describe_items(&self, what: &str, items: &[Id]) -> String {
        let plain = |&id: &Id| {
            matches!(self.get(id), Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_))
        };
        if items.len() <= 8 && items.iter().all(plain) {
            let words: Vec<_> = items.iter().map(|&id| self.describe(id)).collect();
            return format!("{what} [{}]", words.join(", "));
        }
        format!("{what} of {}", count(items.len(), "item"))
    }
}

fn shorten(name: &str) -> String {
    name.chars().take(100).collect()
}

/// `1 item`, `2 items`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
