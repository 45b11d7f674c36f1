//! How long packets may be on the way to an address, found by sending some: echo requests that nobody may fragment, and that
//! heed no path MTU the kernel has learned (`IP_PMTUDISC_PROBE`).
//!
//! A few packets of the size that is said to pass and of a small one tell whether it does; only if not, the largest that
//! passes is looked for, in rounds of sizes that lie evenly between what passes and what does not. All is bounded: some 140
//! packets and 4 seconds for an address where nothing is as it should be, 2 packets where it is.

use std::{
    collections::BTreeSet,
    io::{self, IoSliceMut, Read},
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt},
};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};

/// How long an answer may take.
const WAIT: Duration = Duration::from_millis(300);
/// How often a packet is sent that nobody answers, before and while the largest is looked for.
const TRIES: usize = 3;
const TRIES_OF_SEARCH: usize = 2;
/// Rounds of the search, and sizes of one: from 65535 octets four rounds find the very one.
const ROUNDS: usize = 4;
const SIZES: u32 = 16;
/// What every way carries (RFC 791, RFC 8200: more), octets.
const SMALL: u32 = 64;
/// Most that one packet takes, octets.
const LARGEST: u32 = 65_535;

/// What came of it. Octets are those of the whole IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Packets of that size pass.
    Whole,
    /// Smaller ones pass.
    Less {
        /// The largest that was answered.
        octets: u32,
        /// Who said so.
        said: Said,
    },
    /// Not even small ones are answered: nothing is known.
    Silent,
}

/// Who said that a packet is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nobody: packets vanish without a word, and path MTU discovery does not work on this way.
    Nobody,
    /// A router, and how many octets it takes.
    Router(IpAddr, u32),
    /// This host: the device that leads there takes so many octets.
    ThisHost(u32),
}

/// Finds out whether packets of so many octets reach an address. `device`: by which link, where the address is a link-local
/// one. Neither address nor device need exist.
///
/// # Errors
/// What keeps this host from sending echo requests at all: no route, or neither CAP_NET_RAW nor a group in
/// `net.ipv4.ping_group_range`.
pub async fn probe(destination: IpAddr, device: Option<String>, octets: u32) -> io::Result<Passage> {
    tokio::task::spawn_blocking(move || Prober::open(destination, device.as_deref())?.probe(octets))
        .await
        .map_err(io::Error::other)?
}

/// One socket to one address.
#[derive(Debug)]
struct Prober {
    socket: Socket,
    v6: bool,
    /// What comes in has an IPv4 header.
    raw: bool,
    identifier: u16,
    /// The size of each packet sent, by its sequence number.
    sent: Vec<u32>,
    answered: BTreeSet<u32>,
    said: Said,
}

