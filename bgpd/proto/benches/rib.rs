//! What a route costs on its way through the core, step by step: parse, intern, decide, encode; and all of them as one.
//!
//! The table is like the Internet's: sets of attributes are shared by five prefixes in the mean, half of them by one only.
//! `cargo bench -p bgp-proto` prints times for a table of 20,000 prefixes; instructions, which other load on the machine
//! does not change, are counted by `valgrind --tool=callgrind` (docs/performance.md).

#![allow(missing_docs, reason = "made by criterion's macros")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::filter::Filter;
use bgp_proto::rib::{Output, PeerPolicy, Rib, RibConfig};
use bgp_proto::session::Established;
use bgp_proto::time::Instant;
use bgp_proto::types::{Asn, Family, FamilySet, Ipv4Prefix, NextHop, Nlri, PathId, PeerId, Prefix, RouterId};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgp_proto::wire::community::Community;
use bgp_proto::wire::frame::next_frame;
use bgp_proto::wire::update::{Announcement, UpdateBuilder};
use bgp_proto::wire::{Message, Update, UpdateContext};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const PREFIXES: u32 = 20_000;
const OUR_AS: Asn = Asn(65_000);
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 255, 1);

fn context() -> UpdateContext {
    let families = FamilySet::from_iter([Family::Ipv4Unicast]);
    UpdateContext { external: true, families, ..UpdateContext::PLAIN }
}

/// What `peer` announces, a set of attributes at a time. The sizes of sets repeat 1, 1, 1, 2, 4, 16.
fn announcements(peer: u16) -> Vec<Announcement> {
    let mut sizes = [1, 1, 1, 2, 4, 16].into_iter().cycle();
    let mut announcements = Vec::new();
    let mut next = 0;
    while next < PREFIXES {
        let end = PREFIXES.min(next + sizes.next().unwrap_or(1));
        // A path of its own for each set, longer or shorter by peer.
        let hops = 2 + (next + u32::from(peer)) % 4;
        let path = std::iter::once(peer_as(peer)).chain((1..hops).map(|hop| Asn(10_000 * hop + next)));
        let mut attributes = Attributes::new(Origin::Igp, AsPath::sequence(path), NextHop::V4(address(peer)));
        attributes.communities = (0..next % 4).map(|number| Community(65_000 << 16 | number)).collect();
        let prefix = |number: u32| Ipv4Prefix::new(Ipv4Addr::from(0x1400_0000 + (number << 8)), 24);
        let nlri = (next..end).filter_map(prefix).map(|prefix| Nlri { prefix: Prefix::V4(prefix), path_id: PathId(0) });
        announcements.push(Announcement { attributes: Arc::new(attributes), nlri: nlri.collect() });
        next = end;
    }
    announcements
}

fn updates(peer: u16) -> Vec<Update> {
    let update = |announcement| Update { announced: vec![announcement], ..Update::default() };
    announcements(peer).into_iter().map(update).collect()
}

fn peer_as(peer: u16) -> Asn {
    Asn(4_200_000_000 + u32::from(peer))
}

fn address(peer: u16) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + u32::from(peer))
}

fn now() -> Instant {
    Instant::from_start(Duration::from_secs(1))
}

/// A RIB with that many external peers that are up. The last one only listens.
fn rib(peers: u16) -> Rib {
    let everything = Some(Arc::new(Filter::accept_all("everything")));
    let mut rib = Rib::new(RibConfig::new(OUR_AS, RouterId(OUR_ADDRESS)), now());
    for peer in 1..=peers {
        let address = address(peer);
        let policy = PeerPolicy {
            import: everything.clone(),
            export: everything.clone(),
            ..PeerPolicy::new(format!("peer-{peer}"), address.into(), OUR_AS)
        };
        rib.set_peer(PeerId(peer), policy, now());
        let established =
            Established::new(peer_as(peer), RouterId(address), context(), OUR_ADDRESS.into(), address.into());
        rib.handle_up(PeerId(peer), &established, now());
    }
    run(&mut rib);
    rib
}

/// Until nothing is left to do; every peer reads at once. Octets sent.
fn run(rib: &mut Rib) -> usize {
    let mut octets = 0;
    loop {
        let more = rib.run(now());
        let mut sent = false;
        while let Some(output) = rib.poll() {
            if let Output::Send(peer, bytes) = output {
                octets += bytes.len();
                sent = true;
                rib.handle_sent(peer, bytes.len());
            }
        }
        if !more && !sent {
            return octets;
        }
    }
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table");
    group.throughput(Throughput::Elements(u64::from(PREFIXES))).sample_size(20);

    let builder = UpdateBuilder::new(context());
    let encode = |announcements: &[Announcement]| {
        let mut out = Vec::new();
        for announcement in announcements {
            let _ = builder.announce(&announcement.attributes, &announcement.nlri, &mut out);
        }
        out
    };
    let announced = announcements(1);
    let bytes = encode(&announced);
    group.bench_function("encode", |bencher| bencher.iter(|| encode(black_box(&announced))));

    group.bench_function("parse", |bencher| {
        bencher.iter(|| {
            let mut stream = black_box(&bytes[..]);
            let mut prefixes = 0;
            while let Ok(Some(frame)) = next_frame(&mut stream, 4096) {
                if let Ok(Message::Update(update)) = Message::parse(frame, &context()) {
                    prefixes += update.announced.iter().map(|announcement| announcement.nlri.len()).sum::<usize>();
                }
            }
            prefixes
        });
    });

    // Adj-RIB-In alone: the import filter, attributes interned, prefixes found or made, marked to be decided.
    group.bench_function("intern", |bencher| {
        let fresh = || (rib(1), updates(1));
        let intern = |(mut rib, updates): (Rib, Vec<Update>)| {
            rib.handle_updates(PeerId(1), updates, now());
            rib
        };
        bencher.iter_batched(fresh, intern, BatchSize::LargeInput);
    });

    // Ten paths to each prefix; told to nobody but the peers themselves.
    group.bench_function("decide", |bencher| {
        let fresh = || {
            let mut rib = rib(11);
            for peer in 1..=9 {
                rib.handle_updates(PeerId(peer), updates(peer), now());
                run(&mut rib);
            }
            rib.handle_updates(PeerId(10), updates(10), now());
            rib
        };
        let decide = |mut rib: Rib| {
            run(&mut rib);
            rib
        };
        bencher.iter_batched(fresh, decide, BatchSize::LargeInput);
    });

    // All but parsing, for one sender and one listener.
    group.bench_function("relay", |bencher| {
        let fresh = || (rib(2), updates(1));
        let relay = |(mut rib, updates): (Rib, Vec<Update>)| {
            rib.handle_updates(PeerId(1), updates, now());
            black_box(run(&mut rib));
            rib
        };
        bencher.iter_batched(fresh, relay, BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
