//! Rules that lead to Linnet's routing table (linux/fib_rules.h), where that is not the main one.
//!
//! They are reconciled as routes are: [`Rules::start`] reads what is there, makes what is missing, removes what carries
//! Linnet's mark (FRA_PROTOCOL [`crate::PROTOCOL`]) and is not wanted, and from then on puts back what somebody else removes.
//! A rule without the mark is never touched.

mod task;
mod wire;

use std::fmt;

use ipnetwork::IpNetwork;

pub use task::{Rules, clear_rules, rules_to};

/// One rule: what matches looks into the table. A rule that names no prefix is made for both families.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The order among all rules, lowest first: 1..=0xffffffff; main's has 32766.
    pub priority: u32,
    /// Source of packets.
    pub from: Option<IpNetwork>,
    /// Destination of packets, of the same family.
    pub to: Option<IpNetwork>,
    /// Device that packets come in by; it need not exist.
    pub iif: Option<String>,
    /// Firewall mark of packets, and the bits of it that are looked at.
    pub fwmark: Option<(u32, u32)>,
    /// Routing table, 1..=0xffffffff.
    pub table: u32,
}

impl Rule {
    /// The families that it is for: IPv6 or not.
    fn families(&self) -> impl Iterator<Item = bool> + use<> {
        let named = self.from.or(self.to).map(|prefix| prefix.is_ipv6());
        [false, true].into_iter().filter(move |v6| named.is_none_or(|named| named == *v6))
    }
}

impl fmt::Display for Rule {
    /// As `ip rule` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: from ", self.priority)?;
        match self.from {
            Some(prefix) => write!(f, "{prefix}")?,
            None => f.write_str("all")?,
        }
        if let Some(prefix) = self.to {
            write!(f, " to {prefix}")?;
        }
        if let Some((mark, mask)) = self.fwmark {
            write!(f, " fwmark {mark:#x}")?;
            if mask != u32::MAX {
                write!(f, "/{mask:#x}")?;
            }
        }
        if let Some(device) = &self.iif {
            write!(f, " iif {device}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

/// A rule of one family, and how it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleStatus {
    /// The rule.
    pub rule: Rule,
    /// Of IPv6.
    pub v6: bool,
    /// Why it is not in the kernel; `None`: it is.
    pub error: Option<String>,
}
