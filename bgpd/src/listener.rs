//! Listening sockets: each accepts, and hands on what it accepted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Interface;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::key_ring::{Fault, KeyRing, Keys};
use crate::link;
use crate::socket_options::{self, KeyScope};

/// Connections that the kernel holds for us; ten thousand strangers at once must not keep a peer out.
const BACKLOG: i32 = 4096;
/// How long to rest when the kernel has no descriptor for us.
const REST: Duration = Duration::from_millis(100);

/// A connection that somebody opened.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) remote: IpAddr,
    /// The interface that it came in by, of a link-local address.
    pub(crate) link: Option<Interface>,
    /// The [`Listener::configured`] of the socket that accepted it.
    pub(crate) listener: SocketAddr,
}

/// A listening socket; dropping it closes it.
#[derive(Debug)]
pub(crate) struct Listener {
    /// As configured: a port of 0 stays 0.
    pub(crate) configured: SocketAddr,
    /// As the kernel says.
    pub(crate) local: SocketAddr,
    socket: Arc<TcpListener>,
    keys: KeyRing,
    task: AbortHandle,
}

impl Listener {
    /// `keys`: of all peers.
    pub(crate) fn open(configured: SocketAddr, keys: &Keys, accepted: mpsc::Sender<Accepted>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(configured), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if configured.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket_options::prepare_listener(&socket, configured.is_ipv6())?;
        socket.bind(&configured.into())?;
        // Before it listens: whoever connects is asked for a signature from the first moment on.
        let mut ring = KeyRing::default();
        ring.settle(&socket, &of_family(keys, configured.is_ipv6()));
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(TcpListener::from_std(socket.into())?);
        let local = socket.local_addr()?;
        let task = tokio::spawn(accept(Arc::clone(&socket), configured, accepted)).abort_handle();
        Ok(Self { configured, local, socket, keys: ring, task })
    }

    /// Gives it the keys of all peers, and no others.
    pub(crate) fn settle_keys(&mut self, keys: &Keys) {
        self.keys.settle(&self.socket, &of_family(keys, self.local.is_ipv6()));
    }

    /// Why connections from there must be refused: see [`KeyRing::fault`].
    pub(crate) fn key_fault(&self, scope: KeyScope) -> Option<&Fault> {
        self.keys.fault(scope)
    }
}

fn of_family(keys: &Keys, ipv6: bool) -> Keys {
    keys.iter().filter(|(scope, _)| scope.is_ipv6() == ipv6).map(|(scope, key)| (*scope, key.clone())).collect()
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Two neighbours on two links may have the same link-local address; its scope tells them apart.
fn link_of(remote: SocketAddr) -> Option<Interface> {
    match remote {
        SocketAddr::V6(remote) if remote.ip().is_unicast_link_local() => link::interface_of(remote.scope_id()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => None,
    }
}

async fn accept(socket: Arc<TcpListener>, listener: SocketAddr, accepted: mpsc::Sender<Accepted>) {
    let mut failing = false;
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => {
                failing = false;
                let link = link_of(remote);
                let one = Accepted { stream, remote: remote.ip().to_canonical(), link, listener };
                if accepted.send(one).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections; peers wait, raise the limit of open files");
                }
                failing = true;
                tokio::time::sleep(REST).await;
            }
        }
    }
}
