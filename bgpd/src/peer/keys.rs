//! The keys that sign a peer's segments, on the connections that it has.

use std::io;

use bgp_proto::session::Stop;
use bgp_proto::wire::Notification;
use bgp_proto::wire::notification::Cease;
use tokio::net::TcpStream;

use super::Peer;
use crate::authentication::Authentication;
use crate::socket_options::{self, KeyScope};
use crate::tcp_ao::{self, InUse};

impl Peer {
    /// Changes the keys of the running connections (RFC 2385 says nothing against it, and Linux takes it; RFC 5925 section
    /// 6.1). One that keeps a key of TCP-AO that it is not to trust any more is ended.
    pub(super) fn change_keys(&mut self, before: Option<&Authentication>) {
        let connections = [&self.outgoing, &self.incoming].into_iter().flatten();
        let changes = connections.map(|connection| self.change_keys_of(connection.socket(), before));
        let Some(error) = changes.filter_map(Result::err).last() else { return };
        let what = match &self.config.authentication {
            Some(Authentication::TcpAo(_)) => "the session is reset, and the next one has the new keys",
            _ => "the session will end with the hold timer, and the next one has the new key",
        };
        tracing::warn!(peer = self.config.name, %error, "cannot change the keys of the running connection; {what}");
        if self.config.authentication.as_ref().is_some_and(|it| it.tcp_ao().is_some()) {
            let cease = Notification::cease(Cease::OtherConfigurationChange);
            self.end_session(Stop::Reset(cease));
        }
    }

    pub(super) fn change_keys_of(&self, socket: &TcpStream, before: Option<&Authentication>) -> io::Result<()> {
        let scope = KeyScope::Address(self.config.address);
        match (before, &self.config.authentication) {
            (before, new) if before == new.as_ref() => Ok(()),
            (Some(Authentication::TcpAo(before)), Some(Authentication::TcpAo(new))) => {
                tcp_ao::change(socket, self.key_scope(), before, new)
            }
            // The roster resets the session of a peer that gets TCP-AO, or loses it.
            (Some(Authentication::TcpAo(_)), _) | (_, Some(Authentication::TcpAo(_))) => {
                Err(io::Error::other("a connection is signed by TCP-AO from its first segment on or not at all"))
            }
            (_, Some(Authentication::Md5(secret))) => socket_options::set_md5_key(socket, scope, Some(secret)),
            (_, None) => socket_options::set_md5_key(socket, scope, None),
        }
    }

    /// Whom the TCP-AO keys of a connection are for: those of one that was accepted are the listening socket's.
    pub(super) fn key_scope(&self) -> KeyScope {
        self.dynamic.map_or(KeyScope::Address(self.config.address), KeyScope::Prefix)
    }

    /// Of the connection that has the session.
    pub(super) fn tcp_ao_in_use(&self) -> Option<InUse> {
        self.config.authentication.as_ref()?.tcp_ao()?;
        let carrier = self.session.established()?.direction;
        tcp_ao::in_use(self.connection(carrier)?.socket()).ok()
    }
}
