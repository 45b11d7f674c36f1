//! What a monitoring station hears of it: messages of BMP (RFC 7854, RFC 9069).

use std::net::IpAddr;
use std::time::Duration;

use super::{Ending, What, Witness, each_message};
use crate::bmp::{self, PeerDown, PeerHeader, Stage, Statistic};
use crate::rib::PeerCounts;
use crate::session::DownReason;
use crate::types::{Asn, Family, HoldTime, RouterId};
use crate::wire::capability::Capability;
use crate::wire::{Message, Notification, Open, UpdateContext};

/// By whom and of what a station is told.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    /// What it wants.
    pub stages: &'a [Stage],
    /// Our AS.
    pub local_as: Asn,
    /// Our BGP Identifier.
    pub router_id: RouterId,
}

impl Voice<'_> {
    /// Says that Loc-RIB is monitored, if it is (RFC 9069 section 5.2): the OPENs are what a peer would have to send to hear it.
    /// `at`: since the epoch, as everywhere here.
    #[must_use]
    pub fn loc_rib_up(&self, at: Duration) -> Option<Vec<u8>> {
        if !self.stages.contains(&Stage::LocRib) {
            return None;
        }
        let families = Family::ALL.into_iter().map(Capability::Multiprotocol);
        let open = Open {
            asn: self.local_as,
            hold_time: HoldTime::default(),
            router_id: self.router_id,
            capabilities: families.chain([Capability::FourOctetAs(self.local_as)]).collect(),
        };
        let open = Message::Open(open).encode(&context());
        let header = self.loc_rib_header(at);
        Some(bmp::peer_up(&header, header.address, (0, 0), &open, &open))
    }

    /// What there is to tell, as whole messages.
    #[must_use]
    pub fn say(&self, at: Duration, what: &What) -> Vec<Vec<u8>> {
        match what {
            What::Up(of) => {
                let carrier = &of.carrier;
                let (local, ports) = (of.established.local_address, (carrier.local_port, carrier.remote_port));
                let up = |stage| {
                    bmp::peer_up(&header(of, stage, at), local, ports, &carrier.sent_open, &carrier.received_open)
                };
                self.adj_rib_in().map(up).into_iter().collect()
            }
            What::Down(of, ending) => {
                let down = |stage| bmp::peer_down(&header(of, stage, at), &reason(ending));
                self.adj_rib_in().map(down).into_iter().collect()
            }
            What::Updates { of, stage, messages } => {
                let header = match of {
                    Some(of) => header(of, *stage, at),
                    None => self.loc_rib_header(at),
                };
                each_message(messages).map(|message| bmp::route_monitoring(&header, message)).collect()
            }
            What::Told => Vec::new(),
        }
    }

    /// A session's numbers; `by_family`: paths held and accepted, in the order of [`Family::ALL`]. `None`: the station wants none.
    #[must_use]
    pub fn statistics(
        &self,
        at: Duration,
        of: &Witness,
        counts: &PeerCounts,
        by_family: [(usize, usize); 2],
    ) -> Option<Vec<u8>> {
        let stage = self.adj_rib_in()?;
        let rejected = u32::try_from(counts.received.saturating_sub(counts.accepted)).unwrap_or(u32::MAX);
        let mut statistics = vec![Statistic::Rejected(rejected), Statistic::AdjRibIn(counts.received as u64)];
        for (family, (received, _)) in Family::ALL.into_iter().zip(by_family) {
            statistics.push(Statistic::AdjRibInOf(family.afi(), family.safi(), received as u64));
        }
        statistics.push(Statistic::AdjRibOut(counts.advertised as u64));
        Some(bmp::stats_report(&header(of, stage, at), &statistics))
    }

    fn loc_rib_header(&self, time: Duration) -> PeerHeader {
        PeerHeader {
            stage: Stage::LocRib,
            address: IpAddr::V4(self.router_id.0),
            asn: self.local_as,
            router_id: self.router_id,
            time,
        }
    }

    /// Peer Up and Peer Down are said once for both sides of the policy where both are told: it is one peer.
    fn adj_rib_in(&self) -> Option<Stage> {
        let adj = [Stage::PrePolicy, Stage::PostPolicy];
        adj.into_iter().find(|stage| self.stages.contains(stage))
    }
}

fn header(of: &Witness, stage: Stage, time: Duration) -> PeerHeader {
    PeerHeader {
        stage,
        address: of.address(),
        asn: of.established.remote_as,
        router_id: of.established.remote_id,
        time,
    }
}

/// RFC 7854 section 4.9.
fn reason(ending: &Ending) -> PeerDown {
    let bytes = |notification: &Notification| Message::Notification(notification.clone()).encode(&context()).to_vec();
    match ending {
        Ending::Removed => PeerDown::Deconfigured,
        Ending::Down(reason) => match reason {
            DownReason::Sent(notification) => PeerDown::Notified(bytes(notification)),
            DownReason::Received(notification) => PeerDown::RemoteNotified(bytes(notification)),
            DownReason::ConnectionLost(_) => PeerDown::RemoteClosed,
            DownReason::HoldTimerExpired => PeerDown::Notified(bytes(&Notification::hold_timer_expired())),
            DownReason::SendHoldTimerExpired => PeerDown::Notified(bytes(&Notification::send_hold_timer_expired())),
            // Events 2 (ManualStop) and 8 (AutomaticStop) of RFC 4271 section 8.1.
            DownReason::Stopped { silent: true } => PeerDown::Closed(2),
            DownReason::Stopped { silent: false } => PeerDown::Closed(8),
        },
    }
}

/// OPEN and NOTIFICATION read the same in every session.
fn context() -> UpdateContext {
    UpdateContext {
        four_octet_as: true,
        external: true,
        families: Default::default(),
        add_path: Default::default(),
        extended_next_hop: Default::default(),
        link: None,
        max_message_len: 4096,
    }
}
