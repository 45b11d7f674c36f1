//! Hostile input against a live speaker, which has a session with an honest peer all the time: that one is never touched.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bgp_proto::session::{RemoteAs, State};
use bgp_proto::types::{Asn, Family, HoldTime, RouterId};
use bgp_proto::wire::capability::Capability;
use bgp_proto::wire::frame::{MessageType, next_frame};
use bgp_proto::wire::{Message, Notification, Open, RouteRefresh};
use bgpd::{DynamicPeerConfig, LimitAction, PeerConfig, PeerStatus, PrefixLimit};
use bytes::BytesMut;
use support::{ASN, Speaker, attributes, context, numbered, prefix, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What the process may grow by at any moment of an attack, with everything that other tests of this file do at the same time. By
/// docs/performance.md, what is on its way to a RIB takes 2.5 MiB at most and a peer that does not read one and a bit; a table of
/// 20,000 routes takes 5, and what the allocator keeps comes on top.
const MOST_GROWTH: usize = 32 << 20;

fn encoded(message: &Message) -> Vec<u8> {
    message.encode(&context()).to_vec()
}

fn open(from: Ipv4Addr) -> Vec<u8> {
    let capabilities =
        vec![Capability::Multiprotocol(Family::Ipv4Unicast), Capability::RouteRefresh, Capability::FourOctetAs(ASN)];
    let hold_time = HoldTime::from_seconds(0).unwrap();
    encoded(&Message::Open(Open { asn: ASN, hold_time, router_id: RouterId(from), capabilities }))
}

/// Everything that brings a session up.
fn greeting(from: Ipv4Addr) -> Vec<u8> {
    [open(from), encoded(&Message::Keepalive)].concat()
}

/// An UPDATE with these attributes for 10.66.0.0/16.
fn update(attributes: &[u8]) -> Vec<u8> {
    announcing(attributes, &[16, 10, 66])
}

/// An UPDATE with these attributes for the prefixes of this NLRI field.
fn announcing(attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + 4 + attributes.len() + nlri.len()).unwrap();
    let of_attributes = u16::try_from(attributes.len()).unwrap();
    let header = [&[0xff; 16][..], &length.to_be_bytes(), &[2, 0, 0], &of_attributes.to_be_bytes()].concat();
    [&header, attributes, nlri].concat()
}

/// ORIGIN, an empty AS_PATH, NEXT_HOP 192.0.2.9 and LOCAL_PREF 100.
const SOUND: &[u8] = b"\x40\x01\x01\x00\x40\x02\x00\x40\x03\x04\xc0\x00\x02\x09\x40\x05\x04\x00\x00\x00\x64";

/// A speaker with an honest peer and some that the test plays itself.
struct Stage {
    speaker: Speaker,
    honest: Speaker,
    target: SocketAddr,
}

impl Stage {
    async fn new(played: &[Ipv4Addr]) -> Self {
        Self::with_dynamic(played, None).await
    }

