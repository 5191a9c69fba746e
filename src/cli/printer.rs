//! Where words go: stdout for data, stderr for people, and how much of the latter.

use indicatif::{ProgressBar, ProgressDrawTarget};
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
        // Nothing sensible can be done when stderr is closed.
        let mut err = std::io::stderr().lock();
        let _ = match self.colour && !colour.is_empty() {
            true => writeln!(err, "\u{1b}[{colour}m{label}\u{1b}[0m{text}"),
            false => writeln!(err, "{label}{text}"),
        };
    }
}
