//! What can keep a command from being carried out, and the exit status that says so.

use std::fmt;
use std::path::PathBuf;

#[derive(Debug)]
pub(crate) enum Error {
    /// Nobody answers on the socket.
    NoDaemon { socket: PathBuf, cause: String },
    /// The daemon refused, in its own words.
    Refused(tonic::Status),
    /// A file named on the command line cannot be read.
    File { path: PathBuf, cause: std::io::Error },
    /// A file named on the command line cannot be written.
    Write { path: PathBuf, cause: std::io::Error },
    /// Standard output does not take what there is to print.
    Output(std::io::Error),
}

impl Error {
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Output(_) | Self::Write { .. } => 1,
            Self::File { .. } => 2,
            Self::NoDaemon { .. } => 3,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon { socket, cause } => write!(
                f,
                "no daemon answers on {}: {cause}; nothing was done; start linnetd, or name its socket with --socket",
                socket.display()
            ),
            Self::Refused(status) => f.write_str(status.message()),
            Self::File { path, cause } => {
                write!(f, "{} cannot be read: {cause}; nothing was checked; name a file that can", path.display())
            }
            Self::Write { path, cause } => {
                write!(f, "{} cannot be written: {cause}; nothing of it was kept; name a file that can", path.display())
            }
            Self::Output(error) => write!(f, "standard output takes no more: {error}; what was printed is incomplete"),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}
