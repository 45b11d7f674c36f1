//! Pods' interfaces: a veth pair between this host and a pod's network namespace.
//!
//! A pod's addresses are its own alone (/32, /128); everything else, its neighbours on the same host included, is
//! behind the host's end, which it knows as 169.254.1.1 and fe80::1. These gateways are not found by ARP or neighbour
//! discovery: every host's end has the same MAC, and the pod has it in fixed entries. So the host needs no address of
//! its own on the IPv4 side and no proxy ARP, two pods never see one another's broadcasts, and an address that is in
//! use elsewhere at the same time disturbs no discovery. The other way round, from the host to the pod, plain ARP and
//! neighbour discovery work, because the pod does have its addresses.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::AddressScope,
    link::{InfoData, InfoVeth},
    neighbour::{NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState},
    route::RouteProtocol,
};
use rtnetlink::{LinkUnspec, LinkVeth};

use crate::{
    FibError, PROTOCOL, address, device,
    hash::stable,
    kernel_route::{KernelHop, KernelPath, Kind, addition, family},
    netlink::{Request, Socket},
    netns::Namespace,
    sysctl,
};

/// What a pod calls its host, in IPv4.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// What a pod calls its host, in IPv6.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// MAC of every host's end: locally administered, no group.
pub const HOST_MAC: [u8; 6] = [0xee; 6];

/// How long to wait for a carrier: the kernel's own work on it may be a second behind.
const CARRIER: Duration = Duration::from_secs(1);
/// Routing table main (linux/rtnetlink.h).
const MAIN: u32 = 254;

/// A pod's interface, wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInterface {
    /// Name of the host's end: from [`host_name`].
    pub host_name: String,
    /// The pod's network namespace: `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub netns: PathBuf,
    /// Name of the pod's end: `eth0`.
    pub pod_name: String,
    /// The pod's addresses, given to it as /32 and /128.
    pub addresses: Vec<IpAddr>,
    /// MTU of both ends, octets.
    pub mtu: u32,
}

/// Name of the host's end for an endpoint (`namespace/name`, or what else is unique on this host): `lin` and 11
/// hexadecimal digits, always the same. 14 octets: the kernel takes 15.
pub fn host_name(endpoint: &str) -> String {
    format!("lin{:011x}", stable(endpoint.bytes()) >> 20)
}

/// Makes the interface, in the network namespace of the calling thread and in the pod's. The host's end exists but is
/// down until [`up`], so that no packet flows before the pod's policy is in force; one that is up already stays up.
/// Doing it again mends what differs and changes nothing else; if a step fails, a pair that this call made is removed.
///
/// # Errors
/// [`FibError::Namespace`] for a path that is no network namespace, [`FibError::Invalid`] for a name that is not
/// Linnet's or one that the pod uses otherwise, [`FibError::Kernel`].
pub async fn add(interface: &PodInterface) -> Result<(), FibError> {
    let interface = interface.clone();
    blocking(move || add_now(&interface)).await
}

/// Lets packets flow. Returns once the kernel has noticed the carrier (until then it drops them), or after a second:
/// a pod that has switched its own end off is no error.
///
/// # Errors
/// [`FibError::Invalid`] when there is no such interface, [`FibError::Kernel`].
pub async fn up(host_name: &str) -> Result<(), FibError> {
    let name = host_name.to_owned();
    blocking(move || {
        let mut socket = Socket::open()?;
        match owned(&mut socket, &name)? {
            Some(device) => {
                device::set(&mut socket, &name, device.index, None, true)?;
                wait_for_carrier(&mut socket, &name)
            }
            None => Err(FibError::Invalid(format!("there is no interface {name}; no packet flows; add it first"))),
        }
    })
    .await
}

/// After [`up`], returns once the pod's end has noticed the carrier too (until then the pod's own packets are dropped),
/// or after a second.
///
/// # Errors
/// [`FibError::Namespace`] for a path that is no network namespace, [`FibError::Kernel`].
pub async fn settled(interface: &PodInterface) -> Result<(), FibError> {
    let (netns, pod_name) = (interface.netns.clone(), interface.pod_name.clone());
    blocking(move || Namespace::open(&netns)?.inside(|| wait_for_carrier(&mut Socket::open()?, &pod_name))).await
}

