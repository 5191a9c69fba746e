//! Latent codes from a file of this program or of another: which tensors are codes, and in which space.
//!
//! Two tables decide. [`NAMES`] says what tensors of codes are called, [`FORMS`] what shapes they have. Between them
//! stand the dictionaries that projectors and encoders write, see `codes/photos.rs`.

mod photos;

use super::keyed;
use crate::checkpoint::{self, Entry};
use crate::error::{Error, Result};
use crate::stylegan2::Config;
use crate::torch::catch;
use photos::Photos;
use std::path::Path;
use tch::{Kind, Tensor};

/// The space that codes live in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatentKind {
    /// Normal noise `[N, Dz]`, the input of the mapping network.
    Z,
    /// Styles `[N, D]`, the same for all layers.
    W,
    /// A style per layer input, `[N, L, D]`; `[L, D]` is one image.
    WPlus,
}

use LatentKind::{W, WPlus, Z};

impl LatentKind {
    /// As it is typed.
    fn name(self) -> &'static str {
        match self {
            Z => "z",
            W => "w",
            WPlus => "w+",
        }
    }

    /// Whether codes that are called so may be of `kind`: NVIDIA's projector calls w+ `w`, too.
    fn allows(self, kind: Self) -> bool {
        self == kind || (self, kind) == (W, WPlus)
    }
}

/// What tensors of codes are called, and the space that the name tells. The first that a file has counts.
const NAMES: &[(&str, Option<LatentKind>)] = &[
    ("w+", Some(WPlus)),
    ("w_plus", Some(WPlus)),
    ("wplus", Some(WPlus)),
    // InterFaceGAN.
    ("wp", Some(WPlus)),
    // `w` of NVIDIA's `projected_w.npz` is w or w+.
    ("w", Some(W)),
    ("ws", Some(W)),
    ("W", Some(W)),
    ("projected_w", Some(W)),
    // NVIDIA's projector for TensorFlow.
    ("dlatents", Some(W)),
    ("dlatent", Some(W)),
    ("z", Some(Z)),
    ("Z", Some(Z)),
    ("latents", None),
    // rosinality's projector, JoJoGAN.
    ("latent", None),
    ("latent_codes", None),
    ("latent_code", None),
    ("codes", None),
    ("code", None),
];

/// What lies beside the codes that rosinality's projector has found: these are in W or W+.
const RESULTS: [&str; 3] = ["img", "noise", "noises"];

/// A dimension of a tensor of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// Images.
    Many,
    /// A dimension without meaning.
    One,
    /// Style inputs.
    Layers,
    /// Numbers of z.
    Noise,
    /// Numbers of w.
    Style,
}

use Axis::{Layers, Many, Noise, One, Style};

/// The shapes of codes. The first that fits counts: what fits w+ is hardly ever something else.
const FORMS: &[(LatentKind, &[Axis])] = &[
    (WPlus, &[Many, Layers, Style]),
    (WPlus, &[Many, One, Layers, Style]),
    (WPlus, &[Layers, Style]),
    (W, &[Many, One, Style]),
    (Z, &[Many, Noise]),
    (W, &[Many, Style]),
    (Z, &[Many, One, Noise]),
    (Z, &[Noise]),
    (W, &[Style]),
];

/// Codes from a file.
#[derive(Debug)]
pub struct StoredCodes {
    /// z `[N, Z]`, w `[N, D]` or w+ `[N, L, D]`, float32, on the CPU.
    pub codes: Tensor,
    /// Which of them.
    pub kind: LatentKind,
    /// What was taken for granted or chosen, in words: to be told to the user.
    pub notes: Vec<String>,
}

/// Reads the codes of a generator from any file of tensors; `FILE#KEY` is one of several photos, by name or number.
///
/// # Errors
/// A file that cannot be read, holds no codes or several that are no photos, has a shape that does not fit, or numbers
/// that are none.
pub fn open_codes(path: &Path, kind: Option<LatentKind>, config: &Config) -> Result<StoredCodes> {
    let (path, key) = keyed::split(path);
    let file = checkpoint::open(&path)?;
    let reader = Reader { path: &path, asked: kind, config };
    let mut listed = file.in_order();
    // Losses, numbers of steps and the like lie beside codes.
    let codes = |(_, entry): &Listed<'_>| is_float(entry) && !entry.shape().is_empty();
    if listed.iter().any(codes) {
        listed.retain(codes);
    }
    match key {
        Some(key) => reader.part(&listed, &key),
        None => reader.read(&listed),
    }
}

