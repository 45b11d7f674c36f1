//! The overlay on the real kernel.
#![allow(missing_docs)]

mod support;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use fib_sync::{
    Change, Encapsulation, FibError, FibEvent, Path, PathId, Target, TunnelEnd,
    overlay::{IPIP_DEVICE, VXLAN_DEVICE, checksum},
};
use support::{
    node::{Node, VXLAN, end_of, has_ip6tnl, has_ipip, has_wireguard, spec, spec_of, tunnel},
    stream::{Stream, told},
    *,
};

fn far(endpoint: &str, last: u8) -> TunnelEnd {
    TunnelEnd::Vxlan { endpoint: endpoint.parse().expect("an address"), vni: 4096, mac: [2, 0, 0, 0, 0, last] }
}

fn entries() -> String {
    let lines =
        format!("{}{}", ip(&format!("neigh show dev {VXLAN_DEVICE}")), bridge(&format!("fdb show dev {VXLAN_DEVICE}")));
    let mut lines: Vec<&str> = lines.lines().map(str::trim).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Two nodes with the tunnel between them; packets of each size that must fit pass, both ways, in both families.
async fn two_nodes(underlay: [&str; 2], mtu: u32) {
    ip("link add one type veth peer name two");
    let a = Node::new(VXLAN, "one", &[underlay[0]], &["10.244.1.5", "fd00:244:1::5"]).await;
    let b = Node::new(VXLAN, "two", &[underlay[1]], &["10.244.2.5", "fd00:244:2::5"]).await;
    assert_eq!((a.overlay.mtu, b.overlay.mtu), (mtu, mtu));
    a.knows(&["10.244.2.0/24", "fd00:244:2::/64"], &b.overlay).await;
    b.knows(&["10.244.1.0/24", "fd00:244:1::/64"], &a.overlay).await;
    // A veth that has just come up drops packets until the kernel has noticed its carrier.
    until("the underlay works", || a.pod.pings("10.244.2.5").is_ok()).await;
    let full = |header: u32| mtu - header;
    for arguments in [
        "10.244.2.5".to_owned(),
        "fd00:244:2::5".to_owned(),
        format!("-M do -s {} 10.244.2.5", full(28)),
        format!("-M do -s {} fd00:244:2::5", full(48)),
    ] {
        if let Err(error) = a.pod.pings(&arguments) {
            let shown = a.host.run(|| format!("{}\n{}", entries(), routes().join("\n")));
            panic!("{arguments}: {error}\n{shown}");
        }
    }
    b.pod.pings("10.244.1.5").expect("the way back");
    // TCP brings its checksums along half done, which is where tunnels over veth have failed.
    let carried = carry(&a.pod, &b.pod, "10.244.2.5");
    if let Err(error) = carried {
        let shown = [("a", &a.host), ("a's pod", &a.pod), ("b", &b.host), ("b's pod", &b.pod)];
        let shown = shown.map(|(whose, namespace)| format!("=== {whose}\n{}", namespace.state()));
        panic!("TCP from a's pod to b's: {error}\n{}", shown.join("\n"));
    }
}

/// A mebibyte by TCP from one pod to another. Each wait has an end, and says what was waited for.
fn carry(from: &Other, to: &Other, address: &'static str) -> Result<(), String> {
    use std::{
        io::{ErrorKind, Read, Write},
        net::{TcpListener, TcpStream},
        time::{Duration, Instant},
    };
    const PATIENCE: Duration = Duration::from_secs(20);
    let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let server = to.run(move || TcpListener::bind((address, 0))).map_err(said("listen"))?;
    server.set_nonblocking(true).map_err(said("listen"))?;
    let server_address = server.local_addr().map_err(said("listen"))?;
    let client = from.run(move || TcpStream::connect_timeout(&server_address, PATIENCE)).map_err(said("connect"))?;
    client.set_write_timeout(Some(PATIENCE)).map_err(said("write"))?;
    let deadline = Instant::now() + PATIENCE;
    let mut incoming = loop {
        match server.accept() {
            Ok((incoming, _)) => break incoming,
            // The client has its answer, and ours has not come: what goes this way is lost.
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(format!("accept what is connected at the other end: {error}")),
        }
    };
    incoming.set_nonblocking(false).map_err(said("read"))?;
    incoming.set_read_timeout(Some(Duration::from_secs(5))).map_err(said("read"))?;
    let sent = vec![7; 1 << 20];
    let copy = sent.clone();
    let sender = std::thread::spawn(move || { client }.write_all(&copy));
    let (mut received, mut some) = (Vec::<u8>::new(), vec![0; 64 << 10]);
    while received.len() <= sent.len() {
        if Instant::now() > deadline + PATIENCE {
            return Err(format!("{} octets of {} in {PATIENCE:?} or more", received.len(), sent.len()));
        }
        match incoming.read(&mut some) {
            Ok(0) => break,
            Ok(length) => received.extend(&some[..length]),
            Err(error) => return Err(format!("after {} octets of {}: {error}", received.len(), sent.len())),
        }
    }
    sender.join().map_err(|_| "the sender panicked".to_owned())?.map_err(said("write"))?;
    if received == sent { Ok(()) } else { Err(format!("{} octets came, not those that were sent", received.len())) }
}

#[test]
fn pods_of_two_nodes_talk_through_the_tunnel_over_ipv4() {
    in_namespace(|| two_nodes(["192.168.0.1/24", "192.168.0.2/24"], 1450));
}

#[test]
fn pods_of_two_nodes_talk_through_the_tunnel_over_ipv6() {
    in_namespace(|| two_nodes(["fd00:10::1/64", "fd00:10::2/64"], 1430));
}

#[test]
fn the_device_is_made_as_asked_for_and_nothing_is_flooded_or_learned() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        let made = fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay").expect("the overlay");
        assert_eq!((made.mtu, made.device.as_str()), (1450, VXLAN_DEVICE));
        let shown = ip(&format!("-d link show {VXLAN_DEVICE}"));
        for part in
            ["vxlan id 4096", "local 192.168.0.1", "dstport 4789", "nolearning", "mtu 1450", "addrgenmode none", "UP"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(entries(), "");
    });
}

