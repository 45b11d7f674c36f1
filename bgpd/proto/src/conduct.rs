//! How a speaker treats one peer, beyond filters: what a configuration says of the pair and both halves of the core obey.

use crate::role::LocalRole;

/// The rules between us and one peer. The default is what a plain session has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// What we are to the peer (RFC 9234); `None`: no role is said, and OTC is passed on untouched. Of external peers only.
    pub role: Option<LocalRole>,
}
