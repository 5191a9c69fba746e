//! The card beside an export: what it is, where it came from, what may be done with it, how to load it.

use crate::atomic;
use crate::error::Result;
use crate::models::{GeneratorFiles, Origin};
use crate::regular;
use crate::stylegan2::Config;
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of another card that are looked at.
const MAX_CARD: u64 = 1 << 16;

/// What a card says.
#[derive(Debug)]
pub struct Card<'a> {
    /// The exported files with their SHA-256, the main one first.
    pub files: &'a [(PathBuf, String)],
    /// What the file is, in a sentence.
    pub what: &'a str,
    /// What was exported.
    pub from: &'a GeneratorFiles,
    /// What is known about it.
    pub origin: &'a Origin,
    /// Its shape.
    pub config: &'a Config,
    /// Choices of the export, and what its check found.
    pub settings: &'a [(&'a str, String)],
    /// Lines of Python that load it.
    pub python: &'a str,
}

impl Card<'_> {
    /// `sketch.onnx.md` beside `sketch.onnx`.
    pub fn path_of(export: &Path) -> PathBuf {
        let mut name = export.as_os_str().to_owned();
        name.push(".md");
        name.into()
    }

    /// Writes the card.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn save(&self, export: &Path) -> Result<()> {
        atomic::write(Self::path_of(export), self.text())
    }

    /// The card as Markdown.
    pub fn text(&self) -> String {
        let about = |key: &str| self.origin.metadata.get(key).map(String::as_str);
        let Config { image_channels, z_dim, style_dim, mapping_layers, .. } = self.config;
        let kind = match image_channels {
            1 => ", grey",
            4 => ", colours and opacity",
            _ => "",
        };
        let name = self.files.first().and_then(|(path, _)| path.file_name());
        let name = name.map_or_else(|| "export".into(), |name| name.to_string_lossy());
        let mut rows = Vec::new();
        for (path, sha256) in self.files {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            rows.push(("File", format!("`{name}`, sha256 `{sha256}`")));
        }
        rows.push((
            "Generator",
            format!(
                "StyleGAN2, {}{kind}, z of {z_dim}, w of {style_dim}, {} style inputs, {mapping_layers} mapping layers",
                self.config.size_in_words(),
                self.config.num_styles()
            ),
        ));
        rows.push(("Exported from", format!("`{}`, sha256 `{}`", self.from, self.origin.sha256)));
        for (row, key) in [("Source", "source"), ("Target", "target"), ("Seed", "seed")] {
            rows.extend(about(key).map(|value| (row, value.to_owned())));
        }
        rows.extend(about("iterations").map(|n| ("Adaptation", format!("{n} steps"))));
        if let Some(base) = about("base") {
            let hash = about("base_sha256").unwrap_or("unknown");
            rows.push(("Base", format!("`{base}`, sha256 `{hash}`")));
        }
        rows.extend(self.settings.iter().map(|(name, value)| (*name, value.clone())));
        rows.push(("Made by", format!("nada {}", env!("CARGO_PKG_VERSION"))));
        let mut text = format!("# {name}\n\n{}\n\n| | |\n| --- | --- |\n", self.what);
        for (row, value) in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {row} | {} |", cell(&value));
        }
        let _ = write!(
            text,
            "\n## Load it\n\n```python\n{}\n```\n\n## Terms\n\n{}\n",
            self.python.trim(),
            self.terms()
        );
        text
    }

    /// The terms of what this was made from, quoted from its card where there is one.
    fn terms(&self) -> String {
        let base = self.origin.metadata.get("base").map(PathBuf::from);
        let lineage = std::iter::once(&self.from.base).chain(&base);
        let cards = lineage.flat_map(|file| [file.with_extension("md"), Self::path_of(file)]);
        let note = "Weights keep the terms of the weights and the data that they were made from, whatever the licence \
                    of the program that wrote them.";
        match cards.filter_map(|card| Some((terms_in(&card)?, card))).next() {
            Some((terms, card)) => {
                let card = card.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let quoted: Vec<String> = terms.lines().map(|line| format!("> {line}")).collect();
                format!("{note} The card of the base, `{card}`, says:\n\n{}", quoted.join("\n"))
            }
            None => format!("{note} No card lies beside the base: ask where it came from."),
        }
    }
}

/// The section `Terms` of a card.
fn terms_in(card: &Path) -> Option<String> {
    let mut text = String::new();
    regular::open(card).ok()?.take(MAX_CARD).read_to_string(&mut text).ok()?;
    let (_, section) = text.split_once("\n## Terms\n")?;
    let section = section.split("\n## ").next()?.trim();
    (!section.is_empty()).then(|| section.to_owned())
}

/// Text that cannot break out of its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
