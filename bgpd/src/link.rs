//! The interface of an unnumbered peer: its ICMPv6 socket, what becomes of it, and the neighbour on it.
//!
//! The decisions are [`Discovery`]'s; here are the sockets. Nothing here needs `unsafe`.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use bgp_proto::discovery::packet::{ADVERTISEMENT, ALL_NODES, ALL_ROUTERS, HOP_LIMIT, Packet, SOLICITATION};
use bgp_proto::discovery::{Discovery, End, Output};
use bgp_proto::time::Instant;
use bgp_proto::types::Interface;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_indextoname, if_nametoindex};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrIn6, recvmsg,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::socket_options;

/// `RTMGRP_LINK` and `RTMGRP_IPV6_IFADDR` of linux/rtnetlink.h.
const CHANGES: u32 = 0x1 | 0x100;
/// The longest message that is read: an Ethernet frame's. What is cut does not parse.
const MESSAGE_LEN: usize = 1500;

/// Something happened on the link.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Some interface or address of this host changed.
    Changed,
    /// This came in.
    Message { source: Ipv6Addr, hop_limit: u8, message: Vec<u8> },
}

/// What the owner is to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The neighbour has this address; the scope is the interface's number.
    Found(SocketAddrV6),
    /// There is none any more, for this reason.
    Lost(String),
}

/// By which a peer's task says where its neighbour is, for BFD beside its session.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    /// Whose it is.
    pub(crate) task: u64,
    /// Not bounded, but a neighbour is found and lost at the pace of a link that goes up and down, or of its silence.
    pub(crate) to: mpsc::UnboundedSender<Located>,
}

/// Where the neighbour of a task is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) task: u64,
    /// `None`: it is lost.
    pub(crate) at: Option<SocketAddrV6>,
}

impl Whereabouts {
    pub(crate) fn tell(&self, at: Option<SocketAddrV6>) {
        // Nobody hears it: the speaker ends.
        let _ = self.to.send(Located { task: self.task, at });
    }
}

/// The interface.
#[derive(Debug)]
pub(crate) struct Link {
    interface: Interface,
    /// The kernel's notices; `None` if it gives none, and then the interface is looked at when something is sent.
    changes: Option<AsyncFd<Socket>>,
    /// With the number of the interface that it is bound to.
    icmp: Option<(u32, AsyncFd<Socket>)>,
    discovery: Discovery,
}

impl Link {
    /// Begins to look for the neighbour. Call it in the runtime.
    pub(crate) fn open(interface: Interface, now: Instant) -> Self {
        let changes = listen_for_changes().inspect_err(|error| {
            tracing::warn!(%interface, %error, "the kernel tells of no changes of interfaces; one that goes is noticed by the hold timer only");
        });
        let mut link = Self { interface, changes: changes.ok(), icmp: None, discovery: Discovery::new() };
        link.look(now);
        link
    }

    /// For a person.
    pub(crate) fn status(&self, now: Instant) -> String {
        self.discovery.status(now)
    }

    /// Waits for something to happen. Can be dropped and called again without losing anything.
    pub(crate) async fn happening(&self) -> Happening {
        let icmp = self.icmp.as_ref().map(|(_, socket)| socket);
        tokio::select! {
            () = changed(self.changes.as_ref()) => Happening::Changed,
            message = message(icmp) => message,
        }
    }

    pub(crate) fn take(&mut self, now: Instant, happening: Happening) {
        match happening {
            Happening::Changed => self.look(now),
            Happening::Message { source, hop_limit, message } => {
                self.discovery.handle_message(now, source, hop_limit, &message);
            }
        }
    }

    /// Whether who has opened a connection on this link is the neighbour.
    pub(crate) fn admits(&mut self, now: Instant, source: Ipv6Addr) -> bool {
        self.discovery.handle_connection(now, source)
    }