/// Those of these host's ends that are not there or switched off: somebody removed them, or the pod's namespace is
/// another one by the same name.
///
/// # Errors
/// [`FibError::Invalid`] for a name or a device that is not Linnet's, [`FibError::Kernel`].
pub async fn down(host_names: Vec<String>) -> Result<Vec<String>, FibError> {
    blocking(move || {
        let mut socket = Socket::open()?;
        let mut down = Vec::new();
        for name in host_names {
            if !owned(&mut socket, &name)?.is_some_and(|device| device.up) {
                down.push(name);
            }
        }
        Ok(down)
    })
    .await
}

/// Removes both ends. Done already is done.
///
/// # Errors
/// [`FibError::Invalid`] for a device that is not Linnet's, [`FibError::Kernel`].
pub async fn remove(host_name: &str) -> Result<(), FibError> {
    let name = host_name.to_owned();
    blocking(move || {
        let mut socket = Socket::open()?;
        match owned(&mut socket, &name)? {
            Some(device) => device::remove(&mut socket, &name, device.index),
            None => Ok(()),
        }
    })
    .await
}

fn wait_for_carrier(socket: &mut Socket, name: &str) -> Result<(), FibError> {
    let deadline = Instant::now() + CARRIER;
    while !device::find(socket, name)?.is_none_or(|device| device.running) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Netlink answers at once, but a kernel lock may be held for long: not on a thread that others wait for.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FibError> + Send + 'static,
) -> Result<T, FibError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| FibError::Ended)?
}

/// The host's end, if it is there; an error if the name or the device cannot be Linnet's.
fn owned(socket: &mut Socket, name: &str) -> Result<Option<device::Device>, FibError> {
    let digits = name.strip_prefix("lin").unwrap_or_default();
    if digits.len() != 11 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(FibError::Invalid(format!("{name} is no name of a pod's interface; it is not touched")));
    }
    match device::find(socket, name)? {
        Some(device) if !device.veth => Err(FibError::Invalid(format!(
            "device {name} is no veth and so is not Linnet's; it is not touched; remove or rename it"
        ))),
        found => Ok(found),
    }
}

fn add_now(interface: &PodInterface) -> Result<(), FibError> {
    let PodInterface { host_name, netns, pod_name, addresses, mtu } = interface;
    let mut socket = Socket::open()?;
    let namespace = Namespace::open(netns)?;
    let host = owned(&mut socket, host_name)?;
    let pod = namespace.inside(|| device::find(&mut Socket::open()?, pod_name))?;
    let made = match (host, pod) {
        (Some(host), Some(pod)) if host.behind == Some(pod.index) && pod.behind == Some(host.index) => {
            // A veth drops, without a word, what is longer than the end that receives it takes.
            if host.mtu < *mtu {
                device::set(&mut socket, host_name, host.index, Some(*mtu), false)?;
            }
            false
        }
        (_, Some(_)) => {
            return Err(FibError::Invalid(format!(
                "network namespace {} has a device {pod_name} already; the pod gets no interface; remove that device or \
                 choose another name",
                netns.display()
            )));
        }
        (host, None) => {
            // A pod that came again in a new namespace: the old pair leads nowhere.
            if let Some(stale) = host {
                device::remove(&mut socket, host_name, stale.index)?;
            }
            create(&mut socket, interface, &namespace)?;
            true
        }
    };
    let done = furnish_host(&mut socket, host_name)
        .and_then(|()| namespace.inside(|| furnish_pod(pod_name, addresses, *mtu)))
        .and_then(|()| narrow(&mut socket, host_name, *mtu));
    if done.is_err() && made {
        let undone = device::find(&mut socket, host_name)
            .and_then(|found| found.map_or(Ok(()), |found| device::remove(&mut socket, host_name, found.index)));
        if let Err(error) = undone {
            tracing::warn!(%error, "half of a pod's interface is left");
        }
    }
    done
}

/// Makes the pair, the pod's end straight in its namespace: it is never seen in the host's.
fn create(socket: &mut Socket, interface: &PodInterface, namespace: &Namespace) -> Result<(), FibError> {
    let PodInterface { host_name, pod_name, mtu, .. } = interface;
    let peer = LinkUnspec::new_with_name(pod_name).mtu(*mtu).setns_by_fd(namespace.file().as_raw_fd()).build();
    let pair = LinkVeth::new(host_name, pod_name)
        .mtu(*mtu)
        .address(HOST_MAC.to_vec())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    let request = Request { message: RouteNetlinkMessage::NewLink(pair), flags: NLM_F_CREATE | NLM_F_EXCL };
    socket.perform(&format!("add the veth pair {host_name} and {pod_name}"), request)
}

