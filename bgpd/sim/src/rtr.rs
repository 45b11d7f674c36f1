//! Nodes and their RPKI caches: one for each node that validates, over a stream of bytes that may end at any moment.

use std::time::Duration;

use bgp_proto::rtr::{CacheId, Caches, Client, ClientConfig, Output};
use bgp_proto::time::Instant;
use bytes::Bytes;

use crate::cache::Cache;
use crate::network::{Event, Network};
use crate::topology::NodeId;

/// From a node to its cache, and back.
const DELAY: Duration = Duration::from_millis(7);
/// Of one connection; the next has the next number.
type Connection = u64;
/// Octets of a query's header, behind which its length is known.
const HEADER: usize = 8;

/// What travels between a node and its cache.
#[derive(Debug)]
pub(crate) enum Item {
    Open,
    Accepted,
    Query(Bytes),
    Answer(Bytes),
    /// The cache has closed.
    Closed,
}

/// A node's cache and its end of it.
#[derive(Debug, Default)]
pub(crate) struct Rpki {
    /// The cache; `None`: it does not run.
    pub(crate) cache: Option<Cache>,
    /// How often it was started.
    starts: u16,
    router: Option<Router>,
    connection: Connection,
    /// Both sides know of the connection.
    connected: bool,
    /// What the cache has of a query that is not whole.
    query: Vec<u8>,
    /// The version of the last answer.
    version: u8,
}

/// The node's end; it dies with the process.
#[derive(Debug)]
struct Router {
    client: Client,
    caches: Caches,
    wake: Option<Instant>,
}

/// There is one.
const CACHE: CacheId = CacheId(0);

impl Network {
    /// A node's cache starts, with another session than before and maybe with nothing to say yet, or stops.
    pub fn run_cache(&mut self, node: NodeId, running: bool, has_data: bool) {
        let Some(spec) = self.topology.node(node).cache else { return };
        let data = self.topology.node(node).vrps.clone().filter(|_| has_data);
        let rpki = &mut self.nodes[node.index()].rpki;
        if running == rpki.cache.is_some() {
            return;
        }
        rpki.starts += 1;
        rpki.cache = running.then(|| Cache::new(spec, rpki.starts, data));
        self.topology.nodes[node.index()].cache_gone = !running;
        self.note(format_args!("the cache of {node} {}", if running { "starts" } else { "stops" }));
        self.cut_cache(node);
        self.settle();
    }

    /// The connection between a node and its cache ends.
    pub fn cut_cache(&mut self, node: NodeId) {
        let rpki = &mut self.nodes[node.index()].rpki;
        let connection = rpki.connection;
        if std::mem::take(&mut rpki.connected) {
            self.note(format_args!("{node} is cut off from its cache"));
            self.put_rtr(node, connection, Item::Closed);
        }
    }

    /// A cache can no longer say what has changed since when.
    pub fn cache_forgets(&mut self, node: NodeId) {
        if let Some(cache) = &mut self.nodes[node.index()].rpki.cache {
            cache.forget();
        }
    }

    /// A cache has what is true.
    pub(crate) fn publish(&mut self, node: NodeId) {
        let data = self.topology.node(node).vrps.clone().unwrap_or_default();
        let Rpki { cache, connection, connected, version, .. } = &mut self.nodes[node.index()].rpki;
        let Some(cache) = cache else { return };
        cache.publish(data);
        let news = cache.news(*version);
        if *connected && !news.is_empty() {
            let connection = *connection;
            self.put_rtr(node, connection, Item::Answer(news.into()));
        }
    }

    /// A cache that had nothing to say has something now.
    pub fn fill_cache(&mut self, node: NodeId) {
        if self.nodes[node.index()].rpki.cache.as_ref().is_some_and(|cache| !cache.has_data()) {
            self.publish(node);
        }
    }

    /// What counts for a node now; `None`: it does not validate.
    #[must_use]
    pub fn known_vrps(&self, node: NodeId) -> Option<usize> {
        Some(self.nodes[node.index()].rpki.router.as_ref()?.client.len())
    }

    /// A process starts: it knows of its cache, and of nothing that that has.
    pub(crate) fn start_rtr(&mut self, node: NodeId) {
        let spec = self.topology.node(node);
        let (Some(cache), Some(_)) = (spec.cache, &spec.vrps) else { return };
        let expire = cache.expire.map(|seconds| Duration::from_secs(seconds.into()));
        // One of version 0 cannot say how often it is to be asked, and an hour would be the longest of all waits.
        let [refresh, ..] = cache.intervals;
        let refresh = (cache.old && expire.is_none()).then(|| Duration::from_secs(refresh.into()));
        let config = ClientConfig { refresh, retry: None, expire, max_vrps: 1000 };
        let mut caches = Caches::default();
        let _ = caches.set(CACHE, 0);
        let client = Client::new(config, self.now);
        self.nodes[node.index()].rpki.router = Some(Router { client, caches, wake: None });
        self.follow_rtr(node);
    }

    pub(crate) fn stop_rtr(&mut self, node: NodeId) {
        let rpki = &mut self.nodes[node.index()].rpki;
        rpki.router = None;
        rpki.connected = false;
        rpki.connection += 1;
    }

