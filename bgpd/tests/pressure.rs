//! What a speaker does when somebody does not keep up: a peer that reads nothing, an owner that takes no events.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bgp_proto::session::{RemoteAs, State};
use bgp_proto::types::{Family, HoldTime, RouterId};
use bgp_proto::wire::capability::Capability;
use bgp_proto::wire::frame::next_frame;
use bgp_proto::wire::{Message, Open};
use bgpd::PeerConfig;
use bytes::BytesMut;
use support::{ASN, Speaker, attributes, context, numbered, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Enough that no socket buffer holds the table: each prefix has attributes of its own, some 60 octets on the wire.
const MANY: u32 = 150_000;
/// The most that may wait for one peer: the RIB's own limit and a few chunks on the way.
const MOST_UNSENT: usize = 4 * 1024 * 1024;

/// Opens a session by hand, and lets the caller read as it likes.
async fn raw_session(speaker: &Speaker, from: std::net::Ipv4Addr, hold_time: HoldTime) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
    let to = SocketAddr::new(IpAddr::V4(speaker.address), speaker.port().await);
    let mut stream = socket.connect(to).await.unwrap();
    let capabilities = vec![Capability::Multiprotocol(Family::Ipv4Unicast), Capability::FourOctetAs(ASN)];
    let open = Message::Open(Open { asn: ASN, hold_time, router_id: RouterId(from), capabilities });
    stream.write_all(&open.encode(&context())).await.unwrap();
    stream.write_all(&Message::Keepalive.encode(&context())).await.unwrap();
    stream
}

fn passive_peer(config: &mut bgpd::Config, address: std::net::Ipv4Addr) {
    let mut peer = PeerConfig::new("slow", IpAddr::V4(address), RemoteAs::Internal, ASN);
    peer.passive = true;
    config.peers.push(peer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_costs_bounded_memory_and_gets_the_newest_when_it_reads() {
    let from = support::address();
    let speaker = Speaker::start(|config| passive_peer(config, from)).await;
    let mut stream = raw_session(&speaker, from, HoldTime::from_seconds(0).unwrap()).await;
    speaker.wait_established("slow").await;

    for round in 1..=4 {
        speaker.originate((0..MANY).map(|number| (numbered(number), attributes(Some(round * MANY + number))))).await;
        let peer =
            speaker.wait_peer("slow", "bytes that its socket does not take", |peer| peer.counts.unsent_bytes > 0).await;
        assert!(peer.counts.unsent_bytes < MOST_UNSENT, "round {round}: {peer:?}");
        assert!(peer.unsent_bytes < MOST_UNSENT, "round {round}: {peer:?}");
    }

    let read = tokio::time::timeout(support::DEADLINE, async {
        let mut buffer = BytesMut::new();
        let mut newest = std::collections::HashSet::new();
        while newest.len() < MANY as usize {
            let read = stream.read_buf(&mut buffer).await.unwrap();
            assert!(read > 0, "closed with {} of {MANY}", newest.len());
            let mut unread = &buffer[..];
            while let Some(frame) = next_frame(&mut unread, 4096).unwrap() {
                let Message::Update(update) = Message::parse(frame, &context()).unwrap() else { continue };
                for announcement in update.announced {
                    if announcement.attributes.med.is_some_and(|med| med >= 4 * MANY) {
                        newest.extend(announcement.nlri);
                    }
                }
            }
            buffer = BytesMut::from(unread);
        }
    });
    read.await.expect("the whole table in its newest state within the deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rib_that_stands_still_for_longer_than_the_hold_time_loses_no_session() {
    let hold_time = HoldTime::from_seconds(3).unwrap();
    let right_address = support::address();
    let mut deaf = Speaker::start_deaf(|config| {
        config.hold_time = hold_time;
        passive_peer(config, right_address);
    })
    .await;
    let to_deaf = deaf.as_peer("deaf", right_address).await;
    let talker = Speaker::start(|config| {
        config.listen.clear();
        config.router_id = RouterId(right_address);
        config.peers.push(to_deaf);
    })
    .await;
    talker.wait_established("deaf").await;

    // Each is a change of its own for as long as the RIB over there runs.
    let mut routes = Vec::new();
    for number in 0..200 {
        routes.push((numbered(MANY + number), attributes(None)));
        talker.originate(routes.clone()).await;
        let sent = routes.len();
        talker.wait_peer("deaf", "sent", |peer| peer.counts.advertised == sent).await;
    }
    routes.extend((0..MANY).map(|number| (numbered(number), attributes(Some(number)))));
    let all = routes.len();
    talker.originate(routes).await;

    let stuck = talker.wait_peer("deaf", "a full socket", |peer| peer.counts.unsent_bytes > 0).await;
    assert_eq!(stuck.counters.established, 1);
    let standing = deaf.peer("slow").await.unwrap().counts.received;
    let long = Duration::from_secs(3 * u64::from(hold_time.seconds()));
    let after = deaf.wait_peer("slow", "a long time", |peer| peer.uptime.is_none_or(|uptime| uptime > long)).await;
    assert_eq!((after.state, after.counters.established), (State::Established, 1), "{after:?}");
    assert_eq!(after.counts.received, standing, "the RIB was to stand still");
    let over_there = talker.peer("deaf").await.unwrap();
    assert_eq!((over_there.state, over_there.counters.established), (State::Established, 1), "{over_there:?}");
    // It said that it lives all the time.
    assert!(after.counters.sent[3] >= 6, "{:?}", after.counters);

    deaf.hear();
    deaf.wait_best("everything", |best| best.len() == all).await;
    let after = deaf.peer("slow").await.unwrap();
    assert_eq!((after.state, after.counters.established), (State::Established, 1), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_while_the_owner_takes_no_events() {
    let from = support::address();
    let speaker = Speaker::start_deaf(|config| passive_peer(config, from)).await;
    for number in 0..100 {
        speaker.originate([(numbered(number), attributes(None))]).await;
        speaker.bgp.peers().await;
    }
    let query = bgpd::RouteQuery { scope: bgpd::RouteScope::Rejected, prefix: None, limit: 10 };
    wait_for("an answer", || async {
        let routes = speaker.bgp.routes(query.clone()).await;
        routes.map(drop).map_err(|error| error.to_string())
    })
    .await;
}
