//! Whether a received next hop is an address that packets can be sent to from here (RFC 4271 sections 5.1.3 and 6.3).

use std::net::{IpAddr, Ipv4Addr};

use super::import::Rejection;
use crate::types::NextHop;

/// `own`: our addresses, sorted. `peer`: the far end of the session that brought it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check(next_hop: NextHop, own: &[IpAddr], peer: Option<IpAddr>) -> Result<(), Rejection> {
    let address = next_hop.address().to_canonical();
    // 1. An address of nobody, or of everybody.
    if address.is_unspecified() || matches!(address, IpAddr::V4(address) if address.octets()[0] == 0) {
        return Err(Rejection::NextHopUnspecified);
    }
    if address.is_loopback() {
        return Err(Rejection::NextHopLoopback);
    }
    if address.is_multicast() {
        return Err(Rejection::NextHopMulticast);
    }
    if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(Rejection::NextHopBroadcast);
    }
    // 2. One that means something on one link only, and nothing says on which.
    let link_is_known = next_hop.gateway().1.is_some();
    if link_local(address) && !link_is_known && !peer.is_some_and(link_local_v4) {
        return Err(Rejection::NextHopLinkLocal);
    }
    // 3. Back to ourselves.
    let is_own = own.binary_search(&address).is_ok() || own.binary_search(&next_hop.address()).is_ok();
    if is_own { Err(Rejection::OwnNextHop) } else { Ok(()) }
}

/// IPv4 link-local addresses are used on links between routers (RFC 3927 has no zones): the session's own link is meant.
fn link_local_v4(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(address) if address.is_link_local())
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Interface;

    #[test]
    fn a_next_hop_that_leads_nowhere_or_back_to_us_is_refused_for_what_it_is() {
        use Rejection::{
            NextHopBroadcast, NextHopLinkLocal, NextHopLoopback, NextHopMulticast, NextHopUnspecified, OwnNextHop,
        };
        let own: [IpAddr; 3] =
            ["192.0.2.7".parse().unwrap(), "::ffff:192.0.2.8".parse().unwrap(), "fd00::7".parse().unwrap()];
        for (text, peer, expected) in [
            ("192.0.2.1", "192.0.2.1", Ok(())),
            ("192.0.2.7", "192.0.2.1", Err(OwnNextHop)),
            ("::ffff:192.0.2.8", "192.0.2.1", Err(OwnNextHop)),
            ("::ffff:192.0.2.7", "192.0.2.1", Err(OwnNextHop)),
            ("0.0.0.0", "192.0.2.1", Err(NextHopUnspecified)),
            ("0.1.2.3", "192.0.2.1", Err(NextHopUnspecified)),
            ("127.0.0.1", "192.0.2.1", Err(NextHopLoopback)),
            ("127.9.9.9", "127.0.0.2", Err(NextHopLoopback)),
            ("224.0.0.1", "192.0.2.1", Err(NextHopMulticast)),
            ("239.255.255.255", "192.0.2.1", Err(NextHopMulticast)),
            ("255.255.255.255", "192.0.2.1", Err(NextHopBroadcast)),
            ("240.0.0.1", "192.0.2.1", Ok(())),
            ("169.254.1.1", "192.0.2.1", Err(NextHopLinkLocal)),
            ("169.254.1.1", "169.254.1.2", Ok(())),
            ("fd00::1", "fd00::1", Ok(())),
            ("fd00::7", "fd00::1", Err(OwnNextHop)),
            ("::", "fd00::1", Err(NextHopUnspecified)),
            ("::1", "fd00::1", Err(NextHopLoopback)),
            ("ff02::1", "fd00::1", Err(NextHopMulticast)),
            ("::ffff:224.0.0.1", "fd00::1", Err(NextHopMulticast)),
            ("fe80::1", "fd00::1", Err(NextHopLinkLocal)),
            ("fe80::1", "fe80::2", Err(NextHopLinkLocal)),
        ] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(check(NextHop::from(address), &own, peer.parse().ok()), expected, "{text} from {peer}");
        }
        let local = |link: &str| NextHop::link_local("fe80::1".parse().unwrap(), Interface::new(link));
        assert_eq!(check(local("eth0"), &own, None), Ok(()));
        assert_eq!(check(local(""), &own, None), Err(NextHopLinkLocal), "nobody knows on which link");
    }
}
