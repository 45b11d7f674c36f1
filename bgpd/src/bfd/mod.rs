//! BFD at work: sockets, a clock and a thread around [`bgp_proto::bfd`].
//!
//! All of it runs on one thread of its own, with a higher priority than the rest of the process: a RIB that takes a table
//! in, or a runtime full of sessions, must not make a peer believe that we are gone. There is one receive task for each
//! socket, which takes a bounded number of datagrams at a time; what they say is handled on the spot, so that nothing
//! queues between them and the sessions. A change is told to the peer's task by a watch channel, which holds the newest
//! and cannot fill up.

mod complaints;
mod ear;
mod engine;
mod interfaces;
mod socket;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::bfd::{Cause, Discard, Hops, SessionConfig, Status, Target, Told};
use bgp_proto::types::Interface;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use ear::BfdEar;

use crate::clock::Clock;
use crate::config::{BfdHops, PeerConfig, Ttl};

/// By what a peer's task hears of its BFD session; the sending half is the roster's, and outlives sessions.
pub(crate) type Teller = Arc<watch::Sender<Told>>;

/// What the thread is told about one session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    session: SessionConfig,
    way: Way,
    local_address: Option<IpAddr>,
    /// An unnumbered peer's; the session's packets leave by no other.
    interface: Option<Interface>,
}

/// Which kind of session: over one hop or over many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Known(Hops),
    /// An internal peer may be anywhere: over one hop if it is on a link of ours, as FRR has it.
    ByLink,
}

impl Settings {
    /// What follows from a peer's configuration; `None` if it has no BFD.
    pub(crate) fn of(peer: &PeerConfig) -> Option<Self> {
        let bfd = peer.bfd?;
        let least_ttl = match peer.ttl {
            Ttl::Security { hops } => 255 - hops.clamp(1, 254) + 1,
            Ttl::Default | Ttl::Multihop { .. } => 1,
        };
        let way = match (bfd.hops, peer.ttl) {
            _ if peer.interface.is_some() => Way::Known(Hops::Single),
            (BfdHops::Single, _) => Way::Known(Hops::Single),
            (BfdHops::Multi, _) => Way::Known(Hops::Multi { least_ttl }),
            (BfdHops::Auto, Ttl::Security { hops: 0..=1 } | Ttl::Multihop { hops: 0..=1 }) => Way::Known(Hops::Single),
            (BfdHops::Auto, Ttl::Security { .. } | Ttl::Multihop { .. }) => Way::Known(Hops::Multi { least_ttl }),
            (BfdHops::Auto, Ttl::Default) if peer.is_internal() => Way::ByLink,
            (BfdHops::Auto, Ttl::Default) => Way::Known(Hops::Single),
        };
        Some(Self { session: bfd.session, way, local_address: peer.local_address, interface: peer.interface })
    }
}

/// One session for a person.
#[derive(Clone, Debug, PartialEq)]
pub struct BfdStatus {
    /// The peer's address.
    pub target: Target,
    /// The interface that an unnumbered peer was found on.
    pub interface: Option<Interface>,
    /// Over one hop or over many.
    pub hops: Hops,
    /// Where it stands.
    pub status: Status,
    /// What it was told.
    pub config: SessionConfig,
    /// Since when it is Up, or not.
    pub since: Duration,
    /// How it last left Up.
    pub last_down: Option<Cause>,
    /// Packets sent.
    pub sent: u64,
    /// Packets taken in.
    pub received: u64,
    /// Packets from the peer that were discarded.
    pub discarded: u64,
    /// Why the last of them was.
    pub last_discard: Option<Discard>,
    /// What keeps it from being heard or from sending, in the kernel's words.
    pub problem: Option<String>,
}

impl BfdStatus {
    /// The peer's address for a person: `192.0.2.1`, `fe80::1%eth0`.
    #[must_use]
    pub fn remote(&self) -> String {
        place(self.target, self.interface)
    }
}

/// All sessions, and what was discarded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BfdReport {
    /// By address.
    pub sessions: Vec<BfdStatus>,
    /// Discarded packets by reason, since the start.
    pub discards: Vec<(Discard, u64)>,
}

/// What the thread is asked.
pub(crate) enum Command {
    Set { target: Target, settings: Settings, teller: Teller },
    Remove(Target),
    Report(oneshot::Sender<BfdReport>),
    Stop(oneshot::Sender<()>),
}

/// The way to the thread, which starts when the first peer has BFD.
#[derive(Debug)]
pub(crate) struct Bfd {
    clock: Clock,
    commands: Option<mpsc::UnboundedSender<Command>>,
}

