//! The keys of a listening socket: what its peers want, what the kernel has taken, and who must not be let in because the
//! two differ.
//!
//! A socket without a key for an address accepts what is not signed from there. So a peer whose key the kernel has not
//! taken is one whose connections are refused (see [`KeyRing::fault`]): they could be anybody's.

use std::collections::HashMap;
use std::os::fd::AsFd;

use crate::config::Password;
use crate::socket_options::{self, KeyScope};

/// Who signs with what.
pub(crate) type Keys = HashMap<KeyScope, Password>;

/// The keys of one socket.
#[derive(Debug, Default)]
pub(crate) struct KeyRing {
    taken: Keys,
    faults: HashMap<KeyScope, String>,
}

impl KeyRing {
    /// Gives the socket those keys and no others. What fails is told in the log and tried again with the next call.
    pub(crate) fn settle(&mut self, socket: &impl AsFd, wanted: &Keys) {
        let mut faults = HashMap::new();
        let unwanted: Vec<KeyScope> = self.taken.keys().filter(|scope| !wanted.contains_key(scope)).copied().collect();
        for scope in unwanted {
            match socket_options::set_md5_key(socket, scope, None) {
                Ok(()) => drop(self.taken.remove(&scope)),
                Err(error) => {
                    faults.insert(scope, format!("the old TCP MD5 key cannot be taken away: {error}"));
                }
            }
        }
        for (scope, key) in wanted {
            if self.taken.get(scope) == Some(key) {
                continue;
            }
            match socket_options::set_md5_key(socket, *scope, Some(key)) {
                Ok(()) => drop(self.taken.insert(*scope, key.clone())),
                Err(error) => {
                    faults.insert(*scope, format!("the TCP MD5 key cannot be set: {error}"));
                }
            }
        }
        for (scope, fault) in faults.iter().filter(|(scope, fault)| self.faults.get(scope) != Some(fault)) {
            tracing::error!(
                peers = %scope,
                fault,
                "connections from there are refused; the kernel must have what the key needs (CONFIG_TCP_MD5SIG), and room for it (net.core.optmem_max)"
            );
        }
        self.faults = faults;
    }

    /// Why connections from there must be refused.
    pub(crate) fn fault(&self, scope: KeyScope) -> Option<&str> {
        self.faults.get(&scope).map(String::as_str)
    }
}
