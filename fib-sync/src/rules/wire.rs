//! Rules as they are written and read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::{
    AddressFamily,
    route::RouteProtocol,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::Rule;
use crate::{
    PROTOCOL,
    kernel_route::{canonical, family},
};

/// A rule of one family: what the kernel tells apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FamilyRule {
    pub(super) v6: bool,
    pub(super) rule: Rule,
}

/// RTM_NEWRULE's content, or RTM_DELRULE's.
pub(super) fn message(wanted: &FamilyRule) -> RuleMessage {
    let FamilyRule { v6, rule } = wanted;
    let mut message = RuleMessage::default();
    message.header.family = family(*v6);
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    message.attributes = vec![
        RuleAttribute::Table(rule.table),
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ];
    if let Some(prefix) = rule.from {
        message.header.src_len = prefix.prefix();
        message.attributes.push(RuleAttribute::Source(prefix.network()));
    }
    if let Some(prefix) = rule.to {
        message.header.dst_len = prefix.prefix();
        message.attributes.push(RuleAttribute::Destination(prefix.network()));
    }
    message.attributes.extend(rule.iif.iter().cloned().map(RuleAttribute::Iifname));
    if let Some((mark, mask)) = rule.fwmark {
        message.attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
    }
    message
}

/// Whether it has Linnet's mark.
pub(super) fn is_ours(message: &RuleMessage) -> bool {
    let ours = RouteProtocol::from(PROTOCOL);
    message.attributes.iter().any(|attribute| matches!(attribute, RuleAttribute::Protocol(owner) if *owner == ours))
}

/// Reads a rule; `None`: one of a kind that Linnet does not make.
pub(super) fn read(message: &RuleMessage) -> Option<FamilyRule> {
    let header = &message.header;
    let (v6, any) = match header.family {
        AddressFamily::Inet => (false, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => (true, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => return None,
    };
    let (mut source, mut destination, mut iif, mut mark, mut mask) = (any, any, None, None, None);
    let (mut table, mut priority) = (u32::from(header.table), 0);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => source = *address,
            RuleAttribute::Destination(address) => destination = *address,
            RuleAttribute::Iifname(name) => iif = Some(name.clone()),
            RuleAttribute::FwMark(bits) => mark = Some(*bits),
            RuleAttribute::FwMask(bits) => mask = Some(*bits),
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Protocol(_) => {}
            // The kernel says that nothing is suppressed by a number that no prefix has.
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            _ => return None,
        }
    }
    let plain = header.action == RuleAction::ToTable && header.tos == 0;
    // Other flags say what became of the device that is named.
    let inverted = header.flags.contains(RuleFlags::Invert);
    if !plain || inverted {
        return None;
    }
    let prefix = |address, length| match length {
        0 => Some(None),
        _ => IpNetwork::new(address, length).ok().map(|prefix| Some(canonical(prefix))),
    };
    let fwmark = match (mark, mask) {
        (None, None | Some(0)) => None,
        (mark, mask) => Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX))),
    };
    let rule = Rule {
        priority,
        from: prefix(source, header.src_len)?,
        to: prefix(destination, header.dst_len)?,
        iif,
        fwmark,
        table,
    };
    Some(FamilyRule { v6, rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_is_ours() {
        let prefix = |text: &str| Some(text.parse().expect("a prefix"));
        let rule = Rule { priority: 1000, from: None, to: None, iif: None, fwmark: None, table: 1000 };
        for (v6, rule) in [
            (false, rule.clone()),
            (true, rule.clone()),
            (false, Rule { from: prefix("10.0.0.0/8"), table: 100, ..rule.clone() }),
            (true, Rule { to: prefix("fd00::/8"), iif: Some("eth0".into()), ..rule.clone() }),
            (false, Rule { fwmark: Some((0x10, 0xf0)), ..rule.clone() }),
        ] {
            let wanted = FamilyRule { v6, rule };
            let made = message(&wanted);
            assert!(is_ours(&made));
            assert_eq!(read(&made), Some(wanted));
        }
        let mut other = message(&FamilyRule { v6: false, rule });
        other.header.action = RuleAction::Blackhole;
        assert_eq!(read(&other), None);
    }
}
