//! Peers with TCP-AO (RFC 5925). Where the kernel has it, their sessions are signed; where it has none, there is no session.
//! Each test holds the kernel that it runs on to the one or the other.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]
#![allow(unsafe_code, reason = "the test asks the kernel itself, not the code under test, whether it has TCP-AO")]

mod support;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use bgp_proto::session::{RemoteAs, State};
use bgpd::{AoAlgorithm, AoKey, AoKeys, Authentication, DynamicPeerConfig, PeerConfig, PeerStatus, Secret};
use support::{ASN, Speaker, attributes, pair, prefix, wait_for};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

/// What a peer is told where the kernel has no TCP-AO.
const NONE: &str =
    "the peer wants TCP-AO, and this kernel has none (CONFIG_TCP_AO, Linux 6.7 or newer); no session is made";

/// Keys with these ids, each the same both ways; the secret of each follows from its id.
fn keys(ids: &[u8]) -> Option<Authentication> {
    signed(ids.iter().map(|id| (*id, *id, format!("secret {id}"))))
}

fn signed(keys: impl IntoIterator<Item = (u8, u8, String)>) -> Option<Authentication> {
    let key = |(send_id, receive_id, secret): (u8, u8, String)| AoKey {
        send_id,
        receive_id,
        // All of them have their turn.
        algorithm: AoAlgorithm::ALL[usize::from(send_id.max(receive_id)) % 3].1,
        secret: Secret::new(secret.as_bytes()).unwrap(),
    };
    AoKeys::new(keys.into_iter().map(key).collect()).map(Authentication::TcpAo)
}

/// Whether the kernel knows `TCP_AO_INFO` (40 in linux/tcp.h): of a socket without keys it says that it has none (ENOENT).
fn kernel_has_tcp_ao() -> bool {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut info, mut length) = ([0u64; 6], 48);
    // SAFETY: the pointers are to a live buffer of `length` bytes and to `length`.
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, 40, info.as_mut_ptr().cast(), &raw mut length)
    };
    let error = std::io::Error::last_os_error().raw_os_error();
    match (outcome, error) {
        (-1, Some(libc::ENOENT)) => true,
        (-1, Some(libc::ENOPROTOOPT)) => false,
        other => panic!("the kernel says of TCP-AO: {other:?}"),
    }
}

fn error(peer: &PeerStatus) -> &str {
    peer.last_error.as_deref().unwrap_or_default()
}

