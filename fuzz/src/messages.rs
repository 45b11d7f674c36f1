//! One message: it is understood or answered, and what was understood is what its own encoding says.

use bgp_proto::types::{Family, FamilySet, Nlri};
use bgp_proto::wire::attributes::Attributes;
use bgp_proto::wire::frame::{Frame, MessageType, next_frame};
use bgp_proto::wire::update::UpdateBuilder;
use bgp_proto::wire::{MAX_EXTENDED_MESSAGE_LEN, MAX_MESSAGE_LEN, Message, Update, UpdateContext};

/// An OPEN's body.
pub fn open(body: &[u8]) {
    once_more(MessageType::Open, body);
}

/// A NOTIFICATION's body.
pub fn notification(body: &[u8]) {
    once_more(MessageType::Notification, body);
}

/// A ROUTE-REFRESH's body.
pub fn route_refresh(body: &[u8]) {
    once_more(MessageType::RouteRefresh, body);
}

/// An UPDATE's body, behind an octet that says what was negotiated.
pub fn update(data: &[u8]) {
    let Some((negotiated, body)) = data.split_first() else { return };
    let context = context(*negotiated);
    let Some(Message::Update(update)) = parse(MessageType::Update, body, &context) else { return };
    let prefixes = update.announced.iter().map(|one| one.nlri.len()).sum::<usize>() + update.withdrawn.len();
    assert!(prefixes <= body.len(), "{prefixes} prefixes from {} octets", body.len());
    assert!(update.announced.len() <= 2, "one set of attributes each for the classic field and for MP_REACH_NLRI");
    read_back(&update, &context);
}

/// Everything that was understood, in order, is what a peer with the same context reads from our own encoding of it, without
/// a fault and within the negotiated length.
fn read_back(update: &Update, context: &UpdateContext) {
    let builder = UpdateBuilder::new(*context);
    let mut stream = Vec::new();
    builder.withdraw(&update.withdrawn, &mut stream);
    let mut announced = Vec::new();
    for announcement in &update.announced {
        // Attributes that came in a long message may fit into no short one: then nothing is appended.
        if builder.announce(&announcement.attributes, &announcement.nlri, &mut stream).is_ok() {
            announced.extend(announcement.nlri.iter().map(|nlri| (*nlri, (*announcement.attributes).clone())));
        }
    }
    let mut read: (Vec<(Nlri, Attributes)>, Vec<Nlri>) = Default::default();
    let mut rest = &stream[..];
    while let Some(frame) = next_frame(&mut rest, context.max_message_len).expect("our own framing") {
        let Ok(Message::Update(update)) = Message::parse(frame, context) else { panic!("our own UPDATE is refused") };
        assert!(update.faults.is_empty(), "our own UPDATE has faults: {:?}", update.faults);
        for announcement in &update.announced {
            read.0.extend(announcement.nlri.iter().map(|nlri| (*nlri, (*announcement.attributes).clone())));
        }
        read.1.extend(&update.withdrawn);
    }
    assert!(rest.is_empty());
    let sorted = |mut all: Vec<_>| {
        all.sort();
        all
    };
    assert_eq!(sorted(read.0), sorted(announced));
    let (mut came, mut went) = (read.1, update.withdrawn.clone());
    came.sort();
    went.sort();
    assert_eq!(came, went);
}

/// A message that reads well reads the same from our own encoding of it.
fn once_more(kind: MessageType, body: &[u8]) {
    let context = context(0);
    let Some(message) = parse(kind, body, &context) else { return };
    let encoded = message.encode(&context);
    let mut rest = &encoded[..];
    let again = next_frame(&mut rest, MAX_EXTENDED_MESSAGE_LEN).expect("our own framing").expect("a whole message");
    assert!(rest.is_empty());
    assert_eq!(Message::parse(again, &context).expect("our own message"), message);
}

/// The message, or nothing if it is answered with a NOTIFICATION, which must fit into a message.
fn parse(kind: MessageType, body: &[u8], context: &UpdateContext) -> Option<Message> {
    let most = context.max_message_len - bgp_proto::wire::HEADER_LEN;
    let body = &body[..body.len().min(most)];
    match Message::parse(Frame { kind, body }, context) {
        Ok(message) => Some(message),
        Err(notification) => {
            let answer = Message::Notification(notification).encode(context);
            assert!(answer.len() <= context.max_message_len, "a NOTIFICATION of {} octets", answer.len());
            None
        }
    }
}

/// What two OPENs may have agreed on, a bit each.
fn context(negotiated: u8) -> UpdateContext {
    let bit = |number: u8| negotiated & 1 << number != 0;
    let families = |bits: [bool; 2]| -> FamilySet {
        Family::ALL.into_iter().zip(bits).filter_map(|(family, on)| on.then_some(family)).collect()
    };
    UpdateContext {
        four_octet_as: !bit(0),
        external: bit(1),
        families: families([!bit(2), !bit(3)]),
        add_path: families([bit(4), bit(5)]),
        extended_next_hop: families([!bit(7), false]),
        link: None,
        max_message_len: if bit(6) { MAX_EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN },
    }
}
