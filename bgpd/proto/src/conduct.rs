//! How a speaker treats one peer, beyond filters: what a configuration says of the pair and both halves of the core obey.

use crate::role::LocalRole;
use crate::types::Prefix;

/// The rules between us and one peer. The default is what a plain session has. All but `allow_as_in`, `next_hop` and
/// `default_originate` are of external peers only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// What we are to the peer (RFC 9234); `None`: no role is said, and OTC is passed on untouched.
    pub role: Option<LocalRole>,
    /// How often our own AS may stand in a path that the peer sends.
    pub allow_as_in: u8,
    /// Put our AS in the place of the peer's in paths that it is sent, so that it does not take them for its own: for an AS
    /// whose sites reach each other through us only.
    pub as_override: bool,
    /// With a local AS towards this peer: where our real one, or the local one, stands beside it.
    pub local_as_prepend: LocalAsPrepend,
    /// What becomes of private AS numbers in paths that the peer is sent.
    pub remove_private_as: RemovePrivateAs,
    /// Whose address is the next hop of what we pass on.
    pub next_hop: NextHopMode,
    /// Whether the peer is told a default route that is ours to it alone.
    pub default_originate: DefaultOriginate,
}

/// When a peer is told a default route, whatever the export filter says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultOriginate {
    /// When the RIB has one, as any route.
    #[default]
    No,
    /// Always, in all families of the session.
    Always,
    /// While this very prefix has a route here; in its family alone.
    While(Prefix),
}

/// What an AS that is known to a peer by another number adds to paths (RFC 7705 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalAsPrepend {
    /// The peer sees the local AS alone ("Replace Old AS", section 3.2), and what it sends stays as it is ("No Prepend
    /// Inbound", section 3.1).
    #[default]
    None,
    /// The peer sees the local AS with the real one behind it.
    Sent,
    /// And the local AS is put in front of what the peer sends, for the rest of our AS to see.
    Both,
}

/// What becomes of private AS numbers (RFC 6996). The peer's own stays in any case, or it would see no loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemovePrivateAs {
    /// They stay.
    #[default]
    No,
    /// They go where the path has no other numbers.
    Yes,
    /// They go.
    All,
    /// Our own AS takes the place of each, so that the path keeps its length.
    Replace,
}

/// Whose address is the next hop of what we pass on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NextHopMode {
    /// As RFC 4271 section 5.1.3 has it: to internal peers the one that came; to external peers our own, but that of the
    /// router that announced the route where it is on the segment that we share with the peer.
    #[default]
    Auto,
    /// Our own.
    Own,
    /// The one that came, to external peers too.
    Unchanged,
}
