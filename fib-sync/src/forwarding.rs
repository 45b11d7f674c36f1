//! Whether this host forwards packets at all.
#![expect(clippy::todo, reason = "the face lands before the flesh")]

use crate::FibError;

/// Whether the kernel forwards (IPv4, IPv6).
pub fn forwarding_enabled() -> Result<(bool, bool), FibError> {
    todo!()
}

/// Makes the kernel forward packets of both families between all of its devices.
pub fn enable_forwarding() -> Result<(), FibError> {
    todo!()
}
