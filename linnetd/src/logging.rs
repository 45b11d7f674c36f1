//! Logs: to standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Starts logging. `level` is a level (`info`) or a list of targets with levels (`info,bgpd=debug`).
///
/// # Errors
/// `level` does not read as such.
pub fn start(level: &str, format: Format) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("log level \"{level}\": {error}; nothing was started; write error, warn, info, debug or trace, or a list such as info,bgpd=debug")
    })?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().try_init(),
    };
    started.map_err(|error| format!("logging cannot start: {error}; nothing was started; this is a defect of linnetd"))
}
