//! `linnetd`: the node daemon's command line. What it does stands in the library beside it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use linnetd::config::{self, Environment, Severity};

/// Announces this host's pods over BGP, programs its routes, and enforces network policy.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "/etc/linnet/linnetd.toml")]
    config: PathBuf,
    /// Print the canonical configuration, or every error of the file, and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.check { check(&arguments) } else { ExitCode::FAILURE }
}

/// Exit 0: the file is sound, its canonical form is on standard output, warnings on standard error. Exit 1: it is not.
fn check(arguments: &Arguments) -> ExitCode {
    let file = arguments.config.display().to_string();
    let text = match std::fs::read_to_string(&arguments.config) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file} cannot be read: {error}; there is nothing to check; name another file with --config");
            return ExitCode::FAILURE;
        }
    };
    match config::parse(&file, &text, &Environment::of_this_host()) {
        Ok(parsed) => {
            parsed.warnings.iter().for_each(|warning| eprintln!("{warning}"));
            let printed = write!(std::io::stdout(), "{}", parsed.config);
            if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(findings) => {
            findings.iter().for_each(|finding| eprintln!("{finding}"));
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
            eprintln!("{file}: {errors} error{}", if errors == 1 { "" } else { "s" });
            ExitCode::FAILURE
        }
    }
}
