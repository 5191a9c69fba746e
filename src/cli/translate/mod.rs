//! `nada translate`: photos, made again in every domain.

mod domains;

use super::invert::{settings, write_codes};
use super::inverting::{
    FaceRecord, InputKind, InversionArgs, Inverter, Kept, Ledger, Session, Tables,
};
use super::mapper::{MapperFlags, Moved};
use super::photos::{Cutter, PhotoArgs, distinct, gather};
use super::printer::Printer;
use super::stop;
use crate::error::{Error, Result};
use crate::imaging::to_rgb8;
use crate::models::{self, GeneratorTable};
use crate::stylegan2::{Config, Generator, Noise};
use crate::torch::catch;
use clap::Args;
use domains::Domain;
use std::path::PathBuf;
use tch::{Kind, Tensor};

/// What may be typed behind `nada translate`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada translate me.jpg --domains runs/sketch runs/zombie --out me
  nada translate holiday/ --face all --domains runs/*
  nada translate me.jpg --optimize 200 --domains runs/sketch
  nada translate mask.png --input-kind mask --encoder psp_celebs_seg_to_face.pt --domains runs/painting

What it writes:  DIR/sheet.png: photo, reconstruction, each domain; DIR/NAME/: the same as single pictures, and the
codes; DIR/translation.json. The same command goes on where it was stopped, and only makes what is missing: name one
more domain later, and the photos are not inverted again.")]
pub(super) struct TranslateArgs {
    #[command(flatten)]
    photos: PhotoArgs,
    /// Runs, or other generators, that make the domains [default: the finished runs in `runs/`]
    #[arg(long, value_name = "RUN|FILE", num_args = 1.., help_heading = "Domains")]
    domains: Vec<String>,
    /// What a domain is called, instead of its run's target phrase; repeat it, once for each domain
    #[arg(long, value_name = "TEXT", help_heading = "Domains")]
    label: Vec<String>,
    /// What the pictures are
    #[arg(long, value_name = "KIND", default_value = "photo", help_heading = "Domains")]
    input_kind: InputKind,
    /// The generator that the photos are inverted into [default: what the first domain was adapted from]
    #[arg(long, value_name = "FILE|RUN", help_heading = "Models")]
    generator: Option<String>,
    #[command(flatten)]
    inversion: InversionArgs,
    #[command(flatten)]
    mapper: MapperFlags,
    /// The folder for the results
    #[arg(long, value_name = "DIR", default_value = "translated", help_heading = "Output")]
    out: PathBuf,
    /// Write into a folder that holds something else, and do everything anew
    #[arg(long, help_heading = "Output")]
    force: bool,
}

/// Runs the command.
pub(super) fn run(args: &TranslateArgs, printer: &Printer) -> anyhow::Result<()> {
    let photos = gather(&args.photos.photos, printer)?;
    let domains = domains::find(&args.domains, &args.label)?;
    let (asked, files) = domains::source(args.generator.as_deref(), &domains)?;
    let cut_out = args.input_kind != InputKind::Photo;
    let (asked, kind) = (asked.as_deref(), args.input_kind);
    let tables = Tables::read(&args.inversion, asked, files, kind, printer)?;
    for domain in &domains {
        let other = GeneratorTable::read(&domain.files, None)?;
        check_fits(domain, other.config(), tables.generator.config())?;
        if domains.len() == 1 {
            args.mapper.check(other.config())?;
        }
    }
    let inverter = Inverter::open(&args.inversion, tables, printer)?;
    // Masks and sketches are drawn to fit: there is no face to look for.
    let photo_args = PhotoArgs { no_align: args.photos.no_align || cut_out, ..args.photos.clone() };
    let cutter = Cutter::new(
        &photo_args,
        photos.len(),
        inverter.frame(),
        inverter.shape(),
        inverter.device,
    )?;
    let ledger =
        Ledger::new(settings(&photo_args, &inverter), inverter.weights.clone(), inverter.device);
    let mut session = Session::open(
        &args.out,
        "translation.json",
        ledger,
        &inverter,
        Kept::Result,
        args.force,
        printer,
    )?;
    let photos = distinct(photos, &session.ledger.names());
    session.run(&photos, &cutter)?;
    let faces = session.faces(&photos);
    if !faces.is_empty() {
        make(&mut session, &faces, &domains, &args.mapper, printer)?;
        let mut columns = vec![
            ("photo".to_owned(), cut_out_name(args.input_kind).to_owned()),
            ("reconstruction".to_owned(), "reconstruction".to_owned()),
        ];
        columns.extend(domains.iter().map(|d| (d.file.clone(), d.label.clone())));
        write_codes(&session, &faces.iter().map(|f| f.name.as_str()).collect::<Vec<_>>())?;
        for sheet in session.sheets("", &faces, &columns)? {
            printer.data(&sheet.display().to_string())?;
        }
    }
    session.report_failures(photos.len())?;
    Ok(())
}

fn cut_out_name(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Photo => "photo",
        InputKind::Mask => "mask",
        InputKind::Sketch => "sketch",
    }
}

/// Makes the pictures that are missing, a domain at a time: one generator is in memory beside the first.
fn make(
    session: &mut Session<'_>,
    faces: &[FaceRecord],
    domains: &[Domain],
    mapper: &MapperFlags,
    printer: &Printer,
) -> Result<()> {
    let (mut moved_any, only) = (false, domains.len() == 1);
    let bar = session.bar((faces.len() * domains.len()) as u64);
    for domain in domains {
        bar.set_message(domain.label.clone());
        let (generator, origin) =
            models::open_generator(&domain.files, Kind::Float, session.inverter.device)?;
        check_fits(domain, generator.config(), session.inverter.generator.config())?;
        if let Some(base) = &domain.base
            && *base != session.inverter.weights[0].sha256
        {
            bar.suspend(|| {
                printer.warn(&format!(
                    "`{}` was adapted from another generator than the photos are inverted into: faces may not be kept",
                    domain.name
                ));
            });
        }
        let moved = match only {
            true => mapper.open(&generator, &origin.sha256, printer)?,
            false => mapper.open_for_own(&generator, &origin.sha256)?,
        };
        moved_any |= moved.is_some();
        // What a picture is made with.
        let with = match (&moved, mapper.describe()) {
            (Some(_), Some(mapper)) => format!("{}, {mapper}", origin.sha256),
            _ => origin.sha256.clone(),
        };
        let missing: Vec<&FaceRecord> = faces
            .iter()
            .filter(|face| {
                face.domains.get(&domain.file) != Some(&with)
                    || !session.files(&face.name).has(&[&domain.file])
            })
            .collect();
        bar.inc((faces.len() - missing.len()) as u64);
        for batch in missing.chunks(session.inverter.batch()) {
            for (face, picture) in
                batch.iter().zip(pictures(session, &generator, moved.as_ref(), batch)?)
            {
                session.files(&face.name).write_picture(&domain.file, &picture)?;
                session.note_domain(&face.name, &domain.file, &with);
                bar.inc(1);
            }
            session.write_ledger()?;
            if stop::asked() {
                return Err(Error::Interrupted);
            }
        }
    }
    bar.finish_and_clear();
    if mapper.describe().is_some() && !moved_any {
        printer.warn("the mapper was trained with none of these domains: it moved nothing");
    }
    Ok(())
}

/// The faces as a generator makes them.
fn pictures(
    session: &Session<'_>,
    generator: &Generator,
    moved: Option<&Moved>,
    faces: &[&FaceRecord],
) -> Result<Vec<image::RgbImage>> {
    let mut pictures = Vec::new();
    let found = faces.iter().map(|f| session.files(&f.name).read_codes());
    let found = found.collect::<Result<Vec<_>>>()?;
    let device = generator.device();
    let join = |tensors: &[&Tensor]| Tensor::cat(tensors, 0).to_device(device);
    let codes = join(&found.iter().map(|f| &f.codes).collect::<Vec<_>>());
    let codes = match moved {
        Some(mapper) => mapper.apply(&codes)?,
        None => codes,
    };
    // All of a folder were made in one way: with their own noise, or without.
    let maps: Option<Vec<Tensor>> =
        found.iter().map(|f| f.noise.as_ref()).collect::<Option<Vec<_>>>().map(|all| {
            (0..all[0].len())
                .map(|i| join(&all.iter().map(|maps| &maps[i]).collect::<Vec<_>>()))
                .collect()
        });
    let images = catch("making faces in another domain", || {
        let noise = maps.as_deref().map_or(Noise::Stored, Noise::Maps);
        Ok(tch::no_grad(|| generator.synthesis().forward(&codes, noise)))
    })?;
    pictures.extend(to_rgb8(&images)?);
    Ok(pictures)
}

/// Whether a domain's generator takes the codes.
fn check_fits(domain: &Domain, generator: &Config, source: &Config) -> Result<()> {
    let of = |g: &Config| (g.num_styles(), g.style_dim);
    if of(generator) == of(source) {
        return Ok(());
    }
    let told = |g: &Config| format!("{} codes of width {}", of(g).0, of(g).1);
    Err(Error::request(
        format!(
            "`{}` takes {}, the photos are inverted into {}",
            domain.name,
            told(generator),
            told(source)
        ),
        "name domains that were adapted from one generator",
    ))
}
