//! UPDATEs through a session.

use super::super::*;
use super::pair::{A, B, END_OF_RIB, KEEPALIVE, Pair, config};

#[test]
fn an_update_that_is_sent_stands_for_a_keepalive() {
    let mut pair = Pair::established(config(A), config(B));
    let before = pair.sent(A, KEEPALIVE);
    let end_of_rib = Bytes::from_static(&END_OF_RIB);
    for _ in 0..20 {
        pair.advance(Duration::from_secs(20));
        pair.sessions[A].send(pair.now, end_of_rib.clone());
        pair.take(A);
    }
    assert_eq!(pair.sent(A, KEEPALIVE), before);
    assert_eq!(pair.states(), [State::Established; 2]);
}

#[test]
fn what_one_read_brought_is_one_batch_and_counted() {
    let mut pair = Pair::established(config(A), config(B));
    pair.inject(A, pair.sessions[A].established().unwrap().direction, &END_OF_RIB.repeat(50));
    let batches: Vec<_> = pair.said[A]
        .iter()
        .filter_map(|output| if let Output::Updates(updates) = output { Some(updates.len()) } else { None })
        .collect();
    assert_eq!(batches, [50]);
    assert_eq!(pair.sessions[A].counters().received[1], 50);
}
