//! TCP-AO as Linux has it since 6.7 (RFC 5925; linux/tcp.h, and Documentation/networking/tcp_ao.rst of the kernel).
//!
//! A listening socket has the keys of all peers, each for an address or a prefix, and drops what is not signed from
//! there. The socket of a connection has the keys of its peer. Which of them signs is what the *peer* asks for
//! (RNextKeyID, RFC 5925 section 6.1), and we ask it for our first; only before anything has been heard, ours is first.

use std::io;
use std::os::fd::AsFd;

use crate::authentication::{AoAlgorithm, AoKey, AoKeys, Secret};
use crate::socket_options::{KeyScope, get_option, set_option, socket_address};

const TCP_AO_ADD_KEY: libc::c_int = 38;
const TCP_AO_DEL_KEY: libc::c_int = 39;
const TCP_AO_INFO: libc::c_int = 40;

/// The bits of the flags below, which linux/tcp.h declares as bit fields; `u32` has them at the same end on either endianness
/// only with this.
const fn bit(number: u32) -> u32 {
    if cfg!(target_endian = "big") { 1 << (31 - number) } else { 1 << number }
}

/// `set_current`: the key that signs what we send.
const SET_CURRENT: u32 = bit(0);
/// `set_rnext`: the key that we ask the peer to sign with.
const SET_RNEXT: u32 = bit(1);
/// `ao_required` of [`TcpAoInfo`]: nothing unsigned is taken.
const REQUIRED: u32 = bit(2);

/// `struct tcp_ao_add`.
#[repr(C, align(8))]
struct TcpAoAdd {
    address: libc::sockaddr_storage,
    algorithm: [u8; 64],
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    receive_id: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; Secret::MAX_LEN],
}

/// `struct tcp_ao_del`.
#[repr(C, align(8))]
struct TcpAoDel {
    address: libc::sockaddr_storage,
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    receive_id: u8,
    current_key: u8,
    rnext: u8,
    key_flags: u8,
}

/// `struct tcp_ao_info_opt`.
#[repr(C, align(8))]
#[derive(Default)]
struct TcpAoInfo {
    flags: u32,
    reserved: u16,
    current_key: u8,
    rnext: u8,
    good: u64,
    bad: u64,
    key_not_found: u64,
    required: u64,
    dropped_icmp: u64,
}

// The kernel compares the sizes with its own.
const _: () = assert!(size_of::<TcpAoAdd>() == 288 && std::mem::offset_of!(TcpAoAdd, key) == 208);
const _: () = assert!(size_of::<TcpAoDel>() == 144 && std::mem::offset_of!(TcpAoDel, key_flags) == 143);
const _: () = assert!(size_of::<TcpAoInfo>() == 48 && std::mem::offset_of!(TcpAoInfo, good) == 8);

/// What a connection's socket says of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InUse {
    /// The `send_id` of the key that signs what we send.
    pub(crate) current: u8,
    /// The `receive_id` of the key that the peer is asked for; of a connection that was just accepted, of the key that its
    /// SYN was signed with.
    pub(crate) asked: u8,
}

/// Gives a listening socket the keys of a peer, in the place of those `before`. A number whose key changes is without one
/// for a moment; a connection that is opened in it is unsigned, which [`take_over`] sees.
pub(crate) fn set_listener_keys(
    socket: &impl AsFd,
    scope: KeyScope,
    before: Option<&AoKeys>,
    keys: &AoKeys,
) -> io::Result<()> {
    let Some(before) = before else { return keys.iter().try_for_each(|key| add(socket, scope, key, 0)) };
    // The socket stays without a key only where every number changes its meaning.
    let (fresh, reused): (Vec<_>, Vec<_>) = keys.without(before).partition(|key| !key_clashes(key, before));
    fresh.iter().try_for_each(|key| add(socket, scope, key, 0))?;
    before.without(keys).try_for_each(|key| delete(socket, scope, key, None))?;
    reused.iter().try_for_each(|key| add(socket, scope, key, 0))
}

