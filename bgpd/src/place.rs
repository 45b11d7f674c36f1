//! Where a peer is.

use std::net::IpAddr;

use bgp_proto::session::Established;
use bgp_proto::types::Interface;

/// Where a peer is, as the next hop of its own paths says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) next_hop: IpAddr,
    pub(crate) link: Option<Interface>,
}

impl Place {
    /// `None`: a link-local address on a link that the session does not know leads nowhere.
    pub(crate) fn of(established: &Established) -> Option<Self> {
        let next_hop = established.remote_address.to_canonical();
        let link_local = matches!(next_hop, IpAddr::V6(address) if address.is_unicast_link_local());
        let link = established.receive.link.filter(|_| link_local);
        (link.is_some() == link_local).then_some(Self { next_hop, link })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(remote: &str, link: &str) -> Option<(String, Option<String>)> {
        let mut established = crate::rib_port::tests::established();
        established.remote_address = remote.parse().unwrap();
        established.receive.link = Interface::new(link);
        Place::of(&established).map(|place| (place.next_hop.to_string(), place.link.map(|link| link.to_string())))
    }

    #[test]
    fn a_link_local_peer_is_on_its_link_and_any_other_is_at_its_address() {
        let at = |address: &str, link: Option<&str>| Some((address.to_owned(), link.map(str::to_owned)));
        assert_eq!(place("fe80::1", "eth0"), at("fe80::1", Some("eth0")));
        assert_eq!(place("fe80::1", ""), None);
        assert_eq!(place("fd00::1", ""), at("fd00::1", None));
        assert_eq!(place("fd00::1", "eth0"), at("fd00::1", None));
        assert_eq!(place("::ffff:192.0.2.1", ""), at("192.0.2.1", None));
    }
}