    fn put_rtr(&mut self, node: NodeId, connection: Connection, item: Item) {
        self.schedule(self.now + DELAY, Event::Rtr(node, connection, item));
    }

    /// Does what a client asks for.
    fn follow_rtr(&mut self, node: NodeId) {
        loop {
            let rpki = &mut self.nodes[node.index()].rpki;
            let Some(router) = &mut rpki.router else { return };
            let Some(output) = router.client.poll() else { break };
            match output {
                Output::Connect => {
                    rpki.connection += 1;
                    rpki.query.clear();
                    let connection = rpki.connection;
                    self.put_rtr(node, connection, Item::Open);
                }
                Output::Send(bytes) => {
                    let connection = rpki.connection;
                    self.put_rtr(node, connection, Item::Query(bytes));
                }
                Output::Close => {
                    rpki.connected = false;
                    rpki.connection += 1;
                }
                Output::Data(data) => {
                    let count = data.as_ref().map(|data| data.len());
                    let changes = router.caches.update(CACHE, data);
                    self.note(format_args!("{node} validates by {count:?}: {changes:?}"));
                    self.tell(node, |speaker, now| speaker.change_vrps(&changes, now));
                }
            }
        }
        let Some(router) = &mut self.nodes[node.index()].rpki.router else { return };
        let Some(due) = router.client.poll_timeout() else { return };
        if router.wake.is_none_or(|wake| due < wake) {
            router.wake = Some(due);
            self.schedule(due, Event::WakeRtr(node));
        }
    }

    pub(crate) fn wake_rtr(&mut self, node: NodeId) {
        let now = self.now;
        let Some(router) = &mut self.nodes[node.index()].rpki.router else { return };
        if router.wake.is_none_or(|wake| wake > now) {
            return;
        }
        router.wake = None;
        if router.client.poll_timeout().is_some_and(|due| due <= now) {
            router.client.handle_timeout(now);
        }
        self.follow_rtr(node);
    }

    pub(crate) fn take_rtr(&mut self, node: NodeId, connection: Connection, item: Item) {
        let now = self.now;
        let rpki = &mut self.nodes[node.index()].rpki;
        if connection != rpki.connection {
            return;
        }
        match item {
            Item::Open => {
                let answer = if rpki.cache.is_some() { Item::Accepted } else { Item::Closed };
                self.put_rtr(node, connection, answer);
            }
            Item::Query(bytes) => self.ask_cache(node, connection, &bytes),
            Item::Accepted => {
                rpki.connected = true;
                self.tell_client(node, |client| client.handle_connected(now));
            }
            Item::Closed => {
                rpki.connected = false;
                rpki.connection += 1;
                self.tell_client(node, |client| client.handle_closed(now, "closed by the cache".to_owned()));
            }
            Item::Answer(mut bytes) => {
                // In pieces that know nothing of PDUs.
                while !bytes.is_empty() && self.nodes[node.index()].rpki.connection == connection {
                    let octets = 1 + self.chance.below(bytes.len());
                    let piece = bytes.split_to(octets);
                    self.tell_client(node, |client| client.handle_bytes(now, &piece));
                }
            }
        }
    }

    fn tell_client(&mut self, node: NodeId, what: impl FnOnce(&mut Client)) {
        if let Some(router) = &mut self.nodes[node.index()].rpki.router {
            what(&mut router.client);
        }
        self.follow_rtr(node);
    }

    fn ask_cache(&mut self, node: NodeId, connection: Connection, bytes: &[u8]) {
        let rpki = &mut self.nodes[node.index()].rpki;
        let Some(cache) = &rpki.cache else { return };
        rpki.query.extend_from_slice(bytes);
        let mut answers = Vec::new();
        while let Some(header) = rpki.query.first_chunk::<HEADER>() {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
            if length < HEADER || rpki.query.len() < length {
                break;
            }
            let query: Vec<u8> = rpki.query.drain(..length).collect();
            match cache.answer(&query) {
                Some((version, answer)) => {
                    rpki.version = version;
                    answers.push(Item::Answer(answer.into()));
                }
                None => answers.push(Item::Closed),
            }
        }
        answers.into_iter().for_each(|answer| self.put_rtr(node, connection, answer));
    }

    /// Somebody still has to hear what its cache has, or to give up on it.
    pub(crate) fn caches_wait(&self) -> bool {
        let waits = |rpki: &Rpki| {
            let Some(router) = &rpki.router else { return false };
            match &rpki.cache {
                Some(cache) => router.client.serial() != cache.serial(),
                None => !router.client.is_empty(),
            }
        };
        self.nodes.iter().any(|node| waits(&node.rpki))
    }

    /// At rest, everybody validates by what its cache has, or by nothing if that has been away for too long.
    ///
    /// # Errors
    /// Who does not.
    pub(crate) fn caches_are_followed(&self) -> Result<(), String> {
        for node in self.running() {
            let Rpki { router, .. } = &self.nodes[node.index()].rpki;
            let Some(router) = router else { continue };
            let wanted = self.topology.node(node).counting_vrps().count();
            if router.client.len() != wanted {
                let (held, error) = (router.client.len(), router.client.last_error());
                return Err(format!(
                    "{node} validates by {held} VRPs where its cache has {wanted}; last error: {error:?}"
                ));
            }
        }
        Ok(())
    }
}
