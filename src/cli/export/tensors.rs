//! Tensors in files: whole generators, and deltas.

use super::{ExportArgs, Format, Job, Written, agree, difference, python_name};
use crate::builtin::{self, RecordedBase};
use crate::checkpoint::{DELTA_FORMAT, address, delta, save_safetensors};
use crate::cli::convert::{Dtype, Packing, write_generator};
use crate::cli::printer::Printer;
use crate::error::{Error, Result};
use crate::export::rosinality;
use crate::models::{GeneratorFiles, GeneratorTable, Origin};
use crate::run_dir::RunDir;
use crate::stylegan2::{Generator, LatentAvgOrigin};
use std::path::Path;
use tch::Kind;

/// safetensors or rosinality's checkpoint.
pub(super) fn write_whole(job: &Job<'_>, printer: &Printer) -> Result<Written> {
    let dtype = job.args.dtype.map(Dtype::kind);
    let pt = job.args.format == Format::Pt;
    let packing = if pt { Packing::Pt } else { Packing::Safetensors };
    write_generator(&job.stored, packing, job.out, dtype, printer)?;
    let (again, _) = job.open(job.out)?;
    let (before, after) = (job.images(&job.generator)?.0, job.images(&again)?.0);
    let name = python_name(job.out);
    let (what, format, python) = if pt {
        let config = again.config();
        let has_average = again.latent_avg_origin() == LatentAvgOrigin::Stored;
        let (what, python) = match (config.classes, rosinality::multiplier(config)) {
            (0, Some(_)) => (
                "A StyleGAN2 generator as rosinality's code and the original StyleGAN-NADA load it.",
                rosinality::python(config, &name, has_average),
            ),
            (0, None) => (
                "A StyleGAN2 generator under rosinality's names. The class of rosinality's code and of the original \
                 StyleGAN-NADA has other channels than this file: the lines below give it those of the table.",
                rosinality::python(config, &name, has_average),
            ),
            _ => (
                "A conditional StyleGAN2 generator under rosinality's names, with all of its classes. rosinality's code \
                 knows no classes and does not load it; `nada export --format pt --class N` writes one that it loads.",
                format!(
                    "import torch\nstate = torch.load({name}, weights_only=True)[\"g_ema\"]\n\
                     print({{key: tuple(tensor.shape) for key, tensor in state.items()}})"
                ),
            ),
        };
        (
            what,
            "torch zip of {\"g_ema\": state dictionary, \"latent_avg\": [D] if known}, with noise maps and filter kernels",
            python,
        )
    } else {
        (
            "A StyleGAN2 generator, all tensors under rosinality's names.",
            "safetensors",
            format!(
                "from safetensors.torch import load_file\ntensors = load_file({name})\nprint({{name: tuple(t.shape) for name, t in tensors.items()}})"
            ),
        )
    };
    let numbers = match dtype {
        Some(Kind::Half) => "float16",
        Some(_) => "float32",
        None => "as they were",
    };
    let mut settings = vec![("Format", format.into()), ("Numbers", numbers.into())];
    let found = difference(&before, &after)?;
    let folded = job.generator.class().filter(|_| again.config().classes == 0);
    let difference = match folded {
        Some(class) => {
            settings.push(("Class", format!("{class}, folded into the bias of `style.1`")));
            // What half precision rounds is no fault of the folding.
            if dtype == Some(Kind::Half) { found } else { agree(job.out, found)? }
        }
        None => found,
    };
    if pt {
        let config = again.config();
        let widths = config.channels.iter().enumerate();
        let widths: Vec<String> = widths.map(|(b, c)| format!("{} px: {c}", 4 << b)).collect();
        settings.push(("Channels", widths.join(", ")));
        settings.extend(config.conv_clamp.map(|clamp| {
            ("Clamp", format!("±{clamp} behind every layer, which rosinality's code does not do"))
        }));
    }
    Ok(Written {
        files: vec![job.out.to_path_buf()],
        what: what.into(),
        settings,
        python,
        difference,
    })
}