#[test]
fn checksums_are_completed_before_the_tunnel_on_kernels_that_get_them_wrong_and_on_no_other() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        let offloaded = || checksum::is_offloaded(VXLAN_DEVICE).expect("an answer");
        let release = fib_sync::host::kernel_release().expect("a release");
        assert_eq!(offloaded(), !checksum::is_wrong_on(&release), "{release}");
        if offloaded() {
            assert!(!checksum::settle(VXLAN_DEVICE, "5.7.0").expect("nothing to do"));
            assert!(offloaded());
            assert!(checksum::settle(VXLAN_DEVICE, "5.4.0-42-generic").expect("switched off"));
            assert!(!offloaded());
            assert!(!checksum::settle(VXLAN_DEVICE, "5.4.0-42-generic").expect("nothing to do"));
        }
        assert!(checksum::is_offloaded("nobody").is_err());
    });
}

/// The addresses of two nodes' links, IPv4's and IPv6's.
const LINKS: [[&str; 2]; 2] = [["192.168.0.1/24", "192.168.0.2/24"], ["fd00:10::1/64", "fd00:10::2/64"]];

/// What there is in one family: the other pods' block and the neighbour by which it is reached directly, of each node.
struct Ways {
    path: PathId,
    blocks: [&'static str; 2],
    neighbours: [&'static str; 2],
    pods: [&'static str; 2],
}

const WAYS4: Ways = Ways {
    path: PathId(1000),
    blocks: ["10.244.2.0/24", "10.244.1.0/24"],
    neighbours: ["192.168.0.2", "192.168.0.1"],
    pods: ["10.244.1.5", "10.244.2.5"],
};
const WAYS6: Ways = Ways {
    path: PathId(1001),
    blocks: ["fd00:244:2::/64", "fd00:244:1::/64"],
    neighbours: ["fd00:10::2", "fd00:10::1"],
    pods: ["fd00:244:1::5", "fd00:244:2::5"],
};

/// Debian 12's kernel in a virtual machine loses a single packet of IPv6 in some hundred moves; Debian's 6.12 and the 6.18 of test
/// machines were not seen to, and no kernel with IPv4. Nobody has found out why.
fn moves_ipv6() -> bool {
    !std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release").starts_with("6.1.")
}

/// Two nodes send to each other's pods in these families, while each moves its paths from the tunnel to the link and back; the tunnel's
/// ends are the nodes' first addresses.
async fn paths_move(encapsulation: Encapsulation, links: [[&str; 2]; 2], families: &[&Ways]) {
    const ROUNDS: usize = 30;
    let families: Vec<&Ways> =
        families.iter().copied().filter(|ways| ways.path == WAYS4.path || moves_ipv6()).collect();
    ip("link add one type veth peer name two");
    let underlay = |node: usize| links.map(|family| family[node]);
    let pods = |node: usize| [WAYS4.pods[node], WAYS6.pods[node]];
    let nodes = [
        Node::new(encapsulation, "one", &underlay(0), &pods(0)).await,
        Node::new(encapsulation, "two", &underlay(1), &pods(1)).await,
    ];
    let ends = [end_of(&nodes[1].overlay), end_of(&nodes[0].overlay)];
    let tell = |ways: &Ways, path: Path| Change::Path(ways.path, Some(path));
    for (number, node) in nodes.iter().enumerate() {
        let put = |ways: &&Ways| Change::Put(ways.blocks[number].parse().expect("a prefix"), ways.path);
        let mut changes: Vec<Change> = families.iter().map(|ways| tell(ways, tunnel(ends[number]).into())).collect();
        changes.extend(families.iter().map(put));
        node.fib.change(changes).await;
    }
    until("the tunnel works", || families.iter().all(|ways| nodes[0].pod.pings(ways.pods[1]).is_ok())).await;
    // As neighbours are known to whom a session is with: for one that is not, packets wait while a new link may not ask for it yet.
    for (number, node) in nodes.iter().enumerate() {
        until("the link works", || families.iter().all(|ways| node.host.pings(ways.neighbours[number]).is_ok())).await;
    }
    let stream = |from: &Node, to: &Node, address: &str| {
        let bound = SocketAddr::new(address.parse().expect("an address"), 7000);
        let any = SocketAddr::new(if bound.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
        let receiver = to.pod.run(move || UdpSocket::bind(bound).expect("a socket"));
        let sender = from.pod.run(move || UdpSocket::bind(any).expect("a socket"));
        Stream::start(sender, receiver, bound)
    };
    let both = |ways: &&Ways| {
        [stream(&nodes[0], &nodes[1], ways.pods[1]), stream(&nodes[1], &nodes[0], ways.pods[0])].map(|s| (ways.path, s))
    };
    let streams: Vec<(PathId, Stream)> = families.iter().flat_map(both).collect();
    for round in 0..ROUNDS {
        for (number, node) in nodes.iter().enumerate() {
            let direct =
                |ways: &Ways| Path { idle_tunnel: Some(ends[number]), ..via(&[ways.neighbours[number]]).into() };
            let to = |ways: &&Ways| tell(ways, if round % 2 == 0 { direct(ways) } else { tunnel(ends[number]).into() });
            node.fib.change(families.iter().map(to).collect()).await;
            let status = node.fib.status().await;
            assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:?}");
        }
        // Some packets by each.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for (path, stream) in streams {
        let (sent, missing) = stream.end();
        assert!(sent > ROUNDS as u64, "{encapsulation:?}, {path:?}: {sent} packets only");
        assert!(missing.is_empty(), "{encapsulation:?}, {path:?}: of {sent} packets:{}", told(&missing, &[]));
    }
}

#[test]
fn no_packet_is_lost_when_a_path_moves_between_the_tunnel_and_a_link_again_and_again() {
    in_namespace(|| paths_move(VXLAN, LINKS, &[&WAYS4, &WAYS6]));
}

#[test]
fn no_packet_is_lost_when_a_path_moves_between_a_tunnel_over_ipv6_and_a_link() {
    in_namespace(|| paths_move(VXLAN, [LINKS[1], LINKS[0]], &[&WAYS4, &WAYS6]));
}

#[test]
fn no_packet_is_lost_when_a_path_moves_between_ip_in_ip_and_a_link() {
    in_namespace(|| async {
        if has_ipip() {
            paths_move(Encapsulation::IpIp, LINKS, &[&WAYS4]).await;
        }
    });
    in_namespace(|| async {
        if has_ip6tnl() {
            paths_move(Encapsulation::Ip6Tnl, [LINKS[1], LINKS[0]], &[&WAYS4, &WAYS6]).await;
        }
    });
}

#[test]
fn no_packet_is_lost_when_a_path_moves_between_wireguard_and_a_link() {
    for links in [LINKS, [LINKS[1], LINKS[0]]] {
        in_namespace(move || async move {
            if has_wireguard() {
                paths_move(Encapsulation::WireGuard { port: 51820 }, links, &[&WAYS4, &WAYS6]).await;
            }
        });
    }
}

#[test]
fn entries_are_back_with_a_route_by_a_path_that_had_none_for_a_while() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        let (path, prefix) = (PathId(7), "10.1.0.0/16".parse().expect("a prefix"));
        let told = Change::Path(path, Some(tunnel(far("192.168.7.1", 1)).into()));
        fib.change(vec![told, Change::Put(prefix, path)]).await;
        let before = entries();
        assert_eq!(before.lines().count(), 3, "{before}");
        fib.change(vec![Change::Remove(prefix)]).await;
        assert_eq!(entries(), "");
        fib.change(vec![Change::Put(prefix, path)]).await;
        assert_eq!(entries(), before);
    });
}

