//! A restricted pickle machine: it builds data and nothing else.
//!
//! It knows no class and no function: a global is a name, a call is recorded as an [`Object`](super::pickle::Object) (class, arguments,
//! state) and never carried out. What an object means is decided by the readers, from a short list of names; so
//! `os.system("…")` is just an object with an odd name that nobody asks for.
//!
//! Values lie in one arena and refer to each other by number. A memo that doubles itself ("billion laughs") costs
//! one entry per opcode, a value that holds itself is no danger before somebody walks it, and dropping never recurses.
//!
//! Why not the crate `pytorch-reader` (0.23.0-pre.1 was looked at): it inflates compressed archives, copies objects
//! at each use of the memo, keeps no TorchScript module, and its tensors are read by its own file handle. Here an
//! archive is an index over one mapping, and objects keep their class and state, which the readers of TorchScript
//! and of NVIDIA's pickles need.

mod operands;
mod values;

use super::bytes::Bytes;
use super::pickle::{Id, Pickle, Value};
use crate::error::Result;
use std::collections::HashMap;

/// Values in one pickle. A full training checkpoint has some 100,000.
const MAX_VALUES: usize = 2_000_000;
/// Values waiting on the stack, and names in the memo.
const MAX_STACK: usize = 2_000_000;
/// Opcodes in one pickle.
const MAX_STEPS: usize = 20_000_000;
/// Bytes that the values of one pickle may take in memory, roughly. A name that is joined anew by each opcode, or an
/// object in every second one, would otherwise make a hundred times of a file.
pub(crate) const MAX_MEMORY: usize = 160 << 20;
/// Longer texts stay in the file, as bytes: arrays of protocol 2 are written as texts. The largest others known are
/// the sources in NVIDIA's files, below 100 kB.
const MAX_TEXT: usize = 1 << 17;

/// Reads one pickle that starts at `start` of `bytes`, of any protocol from 0 to 5.
pub(crate) fn unpickle(bytes: &Bytes, start: usize) -> Result<Pickle> {
    unpickle_within(bytes, start, MAX_MEMORY)
}

/// As [`unpickle`], for one that may take only so many bytes of memory.
pub(crate) fn unpickle_within(bytes: &Bytes, start: usize, memory: usize) -> Result<Pickle> {
    let mut machine = Machine {
        data: bytes,
        at: start,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        memory,
    };
    match machine.run() {
        Ok(root) => Ok(Pickle { values: machine.values, root, end: machine.at }),
        Err(what) => Err(bytes.damaged(format!("bad pickle at byte {}: {what}", machine.at))),
    }
}

type Step<T> = std::result::Result<T, String>;

struct Machine<'a> {
    data: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes that values may still take.
    memory: usize,
}

