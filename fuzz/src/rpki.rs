//! What an RPKI cache says, by bytes: however they are cut, the client makes the same of them, and takes no more than it
//! was told to.

use std::time::Duration;

use bgp_proto::rtr::{Client, ClientConfig};
use bgp_proto::time::Instant;

const MOST: usize = 64;

/// What a cache sends, behind an octet that says how the bytes are cut.
pub fn rpki_cache(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let piece = usize::from(*how).max(1);
    let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
    assert_eq!(said(&pieces), said(&[stream]), "in pieces of {piece}");
}

fn said(pieces: &[&[u8]]) -> Vec<String> {
    let now = Instant::START + Duration::from_secs(1);
    let config = ClientConfig { refresh: None, retry: None, expire: None, max_vrps: MOST };
    let mut client = Client::new(config, now);
    client.handle_connected(now);
    let mut said = Vec::new();
    // Before the first piece it says its own: nothing at all may be cut into no piece.
    for piece in [&[][..]].iter().chain(pieces) {
        client.handle_bytes(now, piece);
        said.extend(std::iter::from_fn(|| client.poll()).map(|output| format!("{output:?}")));
        assert!(client.len() <= MOST, "{} VRPs", client.len());
        assert!(client.poll_timeout().is_none_or(|due| due >= now));
    }
    said.push(format!("{:?} {:?} {:?}", client.state(), client.serial(), client.last_error()));
    said
}
