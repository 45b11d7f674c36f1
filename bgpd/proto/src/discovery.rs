//! Who the neighbour on a link without configured addresses is: pure, one value for each link.
//!
//! Both ends advertise themselves as routers (RFC 4861), as FRR does for its unnumbered neighbours, and each hears the
//! other's link-local address. A neighbour that opens a connection first is known by that. `handle_*` tell what happened,
//! [`Discovery::poll`] says what to do, [`Discovery::poll_timeout`] when to call [`Discovery::handle_timeout`].
//!
//! There is one neighbour on a link: the first that is heard. Others are refused, until the first has been silent for
//! [`SILENCE`] without a session: then it is gone, or has another address now. Of the others only the last is remembered,
//! and they are told of every [`QUIET`] at most, so that a flood of them costs neither memory nor a log.

pub mod packet;

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::time::Instant;
use packet::Packet;

/// Between two advertisements once all who are there have heard the first ones.
pub const INTERVAL: Duration = Duration::from_secs(10);
/// The first ones come faster; each pause is twice the one before, up to [`INTERVAL`].
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// How many times a link that has just come up is asked for its routers (RFC 4861 section 10, `MAX_RTR_SOLICITATIONS`).
const SOLICITATIONS: u8 = 3;
/// The least between an advertisement and the answer to a solicitation (RFC 4861 section 10, `MIN_DELAY_BETWEEN_RAS`).
const LEAST_PAUSE: Duration = Duration::from_secs(3);
/// A neighbour without a session that was not heard for so long makes room for another.
pub const SILENCE: Duration = Duration::from_secs(30);
/// The least between two refusals that are told.
pub const QUIET: Duration = Duration::from_secs(60);

/// What the owner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this message to all nodes (an advertisement) or all routers (a solicitation) of the link, with hop limit 255.
    Send(Packet),
    /// The neighbour has this address now.
    Found(Ipv6Addr),
    /// There is no neighbour any more: the link is gone, for this reason.
    Lost(String),
    /// This one is refused, because there is another.
    Refused(Ipv6Addr),
}

/// How a neighbour was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// By its router advertisement.
    Advertisement,
    /// By a connection that it opened.
    Connection,
}

/// The neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// How it was found.
    pub heard: Heard,
    /// When it last said something.
    pub last: Instant,
}

/// Our end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It carries packets, and this is our link-local address on it.
    Up(Ipv6Addr),
    /// It does not, for this reason.
    Down(String),
}

/// The search on one link.
#[derive(Debug)]
pub struct Discovery {
    end: End,
    neighbour: Option<Neighbour>,
    /// The last one that was refused.
    refused: Option<Ipv6Addr>,
    /// When a refusal was last told.
    told: Option<Instant>,
    /// There is a session with the neighbour.
    session: bool,
    next: Option<Instant>,
    pause: Duration,
    solicitations: u8,
    last_sent: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Discovery {
    /// A link of which nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            end: End::Down("it has not been looked at yet".to_owned()),
            neighbour: None,
            refused: None,
            told: None,
            session: false,
            next: None,
            pause: FIRST_INTERVAL,
            solicitations: 0,
            last_sent: None,
            outputs: VecDeque::new(),
        }
    }

    /// What our end of the link is like now. With another address of ours, or without one, the neighbour is to be found anew.
    pub fn handle_end(&mut self, now: Instant, end: End) {
        if self.end == end {
            return;
        }
        let still_down = matches!((&self.end, &end), (End::Down(_), End::Down(_)));
        if self.neighbour.take().is_some() {
            let reason = match &end {
                End::Up(_) => "our own link-local address has changed".to_owned(),
                End::Down(reason) => reason.clone(),
            };
            self.outputs.push_back(Output::Lost(reason));
        }
        self.end = end;
        if still_down {
            return;
        }
        (self.refused, self.session) = (None, false);
        (self.pause, self.solicitations, self.last_sent) = (FIRST_INTERVAL, SOLICITATIONS, None);
        self.next = matches!(self.end, End::Up(_)).then_some(now);
        self.handle_timeout(now);
    }

    /// An ICMPv6 message came in on the link.
    pub fn handle_message(&mut self, now: Instant, source: Ipv6Addr, hop_limit: u8, message: &[u8]) {
        let End::Up(own) = self.end else { return };
        if source == own {
            return;
        }
        match Packet::parse(message, source, hop_limit) {
            Some(Packet::Solicitation) => self.answer(now),
            Some(Packet::Advertisement) => {
                self.hear(now, source, Heard::Advertisement);
            }
            None => {}
        }
    }

    /// Somebody on the link has opened a connection; whether it is the neighbour.
    pub fn handle_connection(&mut self, now: Instant, source: Ipv6Addr) -> bool {
        matches!(self.end, End::Up(own) if own != source) && self.hear(now, source, Heard::Connection)
    }

    /// The session with the neighbour is up, or no more: as long as it is, no other takes the neighbour's place.
    pub fn handle_session(&mut self, now: Instant, up: bool) {
        self.session = up;
        if let Some(neighbour) = &mut self.neighbour {
            neighbour.last = now;
        }
    }

    /// Time has come: the next advertisement is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        if self.solicitations > 0 && self.neighbour.is_none() {
            self.solicitations -= 1;
            self.outputs.push_back(Output::Send(Packet::Solicitation));
        }
        self.advertise(now);
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).min(INTERVAL);
    }

    /// When to call [`Discovery::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The neighbour, once it has been found.
    #[must_use]
    pub fn neighbour(&self) -> Option<Neighbour> {
        self.neighbour
    }

    /// How the search stands, for a person.
    #[must_use]
    pub fn status(&self, now: Instant) -> String {
        let found = match (&self.end, &self.neighbour) {
            (End::Down(reason), _) => return format!("not looked for: {reason}"),
            (End::Up(_), None) => "no router has been heard yet".to_owned(),
            (End::Up(_), Some(Neighbour { heard, last, .. })) => {
                let how = match heard {
                    Heard::Advertisement => "found by its router advertisement",
                    Heard::Connection => "found by a connection that it opened",
                };
                format!("{how}, last heard {} s ago", now.saturating_since(*last).as_secs())
            }
        };
        match self.refused {
            Some(address) => {
                format!("{found}; {address} is on the link too and was refused: there may be one neighbour")
            }
            None => found,
        }
    }

    fn advertise(&mut self, now: Instant) {
        self.last_sent = Some(now);
        self.outputs.push_back(Output::Send(Packet::Advertisement));
    }

    /// RFC 4861 section 6.2.6, without its random delay: there are two on the link.
    fn answer(&mut self, now: Instant) {
        match self.last_sent {
            Some(last) if now.saturating_since(last) < LEAST_PAUSE => {
                self.next = self.next.map(|next| next.min(last + LEAST_PAUSE));
            }
            Some(_) | None => self.advertise(now),
        }
    }

    /// Whether it is the neighbour who is heard here.
    fn hear(&mut self, now: Instant, source: Ipv6Addr, heard: Heard) -> bool {
        if let Some(known) = &mut self.neighbour {
            if known.address == source {
                known.last = now;
                return true;
            }
            if self.session || now.saturating_since(known.last) < SILENCE {
                let another = self.refused.replace(source) != Some(source);
                if another && self.told.is_none_or(|told| now.saturating_since(told) >= QUIET) {
                    self.told = Some(now);
                    self.outputs.push_back(Output::Refused(source));
                }
                return false;
            }
        }
        self.refused = self.refused.filter(|refused| *refused != source);
        self.neighbour = Some(Neighbour { address: source, heard, last: now });
        self.outputs.push_back(Output::Found(source));
        true
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