    pub(crate) fn handle_session(&mut self, now: Instant, up: bool) {
        self.discovery.handle_session(now, up);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.changes.is_none() {
            self.look(now);
        }
        self.discovery.handle_timeout(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.discovery.poll_timeout()
    }

    /// Sends what is to be sent, and tells the rest.
    pub(crate) fn poll(&mut self) -> Option<News> {
        while let Some(output) = self.discovery.poll() {
            match output {
                Output::Send(packet) => self.send(packet),
                Output::Found(address) => {
                    let scope = self.icmp.as_ref().map_or(0, |(index, _)| *index);
                    return Some(News::Found(SocketAddrV6::new(address, 0, 0, scope)));
                }
                Output::Lost(reason) => return Some(News::Lost(reason)),
                Output::Refused(address) => tracing::warn!(
                    interface = %self.interface,
                    %address,
                    neighbour = ?self.discovery.neighbour().map(|neighbour| neighbour.address),
                    "a second neighbour is refused: there may be one on a link; give each a link, or each a [[bgp.peer]] with its address"
                ),
            }
        }
        None
    }

    fn send(&self, packet: Packet) {
        let Some((index, socket)) = &self.icmp else { return };
        let to = match packet {
            Packet::Solicitation => ALL_ROUTERS,
            Packet::Advertisement => ALL_NODES,
        };
        let to = SockAddr::from(SocketAddrV6::new(to, 0, 0, *index));
        // While our address is being checked for duplicates nothing can be sent; the next one follows soon.
        if let Err(error) = socket.get_ref().send_to(&packet.encode(), &to) {
            tracing::debug!(interface = %self.interface, ?packet, %error, "not sent");
        }
    }

    /// Looks at the interface.
    fn look(&mut self, now: Instant) {
        let end = self.end();
        self.discovery.handle_end(now, end);
    }

    fn end(&mut self) -> End {
        let name = self.interface.name();
        let index = match if_nametoindex(name) {
            Ok(index) => index,
            Err(_) => {
                self.icmp = None;
                return End::Down(format!("interface {name} does not exist"));
            }
        };
        let own = match own_address(name) {
            Ok(own) => own,
            Err(reason) => return End::Down(reason),
        };
        if self.icmp.as_ref().is_none_or(|(bound, _)| *bound != index) {
            match open_icmp(self.interface, index) {
                Ok(socket) => self.icmp = Some((index, socket)),
                Err(error) => {
                    self.icmp = None;
                    return End::Down(format!("no ICMPv6 socket on interface {name}: {error}"));
                }
            }
        }
        End::Up(own)
    }
}

/// The interface with this number, which is the scope of a link-local address.
pub(crate) fn interface_of(scope: u32) -> Option<Interface> {
    if_indextoname(scope).ok()?.to_str().ok().and_then(Interface::new)
}

/// Our link-local address on an interface that carries packets, or why there is none.
fn own_address(name: &str) -> Result<Ipv6Addr, String> {
    let all = getifaddrs().map_err(|error| format!("the addresses of interface {name} cannot be read: {error}"))?;
    let (mut flags, mut own) = (InterfaceFlags::empty(), Vec::new());
    for entry in all.filter(|entry| entry.interface_name == name) {
        flags |= entry.flags;
        let address = entry.address.as_ref().and_then(|address| address.as_sockaddr_in6()).map(SockaddrIn6::ip);
        own.extend(address.filter(Ipv6Addr::is_unicast_link_local));
    }
    if !flags.contains(InterfaceFlags::IFF_UP) {
        return Err(format!("interface {name} is down"));
    }
    if !flags.contains(InterfaceFlags::IFF_RUNNING) {
        return Err(format!("interface {name} has no carrier"));
    }
    own.into_iter()
        .min()
        .ok_or_else(|| format!("interface {name} has no link-local IPv6 address: is IPv6 disabled on it?"))
}

fn listen_for_changes() -> io::Result<AsyncFd<Socket>> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, CHANGES))?;
    socket_options::watched(Socket::from(socket))
}

/// Bound to one interface, with nothing but the two messages of RFC 4861 passed to it.
fn open_icmp(interface: Interface, index: u32) -> io::Result<AsyncFd<Socket>> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    socket_options::pass_icmp6(&socket, &[SOLICITATION, ADVERTISEMENT])?;
    socket.bind_device(Some(interface.name().as_bytes()))?;
    socket.set_recv_hoplimit_v6(true)?;
    socket.set_multicast_hops_v6(u32::from(HOP_LIMIT))?;
    socket.set_multicast_loop_v6(false)?;
    socket.set_multicast_if_v6(index)?;
    for group in [ALL_NODES, ALL_ROUTERS] {
        socket.join_multicast_v6(&group, index)?;
    }
    socket_options::watched(socket)
}

/// Waits for a notice and drops all that wait. Lost ones (ENOBUFS) are notices too.
async fn changed(socket: Option<&AsyncFd<Socket>>) {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
        let mut heard = false;
        loop {
            let mut notice = [MaybeUninit::uninit(); 64];
            match ready.try_io(|socket| socket.get_ref().recv(&mut notice)) {
                Ok(_) => heard = true,
                Err(_would_block) => break,
            }
        }
        if heard {
            return;
        }
    }
}

async fn message(socket: Option<&AsyncFd<Socket>>) -> Happening {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
        match ready.try_io(|socket| receive(socket.get_ref())) {
            Ok(Ok(happening)) => return happening,
            // An interface that goes: the kernel's notice says so.
            Ok(Err(error)) => {
                tracing::debug!(%error, "no message");
                return Happening::Changed;
            }
            Err(_would_block) => {}
        }
    }
}

fn receive(socket: &Socket) -> io::Result<Happening> {
    let mut octets = [0; MESSAGE_LEN];
    let mut control = nix::cmsg_space!(libc::c_int);
    let mut slices = [IoSliceMut::new(&mut octets)];
    let received = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())?;
    let hop_limit = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6HopLimit(limit) => u8::try_from(limit).ok(),
        _ => None,
    });
    let (source, length) = (received.address.map(|address| address.ip()), received.bytes);
    Ok(Happening::Message {
        source: source.unwrap_or(Ipv6Addr::UNSPECIFIED),
        hop_limit: hop_limit.unwrap_or(0),
        message: octets[..length].to_vec(),
    })
}
