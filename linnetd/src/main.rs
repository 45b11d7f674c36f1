//! `linnetd`: the node daemon's command line. What it does stands in the library beside it.

mod allocator;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use linnetd::config::{self, Config, Environment, Severity};
use linnetd::daemon::{self, Daemon, Source};
use linnetd::logging::{self, Format};
use linnetd::server::{self, SocketError};
use linnetd::sole::{Sole, SoleError};
use linnetd::succession::succeed;
use linnetd::{cleanup, metrics};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

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
    /// Remove everything that Linnet put into this host's kernel, and exit. Stop linnetd first.
    #[arg(long, conflicts_with = "check")]
    cleanup: bool,
    /// What to log: error, warn, info, debug, trace, or a list such as info,bgpd=debug.
    #[arg(long, env = "LINNET_LOG", default_value = "info")]
    log: String,
    /// How to log.
    #[arg(long, value_enum, default_value = "text")]
    log_format: Format,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.check {
        return check(&arguments.config);
    }
    if let Err(error) = logging::start(&arguments.log, arguments.log_format) {
        eprintln!("{error}");
        return ExitCode::from(2);
    }
    let source = match daemon::read(&arguments.config) {
        Ok(source) => source,
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = run_to_the_end(arguments, source);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("linnetd: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, without those that it has in its own words already.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |words, cause| match words.as_str() {
        "" => cause,
        said if said.contains(&cause) => words,
        said => format!("{said}: {cause}"),
    })
}

fn run_to_the_end(arguments: Arguments, source: Source) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = if arguments.cleanup {
        runtime.block_on(clean_up(&source.config))
    } else {
        runtime.block_on(run(arguments.config, source))
    };
    // A task that hangs must not keep the process from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

/// Exit 0: the file is sound, its canonical form is on standard output, warnings on standard error. Exit 1: it is not.
fn check(path: &Path) -> ExitCode {
    let file = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
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

async fn claim() -> Result<Sole, SoleError> {
    succeed("this network namespace", async || Sole::claim(), |error| matches!(error, SoleError::Another)).await
}

async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let what = path.display().to_string();
    succeed(&what, async || server::bind(path).await, |error| matches!(error, SocketError::InUse(_))).await
}

async fn listen_for_metrics(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let what = format!("metrics.listen {address}");
    let in_use = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    succeed(&what, async || TcpListener::bind(address).await, in_use)
        .await
        .with_context(|| format!("{what} cannot be used; nothing was started; free the port, or write \"off\""))
}

/// A daemon that is still there would put everything back, so it must not answer.
async fn clean_up(config: &Config) -> anyhow::Result<()> {
    let _sole = claim().await?;
    drop(bind(&config.api_socket).await?);
    let _ = std::fs::remove_file(&config.api_socket);
    for line in cleanup::cleanup(config).await? {
        println!("removed {line}");
    }
    Ok(())
}

async fn run(file: PathBuf, source: Source) -> anyhow::Result<()> {
    let path = source.config.api_socket.clone();
    let socket = bind(&path).await?;
    let done = run_with(socket, file, source).await;
    let _ = std::fs::remove_file(path);
    done
}

async fn run_with(socket: UnixListener, file: PathBuf, source: Source) -> anyhow::Result<()> {
    let config = &source.config;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let _sole = if config.fib.install { Some(claim().await?) } else { None };
    let metrics_listener = match config.metrics_listen {
        Some(address) => Some(listen_for_metrics(address).await?),
        None => None,
    };
    tokio::spawn(allocator::give_back());
    let daemon = Daemon::start(file, source).await?;
    tokio::spawn(server::serve(socket, daemon.clone()));
    if let Some(listener) = metrics_listener {
        info!(address = %listener.local_addr()?, "metrics and health");
        tokio::spawn(metrics::serve(listener, daemon.clone()));
    }
    loop {
        tokio::select! {
            _ = hang_up.recv() => {
                // Errors and changes are in the log.
                let _ = daemon.reload().await;
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = daemon.speaker_lost() => anyhow::bail!(
                "the BGP speaker has ended by a fault of its own; forwarding, policy and pods stay in the kernel as they \
                 are; start linnetd again, and report what the log says above"
            ),
        }
    }
    daemon.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn a_cause_that_an_error_names_itself_is_not_said_twice() {
        let busy = || std::io::Error::other("Address already in use");
        for (error, words) in [
            (
                anyhow::Error::new(busy()).context("cannot listen: Address already in use; free the port"),
                "cannot listen: Address already in use; free the port",
            ),
            (anyhow::Error::new(busy()).context("cannot listen"), "cannot listen: Address already in use"),
        ] {
            assert_eq!(in_words(&error), words);
        }
    }
}
