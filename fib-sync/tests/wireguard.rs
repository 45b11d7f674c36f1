//! WireGuard on the real kernel, where it has it: the machine under `topology-tests` does. Looks with `wg`.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use fib_sync::{
    Encapsulation, Fib, FibError, FibEvent, Hop, OverlaySpec, OverlayStatus, PrivateKey, PublicKey, Target, TunnelEnd,
    overlay::WIREGUARD_DEVICE,
};
use support::{
    node::{Node, has_wireguard},
    *,
};
use tokio::sync::mpsc::Receiver;

fn spec(secret: u8) -> OverlaySpec {
    OverlaySpec {
        encapsulation: Encapsulation::WireGuard { port: 51820 },
        local: "192.168.0.1".parse().expect("an address"),
        mtu: None,
        key: Some(Arc::new(PrivateKey::new([secret; 32]))),
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
