//! The keys of a listening socket: what its peers want, what the kernel has taken, and who must not be let in because the
//! two differ.
//!
//! A socket without a key for an address accepts what is not signed from there. So a peer whose key the kernel has not
//! taken is one whose connections are refused (see [`KeyRing::fault`]): they could be anybody's.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;

use crate::authentication::Authentication;
use crate::socket_options::{self, KeyScope};
use crate::tcp_ao;

/// Who signs with what.
pub(crate) type Keys = HashMap<KeyScope, Authentication>;

/// What is wrong with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `the TCP MD5 key cannot be set`
    what: String,
    /// As the kernel says.
    pub(crate) cause: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)
    }
}

/// The keys of one socket.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    taken: Keys,
    faults: HashMap<KeyScope, Fault>,
}

impl KeyRing {
    /// Gives the socket those keys and no others. What fails is told in the log and tried again with the next call.
    pub(crate) fn settle(&mut self, socket: &impl AsFd, wanted: &Keys) {
        let mut faults = HashMap::new();
        // Keys of one kind are in the way of those of the other kind, under the same address or a prefix around it.
        let stays = |scope, key: &Authentication| {
            wanted.get(scope).is_some_and(|new| new.tcp_ao().is_some() == key.tcp_ao().is_some())
        };
        let unwanted: Vec<KeyScope> =
            self.taken.iter().filter(|(scope, key)| !stays(scope, key)).map(|(scope, _)| *scope).collect();
        for scope in unwanted {
            if let Err(error) = self.clear(socket, scope) {
                let what = "the old key cannot be taken away".to_owned();
                faults.insert(scope, Fault { what, cause: error.to_string() });
            }
        }
        for (scope, key) in wanted {
            if self.taken.get(scope) == Some(key) || faults.contains_key(scope) {
                continue;
            }
            if let Err(error) = self.set(socket, *scope, key) {
                let what = if key.tcp_ao().is_some() { "TCP-AO keys" } else { "TCP MD5 key" };
                faults.insert(*scope, Fault { what: format!("the {what} cannot be set"), cause: error.to_string() });
            }
        }
        for (scope, fault) in faults.iter().filter(|(scope, fault)| self.faults.get(scope) != Some(fault)) {
            tracing::error!(
                peers = %scope,
                %fault,
                "connections from there are refused; the kernel must have what the key needs (CONFIG_TCP_MD5SIG, CONFIG_TCP_AO), and room for it (net.core.optmem_max)"
            );
        }
        self.faults = faults;
    }

    fn set(&mut self, socket: &impl AsFd, scope: KeyScope, key: &Authentication) -> io::Result<()> {
        match key {
            Authentication::Md5(secret) => socket_options::set_md5_key(socket, scope, Some(secret))?,
            Authentication::TcpAo(keys) => {
                let before = self.taken.get(&scope).and_then(Authentication::tcp_ao);
                if let Err(error) = tcp_ao::set_listener_keys(socket, scope, before, keys) {
                    // Some of them may be there. The next attempt begins with none.
                    let _ = tcp_ao::clear_listener_keys(socket, scope, keys);
                    let _ = self.clear(socket, scope);
                    return Err(error);
                }
            }
        }
        self.taken.insert(scope, key.clone());
        Ok(())
    }

    fn clear(&mut self, socket: &impl AsFd, scope: KeyScope) -> io::Result<()> {
        match self.taken.get(&scope) {
            Some(Authentication::Md5(_)) => socket_options::set_md5_key(socket, scope, None)?,
            Some(Authentication::TcpAo(keys)) => tcp_ao::clear_listener_keys(socket, scope, keys)?,
            None => {}
        }
        self.taken.remove(&scope);
        Ok(())
    }

    /// Why connections from there must be refused.
    pub(crate) fn fault(&self, scope: KeyScope) -> Option<&Fault> {
        self.faults.get(&scope)
    }
}