fn key_clashes(key: &AoKey, keys: &AoKeys) -> bool {
    keys.iter().any(|other| other.send_id == key.send_id || other.receive_id == key.receive_id)
}

/// Takes keys from a listening socket, whether or not it has them.
pub(crate) fn clear_listener_keys(socket: &impl AsFd, scope: KeyScope, keys: &AoKeys) -> io::Result<()> {
    keys.iter().try_for_each(|key| delete(socket, scope, key, None))
}

/// Gives a socket that is yet to connect its peer's keys. From then on it sends and takes nothing unsigned.
pub(crate) fn prepare(socket: &impl AsFd, scope: KeyScope, keys: &AoKeys) -> io::Result<()> {
    let first = keys.first();
    for key in keys.iter() {
        let flags = if key == first { SET_CURRENT | SET_RNEXT } else { 0 };
        add(socket, scope, key, flags)?;
    }
    set_info(socket, &TcpAoInfo { flags: REQUIRED, ..TcpAoInfo::default() })
}

/// Looks whether a connection that was accepted is signed with one of the keys, and asks its peer for the first of them.
///
/// It may not be: it was opened before the listening socket had the keys, or by a key that has been taken away while it
/// waited to be accepted (section 4 of the kernel's document).
pub(crate) fn take_over(socket: &impl AsFd, scope: KeyScope, keys: &AoKeys) -> io::Result<()> {
    let signed_with = in_use(socket)?.asked;
    if keys.iter().all(|key| key.receive_id != signed_with) {
        return Err(io::Error::other(format!(
            "it is signed with the key {signed_with}, which is not the peer's any more"
        )));
    }
    for key in keys.iter() {
        match add(socket, scope, key, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            outcome => outcome?,
        }
    }
    ask_for(socket, keys.first())
}

/// Changes the keys of a running connection, which must be able to follow: new ones come first, then the peer is asked for
/// the first of all, and then old ones go.
pub(crate) fn change(socket: &impl AsFd, scope: KeyScope, before: &AoKeys, keys: &AoKeys) -> io::Result<()> {
    keys.without(before).try_for_each(|key| add(socket, scope, key, 0))?;
    let first = keys.first();
    ask_for(socket, first)?;
    for key in before.without(keys) {
        match delete(socket, scope, key, None) {
            // It still signs what we send, because the peer has asked for no other.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => delete(socket, scope, key, Some(first))?,
            outcome => outcome?,
        }
    }
    Ok(())
}

/// Which keys a connection has in use.
///
/// # Errors
/// It is not signed, or the kernel has no TCP-AO.
pub(crate) fn in_use(socket: &impl AsFd) -> io::Result<InUse> {
    let mut info = TcpAoInfo::default();
    match get_option(socket, libc::IPPROTO_TCP, TCP_AO_INFO, &mut info) {
        Ok(()) => Ok(InUse { current: info.current_key, asked: info.rnext }),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Err(io::Error::other("it is not signed by TCP-AO")),
        Err(error) => Err(explain(error)),
    }
}

fn ask_for(socket: &impl AsFd, key: &AoKey) -> io::Result<()> {
    set_info(socket, &TcpAoInfo { flags: SET_RNEXT | REQUIRED, rnext: key.receive_id, ..TcpAoInfo::default() })
}

fn set_info(socket: &impl AsFd, info: &TcpAoInfo) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, TCP_AO_INFO, info).map_err(explain)
}

