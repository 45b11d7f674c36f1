//! What the kernel announces, taken in.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use ipnetwork::IpNetwork;
use netlink_packet_core::NLM_F_REPLACE;
use netlink_packet_route::RouteNetlinkMessage;

use super::{Engine, SETTLE, overlay_fights::Part, repair::Meddling};
use crate::{
    PROTOCOL, culprit,
    kernel_route::{KernelHop, KernelPath, KernelRoute, Kind, read},
    links::LinkChange,
    netlink::Notice,
    next_hops::{Group, NextHops},
};

/// What a burst of notices amounts to.
#[derive(Debug, Default)]
struct Burst {
    /// Messages were lost.
    lost: bool,
    /// Devices or addresses changed.
    links: bool,
    /// Next-hop objects may not be what they were.
    next_hops: bool,
    /// Devices that are gone or switched off.
    down: Vec<u32>,
    /// Something came up or became free: what failed may work now.
    better: bool,
    /// Routes that are not what they were, with what another program did; nothing when it was the kernel itself.
    touched: HashMap<IpNetwork, Option<Meddling>>,
    /// The netlink port of somebody else who touched a next-hop object.
    object_port: Option<u32>,
}

impl Engine {
    /// Takes in everything announced so far, then acts once.
    pub(super) fn heard(&mut self) {
        let notices = self.monitor.hear();
        if notices.is_empty() {
            return;
        }
        let mut burst = Burst::default();
        for notice in notices {
            match notice {
                Notice::Message { message, flags, port } => self.take(message, flags, port, &mut burst),
                Notice::NextHop { id, port } if NextHops::concerns(id) => {
                    burst.next_hops = true;
                    burst.object_port = burst.object_port.or(Some(port).filter(|port| *port != 0));
                }
                Notice::NextHop { .. } => {}
                Notice::ReversePath { link } => self.conduct_soon(link),
                Notice::Lost => burst.lost = true,
            }
        }
        if burst.lost {
            return self.resync();
        }
        let mut lost = if burst.next_hops { self.reread_meddled_next_hops(burst.object_port) } else { Vec::new() };
        lost.extend(self.lose_links(&burst.down));
        if burst.links {
            self.tend_overlay_soon();
        }
        if burst.links || burst.next_hops {
            self.links_changed();
            self.reconcile(lost);
            self.ask_again();
        }
        if burst.better {
            self.troubles.hope(Instant::now());
        }
        if !burst.touched.is_empty() {
            let (meddled, silent): (Vec<_>, Vec<_>) = burst.touched.into_iter().partition(|(_, what)| what.is_some());
            self.repair(meddled.into_iter().filter_map(|(prefix, what)| Some((prefix, what?))).collect());
            self.reconcile(silent.into_iter().map(|(prefix, _)| prefix));
            self.ask_again();
        }
    }

    fn take(&mut self, message: RouteNetlinkMessage, flags: u16, port: u32, burst: &mut Burst) {
        match message {
            RouteNetlinkMessage::NewLink(link) => {
                self.device_touched(link.header.index, port);
                burst.links |= self.overlay_altered(&link);
                if port != 0 {
                    self.conduct_soon(link.header.index);
                }
                let change = self.links.learn(&link);
                self.link_changed(link.header.index, change, burst);
            }
            RouteNetlinkMessage::DelLink(link) => {
                self.device_touched(link.header.index, port);
                let change = self.links.unlearn(&link);
                self.link_changed(link.header.index, change, burst);
            }
            RouteNetlinkMessage::NewAddress(address) => {
                let news = self.links.address(&address, true).is_some();
                burst.links |= news;
                burst.better |= news;
            }
            RouteNetlinkMessage::DelAddress(address) => {
                self.device_touched(address.header.index, port);
                self.conduct_soon(address.header.index);
                if let Some(lost) = self.links.address(&address, false) {
                    burst.links = true;
                    self.address_lost(lost, address.header.index);
                }
            }
            RouteNetlinkMessage::NewRoute(message) => {
                if let Some(route) = read(&message) {
                    self.route_changed(route, Some(flags & NLM_F_REPLACE != 0), port, burst);
                }
            }
            RouteNetlinkMessage::DelRoute(message) => {
                if let Some(route) = read(&message) {
                    self.route_changed(route, None, port, burst);
                }
            }
            RouteNetlinkMessage::NewNeighbour(entry) | RouteNetlinkMessage::DelNeighbour(entry) => {
                let ours = self.overlay.as_ref().is_some_and(|overlay| overlay.link == entry.header.ifindex);
                if ours {
                    self.overlay_fights.touched(Part::Entries, port);
                    self.timers.neighbours.get_or_insert(Instant::now() + SETTLE);
                }
            }
            _ => {}
        }
    }

    fn device_touched(&mut self, link: u32, port: u32) {
        if self.overlay.as_ref().is_some_and(|overlay| overlay.link == link) {
            self.overlay_fights.touched(Part::Device, port);
        }
    }

    fn link_changed(&mut self, index: u32, change: LinkChange, burst: &mut Burst) {
        match change {
            LinkChange::Nothing => {}
            LinkChange::Better => (burst.links, burst.better) = (true, true),
            LinkChange::Worse => {
                burst.links = true;
                // The kernel has deleted them without a word.
                burst.next_hops |= self.next_hops.uses(index);
                // Without a carrier alone, routes stay.
                if self.links.by_index(index).is_none_or(|link| !link.up) {
                    burst.down.push(index);
                }
            }
        }
    }

