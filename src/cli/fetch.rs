//! `nada fetch`: well-known public weights, once their licence is accepted.

use super::printer::{Printer, table};
use super::progress::short;
use super::stop;
use crate::builtin;
use crate::error::{Error, Result};
use crate::fetch::{self, Event, Fetched, Kind, Licence, Settings, Watcher, Weights};
use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Without a terminal, a line at least this far apart.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What may be typed behind `nada fetch`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  nada fetch --list
  nada fetch ViT-B/32 --accept-licence
  nada adapt --target sketch --clip ViT-B/32
  nada fetch ffhq --accept-licence --base-url https://mirror.example.org

A broken download goes on where it ended when the command is repeated. The variables ALL_PROXY, HTTPS_PROXY,
HTTP_PROXY, NO_PROXY and SSL_CERT_FILE are honoured.")]
pub(super) struct FetchArgs {
    /// Which weights
    #[arg(value_name = "NAME", required_unless_present = "list", conflicts_with = "list")]
    name: Option<String>,
    /// Print everything that can be fetched, and what is there
    #[arg(long)]
    list: bool,
    /// You have read the licence of these weights and accept it
    #[arg(long, visible_alias = "accept-license")]
    accept_licence: bool,
    /// Fetch again what is there already, whatever was recorded of it
    #[arg(long)]
    force: bool,
    /// A mirror: takes the place of https://HOST in the address; http:// is allowed here only
    #[arg(long, value_name = "URL", help_heading = "Network")]
    base_url: Option<String>,
    /// Where to put them
    #[arg(long, value_name = "DIR", env = "NADA_MODELS", help_heading = "Models")]
    models_dir: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &FetchArgs, printer: &Printer) -> anyhow::Result<()> {
    let folder = builtin::models_dir(args.models_dir.as_deref());
    let Some(name) = &args.name else { return list(folder.as_deref(), printer) };
    let weights = fetch::find(name)?;
    let folder = folder.ok_or_else(|| {
        Error::request(
            "there is no models folder, and this system names no home folder for one",
            "use `--models-dir DIR`, or set `NADA_MODELS`",
        )
    })?;
    accepted(&weights, args.accept_licence)?;
    let settings =
        Settings { base_url: args.base_url.clone(), force: args.force, ..Settings::default() };
    let mut shown = Shown::new(printer, &weights, &weights.address(args.base_url.as_deref())?);
    let notice = *printer;
    stop::listen(move || notice.info("stopping (again to stop at once)"));
    let fetched = fetch::fetch(&weights, &folder, &settings, &mut shown);
    shown.bar.finish_and_clear();
    match fetched {
        Ok(fetched) => done(&weights, &fetched, printer),
        Err(Error::Interrupted) => {
            printer.info(&format!(
                "stopped at {}; the same command goes on from there",
                HumanBytes(shown.done)
            ));
            Err(Error::Interrupted.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints the table: what there is, and what of it lies in the models folder.
fn list(folder: Option<&Path>, printer: &Printer) -> anyhow::Result<()> {
    let head = ["NAME", "KIND", "MB", "THERE", "ABOUT", "LICENCE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for weights in fetch::table()? {
        let there = folder.is_some_and(|folder| folder.join(weights.file_name()).is_file());
        rows.push(vec![
            weights.name,
            weights.kind.to_string(),
            weights.megabytes.to_string(),
            if there { "yes" } else { "-" }.into(),
            weights.about,
            weights.licence.link,
        ]);
    }
    printer.data(&table(&rows))?;
    if let Some(folder) = folder {
        printer.info(&format!(
            "`nada fetch NAME --accept-licence` puts them into {}",
            folder.display()
        ));
    }
    Ok(())
}

/// Nothing is fetched whose terms nobody has read.
fn accepted(weights: &Weights, accept: bool) -> Result<()> {
    if accept {
        return Ok(());
    }
    let Licence { name, link } = &weights.licence;
    Err(Error::request(
        format!("`{}` comes under the {name}", weights.name),
        format!(
            "read it at {link} and, if you accept it, repeat the command with `--accept-licence`"
        ),
    ))
}

fn done(weights: &Weights, fetched: &Fetched, printer: &Printer) -> anyhow::Result<()> {
    printer.data(&fetched.path.display().to_string())?;
    printer.detail(&format!("SHA-256 {}", fetched.sha256));
    let what = if fetched.was_there { "is there already" } else { "is there" };
    let name = &weights.name;
    printer.info(&match weights.kind {
        Kind::Generator => format!("`{name}` {what}: use it with `--generator {name}`"),
        Kind::Clip => format!("`{name}` {what}: use it with `--clip {name}`"),
        Kind::Encoder => format!("`{name}` {what}"),
    });
    Ok(())
}

/// A bar on a terminal, a line now and then elsewhere.
struct Shown {
    printer: Printer,
    bar: ProgressBar,
    started: Instant,
    /// Bytes that are there.
    done: u64,
    /// Bytes that were there at the start, once they are known.
    first: Option<u64>,
    last_line: Option<Instant>,
}

impl Shown {
    fn new(printer: &Printer, weights: &Weights, address: &str) -> Self {
        printer.info(&format!("{}: {}, from {address}", weights.name, weights.about));
        printer.info(&format!("licence: {}, {}", weights.licence.name, weights.licence.link));
        let bar = printer.bar(weights.megabytes * 1_000_000);
        let template = "{bar:24.cyan/dim} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━─"));
        }
        Self {
            printer: *printer,
            bar,
            started: Instant::now(),
            done: 0,
            first: None,
            last_line: None,
        }
    }

    fn bytes(&mut self, done: u64, total: Option<u64>) {
        self.done = done;
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        let first = *self.first.get_or_insert_with(|| {
            if done > 0 {
                self.printer.info(&format!("going on after {}", HumanBytes(done)));
            }
            self.bar.set_position(done);
            self.bar.reset_eta();
            done
        });
        self.bar.set_position(done);
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if !self.printer.shows_lines() || !due {
            return;
        }
        // The first line comes after a while, too.
        if self.last_line.replace(Instant::now()).is_none() {
            return;
        }
        let speed =
            done.saturating_sub(first) as f64 / self.started.elapsed().as_secs_f64().max(0.1);
        let left = total.map_or(0.0, |total| total.saturating_sub(done) as f64 / speed.max(1.0));
        self.printer.info(&format!(
            "{} of {}, {}/s, {} left",
            HumanBytes(done),
            total.map_or_else(|| "?".into(), |total| HumanBytes(total).to_string()),
            HumanBytes(speed as u64),
            short(Duration::from_secs_f64(left)),
        ));
    }
}

impl Watcher for Shown {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Bytes { done, total } => self.bytes(done, total),
            Event::Restart(why) => {
                self.first = None;
                self.bar
                    .suspend(|| self.printer.info(&format!("starting from the beginning: {why}")));
            }
            Event::Retry { why, pause } => {
                let text = format!("{why}; another try in {}", short(pause));
                self.bar.suspend(|| self.printer.warn(&text));
            }
            Event::Checking => {
                self.bar.suspend(|| self.printer.detail("comparing it with its checksum"))
            }
        }
    }

    fn stopped(&self) -> bool {
        stop::asked()
    }
}