#[test]
fn entries_come_with_the_first_route_by_an_end_and_go_with_the_last() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        let (one, two) = (far("192.168.7.1", 1), far("192.168.7.2", 2));
        fib.wish(vec![
            put("10.1.0.0/16", tunnel(one)),
            put("10.2.0.0/16", tunnel(two)),
            put("10.3.0.0/16", tunnel(one)),
        ])
        .await;
        assert_eq!(
            routes()[0],
            "10.1.0.0/16 via 192.168.7.1 dev linnet.vxlan src 192.168.0.1 metric 76 onlink mtu 1450"
        );
        let both = entries();
        assert!(both.contains("192.168.7.1 lladdr 02:00:00:00:00:01 PERMANENT proto 76"), "{both}");
        assert!(both.contains("fe80::ff:fe00:1 lladdr 02:00:00:00:00:01 PERMANENT proto 76"), "{both}");
        assert!(both.contains("02:00:00:00:00:02 dst 192.168.7.2 self permanent"), "{both}");
        assert_eq!(both.lines().count(), 6, "{both}");
        fib.wish(vec![remove("10.1.0.0/16")]).await;
        assert_eq!(entries(), both);
        fib.wish(vec![remove("10.3.0.0/16")]).await;
        let left = entries();
        assert!(left.lines().count() == 3 && !left.contains("192.168.7.1"), "{left}");
        let endpoint = two.endpoint();
        let moved = TunnelEnd::Vxlan { endpoint, vni: 5000, mac: [2, 0, 0, 0, 0, 3] };
        fib.wish(vec![put("10.2.0.0/16", tunnel(moved))]).await;
        let left = entries();
        assert!(left.contains("02:00:00:00:00:03 dst 192.168.7.2 vni 5000 self permanent"), "{left}");
        assert!(left.lines().count() == 3 && !left.contains("00:02"), "{left}");
    });
}

