//! A whole session by bytes: however they are cut, they say the same, and nothing that comes makes a session forget its
//! bounds.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bgp_proto::session::{Direction, LocalRestart, Output, RemoteAs, Session, SessionConfig};
use bgp_proto::time::Instant;
use bgp_proto::types::{Asn, Family, HoldTime, RouterId};
use bgp_proto::wire::{Message, Open, UpdateContext};

/// What a peer sends on its connection, behind an octet that says how far the session has come when it begins (bit 0: it is
/// Established) and how the bytes are cut (the rest).
pub fn session(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let established = how & 1 != 0;
    let whole = told(established, &[stream]);
    let piece = usize::from(how >> 1).max(1);
    let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
    assert_eq!(told(established, &pieces), whole, "in pieces of {piece}");
}

/// What a session says of bytes that come in these pieces, to the peer and to its owner, without what may depend on the
/// pieces: a request for routes counts once for what one read brought, and the owner hears of a read's UPDATEs behind it, when
/// the peer may have been answered already.
fn told(established: bool, pieces: &[&[u8]]) -> [Vec<String>; 2] {
    let now = Instant::START + Duration::from_secs(1);
    let mut session = Session::new(config(), 7);
    session.start(now);
    session.handle_connected(now, Direction::Incoming, address(1), address(2));
    if established {
        let context = UpdateContext {
            four_octet_as: true,
            external: false,
            families: Family::ALL.into_iter().collect(),
            add_path: Default::default(),
            extended_next_hop: Default::default(),
            link: None,
            max_message_len: bgp_proto::wire::MAX_MESSAGE_LEN,
        };
        let open = Open { asn: Asn(65001), hold_time: HoldTime::default(), ..our_open() };
        session.handle_bytes(now, Direction::Incoming, &Message::Open(open).encode(&context));
        session.handle_bytes(now, Direction::Incoming, &Message::Keepalive.encode(&context));
        assert!(session.established().is_some(), "{:?}", session.last_error());
    }
    let (mut answers, mut told) = (Vec::new(), Vec::new());
    let mut octets = 0;
    // Before the first piece it says its own: nothing at all may be cut into no piece.
    for piece in [&[][..]].iter().chain(pieces) {
        octets += piece.len();
        session.handle_bytes(now, Direction::Incoming, piece);
        while let Some(output) = session.poll() {
            match output {
                Output::Updates(updates) => {
                    assert!(updates.len() <= octets / 19, "{} UPDATEs from {octets} octets", updates.len());
                    told.extend(updates.into_iter().map(|update| format!("{update:?}")));
                }
                Output::Refresh(_) => {}
                Output::Send(..) | Output::Close(..) => answers.push(format!("{output:?}")),
                other => told.push(format!("{other:?}")),
            }
        }
        assert!(session.poll_timeout().is_none_or(|due| due >= now));
    }
    told.push(format!("{:?} {:?} {:?}", session.state(), session.counters(), session.last_error()));
    [answers, told]
}

fn our_open() -> Open {
    use bgp_proto::wire::capability::Capability::{EnhancedRouteRefresh, FourOctetAs, Multiprotocol, RouteRefresh};
    let mut capabilities: Vec<_> = Family::ALL.into_iter().map(Multiprotocol).collect();
    capabilities.extend([RouteRefresh, EnhancedRouteRefresh, FourOctetAs(Asn(65001))]);
    Open {
        asn: Asn(65001),
        hold_time: HoldTime::default(),
        router_id: RouterId(Ipv4Addr::new(192, 0, 2, 2)),
        capabilities,
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn config() -> SessionConfig {
    let router_id = RouterId(Ipv4Addr::new(192, 0, 2, 1));
    SessionConfig {
        passive: true,
        graceful_restart: Some(LocalRestart {
            seconds: 120,
            restarted: false,
            off_path: false,
            notification: true,
            long_lived_seconds: 86_400,
        }),
        ..SessionConfig::new(Asn(64512), router_id, RemoteAs::External)
    }
}
