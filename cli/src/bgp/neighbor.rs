//! `linnet bgp neighbor`: everything about a peer.

use linnet_api as api;
use serde::Serialize;

use super::Peer;
use super::restart::{Deferral, GracefulRestart, Stale};
use crate::Answer;
use crate::bfd::Session;
use crate::client::Client;
use crate::drain::Drain;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::Table;
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Neighbors {
    drain: Drain,
    deferral: Option<Deferral>,
    neighbors: Vec<Neighbor>,
}

#[derive(Debug, Serialize)]
struct Neighbor {
    #[serde(flatten)]
    peer: Peer,
    kind: String,
    router_id: Option<String>,
    local_address: Option<String>,
    local_asn: u32,
    hold_time_seconds: Option<u32>,
    configured_hold_time_seconds: u32,
    /// How long the peer may take nothing of what is sent (RFC 9687).
    send_hold_seconds: Option<u32>,
    /// For how long it has taken nothing of what waits.
    untaken_seconds: u32,
    connect_retry_seconds: u32,
    idle_hold_seconds: u32,
    /// How long our OPEN waits for the peer's; 0: not at all.
    delay_open_seconds: u32,
    /// What is left of that, while it waits.
    open_in_seconds: Option<u32>,
    capabilities: Vec<Capability>,
    messages: Vec<Messages>,
    import_filter: Option<String>,
    export_filter: Option<String>,
    next_hop_self: bool,
    blackhole: bool,
    max_prefixes: Option<u32>,
    md5: bool,
    tcp_ao: Vec<TcpAoKey>,
    ttl_security_hops: Option<u32>,
    multihop: Option<u32>,
    passive: bool,
    attributes_discarded: u64,
    treated_as_withdraw: u64,
    times_established: u64,
    unsent_bytes: u64,
    /// Routes that it may hear and that no message can carry.
    withheld: u64,
    /// Of the last session while it is down.
    graceful_restart: Option<GracefulRestart>,
    /// What our OPEN of this session says.
    announced_restart: Option<GracefulRestart>,
    /// How long its End-of-RIB is awaited at most after a restart of this node.
    deferral_seconds: Option<u32>,
    stale: Vec<Stale>,
    communication: Option<String>,
    /// How the last session ended, whatever attempts since then met with.
    last_down: Option<String>,
    last_down_seconds: Option<u64>,
    add_path: Vec<AddPath>,
    configured_add_path: String,
    add_path_send: Option<u32>,
    allow_as_in: u32,
    as_override: bool,
    local_asn_prepend: Option<String>,
    remove_private_asn: Option<String>,
    next_hop: Option<String>,
    default_originate: Option<String>,
    max_prefixes_action: Option<String>,
    max_prefixes_warn_at: Option<u32>,
    /// How long a session that was ended rests; absent where that grows each time, and where it does not start again.
    max_prefixes_restart_after_seconds: Option<u32>,
    max_prefixes_warned: bool,
    prefix_limit_reached: u32,
    restarts_in_seconds: Option<u32>,
    interface: Option<String>,
    discovery: Option<String>,
    role: Option<String>,
    role_strict: bool,
    remote_role: Option<String>,
    graceful_shutdown: bool,
    bfd: Option<Session>,
}

/// Several paths to one prefix of a family (RFC 7911).
#[derive(Debug, Serialize)]
struct AddPath {
    family: String,
    send: bool,
    receive: bool,
}

/// A key of TCP-AO (RFC 5925), by its numbers in both directions.
#[derive(Debug, Serialize)]
struct TcpAoKey {
    send_id: u32,
    receive_id: u32,
    algorithm: String,
    signs: bool,
}

#[derive(Debug, Serialize)]
struct Capability {
    name: String,
    sent: bool,
    received: bool,
}

#[derive(Debug, Serialize)]
struct Messages {
    kind: String,
    sent: u64,
    received: u64,
}

