//! Where a peer is: `address`, or `interface` for one that is found on its link.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use bgp_proto::types::Interface;

use super::Node;
use super::reader::{Field, Section};
use super::rooms::unicast;

/// Where a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remote {
    /// `address`
    Address(IpAddr),
    /// `interface`: an unnumbered peer, whose link-local address is found by router advertisements.
    Interface(Interface),
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "the address {address}"),
            Self::Interface(interface) => write!(f, "the interface {interface}"),
        }
    }
}

/// Reads either key and notes whose it is in `taken`.
pub(super) fn remote(
    table: &Section<'_>,
    name: Option<&str>,
    node: Option<&Node>,
    taken: &mut BTreeMap<Remote, String>,
) -> Option<Remote> {
    let (field, remote) = match (table.field("interface"), table.field("address")) {
        (Some(field), Some(_)) => {
            field.refuse(
                "both an interface and an address",
                "keep one of them: with an interface, the neighbour's link-local address is found by itself",
            );
            return None;
        }
        (Some(field), None) => {
            let interface = interface(&field);
            only_for_addresses(table)?;
            (field, Remote::Interface(interface?))
        }
        (None, _) => {
            let field = table.required("address", "\"192.168.10.1\"")?;
            let address = unicast(&field)?;
            if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
                field.refuse(
                    &format!("{address} is a link-local address, which leads nowhere without its link"),
                    "write interface = \"eth0\" (the link's name) in place of address: the neighbour on it is found by itself",
                );
                return None;
            }
            if node.is_some_and(|node| {
                node.address == address || node.address6.is_some_and(|own| IpAddr::V6(own) == address)
            }) {
                field.refuse(&format!("{address} is this node's own address"), "write the peer's");
            }
            (field, Remote::Address(address))
        }
    };
    if let Some(other) = taken.insert(remote, name.unwrap_or_default().to_owned()) {
        field.report.error(
            field.span.clone(),
            &format!("peer \"{other}\" has {remote} already"),
            "a connection from there would be ambiguous",
            "remove one of the two",
        );
    }
    Some(remote)
}

fn interface(field: &Field<'_>) -> Option<Interface> {
    let name = field.string()?;
    let interface = Interface::new(name);
    if interface.is_none() {
        field.refuse(
            &format!("\"{name}\" is no name of an interface"),
            "write one of those that `ip link` shows, 1 to 15 characters",
        );
    }
    interface
}

/// Keys that say something about an address, which an unnumbered peer has not.
fn only_for_addresses(table: &Section<'_>) -> Option<()> {
    let mut sound = true;
    let mut refuse = |key: &'static str, why: &str, next: &str| {
        if let Some(field) = table.field(key) {
            field.refuse(&format!("{key} and interface: {why}"), next);
            sound = false;
        }
    };
    refuse("multihop", "a neighbour on a link is one hop away", "leave multihop out");
    refuse("local-address", "our address is the link-local one of the interface", "leave local-address out");
    refuse(
        "password-file",
        "a TCP MD5 key belongs to an address, and the neighbour's is not known beforehand",
        "leave it out, and set ttl-security = 1, which nobody from another link can meet; or write the neighbour's address",
    );
    refuse(
        "tcp-ao",
        "a key of TCP-AO belongs to an address, and the neighbour's is not known beforehand",
        "leave it out, and set ttl-security = 1, which nobody from another link can meet; or write the neighbour's address",
    );
    if let Some(field) =
        table.field("ttl-security").filter(|field| field.integer::<u8>(1..=254).is_some_and(|hops| hops > 1))
    {
        field.refuse("ttl-security above 1 and interface: a neighbour on a link is one hop away", "write 1");
        sound = false;
    }
    sound.then_some(())
}
