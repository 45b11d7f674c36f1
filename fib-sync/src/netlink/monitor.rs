//! A socket that listens to what happens in the kernel.
#![allow(unsafe_code)] // tokio's AsyncFd trusts its owner to keep the file open: see below.

use std::{io, sync::Arc};

use netlink_packet_core::{NlaBuffer, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use socket2::{SockFilter, SockRef};
use tokio::io::{Interest, unix::AsyncFd};

use super::{batch::messages, socket::parse};
use crate::{
    FibError,
    next_hops::{self, RTM_DELNEXTHOP, RTM_NEWNEXTHOP},
};

/// Groups of linux/rtnetlink.h: link, neigh, ipv4-ifaddr, ipv4-route, ipv6-ifaddr, ipv6-route, ipv4-netconf, nexthop. A kernel
/// too old for the last has the number all the same: there are 32 for everybody.
const GROUPS: [u32; 8] = [1, 3, 5, 7, 9, 11, 24, 32];
/// A setting of a device's (linux/netconf.h).
const RTM_NEWNETCONF: u16 = 80;
/// Its attributes.
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_RP_FILTER: u16 = 3;
/// Octets of `struct netconfmsg`, with what aligns it.
const NETCONF: usize = 4;
/// Octets of one datagram: notifications are single messages; a link's is about 2 KiB, more with many statistics.
const DATAGRAM: usize = 64 << 10;
/// Datagrams read in one go before the engine acts on them.
const BURST: usize = 4096;

/// What the listener heard.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A change; `port` is the netlink socket whose request made it, 0 when the kernel did it by itself.
    Message { message: RouteNetlinkMessage, flags: u16, port: u32 },
    /// Somebody made, changed or deleted the next-hop object of this number; `port` as above.
    NextHop { id: u32, port: u32 },
    /// How the kernel checks reverse paths of what comes by the device with this index.
    ReversePath { link: u32 },
    /// The buffer overflowed: an unknown number of changes went by unheard.
    Lost,
}

/// A listener in the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Monitor {
    socket: Arc<AsyncFd<netlink_sys::Socket>>,
    buffer: Vec<u8>,
}

/// Rings when there is something to hear.
#[derive(Debug)]
pub(crate) struct Bell(Arc<AsyncFd<netlink_sys::Socket>>);

impl Bell {
    /// As [`Monitor::ready`].
    pub(crate) async fn ready(&self) {
        ready(&self.0).await;
    }
}

/// A runtime that ends answers at once and for ever. Whoever waits then must wait on, or it would go round without a rest and the
/// runtime could not end.
async fn ready(socket: &AsyncFd<netlink_sys::Socket>) {
    match socket.readable().await {
        Ok(mut guard) => guard.retain_ready(),
        Err(_) => std::future::pending().await,
    }
}

impl Monitor {
    /// Listens to everything except what the socket `own_port` causes: its owner knows of that from the answers, and a
    /// full table written in one go would only echo back and overrun the buffer.
    pub(crate) fn open(own_port: u32, receive_buffer: usize) -> Result<Monitor, FibError> {
        Monitor::listen(&GROUPS, &all_but(own_port), receive_buffer)
    }