impl From<api::Neighbor> for Neighbor {
    fn from(neighbor: api::Neighbor) -> Self {
        let some = |number: u32| (number != 0).then_some(number);
        let peer = Peer::from(neighbor.peer.unwrap_or_default());
        let capability = |it: api::Capability| Capability { name: it.name, sent: it.sent, received: it.received };
        let add_path = |it: api::AddPathFamily| AddPath { family: it.family, send: it.send, receive: it.receive };
        let tcp_ao = |it: api::TcpAoKey| TcpAoKey {
            send_id: it.send_id,
            receive_id: it.receive_id,
            algorithm: it.algorithm,
            signs: it.signs,
        };
        let messages = |it: api::MessageCount| Messages { kind: it.kind, sent: it.sent, received: it.received };
        Self {
            kind: neighbor.kind,
            router_id: present(neighbor.router_id),
            local_address: present(neighbor.local_address),
            local_asn: neighbor.local_asn,
            hold_time_seconds: peer.is_up().then_some(neighbor.hold_time_seconds),
            configured_hold_time_seconds: neighbor.configured_hold_time_seconds,
            send_hold_seconds: some(neighbor.send_hold_seconds),
            untaken_seconds: neighbor.untaken_seconds,
            connect_retry_seconds: neighbor.connect_retry_seconds,
            idle_hold_seconds: neighbor.idle_hold_seconds,
            delay_open_seconds: neighbor.delay_open_seconds,
            open_in_seconds: neighbor.open_in_seconds,
            capabilities: neighbor.capabilities.into_iter().map(capability).collect(),
            messages: neighbor.messages.into_iter().map(messages).collect(),
            import_filter: present(neighbor.import_filter),
            export_filter: present(neighbor.export_filter),
            next_hop_self: neighbor.next_hop_self,
            blackhole: neighbor.blackhole,
            max_prefixes: some(neighbor.max_prefixes),
            md5: neighbor.md5,
            tcp_ao: neighbor.tcp_ao.into_iter().map(tcp_ao).collect(),
            ttl_security_hops: some(neighbor.ttl_security_hops),
            multihop: some(neighbor.multihop),
            passive: neighbor.passive,
            attributes_discarded: neighbor.attributes_discarded,
            treated_as_withdraw: neighbor.treated_as_withdraw,
            times_established: neighbor.times_established,
            unsent_bytes: neighbor.unsent_bytes,
            withheld: neighbor.withheld,
            graceful_restart: neighbor.graceful_restart.map(GracefulRestart::from),
            announced_restart: neighbor.announced_restart.map(GracefulRestart::from),
            deferral_seconds: neighbor.deferral_seconds,
            stale: neighbor.stale.into_iter().map(Stale::from).collect(),
            communication: present(neighbor.communication),
            last_down_seconds: (!neighbor.last_down.is_empty()).then_some(neighbor.last_down_seconds),
            last_down: present(neighbor.last_down),
            add_path: neighbor.add_path.into_iter().map(add_path).collect(),
            configured_add_path: neighbor.configured_add_path,
            add_path_send: some(neighbor.add_path_send),
            allow_as_in: neighbor.allow_as_in,
            as_override: neighbor.as_override,
            local_asn_prepend: present(neighbor.local_asn_prepend),
            remove_private_asn: present(neighbor.remove_private_asn),
            next_hop: present(neighbor.next_hop),
            default_originate: present(neighbor.default_originate),
            max_prefixes_action: present(neighbor.max_prefixes_action),
            max_prefixes_warn_at: some(neighbor.max_prefixes_warn_at),
            max_prefixes_restart_after_seconds: some(neighbor.max_prefixes_restart_after_seconds),
            max_prefixes_warned: neighbor.max_prefixes_warned,
            prefix_limit_reached: neighbor.prefix_limit_reached,
            restarts_in_seconds: some(neighbor.restarts_in_seconds),
            interface: present(neighbor.interface),
            discovery: present(neighbor.discovery),
            role: present(neighbor.role),
            role_strict: neighbor.role_strict,
            remote_role: present(neighbor.remote_role),
            graceful_shutdown: neighbor.graceful_shutdown,
            bfd: neighbor.bfd.map(Session::from),
            peer,
        }
    }
}

