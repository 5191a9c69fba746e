//! Latent codes from a file, or from the seed.

use crate::checkpoint::{self, Entry};
use crate::error::{Error, Result};
use crate::rng;
use crate::stylegan2::{Config, Generator, Latent};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// The space that codes live in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum LatentKind {
    /// Normal noise `[N, Dz]`, the input of the mapping network
    Z,
    /// Styles `[N, D]`, the same for all layers
    W,
    /// A style per layer input, `[N, L, D]`; `[L, D]` is one image
    #[value(name = "w+", aliases = ["wplus", "w_plus"])]
    WPlus,
}

impl LatentKind {
    /// What a tensor of this kind may be called in a file.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Z => &["z"],
            Self::W => &["w"],
            Self::WPlus => &["w+", "w_plus", "wplus"],
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Z, Self::W, Self::WPlus].into_iter().find(|kind| kind.names().contains(&name))
    }
}

/// The codes of all images, of which a batch is taken at a time.
#[derive(Debug)]
pub(in crate::cli) enum Codes {
    /// Drawn from the seed: image i is the same whatever the count.
    Seeded { count: i64, seed: u64 },
    /// From a file: `[N, …]`, float32, on the CPU.
    Given { codes: Tensor, kind: LatentKind },
}

impl Codes {
    /// How many images they make.
    pub(in crate::cli) fn count(&self) -> i64 {
        match self {
            Self::Seeded { count, .. } => *count,
            Self::Given { codes, .. } => codes.size()[0],
        }
    }

    /// All of them as W+ `[N, L, D]`.
    ///
    /// # Errors
    /// As [`Generator::w_plus`].
    pub(in crate::cli) fn w_plus(&self, generator: &Generator, psi: f64) -> Result<Tensor> {
        tch::no_grad(|| generator.w_plus(&self.batch(generator, 0, self.count()), psi))
    }

    /// The codes of `n` images from `start`.
    pub(in crate::cli) fn batch(&self, generator: &Generator, start: i64, n: i64) -> Latent {
        let ready = |t: Tensor| t.to_device(generator.device()).to_kind(generator.kind());
        match self {
            Self::Seeded { seed, .. } => {
                let shape = [1, generator.config().z_dim];
                let draw = |i: i64| {
                    rng::stream(*seed, i as u64, "generated z").normal(
                        &shape,
                        generator.kind(),
                        generator.device(),
                    )
                };
                Latent::Z(Tensor::cat(&(start..start + n).map(draw).collect::<Vec<_>>(), 0))
            }
            Self::Given { codes, kind } => {
                let part = ready(codes.narrow(0, start, n));
                match kind {
                    LatentKind::Z => Latent::Z(part),
                    LatentKind::W => Latent::W(part),
                    LatentKind::WPlus => Latent::WPlus(part),
                }
            }
        }
    }
}

/// Reads codes for a generator from any file of tensors, `.npy` or `.safetensors` as a rule.
///
/// # Errors
/// A file that cannot be read, holds no codes or several, has a shape that does not fit, or numbers that are none.
pub(in crate::cli) fn read(
    path: &Path,
    kind: Option<LatentKind>,
    config: &Config,
) -> Result<Codes> {
    let file = checkpoint::open(path)?;
    let (name, entry) = choose(path, &file.entries, kind)?;
    if !matches!(entry.kind(), Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double) {
        return Err(Error::file_hint(
            path,
            format!("`{name}` holds {:?} numbers", entry.kind()),
            "latent codes are floating point numbers",
        ));
    }
    let (kind, shape) = kind_of(name, entry.shape(), kind, config).map_err(|(found, hint)| {
        let message =
            format!("`{}`: `{name}` has shape {:?}, {found}", path.display(), entry.shape());
        Error::request(message, hint)
    })?;
    let codes = entry.tensor()?.to_kind(Kind::Float).reshape(&shape);
    let wrong = codes.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
    if wrong > 0 {
        return Err(Error::file_hint(
            path,
            format!("{wrong} of the {} numbers in `{name}` are NaN or infinite", codes.numel()),
            "find out where they come from: no image can be made of them",
        ));
    }
    Ok(Codes::Given { codes, kind })
}