/// A tensor with its name.
type Listed<'a> = (&'a str, &'a Entry);

struct Reader<'a> {
    path: &'a Path,
    asked: Option<LatentKind>,
    config: &'a Config,
}

impl Reader<'_> {
    fn read(&self, listed: &[Listed<'_>]) -> Result<StoredCodes> {
        if let Some(mut photos) = self.photos(listed) {
            let names: Vec<&str> = photos.each.iter().map(|(photo, _, _)| *photo).collect();
            if names.len() > 1 && !photos.is_list {
                let note = format!("codes of {} photos: {}", names.len(), keyed::list(&names));
                photos.notes.insert(0, note);
            }
            return self.gather(photos);
        }
        let (name, entry) = self.single(listed).ok_or_else(|| self.undecided(listed))?;
        self.one(name, entry, told(name, listed))
    }

    /// What `key` names: a photo, a tensor, a dictionary of tensors, or the number of one of many codes.
    fn part(&self, listed: &[Listed<'_>], key: &str) -> Result<StoredCodes> {
        let names: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
        let mut known = keyed::list(&names);
        if let Some(mut photos) = self.photos(listed).filter(|photos| !photos.is_list) {
            let names: Vec<&str> = photos.each.iter().map(|(photo, _, _)| *photo).collect();
            if let Some(found) = keyed::find(&names, key) {
                photos.each = vec![photos.each[found]];
                return self.gather(photos);
            }
            known = keyed::list(&names);
        }
        if let Some(&(name, entry)) = listed.iter().find(|(name, _)| *name == key) {
            return self.one(name, entry, told(name, listed));
        }
        let inside = |name: &str| {
            name.strip_prefix(key).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
        };
        let parts: Vec<Listed<'_>> = listed
            .iter()
            .filter(|(name, _)| inside(name))
            .map(|&(name, entry)| (&name[key.len() + 1..], entry))
            .collect();
        if !parts.is_empty() {
            return self.read(&parts);
        }
        let missing = |hint: String| {
            Error::request(format!("`{}` has no `{key}`", self.path.display()), hint)
        };
        let Ok(number) = key.parse::<i64>() else {
            return Err(missing(format!("it holds {known}")));
        };
        let mut all = self.read(listed)?;
        let count = all.codes.size()[0];
        if !(0..count).contains(&number) {
            return Err(missing(format!("its codes are 0 to {}", count - 1)));
        }
        all.codes = all.codes.narrow(0, number, 1);
        Ok(all)
    }

    /// The only tensor, or the one that is called as codes are.
    fn single<'a>(&self, listed: &[Listed<'a>]) -> Option<Listed<'a>> {
        if let [only] = listed {
            return Some(*only);
        }
        let wanted = NAMES.iter().filter(|(_, told)| {
            told.zip(self.asked).is_none_or(|(told, asked)| told.allows(asked))
        });
        let mut found = wanted.filter_map(|(name, _)| listed.iter().find(|(n, _)| n == name));
        found.next().copied()
    }

    /// Puts the codes of photos behind each other.
    fn gather(&self, photos: Photos<'_>) -> Result<StoredCodes> {
        let Photos { each, is_list, told, mut notes } = photos;
        let mut first: Option<StoredCodes> = None;
        let mut codes = Vec::new();
        for (photo, name, entry) in each {
            let read = self.one(name, entry, told)?;
            let last = read.codes.size()[0] - 1;
            codes.push(match is_list {
                true => read.codes.shallow_clone(),
                false => read.codes.narrow(0, last, 1),
            });
            let kind = read.kind;
            let before = first.get_or_insert(read);
            if before.kind != kind {
                return Err(Error::request(
                    format!(
                        "`{}`: the codes of `{photo}` are {}, those before {}",
                        self.path.display(),
                        kind.name(),
                        before.kind.name()
                    ),
                    "name one with `FILE#PHOTO`",
                ));
            }
        }
        let first = first.ok_or_else(|| self.undecided(&[]))?;
        notes.extend(first.notes);
        let codes = catch("reading codes", || Ok(Tensor::cat(&codes, 0)))?;
        Ok(StoredCodes { codes, kind: first.kind, notes })
    }

    /// The codes in one tensor, `[N, …]`.
    fn one(&self, name: &str, entry: &Entry, told: Option<LatentKind>) -> Result<StoredCodes> {
        let path = self.path;
        if !is_float(entry) {
            return Err(Error::file_hint(
                path,
                format!("`{name}` holds {:?} numbers", entry.kind()),
                "latent codes are floating point numbers",
            ));
        }
        let shape = entry.shape();
        let found = self.form(shape, told).map_err(|(found, hint)| {
            Error::request(
                format!("`{}`: `{name}` has shape {shape:?}, {found}", path.display()),
                hint,
            )
        })?;
        let nameless = told.is_none() && self.asked.is_none();
        let by_name = if nameless { told_by_stem(path) } else { None };
        let by_name = by_name.and_then(|told| self.form(shape, Some(told)).ok());
        let (kind, count, note) = match by_name {
            Some((kind, count, _)) if kind != found.0 => {
                let note = format!(
                    "taken for {} after the name of the file; `--latent-kind {}` overrules",
                    kind.name(),
                    found.0.name()
                );
                (kind, count, Some(note))
            }
            _ => found,
        };
        let (l, d, z) = (self.config.num_styles(), self.config.style_dim, self.config.z_dim);
        let plain = match kind {
            Z => vec![count, z],
            W => vec![count, d],
            WPlus => vec![count, l, d],
        };
        let codes = entry.tensor()?;
        let codes = catch("reading codes", || Ok(codes.to_kind(Kind::Float).reshape(&plain)))?;
        let wrong = codes.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
        if wrong > 0 {
            return Err(Error::file_hint(
                path,
                format!("{wrong} of the {} numbers in `{name}` are NaN or infinite", codes.numel()),
                "find out where they come from: no image can be made of them",
            ));
        }
        Ok(StoredCodes { codes, kind, notes: note.into_iter().collect() })
    }

    /// Which codes have this shape, how many there are, and what to say about it; or what is wrong, and what to do.
    fn form(
        &self,
        shape: &[i64],
        told: Option<LatentKind>,
    ) -> std::result::Result<(LatentKind, i64, Option<String>), (String, String)> {
        let (l, d, z) = (self.config.num_styles(), self.config.style_dim, self.config.z_dim);
        if shape.first() == Some(&0) {
            return Err(("which is empty".into(), "give at least one code".into()));
        }
        let fits = |axes: &[Axis]| {
            let size = |axis: Axis, n: i64| match axis {
                Many => true,
                One => n == 1,
                Layers => n == l,
                Noise => n == z,
                Style => n == d,
            };
            axes.len() == shape.len() && axes.iter().zip(shape).all(|(&axis, &n)| size(axis, n))
        };
        let allowed = |kind: LatentKind| match (self.asked, told) {
            (Some(asked), _) => asked == kind,
            (None, Some(told)) => told.allows(kind),
            (None, None) => true,
        };
        let mut forms = FORMS.iter().filter(|(kind, axes)| allowed(*kind) && fits(axes));
        let Some(&(kind, axes)) = forms.next() else {
            let forms = format!(
                "this {} px generator takes z [N, {z}], w [N, {d}] or w+ [N, {l}, {d}]",
                self.config.resolution
            );
            return Err((forms, "`nada inspect` shows the sizes of a generator".into()));
        };
        let other = forms.next().filter(|_| axes == [Layers, Style]);
        let note = other.map(|(other, _)| {
            format!(
                "codes of shape {shape:?} were taken for one w+ code, not for {l} codes {0}; `--latent-kind {0}` overrules",
                other.name()
            )
        });
        let count = if axes.first() == Some(&Many) { shape[0] } else { 1 };
        Ok((kind, count, note))
    }

    fn undecided(&self, listed: &[Listed<'_>]) -> Error {
        let names: Vec<&str> = listed.iter().map(|(name, _)| *name).collect();
        let found = match names.as_slice() {
            [] => "no tensor".to_owned(),
            _ => format!("{} tensors ({})", names.len(), keyed::list(&names)),
        };
        Error::file_hint(
            self.path,
            format!("holds {found}; which are the latent codes?"),
            "a file of latents holds one tensor, calls it `latents`, `z`, `w` or `w_plus`, or holds a code for each of \
             several photos; `FILE#NAME` names one",
        )
    }
}