fn add(socket: &impl AsFd, scope: KeyScope, key: &AoKey, flags: u32) -> io::Result<()> {
    let (address, prefix) = scope.network();
    // The kernel's names of what RFC 5926 has; a MAC length of 0 would be its 12 octets for all of them.
    let (name, mac_len) = match key.algorithm {
        AoAlgorithm::HmacSha1 => ("hmac(sha1)", 12),
        AoAlgorithm::Aes128Cmac => ("cmac(aes128)", 12),
        AoAlgorithm::HmacSha256 => ("hmac(sha256)", 16),
    };
    let secret = key.secret.octets();
    let mut option = TcpAoAdd {
        address: socket_address(address),
        algorithm: [0; 64],
        ifindex: 0,
        flags,
        reserved: 0,
        prefix,
        send_id: key.send_id,
        receive_id: key.receive_id,
        mac_len,
        key_flags: 0,
        key_len: secret.len() as u8, // at most 80, checked when it was made
        key: [0; Secret::MAX_LEN],
    };
    option.algorithm[..name.len()].copy_from_slice(name.as_bytes());
    option.key[..secret.len()].copy_from_slice(secret);
    set_option(socket, libc::IPPROTO_TCP, TCP_AO_ADD_KEY, &option).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => io::Error::other(format!("this kernel has no {name} for {}", key.algorithm.name())),
        _ => explain(error),
    })
}

/// `instead`: signs from now on, and is asked for.
fn delete(socket: &impl AsFd, scope: KeyScope, key: &AoKey, instead: Option<&AoKey>) -> io::Result<()> {
    let (address, prefix) = scope.network();
    let option = TcpAoDel {
        address: socket_address(address),
        ifindex: 0,
        flags: if instead.is_some() { SET_CURRENT | SET_RNEXT } else { 0 },
        reserved: 0,
        prefix,
        send_id: key.send_id,
        receive_id: key.receive_id,
        current_key: instead.map_or(0, |key| key.send_id),
        rnext: instead.map_or(0, |key| key.receive_id),
        key_flags: 0,
    };
    match set_option(socket, libc::IPPROTO_TCP, TCP_AO_DEL_KEY, &option) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome.map_err(explain),
    }
}

/// Says what the kernel means; errors that are looked at by number keep it.
fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => io::Error::new(
            io::ErrorKind::Unsupported,
            "the peer wants TCP-AO, and this kernel has none (CONFIG_TCP_AO, Linux 6.7 or newer); no session is made; \
             run a kernel that has it, or take tcp-ao from the peer at both ends",
        ),
        Some(libc::EKEYREJECTED) => io::Error::other("a TCP MD5 key covers the peer's address too"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use bgp_proto::types::Prefix;
    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;

    fn key(id: u8, algorithm: AoAlgorithm) -> AoKey {
        AoKey { send_id: id, receive_id: id, algorithm, secret: Secret::new(b"secret").unwrap() }
    }

    /// Either the kernel takes them, each kind of call, or it says of the first that it has none of it.
    #[test]
    fn the_kernel_takes_keys_of_every_kind_or_says_that_it_has_no_tcp_ao() {
        for address in [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let domain = if address.is_ipv6() { Domain::IPV6 } else { Domain::IPV4 };
            let length = if address.is_ipv6() { 128 } else { 24 };
            for scope in [KeyScope::Address(address), KeyScope::Prefix(Prefix::new(address, length).unwrap())] {
                let keys: Vec<_> = (1..).zip(AoAlgorithm::ALL).map(|(id, it)| key(id, it.1)).collect();
                let all = AoKeys::new(keys.clone()).unwrap();
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
                match prepare(&socket, scope, &all) {
                    Ok(()) => {
                        assert_eq!(in_use(&socket).unwrap(), InUse { current: 1, asked: 1 });
                        let others = AoKeys::new(vec![keys[2].clone(), key(4, AoAlgorithm::HmacSha1)]).unwrap();
                        change(&socket, scope, &all, &others).unwrap();
                        assert_eq!(in_use(&socket).unwrap(), InUse { current: 3, asked: 3 });
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
                        assert_eq!(in_use(&socket).unwrap_err().kind(), io::ErrorKind::Unsupported);
                    }
                }
            }
        }
    }
}