impl Neighbor {
    fn draw(&self, page: &mut Page) {
        let peer = &self.peer;
        let asn = dash(peer.asn.map(|asn| asn.to_string()).as_deref());
        page.line(format!(
            "{} {}, AS {asn}, {}, router id {}",
            peer.name,
            peer.address,
            self.kind,
            dash(self.router_id.as_deref())
        ));
        page.line(format!(
            "  {} for {}, {} so far",
            peer.state,
            peer.since(),
            count(self.times_established, "session")
        ));
        if let Some(error) = &peer.last_error {
            page.line(format!("  last error: {error}"));
        }
        // As long as nothing else was met with since then, that is the last error.
        let ended = self.last_down.as_ref().filter(|reason| peer.last_error.as_ref() != Some(reason));
        if let (Some(reason), Some(seconds)) = (ended, self.last_down_seconds) {
            page.line(format!("  last session: ended {} ago, {reason}", ago(seconds)));
        }
        if let Some(text) = &self.communication {
            // Escaped, so that a peer cannot write on a person's terminal (RFC 9003 section 5).
            page.line(format!("  the other end said: \"{}\"", text.escape_debug()));
        }
        if let (Some(interface), Some(discovery)) = (&self.interface, &self.discovery) {
            page.line(format!("  interface {interface}: {discovery}"));
        }
        page.line(format!("  our side: {}, AS {}", dash(self.local_address.as_deref()), self.local_asn));
        page.line(match self.hold_time_seconds {
            Some(0) => "  hold time: none, no keepalives".to_owned(),
            Some(seconds) => format!("  hold time: {seconds} s ({} s configured)", self.configured_hold_time_seconds),
            None => format!("  hold time: {} s configured", self.configured_hold_time_seconds),
        });
        page.line(self.send_hold());
        page.line(format!(
            "  tries again: {} s after a first failure, {} s at most between attempts",
            self.idle_hold_seconds, self.connect_retry_seconds
        ));
        if self.delay_open_seconds > 0 {
            let now = self.open_in_seconds.map(|left| format!("; it waits now, for {left} s at most"));
            page.line(format!(
                "  our OPEN waits {} s for the peer's{}",
                self.delay_open_seconds,
                now.as_deref().unwrap_or_default()
            ));
        }
        page.line(format!("  transport: {}", self.transport().join(", ")));
        if let Some(authentication) = self.authentication() {
            page.line(format!("  authentication: {authentication}"));
        }
        if let Some(role) = &self.role {
            let required = if self.role_strict { " (required)" } else { "" };
            let theirs = self.remote_role.as_deref().unwrap_or("not said");
            page.line(format!("  roles (RFC 9234): ours {role}, the peer's {theirs}{required}"));
        }
        if let Some(bfd) = &self.bfd {
            bfd.draw(page);
        }
        // Of a peer that is gone, it says how long what is left of it stays.
        let restart = self.graceful_restart.iter().filter(|_| peer.is_up() || !self.stale.is_empty());
        restart.flat_map(GracefulRestart::lines).for_each(|line| page.line(format!("  {line}")));
        let ours = self.announced_restart.iter().flat_map(|ours| ours.our_lines(self.deferral_seconds));
        ours.for_each(|line| page.line(format!("  {line}")));
        self.stale.iter().for_each(|stale| page.line(format!("  {}", stale.line(peer.is_up()))));
        page.line(format!(
            "  filters: import {}, export {}",
            self.import_filter.as_deref().unwrap_or("none"),
            self.export_filter.as_deref().unwrap_or("none")
        ));
        if self.graceful_shutdown {
            page.line("  graceful shutdown (RFC 8326): honoured");
        }
        if self.blackhole {
            page.line("  blackhole (RFC 7999): what it sends with this community is dropped");
        }
        page.line(format!(
            "  prefixes: {} received{}, {} accepted, {} sent{}",
            peer.received,
            self.max_prefixes.map(|most| format!(" (at most {most})")).unwrap_or_default(),
            peer.accepted,
            peer.advertised,
            match self.next_hop.as_deref() {
                _ if self.next_hop_self => ", with ourselves as the next hop",
                Some("unchanged") => ", with the next hop unchanged",
                _ => "",
            }
        ));
        if self.withheld > 0 {
            page.line(format!(
                "  withheld: {}, too long for a message to it, or without a next hop of ours in their family",
                count(self.withheld, "route")
            ));
        }
        if let Some(line) = self.several_paths() {
            page.line(line);
        }
        if let Some((action, warn_at)) = self.max_prefixes_action.as_ref().zip(self.max_prefixes_warn_at) {
            let warned = if self.max_prefixes_warned { ", which it has reached" } else { "" };
            let reached = match self.prefix_limit_reached {
                0 => String::new(),
                count => format!("; went above {}", times(count)),
            };
            let after = match (action.as_str(), self.max_prefixes_restart_after_seconds) {
                ("restart", Some(seconds)) => format!(" after {seconds} s"),
                ("restart", None) => " after 60 s, and twice as long each time up to 3600 s".to_owned(),
                _ => String::new(),
            };
            page.line(format!("  prefix limit: {action} above{after}, a warning at {warn_at}{warned}{reached}"));
        }
        if let Some(when) = &self.default_originate {
            page.line(format!("  default route: originated for this peer, {when}"));
        }
        let paths = self.paths();
        if !paths.is_empty() {
            page.line(format!("  AS paths: {}", paths.join(", ")));
        }
        page.line(format!(
            "  faults (RFC 7606): {} attributes discarded, {} updates treated as withdraw; {} bytes unsent",
            self.attributes_discarded, self.treated_as_withdraw, self.unsent_bytes
        ));
        page.line("");
        let mut capabilities = Table::new(&["  CAPABILITY", "SENT", "RECEIVED"]);
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        for capability in &self.capabilities {
            capabilities.row([format!("  {}", capability.name), yes(capability.sent), yes(capability.received)]);
        }
        page.table(&capabilities);
        page.line("");
        let mut messages = Table::new(&["  MESSAGE", ">SENT", ">RECEIVED"]);
        for kind in &self.messages {
            messages.row([format!("  {}", kind.kind), kind.sent.to_string(), kind.received.to_string()]);
        }
        page.table(&messages);
    }

