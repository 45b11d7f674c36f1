//! What a BGP connection needs of the kernel beyond what the standard library offers: TCP MD5, TTL and its minimum.

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use bgp_proto::types::Prefix;
use socket2::{SockRef, Socket};
use tokio::io::unix::AsyncFd;

use crate::authentication::Secret;
use crate::config::{PeerConfig, Ttl};

/// `IPTOS_CLASS_CS6`: network control, what routers mark BGP with.
const CLASS_CS6: u32 = 0xc0;
/// `TCP_MD5SIG_FLAG_PREFIX` of linux/tcp.h: the key is for a prefix, not for one address.
const MD5_FLAG_PREFIX: u8 = 1;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5Sig {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    ifindex: libc::c_int,
    key: [u8; Secret::MAX_LEN],
}

/// Which peers a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyScope {
    /// The peer with this address.
    Address(IpAddr),
    /// All peers from this prefix; a TCP MD5 key for an address goes before it.
    Prefix(Prefix),
}

impl KeyScope {
    pub(crate) fn is_ipv6(self) -> bool {
        self.network().0.is_ipv6()
    }

    /// As an address and a prefix length.
    pub(crate) fn network(self) -> (IpAddr, u8) {
        match self {
            Self::Address(address) => (address, if address.is_ipv6() { 128 } else { 32 }),
            Self::Prefix(prefix) => (prefix.address(), prefix.length()),
        }
    }
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// Gives a socket, listening or connected, the key for segments from and to `scope` (RFC 2385), or takes it away. On a
/// connected socket this changes the key of the running connection.
pub(crate) fn set_md5_key(socket: &impl AsFd, scope: KeyScope, secret: Option<&Secret>) -> io::Result<()> {
    let key = secret.map_or(&[][..], Secret::octets);
    let (address, option, flags, prefix_len) = match scope {
        KeyScope::Address(address) => (address, libc::TCP_MD5SIG, 0, 0),
        KeyScope::Prefix(prefix) => (prefix.address(), libc::TCP_MD5SIG_EXT, MD5_FLAG_PREFIX, prefix.length()),
    };
    // SAFETY: every field of the struct is plain numbers, for which all zeros is a value.
    let mut signature: TcpMd5Sig = unsafe { MaybeUninit::zeroed().assume_init() };
    signature.address = socket_address(address);
    signature.flags = flags;
    signature.prefix_len = prefix_len;
    signature.key_len = key.len() as u16; // at most 80, checked when the secret was made
    signature.key[..key.len()].copy_from_slice(key);
    match set_option(socket, libc::IPPROTO_TCP, option, &signature) {
        // Taking away a key that is not there.
        Err(error) if secret.is_none() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

/// What every listening socket gets: TTL 255, because the answer to a SYN carries it before we know which peer asks, and
/// a peer with GTSM takes nothing less; and that the kernel keeps the SYN for [`is_near_enough`].
pub(crate) fn prepare_listener(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    set_ttl(socket, ipv6, 255)?;
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, &libc::c_int::from(1u8))?;
    set_class(socket, ipv6)
}

/// What every connection with `peer` gets, whoever opened it: its TTL and the least TTL that it accepts.
pub(crate) fn prepare_connection(socket: &impl AsFd, peer: &PeerConfig) -> io::Result<()> {
    let ipv6 = peer.address.is_ipv6();
    SockRef::from(socket).set_tcp_nodelay(true)?;
    set_class(socket, ipv6)?;
    let ttl = match peer.ttl {
        Ttl::Default if peer.is_internal() => 64,
        Ttl::Default => 1,
        Ttl::Multihop { hops } => hops.max(1),
        Ttl::Security { .. } => 255,
    };
    set_ttl(socket, ipv6, ttl)?;
    let least = libc::c_int::from(least_ttl(peer.ttl));
    if ipv6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &least)
    } else {
        set_option(socket, libc::IPPROTO_IP, libc::IP_MINTTL, &least)
    }
}

/// Whether the SYN of an accepted connection came over no more hops than the peer's GTSM allows.
///
/// What came before [`prepare_connection`] set the least TTL, the kernel has let through whatever its TTL, so the SYN is
/// asked: whoever is too far away to send one with enough left can send nothing else in time either. While the kernel
/// answers a flood with SYN cookies it keeps no SYN, and the connection is let in; the least TTL then guards the rest of it.
pub(crate) fn is_near_enough(socket: &impl AsFd, peer: &PeerConfig) -> bool {
    let least = least_ttl(peer.ttl);
    least == 0 || saved_syn_ttl(socket).is_none_or(|ttl| ttl >= least)
}

/// RFC 5082 section 3: a packet that has come over h hops has at least 255 - h + 1 left. 0: any will do.
fn least_ttl(ttl: Ttl) -> u8 {
    match ttl {
        Ttl::Default | Ttl::Multihop { .. } => 0,
        Ttl::Security { hops } => 255 - hops.clamp(1, 254) + 1,
    }
}