/// The space that the name of a tensor tells, or what lies beside it.
fn told(name: &str, listed: &[Listed<'_>]) -> Option<LatentKind> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let (_, told) = NAMES.iter().find(|(known, _)| *known == last)?;
    let mut beside = listed.iter().filter_map(|(name, _)| name.split('/').next());
    told.or_else(|| beside.any(|name| RESULTS.contains(&name)).then_some(W))
}

fn is_float(entry: &Entry) -> bool {
    matches!(entry.kind(), Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double)
}

/// What the name of a file says about a tensor without one: `z.npy`, `W.npy`, `faces_w_plus.npy`.
fn told_by_stem(path: &Path) -> Option<LatentKind> {
    let stem = path.file_stem()?.to_str()?.to_lowercase();
    let ends = |name: &str| {
        stem.strip_suffix(name)
            .is_some_and(|before| before.is_empty() || before.ends_with(['_', '-', '.']))
    };
    NAMES.iter().find(|(name, told)| told.is_some() && ends(name)).and_then(|(_, told)| *told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_the_shape_unless_it_is_said() {
        // 64 px: 10 style inputs.
        let mut config = Config::standard(64, 1);
        let of = |config: &Config, told, shape: &[i64], asked| {
            let reader = Reader { path: Path::new("x.npy"), asked, config };
            reader.form(shape, told).map(|(kind, n, note)| (kind, n, note.is_some()))
        };
        for (shape, told, asked, want) in [
            (&[3, 512][..], None, None, (Z, 3, false)),
            (&[3, 512], Some(W), None, (W, 3, false)),
            (&[3, 512], None, Some(W), (W, 3, false)),
            (&[512], None, None, (Z, 1, false)),
            (&[512], Some(W), None, (W, 1, false)),
            (&[3, 10, 512], None, None, (WPlus, 3, false)),
            (&[3, 1, 10, 512], None, None, (WPlus, 3, false)),
            (&[1, 10, 512], Some(W), None, (WPlus, 1, false)),
            (&[1, 1, 512], Some(W), None, (W, 1, false)),
            // One face: said, unless the user or the name says so.
            (&[10, 512], None, None, (WPlus, 1, true)),
            (&[10, 512], Some(WPlus), None, (WPlus, 1, false)),
            (&[10, 512], None, Some(WPlus), (WPlus, 1, false)),
            (&[10, 512], None, Some(Z), (Z, 10, false)),
            (&[10, 512], Some(Z), None, (Z, 10, false)),
            (&[10, 512], None, Some(W), (W, 10, false)),
        ] {
            assert_eq!(of(&config, told, shape, asked), Ok(want), "{shape:?} {told:?} {asked:?}");
        }
        for (shape, asked) in [
            (&[3, 12, 512][..], None),
            (&[3, 10, 512], Some(Z)),
            (&[3, 512], Some(WPlus)),
            (&[3, 100], None),
            (&[0, 512], None),
            (&[], None),
        ] {
            assert!(of(&config, None, shape, asked).is_err(), "{shape:?}");
        }
        config.z_dim = 64;
        assert_eq!(of(&config, None, &[3, 512], None), Ok((W, 3, false)));
        assert_eq!(of(&config, None, &[10, 512], None), Ok((WPlus, 1, true)));
    }

    #[test]
    fn the_end_of_a_files_name_tells_a_space() {
        let told = ["z.npy", "W.npy", "a/faces_w_plus.pt", "view.npy", "fez.npy", "latents.npy"]
            .map(|name| told_by_stem(Path::new(name)));
        assert_eq!(told, [Some(Z), Some(W), Some(WPlus), None, None, None]);
    }
}