/// Lowers the MTU of the host's end to the pod's, which is lowered already: the pod sends nothing longer any more.
fn narrow(socket: &mut Socket, name: &str, mtu: u32) -> Result<(), FibError> {
    match device::find(socket, name)? {
        Some(device) if device.mtu > mtu => device::set(socket, name, device.index, Some(mtu), false),
        Some(_) | None => Ok(()),
    }
}

fn furnish_host(socket: &mut Socket, name: &str) -> Result<(), FibError> {
    let Some(device) = device::find(socket, name)? else {
        return Err(FibError::Lost(format!("device {name} vanished while it was made")));
    };
    if !has_ipv6(name) {
        return Ok(());
    }
    // No address made from the MAC, which all host's ends share, and nothing taken from what a pod announces.
    sysctl::set(&format!("ipv6/conf/{name}/addr_gen_mode"), "1")?;
    sysctl::set(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    address::add(socket, name, device.index, GATEWAY6.into(), 64, AddressScope::Universe)
}

/// Runs inside the pod's namespace.
fn furnish_pod(name: &str, addresses: &[IpAddr], mtu: u32) -> Result<(), FibError> {
    let mut socket = Socket::open()?;
    if let Some(lo) = device::find(&mut socket, "lo")?.filter(|lo| !lo.up) {
        device::set(&mut socket, "lo", lo.index, None, true)?;
    }
    let Some(device) = device::find(&mut socket, name)? else {
        return Err(FibError::Lost(format!("device {name} vanished while it was made")));
    };
    if has_ipv6(name) {
        // Nobody else is on this link: without duplicate detection its addresses work from the first moment.
        sysctl::set(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
        sysctl::set(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    }
    remove_other_addresses(&mut socket, name, device.index, addresses)?;
    for address in addresses {
        let length = if address.is_ipv6() { 128 } else { 32 };
        address::add(&mut socket, name, device.index, *address, length, AddressScope::Universe)?;
    }
    if !device.up || device.mtu != mtu {
        device::set(&mut socket, name, device.index, Some(mtu), true)?;
    }
    for v6 in [false, true] {
        if addresses.iter().any(|address| address.is_ipv6() == v6) {
            add_gateway(&mut socket, name, device.index, v6)?;
        }
    }
    Ok(())
}

/// The fixed entry for the gateway, and the default route by it.
fn add_gateway(socket: &mut Socket, name: &str, link: u32, v6: bool) -> Result<(), FibError> {
    let gateway: IpAddr = if v6 { GATEWAY6.into() } else { GATEWAY.into() };
    let mut neighbour = NeighbourMessage::default();
    neighbour.header = NeighbourHeader {
        family: family(v6),
        ifindex: link,
        state: NeighbourState::Permanent,
        ..NeighbourHeader::default()
    };
    neighbour.attributes = vec![
        NeighbourAttribute::Destination(gateway.into()),
        NeighbourAttribute::LinkLayerAddress(HOST_MAC.to_vec()),
        NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ];
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    let request = Request { message: RouteNetlinkMessage::NewNeighbour(neighbour), flags };
    socket.perform(&format!("add neighbour {gateway} to the pod's device {name}"), request)?;

    let path = |via| KernelPath {
        kind: Kind::Unicast,
        hops: vec![KernelHop { via, link, onlink: false, encap: None, weight: 0 }],
        object: None,
        mtu: None,
        source: None,
    };
    let everything = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    // An IPv6 link-local gateway is on the link by definition; an IPv4 one only by a route that says so.
    let routes = [(gateway, 32, None), (everything, 0, Some(gateway))];
    for (address, length, via) in routes.into_iter().skip(usize::from(v6)) {
        let prefix = IpNetwork::new(address, length).map_err(|error| FibError::Invalid(error.to_string()))?;
        let message = RouteNetlinkMessage::NewRoute(addition(prefix, MAIN, 0, &path(via)));
        socket.perform(&format!("add route {prefix} to the pod's device {name}"), Request { message, flags })?;
    }
    Ok(())
}

/// Removes addresses that an earlier call gave and this one does not.
fn remove_other_addresses(socket: &mut Socket, name: &str, link: u32, addresses: &[IpAddr]) -> Result<(), FibError> {
    for (address, length, scope) in address::on(socket, link)? {
        if scope == AddressScope::Universe && !addresses.contains(&address) {
            address::remove(socket, name, link, address, length)?;
        }
    }
    Ok(())
}

/// Whether the kernel has IPv6 on the device.
fn has_ipv6(name: &str) -> bool {
    sysctl::get(&format!("ipv6/conf/{name}/disable_ipv6")).is_ok_and(|value| value == "0")
}
