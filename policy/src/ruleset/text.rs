//! The ruleset in nft's own syntax, for people, for snapshots and for `nft -f`.

use std::fmt;

use super::{
    Elements, End, Family, Hook, Match, NEIGHBOUR_DISCOVERY, OVERLAY_INTERFACE_PREFIX, POD_INTERFACE_PREFIX, Ruleset,
    Set, Side, TABLE, Verdict, protocol_name,
};

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{")?;
        for set in &self.sets {
            write_set(f, set)?;
        }
        for chain in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(hook) = chain.hook {
                let name = match hook {
                    Hook::ForwardEgress | Hook::ForwardIngress => "forward",
                    Hook::InputEgress => "input",
                };
                writeln!(f, "\t\ttype filter hook {name} priority {}; policy accept;", hook.priority())?;
            }
            for rule in &chain.rules {
                write!(f, "\t\t")?;
                for r#match in &rule.matches {
                    write!(f, "{match} ")?;
                }
                write!(f, "{}", rule.verdict)?;
                match &rule.comment {
                    Some(comment) => writeln!(f, " comment \"{comment}\"")?,
                    None => writeln!(f)?,
                }
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, set: &Set) -> fmt::Result {
    let address = match set.family {
        Some(Family::V4) => "ipv4_addr",
        Some(Family::V6) => "ipv6_addr",
        None => "",
    };
    let (kind, elements): (String, Vec<String>) = match &set.elements {
        Elements::Sources(pairs) => {
            (format!("ifname . {address}"), pairs.iter().map(|(name, a)| format!("\"{name}\" . {a}")).collect())
        }
        Elements::Addresses(addresses) => (address.into(), addresses.iter().map(ToString::to_string).collect()),
        Elements::Blocks(ranges) => (address.into(), ranges.iter().map(|(first, last)| range(first, last)).collect()),
        Elements::Ports(ranges) => {
            ("inet_service".into(), ranges.iter().map(|(first, last)| range(first, last)).collect())
        }
        Elements::NamedPorts(pairs) => {
            (format!("{address} . inet_service"), pairs.iter().map(|(a, port)| format!("{a} . {port}")).collect())
        }
    };
    writeln!(f, "\tset {} {{", set.name)?;
    writeln!(f, "\t\ttype {kind}")?;
    if set.elements.are_ranges() {
        writeln!(f, "\t\tflags interval")?;
    }
    writeln!(f, "\t\tcomment \"{}\"", set.comment)?;
    if !elements.is_empty() {
        writeln!(f, "\t\telements = {{ {} }}", elements.join(", "))?;
    }
    writeln!(f, "\t}}")
}

fn interface(side: Side) -> &'static str {
    match side {
        Side::In => "iifname",
        Side::Out => "oifname",
    }
}

fn header(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn end_field(end: End) -> &'static str {
    match end {
        End::Source => "saddr",
        End::Destination => "daddr",
    }
}

fn range<T: fmt::Display + PartialEq>(first: &T, last: &T) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::PodInterface(side) => {
                let name = interface(*side);
                write!(f, "{name} \"{POD_INTERFACE_PREFIX}*\" {name} != \"{OVERLAY_INTERFACE_PREFIX}*\"")
            }
            Match::ForeignSource { family, set } => write!(f, "iifname . {} saddr != @{set}", header(*family)),
            Match::Established => write!(f, "ct state established,related"),
            Match::NeighbourDiscovery => write!(f, "icmpv6 type {{ {} }}", NEIGHBOUR_DISCOVERY.join(", ")),
            Match::Address { end, family, set } => {
                write!(f, "{} {} @{set}", header(*family), end_field(*end))
            }
            Match::Transport(protocol) => write!(f, "meta l4proto {}", protocol_name(*protocol)),
            Match::Within { end, first, last } => {
                write!(f, "{} {} {}", header(Family::of(*first)), end_field(*end), range(first, last))
            }
            Match::Port { protocol, first, last } => {
                write!(f, "{} dport {}", protocol_name(*protocol), range(first, last))
            }
            Match::Ports { protocol, set } => write!(f, "{} dport @{set}", protocol_name(*protocol)),
            Match::NamedPort { protocol, family, set } => {
                write!(f, "{} daddr . {} dport @{set}", header(*family), protocol_name(*protocol))
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => write!(f, "accept"),
            Verdict::Drop => write!(f, "drop"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
            Verdict::Dispatch(side, targets) => {
                let targets: Vec<String> =
                    targets.iter().map(|(name, chain)| format!("\"{name}\" : goto {chain}")).collect();
                write!(f, "{} vmap {{ {} }}", interface(*side), targets.join(", "))
            }
        }
    }
}