#[test]
fn a_restart_adopts_the_device_and_its_entries_and_sweeps_only_when_both_families_are_complete() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (first, events) = start().await;
        first.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        let (one, two) = (far("192.168.7.1", 1), far("192.168.7.2", 2));
        first.wish(vec![put("10.1.0.0/16", tunnel(one)), put("10.2.0.0/16", tunnel(two))]).await;
        let (before, device, routed) = (entries(), devices(), routes());
        end(first, events).await;

        let (second, _events) = start().await;
        let monitor = RouteMonitor::start().await;
        second.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        second.wish(vec![put("10.1.0.0/16", tunnel(one))]).await;
        assert_eq!((entries(), devices(), routes()), (before.clone(), device, routed));
        second.sweep(false).await;
        assert_eq!((entries(), routes().len()), (before, 1));
        second.sweep(true).await;
        let left = entries();
        assert!(left.lines().count() == 3 && left.contains("192.168.7.1"), "{left}");
        let heard = monitor.stop();
        assert!(!heard.contains("10.1.0.0/16"), "touched without need:\n{heard}");
    });
}

#[test]
fn the_mtu_follows_the_underlay_on_the_device_and_on_routes() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, mut events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        fib.wish(vec![put("10.1.0.0/16", tunnel(far("192.168.7.1", 1)))]).await;
        ip("link set up1 mtu 9000");
        let status = event(&mut events, |event| match event {
            FibEvent::OverlayChanged(status) => Some(status),
            _ => None,
        });
        assert_eq!(status.await.mtu, 8950);
        until("the route follows", || routes()[0].ends_with("mtu 8950")).await;
        assert!(ip(&format!("link show {VXLAN_DEVICE}")).contains("mtu 8950"));
    });
}

