//! Two shells on loopback addresses: sessions, what guards them, and what a changed configuration does to them.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::filter::{Condition, Filter, PrefixMatch, Rule};
use bgp_proto::rib::{Aggregate, Aggregates};
use bgp_proto::session::{RemoteAs, State};
use bgp_proto::types::{Asn, HoldTime};
use bgpd::{
    Authentication, Event, PeerConfig, ResetError, RouteQuery, RouteScope, Secret, SetEnabledError, Shutdown, Ttl,
};
use support::{ASN, Ending, Speaker, attributes, numbered, pair, prefix, wait_for};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

fn md5(key: &str) -> Option<Authentication> {
    Secret::new(key.as_bytes()).map(Authentication::Md5)
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_go_both_ways_and_a_stopped_peer_takes_its_own_with_it() {
    let (left, right) = pair(|_, _| (), |_, _| ()).await;
    left.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    right.originate([(prefix("10.2.0.0/16"), attributes(Some(7)))]).await;
    right.wait_prefix(prefix("10.1.0.0/16")).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;

    let query = RouteQuery { scope: RouteScope::Received("right".to_owned()), prefix: None, limit: 10 };
    let routes = left.bgp.routes(query).await.unwrap();
    assert_eq!(routes.len(), 1, "{routes:?}");
    assert_eq!((routes[0].peer.as_str(), routes[0].route.attributes.med), ("right", Some(7)));

    right.bgp.stop(Shutdown::Cease).await;
    left.wait_no_prefix(prefix("10.2.0.0/16")).await;
    let peer = left.peer("right").await.unwrap();
    let error = peer.last_error.unwrap_or_default();
    assert!(error.contains("Administrative Shutdown"), "{error}");
    let told = left.told.lock().unwrap();
    assert!(matches!(&told.sessions[..], [Event::Up { .. }, Event::Down { .. }]), "{:?}", told.sessions);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_all_is_decided_is_said_once_after_a_peer_was_dropped_and_behind_every_path_of_its() {
    let (left, right) = pair(|_, _| (), |_, _| ()).await;
    // More than is decided in one go.
    let prefixes: Vec<_> = (0..40_000_u32).map(|n| prefix(&format!("20.{}.{}.0/24", n / 256, n % 256))).collect();
    let last = *prefixes.last().unwrap();
    right.originate(prefixes.into_iter().map(|prefix| (prefix, attributes(None)))).await;
    left.wait_prefix(last).await;
    assert_eq!(left.told.lock().unwrap().decided, [0; 0], "nobody was dropped");
    right.bgp.stop(Shutdown::Cease).await;
    wait_for("all is decided", async || match &left.told.lock().unwrap().decided[..] {
        [0] => Ok(()),
        other => Err(format!("paths left each time: {other:?}")),
    })
    .await;
}

/// Two speakers of which `left` has three routes of `right`'s, which may restart within so many seconds.
async fn with_three_routes(restart_time: u16) -> (Speaker, Speaker) {
    let restart = |config: &mut bgpd::Config, _: &mut PeerConfig| {
        config.graceful_restart = Some(bgpd::GracefulRestart { restart_time, ..Default::default() })
    };
    let (left, right) = pair(restart, restart).await;
    right.originate((0..3).map(|number| (numbered(number), attributes(None)))).await;
    left.wait_best("three routes", |best| best.len() == 3).await;
    (left, right)
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_closed_sessions_routes_are_dropped_is_said_before_they_go_and_that_all_is_decided_behind_them() {
    let (left, right) = with_three_routes(600).await;
    let address = IpAddr::V4(right.config.router_id.0);
    right.bgp.stop(Shutdown::Cease).await;
    let told = left.wait_ending(Ending::Decided).await;
    assert_eq!(told, [Ending::Dropped(address), Ending::Down, Ending::Gone(3), Ending::Decided]);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_removed_peers_routes_are_dropped_is_said_before_they_go_and_that_all_is_decided_behind_them() {
    let (mut left, right) = with_three_routes(600).await;
    let address = IpAddr::V4(right.config.router_id.0);
    left.reconfigure(|config| config.peers.clear()).await;
    let told = left.wait_ending(Ending::Decided).await;
    // Whether the session's end or the peer's comes first, it is.
    let told: Vec<_> = told.into_iter().filter(|step| *step != Ending::Down).collect();
    assert_eq!(told, [Ending::Dropped(address), Ending::Gone(3), Ending::Decided]);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_are_kept_for_a_peer_that_restarts_are_said_to_be_dropped_only_when_the_peer_is_removed() {
    let (mut left, right) = with_three_routes(600).await;
    let address = IpAddr::V4(right.config.router_id.0);
    right.bgp.stop(Shutdown::Silent).await;
    assert_eq!(left.wait_ending(Ending::Down).await, [Ending::Down]);
    left.reconfigure(|config| config.peers.clear()).await;
    let told = left.wait_ending(Ending::Decided).await;
    assert_eq!(told, [Ending::Down, Ending::Dropped(address), Ending::Gone(3), Ending::Decided]);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_are_kept_for_a_peer_that_restarts_are_said_to_be_dropped_when_its_time_is_over() {
    let (left, right) = with_three_routes(1).await;
    let address = IpAddr::V4(right.config.router_id.0);
    right.bgp.stop(Shutdown::Silent).await;
    let told = left.wait_ending(Ending::Decided).await;
    assert_eq!(told, [Ending::Down, Ending::Dropped(address), Ending::Gone(3), Ending::Decided]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stop_leaves_the_routes_with_a_peer_that_does_graceful_restart() {
    let restart = |config: &mut bgpd::Config, _: &mut PeerConfig| {
        config.graceful_restart = Some(bgpd::GracefulRestart { restart_time: 60, ..Default::default() })
    };
    let (left, right) = pair(restart, restart).await;
    right.originate([(prefix("10.2.0.0/16"), attributes(None))]).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;
    right.bgp.stop(Shutdown::Silent).await;
    left.wait_peer("right", "down", |peer| peer.state != State::Established).await;
    let query = RouteQuery { scope: RouteScope::Local, prefix: None, limit: 10 };
    // The RIB hears of it behind the session.
    wait_for("the route is stale", async || {
        let routes = left.bgp.routes(query.clone()).await.unwrap();
        if matches!(&routes[..], [only] if only.route.stale) { Ok(()) } else { Err(format!("{routes:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_its_owner_stops_is_not_blamed_on_an_earlier_error() {
    let restart = |config: &mut bgpd::Config, _: &mut PeerConfig| {
        config.graceful_restart = Some(bgpd::GracefulRestart { restart_time: 60, ..Default::default() })
    };
    let (left, right) = pair(restart, restart).await;
    right.wait_established("left").await;
    right.bgp.reset("left", None).await.unwrap();
    wait_for("the session is up again", async || match &left.told.lock().unwrap().sessions[..] {
        [.., Event::Down { .. }, Event::Up { .. }] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    left.bgp.stop(Shutdown::Silent).await;
    wait_for("the last end is told", async || {
        let told = left.told.lock().unwrap();
        match &told.sessions[..] {
            [.., Event::Up { .. }, Event::Down { reason, .. }] if reason.contains("stopped") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_for_an_unknown_peer_names_the_known_ones() {
    let (left, _right) = pair(|_, _| (), |_, _| ()).await;
    let query = RouteQuery { scope: RouteScope::Received("rigth".to_owned()), prefix: None, limit: 10 };
    let error = left.bgp.routes(query).await.unwrap_err();
    assert_eq!(error.known, ["right"]);
    assert_eq!(left.bgp.reset("rigth", None).await.unwrap_err(), error);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_whose_opens_wait_for_each_other_come_up_when_the_first_has_waited_enough() {
    let delay = |seconds| {
        move |_: &mut bgpd::Config, peer: &mut PeerConfig| {
            peer.delay_open = Some(Duration::from_secs(seconds));
        }
    };
    let (left, right) = pair(delay(240), delay(2)).await;
    right.wait_peer("left", "waiting with its OPEN", |peer| peer.open_in.is_some()).await;
    let up = left.wait_established("right").await;
    assert_eq!((up.open_in, up.counters.sent[0], up.counters.received[0]), (None, 1, 1));
    assert_eq!(right.wait_established("left").await.counters.established, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_connecting_at_once_end_in_one_session() {
    let one = Speaker::start(|_| ()).await;
    let mut other = Speaker::start(|_| ()).await;
    let mut one = one;
    let to_other = other.as_peer("other", one.address).await;
    let to_one = one.as_peer("one", other.address).await;
    let (first, second) = tokio::join!(
        one.reconfigure(|config| config.peers.push(to_other)),
        other.reconfigure(|config| config.peers.push(to_one))
    );
    assert_eq!((first, second), (vec!["peer other: added".to_owned()], vec!["peer one: added".to_owned()]));
    one.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    other.originate([(prefix("10.2.0.0/16"), attributes(None))]).await;
    other.wait_prefix(prefix("10.1.0.0/16")).await;
    one.wait_prefix(prefix("10.2.0.0/16")).await;
    let one_sees = one.wait_established("other").await;
    let other_sees = other.wait_established("one").await;
    assert_eq!((one_sees.counters.established, other_sees.counters.established), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_md5_key_keeps_the_session_down_and_the_right_one_lets_it_up() {
    let (mut left, right) =
        pair(|_, peer| peer.authentication = md5("one"), |_, peer| peer.authentication = md5("other")).await;
    let peer = right.wait_peer("left", "a failed attempt", |peer| peer.last_error.is_some()).await;
    assert_eq!(peer.counters.established, 0, "{peer:?}");
    let changes = left.reconfigure(|config| config.peers[0].authentication = md5("other")).await;
    assert_eq!(changes, ["peer right: password-file changed, in place"]);
    right.wait_established("left").await;
    left.wait_established("right").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_key_to_a_peer_with_one_is_not_heard() {
    let (left, right) = pair(|_, peer| peer.authentication = md5("key"), |_, _| ()).await;
    let peer = right.wait_peer("left", "a failed attempt", |peer| peer.last_error.is_some()).await;
    assert_eq!(peer.counters.established, 0, "{peer:?}");
    let heard: u64 = left.peer("right").await.unwrap().counters.received.iter().sum();
    assert_eq!(heard, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_for_whose_key_the_listening_socket_has_no_room_is_refused_and_its_status_says_so() {
    // A socket's keys share the memory of its options (net.core.optmem_max); each takes more than a hundred octets of it.
    let room: u32 = std::fs::read_to_string("/proc/sys/net/core/optmem_max").unwrap().trim().parse().unwrap();
    let numbers = 0..room / 100;
    // None of them exists; a /16 of its own for this process.
    let block = 0x7f40_0000 + (std::process::id() % 0x20) * 0x1_0000;
    let speaker = Speaker::start(|config| {
        config.peers = numbers
            .map(|number| {
                let address = IpAddr::V4(std::net::Ipv4Addr::from(block + number));
                let mut peer = PeerConfig::new(&format!("p{number}"), address, RemoteAs::Internal, ASN);
                peer.passive = true;
                peer.authentication = md5("key");
                peer
            })
            .collect();
    })
    .await;
    let without = speaker.bgp.peers().await.into_iter().find(|peer| peer.last_error.is_some());
    let without = without.unwrap_or_else(|| panic!("{room} octets are room for all of the keys"));
    let error = without.last_error.unwrap_or_default();
    assert!(error.contains("are refused: the TCP MD5 key cannot be set"), "{error}");

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(without.config.address, 0)).unwrap();
    let to = SocketAddr::new(IpAddr::V4(speaker.address), speaker.port().await);
    let mut unsigned = socket.connect(to).await.expect("the kernel has no key to ask for");
    let read = tokio::time::timeout(support::DEADLINE, unsigned.read(&mut [0; 64])).await;
    assert_eq!(read.expect("it is closed in time").unwrap_or(0), 0, "nothing is said to it");
    wait_for("it is counted", async || if speaker.bgp.refused() == 1 { Ok(()) } else { Err(String::new()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_changes_under_a_running_session() {
    let (mut left, mut right) =
        pair(|_, peer| peer.authentication = md5("old"), |_, peer| peer.authentication = md5("old")).await;
    left.wait_established("right").await;
    right.wait_established("left").await;
    left.reconfigure(|config| config.peers[0].authentication = md5("new")).await;
    right.reconfigure(|config| config.peers[0].authentication = md5("new")).await;
    left.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    right.wait_prefix(prefix("10.1.0.0/16")).await;
    assert_eq!(right.peer("left").await.unwrap().counters.established, 1);
    assert_eq!(left.peer("right").await.unwrap().counters.established, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_ttl_security_hears_nothing_that_was_not_sent_with_255() {
    let (left, mut right) = pair(|_, peer| peer.ttl = Ttl::Security { hops: 1 }, |_, _| ()).await;
    let sees = right.wait_peer("left", "an attempt that failed", |peer| peer.last_error.is_some()).await;
    assert_eq!(sees.counters.established, 0, "{sees:?}");
    assert_eq!(left.peer("right").await.unwrap().counters.received, [0; 5]);
    right.reconfigure(|config| config.peers[0].ttl = Ttl::Security { hops: 1 }).await;
    left.wait_established("right").await;
    right.wait_established("left").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_session_on_one_link_works_with_the_ttl_of_one_that_it_has_by_default() {
    let external = Asn(64513);
    let (left, right) = pair(
        |_, peer| peer.remote_as = RemoteAs::Exactly(external),
        |config, peer| {
            config.local_as = external;
            peer.local_as = external;
            peer.remote_as = RemoteAs::External;
        },
    )
    .await;
    let peer = left.wait_established("right").await;
    assert_eq!(peer.established.unwrap().remote_as, external);
    right.wait_established("left").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_filter_is_applied_without_a_reset() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    right.originate([(prefix("10.1.0.0/16"), attributes(None)), (prefix("10.2.0.0/16"), attributes(None))]).await;
    left.wait_prefix(prefix("10.1.0.0/16")).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;
    let rule = Rule::accept(vec![Condition::Prefix(vec![PrefixMatch::exact(prefix("10.2.0.0/16"))])]);
    let filter = Arc::new(Filter { name: "only-two".to_owned(), rules: vec![rule] });
    let changes = left.reconfigure(|config| config.peers[0].import = Some(filter)).await;
    assert_eq!(changes, ["peer right: import changed, in place"]);
    left.wait_no_prefix(prefix("10.1.0.0/16")).await;
    let changes = left.reconfigure(|config| config.peers[0].import = None).await;
    assert_eq!(changes, ["peer right: import changed, in place"]);
    left.wait_prefix(prefix("10.1.0.0/16")).await;
    let peer = left.peer("right").await.unwrap();
    assert_eq!((peer.counters.established, peer.counts.received), (1, 2), "{peer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_comes_and_goes_with_the_configuration_and_resets_no_session() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    let (inside, whole) = (prefix("10.2.0.0/24"), prefix("10.0.0.0/8"));
    left.originate([(inside, attributes(None))]).await;
    right.wait_prefix(inside).await;
    let aggregate = Aggregate {
        prefix: whole,
        summary_only: true,
        med: None,
        local_pref: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
    };
    let said = left.reconfigure(|config| config.aggregates = [aggregate].into_iter().collect()).await;
    assert_eq!(said, ["aggregates changed, in place"]);
    left.wait_prefix(whole).await;
    right.wait_no_prefix(inside).await;
    let said = left.reconfigure(|config| config.aggregates = Aggregates::default()).await;
    assert_eq!(said, ["aggregates changed, in place"]);
    left.wait_no_prefix(whole).await;
    right.wait_prefix(inside).await;
    assert_eq!(left.peer("right").await.unwrap().counters.established, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_hold_time_resets_the_session_of_its_peer_alone() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    right.wait_established("left").await;
    let changes = left.reconfigure(|config| config.peers[0].hold_time = HoldTime::from_seconds(30)).await;
    assert_eq!(changes, ["peer right: hold-time changed, and the session was reset"]);
    let peer = right.wait_peer("left", "up again", |peer| peer.counters.established == 2).await;
    let error = peer.last_error.unwrap_or_default();
    assert!(error.contains("Other Configuration Change"), "{error}");
    assert_eq!(left.reconfigure(|_| ()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_peer_is_sent_why_and_an_added_one_comes_up() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    right.wait_established("left").await;
    let peer = left.config.peers[0].clone();
    assert_eq!(left.reconfigure(|config| config.peers.clear()).await, ["peer right: removed"]);
    let sees = right.wait_peer("left", "down", |peer| peer.state != State::Established).await;
    let error = sees.last_error.unwrap_or_default();
    assert!(error.contains("De-configured"), "{error}");
    assert_eq!(left.reconfigure(|config| config.peers.push(peer)).await, ["peer right: added"]);
    left.wait_established("right").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_ends_the_session_and_starts_it_again_and_a_soft_one_does_not() {
    let (left, right) = pair(|_, _| (), |_, _| ()).await;
    right.wait_established("left").await;
    left.wait_established("right").await;
    // Marks of a refresh follow only what End-of-RIB, of both families, has ended.
    right.wait_peer("left", "all routes", |peer| peer.counters.received[1] == 2).await;
    left.wait_peer("right", "all routes", |peer| peer.counters.received[1] == 2).await;
    left.bgp.refresh("right").await.unwrap();
    // ROUTE-REFRESH, three a family: a request, and BoRR and EoRR around what we send again.
    right.wait_peer("left", "requests for routes, and marks", |peer| peer.counters.received[4] == 6).await;
    left.wait_peer("right", "marks", |peer| peer.counters.received[4] == 4).await;
    let before = left.peer("right").await.unwrap();
    assert_eq!((before.counters.established, before.last_down), (1, None));
    left.bgp.reset("right", Some("new optics")).await.unwrap();
    let again = left.wait_peer("right", "up again", |peer| peer.counters.established == 2).await;
    let ours = "stopped here: Cease / Administrative Reset: \"new optics\"";
    assert_eq!(again.last_down.map(|down| down.reason).as_deref(), Some(ours));
    // RFC 9003: the other end knows what was said.
    let said = "received Cease / Administrative Reset: \"new optics\"";
    wait_for(said, async || {
        let told = right.told.lock().unwrap().sessions.clone();
        let heard = told.iter().any(|event| matches!(event, Event::Down { reason, .. } if reason == said));
        if heard { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_keeps_routes_costs_none_at_either_end_and_is_refused_where_it_would() {
    let restart = |notification| {
        move |config: &mut bgpd::Config, _: &mut PeerConfig| {
            config.graceful_restart =
                Some(bgpd::GracefulRestart { restart_time: 60, notification, ..Default::default() });
        }
    };
    let (left, right) = pair(restart(true), restart(true)).await;
    left.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    right.originate([(prefix("10.2.0.0/16"), attributes(None))]).await;
    right.wait_prefix(prefix("10.1.0.0/16")).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;
    left.bgp.reset_keeping_routes("right", Some("new optics")).await.unwrap();
    for (speaker, other, reason) in [
        (&left, "right", "sent Cease / Administrative Reset: \"new optics\""),
        (&right, "left", "received Cease / Administrative Reset: \"new optics\""),
    ] {
        let again = speaker.wait_peer(other, "up again", |peer| peer.counters.established == 2).await;
        assert_eq!(again.last_down.map(|down| down.reason).as_deref(), Some(reason));
        let told = speaker.told.lock().unwrap();
        assert!(told.ending.iter().all(|ending| !matches!(ending, Ending::Gone(_))), "{:?}", told.ending);
    }

    let (left, _right) = pair(restart(true), restart(false)).await;
    left.wait_established("right").await;
    let error = left.bgp.reset_keeping_routes("right", None).await.unwrap_err();
    assert_eq!(error, ResetError::CostsRoutes { name: "right".to_owned() });
    assert_eq!(left.peer("right").await.unwrap().state, State::Established, "nothing was done");
    // A session that is not up has nothing to lose.
    left.bgp.set_enabled("right", false, None).await.unwrap();
    left.bgp.reset_keeping_routes("right", None).await.unwrap();
    assert!(matches!(left.bgp.reset_keeping_routes("nobody", None).await, Err(ResetError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_peer_stays_down_until_it_is_enabled_or_the_configuration_is_applied_again() {
    let (left, right) = pair(|_, _| (), |_, peer| peer.connect_retry = Duration::from_secs(1)).await;
    left.wait_established("right").await;
    left.bgp.set_enabled("right", false, Some("back at 5")).await.unwrap();
    let kept_down = |peer: &bgpd::PeerStatus| peer.disabled && peer.state == State::Idle;
    left.wait_peer("right", "disabled", kept_down).await;
    // The other side tries, and is refused.
    let refused = |peer: &bgpd::PeerStatus| peer.last_error.as_ref().is_some_and(|error| !error.contains("Cease"));
    let peer = right.wait_peer("left", "a refused connection", refused).await;
    assert_eq!(peer.communication.as_deref(), Some("back at 5"));
    left.bgp.reset("right", None).await.unwrap();
    assert!(kept_down(&left.peer("right").await.unwrap()), "a reset enables nobody");

    left.bgp.set_enabled("right", true, None).await.unwrap();
    left.wait_peer("right", "up again", |peer| !peer.disabled && peer.counters.established == 2).await;

    left.bgp.set_enabled("right", false, None).await.unwrap();
    left.wait_peer("right", "disabled", kept_down).await;
    assert_eq!(left.bgp.reconfigure(left.config.clone()).await, ["peer right: enabled again"]);
    left.wait_peer("right", "up once more", |peer| !peer.disabled && peer.counters.established == 3).await;
    assert!(matches!(left.bgp.set_enabled("nobody", false, None).await, Err(SetEnabledError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_person_at_the_other_end_said_is_shown_until_the_session_is_up_again() {
    let (left, right) = pair(|_, _| (), |_, peer| peer.connect_retry = Duration::from_secs(1)).await;
    right.wait_established("left").await;
    left.bgp.stop(Shutdown::Cease).await;
    // The attempts that follow fail, and what they fail with is not what a person needs.
    let fails = |peer: &bgpd::PeerStatus| peer.last_error.as_ref().is_some_and(|error| error.contains("connect"));
    let peer = right.wait_peer("left", "a failed attempt", fails).await;
    assert_eq!(peer.communication.as_deref(), Some("this speaker was stopped"));
    let down = peer.last_down.unwrap();
    assert_eq!(down.reason, "received Cease / Administrative Shutdown: \"this speaker was stopped\"");
    assert!(down.ago < Duration::from_secs(60), "{down:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_over_its_prefix_limit_is_ended_with_the_reason() {
    let (left, right) = pair(|_, peer| peer.max_prefixes = Some(bgpd::PrefixLimit::new(2)), |_, _| ()).await;
    right.originate((0..3).map(|number| (support::numbered(number), attributes(None)))).await;
    let peer = right.wait_peer("left", "an end", |peer| peer.last_error.is_some()).await;
    let error = peer.last_error.unwrap_or_default();
    assert!(error.contains("Maximum Number of Prefixes"), "{error}");
    drop(left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_closed_at_once_and_counted() {
    let (left, right) = pair(|_, _| (), |_, _| ()).await;
    let target = SocketAddr::new(IpAddr::V4(left.address), left.port().await);
    for _ in 0..50 {
        // From the address that the kernel chooses, which is no peer's.
        let mut stream = TcpStream::connect(target).await.unwrap();
        let mut byte = [0];
        assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
    }
    assert_eq!(left.bgp.refused(), 50);
    right.wait_established("left").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_peers_come_up_to_the_limit_and_make_room_when_they_go() {
    let addresses = [support::address(), support::address(), support::address()];
    let range = bgpd::DynamicPeerConfig {
        prefix: prefix("127.128.0.0/9"),
        limit: 2,
        template: PeerConfig::new("cluster", IpAddr::V4(addresses[0]), RemoteAs::Internal, ASN),
    };
    let hub = Speaker::start(|config| config.dynamic_peers.push(range)).await;
    let mut spokes = Vec::new();
    for address in &addresses[..2] {
        let peer = hub.as_peer("hub", *address).await;
        let spoke = Speaker::start(|config| {
            config.router_id = bgp_proto::types::RouterId(*address);
            config.peers.push(peer);
        })
        .await;
        let name = format!("cluster/{address}");
        assert!(hub.wait_established(&name).await.dynamic);
        spokes.push(spoke);
    }
    let peer = hub.as_peer("hub", addresses[2]).await;
    let late = Speaker::start(|config| {
        config.router_id = bgp_proto::types::RouterId(addresses[2]);
        config.peers.push(peer);
    })
    .await;
    support::wait_for("a refused connection", || async {
        if hub.bgp.refused() > 0 { Ok(()) } else { Err(format!("{:?}", hub.bgp.peers().await)) }
    })
    .await;
    assert_eq!(hub.bgp.peers().await.len(), 2);
    spokes[0].bgp.stop(Shutdown::Cease).await;
    late.wait_established("hub").await;
    let names: Vec<_> = hub.bgp.peers().await.into_iter().map(|peer| peer.config.name).collect();
    let mut wanted = vec![format!("cluster/{}", addresses[1]), format!("cluster/{}", addresses[2])];
    wanted.sort();
    assert_eq!(names, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_opens_and_closes_without_a_restart() {
    let mut speaker = Speaker::start(|_| ()).await;
    let address = speaker.config.listen[0];
    let lines = speaker.reconfigure(|config| config.listen.clear()).await;
    assert_eq!(lines, [format!("listen {address}: closed")]);
    assert!(speaker.bgp.listening().await.is_empty());
    let lines = speaker.reconfigure(|config| config.listen.push(address)).await;
    assert_eq!(lines, [format!("listen {address}: opened")]);
    assert_eq!(speaker.bgp.listening().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_with_one_address_are_refused_at_the_start_and_change_nothing_later() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    right.wait_established("left").await;
    let mut twin = left.config.peers[0].clone();
    twin.name = "twin".to_owned();
    let lines = left.reconfigure(|config| config.peers.push(twin)).await;
    assert!(matches!(&lines[..], [line] if line.starts_with("nothing changed: two peers")), "{lines:?}");
    assert!(bgpd::Bgp::start(left.config.clone(), false).await.is_err());
    assert_eq!(right.peer("left").await.unwrap().counters.established, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_retry_and_passive_change_under_a_running_session() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    right.wait_established("left").await;
    let lines = left
        .reconfigure(|config| {
            config.peers[0].passive = false;
            config.peers[0].connect_retry = Duration::from_secs(9);
        })
        .await;
    assert_eq!(lines, ["peer right: passive, connect-retry changed, in place"]);
    assert_eq!(right.peer("left").await.unwrap().counters.established, 1);
}

/// A speaker with two internal peers, "one" and "two", which know it as "hub"; `change` is done to what the hub says of each.
async fn hub_and_spokes(change: impl Fn(&mut PeerConfig)) -> (Speaker, [Speaker; 2]) {
    let from = [support::address(), support::address()];
    let hub = Speaker::start(|config| {
        for (name, address) in ["one", "two"].iter().zip(from) {
            let mut peer = PeerConfig::new(name, IpAddr::V4(address), RemoteAs::Internal, ASN);
            peer.passive = true;
            change(&mut peer);
            config.peers.push(peer);
        }
    })
    .await;
    let spoke = async |address| {
        let peer = hub.as_peer("hub", address).await;
        Speaker::start(|config| {
            config.router_id = bgp_proto::types::RouterId(address);
            config.peers.push(peer);
        })
        .await
    };
    let spokes = [spoke(from[0]).await, spoke(from[1]).await];
    (hub, spokes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rib_writes_into_a_session_is_counted_as_the_sessions() {
    let (hub, spokes) = hub_and_spokes(|peer| peer.client = true).await;
    for name in ["one", "two"] {
        hub.wait_established(name).await;
    }
    for number in 0..20 {
        spokes[0].originate((0..=number).map(|number| (support::numbered(number), attributes(None)))).await;
        spokes[1].wait_prefix(support::numbered(number)).await;
    }
    let heard = spokes[1].wait_peer("hub", "20 UPDATEs and End-of-RIB", |peer| peer.counters.received[1] >= 21).await;
    let said = hub.peer("two").await.unwrap();
    assert_eq!(said.counters.sent[1], heard.counters.received[1]);
    assert_eq!(said.unsent_bytes, 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_or_fewer_paths_are_used_without_a_reset() {
    let (mut hub, spokes) = hub_and_spokes(|_| ()).await;
    for spoke in &spokes {
        spoke.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    }
    let paths = |wanted: usize| {
        move |best: &std::collections::BTreeMap<_, Vec<_>>| {
            best.get(&prefix("10.1.0.0/16")).is_some_and(|paths| paths.len() == wanted)
        }
    };
    hub.wait_best("two paths", paths(2)).await;
    assert_eq!(hub.reconfigure(|config| config.max_paths = 1).await, ["max-paths: 1"]);
    hub.wait_best("one path", paths(1)).await;
    assert_eq!(hub.reconfigure(|config| config.max_paths = 8).await, ["max-paths: 8"]);
    hub.wait_best("two paths again", paths(2)).await;
    for peer in hub.bgp.peers().await {
        assert_eq!(peer.counters.established, 1, "{peer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_router_id_starts_everything_anew_and_everything_comes_back() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    left.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    right.originate([(prefix("10.2.0.0/16"), attributes(None))]).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;
    right.wait_prefix(prefix("10.1.0.0/16")).await;
    let router_id = bgp_proto::types::RouterId(std::net::Ipv4Addr::new(192, 0, 2, 77));
    let lines = left.reconfigure(|config| config.router_id = router_id).await;
    assert_eq!(lines, ["router-id changed, and every session was reset"]);
    let sees = right.wait_peer("left", "up again", |peer| peer.counters.established == 2).await;
    assert_eq!(sees.established.map(|established| established.remote_id), Some(router_id));
    right.wait_prefix(prefix("10.1.0.0/16")).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_speaker_says_so_and_decides_only_when_its_peers_have_said_all() {
    let restart = |config: &mut bgpd::Config, _: &mut PeerConfig| {
        config.graceful_restart = Some(bgpd::GracefulRestart { restart_time: 30, ..Default::default() })
    };
    let (left, right) = pair(restart, restart).await;
    right.originate([(prefix("10.2.0.0/16"), attributes(None))]).await;
    left.wait_prefix(prefix("10.2.0.0/16")).await;
    right.bgp.stop(Shutdown::Silent).await;

    let (again, mut events) = bgpd::Bgp::start(right.config.clone(), true).await.unwrap();
    again.originate(vec![(prefix("10.2.0.0/16"), attributes(Some(1)))]).await;
    left.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    let sees = left.wait_peer("right", "up again", |peer| peer.counters.established == 2).await;
    let capability = sees.established.and_then(|established| established.graceful_restart).unwrap();
    assert!(capability.restarting && capability.families.iter().all(|family| family.1), "{capability:?}");
    let announced = again.peers().await.into_iter().find_map(|peer| peer.announced.graceful);
    assert_eq!(announced.as_ref(), Some(&capability), "what is shown is what the peer heard");
    // Both families are waited for, and what was decided by then holds what the peer had to say.
    let mut best = Vec::new();
    let mut converged = 0;
    while converged < 2 {
        match tokio::time::timeout(support::DEADLINE, events.recv()).await.expect("End-of-RIB in time").unwrap() {
            Event::Best(changes) => best.extend(changes.into_iter().map(|change| change.prefix)),
            Event::Converged(_) => converged += 1,
            Event::Up { .. } | Event::Down { .. } | Event::Dropped { .. } | Event::Decided => {}
        }
    }
    best.sort();
    assert_eq!(best, [prefix("10.1.0.0/16"), prefix("10.2.0.0/16")]);
    left.wait_best("the route of the new process", |best| {
        best.get(&prefix("10.2.0.0/16")).is_some_and(|paths| paths[0].attributes.med == Some(1))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_over_ipv6_has_a_key_and_ttl_security_and_carries_both_families() {
    // There is one IPv6 loopback address, so each of the two is the peer with the other's and its own address.
    let address = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    let peer = |name| {
        let mut peer = PeerConfig::new(name, address, RemoteAs::Internal, ASN);
        peer.authentication = md5("key");
        peer.ttl = Ttl::Security { hops: 1 };
        peer.connect_retry = Duration::from_secs(1);
        peer
    };
    let left = Speaker::start(|config| {
        config.listen = vec![SocketAddr::new(address, 0)];
        config.peers.push(PeerConfig { passive: true, ..peer("right") });
    })
    .await;
    let port = left.port().await;
    let right = Speaker::start(|config| {
        config.listen.clear();
        config.peers.push(PeerConfig { port, ..peer("left") });
    })
    .await;
    let next_hop = bgp_proto::types::NextHop::from("2001:db8::7".parse::<IpAddr>().unwrap());
    let attributes6 = bgp_proto::wire::attributes::Attributes { next_hop, ..attributes(None) };
    right.originate([(prefix("10.1.0.0/16"), attributes(None)), (prefix("fd00:1::/32"), attributes6)]).await;
    left.wait_prefix(prefix("10.1.0.0/16")).await;
    left.wait_prefix(prefix("fd00:1::/32")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_hop_that_is_out_of_reach_is_not_used_whatever_starts_anew_until_it_is_back() {
    let (mut left, right) = pair(|_, _| (), |_, _| ()).await;
    let net = prefix("10.2.0.0/16");
    right.originate([(net, attributes(None))]).await;
    left.wait_prefix(net).await;
    let next_hop = left.told.lock().unwrap().best[&net][0].attributes.next_hop.address();
    left.bgp.set_unreachable(vec![(next_hop, true)]).await;
    left.wait_best("no route", |best| best.is_empty()).await;
    assert!(left.bgp.forget_unreachable().await.is_empty(), "a path has it");
    left.reconfigure(|config| config.router_id = bgp_proto::types::RouterId([192, 0, 2, 77].into())).await;
    wait_for("the route, with why it is not used", || async {
        let shown =
            left.bgp.routes(RouteQuery { scope: RouteScope::Local, prefix: Some(net), limit: 9 }).await.unwrap();
        let reasons: Vec<_> = shown.into_iter().map(|view| view.route.reason).collect();
        if reasons == [format!("the next hop {next_hop} is not reachable")] {
            Ok(())
        } else {
            Err(format!("{reasons:?}"))
        }
    })
    .await;
    left.bgp.set_unreachable(vec![(next_hop, false)]).await;
    left.wait_prefix(net).await;
}