    fn send_hold(&self) -> String {
        let untaken = match self.untaken_seconds {
            0 => String::new(),
            seconds => format!("; it has taken nothing for {seconds} s"),
        };
        match self.send_hold_seconds {
            None => "  send hold time (RFC 9687): none, the peer may take nothing for ever".to_owned(),
            Some(most) => {
                format!("  send hold time (RFC 9687): {most} s that the peer may take nothing of what is sent{untaken}")
            }
        }
    }

    /// What there is of ADD-PATH, if anybody asked for it.
    fn several_paths(&self) -> Option<String> {
        let configured = present(self.configured_add_path.clone()).filter(|word| word != "none")?;
        let family = |it: &AddPath| {
            let directions = match (it.send, it.receive) {
                (true, true) => "both ways",
                (true, false) => "sent",
                (false, true) => "received",
                (false, false) => "no",
            };
            format!("{} {directions}", it.family)
        };
        let mut words: Vec<String> = self.add_path.iter().map(family).collect();
        words.push(match self.add_path_send {
            Some(most) => format!("{configured} configured, at most {most} sent of a prefix"),
            None => format!("{configured} configured"),
        });
        Some(format!("  several paths (RFC 7911): {}", words.join(", ")))
    }

    /// What is done to AS paths, where it is more than usual.
    fn paths(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend((self.allow_as_in > 0).then(|| format!("our AS in them up to {}", times(self.allow_as_in))));
        words.extend(self.as_override.then(|| "ours in the place of the peer's".to_owned()));
        words.extend(match self.remove_private_asn.as_deref() {
            Some("yes") => Some("private ones removed where there are no others".to_owned()),
            Some("all") => Some("private ones removed".to_owned()),
            Some("replace") => Some("ours in the place of private ones".to_owned()),
            _ => None,
        });
        words.extend(match self.local_asn_prepend.as_deref() {
            Some("sent") => Some("our real AS shown".to_owned()),
            Some("both") => Some(format!("our real AS shown, {} put before what comes", self.local_asn)),
            _ => None,
        });
        words
    }

