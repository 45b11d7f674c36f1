//! What is different for a peer that is found on an interface: where it is, and what becomes of it when the link goes.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use tokio::net::TcpStream;

use super::{Connecting, Peer};
use crate::connection;
use crate::link::{Happening, Link, News};

impl Peer {
    /// The peer's address for a person: `192.0.2.1`, `fe80::1%eth0`; of one that is not found yet, where it is looked for.
    pub(super) fn remote(&self) -> String {
        match self.config.interface {
            None => self.config.address.to_string(),
            Some(interface) if self.config.address.is_unspecified() => interface.to_string(),
            Some(interface) => format!("{}%{interface}", self.config.address),
        }
    }

    pub(super) fn connect(&self) -> Connecting {
        if let (Some(link), true) = (&self.link, self.config.address.is_unspecified()) {
            let reason = link.status(self.clock.now());
            return Box::pin(std::future::ready(Err(io::Error::other(reason))));
        }
        Box::pin(connection::connect(self.config.clone(), self.scope))
    }

    /// Whether a connection is the neighbour's, which it makes known if there was none. A numbered peer's is: the roster has
    /// looked at its address.
    pub(super) fn is_from_neighbour(&mut self, stream: &TcpStream) -> bool {
        let Some(link) = &mut self.link else { return true };
        let admitted = match stream.peer_addr().map(|remote| remote.ip()) {
            Ok(IpAddr::V6(source)) => link.admits(self.clock.now(), source),
            Ok(IpAddr::V4(_)) | Err(_) => false,
        };
        self.follow_link();
        if !admitted {
            tracing::debug!(peer = self.config.name, "closed a connection that is not the neighbour's");
        }
        admitted
    }

    /// Takes in where the neighbour is now.
    pub(super) fn follow_link(&mut self) {
        while let Some(news) = self.link.as_mut().and_then(Link::poll) {
            match news {
                News::Found(address) => self.find(address),
                News::Lost(reason) => {
                    tracing::info!(peer = self.config.name, reason, "the neighbour is lost");
                    self.config.address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
                    self.whereabouts.tell(None);
                    self.hear_of_aside();
                    (self.connecting, self.outgoing, self.incoming) = (None, None, None);
                    self.session.handle_lost(self.clock.now(), &reason);
                }
            }
        }
    }

    /// The neighbour has this address now.
    fn find(&mut self, address: SocketAddrV6) {
        self.config.address = IpAddr::V6(*address.ip());
        self.scope = address.scope_id();
        self.whereabouts.tell(Some(address));
        tracing::info!(peer = self.config.name, address = self.remote(), "the neighbour is found");
        self.session.handle_found(self.clock.now());
        // What it closes are connections to where the neighbour was, and not one that follows.
        self.drain();
    }
}

pub(super) async fn happening(link: Option<&Link>) -> Happening {
    match link {
        Some(link) => link.happening().await,
        None => std::future::pending().await,
    }
}
