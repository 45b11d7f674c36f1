//! Scripts of a session with a cache; the trie and the choice of caches against models.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;

use super::client::{CacheState, Client, ClientConfig, Output};
use super::pdu::{ErrorCode, Pdu, Version, error_report, next_pdu};
use super::{CacheId, Caches, Vrp, VrpTable};
use crate::filter::Validation;
use crate::time::Instant;
use crate::types::{Asn, Prefix};

fn vrp(text: &str, max_length: u8, asn: u32) -> Vrp {
    Vrp::new(text.parse().unwrap(), max_length, Asn(asn)).unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::from_start(Duration::from_secs(seconds))
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    // Few bits, so that prefixes nest and meet.
    prop_oneof![
        (0u32..64, 0u8..=6).prop_map(|(bits, length)| Prefix::new((bits << 26).to_be_bytes().into(), length).unwrap()),
        (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| Prefix::new(bits.to_be_bytes().into(), length).unwrap()),
        (0u128..64, 0u8..=128).prop_map(|(bits, length)| Prefix::new(
            (bits << 122 | bits).to_be_bytes().into(),
            length
        )
        .unwrap()),
    ]
}

fn any_vrp() -> impl Strategy<Value = Vrp> {
    (any_prefix(), any::<u8>(), 0u32..4).prop_map(|(prefix, more, asn)| {
        let room = prefix.family().bits() - prefix.length();
        Vrp::new(prefix, prefix.length() + more % (room.min(3) + 1), Asn(asn)).unwrap()
    })
}

fn any_pdu() -> impl Strategy<Value = Pdu> {
    prop_oneof![
        any::<(u16, u32)>().prop_map(|(session, serial)| Pdu::SerialNotify { session, serial }),
        any::<(u16, u32)>().prop_map(|(session, serial)| Pdu::SerialQuery { session, serial }),
        Just(Pdu::ResetQuery),
        any::<u16>().prop_map(|session| Pdu::CacheResponse { session }),
        (any::<bool>(), any_vrp()).prop_map(|(announce, vrp)| Pdu::Prefix { announce, vrp }),
        any::<(u16, u32, [u32; 3])>().prop_map(|(session, serial, timers)| Pdu::EndOfData {
            session,
            serial,
            timers: Some(timers.map(|seconds| Duration::from_secs(u64::from(seconds)))),
        }),
        Just(Pdu::CacheReset),
        (any::<u16>(), "\\PC{0,40}").prop_map(|(code, text)| Pdu::Error { code: ErrorCode(code), text }),
    ]
}

