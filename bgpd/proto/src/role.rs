//! What two neighbours in different ASes are to each other (RFC 9234): said in OPEN, so that neither is mistaken, and
//! held against the routes that they exchange, so that no leak goes far.

use std::fmt;

/// A speaker's own side of the relation (RFC 9234 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// We sell transit to the peer.
    Provider,
    /// We are a route server of an exchange, and the peer is a member.
    RouteServer,
    /// We are a member, and the peer is the route server.
    RouteServerClient,
    /// We buy transit from the peer.
    Customer,
    /// Each gives the other its own routes and those of its customers.
    Peer,
}

impl Role {
    /// All, in the order of their codes.
    pub const ALL: [Self; 5] = [Self::Provider, Self::RouteServer, Self::RouteServerClient, Self::Customer, Self::Peer];

    /// The value of the capability (RFC 9234 section 4.1).
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The role with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }

    /// What the other side of a session must be (RFC 9234 section 4.2, table 2).
    #[must_use]
    pub fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// Routes with OTC go from us to the peer, and none may come back: it stands below us.
    pub(crate) fn gives_transit(self) -> bool {
        matches!(self, Self::Provider | Self::RouteServer)
    }

    /// The peer stands above us, or beside us: what it gives is for those below us alone.
    pub(crate) fn takes_transit(self) -> bool {
        matches!(self, Self::Customer | Self::RouteServerClient)
    }

    /// The word for it in configuration and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::RouteServer => "rs",
            Self::RouteServerClient => "rs-client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The role that a speaker is configured to have towards an external peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRole {
    /// Ours.
    pub role: Role,
    /// Refuse a peer that says nothing of its own (RFC 9234 section 4.2, strict mode).
    pub strict: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_have_the_codes_of_the_rfc_and_fit_in_pairs() {
        assert_eq!(Role::ALL.map(Role::code), [0, 1, 2, 3, 4]);
        for role in Role::ALL {
            assert_eq!(Role::from_code(role.code()), Some(role));
            assert_eq!(role.counterpart().counterpart(), role);
        }
        assert_eq!(Role::from_code(5), None);
    }
}
