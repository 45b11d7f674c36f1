//! The devices of this host and the addresses on them.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkMessage},
};

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) name: Arc<str>,
    pub(crate) mtu: u32,
    /// Switched on.
    pub(crate) up: bool,
    /// Switched on and with a carrier.
    pub(crate) running: bool,
    pub(crate) loopback: bool,
}

/// What a message about a device changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkChange {
    /// Nothing that matters here.
    Nothing,
    /// It carries packets now, or does so otherwise than before.
    Better,
    /// It carries no packets now: its routes may be gone without a word.
    Worse,
}

/// All devices and addresses of a network namespace.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: HashMap<u32, Link>,
    addresses: BTreeSet<(IpAddr, u32)>,
}

impl Links {
    pub(crate) fn by_index(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<(u32, &Link)> {
        self.links.iter().find(|(_, link)| &*link.name == name).map(|(index, link)| (*index, link))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Link)> {
        self.links.iter().map(|(index, link)| (*index, link))
    }

    /// The device that has this address.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<(u32, &Link)> {
        let (_, index) = self.addresses.range((address, 0)..=(address, u32::MAX)).next()?;
        Some((*index, self.links.get(index)?))
    }

    pub(crate) fn has_address(&self, index: u32) -> bool {
        self.addresses.iter().any(|(address, link)| {
            *link == index && !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
        })
    }

    /// Name for people.
    pub(crate) fn name(&self, index: u32) -> Arc<str> {
        self.links.get(&index).map_or_else(|| format!("if{index}").into(), |link| link.name.clone())
    }

    /// Takes in what RTM_NEWLINK says.
    pub(crate) fn learn(&mut self, message: &LinkMessage) -> LinkChange {
        // A bridge announces its ports by link messages of its own family.
        if message.header.interface_family == AddressFamily::Bridge {
            return LinkChange::Nothing;
        }
        let flags = message.header.flags;
        let (mut name, mut mtu) = (None, 0);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(text.as_str()),
                LinkAttribute::Mtu(octets) => mtu = *octets,
                _ => {}
            }
        }
        let Some(name) = name else { return LinkChange::Nothing };
        let up = flags.contains(LinkFlags::Up);
        let link = Link {
            name: name.into(),
            mtu,
            up,
            running: up && flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
        };
        match self.links.insert(message.header.index, link.clone()) {
            Some(old) if old == link => LinkChange::Nothing,
            Some(old) if (old.up && !link.up) || (old.running && !link.running) => LinkChange::Worse,
            Some(_) | None => LinkChange::Better,
        }
    }

    /// Takes in what RTM_DELLINK says.
    pub(crate) fn unlearn(&mut self, message: &LinkMessage) -> LinkChange {
        let index = message.header.index;
        if message.header.interface_family == AddressFamily::Bridge || self.links.remove(&index).is_none() {
            return LinkChange::Nothing;
        }
        self.addresses.retain(|(_, link)| *link != index);
        LinkChange::Worse
    }

    /// Whether the device has any IPv4 address.
    pub(crate) fn has_address4(&self, index: u32) -> bool {
        self.addresses.iter().any(|(address, link)| *link == index && address.is_ipv4())
    }

    /// Takes in what RTM_NEWADDR or RTM_DELADDR says. Returns the address if that is news.
    pub(crate) fn address(&mut self, message: &AddressMessage, there: bool) -> Option<IpAddr> {
        // On a point-to-point link IFA_ADDRESS is the other end and IFA_LOCAL this one; IPv6 has only the former.
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                _ => {}
            }
        }
        let ip = local.or(address)?;
        let key = (ip, message.header.index);
        let news = if there { self.addresses.insert(key) } else { self.addresses.remove(&key) };
        news.then_some(ip)
    }
}
