//! WireGuard on the real kernel, where it has it: the machine under `topology-tests` does. Looks with `wg`.
#![allow(missing_docs)]

mod support;

use std::{net::UdpSocket, sync::Arc};

use fib_sync::{
    Encapsulation, Fib, FibError, FibEvent, Hop, OverlaySpec, OverlayStatus, Path, PrivateKey, PublicKey, Target,
    TunnelEnd, overlay::WIREGUARD_DEVICE,
};
use support::{
    node::{Node, end_of, has_wireguard, spec_of},
    stream::{Stream, told},
    *,
};
use tokio::sync::mpsc::Receiver;

fn spec(secret: u8) -> OverlaySpec {
    OverlaySpec {
        encapsulation: Encapsulation::WireGuard { port: 51820 },
        local: "192.168.0.1".parse().expect("an address"),
        mtu: None,
        key: Some(Arc::new(PrivateKey::new([secret; 32]))),
        hold_sessions: false,
    }
}

/// Runs a test in a namespace where the kernel has WireGuard.
fn with_wireguard<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    in_namespace(|| async {
        if has_wireguard() {
            link("up1", &["192.168.0.1/24", "fd00:10::1/64"]);
            test().await;
        }
    });
}

async fn started(secret: u8) -> (Fib, Receiver<FibEvent>, OverlayStatus) {
    let (fib, events) = start().await;
    let made = fib.overlay(Some(spec(secret))).await.expect("the overlay").expect("the overlay");
    (fib, events, made)
}

fn end_at(endpoint: &str, key: u8) -> TunnelEnd {
    TunnelEnd::WireGuard { endpoint: endpoint.parse().expect("an address"), port: 51820, key: PublicKey([key; 32]) }
}

fn hops_of(target: &Target) -> Vec<Hop> {
    target.hops().map(|(hop, _)| hop.clone()).collect()
}

fn to(end: TunnelEnd) -> Target {
    Target::Forward(vec![Hop::Tunnel(end)])
}

/// `KEY-OCTET END-POINT PREFIX…` of each peer.
fn peers() -> Vec<String> {
    let name = |key: &str| {
        (0..=255u8)
            .find(|octet| PublicKey([*octet; 32]).to_string() == key)
            .map_or_else(|| key.to_owned(), |octet| octet.to_string())
    };
    let shown = run("wg", &["show", WIREGUARD_DEVICE, "dump"]).expect("wg");
    let mut peers: Vec<String> = shown
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let mut prefixes: Vec<&str> = fields[3].split(',').collect();
            prefixes.sort_unstable();
            format!("{} {} {}", name(fields[0]), fields[2], prefixes.join(" "))
        })
        .collect();
    peers.sort_unstable();
    peers
}

