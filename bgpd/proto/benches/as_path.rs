//! What an AS path costs by its length: parse, encode, and match with a pattern. What is printed beside the time is hops in a
//! second: a step whose cost grew faster than the path would show fewer of them for each longer path.
//! `cargo bench -p bgp-proto --bench as_path`.

#![allow(missing_docs, reason = "made by criterion's macros")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use bgp_proto::filter::as_path::AsPathPattern;
use bgp_proto::types::{Asn, Family, FamilySet, Ipv4Prefix, NextHop, Nlri, PathId, Prefix};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgp_proto::wire::frame::next_frame;
use bgp_proto::wire::update::UpdateBuilder;
use bgp_proto::wire::{MAX_EXTENDED_MESSAGE_LEN, Message, UpdateContext};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The last takes most of an extended message (RFC 8654).
const HOPS: [u32; 4] = [10, 100, 1_000, 10_000];

/// To a peer that knows AS numbers of four octets, or that has to be told them by AS4_PATH (RFC 6793).
fn context(four_octet_as: bool) -> UpdateContext {
    let families = FamilySet::from_iter([Family::Ipv4Unicast]);
    let max_message_len = MAX_EXTENDED_MESSAGE_LEN;
    UpdateContext { four_octet_as, external: true, families, max_message_len, ..UpdateContext::PLAIN }
}

/// No two hops are alike, and each takes four octets.
fn path(hops: u32) -> AsPath {
    AsPath::sequence((0..hops).map(|hop| Asn(100_000 + hop)))
}

fn update(path: AsPath, context: UpdateContext) -> Vec<u8> {
    let attributes = Attributes::new(Origin::Igp, path, NextHop::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let prefix = Ipv4Prefix::new(Ipv4Addr::new(198, 51, 100, 0), 24).map(Prefix::V4);
    let nlri: Vec<_> = prefix.into_iter().map(|prefix| Nlri { prefix, path_id: PathId(0) }).collect();
    let mut out = Vec::new();
    let _ = UpdateBuilder::new(context).announce(&attributes, &nlri, &mut out);
    out
}

/// Hops of the path in an UPDATE.
fn parse(bytes: &[u8], context: &UpdateContext) -> Option<usize> {
    let frame = next_frame(&mut &*bytes, MAX_EXTENDED_MESSAGE_LEN).ok()??;
    match Message::parse(frame, context).ok()? {
        Message::Update(update) => Some(update.announced.first()?.attributes.as_path.hops()),
        _ => None,
    }
}

fn lengths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("as_path");
    // Follows many positions at each hop, and is never content before the last.
    let pattern: AsPathPattern = "^(. .* 100000-200000)* (.|1-4294967295)+ 7$".parse().expect("a pattern");
    for hops in HOPS {
        group.throughput(Throughput::Elements(hops.into()));
        let of = |name| BenchmarkId::new(name, hops);
        let path = path(hops);
        for (name, four_octet_as) in [("parse", true), ("parse with AS4_PATH", false)] {
            let context = context(four_octet_as);
            let bytes = update(path.clone(), context);
            if parse(&bytes, &context) != Some(hops as usize) {
                // Both attributes of the longest fit no message.
                continue;
            }
            group.bench_function(of(name), |bencher| bencher.iter(|| parse(black_box(&bytes), &context)));
        }
        group.bench_function(of("encode"), |bencher| bencher.iter(|| update(black_box(path.clone()), context(true))));
        group.bench_function(of("pattern"), |bencher| bencher.iter(|| pattern.matches(black_box(&path))));
    }
    group.finish();
}

criterion_group!(benches, lengths);
criterion_main!(benches);