#[test]
fn the_mtu_of_ip_in_ip_follows_the_underlay_on_the_device_and_on_routes() {
    in_namespace(|| async {
        if !has_ipip() {
            return;
        }
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        let made = fib.overlay(Some(spec_of(Encapsulation::IpIp, "192.168.0.1"))).await.expect("the overlay");
        assert_eq!(made.expect("the overlay").mtu, 1480);
        let end = TunnelEnd::IpIp { endpoint: "192.168.7.1".parse().expect("an address") };
        fib.wish(vec![put("10.1.0.0/16", tunnel(end))]).await;
        for (underlay, within) in [(9000, "mtu 8980"), (1400, "mtu 1380")] {
            ip(&format!("link set up1 mtu {underlay}"));
            let follow = || {
                ip(&format!("link show {IPIP_DEVICE}")).contains(&format!("{within} ")) && routes()[0].ends_with(within)
            };
            until("device and route follow", follow).await;
        }
    });
}

#[test]
fn the_mtu_of_a_route_is_what_fits_on_the_way_to_its_end_also_when_that_moves_to_another_link() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        link("up2", &["192.168.1.1/24"]);
        ip("link set up2 mtu 1400");
        ip("route add 192.168.7.0/24 via 192.168.0.9");
        let (fib, mut events) = start().await;
        let made = fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay").expect("the overlay");
        assert_eq!(made.mtu, 1450);
        let (one, two) = (far("192.168.7.1", 1), far("192.168.8.2", 2));
        fib.wish(vec![
            put("10.1.0.0/16", tunnel(one)),
            put("10.2.0.0/16", tunnel(two)),
            put("fd00:1::/64", tunnel(one)),
        ])
        .await;
        let mtus = || -> Vec<String> {
            routes()
                .iter()
                .map(|route| {
                    route
                        .split("mtu ")
                        .nth(1)
                        .unwrap_or("none")
                        .split(' ')
                        .next()
                        .map(str::to_owned)
                        .unwrap_or_default()
                })
                .collect()
        };
        assert_eq!(mtus(), ["1450"; 3]);
        ip("route replace 192.168.7.0/24 via 192.168.1.9");
        until("by the narrower link", || mtus() == ["1350", "1450", "1350"]).await;
        ip("link set up2 mtu 1440");
        until("which becomes wider", || mtus() == ["1390", "1450", "1390"]).await;
        ip("route replace 192.168.7.0/24 via 192.168.1.9 mtu 1380");
        until("and has a route with an MTU of its own", || mtus() == ["1330", "1450", "1330"]).await;
        ip("link set up2 mtu 9000");
        ip("route replace 192.168.7.0/24 via 192.168.1.9");
        until("the device's is the most", || mtus() == ["1450"; 3]).await;
        ip("link set up1 mtu 1400");
        let lowered = event(&mut events, |event| match event {
            FibEvent::OverlayChanged(status) => Some(status),
            _ => None,
        });
        assert_eq!(lowered.await.mtu, 1350);
        until("all follow the device", || mtus() == ["1350"; 3]).await;
    });
}