impl Bfd {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, commands: None }
    }

    /// The session with this peer, which is there (`None`: yet to be found), is as its configuration says: begun, changed
    /// in place, or gone.
    pub(crate) fn set(&mut self, target: Option<Target>, peer: &PeerConfig, enabled: bool, teller: &Teller) {
        let Some(target) = target else { return };
        match Settings::of(peer).filter(|_| enabled) {
            Some(settings) => self.tell(Command::Set { target, settings, teller: Arc::clone(teller) }),
            None => self.remove(Some(target)),
        }
    }

    /// The peer is no more, or not there any more.
    pub(crate) fn remove(&mut self, target: Option<Target>) {
        if let (Some(commands), Some(target)) = (&self.commands, target) {
            let _ = commands.send(Command::Remove(target));
        }
    }

    /// For whoever asks how sessions are; `None`: there were never any.
    pub(crate) fn asker(&self) -> Option<mpsc::UnboundedSender<Command>> {
        self.commands.clone()
    }

    /// All peers are told AdminDown, so that none takes our end for a failure of the path.
    pub(crate) async fn stop(&mut self) {
        let Some(commands) = self.commands.take() else { return };
        let (answer, stopped) = oneshot::channel();
        if commands.send(Command::Stop(answer)).is_ok() {
            let _ = stopped.await;
        }
    }

    fn tell(&mut self, command: Command) {
        let commands = match self.commands.take() {
            Some(commands) => commands,
            None => match self.start() {
                Ok(commands) => commands,
                Err(error) => {
                    tracing::error!(
                        %error,
                        "BFD's thread cannot start, so no peer has BFD, and a broken path is noticed by hold timers only; \
                         raise the limit of threads of this process, then reload"
                    );
                    return;
                }
            },
        };
        let _ = commands.send(command);
        self.commands = Some(commands);
    }

    fn start(&self) -> io::Result<mpsc::UnboundedSender<Command>> {
        let (commands, received) = mpsc::unbounded_channel();
        let clock = self.clock;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("bfd".to_owned()).spawn(move || {
            socket::prefer_this_thread();
            tokio::task::LocalSet::new().block_on(&runtime, engine::run(clock, received));
        })?;
        Ok(commands)
    }
}

/// Where a peer's session goes; `None` for an unnumbered one, which is yet to be found.
pub(crate) fn target(peer: &PeerConfig) -> Option<Target> {
    peer.interface.is_none().then_some(Target { address: peer.address, scope: 0 })
}

/// For a person.
fn place(target: Target, interface: Option<Interface>) -> String {
    match interface {
        None => target.address.to_string(),
        Some(interface) => format!("{}%{interface}", target.address),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bgp_proto::session::RemoteAs;
    use bgp_proto::types::Asn;

    use super::*;
    use crate::config::BfdConfig;

    #[test]
    fn the_kind_of_session_follows_from_the_bgp_session_unless_it_is_said() {
        let (single, any) = (Way::Known(Hops::Single), Way::Known(Hops::Multi { least_ttl: 1 }));
        let (internal, external) = (RemoteAs::Internal, RemoteAs::External);
        for (hops, remote_as, ttl, expected) in [
            (BfdHops::Auto, external, Ttl::Default, single),
            (BfdHops::Auto, internal, Ttl::Default, Way::ByLink),
            (BfdHops::Auto, internal, Ttl::Security { hops: 1 }, single),
            (BfdHops::Auto, external, Ttl::Security { hops: 3 }, Way::Known(Hops::Multi { least_ttl: 253 })),
            (BfdHops::Auto, external, Ttl::Multihop { hops: 2 }, any),
            (BfdHops::Auto, external, Ttl::Multihop { hops: 1 }, single),
            (BfdHops::Single, internal, Ttl::Default, single),
            (BfdHops::Multi, external, Ttl::Default, any),
        ] {
            let mut peer = PeerConfig::new("p", IpAddr::V4(Ipv4Addr::LOCALHOST), remote_as, Asn(1));
            peer.ttl = ttl;
            assert_eq!(Settings::of(&peer), None);
            peer.bfd = Some(BfdConfig { hops, ..BfdConfig::default() });
            assert_eq!(Settings::of(&peer).unwrap().way, expected, "{hops:?} {remote_as:?} {ttl:?}");
            peer.interface = Interface::new("eth0");
            assert_eq!(Settings::of(&peer).unwrap().way, single, "on a link, {hops:?} {remote_as:?} {ttl:?}");
        }
    }
}
