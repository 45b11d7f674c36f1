//! What a filter says of how a route is to be written into the kernel, beside where it leads.
//!
//! Hints are of this node alone: they are a part of a path's attributes behind its import filter, as the weight is, and leave
//! this node never. Nothing in this crate looks at them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A value that is written, or word that the kernel is to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hint<T> {
    /// The kernel's choice, whatever is configured for all routes.
    Auto,
    /// This.
    Is(T),
}

impl<T> Hint<T> {
    /// The value; `None`: the kernel's choice.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Is(value) => Some(value),
        }
    }
}

/// When a path is reached by tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverlayMode {
    /// Where the next hop has no L2 adjacency.
    Auto,
    /// Wherever the other end offers a tunnel; with WireGuard, another node's pods are not reached in any other way.
    Always,
    /// Nowhere.
    Never,
}

impl OverlayMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Always, Self::Never];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// What filters set; `None`: what is configured for all routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hints {
    /// Octets of the largest packet.
    pub mtu: Option<Hint<u32>>,
    /// Source of what this host itself sends along an IPv4 route.
    pub source: Option<Hint<Ipv4Addr>>,
    /// Likewise along an IPv6 route.
    pub source6: Option<Hint<Ipv6Addr>>,
    /// When the path is reached by tunnel.
    pub overlay: Option<OverlayMode>,
}

impl Hints {
    /// None is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of `later` in place of these.
    #[must_use]
    pub fn or_later(self, later: &Self) -> Self {
        Self {
            mtu: later.mtu.or(self.mtu),
            source: later.source.or(self.source),
            source6: later.source6.or(self.source6),
            overlay: later.overlay.or(self.overlay),
        }
    }

    /// Each by its key in configuration, with its value.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = Vec::new();
        entries.extend(self.mtu.map(|mtu| ("mtu", mtu.to_string())));
        entries.extend(self.source.map(|source| ("source", source.to_string())));
        entries.extend(self.source6.map(|source| ("source6", source.to_string())));
        entries.extend(self.overlay.map(|overlay| ("overlay", overlay.name().to_owned())));
        entries
    }

    /// In as few octets as they take: one, and those of the values.
    pub(crate) fn pack(&self, out: &mut Vec<u8>) {
        let overlay = match self.overlay {
            None => 0,
            Some(OverlayMode::Auto) => 1,
            Some(OverlayMode::Always) => 2,
            Some(OverlayMode::Never) => 3,
        };
        let at = out.len();
        out.push(0);
        let mut flags = overlay;
        flags |= hint(self.mtu, 2, out, |mtu| mtu.to_be_bytes());
        flags |= hint(self.source, 4, out, |source| source.octets());
        flags |= hint(self.source6, 6, out, |source| source.octets());
        out[at] = flags;
    }

    /// What [`Hints::pack`] wrote; `octets` gives the next ones.
    pub(crate) fn unpack<'a>(mut octets: impl FnMut(usize) -> &'a [u8]) -> Self {
        let flags = octets(1).first().copied().unwrap_or_default();
        let mtu = unhint(flags, 2, &mut octets).map(|mtu| mtu.map_to(u32::from_be_bytes));
        let source = unhint(flags, 4, &mut octets).map(|source| source.map_to(Ipv4Addr::from));
        let source6 = unhint(flags, 6, &mut octets).map(|source| source.map_to(|octets: [u8; 16]| octets.into()));
        let overlay = match flags & 3 {
            0 => None,
            1 => Some(OverlayMode::Auto),
            2 => Some(OverlayMode::Always),
            _ => Some(OverlayMode::Never),
        };
        Self { mtu, source, source6, overlay }
    }
}

impl<T> Hint<T> {
    fn map_to<U>(self, f: impl FnOnce(T) -> U) -> Hint<U> {
        match self {
            Self::Auto => Hint::Auto,
            Self::Is(value) => Hint::Is(f(value)),
        }
    }
}

/// The flag of a hint, at its place among the flags; its octets are appended.
fn hint<T, const N: usize>(hint: Option<Hint<T>>, place: u8, out: &mut Vec<u8>, octets: fn(T) -> [u8; N]) -> u8 {
    match hint {
        None => 0,
        Some(Hint::Auto) => 1 << place,
        Some(Hint::Is(value)) => {
            out.extend_from_slice(&octets(value));
            2 << place
        }
    }
}

fn unhint<'a, const N: usize>(
    flags: u8,
    place: u8,
    octets: &mut impl FnMut(usize) -> &'a [u8],
) -> Option<Hint<[u8; N]>> {
    match flags >> place & 3 {
        0 => None,
        1 => Some(Hint::Auto),
        _ => Some(Hint::Is(octets(N).try_into().unwrap_or([0; N]))),
    }
}

impl<T: fmt::Display> fmt::Display for Hint<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Is(value) => value.fmt(f),
        }
    }
}