/// The tensor with the codes: the only one, or the one that is called so.
fn choose<'a>(
    path: &Path,
    entries: &'a BTreeMap<String, Entry>,
    kind: Option<LatentKind>,
) -> Result<(&'a str, &'a Entry)> {
    let wanted: Vec<&str> = match kind {
        Some(kind) => kind.names().to_vec(),
        None => ["w+", "w_plus", "wplus", "w", "z"].into(),
    };
    let named = || wanted.iter().copied().chain(["latents", "latent"]);
    let only = || (entries.len() == 1).then(|| entries.first_key_value()).flatten();
    let (name, entry) = only()
        .or_else(|| named().find_map(|name| entries.get_key_value(name)))
        .ok_or_else(|| {
            let names: Vec<String> =
                entries.keys().take(5).map(|name| format!("`{name}`")).collect();
            let found = match names.as_slice() {
                [] => "no tensor".to_owned(),
                names => format!("{} tensors ({} …)", entries.len(), names.join(", ")),
            };
            Error::file_hint(
                path,
                format!("holds {found}; which are the latent codes?"),
                "a file of latents holds one tensor, or calls it `latents`, `z`, `w` or `w_plus`",
            )
        })?;
    Ok((name.as_str(), entry))
}

/// Which codes these are, and the shape to read them in; or what is wrong, and what to do.
///
/// Three dimensions are w+. Two are z, or w if the tensor is called `w` or only w can be so wide; they are one w+ if
/// asked for. One dimension is a single z or w.
fn kind_of(
    name: &str,
    shape: &[i64],
    asked: Option<LatentKind>,
    config: &Config,
) -> std::result::Result<(LatentKind, Vec<i64>), (String, String)> {
    let (l, d, z) = (config.num_styles(), config.style_dim, config.z_dim);
    let forms = format!(
        "this {} px generator takes z [N, {z}], w [N, {d}] or w+ [N, {l}, {d}]",
        config.resolution
    );
    let misfit = || (forms.clone(), "`nada inspect` shows the sizes of a generator".to_owned());
    if shape.first() == Some(&0) {
        return Err(("which is empty".into(), "give at least one code".into()));
    }
    let wide = |kind: LatentKind, width: i64| width == if kind == LatentKind::Z { z } else { d };
    let hinted = asked.or_else(|| LatentKind::of_name(name));
    match (shape, hinted) {
        (&[n, rows, width], None | Some(LatentKind::WPlus)) if rows == l && width == d => {
            Ok((LatentKind::WPlus, vec![n, l, d]))
        }
        (&[rows, width], Some(LatentKind::WPlus)) if rows == l && width == d => {
            Ok((LatentKind::WPlus, vec![1, l, d]))
        }
        (&[_, _] | &[_], Some(kind)) if kind != LatentKind::WPlus => {
            let (n, width) = if let &[n, width] = shape { (n, width) } else { (1, shape[0]) };
            if wide(kind, width) { Ok((kind, vec![n, width])) } else { Err(misfit()) }
        }
        (&[n, width], None) if width == z => Ok((LatentKind::Z, vec![n, z])),
        (&[rows, width], None) if rows == l && width == d => Err((
            format!("which may be {l} w codes or one w+"),
            "say which with `--latent-kind w` or `--latent-kind w+`".into(),
        )),
        (&[n, width], None) if width == d => Ok((LatentKind::W, vec![n, d])),
        (&[width], None) if width == z => Ok((LatentKind::Z, vec![1, z])),
        (&[width], None) if width == d => Ok((LatentKind::W, vec![1, d])),
        _ => Err(misfit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_the_shape_unless_it_is_said() {
        // 64 px: 10 style inputs.
        let mut config = Config::standard(64, 1);
        let of = |config: &Config, name: &str, shape: &[i64], asked| {
            kind_of(name, shape, asked, config).map_err(|(found, _)| found)
        };
        use LatentKind::{W, WPlus, Z};
        assert_eq!(of(&config, "array", &[3, 512], None), Ok((Z, vec![3, 512])));
        assert_eq!(of(&config, "w", &[3, 512], None), Ok((W, vec![3, 512])));
        assert_eq!(of(&config, "array", &[3, 512], Some(W)), Ok((W, vec![3, 512])));
        assert_eq!(of(&config, "array", &[512], None), Ok((Z, vec![1, 512])));
        assert_eq!(of(&config, "array", &[3, 10, 512], None), Ok((WPlus, vec![3, 10, 512])));
        assert_eq!(of(&config, "array", &[10, 512], None), Ok((Z, vec![10, 512])));
        assert_eq!(of(&config, "array", &[10, 512], Some(WPlus)), Ok((WPlus, vec![1, 10, 512])));
        for (shape, asked) in [
            (&[3, 12, 512][..], None),
            (&[3, 10, 512], Some(Z)),
            (&[3, 100], None),
            (&[0, 512], None),
            (&[], None),
        ] {
            assert!(of(&config, "array", shape, asked).is_err(), "{shape:?}");
        }
        config.z_dim = 64;
        assert_eq!(of(&config, "array", &[3, 512], None), Ok((W, vec![3, 512])));
        assert!(of(&config, "array", &[10, 512], None).unwrap_err().contains("10 w codes or one"));
    }
}
