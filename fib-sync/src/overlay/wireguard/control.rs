//! Speaks to the kernel about what makes a WireGuard device one: its key, its port and its peers.

use super::{
    PrivateKey, PublicKey,
    keys::wipe,
    wire::{self, FoundDevice, PeerChange},
};
use crate::{
    FibError,
    netlink::{Message, Refusal, Socket},
};

/// Octets of peers in one message: an attribute's length has 16 bits.
const MESSAGE: usize = 30 << 10;

/// Generic netlink, and the number that its family `wireguard` has for as long as the module is loaded.
#[derive(Debug)]
pub(crate) struct Control {
    socket: Socket,
    family: Option<u16>,
}

impl Control {
    /// In the network namespace of the calling thread.
    pub(crate) fn open() -> Result<Control, FibError> {
        Ok(Control { socket: Socket::open_generic()?, family: None })
    }

    /// Known once the kernel has made the first such device: that loads the module.
    fn family(&mut self) -> Result<u16, FibError> {
        if let Some(family) = self.family {
            return Ok(family);
        }
        let found = self.socket.dump_octets(&wire::families(), wire::family)?.pop();
        self.family = found;
        found.ok_or(FibError::NoWireGuard)
    }

    /// The device with all of its peers.
    pub(crate) fn read(&mut self) -> Result<FoundDevice, FibError> {
        let question = wire::question(self.family()?);
        let parts = self.socket.dump_octets(&question, wire::read);
        self.socket.wipe();
        let mut device = FoundDevice::default();
        for part in parts? {
            // A peer with many prefixes goes on in the next message.
            for peer in part.peers {
                match device.peers.last_mut().filter(|last| last.key == peer.key) {
                    Some(last) => last.allowed.extend(peer.allowed),
                    None => device.peers.push(peer),
                }
            }
            device.private = part.private.or(device.private);
            device.public = part.public.or(device.public);
            device.port = part.port.max(device.port);
            device.mark |= part.mark;
        }
        Ok(device)
    }

    /// Gives the device its key and port, where it has others. Returns the public key, which the kernel works out.
    pub(crate) fn identify(&mut self, key: &PrivateKey, port: u16) -> Result<PublicKey, FibError> {
        let device = self.read()?;
        if !device.is(key, port) {
            let mut message = wire::identity(self.family()?, key, port);
            let verdict = self.socket.attempt(&message, 0);
            wipe(&mut message.payload);
            verdict?.map_err(|refusal| FibError::Kernel {
                what: format!(
                    "give device {} its key and UDP port {port}, without which there is no overlay; if something else has \
                     the port, set overlay.port to another on all nodes",
                    super::super::WIREGUARD_DEVICE
                ),
                source: refusal.error(),
                message: refusal.message,
            })?;
        }
        let public = self.read()?.public;
        public.ok_or_else(|| FibError::Lost("the WireGuard device has no public key".into()))
    }

    /// Changes peers, in this order and as few messages as can be. Returns what the kernel refused, by number.
    pub(crate) fn change(&mut self, changes: &[PeerChange]) -> Result<Vec<(usize, Refusal)>, FibError> {
        let family = self.family()?;
        let mut refused = Vec::new();
        let mut first = 0;
        while first < changes.len() {
            let mut octets = 0;
            let fits = |change: &&PeerChange| {
                octets += change.octets();
                octets <= MESSAGE
            };
            let count = changes[first..].iter().take_while(fits).count().max(1);
            let part = &changes[first..first + count];
            if let Err(refusal) = self.attempt(&wire::changes(family, part))? {
                if count == 1 {
                    refused.push((first, refusal));
                } else {
                    // The kernel stops at the first that it refuses, and what it did before may be done again.
                    for (number, change) in part.iter().enumerate() {
                        let verdict = self.attempt(&wire::changes(family, std::slice::from_ref(change)))?;
                        refused.extend(verdict.err().map(|refusal| (first + number, refusal)));
                    }
                }
            }
            first += count;
        }
        Ok(refused)
    }

    fn attempt(&mut self, message: &Message) -> Result<Result<(), Refusal>, FibError> {
        self.socket.attempt(message, 0)
    }
}
