//! What a configuration file says, once it is checked.

use std::path::Path;

use tracing::warn;

use crate::config::{self, Config, Environment, Severity};

/// What a file says.
#[derive(Debug)]
pub struct Source {
    /// Checked, with what it leaves to the host.
    pub config: Config,
    /// Its text, if it leaves `node.address` to the host.
    pub(super) leaves_address: Option<String>,
}

/// Reads and checks a file. Warnings are logged.
///
/// # Errors
/// A line for each error.
pub fn read(file: &Path) -> Result<Source, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        vec![format!(
            "{}: it cannot be read: {error}; nothing of this file is applied; check the path and its permissions",
            file.display()
        )]
    })?;
    parse(file, text, &Environment::of_this_host())
}

pub(super) fn parse(file: &Path, text: String, environment: &Environment) -> Result<Source, Vec<String>> {
    match config::parse(&file.display().to_string(), &text, environment) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                warn!("{warning}");
            }
            Ok(Source { config: parsed.config, leaves_address: parsed.leaves_address.then_some(text) })
        }
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            Err(errors.map(ToString::to_string).collect())
        }
    }
}