#[test]
fn an_mtu_that_the_configuration_names_is_for_all_routes_whatever_fits() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        ip("link set up1 mtu 1400");
        let (fib, _events) = start().await;
        fib.overlay(Some(fib_sync::OverlaySpec { mtu: Some(1400), ..spec("192.168.0.1") })).await.expect("the overlay");
        fib.wish(vec![put("10.1.0.0/16", tunnel(far("192.168.0.7", 1)))]).await;
        assert!(routes()[0].ends_with("mtu 1400"), "{:?}", routes());
    });
}

#[test]
fn entries_and_the_device_come_back_when_somebody_removes_them() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        fib.wish(vec![put("10.1.0.0/16", tunnel(far("192.168.7.1", 1)))]).await;
        let (before, routed) = (entries(), routes());
        ip(&format!("neigh del 192.168.7.1 dev {VXLAN_DEVICE}"));
        bridge(&format!("fdb del 02:00:00:00:00:01 dev {VXLAN_DEVICE}"));
        until("the entries come back", || entries() == before).await;
        ip(&format!("link set {VXLAN_DEVICE} down"));
        until("the device is switched on again", || routes() == routed).await;
        ip(&format!("link del {VXLAN_DEVICE}"));
        until("the device comes back", || run("ip", &["link", "show", VXLAN_DEVICE]).is_ok() && routes() == routed)
            .await;
        until("with its entries", || entries() == before).await;
    });
}

#[test]
fn other_parameters_make_another_device_and_routes_move_to_it() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        let first = fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay").expect("the overlay");
        fib.wish(vec![put("10.1.0.0/16", tunnel(far("192.168.7.1", 1)))]).await;
        let (before, entries_before) = (routes(), entries());
        let other = spec_of(Encapsulation::Vxlan { vni: 4097, port: 4789 }, "192.168.0.1");
        let second = fib.overlay(Some(other)).await.expect("the overlay").expect("the overlay");
        assert_ne!(first.mac(), second.mac());
        until("the routes are there again", || routes() == before).await;
        assert!(entries().contains("vni 4096") && !entries_before.contains("vni"), "{}", entries());
        fib.overlay(None).await.expect("removed");
        until("the routes are gone", || routes().is_empty()).await;
        let status = fib.status().await;
        assert!(status[0].error.as_deref().is_some_and(|error| error.contains("no overlay device")), "{status:?}");
        assert!(run("ip", &["link", "show", VXLAN_DEVICE]).is_err());
    });
}

#[test]
fn what_cannot_be_made_says_why_and_foreign_tunnels_stay() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        ip("link add theirs type vxlan id 4096 dstport 4789 local 192.168.0.1");
        let before = foreign();
        let (fib, _events) = start().await;
        let error = fib.overlay(Some(spec("192.168.0.1"))).await.expect_err("a twin");
        assert!(matches!(&error, FibError::DeviceInTheWay { device, .. } if device == "theirs"), "{error}");
        let error = fib.overlay(Some(spec("192.0.2.1"))).await.expect_err("no such address");
        assert!(matches!(error, FibError::NoUnderlay(address) if address == IpAddr::from([192, 0, 2, 1])));
        let wrong = spec_of(Encapsulation::Vxlan { vni: 1 << 24, port: 4789 }, "192.168.0.1");
        assert!(matches!(fib.overlay(Some(wrong)).await, Err(FibError::Invalid(_))));
        fib.clear().await;
        assert_eq!(foreign(), before);
    });
}