#[test]
fn peers_and_their_prefixes_follow_the_routes() {
    with_wireguard(|| async {
        let (fib, _events, made) = started(7).await;
        assert_eq!((made.mtu, made.device.as_str()), (1440, WIREGUARD_DEVICE));
        let key = run("wg", &["show", WIREGUARD_DEVICE, "public-key"]).expect("wg");
        assert_eq!(Some(key.trim()), made.key.map(|key| key.to_string()).as_deref());
        fib.sweep(false).await;
        fib.sweep(true).await;
        let (one, two) = (end_at("192.168.7.1", 1), end_at("192.168.7.2", 2));
        fib.wish(vec![put("10.1.0.0/16", to(one)), put("10.2.0.0/16", to(two)), put("fd00:1::/64", to(one))]).await;
        assert_eq!(
            peers(),
            [
                "1 192.168.7.1:51820 10.1.0.0/16 192.168.7.1/32 fd00:1::/64",
                "2 192.168.7.2:51820 10.2.0.0/16 192.168.7.2/32"
            ]
        );
        let shown = routes();
        assert_eq!(shown[0], "10.1.0.0/16 via 192.168.7.1 dev linnet.wg src 192.168.0.1 metric 76 onlink mtu 1440");
        let status = fib.status().await;
        assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:?}");
        assert!(status.iter().all(|status| status.hops[0].tunnel.is_some()), "{status:?}");

        // One of two goes to the other peer, and then away; another path of the same peer stays.
        fib.wish(vec![put("10.1.0.0/16", to(two))]).await;
        assert_eq!(
            peers(),
            [
                "1 192.168.7.1:51820 192.168.7.1/32 fd00:1::/64",
                "2 192.168.7.2:51820 10.1.0.0/16 10.2.0.0/16 192.168.7.2/32"
            ]
        );
        fib.wish(vec![put("10.1.0.0/16", via(&["192.168.0.9"])), remove("fd00:1::/64")]).await;
        assert_eq!(peers(), ["2 192.168.7.2:51820 10.2.0.0/16 192.168.7.2/32"]);

        // Two peers at once: one is chosen, the same each time.
        let both = Target::Forward(vec![Hop::Tunnel(two), Hop::Tunnel(one)]);
        fib.wish(vec![put("10.3.0.0/16", both)]).await;
        assert!(peers()[0].starts_with("1 192.168.7.1:51820 10.3.0.0/16"), "{:?}", peers());
        let told = fib.peers().await.expect("peers");
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|peer| peer.prefixes == 2 && peer.handshake.is_none() && peer.sent == 0), "{told:?}");
    });
}

/// Direct, with the tunnel left open beside it.
fn beside(end: TunnelEnd) -> Path {
    Path { idle_tunnel: Some(end), ..via(&["192.168.0.9"]).into() }
}

#[test]
fn the_peer_of_a_path_that_leads_past_its_tunnel_has_the_prefixes_all_the_same() {
    with_wireguard(|| async {
        let (fib, _events, _) = started(7).await;
        fib.sweep(false).await;
        fib.sweep(true).await;
        let (one, two) = (end_at("192.168.7.1", 1), end_at("192.168.7.2", 2));
        let direct = "10.1.0.0/16 via 192.168.0.9 dev up1 metric 76";
        fib.wish(vec![put("10.1.0.0/16", beside(one))]).await;
        let of_one = ["1 192.168.7.1:51820 10.1.0.0/16 192.168.7.1/32"];
        assert_eq!((peers(), routes()), (of_one.map(str::to_owned).to_vec(), vec![direct.to_owned()]));
        // To the tunnel and back, as the same path and as another: the peer stands as it is.
        let path = fib_sync::PathId(900);
        let prefix = "10.9.0.0/16".parse().expect("a prefix");
        let tell = |to: Path| fib_sync::Change::Path(path, Some(to));
        fib.change(vec![tell(beside(two)), fib_sync::Change::Put(prefix, path)]).await;
        let both = peers();
        assert_eq!(both[1], "2 192.168.7.2:51820 10.9.0.0/16 192.168.7.2/32");
        for to in [to(two).into(), beside(two), to(two).into()] {
            fib.change(vec![tell(to)]).await;
            assert_eq!(peers(), both);
        }
        for target in [to(one).into(), beside(one)] {
            fib.wish(vec![put("10.1.0.0/16", target)]).await;
            assert_eq!(peers(), both);
        }
        assert_eq!(routes()[0], direct);
        // Told to nobody, a peer is put right as others are.
        run("wg", &["set", WIREGUARD_DEVICE, "peer", &PublicKey([1; 32]).to_string(), "remove"]).expect("wg");
        until("the peer is back", || peers() == both).await;

        // What is sent by a tunnel goes before what only comes by one.
        let mixed = Target::Forward([via(&["192.168.0.9"]), to(two)].iter().flat_map(hops_of).collect());
        fib.wish(vec![put("10.1.0.0/16", Path { idle_tunnel: Some(one), ..mixed.into() })]).await;
        assert_eq!(peers(), ["2 192.168.7.2:51820 10.1.0.0/16 10.9.0.0/16 192.168.7.2/32"]);
        // The other node offers another key, then none, and then its path is gone.
        fib.change(vec![tell(beside(end_at("192.168.7.2", 3)))]).await;
        fib.wish(vec![put("10.1.0.0/16", beside(one))]).await;
        assert_eq!(peers()[1], "3 192.168.7.2:51820 10.9.0.0/16 192.168.7.2/32");
        fib.change(vec![tell(via(&["192.168.0.9"]).into())]).await;
        assert_eq!((peers(), routes().len()), (of_one.map(str::to_owned).to_vec(), 2));
        fib.wish(vec![remove("10.1.0.0/16")]).await;
        assert_eq!(peers(), [""; 0]);
    });
}

