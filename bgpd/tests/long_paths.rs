//! An AS path of a thousand hops costs four times as much as one of 250: nothing that a route goes through is quadratic in them.
//! Counted in instructions, which no load on the machine changes.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

mod instructions;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::filter::Filter;
use bgp_proto::rib::{Output, PeerPolicy, Rib, RibConfig};
use bgp_proto::session::Established;
use bgp_proto::time::Instant;
use bgp_proto::types::{Asn, Family, FamilySet, NextHop, Nlri, PathId, PeerId, Prefix, RouterId};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgp_proto::wire::frame::next_frame;
use bgp_proto::wire::update::UpdateBuilder;
use bgp_proto::wire::{MAX_EXTENDED_MESSAGE_LEN, Message, Update, UpdateContext};
use instructions::Marks;

const OUR_AS: Asn = Asn(65_000);
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 255, 1);
/// What a path goes through, in this order.
const STEPS: [&str; 4] =
    ["parsing", "parsing with AS4_PATH", "the import with its check for loops", "decision and encoding"];
const HOPS: [u32; 3] = [50, 250, 1_000];
/// Room for segments of 255 hops and memory that doubles.
const MOST: f64 = 1.6;

fn now() -> Instant {
    Instant::from_start(Duration::from_secs(1))
}

fn context(four_octet_as: bool) -> UpdateContext {
    let families = FamilySet::from_iter([Family::Ipv4Unicast]);
    let max_message_len = MAX_EXTENDED_MESSAGE_LEN;
    UpdateContext { four_octet_as, external: true, families, max_message_len, ..UpdateContext::PLAIN }
}

fn address(peer: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, peer as u8)
}

fn peer_as(peer: u16) -> Asn {
    Asn(4_200_000_000 + u32::from(peer))
}

/// The UPDATE with which a peer announces the one prefix. No two hops are alike.
fn message(peer: u16, hops: u32, context: UpdateContext) -> Vec<u8> {
    let path = std::iter::once(peer_as(peer)).chain((1..hops).map(|hop| Asn(100_000 + hop)));
    let attributes = Attributes::new(Origin::Igp, AsPath::sequence(path), NextHop::V4(address(peer)));
    let prefix: Prefix = "198.51.100.0/24".parse().unwrap();
    let mut out = Vec::new();
    let told = UpdateBuilder::new(context).announce(&attributes, &[Nlri { prefix, path_id: PathId(0) }], &mut out);
    assert!(told.is_ok() && !out.is_empty());
    out
}

fn parse(bytes: &[u8], context: &UpdateContext) -> Update {
    let frame = next_frame(&mut &*bytes, MAX_EXTENDED_MESSAGE_LEN).unwrap().unwrap();
    match Message::parse(frame, context).unwrap() {
        Message::Update(update) => update,
        other => panic!("{other:?}"),
    }
}

/// With two external peers that announce, and one that listens.
fn rib() -> Rib {
    let everything = Some(Arc::new(Filter::accept_all("everything")));
    let config = RibConfig { max_paths: 2, tell_best: true, ..RibConfig::new(OUR_AS, RouterId(OUR_ADDRESS)) };
    let mut rib = Rib::new(config, now());
    for peer in 1..=3 {
        let address = address(peer);
        let policy = PeerPolicy {
            import: everything.clone(),
            export: everything.clone(),
            ..PeerPolicy::new(format!("peer-{peer}"), address.into(), OUR_AS)
        };
        rib.set_peer(PeerId(peer), policy, now());
        let established =
            Established::new(peer_as(peer), RouterId(address), context(true), OUR_ADDRESS.into(), address.into());
        rib.handle_up(PeerId(peer), &established, now());
    }
    run(&mut rib);
    rib
}

/// Until nothing is left to do; what the third peer is sent.
fn run(rib: &mut Rib) -> Vec<u8> {
    let mut sent = Vec::new();
    loop {
        let mut more = rib.run(now());
        while let Some(output) = rib.poll() {
            if let Output::Send(peer, bytes) = output {
                more = true;
                rib.handle_sent(peer, bytes.len());
                if peer == PeerId(3) {
                    sent.extend_from_slice(&bytes);
                }
            }
        }
        if !more {
            return sent;
        }
    }
}

/// Takes a path of so many hops through [`STEPS`].
fn follow(marks: &Marks, hops: u32) {
    let contexts = [context(true), context(false)];
    let messages = contexts.map(|context| message(1, hops, context));
    let [update, merged] =
        [0, 1].map(|kind: usize| marks.around(|| parse(black_box(&messages[kind]), &contexts[kind])));
    let path = update.announced[0].attributes.as_path.clone();
    assert_eq!((path.hops(), &merged.announced[0].attributes.as_path), (hops as usize, &path));
    // The other peer's is there already, and is as long: the two are compared to the end.
    let mut rib = rib();
    rib.handle_updates(PeerId(2), vec![parse(&message(2, hops, contexts[0]), &contexts[0])], now());
    run(&mut rib);
    marks.around(|| rib.handle_updates(PeerId(1), vec![update], now()));
    let sent = marks.around(|| run(&mut rib));
    assert!(sent.len() > 4 * hops as usize, "{} octets were sent", sent.len());
}

#[test]
fn nothing_that_a_path_of_a_thousand_hops_goes_through_is_quadratic() {
    let work = |marks: Marks| HOPS.into_iter().for_each(|hops| follow(&marks, hops));
    let test = "nothing_that_a_path_of_a_thousand_hops_goes_through_is_quadratic";
    let Some(counts) = instructions::count(test, work) else { return };
    let counts: Vec<_> = counts.chunks(STEPS.len()).collect();
    let [short, middle, long] = counts[..] else { panic!("{counts:?}") };
    for (number, step) in STEPS.into_iter().enumerate() {
        let [short, middle, long] = [short, middle, long].map(|of| of[number] as f64);
        // What a hop more costs up to 250 of them, and beyond: the same, or, were it quadratic, four times as much.
        let a_hop = [(middle - short) / 200.0, (long - middle) / 750.0];
        println!("{step}: {a_hop:.1?} instructions a hop");
        assert!(
            a_hop[1] < MOST * a_hop[0],
            "{step}: {short} instructions for 50 hops, {middle} for 250, {long} for 1,000: {a_hop:.1?} a hop"
        );
    }
}