    /// A configured peer that fails is refused for a while; a dynamic one, of which there is nothing left when it fails,
    /// is heard each time.
    async fn with_dynamic(played: &[Ipv4Addr], dynamic: Option<Ipv4Addr>) -> Self {
        let honest_address = support::address();
        let speaker = Speaker::start(|config| {
            if let Some(address) = dynamic {
                let prefix = prefix(&format!("{address}/32"));
                let template = PeerConfig::new("d", IpAddr::V4(address), RemoteAs::Internal, ASN);
                config.dynamic_peers.push(DynamicPeerConfig { prefix, limit: 1, template });
            }
            for (number, address) in played.iter().copied().chain([honest_address]).enumerate() {
                let mut peer = PeerConfig::new(&format!("p{number}"), IpAddr::V4(address), RemoteAs::Internal, ASN);
                peer.passive = true;
                peer.client = true;
                peer.connect_retry = Duration::from_secs(1);
                config.peers.push(peer);
            }
        })
        .await;
        let to_speaker = speaker.as_peer("speaker", honest_address).await;
        let honest = Speaker::start(|config| {
            config.listen.clear();
            config.router_id = RouterId(honest_address);
            config.peers.push(to_speaker);
        })
        .await;
        honest.originate([(prefix("10.2.0.0/16"), attributes(None))]).await;
        speaker.wait_prefix(prefix("10.2.0.0/16")).await;
        let target = SocketAddr::new(IpAddr::V4(speaker.address), speaker.port().await);
        Self { speaker, honest, target }
    }

    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
        let stream = socket.connect(self.target).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Opens connections until one of them is a session: a peer that has failed is refused for a while.
    async fn session(&self, name: &str, from: Ipv4Addr) -> TcpStream {
        wait_for(&format!("{name}: a session"), || async {
            let mut stream = self.connect(from).await;
            stream.write_all(&greeting(from)).await.map_err(|error| error.to_string())?;
            // Message by message: what comes behind the KEEPALIVE is for the caller.
            loop {
                let mut header = [0; 19];
                stream.read_exact(&mut header).await.map_err(|error| error.to_string())?;
                let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - header.len()];
                stream.read_exact(&mut body).await.map_err(|error| error.to_string())?;
                match header[18] {
                    3 => return Err(format!("NOTIFICATION {body:?}")),
                    4 => return Ok(stream),
                    _ => {}
                }
            }
        })
        .await
    }

    /// Says this, and nothing more, on a connection that the speaker takes: it greets whom it hears.
    async fn is_told(&self, from: Ipv4Addr, bytes: &[u8]) {
        wait_for("to be heard", || async {
            let mut stream = self.connect(from).await;
            pour(&mut stream, bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = [0; 19];
            let read = tokio::time::timeout(support::DEADLINE, stream.read_exact(&mut answer)).await;
            match read.expect("an answer or the end") {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// The honest peer's session is the one that it had at the start, and what either says still arrives.
    async fn is_untouched(&self) {
        self.honest
            .originate([(prefix("10.2.0.0/16"), attributes(None)), (prefix("10.3.0.0/16"), attributes(None))])
            .await;
        self.speaker.wait_prefix(prefix("10.3.0.0/16")).await;
        let peer = self.honest.peer("speaker").await.unwrap();
        assert_eq!((peer.state, peer.counters.established), (State::Established, 1), "{peer:?}");
    }
}

/// Writes until the other end has had enough.
async fn pour(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
}

/// A small generator, so that a failure can be looked at again.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// Looks at how large the process is, again and again until it is asked.
struct Growth {
    over: Arc<AtomicBool>,
    watch: JoinHandle<usize>,
    before: usize,
}

impl Growth {
    fn watch() -> Self {
        let (over, before) = (Arc::new(AtomicBool::new(false)), resident());
        let seen_over = over.clone();
        let watch = std::thread::spawn(move || {
            let mut most = resident();
            while !seen_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(2));
                most = most.max(resident());
            }
            most
        });
        Self { over, watch, before }
    }

    /// It was never more than it may be.
    fn end_within_bounds(self) {
        self.over.store(true, Ordering::Relaxed);
        let growth = self.watch.join().unwrap().saturating_sub(self.before);
        assert!(growth < MOST_GROWTH, "grown by {} KiB", growth >> 10);
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_half_messages_and_cut_connections_end_nothing_but_themselves() {
    let from = support::address();
    let stage = Stage::with_dynamic(&[], Some(from)).await;
    let mut noise = Noise(0x0011_77e7);
    for round in 0..300 {
        let length = (noise.next() % 600) as usize;
        let bytes = match round % 6 {
            0 => noise.bytes(length),
            // A good header, and noise in it.
            1 => [&[0xff; 16][..], &[0, 100, (noise.next() % 7) as u8], &noise.bytes(81)].concat(),
            // Half of an OPEN.
            2 => open(from)[..(noise.next() as usize) % open(from).len()].to_vec(),
            // A session, and then noise.
            3 => [greeting(from), noise.bytes(length)].concat(),
            // A session, and an UPDATE with one octet changed.
            4 => {
                let mut bytes = update(SOUND);
                let place = 19 + (noise.next() as usize) % (bytes.len() - 19);
                bytes[place] = noise.next() as u8;
                [greeting(from), bytes].concat()
            }
            // Lengths that no message has.
            _ => [&[0xff; 16][..], &(noise.next() as u16).to_be_bytes(), &[2]].concat(),
        };
        stage.is_told(from, &bytes).await;
    }
    let mut stream = stage.session("d", from).await;
    pour(&mut stream, &update(SOUND)).await;
    stage.speaker.wait_prefix(prefix("10.66.0.0/16")).await;
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_peer_that_does_not_close_its_broken_connection_is_heard_on_the_next_at_once() {
    let from = support::address();
    let stage = Stage::with_dynamic(&[], Some(from)).await;
    let mut first = stage.connect(from).await;
    pour(&mut first, &[0; 19]).await;
    // OPEN, and then the NOTIFICATION: the speaker is done with it, and waits for us to close.
    let mut buffer = BytesMut::new();
    let mut notified = false;
    while !notified {
        assert!(first.read_buf(&mut buffer).await.unwrap() > 0, "closed without a word");
        let mut heard = &buffer[..];
        while let Some(frame) = next_frame(&mut heard, 4096).unwrap() {
            notified |= frame.kind == MessageType::Notification;
        }
    }
    let mut second = stage.connect(from).await;
    let mut greeting = [0; 19];
    second.read_exact(&mut greeting).await.expect("an OPEN");
    drop(first);
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_bytes_come_one_by_one_is_a_session() {
    let from = support::address();
    let stage = Stage::new(&[from]).await;
    let mut stream = stage.connect(from).await;
    for byte in [greeting(from), update(SOUND)].concat() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    stage.speaker.wait_prefix(prefix("10.66.0.0/16")).await;
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_strangers_are_closed_cost_bounded_memory_and_keep_no_peer_out() {
    let from = support::address();
    let strangers = [(); 8].map(|()| support::address());
    let stage = Stage::new(&[from]).await;
    let growth = Growth::watch();
    let mut crowd = Vec::new();
    // As many at a time as the descriptors of a common limit allow with both ends in one process.
    for round in 0..40 {
        for _ in 0..250 {
            crowd.push(stage.connect(strangers[round % strangers.len()]).await);
        }
        for mut stream in crowd.drain(..) {
            let mut byte = [0];
            let ended = tokio::time::timeout(support::DEADLINE, stream.read(&mut byte)).await.expect("closed");
            assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        }
    }
    assert_eq!(stage.speaker.bgp.refused(), 10_000);
    let _stream = stage.session("p0", from).await;
    growth.end_within_bounds();
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_notifications_and_opens_touches_no_other_session() {
    let from = support::address();
    let stage = Stage::with_dynamic(&[], Some(from)).await;
    let growth = Growth::watch();
    let cease = encoded(&Message::Notification(Notification::hold_timer_expired()));
    for round in 0..500 {
        let bytes = match round % 4 {
            0 => cease.repeat(20),
            1 => [open(from), cease.repeat(20)].concat(),
            2 => [greeting(from), cease.repeat(20)].concat(),
            _ => open(from).repeat(20),
        };
        stage.is_told(from, &bytes).await;
    }
    let _stream = stage.session("d", from).await;
    growth.end_within_bounds();
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_session_and_routes_flap_costs_bounded_memory_and_leaves_nothing() {
    let from = support::address();
    let stage = Stage::with_dynamic(&[], Some(from)).await;
    let growth = Growth::watch();
    let nlri: Vec<u8> = (0..200).flat_map(|number| [24, 10, 66, number]).collect();
    let withdrawal = {
        let lengths =
            [u16::try_from(23 + nlri.len()).unwrap(), u16::try_from(nlri.len()).unwrap()].map(u16::to_be_bytes);
        [&[0xff; 16][..], &lengths[0], &[2], &lengths[1], &nlri, &[0, 0]].concat()
    };
    for round in 0..50u16 {
        let mut stream = stage.session("d", from).await;
        for change in 0..50u16 {
            // Attributes that nobody has seen before.
            let [a, b] = round.to_be_bytes();
            let [c, d] = change.to_be_bytes();
            let attributes = [SOUND, &[0x80, 4, 4, a, b, c, d]].concat();
            pour(&mut stream, &[withdrawal.clone(), announcing(&attributes, &nlri)].concat()).await;
        }
        stage.speaker.wait_prefix(prefix("10.66.199.0/24")).await;
    }
    stage.speaker.wait_no_prefix(prefix("10.66.199.0/24")).await;
    growth.end_within_bounds();
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_asks_for_everything_again_and_again_and_reads_nothing_costs_bounded_memory() {
    let from = support::address();
    let stage = Stage::new(&[from]).await;
    let all: Vec<_> = (0..20_000).map(|number| (numbered(number), attributes(Some(number)))).collect();
    stage.speaker.originate(all).await;
    stage.speaker.wait_best("the table", |best| best.len() > 20_000).await;
    let mut stream = stage.session("p0", from).await;
    let growth = Growth::watch();
    let refresh = encoded(&Message::RouteRefresh(RouteRefresh::Request(Family::Ipv4Unicast)));
    let flood = tokio::time::timeout(support::DEADLINE, async {
        for _ in 0..200 {
            pour(&mut stream, &refresh.repeat(100)).await;
        }
    });
    flood.await.expect("requests are taken as fast as they come");
    let peer = stage
        .speaker
        .wait_peer("p0", "20,000 requests", |peer| {
            peer.counters.received[4] == 20_000 || peer.state != State::Established
        })
        .await;
    assert_eq!(peer.state, State::Established, "{peer:?}");
    // 1 MiB and a chunk.
    assert!(peer.unsent_bytes + peer.counts.unsent_bytes < 2 << 20, "{peer:?}");
    growth.end_within_bounds();
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_above_its_prefix_limit_again_and_again_is_ended_each_time_and_leaves_nothing() {
    const TIMES: u32 = 30;
    let from = support::address();
    let mut stage = Stage::new(&[from]).await;
    let action = LimitAction::Restart(Some(Duration::from_millis(10)));
    let limit = PrefixLimit { action, ..PrefixLimit::new(100) };
    stage.speaker.reconfigure(|config| config.peers[0].max_prefixes = Some(limit)).await;
    let growth = Growth::watch();
    let nlri: Vec<u8> = (0..200).flat_map(|number| [24, 10, 66, number]).collect();
    for time in 1..=TIMES {
        let mut stream = stage.session("p0", from).await;
        pour(&mut stream, &announcing(SOUND, &nlri).repeat(10)).await;
        let ended = |peer: &PeerStatus| peer.prefix_limit_reached == time;
        stage.speaker.wait_peer("p0", "an end for its prefixes", ended).await;
    }
    let peer = stage.speaker.peer("p0").await.unwrap();
    assert_eq!((peer.prefix_limit_reached, peer.counters.established), (TIMES, TIMES.into()), "{peer:?}");
    stage.speaker.wait_no_prefix(prefix("10.66.0.0/24")).await;
    growth.end_within_bounds();
    stage.is_untouched().await;

    // Stopped, it stays down however often it comes, until its limit is another.
    let stop = PrefixLimit { action: LimitAction::Stop, ..limit };
    stage.speaker.reconfigure(|config| config.peers[0].max_prefixes = Some(stop)).await;
    let mut stream = stage.session("p0", from).await;
    pour(&mut stream, &announcing(SOUND, &nlri)).await;
    stage.speaker.wait_peer("p0", "its last end", |peer| peer.prefix_limit_reached == TIMES + 1).await;
    for _ in 0..20 {
        let mut refused = stage.connect(from).await;
        let read = tokio::time::timeout(support::DEADLINE, refused.read(&mut [0])).await.expect("closed");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    stage.speaker.reconfigure(|config| config.peers[0].max_prefixes = None).await;
    let mut stream = stage.session("p0", from).await;
    pour(&mut stream, &announcing(SOUND, &nlri)).await;
    stage.speaker.wait_prefix(prefix("10.66.199.0/24")).await;
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_removed_in_the_middle_of_an_update_takes_its_routes_with_it_and_comes_back_anew() {
    let from = support::address();
    let mut stage = Stage::new(&[from]).await;
    let (whole, first) = (update(SOUND), prefix("10.66.0.0/16"));
    let removed = stage.speaker.config.peers[0].clone();
    // A header cut, a length cut, attributes cut, all but the last octet; and a stream that never ends.
    for cut in [1, 18, 30, whole.len() - 1, 0] {
        let mut stream = stage.session("p0", from).await;
        pour(&mut stream, &whole).await;
        stage.speaker.wait_prefix(first).await;
        pour(&mut stream, &whole[..cut]).await;
        let flood =
            (cut == 0).then(|| tokio::spawn(async move { while stream.write_all(&update(SOUND)).await.is_ok() {} }));
        let said = stage.speaker.reconfigure(|config| config.peers.retain(|peer| peer.name != "p0")).await;
        assert_eq!(said, ["peer p0: removed"]);
        stage.speaker.wait_no_prefix(first).await;
        if let Some(flood) = flood {
            tokio::time::timeout(support::DEADLINE, flood).await.expect("its connection ends").unwrap();
        }
        assert!(stage.speaker.peer("p0").await.is_none());
        stage.is_untouched().await;
        let again = removed.clone();
        let said = stage.speaker.reconfigure(|config| config.peers.push(again)).await;
        assert_eq!(said, ["peer p0: added"]);
    }
    let mut stream = stage.session("p0", from).await;
    pour(&mut stream, &whole).await;
    stage.speaker.wait_prefix(first).await;
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_transitive_attribute_is_passed_on_with_partial_and_any_other_is_not() {
    let (from, to) = (support::address(), support::address());
    let stage = Stage::new(&[from, to]).await;
    let mut source = stage.session("p0", from).await;
    let mut sink = stage.session("p1", to).await;
    // Type 99 optional transitive, type 98 optional non-transitive.
    pour(&mut source, &update(&[SOUND, b"\xc0\x63\x03\x01\x02\x03\x80\x62\x01\x07"].concat())).await;
    let mut buffer = BytesMut::new();
    let body = tokio::time::timeout(support::DEADLINE, async {
        loop {
            let mut heard = &buffer[..];
            while let Some(frame) = next_frame(&mut heard, 4096).unwrap() {
                if frame.kind == MessageType::Update && frame.body.ends_with(&[16, 10, 66]) {
                    return frame.body.to_vec();
                }
            }
            assert!(sink.read_buf(&mut buffer).await.unwrap() > 0, "closed");
        }
    });
    let body = body.await.expect("the route within the deadline");
    let holds = |wanted: &[u8]| body.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(b"\xe0\x63\x03\x01\x02\x03"), "{body:02x?}");
    assert!(!holds(b"\x62\x01\x07"), "{body:02x?}");
    // Passed on by a reflector (RFC 4456 section 8): ORIGINATOR_ID is the source.
    assert!(holds(&[&[0x80, 9, 4][..], &from.octets()].concat()), "{body:02x?}");
    stage.is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_malformed_updates_withdraw_their_routes_and_keep_the_session() {
    let from = support::address();
    let stage = Stage::new(&[from]).await;
    let mut stream = stage.session("p0", from).await;
    pour(&mut stream, &update(SOUND)).await;
    stage.speaker.wait_prefix(prefix("10.66.0.0/16")).await;
    // ORIGIN 9 is treated as withdraw (RFC 7606 section 7.1), AGGREGATOR of 5 octets is discarded (section 7.7).
    let origin = [&b"\x40\x01\x01\x09"[..], &SOUND[4..]].concat();
    pour(&mut stream, &update(&origin).repeat(1000)).await;
    stage.speaker.wait_no_prefix(prefix("10.66.0.0/16")).await;
    pour(&mut stream, &update(&[SOUND, b"\xc0\x07\x05\x00\x00\x01\x02\x03"].concat())).await;
    stage.speaker.wait_prefix(prefix("10.66.0.0/16")).await;
    let peer = stage.speaker.peer("p0").await.unwrap();
    assert_eq!((peer.counters.treated_as_withdraw, peer.counters.attributes_discarded), (1000, 1), "{peer:?}");
    assert_eq!(peer.established.map(|established| established.remote_as), Some(Asn(64512)));
    stage.is_untouched().await;
}
