//! The rows of `presets/fetch/weights.yaml`.

use super::address;
use crate::error::{Error, Result, near_names};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

const TABLE: &str = include_str!("../../presets/fetch/weights.yaml");

/// A licence that a user accepts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// Its name, with the gist of what it forbids.
    pub name: String,
    /// Where it can be read.
    pub link: String,
}

/// What weights are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A StyleGAN2 generator: `--generator NAME`.
    Generator,
    /// A CLIP: `--clip NAME`.
    Clip,
    /// From a photo to latent codes.
    Encoder,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generator => "generator",
            Self::Clip => "CLIP",
            Self::Encoder => "encoder",
        })
    }
}

/// One file that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// As `nada fetch`, `--generator` and `--clip` take it.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// A few words.
    pub about: String,
    /// Its terms.
    pub licence: Licence,
    /// Where its publisher keeps it; `https`.
    pub url: String,
    /// About how large it is, in 10^6 bytes.
    pub megabytes: u64,
    /// Its SHA-256 as 64 lower-case hexadecimal digits, where it is known beforehand.
    pub sha256: Option<String>,
}

impl Weights {
    /// Its name in the models folder: `ViT-L-14-336px.pt` for `ViT-L/14@336px`.
    pub fn file_name(&self) -> String {
        let end = self.url.rsplit('/').next().and_then(|file| file.rsplit_once('.'));
        // Hugging Face calls what `torch.save` wrote `.bin`.
        let extension = end.map_or("pt", |(_, e)| if e == "bin" { "pt" } else { e });
        format!("{}.{extension}", stem(&self.name))
    }

    /// Where to fetch it: `url`, or the same path on a mirror.
    ///
    /// # Errors
    /// [`Error::Request`] when `base` is no address.
    pub fn address(&self, base: Option<&str>) -> Result<String> {
        base.map_or_else(|| Ok(self.url.clone()), |base| address::mirrored(&self.url, base))
    }

    /// The most bytes that are accepted: twice what was expected, and some for small files.
    pub fn most_bytes(&self) -> u64 {
        self.megabytes.saturating_mul(2_000_000).saturating_add(1 << 20)
    }
}

/// A name as part of a file name: `ViT-B/32` becomes `ViT-B-32`.
pub(crate) fn stem(name: &str) -> String {
    name.replace(['/', '@'], "-")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    licences: BTreeMap<String, Licence>,
    weights: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    kind: Kind,
    about: String,
    licence: String,
    url: String,
    megabytes: u64,
    sha256: Option<String>,
}

/// Everything that can be fetched, in the order of the table.
///
/// # Errors
/// [`Error::File`] when the table inside the program is broken; a test opens it.
pub fn table() -> Result<Vec<Weights>> {
    let broken = |why: String| Error::file("presets/fetch/weights.yaml", why);
    let document: Document = serde_yaml::from_str(TABLE).map_err(|e| broken(e.to_string()))?;
    let licence = |row: &Row| {
        let found = document.licences.get(&row.licence).cloned();
        found.ok_or_else(|| broken(format!("there is no licence `{}`", row.licence)))
    };
    let weights = document.weights.iter().map(|row| {
        Ok(Weights {
            licence: licence(row)?,
            name: row.name.clone(),
            kind: row.kind,
            about: row.about.clone(),
            url: row.url.clone(),
            megabytes: row.megabytes,
            sha256: row.sha256.clone(),
        })
    });
    weights.collect()
}

/// The row of that name; capitals, `/` and `@` are forgiven.
///
/// # Errors
/// [`Error::Request`] with near names.
pub fn find(name: &str) -> Result<Weights> {
    let table = table()?;
    let plain = |name: &str| stem(name).to_lowercase();
    if let Some(found) = table.iter().find(|w| plain(&w.name) == plain(name)) {
        return Ok(found.clone());
    }
    let near = near_names(name, table.iter().map(|w| w.name.as_str()));
    let near = match near.is_empty() {
        true => String::new(),
        false => format!("; did you mean `{}`?", near.join("` or `")),
    };
    Err(Error::request(
        format!("there are no weights called `{name}` in the table{near}"),
        "`nada fetch --list` shows the table",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_sound() {
        let table = table().unwrap();
        let mut files = HashSet::new();
        for w in &table {
            assert!(w.url.starts_with("https://") && !w.url.contains(['?', '#', ' ']), "{}", w.url);
            assert!(w.licence.link.starts_with("https://") && !w.licence.name.is_empty());
            assert!((100..2000).contains(&w.megabytes), "{}", w.name);
            if let Some(sha256) = &w.sha256 {
                assert!(sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()));
                assert_eq!(*sha256, sha256.to_lowercase());
            }
            let file = w.file_name();
            assert!(
                file.ends_with(".pt") || file.ends_with(".pkl") || file.ends_with(".safetensors"),
                "{file}"
            );
            // Names that differ in capitals only would meet in one file on some systems.
            assert!(files.insert(stem(&w.name).to_lowercase()), "{} is there twice", w.name);
        }
        assert!(table.len() >= 40, "{}", table.len());
    }

    #[test]
    fn openais_checksums_stand_in_their_addresses() {
        let of_openai: Vec<_> =
            table().unwrap().into_iter().filter(|w| w.url.contains("openaipublic")).collect();
        assert_eq!(of_openai.len(), 9);
        for w in of_openai {
            let folder = w.url.rsplit('/').nth(1).unwrap();
            assert_eq!(w.sha256.as_deref(), Some(folder), "{}", w.name);
            assert_eq!(w.file_name(), w.url.rsplit('/').next().unwrap(), "what `--clip` looks for");
        }
    }

    #[test]
    fn names_are_found_however_they_are_written_and_near_ones_are_offered() {
        assert_eq!(find("vit-l-14-336PX").unwrap().name, "ViT-L/14@336px");
        assert_eq!(find("ffhq").unwrap().file_name(), "ffhq.pkl");
        assert_eq!(find("hf-ViT-B/32").unwrap().file_name(), "hf-ViT-B-32.pt");
        assert_eq!(find("hf-ViT-L/14").unwrap().file_name(), "hf-ViT-L-14.safetensors");
        let error = find("ffqh").unwrap_err();
        assert!(error.to_string().contains("did you mean `ffhq`"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