    /// These devices are gone or switched off, and with them what left by them, in IPv4 without a word. Returns the routes.
    fn lose_links(&mut self, down: &[u32]) -> Vec<IpNetwork> {
        if down.is_empty() {
            return Vec::new();
        }
        let (lost, split) = self.ledger.lost_links(down);
        for v6 in [false, true] {
            // Where others' routes leave the book does not say.
            if split || self.ledger.has_foreign(v6) {
                self.read_soon(v6);
            }
        }
        lost
    }

    /// Routes with this source are gone, and those by a device that has no other address, in IPv4 without a word; those of IPv6
    /// stay, without the source.
    fn address_lost(&mut self, address: IpAddr, link: u32) {
        let v6 = address.is_ipv6();
        let by_link = || {
            let used = self.ledger.uses(link) || self.next_hops.uses(link);
            used && !self.links.has_address4(link) || self.ledger.has_foreign(false)
        };
        if self.ledger.has_source(address) || !v6 && by_link() {
            self.read_soon(v6);
        }
    }

    /// `there`: the route is there now, and whether in place of another; `None`: it is gone.
    fn route_changed(&mut self, route: KernelRoute, there: Option<bool>, port: u32, burst: &mut Burst) {
        if !self.ledger.concerns(&route) {
            // Somebody else's, but next hops may be reached by it.
            self.ask_again();
            return;
        }
        let prefix = route.prefix;
        let theirs = route.protocol != PROTOCOL;
        let what = if port == 0 {
            None
        } else if theirs {
            let owner = culprit::protocol(route.protocol);
            let done = if there.is_some() { "took" } else { "had" };
            Some(format!("a route of protocol {owner} {done} its place"))
        } else if there.is_some() {
            Some(format!("changed to {}", self.words(&route.path)))
        } else {
            Some("removed".to_owned())
        };
        let news = match there {
            Some(instead) => self.ledger.saw(route, instead),
            None => self.ledger.lost(&route),
        };
        if news && there == Some(true) && theirs {
            // What Linnet wrote before it heard of this may have taken the place back.
            self.read_soon(prefix.is_ipv6());
        }
        if news {
            burst.touched.insert(prefix, what.map(|what| Meddling { what, port }));
        }
    }

    /// A path for people.
    pub(super) fn words(&self, path: &KernelPath) -> String {
        if let Some(object) = path.object {
            return match self.next_hops.group(object) {
                Some(group) => format!("{} (next-hop object {object})", self.group_words(group)),
                None => format!("next-hop object {object}"),
            };
        }
        match path.kind {
            Kind::Unreachable => "unreachable".into(),
            Kind::Blackhole => "blackhole".into(),
            Kind::Other(kind) => format!("a route of type {kind}"),
            Kind::Unicast => self.hop_words(&path.hops),
        }
    }

    /// A group for people.
    pub(super) fn group_words(&self, group: &Group) -> String {
        let hops = self.hop_words(&group.hops);
        match &group.backup {
            Some(backup) => format!("{hops}, backup {}", self.hop_words(std::slice::from_ref(backup))),
            None => hops,
        }
    }

    /// Hops for people.
    fn hop_words(&self, hops: &[KernelHop]) -> String {
        let weighted = hops.iter().any(|hop| hop.weight != 0);
        let hops = hops.iter().map(|hop| {
            let via = hop.via.map(|via| format!("via {via} ")).unwrap_or_default();
            let weight = if weighted { format!(" weight {}", u16::from(hop.weight) + 1) } else { String::new() };
            let encap = hop.encap.map(|encap| format!(" to {}", encap.to)).unwrap_or_default();
            format!("{via}dev {}{encap}{weight}", self.links.name(hop.link))
        });
        hops.collect::<Vec<_>>().join(", ")
    }

    /// Puts next-hop objects right that somebody else changed, with the routes that went with them.
    pub(super) fn mend_next_hops(&mut self) {
        if self.object_fight.as_ref().is_none_or(|fight| fight.truce(Instant::now()).is_none()) {
            self.next_hops.resume();
        } else if let Some(fight) = &self.object_fight {
            self.timers.next_hops = fight.until();
        }
        let mut lost = self.reread_next_hops();
        lost.append(&mut self.lost_with_objects);
        self.links_changed();
        self.reconcile(lost);
    }

    /// Messages were lost: reads everything and repairs what is not as it should be.
    pub(super) fn resync(&mut self) {
        tracing::warn!("the kernel announced more than could be heard; reading everything again");
        let links = self.read_links();
        self.report(links);
        self.inspect_overlay();
        self.tend_overlay();
        self.timers.conduct = self.overlay.as_ref().map(|_| Instant::now());
        let lost = self.reread_next_hops();
        for v6 in [false, true] {
            self.reread(v6);
        }
        self.reconcile(lost);
        self.timers.neighbours = Some(Instant::now());
        self.timers.peers = self.timers.peers.map(|_| Instant::now());
        self.links_changed();
        self.ask_again();
        self.troubles.hope(Instant::now());
        self.outbox.resynced();
    }
}
