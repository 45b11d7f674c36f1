//! A whole session by bytes: however they are cut, they say the same, and nothing that comes makes a session forget its
//! bounds.

mod kind;
#[cfg(test)]
mod seeds;

use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::session::{Direction, Established, Output, Session};
use bgp_proto::time::Instant;
use bgp_proto::types::{Family, NextHop, Nlri, PathId};
use bgp_proto::wire::update::{Update, UpdateContext};
use bgp_proto::wire::{MAX_MESSAGE_LEN, Message};
use kind::Kind;

/// What a peer sends on its connection, behind an octet that says how far the session has come when it begins (bit 0: it is
/// Established) and how the bytes are cut (the rest), and those that say what kind of session it is.
pub fn session(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let Some((kind, stream)) = Kind::split(rest) else { return };
    let is_established = how & 1 != 0;
    let whole = told(kind, is_established, &[stream]);
    let piece = usize::from(how >> 1).max(1);
    let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
    assert_eq!(told(kind, is_established, &pieces), whole, "in pieces of {piece}");
}

/// A session whose connection is there.
fn connected(kind: Kind) -> Session {
    let mut session = Session::new(kind.config(), 7);
    session.start(now());
    session.handle_connected(now(), Direction::Incoming, address(1), address(2));
    session
}

/// A session that is up.
fn established(kind: Kind) -> Session {
    let mut session = connected(kind);
    for message in [Message::Open(kind.peers_open()), Message::Keepalive] {
        session.handle_bytes(now(), Direction::Incoming, &message.encode(&plain()));
    }
    assert!(session.established().is_some(), "{kind:?} {:?}", session.last_error());
    session
}

/// What a session says of bytes that come in these pieces, to the peer and to its owner, without what may depend on the
/// pieces: a request for routes counts once for what one read brought, and the owner hears of a read's UPDATEs behind it, when
/// the peer may have been answered already.
fn told(kind: Kind, is_established: bool, pieces: &[&[u8]]) -> [Vec<String>; 2] {
    let mut session = if is_established { established(kind) } else { connected(kind) };
    let mut agreed: Option<Box<Established>> = None;
    let (mut answers, mut told) = (Vec::new(), Vec::new());
    let mut octets = 0;
    // Before the first piece it says its own: nothing at all may be cut into no piece.
    for piece in [&[][..]].iter().chain(pieces) {
        octets += piece.len();
        session.handle_bytes(now(), Direction::Incoming, piece);
        while let Some(output) = session.poll() {
            match output {
                Output::Updates(updates) => {
                    assert!(updates.len() <= octets / 19, "{} UPDATEs from {octets} octets", updates.len());
                    let context = agreed.as_ref().expect("no UPDATE before it is up").receive;
                    updates.iter().for_each(|update| within(&context, update));
                    told.extend(updates.into_iter().map(|update| format!("{update:?}")));
                }
                Output::Refresh(_) => {}
                Output::Send(_, ref bytes) => {
                    let most = agreed.as_ref().map_or(MAX_MESSAGE_LEN, |agreed| agreed.send.max_message_len);
                    assert!(bytes.len() <= most, "{} octets, of {most} that were agreed on", bytes.len());
                    answers.push(format!("{output:?}"));
                }
                Output::Close(..) => answers.push(format!("{output:?}")),
                Output::Up(ref up) => {
                    agreed = Some(up.clone());
                    told.push(format!("{output:?}"));
                }
                other => told.push(format!("{other:?}")),
            }
        }
        assert!(session.poll_timeout().is_none_or(|due| due >= now()));
    }
    told.push(format!("{:?} {:?} {:?}", session.state(), session.counters(), session.last_error()));
    [answers, told]
}

/// An UPDATE says nothing that was not agreed on.
fn within(context: &UpdateContext, update: &Update) {
    let families = context.families;
    let agreed = |nlri: &Nlri| {
        let family = nlri.prefix.family();
        assert!(families.contains(family), "{nlri:?} is of no family of the session");
        assert!(nlri.path_id == PathId(0) || context.add_path.contains(family), "{nlri:?} has a path identifier");
    };
    update.withdrawn.iter().for_each(agreed);
    for announcement in &update.announced {
        announcement.nlri.iter().for_each(agreed);
        let attributes = &announcement.attributes;
        let classic = announcement.nlri.iter().any(|nlri| nlri.prefix.family() == Family::Ipv4Unicast);
        let beyond = classic && !context.extended_next_hop.contains(Family::Ipv4Unicast);
        assert!(!beyond || matches!(attributes.next_hop, NextHop::V4(_)), "{:?}", attributes.next_hop);
        let inside = (attributes.local_pref, attributes.originator_id, attributes.cluster_list.len());
        assert!(!context.external || inside == (None, None, 0), "from outside of the AS: {inside:?}");
    }
    assert!(update.end_of_rib.is_none_or(|family| families.contains(family)));
    assert!(update.mark.is_none_or(|(family, _)| families.contains(family)));
}

/// For what reads the same in each kind of session.
fn plain() -> UpdateContext {
    UpdateContext { families: Family::ALL.into_iter().collect(), ..UpdateContext::PLAIN }
}

fn now() -> Instant {
    Instant::START + Duration::from_secs(1)
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}
