//! BFD's sockets: two ports to listen on for each family, and one to send from for each session.

// recvmsg(2) with the TTL beside the datagram, and setpriority(2), have no safe binding among this crate's dependencies.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use bgp_proto::bfd::Target;
use bgp_proto::types::Interface;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::clock;

/// A packet and its longest authentication section have 52 octets; its length has one octet.
pub(super) const BUFFER: usize = 256;
/// RFC 5881 section 4.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// Ports to try; with thousands of sessions, most are still free.
const TRIES: usize = 64;
/// `IPTOS_CLASS_CS6`: network control.
const CLASS_CS6: u32 = 0xc0;
/// Like that of a nice value that only daemons which must not miss a beat take.
const NICE: libc::c_int = -15;

/// A port that packets come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Door {
    pub(super) ipv6: bool,
    /// RFC 5881, or RFC 5883.
    pub(super) single_hop: bool,
}

impl Door {
    pub(super) fn port(self) -> u16 {
        if self.single_hop { 3784 } else { 4784 }
    }

    pub(super) fn listen(self) -> io::Result<UdpSocket> {
        let socket = Socket::new(domain(self.ipv6), Type::DGRAM, Some(Protocol::UDP))?;
        let on = libc::c_int::from(1u8);
        if self.ipv6 {
            socket.set_only_v6(true)?;
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, on)?;
        } else {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTTL, on)?;
        }
        socket.set_nonblocking(true)?;
        let any = if self.ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
        socket.bind(&SocketAddr::new(any, self.port()).into())?;
        Ok(socket.into())
    }
}

/// The socket that a session sends from: its own port, and a TTL of 255 (RFC 5881 sections 4 and 5), which FRR wants of
/// sessions over many hops too. With an interface, it sends by no other.
pub(super) fn sender(target: Target, local: Option<IpAddr>, interface: Option<Interface>) -> io::Result<UdpSocket> {
    let ipv6 = target.address.is_ipv6();
    let socket = Socket::new(domain(ipv6), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.name().as_bytes()))?;
    }
    if ipv6 {
        socket.set_unicast_hops_v6(255)?;
        socket.set_tclass_v6(CLASS_CS6)?;
    } else {
        socket.set_ttl_v4(255)?;
        socket.set_tos_v4(CLASS_CS6)?;
    }
    let any = if ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
    let address = local.unwrap_or(any);
    let mut drawn = bgp_proto::timers::Jitter::new(clock::seed());
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let ports = u64::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1;
        let port = SOURCE_PORTS.start() + u16::try_from(drawn.bits() % ports).unwrap_or_default();
        match socket.bind(&SocketAddr::new(address, port).into()) {
            Ok(()) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// Where a packet of a session goes.
pub(super) fn destination(target: Target, single_hop: bool) -> SocketAddr {
    let port = Door { ipv6: target.address.is_ipv6(), single_hop }.port();
    match target.address {
        IpAddr::V4(address) => SocketAddr::new(address.into(), port),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, target.scope).into(),
    }
}

/// One datagram: its length, from whom, and the TTL that it had left.
pub(super) fn receive(socket: RawFd, buffer: &mut [u8; BUFFER]) -> io::Result<(usize, Target, Option<u8>)> {
    let mut source = SockAddrStorage::zeroed();
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Aligned like a cmsghdr, and with room for more than the one that was asked for.
    let mut control = [0u64; 16];
    // SAFETY: zeros are a value of this struct, which is plain numbers and pointers.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = (&raw mut source).cast();
    message.msg_namelen = source.size_of();
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in the message is to a live buffer of the length beside it.
    let octets = unsafe { libc::recvmsg(socket, &raw mut message, 0) };
    let octets = usize::try_from(octets).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel wrote an address of this length.
    let source = unsafe { SockAddr::new(source, message.msg_namelen) };
    let source = match source.as_socket() {
        Some(SocketAddr::V4(source)) => Target { address: (*source.ip()).into(), scope: 0 },
        Some(SocketAddr::V6(source)) => Target { address: (*source.ip()).into(), scope: source.scope_id() },
        None => return Err(io::ErrorKind::InvalidData.into()),
    };
    let mut ttl = None;
    // SAFETY: the message's control buffer is as recvmsg left it, and the macros stay inside of it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(found) = header.as_ref() {
            let is_ttl = matches!(
                (found.cmsg_level, found.cmsg_type),
                (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
            );
            if is_ttl {
                let value = libc::CMSG_DATA(header).cast::<libc::c_int>().read_unaligned();
                ttl = u8::try_from(value).ok();
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok((octets.min(BUFFER), source, ttl))
}

/// Lets the scheduler prefer the calling thread, if this process may: it sleeps nearly always, and must wake in time.
pub(super) fn prefer_this_thread() {
    // SAFETY: no pointers; on Linux, 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        let error = io::Error::last_os_error();
        tracing::info!(%error, "BFD's thread has no higher priority than others; on a busy host, choose longer intervals");
    }
}

fn domain(ipv6: bool) -> Domain {
    if ipv6 { Domain::IPV6 } else { Domain::IPV4 }
}

fn set_option(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointer is to a live value of `length` bytes, which the kernel copies before the call returns.
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_with_its_sender_and_the_ttl_it_had_left() {
        for (any, loopback) in [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let address: IpAddr = loopback.parse().unwrap();
            let receiver = Socket::new(domain(address.is_ipv6()), Type::DGRAM, None).unwrap();
            receiver.bind(&any.parse::<SocketAddr>().unwrap().into()).unwrap();
            let (level, option) = match address {
                IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVTTL),
                IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
            };
            set_option(&receiver, level, option, 1).unwrap();
            let port = receiver.local_addr().unwrap().as_socket().unwrap().port();
            let target = Target { address, scope: 0 };
            let sender = sender(target, Some(address), None).unwrap();
            assert!(SOURCE_PORTS.contains(&sender.local_addr().unwrap().port()));
            sender.send_to(b"hello", SocketAddr::new(address, port)).unwrap();
            let mut buffer = [0; BUFFER];
            let received = receive(receiver.as_raw_fd(), &mut buffer).unwrap();
            assert_eq!(received, (5, target, Some(255)));
        }
    }
}
