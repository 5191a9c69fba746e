//! The `nada` command.

fn main() -> std::process::ExitCode {
    nada::cli::main()
}