    /// Listens to these groups, and to what the filter lets pass.
    pub(crate) fn listen(groups: &[u32], filter: &[SockFilter], receive_buffer: usize) -> Result<Monitor, FibError> {
        let fail = |what| move |source| FibError::Socket { what, source };
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE).map_err(fail("open"))?;
        socket.set_non_blocking(true).map_err(fail("make it non-blocking"))?;
        SockRef::from(&socket).attach_filter(filter).map_err(fail("attach a filter"))?;
        setsockopt(&socket, RcvBufForce, &receive_buffer)
            .map_err(|errno| FibError::Socket { what: "size the receive buffer", source: errno.into() })?;
        socket.bind(&SocketAddr::new(0, 0)).map_err(fail("bind"))?;
        for group in groups {
            socket.add_membership(*group).map_err(fail("join a group"))?;
        }
        // SAFETY: `AsyncFd` owns the socket, which closes its file only when dropped and offers no way to exchange it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| fail("watch")(error.into()))?;
        Ok(Monitor { socket: Arc::new(socket), buffer: Vec::with_capacity(DATAGRAM) })
    }

    /// Waits until there is something to hear. May be dropped at any time without losing anything.
    pub(crate) async fn ready(&self) {
        ready(&self.socket).await;
    }

    /// For one who waits while another may listen.
    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.socket))
    }

    /// Everything announced so far, at most a few thousand messages; also what the runtime has not noticed yet.
    pub(crate) fn hear(&mut self) -> Vec<Notice> {
        let mut heard = Vec::new();
        for _ in 0..BURST {
            self.buffer.clear();
            let Some(received) = receive(&self.socket, &mut self.buffer) else { break };
            match received {
                Ok(_) => {
                    for answer in messages(&self.buffer) {
                        if matches!(answer.kind, RTM_NEWNEXTHOP | RTM_DELNEXTHOP) {
                            let port = answer.port;
                            heard
                                .extend(next_hops::read(&answer).map(|object| Notice::NextHop { id: object.id, port }));
                            continue;
                        }
                        if answer.kind == RTM_NEWNETCONF {
                            heard.extend(reverse_path(answer.payload).map(|link| Notice::ReversePath { link }));
                            continue;
                        }
                        match parse(&answer) {
                            Ok(message) => {
                                heard.push(Notice::Message { message, flags: answer.flags, port: answer.port });
                            }
                            Err(why) => tracing::debug!(%why, "left out a netlink notification"),
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        tracing::warn!(%error, "cannot listen to the kernel; its state is read again");
                    }
                    heard.push(Notice::Lost);
                }
            }
        }
        heard
    }
}

/// The device of RTM_NEWNETCONF, if it is about reverse paths.
fn reverse_path(payload: &[u8]) -> Option<u32> {
    let (mut link, mut said) = (None, false);
    for attribute in NlasIterator::new(payload.get(NETCONF..)?) {
        let attribute: NlaBuffer<&[u8]> = attribute.ok()?;
        match attribute.kind() {
            NETCONFA_IFINDEX => link = Some(u32::from_ne_bytes(attribute.value().try_into().ok()?)),
            NETCONFA_RP_FILTER => said = true,
            _ => {}
        }
    }
    link.filter(|_| said)
}

/// One datagram; `None`: there is none, and the runtime is told to wait for the next.
fn receive(socket: &AsyncFd<netlink_sys::Socket>, buffer: &mut Vec<u8>) -> Option<io::Result<usize>> {
    use futures_util::FutureExt;
    match socket.get_ref().recv(buffer, libc::MSG_DONTWAIT) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        received => return Some(received),
    }
    let mut guard = socket.readable().now_or_never()?.ok()?;
    guard.try_io(|socket| socket.get_ref().recv(buffer, libc::MSG_DONTWAIT)).ok()
}

/// Classic BPF: drops a message whose `nlmsg_pid` (octets 12 to 15 of its header) is `port`. BPF loads words in
/// network order, the header has the host's.
pub(crate) fn all_but(port: u32) -> [SockFilter; 4] {
    let port = u32::from_be_bytes(port.to_ne_bytes());
    let code = |bits: u32| bits as u16;
    [
        SockFilter::new(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, 12),
        SockFilter::new(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), 0, 1, port),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, 0),
        SockFilter::new(code(libc::BPF_RET | libc::BPF_K), 0, 0, u32::MAX),
    ]
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_waits_when_the_runtime_ends_waits_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let monitor = runtime.block_on(async { Monitor::open(0, 1 << 16).unwrap() });
        drop(runtime);
        assert!(monitor.ready().now_or_never().is_none());
        assert!(monitor.bell().ready().now_or_never().is_none());
    }
}