/// Neither side of a pair with TCP-AO has had a session, and both say why.
async fn assert_refused(left: &Speaker, right: &Speaker) {
    let connecting = right.wait_peer("left", "an attempt", |peer| error(peer).contains("cannot connect to")).await;
    assert!(error(&connecting).contains(NONE), "{}", error(&connecting));
    let waiting = left.peer("right").await.unwrap();
    assert!(error(&waiting).contains("are refused: the TCP-AO keys cannot be set"), "{}", error(&waiting));
    assert!(error(&waiting).contains(NONE), "{}", error(&waiting));
    assert_eq!((connecting.counters.established, waiting.counters.established), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_signed_by_tcp_ao_comes_up_where_the_kernel_has_it_and_nowhere_else() {
    // Our ids are the peer's the other way round.
    let (left, right) = pair(
        |_, peer| peer.authentication = signed([(1, 2, "a".to_owned()), (3, 3, "b".to_owned())]),
        |_, peer| peer.authentication = signed([(2, 1, "a".to_owned()), (3, 3, "b".to_owned())]),
    )
    .await;
    if !kernel_has_tcp_ao() {
        return assert_refused(&left, &right).await;
    }
    right.originate([(prefix("10.2.0.0/16"), attributes(None))]).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;
    assert_eq!(left.wait_established("right").await.tcp_ao_send_id, Some(1));
    assert_eq!(right.wait_established("left").await.tcp_ao_send_id, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_connects_without_a_signature_gets_no_session_with_a_peer_that_has_tcp_ao() {
    let (left, right) = pair(|_, peer| peer.authentication = keys(&[1]), |_, _| ()).await;
    let connecting = right.wait_peer("left", "a failed attempt", |peer| peer.last_error.is_some()).await;
    let waiting = left.peer("right").await.unwrap();
    assert_eq!((connecting.counters.established, waiting.counters.established), (0, 0));
    assert_eq!(waiting.counters.received, [0; 5], "nothing of it is heard");
    if kernel_has_tcp_ao() {
        assert!(error(&connecting).contains("wants a TCP MD5 or TCP-AO key"), "{}", error(&connecting));
        return;
    }
    assert!(error(&waiting).contains(NONE), "{}", error(&waiting));
    // It was let in by the kernel and closed by us, without a word.
    let before = left.bgp.refused();
    assert!(before >= 1);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(waiting.config.address, 0)).unwrap();
    let to = SocketAddr::new(IpAddr::V4(left.address), left.port().await);
    let mut unsigned = socket.connect(to).await.unwrap();
    let read = tokio::time::timeout(support::DEADLINE, unsigned.read(&mut [0; 64])).await;
    assert_eq!(read.expect("it is closed in time").unwrap_or(0), 0);
    wait_for("it is counted", async || if left.bgp.refused() > before { Ok(()) } else { Err(String::new()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_tcp_ao_opens_no_session_with_one_that_signs_nothing() {
    let (left, right) = pair(|_, _| (), |_, peer| peer.authentication = keys(&[1])).await;
    let connecting = right.wait_peer("left", "a failed attempt", |peer| peer.last_error.is_some()).await;
    let expected = if kernel_has_tcp_ao() { "has another TCP-AO key under our first key's ids, or none" } else { NONE };
    assert!(error(&connecting).contains(expected), "{}", error(&connecting));
    assert_eq!(connecting.counters.established, 0);
    assert_eq!(left.peer("right").await.unwrap().counters.received, [0; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_tcp_ao_key_keeps_the_session_down_and_the_right_one_lets_it_up_where_the_kernel_has_it() {
    let other = || signed([(1, 1, "other".to_owned())]);
    let (mut left, right) =
        pair(|_, peer| peer.authentication = keys(&[1]), |_, peer| peer.authentication = other()).await;
    let peer = right.wait_peer("left", "a failed attempt", |peer| peer.last_error.is_some()).await;
    assert_eq!(peer.counters.established, 0, "{peer:?}");
    let changes = left.reconfigure(|config| config.peers[0].authentication = other()).await;
    assert_eq!(changes, ["peer right: tcp-ao changed, and the session was reset"]);
    if kernel_has_tcp_ao() {
        right.wait_established("left").await;
        left.wait_established("right").await;
    } else {
        assert_refused(&left, &right).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_ao_keys_roll_over_under_a_running_session_where_the_kernel_has_it() {
    let (mut left, mut right) =
        pair(|_, peer| peer.authentication = keys(&[1]), |_, peer| peer.authentication = keys(&[1])).await;
    let has = kernel_has_tcp_ao();
    if has {
        assert_eq!(left.wait_established("right").await.tcp_ao_send_id, Some(1));
        right.wait_established("left").await;
    }
    // Both know the new key, then both prefer it, then both forget the old one.
    for (step, ids) in (1..).zip([&[1, 2][..], &[2, 1], &[2]]) {
        for speaker in [&mut left, &mut right] {
            let changes = speaker.reconfigure(|config| config.peers[0].authentication = keys(ids)).await;
            assert!(changes.len() == 1 && changes[0].ends_with(": tcp-ao changed, in place"), "{changes:?}");
        }
        if has {
            // A route is a segment each way, which says what the other is to sign with.
            let route = prefix(&format!("10.{step}.0.0/16"));
            right.originate([(route, attributes(None))]).await;
            left.wait_prefix(route).await;
            let signs = Some(if step == 1 { 1 } else { 2 });
            for (speaker, peer) in [(&left, "right"), (&right, "left")] {
                let sees = speaker.wait_peer(peer, "the key", |peer| peer.tcp_ao_send_id == signs).await;
                assert_eq!(sees.counters.established, 1, "{ids:?}");
            }
        } else {
            assert_refused(&left, &right).await;
        }
    }
    // Without keys there is nothing that the kernel could lack.
    for speaker in [&mut left, &mut right] {
        let changes = speaker.reconfigure(|config| config.peers[0].authentication = None).await;
        assert!(changes[0].ends_with(": tcp-ao changed, and the session was reset"), "{changes:?}");
    }
    let sees = right.wait_established("left").await;
    assert_eq!(sees.tcp_ao_send_id, None);
    left.wait_established("right").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_peer_is_let_in_by_the_tcp_ao_keys_of_its_prefix_or_not_at_all() {
    let left = Speaker::start(|config| {
        let anywhere = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let mut template = PeerConfig::new("rack", anywhere, RemoteAs::Internal, ASN);
        template.authentication = keys(&[1]);
        config.dynamic_peers.push(DynamicPeerConfig { prefix: prefix("127.0.0.0/8"), limit: 10, template });
    })
    .await;
    let from = support::address();
    let to_left = left.as_peer("left", from).await;
    let mut right = Speaker::start(|config| {
        config.listen.clear();
        config.router_id = bgp_proto::types::RouterId(from);
        config.peers.push(to_left);
    })
    .await;
    right.wait_peer("left", "a failed attempt", |peer| peer.last_error.is_some()).await;
    assert!(left.bgp.peers().await.is_empty(), "an unsigned connection is nobody's");
    let has = kernel_has_tcp_ao();
    assert_eq!(left.bgp.refused() > 0, !has, "the kernel keeps it from us, or we close it");
    right.reconfigure(|config| config.peers[0].authentication = keys(&[1])).await;
    if has {
        right.wait_established("left").await;
        let peer = left.wait_established(&format!("rack/{from}")).await;
        assert_eq!(peer.tcp_ao_send_id, Some(1));
    } else {
        right.wait_peer("left", "the reason", |peer| error(peer).contains(NONE)).await;
        assert!(left.bgp.peers().await.iter().all(|peer| peer.state != State::Established));
    }
}
