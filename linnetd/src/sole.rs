//! One Linnet programs one network namespace: a second one, with another socket and another state directory, would put
//! its own ruleset and its own routes in the place of the first one's before it noticed anything.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// Nobody connects to it. An abstract name (unix(7)) belongs to the network namespace, as what it guards does, and goes
/// with the process, whatever ends that.
const NAME: &str = "linnet";

/// Held for as long as this process may change the kernel's state.
#[derive(Debug)]
pub struct Sole(#[expect(dead_code, reason = "its life is what matters")] UnixListener);

/// Why this process may not.
#[derive(Debug, thiserror::Error)]
pub enum SoleError {
    /// There is another one.
    #[error(
        "another linnetd programs this network namespace; two would undo each other's routes and policy, so nothing was \
         done; stop that one, or set fib.install = false for this one"
    )]
    Another,
    /// The kernel does not say whether there is another one.
    #[error(
        "the abstract socket \"{NAME}\" cannot be made: {0}; another linnetd might be there, so nothing was done; mend the cause"
    )]
    Io(io::Error),
}

impl Sole {
    /// # Errors
    /// See [`SoleError`].
    pub fn claim() -> Result<Self, SoleError> {
        let address = SocketAddr::from_abstract_name(NAME).map_err(SoleError::Io)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(SoleError::Another),
            Err(error) => Err(SoleError::Io(error)),
        }
    }
}