#[test]
fn a_restart_takes_over_the_peers_of_paths_that_lead_past_their_tunnel() {
    with_wireguard(|| async {
        let (first, events, _) = started(7).await;
        let (one, two) = (end_at("192.168.7.1", 1), end_at("192.168.7.2", 2));
        first.wish(vec![put("10.1.0.0/16", beside(one)), put("10.2.0.0/16", beside(two))]).await;
        let before = peers();
        assert_eq!(before.len(), 2);
        end(first, events).await;
        let (second, _events, _) = started(7).await;
        assert_eq!(peers(), before);
        second.wish(vec![put("10.1.0.0/16", beside(one))]).await;
        assert_eq!(peers(), before);
        second.sweep(false).await;
        second.sweep(true).await;
        assert_eq!(peers(), before[..1]);
    });
}

#[test]
fn of_two_nodes_one_moves_into_the_tunnel_before_the_other_and_no_packet_is_lost_nor_with_the_first_handshake() {
    with_wireguard(|| async {
        ip("link add one type veth peer name two");
        let encapsulation = Encapsulation::WireGuard { port: 51820 };
        let one = Node::new(encapsulation, "one", &["192.168.1.1/24"], &["10.244.1.5"]).await;
        let two = Node::new(encapsulation, "two", &["192.168.1.2/24"], &["10.244.2.5"]).await;
        let ways = [(&one, "10.244.2.0/24", "192.168.1.2", &two), (&two, "10.244.1.0/24", "192.168.1.1", &one)];
        for (node, prefix, gateway, other) in ways {
            let direct = Path { idle_tunnel: Some(end_of(&other.overlay)), ..via(&[gateway]).into() };
            node.fib.wish(vec![put(prefix, direct)]).await;
        }
        until("the link works", || one.pod.pings("10.244.2.5").is_ok() && two.pod.pings("10.244.1.5").is_ok()).await;
        let stream = |from: &Node, to: &Node, address: &str| {
            let bound: std::net::SocketAddr = format!("{address}:7000").parse().expect("an address");
            let receiver = to.pod.run(move || UdpSocket::bind(bound).expect("a socket"));
            let sender = from.pod.run(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
            Stream::start(sender, receiver, bound)
        };
        let streams = [stream(&one, &two, "10.244.2.5"), stream(&two, &one, "10.244.1.5")];
        for (node, prefix, _, other) in ways {
            let told = node.fib.peers().await.expect("peers");
            assert!(told.len() == 1 && told[0].prefixes == 2, "{told:?}");
            let before = told[0].sent;
            node.fib.wish(vec![put(prefix, to(end_of(&other.overlay)))]).await;
            // One sends by the tunnel and the other by the link, for many packets.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while node.fib.peers().await.expect("peers")[0].sent < before + 5000 {
                assert!(std::time::Instant::now() < deadline, "nothing is sent by the tunnel");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        for stream in streams {
            let (sent, missing) = stream.end();
            assert!(missing.is_empty(), "of {sent} packets:{}", told(&missing, &[]));
        }
    });
}

/// What `wg` shows of the only peer.
fn shown(what: &str) -> String {
    let shown = run("wg", &["show", WIREGUARD_DEVICE, what]).expect("wg");
    shown.trim().split_once('\t').map(|(_, shown)| shown.to_owned()).unwrap_or_default()
}

#[test]
fn where_sessions_are_held_one_stands_before_anything_is_sent_and_one_of_two_nodes_sees_to_that() {
    with_wireguard(|| async {
        ip("link add one type veth peer name two");
        let encapsulation = Encapsulation::WireGuard { port: 51820 };
        let one = Node::new(encapsulation, "one", &["192.168.1.1/24"], &["10.244.1.5"]).await;
        let two = Node::new(encapsulation, "two", &["192.168.1.2/24"], &["10.244.2.5"]).await;
        let nodes = [(&one, "10.244.2.0/24", &two), (&two, "10.244.1.0/24", &one)];
        for (node, prefix, other) in nodes {
            let gateway = other.overlay.local.to_string();
            let direct = Path { idle_tunnel: Some(end_of(&other.overlay)), ..via(&[&gateway]).into() };
            node.fib.wish(vec![put(prefix, direct)]).await;
        }
        let keepalives = || {
            let mut kept = nodes.map(|(node, ..)| node.host.run(|| shown("persistent-keepalive")));
            kept.sort();
            kept
        };
        let handshakes = || nodes.map(|(node, ..)| node.host.run(|| shown("latest-handshakes")));
        assert_eq!((keepalives(), handshakes()), (["off"; 2].map(str::to_owned), ["0"; 2].map(str::to_owned)));
        let hold = async |hold_sessions| {
            for (node, ..) in nodes {
                let spec = spec_of(encapsulation, &node.overlay.local.to_string());
                node.fib.overlay(Some(OverlaySpec { hold_sessions, ..spec })).await.expect("the overlay");
            }
        };
        hold(true).await;
        assert_eq!(keepalives(), ["10", "off"].map(str::to_owned));
        until("a session stands", || handshakes().iter().all(|at| at != "0")).await;
        let set = |seconds: &'static str| {
            for (node, _, other) in nodes {
                let key = other.overlay.key.expect("a key").to_string();
                node.host
                    .run(move || run("wg", &["set", WIREGUARD_DEVICE, "peer", &key, "persistent-keepalive", seconds]))
                    .expect("wg");
            }
        };
        set("99");
        for (node, ..) in nodes {
            node.fib.check().await.expect("a compare");
        }
        assert_eq!(keepalives(), ["10", "off"].map(str::to_owned));
        hold(false).await;
        assert_eq!(keepalives(), ["off"; 2].map(str::to_owned));
    });
}

#[test]
fn a_node_with_another_key_is_another_peer_and_nothing_of_the_first_is_left() {
    with_wireguard(|| async {
        let (fib, _events, _) = started(7).await;
        fib.wish(vec![put("10.1.0.0/16", to(end_at("192.168.7.1", 1)))]).await;
        fib.wish(vec![put("10.1.0.0/16", to(end_at("192.168.7.1", 3)))]).await;
        assert_eq!(peers(), ["3 192.168.7.1:51820 10.1.0.0/16 192.168.7.1/32"]);
        // The same path told anew, as linnetd does for a next hop that is reached otherwise.
        let path = fib_sync::PathId(900);
        let prefix = "10.9.0.0/16".parse().expect("a prefix");
        let tell = |key| fib_sync::Change::Path(path, Some(to(end_at("192.168.7.9", key)).into()));
        fib.change(vec![tell(4), fib_sync::Change::Put(prefix, path)]).await;
        fib.change(vec![tell(5)]).await;
        assert_eq!(peers()[1], "5 192.168.7.9:51820 10.9.0.0/16 192.168.7.9/32");
        assert_eq!(peers().len(), 2);
    });
}

#[test]
fn a_restart_takes_over_device_key_and_peers_and_the_sweep_removes_the_rest() {
    with_wireguard(|| async {
        let (first, events, made) = started(7).await;
        let (one, two) = (end_at("192.168.7.1", 1), end_at("192.168.7.2", 2));
        first.wish(vec![put("10.1.0.0/16", to(one)), put("10.2.0.0/16", to(two))]).await;
        let (before, device) = (peers(), devices());
        end(first, events).await;
        let (second, _events, again) = started(7).await;
        assert_eq!((&made, &before, &device), (&again, &peers(), &devices()));
        second.wish(vec![put("10.1.0.0/16", to(one))]).await;
        assert_eq!(peers(), before);
        second.sweep(false).await;
        second.sweep(true).await;
        assert_eq!(peers(), before[..1]);
        // Another key on the same device: the peers stay.
        let other = second.overlay(Some(spec(9))).await.expect("the overlay").expect("the overlay");
        assert_eq!((peers(), devices()), (before[..1].to_vec(), device));
        assert_ne!(other.key, again.key);
    });
}

#[test]
fn what_somebody_does_to_peers_is_undone_and_the_device_comes_back_with_them() {
    with_wireguard(|| async {
        let (fib, _events, _) = started(7).await;
        fib.sweep(false).await;
        fib.sweep(true).await;
        fib.wish(vec![put("10.1.0.0/16", to(end_at("192.168.7.1", 1)))]).await;
        let before = peers();
        let stranger = PublicKey([9; 32]).to_string();
        run("wg", &["set", WIREGUARD_DEVICE, "peer", &stranger, "allowed-ips", "10.1.0.0/16,10.5.0.0/16"]).expect("wg");
        assert_ne!(peers(), before);
        until("the stranger is gone and the prefix back", || peers() == before).await;
        ip(&format!("link del {WIREGUARD_DEVICE}"));
        let is_there = || run("ip", &["link", "show", WIREGUARD_DEVICE]).is_ok() && peers() == before;
        until("the device is back", is_there).await;
        until("so is the route", || routes().len() == 1).await;
    });
}

#[test]
fn without_a_device_what_is_to_be_encrypted_is_unreachable_and_not_sent_in_the_clear() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        ip("route add default via 192.168.0.9");
        let (fib, _events) = start().await;
        if !has_wireguard() {
            let error = fib.overlay(Some(spec(7))).await.expect_err("no WireGuard");
            assert!(matches!(error, FibError::NoWireGuard), "{error}");
        }
        fib.wish(vec![put("10.1.0.0/16", to(end_at("192.168.7.1", 1)))]).await;
        assert_eq!(routes(), ["unreachable 10.1.0.0/16 metric 76"]);
        let status = fib.status().await;
        assert!(status[0].error.as_deref().is_some_and(|error| error.contains("no overlay device")), "{status:?}");
    });
}