proptest! {
    #[test]
    fn decoding_a_pdu_undoes_encoding_however_it_is_cut(pdus in prop::collection::vec(any_pdu(), 1..8), cut in 1usize..40) {
        let stream: Vec<u8> = pdus.iter().flat_map(|pdu| pdu.encode(Version::V1)).collect();
        let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
        for part in stream.chunks(cut) {
            buffer.extend_from_slice(part);
            while let Some((version, pdu)) = next_pdu(&mut buffer).unwrap() {
                prop_assert_eq!(version, Version::V1);
                seen.push(pdu);
            }
        }
        prop_assert_eq!(seen, pdus);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn whatever_a_cache_sends_a_client_stays_within_its_bounds(
        script in prop::collection::vec((prop_oneof![
            any_pdu().prop_map(|pdu| pdu.encode(Version::V1).to_vec()),
            any_pdu().prop_map(|pdu| pdu.encode(Version::V0).to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
        ], 0u64..5000), 0..60),
    ) {
        let config = ClientConfig { refresh: None, retry: None, expire: None, max_vrps: 5 };
        let (mut client, mut now, mut connected) = (Client::new(config, at(0)), 0, false);
        for (bytes, later) in script {
            now += later;
            client.handle_timeout(at(now));
            if connected {
                client.handle_bytes(at(now), &bytes);
            }
            while let Some(output) = client.poll() {
                match output {
                    Output::Connect => {
                        prop_assert!(!connected);
                        connected = true;
                        client.handle_connected(at(now));
                    }
                    Output::Close => {
                        prop_assert!(connected);
                        connected = false;
                    }
                    Output::Send(_) => {}
                    Output::Data(Some(data)) => {
                        prop_assert!(data.len() <= 5);
                        prop_assert!(data.is_sorted_by(|one, other| one < other));
                    }
                    Output::Data(None) => prop_assert!(client.is_empty()),
                }
            }
            prop_assert!(client.poll_timeout().is_some_and(|due| due > at(now)), "a client that waits for nothing");
        }
    }

    #[test]
    fn the_trie_answers_as_a_list_would(
        changes in prop::collection::vec((any::<bool>(), any_vrp()), 0..120),
        probes in prop::collection::vec((any_prefix(), prop::option::of(0u32..4)), 1..40),
    ) {
        let (mut table, mut list) = (VrpTable::default(), BTreeSet::new());
        for (announce, vrp) in changes {
            let mut change = super::Changes::default();
            if announce {
                change.announced.push(vrp);
                list.insert(vrp);
            } else {
                // Every other time what is there, so that much is removed.
                let vrp = list.iter().find(|known| known.prefix().length() == vrp.prefix().length()).copied().unwrap_or(vrp);
                change.withdrawn.push(vrp);
                list.remove(&vrp);
            }
            table.apply(&change);
            prop_assert_eq!(table.len(), list.len());
        }
        for (prefix, origin) in probes {
            let covering: BTreeSet<Vrp> = list.iter().filter(|vrp| vrp.prefix().contains(prefix)).copied().collect();
            prop_assert_eq!(&table.covering(prefix).into_iter().collect::<BTreeSet<_>>(), &covering);
            let allows = |vrp: &Vrp| Some(vrp.asn()) == origin.map(Asn) && vrp.asn() != Asn(0) && prefix.length() <= vrp.max_length();
            let expected = match (covering.is_empty(), covering.iter().any(allows)) {
                (true, _) => Validation::NotFound,
                (false, true) => Validation::Valid,
                (false, false) => Validation::Invalid,
            };
            prop_assert_eq!(table.validity(prefix, origin.map(Asn)), expected, "{} {:?}", prefix, origin);
        }
    }

    #[test]
    fn what_counts_is_the_union_of_the_most_preferred_caches_that_have_data(
        steps in prop::collection::vec((0u32..4, 0u32..3, prop::option::of(prop::collection::btree_set(any_vrp(), 0..6)), 0u8..8), 1..40),
    ) {
        let mut caches = Caches::default();
        let mut model: BTreeMap<u32, (u32, Option<BTreeSet<Vrp>>)> = BTreeMap::new();
        let mut counted = BTreeSet::new();
        for (id, preference, data, what) in steps {
            let cache = CacheId(id);
            let changes = match what {
                0 => { model.remove(&id); caches.remove(cache) }
                1..3 => { model.entry(id).or_default().0 = preference; caches.set(cache, preference) }
                _ => {
                    if let Some(known) = model.get_mut(&id) { known.1.clone_from(&data); }
                    caches.update(cache, data.map(|data| data.into_iter().collect::<Vec<_>>().into()))
                }
            };
            for vrp in &changes.withdrawn { prop_assert!(counted.remove(vrp), "{} was not there", vrp); }
            for vrp in changes.announced { prop_assert!(counted.insert(vrp), "{} was there", vrp); }
            let with_data = || model.values().filter_map(|(preference, data)| Some((preference, data.as_ref()?)));
            let first = with_data().map(|(preference, _)| preference).min();
            let expected: BTreeSet<Vrp> = with_data().filter(|(preference, _)| Some(*preference) == first).flat_map(|(_, data)| data.clone()).collect();
            prop_assert_eq!(&counted, &expected);
        }
    }
}

#[test]
fn a_route_is_judged_as_rfc_6811_says() {
    let mut table = VrpTable::default();
    for (prefix, max_length, asn) in
        [("10.0.0.0/8", 16, 1), ("10.1.0.0/16", 24, 2), ("192.0.2.0/24", 24, 0), ("fd00::/16", 32, 3)]
    {
        table.insert(vrp(prefix, max_length, asn));
    }
    for (prefix, origin, expected) in [
        ("10.0.0.0/8", Some(1), Validation::Valid),
        ("10.2.0.0/16", Some(1), Validation::Valid),
        ("10.2.0.0/17", Some(1), Validation::Invalid),
        ("10.1.2.0/24", Some(2), Validation::Valid),
        ("10.1.2.0/24", Some(1), Validation::Invalid),
        ("10.1.0.0/16", Some(1), Validation::Valid),
        ("10.1.2.0/24", None, Validation::Invalid),
        ("11.0.0.0/8", Some(1), Validation::NotFound),
        ("0.0.0.0/0", Some(1), Validation::NotFound),
        ("192.0.2.0/24", Some(0), Validation::Invalid),
        ("192.0.2.0/25", Some(7), Validation::Invalid),
        ("fd00:1::/32", Some(3), Validation::Valid),
        ("fd00:1::/33", Some(3), Validation::Invalid),
        ("fd01::/16", Some(3), Validation::NotFound),
    ] {
        assert_eq!(table.validity(prefix.parse().unwrap(), origin.map(Asn)), expected, "{prefix} {origin:?}");
    }
}

#[test]
fn pdus_that_contradict_themselves_are_answered_by_rfc_8210() {
    for (bytes, code) in [
        (&[2, 2, 0, 0, 0, 0, 0, 8][..], ErrorCode::UNSUPPORTED_VERSION),
        (&[1, 5, 0, 0, 0, 0, 0, 8], ErrorCode::UNSUPPORTED_PDU),
        (&[0, 9, 0, 0, 0, 0, 0, 40], ErrorCode::UNSUPPORTED_PDU),
        (&[1, 3, 0, 0, 0, 0, 0, 7], ErrorCode::CORRUPT_DATA),
        (&[1, 3, 0, 0, 0, 0, 0, 9], ErrorCode::CORRUPT_DATA),
        (&[1, 7, 0, 0, 0, 0, 0, 12], ErrorCode::CORRUPT_DATA),
        (&[0, 7, 0, 0, 0, 0, 0, 24], ErrorCode::CORRUPT_DATA),
        (&[1, 10, 0, 0, 0xff, 0xff, 0xff, 0xff], ErrorCode::CORRUPT_DATA),
        (&[1, 4, 0, 0, 0, 0, 0, 20, 1, 33, 33, 0, 10, 0, 0, 0, 0, 0, 0, 1], ErrorCode::CORRUPT_DATA),
        (&[1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 23, 0, 10, 0, 0, 0, 0, 0, 0, 1], ErrorCode::CORRUPT_DATA),
        (&[1, 10, 0, 0, 0, 0, 0, 16, 0, 0, 0, 9, 0, 0, 0, 0], ErrorCode::CORRUPT_DATA),
        (&[1, 10, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1], ErrorCode::CORRUPT_DATA),
    ] {
        assert_eq!(next_pdu(&mut BytesMut::from(bytes)).unwrap_err().code, code, "{bytes:02x?}");
    }
}

/// A client and what it has said.
struct Script {
    client: Client,
    now: u64,
    version: Version,
}

impl Script {
    fn new() -> Self {
        let config = ClientConfig { refresh: None, retry: None, expire: None, max_vrps: 10 };
        Self { client: Client::new(config, at(0)), now: 0, version: Version::V1 }
    }

    /// Up to and with the first query.
    fn connected() -> Self {
        let mut script = Self::new();
        script.sleep(0);
        assert_eq!(script.said(), [Output::Connect]);
        script.client.handle_connected(at(0));
        script
    }

    fn said(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.client.poll()).collect()
    }

    fn sleep(&mut self, seconds: u64) {
        self.now += seconds;
        self.client.handle_timeout(at(self.now));
    }

    fn hear(&mut self, pdus: &[Pdu]) -> Vec<Output> {
        let bytes: Vec<u8> = pdus.iter().flat_map(|pdu| pdu.encode(self.version)).collect();
        self.client.handle_bytes(at(self.now), &bytes);
        self.said()
    }

    fn answer(&mut self, session: u16, serial: u32, changes: &[(bool, Vrp)]) -> Vec<Output> {
        let timers = Some([100, 20, 700].map(Duration::from_secs));
        let changes = changes.iter().map(|(announce, vrp)| Pdu::Prefix { announce: *announce, vrp: *vrp });
        let pdus: Vec<Pdu> = std::iter::once(Pdu::CacheResponse { session })
            .chain(changes)
            .chain([Pdu::EndOfData { session, serial, timers }])
            .collect();
        self.hear(&pdus)
    }
}

fn send(pdu: &Pdu, version: Version) -> Output {
    Output::Send(pdu.encode(version))
}

fn data(vrps: &[Vrp]) -> Output {
    Output::Data(Some(vrps.to_vec().into()))
}

#[test]
fn everything_is_asked_for_first_and_then_what_has_changed() {
    let (a, b, c) = (vrp("10.0.0.0/8", 8, 1), vrp("10.0.0.0/8", 8, 2), vrp("11.0.0.0/8", 8, 1));
    let mut script = Script::connected();
    assert_eq!(script.said(), [send(&Pdu::ResetQuery, Version::V1)]);
    assert_eq!(script.answer(7, 1, &[(true, c), (true, a)]), [data(&[a, c])]);
    assert_eq!(script.client.state(), CacheState::Synchronised);
    // The cache's own refresh interval.
    script.sleep(100);
    assert_eq!(script.said(), [send(&Pdu::SerialQuery { session: 7, serial: 1 }, Version::V1)]);
    assert_eq!(script.answer(7, 2, &[(false, a), (true, b)]), [data(&[b, c])]);
    // It has news before that.
    script.sleep(5);
    assert_eq!(script.hear(&[Pdu::SerialNotify { session: 7, serial: 2 }]), []);
    let query = send(&Pdu::SerialQuery { session: 7, serial: 2 }, Version::V1);
    assert_eq!(script.hear(&[Pdu::SerialNotify { session: 7, serial: 3 }]), [query]);
    // It does not remember that far.
    assert_eq!(script.hear(&[Pdu::CacheReset]), [send(&Pdu::ResetQuery, Version::V1)]);
    assert_eq!(script.answer(7, 9, &[(true, a)]), [data(&[a])]);
    assert_eq!(script.client.serial(), Some((7, 9)));
}

#[test]
fn a_cache_that_notifies_without_end_is_asked_once_a_second() {
    let mut script = Script::connected();
    script.said();
    script.answer(7, 1, &[]);
    let mut queries = 0;
    for serial in 2..100 {
        let said = script.hear(&[Pdu::SerialNotify { session: 7, serial }]);
        if !said.is_empty() {
            queries += 1;
            script.answer(7, serial, &[]);
        }
    }
    assert_eq!(queries, 0);
    script.sleep(1);
    assert_eq!(script.said().len(), 1);
}

#[test]
fn a_lost_connection_is_made_again_with_growing_waits_and_data_counts_until_it_expires() {
    let a = vrp("10.0.0.0/8", 8, 1);
    let mut script = Script::connected();
    script.said();
    script.answer(7, 1, &[(true, a)]);
    script.client.handle_closed(at(0), "reset by peer".to_owned());
    assert_eq!(script.client.last_error(), Some("reset by peer"));
    for wait in [1, 2, 4, 8, 16, 20, 20] {
        script.sleep(wait - 1);
        assert_eq!(script.said(), [], "{wait}");
        script.sleep(1);
        assert_eq!(script.said(), [Output::Connect], "{wait}");
        script.client.handle_closed(at(script.now), "refused".to_owned());
    }
    assert_eq!(script.client.len(), 1);
    // 700 s after the answer.
    while script.now < 700 {
        script.sleep(1);
        if script.said().contains(&Output::Connect) {
            script.client.handle_closed(at(script.now), "refused".to_owned());
        }
    }
    assert!(script.client.is_empty());
    assert_eq!(script.client.serial(), None);
}

#[test]
fn what_was_known_before_a_lost_connection_is_continued() {
    let mut script = Script::connected();
    script.said();
    script.answer(7, 1, &[]);
    script.client.handle_closed(at(0), "gone".to_owned());
    script.sleep(1);
    script.client.handle_connected(at(1));
    assert_eq!(script.said(), [Output::Connect, send(&Pdu::SerialQuery { session: 7, serial: 1 }, Version::V1)]);
    // The cache was started anew: RFC 8210 section 5.1.
    let said = script.answer(8, 1, &[]);
    assert_eq!(said[0], Output::Data(None));
    assert_eq!(said.last(), Some(&Output::Close));
    script.sleep(2);
    script.client.handle_connected(at(3));
    assert_eq!(script.said(), [Output::Connect, send(&Pdu::ResetQuery, Version::V1)]);
}

#[test]
fn a_cache_of_version_0_is_spoken_to_in_version_0() {
    let a = vrp("10.0.0.0/8", 8, 1);
    // It answers in its own version.
    let mut script = Script::connected();
    script.said();
    script.version = Version::V0;
    assert_eq!(script.answer(7, 1, &[(true, a)]), [data(&[a])]);
    assert_eq!(script.client.version(), Some(Version::V0));
    assert_eq!(script.client.intervals(), [3600, 600, 7200].map(Duration::from_secs));
    script.sleep(3600);
    assert_eq!(script.said(), [send(&Pdu::SerialQuery { session: 7, serial: 1 }, Version::V0)]);
    // It says that it knows no other, or just hangs up.
    for report in [true, false] {
        let mut script = Script::connected();
        script.said();
        if report {
            let report = error_report(Version::V0, ErrorCode::UNSUPPORTED_VERSION, &[], "only 0");
            script.client.handle_bytes(at(0), &report);
            assert_eq!(script.said(), [Output::Close]);
        } else {
            script.client.handle_closed(at(0), "closed".to_owned());
            script.sleep(1);
        }
        script.sleep(0);
        script.client.handle_connected(at(script.now));
        assert_eq!(script.said(), [Output::Connect, send(&Pdu::ResetQuery, Version::V0)]);
    }
}

#[test]
fn faults_end_the_session_with_the_report_that_rfc_8210_asks_for_and_keep_what_counts() {
    let (a, b) = (vrp("10.0.0.0/8", 8, 1), vrp("11.0.0.0/8", 8, 1));
    let many: Vec<Pdu> = (0..11).map(|asn| Pdu::Prefix { announce: true, vrp: vrp("12.0.0.0/8", 8, asn) }).collect();
    let response = Pdu::CacheResponse { session: 7 };
    let end = Pdu::EndOfData { session: 7, serial: 2, timers: Some([Duration::from_secs(100); 3]) };
    let announce = |vrp| Pdu::Prefix { announce: true, vrp };
    for (pdus, code) in [
        (vec![response.clone(), announce(a), end.clone()], ErrorCode::DUPLICATE_ANNOUNCEMENT),
        (vec![response.clone(), announce(b), announce(b), end.clone()], ErrorCode::DUPLICATE_ANNOUNCEMENT),
        (vec![response.clone(), Pdu::Prefix { announce: false, vrp: b }, end.clone()], ErrorCode::UNKNOWN_WITHDRAWAL),
        ([vec![response.clone()], many].concat(), ErrorCode::INTERNAL_ERROR),
        (vec![announce(b)], ErrorCode::CORRUPT_DATA),
        (vec![end], ErrorCode::CORRUPT_DATA),
        (vec![response.clone(), response], ErrorCode::CORRUPT_DATA),
        (vec![Pdu::ResetQuery], ErrorCode::UNSUPPORTED_PDU),
    ] {
        let mut script = Script::connected();
        script.said();
        script.answer(7, 1, &[(true, a)]);
        script.sleep(100);
        script.said();
        let said = script.hear(&pdus);
        let [Output::Send(report), Output::Close] = &said[..] else { panic!("{pdus:?}: {said:?}") };
        let report = next_pdu(&mut BytesMut::from(&report[..])).unwrap();
        assert!(
            matches!(report, Some((Version::V1, Pdu::Error { code: reported, .. })) if reported == code),
            "{report:?}"
        );
        assert_eq!(script.client.len(), 1);
        script.sleep(1);
        script.client.handle_connected(at(script.now));
        assert_eq!(script.said(), [Output::Connect, send(&Pdu::ResetQuery, Version::V1)], "{pdus:?}");
    }
}

#[test]
fn a_cache_without_data_or_without_a_word_is_asked_again() {
    let mut script = Script::connected();
    script.said();
    let none = Pdu::Error { code: ErrorCode::NO_DATA_AVAILABLE, text: String::new() };
    assert_eq!(script.hear(&[none]), []);
    script.sleep(1);
    assert_eq!(script.said(), [send(&Pdu::ResetQuery, Version::V1)]);
    script.sleep(60);
    assert_eq!(script.said(), [Output::Close]);
    assert!(script.client.last_error().unwrap().contains("owed an answer"));
    // An Error Report is never answered.
    script.sleep(2);
    script.client.handle_connected(at(script.now));
    script.said();
    let fatal = Pdu::Error { code: ErrorCode::INTERNAL_ERROR, text: "disk full".to_owned() };
    assert_eq!(script.hear(&[fatal]), [Output::Close]);
    assert_eq!(script.client.last_error(), Some("the cache reported Internal Error: disk full"));
}

#[test]
fn the_operators_intervals_win_over_the_caches() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let config = ClientConfig { refresh: seconds(30), retry: None, expire: seconds(900), max_vrps: 10 };
    let mut script = Script::new();
    script.client = Client::new(config, at(0));
    script.sleep(0);
    script.client.handle_connected(at(0));
    script.answer(7, 1, &[]);
    assert_eq!(script.client.intervals(), [30, 20, 900].map(Duration::from_secs));
    assert_eq!(Arc::<[Vrp]>::default().len(), script.client.len());
}