impl Prober {
    fn open(destination: IpAddr, device: Option<&str>) -> io::Result<Prober> {
        let v6 = destination.is_ipv6();
        let (domain, protocol) = if v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
        let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
            Ok(socket) => (socket, false),
            Err(_) => (Socket::new(domain, Type::RAW, Some(protocol))?, true),
        };
        if v6 {
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
            setsockopt(&socket, sockopt::Ipv6DontFrag, &true)?;
            set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
            set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
        }
        let address = match destination {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                let scope = if_nametoindex(device.unwrap_or_default())?;
                SocketAddrV6::new(address, 0, 0, scope).into()
            }
            address => SocketAddr::new(address, 0),
        };
        socket.connect(&address.into())?;
        // Its own number tells this socket's answers from those of another of this host's.
        let identifier = (std::process::id() as u16) ^ (socket.as_raw_fd() as u16).rotate_left(8);
        Ok(Prober { socket, v6, raw, identifier, sent: Vec::new(), answered: BTreeSet::new(), said: Said::Nobody })
    }

    fn probe(mut self, octets: u32) -> io::Result<Passage> {
        let octets = octets.clamp(SMALL, LARGEST);
        let answered = self.send(&[SMALL, octets], TRIES)?;
        if answered.contains(&octets) {
            return Ok(Passage::Whole);
        }
        if !answered.contains(&SMALL) {
            return Ok(Passage::Silent);
        }
        let (mut passes, mut fails) = (SMALL, octets);
        if let Said::Router(_, limit) | Said::ThisHost(limit) = self.said {
            self.narrow(&[limit, limit.saturating_add(1)], &mut passes, &mut fails)?;
        }
        for _ in 0..ROUNDS {
            let between = fails - passes;
            if between <= 1 {
                break;
            }
            let sizes: BTreeSet<u32> = (1..SIZES).map(|part| passes + between * part / SIZES).collect();
            self.narrow(&sizes.into_iter().collect::<Vec<_>>(), &mut passes, &mut fails)?;
        }
        Ok(Passage::Less { octets: passes, said: self.said })
    }

    /// Tries the sizes that lie between what passes and what does not.
    fn narrow(&mut self, sizes: &[u32], passes: &mut u32, fails: &mut u32) -> io::Result<()> {
        let sizes: Vec<u32> = sizes.iter().copied().filter(|size| *passes < *size && *size < *fails).collect();
        let answered = self.send(&sizes, TRIES_OF_SEARCH)?;
        *passes = answered.iter().copied().filter(|size| *size < *fails).max().unwrap_or(*passes).max(*passes);
        *fails = sizes.into_iter().filter(|size| *size > *passes).min().unwrap_or(*fails);
        Ok(())
    }

    /// Sends a packet of each size, again where none answers. Returns which were answered.
    fn send(&mut self, sizes: &[u32], tries: usize) -> io::Result<BTreeSet<u32>> {
        let mut open: Vec<u32> = sizes.to_vec();
        for _ in 0..tries {
            for size in &open {
                let packet = self.echo(*size);
                match self.socket.send(&packet) {
                    Ok(_) => {}
                    // Longer than the device takes, and the error queue says how much that is.
                    Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                        self.errors();
                    }
                    // What an earlier packet met is told to the next one.
                    Err(error) if self.errors() => drop(error),
                    Err(error) => return Err(error),
                }
            }
            let deadline = Instant::now() + WAIT;
            while open.iter().any(|size| !self.answered.contains(size)) && self.hear(deadline)? {}
            open.retain(|size| !self.answered.contains(size));
            if open.is_empty() {
                break;
            }
        }
        Ok(sizes.iter().copied().filter(|size| self.answered.contains(size)).collect())
    }

    /// Takes in one answer or error. `false`: the time is over.
    fn hear(&mut self, deadline: Instant) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        // The header is what counts; the rest of an answer is cut off.
        let mut buffer = [0; 128];
        match (&self.socket).read(&mut buffer) {
            Ok(received) => self.take(buffer.get(..received).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(false);
            }
            // A refusal of some router's; if it is about lengths, the error queue says more.
            Err(_) => {
                self.errors();
            }
        }
        Ok(true)
    }

    /// An echo request (RFC 792, RFC 4443 section 4.1) that makes a packet of this size.
    fn echo(&mut self, octets: u32) -> Vec<u8> {
        let header = if self.v6 { 40 } else { 20 };
        let mut packet = vec![0; octets.saturating_sub(header).max(8) as usize];
        // Numbers are used again after 65,536 packets, of which there are never so many.
        let sequence = self.sent.len() as u16;
        self.sent.push(octets);
        packet[0] = if self.v6 { 128 } else { 8 };
        packet[4..6].copy_from_slice(&self.identifier.to_be_bytes());
        packet[6..8].copy_from_slice(&sequence.to_be_bytes());
        // That of ICMPv6 covers addresses, and the kernel makes it.
        if !self.v6 {
            let checksum = checksum(&packet);
            packet[2..4].copy_from_slice(&checksum.to_be_bytes());
        }
        packet
    }

    /// An answer, if it is one of ours.
    fn take(&mut self, octets: &[u8]) {
        let header =
            if self.raw && !self.v6 { octets.first().map_or(0, |first| usize::from(first & 15) * 4) } else { 0 };
        let Some([kind, _, _, _, i1, i2, s1, s2]) = octets.get(header..).and_then(|rest| rest.first_chunk()) else {
            return;
        };
        let ours = !self.raw || u16::from_be_bytes([*i1, *i2]) == self.identifier;
        if *kind == if self.v6 { 129 } else { 0 }
            && ours
            && let Some(size) = self.sent.get(usize::from(u16::from_be_bytes([*s1, *s2])))
        {
            self.answered.insert(*size);
        }
    }

    /// Reads the error queue, for who says that a packet is too long. Returns whether there was anything.
    fn errors(&mut self) -> bool {
        let mut any = false;
        // Bounded: what comes meanwhile is read the next time.
        for _ in 0..64 {
            let (mut octets, mut control) = ([0; 128], [0; 512]);
            let mut parts = [IoSliceMut::new(&mut octets)];
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let file = self.socket.as_raw_fd();
            let Ok(message) = recvmsg::<SockaddrStorage>(file, &mut parts, Some(&mut control), flags) else {
                return any;
            };
            any = true;
            for part in message.cmsgs().into_iter().flatten() {
                let (error, who) = match part {
                    ControlMessageOwned::Ipv4RecvErr(error, who) => {
                        (error, who.map(|who| IpAddr::from(u32::from_be(who.sin_addr.s_addr).to_be_bytes())))
                    }
                    ControlMessageOwned::Ipv6RecvErr(error, who) => {
                        (error, who.map(|who| IpAddr::from(who.sin6_addr.s6_addr)))
                    }
                    _ => continue,
                };
                if error.ee_errno == libc::EMSGSIZE as u32 && error.ee_info > 0 {
                    self.said = match who {
                        Some(who) if error.ee_origin != libc::SO_EE_ORIGIN_LOCAL => Said::Router(who, error.ee_info),
                        _ => Said::ThisHost(error.ee_info),
                    };
                }
            }
        }
        any
    }
}

/// The Internet checksum (RFC 1071) of octets whose checksum field is zero.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let sum = words.fold(0u32, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    });
    !(sum as u16)
}