#[test]
fn clear_removes_all_that_is_linnets() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let before = foreign();
        let (fib, events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        fib.wish(vec![put("10.1.0.0/16", tunnel(far("192.168.7.1", 1))), put("10.2.0.0/16", Target::Unreachable)])
            .await;
        end(fib, events).await;
        // Also what an earlier run left.
        let (fib, _events) = start().await;
        fib.clear().await;
        assert_eq!(routes(), [""; 0]);
        assert!(run("ip", &["link", "show", VXLAN_DEVICE]).is_err());
        assert_eq!(foreign(), before);
    });
}

#[test]
fn without_ipip_in_the_kernel_it_is_said_so_and_nothing_is_left_behind() {
    in_namespace(|| async {
        if has_ipip() {
            return;
        }
        link("up1", &["192.168.0.1/24"]);
        let before = devices();
        let (fib, _events) = start().await;
        let error = fib.overlay(Some(spec_of(Encapsulation::IpIp, "192.168.0.1"))).await.expect_err("no ipip");
        assert!(matches!(error, FibError::NoIpIp), "{error}");
        fib.wish(vec![put("10.1.0.0/16", tunnel(TunnelEnd::IpIp { endpoint: IpAddr::from([192, 168, 7, 1]) }))]).await;
        assert_eq!((routes(), devices()), (Vec::new(), before));
        let status = fib.status().await;
        assert!(status[0].error.as_deref().is_some_and(|error| error.contains("no overlay device")), "{status:?}");
        // And back: what could be made can be made again.
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        assert!(run("ip", &["link", "show", VXLAN_DEVICE]).is_ok());
    });
}

#[test]
fn ipip_from_an_ipv6_address_is_refused() {
    in_namespace(|| async {
        link("up1", &["fd00:10::1/64"]);
        let (fib, _events) = start().await;
        let error = fib.overlay(Some(spec_of(Encapsulation::IpIp, "fd00:10::1"))).await.expect_err("IPv6");
        assert!(matches!(error, FibError::Invalid(_)) && error.to_string().contains("IPv4"), "{error}");
    });
}

#[test]
fn the_device_of_another_encapsulation_goes_when_nobody_sends_into_it_and_the_last_route_by_it_is_gone() {
    for routes_move_first in [true, false] {
        retire(routes_move_first);
    }
}

fn retire(routes_move_first: bool) {
    in_namespace(move || async move {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        fib.wish(vec![put("10.1.0.0/16", tunnel(far("192.168.7.1", 1)))]).await;
        let before = routes();
        // Where the kernel has no such devices this fails, which makes no difference to the other.
        let made = fib.overlay(Some(spec_of(Encapsulation::IpIp, "192.168.0.1"))).await;
        assert_eq!(made.is_ok(), has_ipip(), "{made:?}");
        assert_eq!(made.is_ok(), run("ip", &["link", "show", IPIP_DEVICE]).is_ok(), "{made:?}");
        assert_eq!(routes(), before);
        let stands = || run("ip", &["link", "show", VXLAN_DEVICE]).is_ok();
        let moved = async || fib.wish(vec![put("10.1.0.0/16", via(&["192.168.0.9"]))]).await;
        if routes_move_first {
            moved().await;
            assert!(stands(), "others may send into it: {:?}", devices());
            fib.retire_overlays().await;
        } else {
            fib.retire_overlays().await;
            assert!(stands(), "a route leaves by it: {:?}", devices());
            moved().await;
        }
        assert!(!stands(), "{:?}", devices());
        until("the route has moved", || routes() == ["10.1.0.0/16 via 192.168.0.9 dev up1 metric 76"]).await;
    });
}

#[test]
fn an_end_of_another_encapsulation_than_this_nodes_is_a_route_that_says_so() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (fib, _events) = start().await;
        fib.overlay(Some(spec("192.168.0.1"))).await.expect("the overlay");
        fib.wish(vec![put("10.1.0.0/16", tunnel(TunnelEnd::IpIp { endpoint: IpAddr::from([192, 168, 7, 1]) }))]).await;
        let status = fib.status().await;
        let error = status[0].error.clone().unwrap_or_default();
        assert!(error.contains("it is ipip, and this node's overlay is vxlan"), "{error}");
        assert_eq!(entries(), "");
    });
}