#[test]
fn data_is_asked_for_again_before_it_expires_whoever_says_which_interval() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (expire, said, intervals) in [
        // A version 0 cache says none, and an operator only how long data counts.
        (seconds(900), None, [450, 600, 900]),
        (seconds(600), None, [300, 300, 600]),
        (seconds(900), Some([7200, 7200, 9000]), [450, 450, 900]),
        // A cache that contradicts itself.
        (None, Some([7200, 20, 700]), [350, 20, 700]),
        (None, Some([100, 20, 700]), [100, 20, 700]),
    ] {
        let config = ClientConfig { refresh: None, retry: None, expire, max_vrps: 10 };
        let mut script = Script::new();
        script.client = Client::new(config, at(0));
        script.sleep(0);
        script.client.handle_connected(at(0));
        let one = Pdu::Prefix { announce: true, vrp: vrp("10.0.0.0/8", 8, 1) };
        let timers = said.map(|said| said.map(Duration::from_secs));
        script.version = if timers.is_some() { Version::V1 } else { Version::V0 };
        script.hear(&[Pdu::CacheResponse { session: 7 }, one, Pdu::EndOfData { session: 7, serial: 1, timers }]);
        assert_eq!(script.client.intervals(), intervals.map(Duration::from_secs), "{expire:?} {said:?}");
        script.sleep(intervals[0]);
        let query = send(&Pdu::SerialQuery { session: 7, serial: 1 }, script.version);
        assert_eq!((script.said(), script.client.len()), (vec![query], 1), "{expire:?} {said:?}");
    }
}
