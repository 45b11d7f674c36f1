//! What a full compare of the kernel with what is wanted found, and what became of it.

use std::{fmt, net::IpAddr, time::Duration};

use ipnetwork::IpNetwork;

/// A full compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Routes that are wanted.
    pub routes: usize,
    /// Next-hop objects of Linnet's that there are.
    pub objects: usize,
    /// Entries of the overlay (neighbours, forwarding) that are wanted.
    pub entries: usize,
    /// Routes of an earlier run that nobody asked for yet: they are no difference before the sweep.
    pub unconfirmed: usize,
    /// What differed, devices and routes first; at most [`LISTED`], of which `more` says how many are left out.
    pub differences: Vec<Difference>,
    /// Differences beyond those.
    pub more: usize,
    /// Of all differences, those that are still there.
    pub unrepaired: usize,
    /// How long it took.
    pub took: Duration,
}

/// Differences that are told one by one.
pub const LISTED: usize = 1000;

impl Comparison {
    /// How many differences there were, listed or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.differences.len() + self.more
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is about.
    pub subject: Subject,
    /// In which way it differs.
    pub kind: DifferenceKind,
    /// What is there and what is wanted, for people.
    pub detail: String,
    /// It is as wanted now.
    pub repaired: bool,
    /// Why it is not, and what to do.
    pub error: Option<String>,
}

/// An object of the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The overlay's device, by its name.
    Device(String),
    /// A route in Linnet's table.
    Route(IpNetwork),
    /// A next-hop object, by its number.
    NextHop(u32),
    /// A neighbour on the overlay's device.
    Neighbour(IpAddr),
    /// An inner MAC in the overlay device's forwarding table.
    Forwarding([u8; 6]),
}

impl Subject {
    /// `device`, `route`, `next-hop`, `neighbour`, `forwarding`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::Route(_) => "route",
            Self::NextHop(_) => "next-hop",
            Self::Neighbour(_) => "neighbour",
            Self::Forwarding(_) => "forwarding",
        }
    }
}

impl fmt::Display for Subject {
    /// Its name alone: a prefix, a number, an address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => f.write_str(name),
            Self::Route(prefix) => write!(f, "{prefix}"),
            Self::NextHop(number) => write!(f, "{number}"),
            Self::Neighbour(address) => write!(f, "{address}"),
            Self::Forwarding([a, b, c, d, e, g]) => write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
        }
    }
}

/// How a thing of the kernel's differs from what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It is not there.
    Missing,
    /// It is there and says something else.
    Changed,
    /// It is Linnet's by its mark, and nobody wants it.
    Extra,
    /// A route of Linnet's protocol in its table, with another metric: not Linnet's to remove.
    Stranded,
    /// A route of another owner has the key.
    Conflict,
}

impl DifferenceKind {
    /// `missing`, `changed`, `extra`, `stranded`, `conflict`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Extra => "extra",
            Self::Stranded => "stranded",
            Self::Conflict => "conflict",
        }
    }
}

/// The full compares since the start, and the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparisons {
    /// How many there were, by themselves and on demand; reading at the start is none.
    pub count: u64,
    /// Differences that they found, all together.
    pub found: u64,
    /// The last one.
    pub last: Option<LastComparison>,
}

/// The last full compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastComparison {
    /// Since its end.
    pub ago: Duration,
    /// What it found.
    pub differences: usize,
    /// Of these, what it could not repair.
    pub unrepaired: usize,
    /// How long it took.
    pub took: Duration,
}