    /// What signs its segments.
    fn authentication(&self) -> Option<String> {
        let key = |key: &TcpAoKey| {
            let signs = if key.signs { ", signs now" } else { "" };
            format!("{}/{} ({}{signs})", key.send_id, key.receive_id, key.algorithm)
        };
        match &self.tcp_ao[..] {
            [] => self.md5.then(|| "TCP MD5".to_owned()),
            keys => Some(format!("TCP-AO, key ids {}", keys.iter().map(key).collect::<Vec<_>>().join(", "))),
        }
    }

    fn transport(&self) -> Vec<String> {
        let mut words = vec![if self.passive { "passive" } else { "active and passive" }.to_owned()];
        words.extend(self.ttl_security_hops.map(|hops| format!("TTL security, {}", count(hops.into(), "hop"))));
        words.extend(self.multihop.map(|hops| format!("multihop, {}", count(hops.into(), "hop"))));
        words
    }
}

fn times(number: u32) -> String {
    count(number.into(), "time")
}

pub(super) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

impl From<api::NeighborReply> for Neighbors {
    fn from(reply: api::NeighborReply) -> Self {
        Self {
            drain: reply.drain.into(),
            deferral: reply.deferral.map(Deferral::from),
            neighbors: reply.neighbors.into_iter().map(Neighbor::from).collect(),
        }
    }
}

impl Present for Neighbors {
    fn draw(&self, page: &mut Page) {
        let of_the_node: Vec<String> =
            self.drain.line().into_iter().chain(self.deferral.as_ref().map(Deferral::line)).collect();
        if !of_the_node.is_empty() {
            of_the_node.into_iter().for_each(|line| page.line(line));
            page.line("");
        }
        for (index, neighbor) in self.neighbors.iter().enumerate() {
            if index > 0 {
                page.line("");
            }
            neighbor.draw(page);
        }
    }
}