#[test]
fn a_node_that_announces_this_nodes_own_key_is_not_reached_and_the_route_says_why() {
    with_wireguard(|| async {
        let (fib, _events, made) = started(7).await;
        let key = made.key.expect("a key");
        let end = TunnelEnd::WireGuard { endpoint: "192.168.7.1".parse().expect("an address"), port: 51820, key };
        fib.wish(vec![put("10.1.0.0/16", to(end))]).await;
        let status = fib.status().await;
        assert!(
            status[0].error.as_deref().is_some_and(|error| error.contains("key of this node itself")),
            "{status:?}"
        );
        assert_eq!((routes(), peers()), (vec!["unreachable 10.1.0.0/16 metric 76".to_owned()], Vec::new()));
    });
}

#[test]
fn clear_leaves_no_device() {
    with_wireguard(|| async {
        let before = foreign();
        let (fib, _events, _) = started(7).await;
        fib.wish(vec![put("10.1.0.0/16", to(end_at("192.168.7.1", 1)))]).await;
        fib.clear().await;
        assert_eq!((routes(), foreign()), (Vec::new(), before));
        assert!(run("ip", &["link", "show", WIREGUARD_DEVICE]).is_err());
    });
}

#[test]
fn a_whole_fleet_is_taken_in_and_one_prefix_moves_without_the_others() {
    with_wireguard(|| async {
        let (fib, _events, _) = started(7).await;
        fib.sweep(false).await;
        fib.sweep(true).await;
        let end = |number: u32| {
            let mut key = [1; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let endpoint = std::net::IpAddr::from((0xac10_0000 + number).to_be_bytes());
            TunnelEnd::WireGuard { endpoint, port: 51820, key: PublicKey(key) }
        };
        let (nodes, each) = (50u32, 40u32);
        let mut changes = Vec::new();
        for node in 0..nodes {
            let path = fib_sync::PathId(node);
            changes.push(fib_sync::Change::Path(path, Some(to(end(node)).into())));
            for number in 0..each {
                let network = std::net::IpAddr::from((0x0a00_0000 + ((node * each + number) << 8)).to_be_bytes());
                let prefix = ipnetwork::IpNetwork::new(network, 24).expect("a prefix");
                changes.push(fib_sync::Change::Put(prefix, path));
            }
        }
        let began = std::time::Instant::now();
        fib.change(changes).await;
        let whole = began.elapsed();
        let held = fib.peers().await.expect("peers");
        assert_eq!(held.len(), nodes as usize);
        assert!(held.iter().all(|peer| peer.prefixes == each as usize + 1));
        let began = std::time::Instant::now();
        fib.change(vec![fib_sync::Change::Put("10.0.0.0/24".parse().expect("a prefix"), fib_sync::PathId(5))]).await;
        eprintln!("{nodes} peers, {} prefixes: {whole:?}; one moved: {:?}", nodes * each, began.elapsed());
        let held = fib.peers().await.expect("peers");
        assert_eq!(held.iter().map(|peer| peer.prefixes).max(), Some(each as usize + 2));
    });
}

#[test]
fn over_an_ipv6_underlay_pods_of_two_nodes_talk_in_both_families_with_packets_of_full_size() {
    with_wireguard(|| async {
        ip("link add one type veth peer name two");
        let encapsulation = Encapsulation::WireGuard { port: 51820 };
        let one = Node::new(encapsulation, "one", &["fd00:20::1/64"], &["10.244.1.5", "fd00:244:1::5"]).await;
        let two = Node::new(encapsulation, "two", &["fd00:20::2/64"], &["10.244.2.5", "fd00:244:2::5"]).await;
        // 80 octets: IPv6, UDP, WireGuard's header and its tag.
        assert_eq!((one.overlay.mtu, two.overlay.mtu), (1420, 1420));
        one.knows(&["10.244.2.0/24", "fd00:244:2::/64"], &two.overlay).await;
        two.knows(&["10.244.1.0/24", "fd00:244:1::/64"], &one.overlay).await;
        until("the underlay works", || one.pod.pings("10.244.2.5").is_ok()).await;
        for arguments in ["fd00:244:2::5", "-M do -s 1392 10.244.2.5", "-M do -s 1372 fd00:244:2::5"] {
            one.pod.pings(arguments).unwrap_or_else(|error| panic!("{arguments}: {error}"));
        }
        two.pod.pings("10.244.1.5").expect("the way back");
        assert!(one.pod.pings("-M do -s 1393 10.244.2.5").is_err(), "more than fits on the way");
        assert_eq!(
            one.host.run(peers)[0].split_once(' ').map(|(_, rest)| rest.to_owned()).as_deref(),
            Some("[fd00:20::2]:51820 10.244.2.0/24 fd00:20::2/128 fd00:244:2::/64")
        );
        let told = one.fib.peers().await.expect("peers");
        assert!(told.len() == 1 && told[0].handshake.is_some() && told[0].sent > 0 && told[0].received > 0, "{told:?}");
    });
}

#[test]
fn the_mtu_follows_the_underlay_on_the_device_and_on_routes() {
    with_wireguard(|| async {
        let (fib, _events, made) = started(7).await;
        fib.wish(vec![put("10.1.0.0/16", to(end_at("192.168.0.9", 1)))]).await;
        assert_eq!(made.mtu, 1440);
        for (underlay, within) in [(9000, 8940), (1400, 1340)] {
            ip(&format!("link set up1 mtu {underlay}"));
            let device = format!("mtu {within} ");
            let follow = || {
                ip(&format!("link show {WIREGUARD_DEVICE}")).contains(&device) && routes()[0].ends_with(device.trim())
            };
            until("device and route follow", follow).await;
        }
    });
}
