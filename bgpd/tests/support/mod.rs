//! What the tests of the shell share: speakers on loopback addresses of their own, waits with deadlines, and a peer made
//! of bytes.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bgp_proto::rib::BestPath;
use bgp_proto::session::{RemoteAs, State};
use bgp_proto::types::{Asn, Family, FamilySet, HoldTime, NextHop, Prefix, RouterId};
use bgp_proto::wire::UpdateContext;
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgpd::{Bgp, Config, Event, PeerConfig, PeerStatus};
use tokio::sync::mpsc;

/// The AS of everybody who is not told another.
pub const ASN: Asn = Asn(64512);
/// How long anything may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What is agreed on with a peer that a test plays itself.
pub fn context() -> UpdateContext {
    UpdateContext { families: FamilySet::from_iter([Family::Ipv4Unicast]), ..UpdateContext::PLAIN }
}

/// An address of 127.0.0.0/8 that no other test of this run has.
pub fn address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(2);
    // The upper half, so that nobody's 127.0.0.1 or 127.0.1.1 is met; by process, because test binaries run side by side.
    let block = 0x7f80_0000 + (std::process::id() % 0x4000) * 0x100;
    Ipv4Addr::from(block + NEXT.fetch_add(1, Ordering::Relaxed) % 0x100)
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// The prefix 10.x.y.z/32 with this number.
pub fn numbered(number: u32) -> Prefix {
    Prefix::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number)), 32).unwrap()
}

/// What a route needs that another speaker accepts: a next hop that is not a loopback address.
pub fn attributes(med: Option<u32>) -> Attributes {
    let next_hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 1));
    Attributes { med, ..Attributes::new(Origin::Igp, AsPath::default(), next_hop) }
}

/// Polls until `condition` gives something; on the deadline, says what was awaited and what `state` says.
pub async fn wait_for<T, F: Future<Output = Result<T, String>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(state) if Instant::now() > end => panic!("waited in vain for: {what}\nlast seen: {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A running speaker with what it has told so far.
pub struct Speaker {
    pub bgp: Bgp,
    pub config: Config,
    pub address: Ipv4Addr,
    pub told: Arc<Mutex<Told>>,
    events: Option<mpsc::Receiver<Event>>,
}

/// What a speaker told.
#[derive(Debug, Default)]
pub struct Told {
    pub best: BTreeMap<Prefix, Vec<BestPath>>,
    pub converged: usize,
    pub sessions: Vec<Event>,
    /// How many best paths there were each time all was decided.
    pub decided: Vec<usize>,
    /// How a peer's end was told, in order.
    pub ending: Vec<Ending>,
}

/// One step of a peer's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// The session went down.
    Down,
    /// What the peer with this address announced is dropped.
    Dropped(IpAddr),
    /// There is no path any more to some prefixes: how many, told together or one after another.
    Gone(usize),
    /// All is decided.
    Decided,
}

impl Told {
    fn note_gone(&mut self, count: usize) {
        match self.ending.last_mut() {
            Some(Ending::Gone(before)) => *before += count,
            _ if count > 0 => self.ending.push(Ending::Gone(count)),
            _ => {}
        }
    }
}