pub(crate) async fn neighbor(client: &Client, print: &Printer, peer: Option<String>) -> Result<Answer, Error> {
    let request = api::NeighborRequest { peer: peer.unwrap_or_default() };
    let reply = client.bgp().neighbor(request).await.map_err(|status| client.refused(status))?;
    print.print(&Neighbors::from(reply.into_inner()))?;
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn one(neighbor: api::Neighbor) -> Neighbors {
        api::NeighborReply { neighbors: vec![neighbor], ..Default::default() }.into()
    }

    fn neighbors() -> Neighbors {
        let neighbor = api::Neighbor {
            peer: Some(api::Peer {
                name: "tor-a".into(),
                address: "192.168.10.1".into(),
                asn: 65001,
                state: "Established".into(),
                uptime_seconds: 253,
                received: 3,
                accepted: 2,
                advertised: 1,
                families: vec!["ipv4-unicast".into()],
                ..Default::default()
            }),
            local_address: "192.168.10.11".into(),
            local_asn: 64512,
            router_id: "192.168.10.1".into(),
            kind: "external".into(),
            hold_time_seconds: 90,
            configured_hold_time_seconds: 90,
            send_hold_seconds: 480,
            connect_retry_seconds: 5,
            idle_hold_seconds: 1,
            capabilities: vec![
                api::Capability { name: "multiprotocol ipv4-unicast".into(), sent: true, received: true },
                api::Capability { name: "graceful-restart".into(), sent: true, received: false },
            ],
            messages: vec![api::MessageCount { kind: "UPDATE".into(), sent: 2, received: 12 }],
            import_filter: "from-tor".into(),
            md5: true,
            ttl_security_hops: 1,
            times_established: 2,
            last_down: "hold timer expired (90 s without a message)".into(),
            last_down_seconds: 254,
            max_prefixes: 10_000,
            add_path: vec![
                api::AddPathFamily { family: "ipv4-unicast".into(), send: true, receive: true },
                api::AddPathFamily { family: "ipv6-unicast".into(), send: false, receive: true },
            ],
            configured_add_path: "both".into(),
            add_path_send: 16,
            allow_as_in: 1,
            as_override: true,
            local_asn_prepend: "none".into(),
            remove_private_asn: "all".into(),
            next_hop: "auto".into(),
            default_originate: "while 10.0.0.0/8".into(),
            max_prefixes_action: "restart".into(),
            max_prefixes_warn_at: 7500,
            max_prefixes_restart_after_seconds: 300,
            prefix_limit_reached: 2,
            withheld: 2,
            graceful_restart: Some(api::GracefulRestart {
                restart_seconds: 120,
                notification: true,
                restarting: true,
                families: vec![
                    api::RestartFamily {
                        family: "ipv4-unicast".into(),
                        graceful: true,
                        forwarding: true,
                        long_lived_stale_seconds: 3600,
                        long_lived_forwarding: true,
                    },
                    api::RestartFamily { family: "ipv6-unicast".into(), graceful: true, ..Default::default() },
                ],
            }),
            announced_restart: Some(api::GracefulRestart {
                restart_seconds: 90,
                notification: true,
                restarting: true,
                families: vec![api::RestartFamily {
                    family: "ipv4-unicast".into(),
                    graceful: true,
                    forwarding: true,
                    long_lived_stale_seconds: 600,
                    long_lived_forwarding: true,
                }],
            }),
            deferral_seconds: Some(60),
            stale: vec![api::StaleRoutes {
                family: "ipv4-unicast".into(),
                routes: 2,
                long_lived: false,
                remaining_seconds: Some(53),
            }],
            role: "customer".into(),
            remote_role: "provider".into(),
            graceful_shutdown: true,
            bfd: Some(crate::bfd::example()),
            ..Default::default()
        };
        let deferral = api::Deferral {
            remaining_seconds: 42,
            holds_decisions: true,
            peers: vec!["tor-b".into()],
            dynamic_peers: false,
        };
        let drain = api::Drain { state: "draining".into(), remaining_seconds: 7, untold: vec!["tor-a".into()] };
        api::NeighborReply { neighbors: vec![neighbor], deferral: Some(deferral), drain: Some(drain) }.into()
    }

    #[test]
    fn a_neighbor_reads_well() {
        insta::assert_snapshot!(plain(&neighbors(), false));
    }

    #[test]
    fn what_the_other_end_said_is_shown_and_writes_on_no_terminal() {
        let neighbor = api::Neighbor { communication: "back at 5\u{1b}[2J".into(), ..Default::default() };
        let shown = plain(&one(neighbor), false);
        assert!(shown.contains("  the other end said: \"back at 5\\u{1b}[2J\"\n"), "{shown}");
    }

    #[test]
    fn why_a_session_ended_is_shown_beside_what_the_attempts_since_then_met_with() {
        const ENDED: &str = "received Cease / Administrative Shutdown";
        for (last_error, last_down, shown) in [
            ("", "", None),
            ("connection refused", "", None),
            (ENDED, ENDED, None),
            ("connection refused", ENDED, Some(ENDED)),
            ("", "stopped", Some("stopped")),
        ] {
            let peer = Some(api::Peer { last_error: last_error.into(), ..Default::default() });
            let neighbor =
                api::Neighbor { peer, last_down: last_down.into(), last_down_seconds: 3, ..Default::default() };
            let neighbors = one(neighbor);
            let page = plain(&neighbors, false);
            let line = page.lines().find_map(|line| line.strip_prefix("  last session: ended 00:00:03 ago, "));
            assert_eq!(line, shown, "{page}");
            assert_eq!(page.contains("  last error: "), !last_error.is_empty(), "{page}");
            assert_eq!(json(&neighbors).contains("\"last_down_seconds\": 3"), !last_down.is_empty());
        }
    }

    #[test]
    fn the_keys_of_tcp_ao_are_named_by_their_ids_and_the_one_in_use_is_marked() {
        let key = |id, signs| api::TcpAoKey { send_id: id, receive_id: id, algorithm: "hmac-sha-1-96".into(), signs };
        let neighbor = api::Neighbor { tcp_ao: vec![key(2, false), key(1, true)], ..Default::default() };
        let neighbors = one(neighbor);
        let line = "  authentication: TCP-AO, key ids 2/2 (hmac-sha-1-96), 1/1 (hmac-sha-1-96, signs now)\n";
        let shown = plain(&neighbors, false);
        assert!(shown.contains(line), "{shown}");
        assert!(json(&neighbors).contains("\"send_id\": 2"), "{}", json(&neighbors));
    }

    #[test]
    fn a_peer_that_takes_nothing_is_shown_with_for_how_long() {
        for (send_hold_seconds, untaken_seconds, shown) in [
            (0, 0, "  send hold time (RFC 9687): none, the peer may take nothing for ever\n"),
            (480, 0, "  send hold time (RFC 9687): 480 s that the peer may take nothing of what is sent\n"),
            (480, 70, " of what is sent; it has taken nothing for 70 s\n"),
        ] {
            let neighbor = api::Neighbor { send_hold_seconds, untaken_seconds, ..Default::default() };
            let page = plain(&one(neighbor), false);
            assert!(page.contains(shown), "{page}");
        }
    }

    #[test]
    fn what_a_peer_said_of_restarts_is_shown_while_it_is_up_or_something_of_it_is_left() {
        let stale = || vec![api::StaleRoutes { family: "ipv4-unicast".into(), routes: 1, ..Default::default() }];
        for (state, stale, shown) in [
            ("Established", vec![], true),
            ("Established", stale(), true),
            ("Active", stale(), true),
            ("Active", vec![], false),
        ] {
            let peer = Some(api::Peer { state: state.into(), ..Default::default() });
            let graceful_restart = Some(api::GracefulRestart::default());
            let neighbor = api::Neighbor { peer, stale, graceful_restart, ..Default::default() };
            let page = plain(&one(neighbor), false);
            assert_eq!(page.contains("  graceful restart (RFC 4724): "), shown, "{page}");
        }
    }

    #[test]
    fn a_limit_says_when_a_session_that_went_above_starts_again() {
        for (action, after, shown) in [
            ("restart", 300, "restart above after 300 s, a warning at 75\n"),
            ("restart", 0, "restart above after 60 s, and twice as long each time up to 3600 s, a warning at 75\n"),
            ("stop", 0, "stop above, a warning at 75\n"),
            ("warn", 0, "warn above, a warning at 75\n"),
        ] {
            let neighbor = api::Neighbor {
                max_prefixes_action: action.into(),
                max_prefixes_warn_at: 75,
                max_prefixes_restart_after_seconds: after,
                ..Default::default()
            };
            let page = plain(&one(neighbor), false);
            assert!(page.contains(&format!("  prefix limit: {shown}")), "{page}");
        }
    }

    #[test]
    fn an_open_that_waits_is_shown_with_what_is_left_of_its_time() {
        for (delay_open_seconds, open_in_seconds, shown) in [
            (0, None, None),
            (10, None, Some("  our OPEN waits 10 s for the peer's\n")),
            (10, Some(7), Some("  our OPEN waits 10 s for the peer's; it waits now, for 7 s at most\n")),
        ] {
            let neighbor = api::Neighbor { delay_open_seconds, open_in_seconds, ..Default::default() };
            let page = plain(&one(neighbor), false);
            assert_eq!(page.contains("our OPEN waits"), shown.is_some(), "{page}");
            assert!(shown.is_none_or(|shown| page.contains(shown)), "{page}");
        }
    }

    #[test]
    fn a_neighbor_is_a_contract() {
        insta::assert_snapshot!(json(&neighbors()));
    }
}
