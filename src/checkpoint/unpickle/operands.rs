//! What follows an opcode in the file: lengths, numbers, lines, never beyond its end.

use super::{Machine, Step};
use crate::checkpoint::pickle::count;
use std::ops::Range;

impl<'a> Machine<'a> {
    pub(super) fn memo_key(&mut self, opcode: u8) -> Step<u64> {
        match opcode {
            b'h' | b'q' => Ok(self.array::<1>()?[0].into()),
            b'j' | b'r' => Ok(u32::from_le_bytes(self.array()?).into()),
            _ => self.line()?.parse().map_err(|_| "a memo that is no number".to_string()),
        }
    }

    pub(super) fn range(&mut self, length: usize) -> Step<Range<usize>> {
        match self.at.checked_add(length) {
            Some(end) if end <= self.data.len() => {
                let range = self.at..end;
                self.at = end;
                Ok(range)
            }
            _ => Err(format!(
                "it ends {} early",
                count(self.at.saturating_add(length) - self.data.len(), "byte")
            )),
        }
    }

    pub(super) fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let range = self.range(length)?;
        Ok(&self.data[range])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(super) fn length<const N: usize>(&mut self) -> Step<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.take(N)?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| "an endless value".into())
    }

    /// The text up to the next line feed.
    pub(super) fn line(&mut self) -> Step<&'a str> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let window = &rest[..rest.len().min(4096)];
        let length = window.iter().position(|&b| b == b'\n').ok_or("a line that does not end")?;
        self.at += length + 1;
        std::str::from_utf8(&window[..length]).map_err(|_| "a line that is no text".into())
    }
}