impl Speaker {
    /// A speaker on an address of its own that listens on a port of the kernel's choice. It hears what it is told.
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut speaker = Self::start_deaf(change).await;
        speaker.hear();
        speaker
    }

    /// A speaker whose owner takes no events until [`Speaker::hear`].
    pub async fn start_deaf(change: impl FnOnce(&mut Config)) -> Self {
        let address = address();
        let mut config = Config::new(ASN, RouterId(address));
        config.listen = vec![SocketAddr::new(IpAddr::V4(address), 0)];
        config.hold_time = HoldTime::from_seconds(9).unwrap();
        config.graceful_restart = None;
        change(&mut config);
        let (bgp, events) = Bgp::start(config.clone(), false).await.unwrap();
        Self { bgp, config, address, told: Arc::default(), events: Some(events) }
    }

    /// Takes events from now on.
    pub fn hear(&mut self) {
        let Some(mut events) = self.events.take() else { return };
        let told = Arc::clone(&self.told);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let mut told = told.lock().unwrap();
                match event {
                    Event::Best(changes) => {
                        let gone = changes.iter().filter(|change| change.paths.is_empty()).count();
                        told.note_gone(gone);
                        for change in changes {
                            if change.paths.is_empty() {
                                told.best.remove(&change.prefix);
                            } else {
                                told.best.insert(change.prefix, change.paths);
                            }
                        }
                    }
                    Event::Converged(_) => told.converged += 1,
                    Event::Dropped { next_hop, .. } => told.ending.push(Ending::Dropped(next_hop)),
                    Event::Decided => {
                        told.ending.push(Ending::Decided);
                        let left = told.best.len();
                        told.decided.push(left);
                    }
                    Event::Up { .. } => told.sessions.push(event),
                    Event::Down { .. } => {
                        told.ending.push(Ending::Down);
                        told.sessions.push(event);
                    }
                }
            }
        });
    }

    pub async fn port(&self) -> u16 {
        self.bgp.listening().await[0].port()
    }

    /// How another speaker on `from` reaches this one.
    pub async fn as_peer(&self, name: &str, from: Ipv4Addr) -> PeerConfig {
        let mut peer = PeerConfig::new(name, IpAddr::V4(self.address), RemoteAs::Internal, ASN);
        peer.port = self.port().await;
        peer.local_address = Some(IpAddr::V4(from));
        peer.connect_retry = Duration::from_secs(1);
        peer
    }

    /// Changes the configuration, and keeps it.
    pub async fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) -> Vec<String> {
        change(&mut self.config);
        self.bgp.reconfigure(self.config.clone()).await
    }

    pub async fn peer(&self, name: &str) -> Option<PeerStatus> {
        self.bgp.peers().await.into_iter().find(|peer| peer.config.name == name)
    }

    /// Waits until a peer's status is as `wanted`.
    pub async fn wait_peer(&self, name: &str, what: &str, wanted: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
        wait_for(&format!("{name}: {what}"), || async {
            match self.peer(name).await {
                Some(peer) if wanted(&peer) => Ok(peer),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    pub async fn wait_established(&self, name: &str) -> PeerStatus {
        self.wait_peer(name, "Established", |peer| peer.state == State::Established).await
    }

    /// Waits until the best paths that its owner was told of are as `wanted`.
    pub async fn wait_best(&self, what: &str, wanted: impl Fn(&BTreeMap<Prefix, Vec<BestPath>>) -> bool) {
        wait_for(what, || async {
            let told = self.told.lock().unwrap();
            let few: Vec<_> = told.best.iter().take(5).collect();
            if wanted(&told.best) { Ok(()) } else { Err(format!("{} best paths, {few:?}", told.best.len())) }
        })
        .await;
    }

    pub async fn wait_prefix(&self, prefix: Prefix) {
        self.wait_best(&format!("a path to {prefix}"), |best| best.contains_key(&prefix)).await;
    }

    pub async fn wait_no_prefix(&self, prefix: Prefix) {
        self.wait_best(&format!("no path to {prefix}"), |best| !best.contains_key(&prefix)).await;
    }

    /// Waits until a peer's end has been told as far as `last`, and says all of it.
    pub async fn wait_ending(&self, last: Ending) -> Vec<Ending> {
        wait_for(&format!("{last:?}"), || async {
            let told = self.told.lock().unwrap();
            if told.ending.contains(&last) { Ok(told.ending.clone()) } else { Err(format!("{:?}", told.ending)) }
        })
        .await
    }

    pub async fn originate(&self, routes: impl IntoIterator<Item = (Prefix, Attributes)>) {
        self.bgp.originate(routes.into_iter().collect()).await;
    }
}

/// Two speakers: `left` knows `right` and waits for it; `right` knows `left` and connects to it. Both names are as here.
pub async fn pair(
    left: impl FnOnce(&mut Config, &mut PeerConfig),
    right: impl FnOnce(&mut Config, &mut PeerConfig),
) -> (Speaker, Speaker) {
    let right_address = address();
    let waiting = Speaker::start(|config| {
        let mut peer = PeerConfig::new("right", IpAddr::V4(right_address), RemoteAs::Internal, ASN);
        peer.passive = true;
        left(config, &mut peer);
        config.peers.push(peer);
    })
    .await;
    let mut peer = waiting.as_peer("left", right_address).await;
    let connecting = Speaker::start(|config| {
        config.listen.clear();
        config.router_id = RouterId(right_address);
        right(config, &mut peer);
        config.peers.push(peer);
    })
    .await;
    (waiting, connecting)
}
