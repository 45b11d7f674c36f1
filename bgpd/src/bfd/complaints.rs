//! Packets that were discarded, told of without letting them fill the log.

use std::net::IpAddr;
use std::time::Duration;

use bgp_proto::bfd::Discard;
use bgp_proto::time::Instant;

/// One warning in this time, however many come.
const EVERY: Duration = Duration::from_secs(60);

/// How many there were since somebody was last told.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    told: Option<Instant>,
    since: u64,
}

impl Complaints {
    /// One was discarded.
    pub(super) fn discarded(&mut self, now: Instant, source: IpAddr, reason: Discard) {
        tracing::trace!(%source, reason = reason.word(), "discarded a BFD packet");
        let Some(next) = advice(reason) else { return };
        self.since += 1;
        if self.told.is_some_and(|told| now - told < EVERY) {
            return;
        }
        self.told = Some(now);
        let discarded = std::mem::take(&mut self.since);
        tracing::warn!(%source, reason = reason.word(), discarded, "discarded BFD packets, the last one from this address: {next}");
    }
}

/// What a person can do about it; `None` where nothing is wrong: a peer that has just restarted, or we have.
fn advice(reason: Discard) -> Option<&'static str> {
    match reason {
        Discard::Authentication => {
            Some("it is authenticated, which Linnet does not support; turn authentication off there for this session")
        }
        Discard::Ttl => {
            Some("it came over more routers than this session allows; set `multihop` in the peer's `bfd` on both ends")
        }
        Discard::UnknownSource => {
            Some("no peer with BFD has this address; give that peer `bfd`, or turn BFD off there")
        }
        Discard::WrongSource => Some(
            "its session is with another address, or over another number of hops; make both ends agree on `multihop`",
        ),
        Discard::Version
        | Discard::TooShort
        | Discard::LengthBeyondPayload
        | Discard::ZeroDetectMult
        | Discard::Multipoint
        | Discard::ZeroMyDiscriminator
        | Discard::ZeroYourDiscriminator => Some("it is malformed"),
        Discard::UnknownDiscriminator | Discard::AdminDown => None,
    }
}