impl<'a> Machine<'a> {
    /// Runs to the STOP opcode; gives the value that is left.
    fn run(&mut self) -> Step<Id> {
        for _ in 0..MAX_STEPS {
            let opcode = self.array::<1>()?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
            if self.stack.len() > MAX_STACK || self.marks.len() > MAX_STACK {
                return Err(format!("more than {MAX_STACK} values wait on the stack"));
            }
        }
        Err(format!("more than {MAX_STEPS} opcodes"))
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            0x80 => {
                let [protocol] = self.array()?;
                if protocol > 5 {
                    return Err(format!("protocol {protocol} is unknown"));
                }
            }
            0x95 => {
                self.take(8)?; // FRAME: a hint for streaming readers
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // POP also takes back a mark.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => {
                self.pop_to_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'I' => match self.line()? {
                "00" => self.push(Value::Bool(false))?,
                "01" => self.push(Value::Bool(true))?,
                text => {
                    let n = text.parse().map_err(|_| "an integer that is none".to_string())?;
                    self.push(Value::Int(n))?;
                }
            },
            b'L' => {
                let text = self.line()?.trim_end_matches('L');
                match text.parse() {
                    Ok(n) => self.push(Value::Int(n))?,
                    // Its digits say as little as its bytes would.
                    Err(_) => self.push(Value::Long(text.as_bytes().into()))?,
                }
            }
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()))?;
            }
            b'K' => {
                let [n] = self.array()?;
                self.push(Value::Int(n.into()))?;
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()))?;
            }
            0x8a => {
                let [length] = self.array()?;
                self.push_long(length as usize)?;
            }
            0x8b => {
                let length = self.length::<4>()?;
                self.push_long(length)?;
            }
            b'F' => {
                let x = self.line()?.parse().map_err(|_| "a float that is none".to_string())?;
                self.push(Value::Float(x))?;
            }
            b'G' => {
                let x = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(x))?;
            }
            b'S' => {
                let text = self.line()?.trim_matches(['\'', '"']).into();
                self.push(Value::Text(text))?;
            }
            b'V' => {
                let text = self.line()?.into();
                self.push(Value::Text(text))?;
            }
            b'T' | b'U' => {
                // Python 2's byte strings: names in files of that age.
                let length = if opcode == b'U' { self.length::<1>()? } else { self.length::<4>()? };
                let range = self.range(length)?;
                match std::str::from_utf8(&self.data[range.clone()]) {
                    Ok(text) if length <= MAX_TEXT => self.push(Value::Text(text.into()))?,
                    _ => self.push(Value::Blob(range))?,
                }
            }
            0x8c => self.push_text::<1>()?,
            b'X' => self.push_text::<4>()?,
            0x8d => self.push_text::<8>()?,
            b'C' => self.push_blob::<1>()?,
            b'B' => self.push_blob::<4>()?,
            0x8e | 0x96 => self.push_blob::<8>()?,
            b')' => self.push(Value::Tuple(Vec::new()))?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let length = (opcode - 0x84) as usize;
                let at = self.floor_checked(length)?;
                let items = self.stack.split_off(at);
                self.push(Value::Tuple(items))?;
            }
            b']' => self.push(Value::List(Vec::new()))?,
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.extend(items)?;
            }
            b'}' => self.push(Value::Dict(Vec::new()))?,
            b'd' => {
                let pairs = in_pairs(self.pop_to_mark()?)?;
                self.push(Value::Dict(pairs))?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = in_pairs(self.pop_to_mark()?)?;
                self.set(pairs)?;
            }
            0x8f => self.push(Value::Set(Vec::new()))?,
            0x91 => {
                let items = self.pop_to_mark()?;
                self.push(Value::Set(items))?;
            }
            b'g' | b'h' | b'j' => {
                let key = self.memo_key(opcode)?;
                let id = *self.memo.get(&key).ok_or_else(|| format!("memo {key} was never set"))?;
                self.stack.push(id);
            }
            b'p' | b'q' | b'r' => {
                let key = self.memo_key(opcode)?;
                self.memoize(key)?;
            }
            0x94 => self.memoize(self.memo.len() as u64)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global(format!("{module}.{name}").into()))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(name), Value::Text(module)) = (self.get(name), self.get(module))
                else {
                    return Err("a global whose name is no text".into());
                };
                if name.len() + module.len() > 4096 {
                    return Err("a global with an endless name".into());
                }
                let global = Value::Global(format!("{module}.{name}").into());
                self.push(global)?;
            }
            // REDUCE, NEWOBJ: written down, not carried out.
            b'R' | 0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.push_object(class, args)?;
            }
            0x92 => {
                let (_kwargs, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.push_object(class, args)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let args = self.pop_to_mark()?;
                let class = self.add(Value::Global(format!("{module}.{name}").into()))?;
                let args = self.add(Value::Tuple(args))?;
                self.push_object(class, args)?;
            }
            b'o' => {
                let mut items = self.pop_to_mark()?;
                if items.is_empty() {
                    return Err("an object without a class".into());
                }
                let class = items.remove(0);
                let args = self.add(Value::Tuple(items))?;
                self.push_object(class, args)?;
            }
            b'b' => {
                let (state, target) = (self.pop()?, self.top()?);
                if let Value::Object(object) = &mut self.values[target as usize] {
                    object.state = Some(state);
                }
            }
            b'P' => {
                let text = self.line()?.into();
                let id = self.add(Value::Text(text))?;
                self.push(Value::Persistent(id))?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))?;
            }
            other => return Err(format!("opcode {other:#04x} is not supported")),
        }
        Ok(())
    }
}

fn in_pairs(items: Vec<Id>) -> Step<Vec<(Id, Id)>> {
    if !items.len().is_multiple_of(2) {
        return Err("a key without a value".into());
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
