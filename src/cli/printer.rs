//! Where words go: stdout for data, stderr for people, and how much of the latter.

use indicatif::{ProgressBar, ProgressDrawTarget};
use std::borrow::Cow;
use std::io::{IsTerminal, Write};

/// What may be said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printer {
    quiet: bool,
    /// A line per step instead of a bar.
    pub(super) verbose: bool,
    /// stderr is a terminal: a bar can be drawn.
    terminal: bool,
    colour: bool,
}

impl Printer {
    pub(super) fn new(quiet: bool, verbose: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        // https://no-color.org
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { quiet, verbose, terminal, colour }
    }

    /// Data: a path, a table, a line of JSON.
    pub(super) fn data(&self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// What is going on.
    pub(super) fn info(&self, text: &str) {
        if !self.quiet {
            self.say("", "", text);
        }
    }

    /// What is going on, in detail.
    pub(super) fn detail(&self, text: &str) {
        if self.verbose {
            self.say("", "", text);
        }
    }

    /// Something that the user should know, although the work goes on.
    pub(super) fn warn(&self, text: &str) {
        if !self.quiet {
            self.say("33", "warning: ", text);
        }
    }

    pub(super) fn error(&self, text: &str) {
        self.say("1;31", "error: ", text);
    }

    pub(super) fn hint(&self, text: &str) {
        self.say("36", "hint: ", text);
    }

    /// Whether a moving bar can be shown.
    pub(super) fn shows_bar(&self) -> bool {
        self.terminal && !self.quiet && !self.verbose
    }

    /// Whether progress goes line by line (no terminal, or verbose).
    pub(super) fn shows_lines(&self) -> bool {
        !self.quiet && !self.shows_bar()
    }

    /// A bar of `length` steps; hidden where none can be shown.
    pub(super) fn bar(&self, length: u64) -> ProgressBar {
        let target = if self.shows_bar() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        ProgressBar::with_draw_target(Some(length), target)
    }

    fn say(&self, colour: &str, label: &str, text: &str) {
        let text = harmless(text);
        // Nothing sensible can be done when stderr is closed.
        let mut err = std::io::stderr().lock();
        let _ = match self.colour && !colour.is_empty() {
            true => writeln!(err, "\u{1b}[{colour}m{label}\u{1b}[0m{text}"),
            false => writeln!(err, "{label}{text}"),
        };
    }
}

/// Control characters written out: names and texts of foreign files must not steer the terminal.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(steers) {
        return text.into();
    }
    let written = |c: char| match steers(c) {
        true => c.escape_default().collect(),
        false => String::from(c),
    };
    text.chars().map(written).collect::<String>().into()
}

/// Rows in aligned columns, two spaces apart; no spaces at the end of a line.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_steers_a_terminal_is_written_out() {
        let text = "a\u{1b}]0;x\u{7}\u{9b}2J\tb\r\né";
        assert_eq!(super::harmless(text), "a\\u{1b}]0;x\\u{7}\\u{9b}2J\tb\\r\né");
        assert_eq!(super::harmless("plain\n"), "plain\n");
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_spaces() {
        let rows = [vec!["a".into(), "é long".into(), "x".into()], vec!["bcd".into(), "e".into()]];
        assert_eq!(super::table(&rows), "a    é long  x\nbcd  e");
    }
}
