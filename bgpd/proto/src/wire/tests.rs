//! Properties of whole messages: what is sent comes back, and nothing that comes can do harm.

mod incidents;
mod routers;

use proptest::prelude::*;

use super::frame::{Frame, MessageType, next_frame};
use super::update::UpdateBuilder;
use super::{MAX_MESSAGE_LEN, Message, UpdateContext, arbitrary};
use crate::types::{Family, FamilySet};

/// What a peer with the same context reads from `stream`.
pub(super) fn read_all(mut stream: &[u8], context: &UpdateContext) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(frame) = next_frame(&mut stream, context.max_message_len).unwrap() {
        messages.push(Message::parse(frame, context).unwrap());
    }
    assert!(stream.is_empty(), "{} octets are left", stream.len());
    messages
}

/// An internal session with four-octet AS numbers, both families, IPv6 next hops of IPv4 prefixes and nothing else.
pub(super) fn plain() -> UpdateContext {
    UpdateContext {
        families: FamilySet::from_iter(Family::ALL),
        extended_next_hop: FamilySet::from_iter([Family::Ipv4Unicast]),
        ..UpdateContext::PLAIN
    }
}

#[test]
fn a_keepalive_is_its_header() {
    let octets = Message::Keepalive.encode(&plain());
    assert_eq!(octets[..], [&[0xff; 16][..], &[0, 19, 4]].concat());
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(message in arbitrary::message_but_update(), context in arbitrary::context()) {
        let octets = message.encode(&context);
        prop_assert_eq!(read_all(&octets, &context), vec![message]);
    }

    #[test]
    fn random_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..200), context in arbitrary::context()) {
        for kind in MessageType::ALL {
            let _ = Message::parse(Frame { kind, body: &body }, &context);
        }
    }

    #[test]
    fn damaged_updates_never_panic(
        attributes in arbitrary::family().prop_flat_map(arbitrary::attributes),
        nlri in arbitrary::nlri_of_any_family(),
        context in arbitrary::context(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut stream = Vec::new();
        let _ = UpdateBuilder::new(context).announce(&attributes, &nlri, &mut stream);
        UpdateBuilder::new(context).withdraw(&nlri, &mut stream);
        let mut rest = &stream[..];
        while let Ok(Some(frame)) = next_frame(&mut rest, context.max_message_len) {
            let mut body = frame.body.to_vec();
            for (at, octet) in &damage {
                let at = at.index(body.len());
                body[at] = *octet;
            }
            let _ = Message::parse(Frame { kind: frame.kind, body: &body }, &context);
            body.truncate(cut.index(body.len()));
            let _ = Message::parse(Frame { kind: frame.kind, body: &body }, &context);
        }
    }

    #[test]
    fn damaged_opens_never_panic(
        message in arbitrary::message_but_update(),
        at in any::<prop::sample::Index>(),
        octet: u8,
    ) {
        let mut octets = message.encode(&plain()).to_vec();
        let at = at.index(octets.len());
        octets[at] = octet;
        if let Ok(Some(frame)) = next_frame(&mut &octets[..], MAX_MESSAGE_LEN) {
            let _ = Message::parse(frame, &plain());
        }
    }
}