/// Reads the TTL, or hop limit, out of the IP header of the SYN that the kernel kept.
fn saved_syn_ttl(socket: &impl AsFd) -> Option<u8> {
    let mut headers = [0u8; 512];
    let mut length = headers.len() as libc::socklen_t;
    // SAFETY: the pointers are to a live buffer of `length` bytes and to `length`, which the kernel writes no further.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            headers.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome != 0 || length == 0 {
        return None;
    }
    match headers[0] >> 4 {
        4 => Some(headers[8]),
        6 => Some(headers[7]),
        _ => None,
    }
}

/// `ICMP6_FILTER` of linux/icmpv6.h: a bit for each type, set where it is not passed to the socket.
const ICMP6_FILTER: libc::c_int = 1;

/// Passes these types of ICMPv6 messages to a raw socket, and no others (RFC 3542 section 3.2).
pub(crate) fn pass_icmp6(socket: &impl AsFd, types: &[u8]) -> io::Result<()> {
    let mut blocked = [u32::MAX; 8];
    for kind in types {
        blocked[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    }
    set_option(socket, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &blocked)
}

/// The socket, with the runtime saying when it can be read. Call it in the runtime.
pub(crate) fn watched(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: the socket owns its descriptor, gives the same one for as long as it lives, and lives within the AsyncFd.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

/// Whether bytes of the peer wait in the socket unread.
pub(crate) fn has_unread_bytes(socket: &impl AsFd) -> bool {
    let mut byte = [MaybeUninit::uninit(); 1];
    // The socket is not blocking: with nothing there this is an error, at the end of the stream 0.
    matches!(SockRef::from(socket).peek(&mut byte), Ok(octets) if octets > 0)
}

fn set_ttl(socket: &impl AsFd, ipv6: bool, ttl: u8) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if ipv6 { socket.set_unicast_hops_v6(u32::from(ttl)) } else { socket.set_ttl_v4(u32::from(ttl)) }
}

fn set_class(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if ipv6 { socket.set_tclass_v6(CLASS_CS6) } else { socket.set_tos_v4(CLASS_CS6) }
}

pub(crate) fn socket_address(address: IpAddr) -> libc::sockaddr_storage {
    let address = socket2::SockAddr::from(std::net::SocketAddr::new(address, 0));
    // SAFETY: zeros are a value of this struct, which is plain numbers.
    let mut storage: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the source is valid for `len` bytes, which are at most those of a sockaddr_storage; the two do not overlap.
    unsafe {
        std::ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            (&raw mut storage).cast::<u8>(),
            (address.len() as usize).min(size_of::<libc::sockaddr_storage>()),
        );
    }
    storage
}

pub(crate) fn set_option<T>(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a live value of `length` bytes, which the kernel copies before the call returns.
    let outcome = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `T`: plain numbers, whose every value the kernel may write.
pub(crate) fn get_option<T>(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut T,
) -> io::Result<()> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointers are to a live value of `length` bytes and to `length`, which the kernel writes no further.
    let outcome = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, std::ptr::from_mut(value).cast(), &raw mut length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use bgp_proto::session::RemoteAs;
    use bgp_proto::types::Asn;
    use socket2::{Domain, Protocol, Type};

    use super::*;

    #[test]
    fn the_ttl_follows_from_how_far_away_the_peer_may_be() {
        let (internal, external) = (RemoteAs::Internal, RemoteAs::External);
        for (remote_as, ttl, sent) in [
            (internal, Ttl::Default, 64),
            (external, Ttl::Default, 1),
            (external, Ttl::Multihop { hops: 3 }, 3),
            (internal, Ttl::Security { hops: 1 }, 255),
            (external, Ttl::Security { hops: 254 }, 255),
        ] {
            for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                let mut peer = PeerConfig::new("p", address, remote_as, Asn(1));
                peer.ttl = ttl;
                let domain = if address.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
                prepare_connection(&socket, &peer).unwrap();
                let set = if address.is_ipv6() { socket.unicast_hops_v6() } else { socket.ttl_v4() };
                assert_eq!(set.unwrap(), sent, "{remote_as:?} {ttl:?} {address}");
                assert!(socket.tcp_nodelay().unwrap());
            }
        }
    }

    #[test]
    fn gtsm_counts_hops_as_the_rfc_does() {
        for (hops, least) in [(1, 255), (2, 254), (254, 2)] {
            assert_eq!(least_ttl(Ttl::Security { hops }), least);
        }
        assert_eq!(least_ttl(Ttl::Multihop { hops: 1 }), 0);
    }

    #[test]
    fn a_key_that_is_not_there_can_be_taken_away() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
        let scopes = [KeyScope::Address(address), KeyScope::Prefix(Prefix::new(address, 24).unwrap())];
        for scope in scopes {
            set_md5_key(&socket, scope, Secret::new(b"key").as_ref()).unwrap();
            set_md5_key(&socket, scope, None).unwrap();
            set_md5_key(&socket, scope, None).unwrap();
        }
    }
}