/// What differs from the base.
pub(super) fn write_delta(job: &Job<'_>, printer: &Printer) -> Result<Written> {
    let (files, base, origin) = base(job)?;
    if base.config() != job.generator.config() {
        return Err(other_shape(&files, job.files));
    }
    let changed = delta(&base.tensors(), &job.generator.tensors())?;
    let mut metadata = job.stored.origin.metadata.clone();
    metadata.remove("torch.version");
    let file = address::canonical(&origin.path).unwrap_or(origin.path);
    for (key, value) in [
        ("format", DELTA_FORMAT.to_owned()),
        ("base", file.display().to_string()),
        ("base_sha256", origin.sha256.clone()),
    ] {
        metadata.insert(key.into(), value);
    }
    save_safetensors(job.out, &changed, &metadata, Some(Kind::Float))?;
    printer.info(&format!(
        "{} of {} tensors differ from `{files}`",
        changed.len(),
        job.generator.tensors().len()
    ));
    // Read back upon its base: every tensor, bit for bit.
    let mut together = files.clone();
    together.deltas.push(job.out.to_path_buf());
    let (again, _) = job.open(&together)?;
    let wrong = delta(&job.generator.tensors(), &again.tensors())?;
    if let Some(name) = wrong.keys().next() {
        return Err(Error::file(
            job.out,
            format!("was written, but upon its base `{name}` is not what it was"),
        ));
    }
    let (before, after) = (job.images(&job.generator)?.0, job.images(&again)?.0);
    let name = python_name(job.out);
    Ok(Written {
        files: vec![job.out.to_path_buf()],
        what: format!(
            "What an adaptation changed in a StyleGAN2 generator: {} tensors, of no use without their base. \
             `nada generate --generator BASE+{}` puts them together.",
            changed.len(),
            job.out.file_name().unwrap_or_default().to_string_lossy()
        ),
        settings: vec![
            ("Belongs upon", format!("`{files}`, sha256 `{}`", origin.sha256)),
            ("Format", "safetensors, float32; `base_sha256` in its metadata is the base's".into()),
        ],
        python: delta_python(&name, &files, &origin.sha256),
        difference: difference(&before, &after)?,
    })
}

/// Refuses a base of another shape by the tables of both, before any number is read.
///
/// # Errors
/// [`Error::Request`]; as [`GeneratorTable::read`] for the base.
pub(super) fn check_base_shape(
    args: &ExportArgs,
    files: &GeneratorFiles,
    table: &GeneratorTable,
) -> Result<()> {
    let Some(asked) = &args.base else { return Ok(()) };
    let base = builtin::resolve_generator(asked)?;
    match GeneratorTable::read(&base, table.class())?.config() == table.config() {
        true => Ok(()),
        false => Err(other_shape(&base, files)),
    }
}

fn other_shape(base: &GeneratorFiles, files: &GeneratorFiles) -> Error {
    Error::request(
        format!("`{base}` has another shape than `{files}`"),
        "a delta is between two generators of one shape: compare them with `nada inspect`",
    )
}

/// Lines that put a delta upon its base; that is another file, so it is asked whether it is the right one.
fn delta_python(name: &str, base: &GeneratorFiles, sha256: &str) -> String {
    let ready = base.deltas.is_empty() && base.base.extension().is_some_and(|e| e == "safetensors");
    let (file, from) = if ready {
        let check = format!(
            "\nassert hashlib.sha256(open(base, \"rb\").read()).hexdigest() == \"{sha256}\""
        );
        (python_name(&base.base), format!("  # the base, laid beside this file{check}"))
    } else {
        let made =
            "  # the base, laid beside this file: `nada convert BASE base.safetensors` makes it";
        ("\"base.safetensors\"".to_owned(), made.to_owned())
    };
    let import = if ready { "import hashlib\n" } else { "" };
    format!(
        "{import}from safetensors.torch import load_file\nbase = {file}{from}\n\
         tensors = load_file(base) | load_file({name})"
    )
}

/// The generator that is the rest: the one asked for, or what the run says it began with.
fn base(job: &Job<'_>) -> Result<(GeneratorFiles, Generator, Origin)> {
    if let Some(asked) = &job.args.base {
        let files = builtin::resolve_generator(asked)?;
        let (generator, origin) = job.open(&files)?;
        return Ok((files, generator, origin));
    }
    let about = |key: &str| job.stored.origin.metadata.get(key);
    let (Some(path), Some(hash)) = (about("base"), about("base_sha256")) else {
        return Err(Error::request(
            format!("`{}` does not say what it was made from", job.files),
            "name that generator with `--base GENERATOR`",
        ));
    };
    // The run may know it by a name that is still good where its file has moved.
    let run = RunDir::open(&job.args.what).and_then(|run| run.read_config()).ok();
    let asked = run.map_or_else(|| path.clone(), |(config, _)| config.generator);
    let place = Path::new(&job.args.what);
    let near = if place.is_dir() { place } else { place.parent().unwrap_or(place) };
    let (path, sha256) = (Path::new(path), hash.as_str());
    let recorded = RecordedBase { run: near, path, sha256, asked: &asked, option: "--base" };
    let files = recorded.find(None)?;
    let (generator, origin) = job.open(&files)?;
    if origin.sha256 != *hash {
        return Err(Error::file_hint(
            path,
            format!("has sha256 {}, but `{}` began with {hash}", origin.sha256, job.files),
            "put the earlier file back, or name a base with `--base GENERATOR`",
        ));
    }
    Ok((files, generator, origin))
}
