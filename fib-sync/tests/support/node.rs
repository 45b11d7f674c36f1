//! A node for a test: an engine, an overlay and a pod, in a namespace of its own.

use std::sync::Arc;

use fib_sync::{
    Encapsulation, Fib, FibEvent, Hop, OverlaySpec, OverlayStatus, PrivateKey, Target, TunnelEnd, enable_forwarding,
    pod::{self, PodInterface},
};
use tokio::sync::mpsc::Receiver;

use super::*;

/// What most tests wrap packets in.
pub const VXLAN: Encapsulation = Encapsulation::Vxlan { vni: 4096, port: 4789 };

pub fn spec(local: &str) -> OverlaySpec {
    spec_of(VXLAN, local)
}

pub fn spec_of(encapsulation: Encapsulation, local: &str) -> OverlaySpec {
    let key = matches!(encapsulation, Encapsulation::WireGuard { .. }).then(|| {
        // One of each node's own, which is all that a test asks of it.
        let octets = local.bytes().cycle().take(32).collect::<Vec<u8>>();
        Arc::new(PrivateKey::new(octets.try_into().expect("32 octets")))
    });
    OverlaySpec { encapsulation, local: local.parse().expect("an address"), mtu: None, key, hold_sessions: false }
}

/// Set where the kernel has to have all kinds of devices, so that no test is content with less.
pub const ALL_DEVICES: &str = "LINNET_TEST_ALL_DEVICES";

/// The machine under `topology-tests` has IP in IP; here it depends on the kernel.
pub fn has_ipip() -> bool {
    has(&["type", "ipip", "local", "192.0.2.1"])
}

/// Likewise. The name of the module is not the device's, so that the kernel finds it by an alias.
pub fn has_ip6tnl() -> bool {
    has(&["type", "ip6tnl", "external"])
}

/// Likewise.
pub fn has_wireguard() -> bool {
    has(&["type", "wireguard"])
}

fn has(device: &[&str]) -> bool {
    let made = run("ip", &[&["link", "add", "name", "probe"], device].concat());
    match &made {
        Ok(_) => drop(ip("link del probe")),
        Err(error) => assert!(std::env::var_os(ALL_DEVICES).is_none(), "{ALL_DEVICES} is set, and {device:?}: {error}"),
    }
    made.is_ok()
}

pub fn end_of(of: &OverlayStatus) -> TunnelEnd {
    match of.encapsulation {
        Encapsulation::Vxlan { vni, .. } => {
            TunnelEnd::Vxlan { endpoint: of.local, vni, mac: of.mac().expect("a MAC address") }
        }
        Encapsulation::IpIp | Encapsulation::Ip6Tnl => TunnelEnd::IpIp { endpoint: of.local },
        Encapsulation::WireGuard { port } => {
            TunnelEnd::WireGuard { endpoint: of.local, port, key: of.key.expect("a public key") }
        }
    }
}

pub fn tunnel(end: TunnelEnd) -> Target {
    Target::Forward(vec![Hop::Tunnel(end)])
}

pub struct Node {
    pub host: Other,
    pub pod: Other,
    pub fib: Fib,
    pub overlay: OverlayStatus,
    _events: Receiver<FibEvent>,
}

impl Node {
    /// Takes the device `uplink` and gives it `underlay`, of which the first is the overlay's end; the pod gets `addresses`.
    pub async fn new(encapsulation: Encapsulation, uplink: &str, underlay: &[&str], addresses: &[&str]) -> Node {
        Node::inside(Other::new(), encapsulation, uplink, underlay, addresses).await
    }

    /// The same in a namespace that is there.
    pub async fn inside(
        host: Other,
        encapsulation: Encapsulation,
        uplink: &str,
        underlay: &[&str],
        addresses: &[&str],
    ) -> Node {
        let pod = Other::new();
        host.take(uplink);
        host.ip(&format!("link set {uplink} up"));
        for address in underlay {
            let nodad = if address.contains(':') { "nodad" } else { "" };
            host.ip(&format!("addr add {address} dev {uplink} {nodad}"));
        }
        host.run(enable_forwarding).expect("forwarding");
        let (fib, events) = host.block_on(async { Fib::start(CONFIG) }).expect("the engine");
        let local = underlay[0].split('/').next().expect("an address");
        let overlay =
            fib.overlay(Some(spec_of(encapsulation, local))).await.expect("the overlay").expect("the overlay");
        let interface = PodInterface {
            host_name: pod::host_name("pod"),
            netns: pod.path().to_owned(),
            pod_name: "eth0".into(),
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
            mtu: overlay.mtu,
        };
        let made = interface.clone();
        host.block_on(async move { pod::add(&made).await }).expect("a pod");
        let name = interface.host_name.clone();
        host.block_on(async move { pod::up(&name).await }).expect("a pod");
        let to_pod = |address: &&str| put(address, Target::Device(interface.host_name.clone()));
        fib.wish(addresses.iter().map(to_pod).collect()).await;
        Node { host, pod, fib, _events: events, overlay }
    }

    pub async fn knows(&self, prefixes: &[&str], other: &OverlayStatus) {
        self.fib.wish(prefixes.iter().map(|prefix| put(prefix, tunnel(end_of(other)))).collect()).await;
        let status = self.fib.status().await;
        assert!(status.iter().all(|status| status.installed && status.error.is_none()), "{status:?}");
    }
}
