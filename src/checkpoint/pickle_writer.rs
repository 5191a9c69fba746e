//! The few instructions of pickle protocol 2 that torch's own files are made of.

use tch::Kind;

/// A pickle under construction. Nothing is remembered or reused: torch's files hold few values, and tensors lie
/// outside.
pub(crate) struct PickleWriter(Vec<u8>);

impl PickleWriter {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    /// The finished pickle.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.0.push(b'X');
        // Names of tensors, and code: never near 4 GiB.
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    pub(crate) fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.0.push(b'J');
                self.0.extend(value.to_le_bytes());
            }
            Err(_) => {
                self.0.extend([0x8a, 8]);
                self.0.extend(value.to_le_bytes());
            }
        }
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.0.push(if value { 0x88 } else { 0x89 });
    }

    pub(crate) fn none(&mut self) {
        self.0.push(b'N');
    }

    /// A class or function, by name.
    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    pub(crate) fn tuple(&mut self, items: impl FnOnce(&mut Self)) {
        self.0.push(b'(');
        items(self);
        self.0.push(b't');
    }

    /// `module.name(arguments)`.
    pub(crate) fn call(&mut self, module: &str, name: &str, arguments: impl FnOnce(&mut Self)) {
        self.global(module, name);
        self.tuple(arguments);
        self.0.push(b'R');
    }

    /// A dictionary; `pairs` writes keys and values in turn.
    pub(crate) fn dict(&mut self, pairs: impl FnOnce(&mut Self)) {
        self.0.push(b'}');
        self.fill(pairs);
    }

    /// A `collections.OrderedDict`, which torch's state dictionaries are.
    pub(crate) fn ordered_dict(&mut self, pairs: impl FnOnce(&mut Self)) {
        self.call("collections", "OrderedDict", |_| {});
        self.fill(pairs);
    }

    /// An object of a class, with these attributes: what TorchScript makes of a module.
    pub(crate) fn object(&mut self, module: &str, name: &str, state: impl FnOnce(&mut Self)) {
        self.global(module, name);
        self.0.extend([b')', 0x81]);
        self.dict(state);
        self.0.push(b'b');
    }

    /// A contiguous tensor that fills storage `key`.
    pub(crate) fn tensor(&mut self, key: usize, kind: Kind, shape: &[i64]) {
        let numel = shape.iter().product();
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i].max(1);
        }
        self.call("torch._utils", "_rebuild_tensor_v2", |p| {
            p.tuple(|p| {
                p.text("storage");
                p.global("torch", storage_class(kind));
                p.text(&key.to_string());
                p.text("cpu");
                p.int(numel);
            });
            p.0.push(b'Q');
            p.int(0);
            p.tuple(|p| shape.iter().for_each(|&size| p.int(size)));
            p.tuple(|p| strides.iter().for_each(|&stride| p.int(stride)));
            p.bool(false);
            // No hooks. TorchScript's reader takes this very form only.
            p.call("collections", "OrderedDict", |_| {});
        });
    }

    fn fill(&mut self, pairs: impl FnOnce(&mut Self)) {
        self.0.push(b'(');
        pairs(self);
        self.0.push(b'u');
    }
}

/// What torch calls the memory of such numbers.
fn storage_class(kind: Kind) -> &'static str {
    match kind {
        Kind::Half => "HalfStorage",
        Kind::BFloat16 => "BFloat16Storage",
        Kind::Double => "DoubleStorage",
        Kind::Int64 => "LongStorage",
        Kind::Int => "IntStorage",
        Kind::Int16 => "ShortStorage",
        Kind::Int8 => "CharStorage",
        Kind::Uint8 => "ByteStorage",
        Kind::Bool => "BoolStorage",
        _ => "FloatStorage",
    }
}
