//! The command line: the only room that prints, asks the terminal and decides the exit code.
//!
//! One file per command. What was typed (`*Args`) becomes what is meant (a [`crate::config::Config`] or a few
//! paths) before any work begins. stdout carries data (paths, tables, JSON), stderr everything else.

mod adapt;
mod animate;
mod compare;
mod convert;
mod edit;
mod evaluate;
mod export;
mod fetch;
mod generate;
mod inspect;
mod invert;
mod inverting;
mod machine;
mod mapper;
mod outputs;
mod photos;
mod presets;
mod printer;
mod progress;
mod score;
mod stop;
mod training;
mod translate;
mod truncation;
mod unread;

use crate::error::Error;
use clap::{Args, CommandFactory, Parser, Subcommand};
use printer::Printer;
use std::process::ExitCode;

/// Type two phrases, get an image generator of a new domain.
#[derive(Debug, Parser)]
#[command(
    name = "nada",
    version,
    about,
    max_term_width = 100,
    propagate_version = true,
    help_expected = true
)]
#[command(after_help = "Start with:  nada adapt --source \"photo\" --target \"sketch\"")]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
struct GlobalArgs {
    /// Say only what goes wrong
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,
    /// Say more; no progress bar, a line per step instead
    #[arg(short, long, global = true, help_heading = "Output")]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Move a generator into a new domain, given by two phrases or by images
    Adapt(Box<adapt::AdaptArgs>),
    /// Fit a latent mapper to a generator that still makes some images of its old domain
    Mapper(Box<mapper::MapperArgs>),
    /// Edit images by text or along known directions, in the source domain or an adapted one
    Edit(Box<edit::EditArgs>),
    /// Make images with a generator or a finished run
    Generate(Box<generate::GenerateArgs>),
    /// Bring photos into a generator: the codes from which it makes them again
    Invert(Box<invert::InvertArgs>),
    /// Make photos again in other domains
    Translate(Box<translate::TranslateArgs>),
    /// Let faces and domains turn into each other: GIF, animated PNG, MP4
    Animate(Box<animate::AnimateArgs>),
    /// Say how well a finished run went: figures, verdicts and a sheet of pictures
    Evaluate(Box<evaluate::EvaluateArgs>),
    /// Put runs that share a generator on one sheet: the source above, a labelled row per run
    Compare(Box<compare::CompareArgs>),
    /// Say how well images and phrases agree, as CLIP sees it
    Score(score::ScoreArgs),
    /// Say what a file of weights or a run holds
    Inspect(inspect::InspectArgs),
    /// Put weights into another container: safetensors, or rosinality's .pt
    Convert(convert::ConvertArgs),
    /// Write a generator for other programs: ONNX, TorchScript, a delta …
    Export(export::ExportArgs),
    /// Bring well-known public weights into the models folder
    Fetch(fetch::FetchArgs),
    /// List the presets, or print one
    Presets(presets::PresetsArgs),
    /// Print a script that completes commands in a shell
    #[command(after_long_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

const COMPLETIONS_HELP: &str = "Examples:
  nada completions bash > ~/.local/share/bash-completion/completions/nada
  nada completions zsh > ~/.zfunc/_nada
  nada completions fish > ~/.config/fish/completions/nada.fish";

/// Parses, runs, prints what went wrong, and says how it went.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::torch::keep_freed_memory();
    let printer = Printer::new(cli.global.quiet, cli.global.verbose);
    let outcome = match cli.command {
        Command::Adapt(args) => adapt::run(*args, &printer),
        Command::Mapper(args) => mapper::run(&args, &printer),
        Command::Edit(args) => edit::run(&args, &printer),
        Command::Generate(args) => generate::run(&args, &printer),
        Command::Invert(args) => invert::run(&args, &printer),
        Command::Translate(args) => translate::run(&args, &printer),
        Command::Animate(args) => animate::run(&args, &printer),
        Command::Evaluate(args) => evaluate::run(&args, &printer),
        Command::Compare(args) => compare::run(&args, &printer),
        Command::Score(args) => score::run(&args, &printer),
        Command::Inspect(args) => inspect::run(&args, &printer),
        Command::Convert(args) => convert::run(&args, &printer),
        Command::Export(args) => export::run(&args, &printer),
        Command::Fetch(args) => fetch::run(&args, &printer),
        Command::Presets(args) => presets::run(&args, &printer),
        Command::Completions { shell } => completions(shell, &printer),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, &printer),
    }
}

/// Prints an error with its hint; a closed pipe (`nada … | head`) is no error.
fn report(error: &anyhow::Error, printer: &Printer) -> ExitCode {
    let broken_pipe = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(broken_pipe)) {
        return ExitCode::SUCCESS;
    }
    let known = error.chain().find_map(|e| e.downcast_ref::<Error>());
    if !matches!(known, Some(Error::Interrupted)) {
        // An interrupted command has said already what it saved and how to go on.
        // Our own messages say all they know; the chain behind them would say it twice.
        printer.error(&known.map_or_else(|| format!("{error:#}"), ToString::to_string));
    }
    if let Some(hint) = known.and_then(Error::hint) {
        printer.hint(&hint);
    }
    ExitCode::from(known.map_or(1, Error::exit_code))
}

/// The completion script of a shell.
fn completions(shell: clap_complete::Shell, printer: &Printer) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "nada", &mut script);
    printer.data(String::from_utf8(script)?.trim_end())?;
    Ok(())
}

/// The whole command, for completions and tests.
fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed_and_every_flag_has_help() {
        super::command().debug_assert();
    }
}
