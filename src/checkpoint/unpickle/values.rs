//! The machine's memory: values in one arena, the stack with its marks, the memo. Every growth is counted and bounded.

use super::{MAX_STACK, MAX_TEXT, MAX_VALUES, Machine, Step};
use crate::checkpoint::pickle::{Id, Object, Value};

impl Machine<'_> {
    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    pub(super) fn add(&mut self, value: Value) -> Step<Id> {
        if self.values.len() >= MAX_VALUES {
            return Err(format!("more than {MAX_VALUES} values"));
        }
        self.spend(match &value {
            Value::Text(text) | Value::Global(text) => text.len() + 64,
            Value::Long(bytes) => bytes.len() + 64,
            Value::Tuple(ids) | Value::List(ids) | Value::Set(ids) => ids.len() * 4 + 48,
            Value::Dict(pairs) => pairs.len() * 8 + 48,
            Value::Object(_) => 128,
            _ => 32,
        })?;
        self.values.push(value);
        Ok((self.values.len() - 1) as Id)
    }

    pub(super) fn spend(&mut self, bytes: usize) -> Step<()> {
        self.memory = self.memory.checked_sub(bytes).ok_or("its values would fill the memory")?;
        Ok(())
    }

    pub(super) fn push(&mut self, value: Value) -> Step<()> {
        let id = self.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn push_object(&mut self, class: Id, args: Id) -> Step<()> {
        let object = Object { class, args, items: Vec::new(), pairs: Vec::new(), state: None };
        self.push(Value::Object(Box::new(object)))
    }

    pub(super) fn push_text<const N: usize>(&mut self) -> Step<()> {
        let length = self.length::<N>()?;
        let range = self.range(length)?;
        if length > MAX_TEXT {
            return self.push(Value::Blob(range));
        }
        let text = String::from_utf8_lossy(&self.data[range]).into();
        self.push(Value::Text(text))
    }

    pub(super) fn push_blob<const N: usize>(&mut self) -> Step<()> {
        let length = self.length::<N>()?;
        let range = self.range(length)?;
        self.push(Value::Blob(range))
    }

    pub(super) fn push_long(&mut self, length: usize) -> Step<()> {
        let bytes = self.take(length)?;
        if length > 1024 {
            return Err(format!("an integer of {length} bytes"));
        }
        if length > 8 {
            return self.push(Value::Long(bytes.into()));
        }
        let negative = bytes.last().is_some_and(|top| top & 0x80 != 0);
        let mut full = [if negative { 0xff } else { 0 }; 8];
        full[..length].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(full)))
    }

    pub(super) fn extend(&mut self, items: Vec<Id>) -> Step<()> {
        let target = self.top()?;
        // A vector that grows has up to twice the room that it needs.
        self.spend(items.len() * 8 + 8)?;
        match &mut self.values[target as usize] {
            Value::List(list) | Value::Set(list) => list.extend(items),
            Value::Object(object) => object.items.extend(items),
            _ => return Err("items for something that is no list".into()),
        }
        Ok(())
    }

    pub(super) fn set(&mut self, pairs: Vec<(Id, Id)>) -> Step<()> {
        let target = self.top()?;
        self.spend(pairs.len() * 16 + 16)?;
        match &mut self.values[target as usize] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Object(object) => object.pairs.extend(pairs),
            _ => return Err("keys for something that is no dictionary".into()),
        }
        Ok(())
    }

    pub(super) fn memoize(&mut self, key: u64) -> Step<()> {
        let top = self.top()?;
        if self.memo.len() >= MAX_STACK {
            return Err(format!("more than {MAX_STACK} names in the memo"));
        }
        self.spend(32)?;
        self.memo.insert(key, top);
        Ok(())
    }

    /// Position of the `wanted`th value from the top, which must lie above the last mark.
    pub(super) fn floor_checked(&self, wanted: usize) -> Step<usize> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(wanted) {
            Some(at) if at >= floor => Ok(at),
            _ => Err("the stack is empty".into()),
        }
    }

    pub(super) fn top(&self) -> Step<Id> {
        self.floor_checked(1).map(|at| self.stack[at])
    }

    pub(super) fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    pub(super) fn pop_to_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }
}
