//! What a changed configuration means for a peer: which of its keys changed, and whether its session must be reset.

use bgp_proto::session::{Extensions, LocalRestart, SessionConfig};

use crate::authentication::Authentication;
use crate::config::{Config, PeerConfig};

/// What a peer's session is told.
pub(crate) fn session_config(speaker: &Config, peer: &PeerConfig, restarted: bool) -> SessionConfig {
    SessionConfig {
        local_as: peer.local_as,
        router_id: speaker.router_id,
        remote_as: peer.remote_as,
        families: peer.families,
        hold_time: peer.hold_time.unwrap_or(speaker.hold_time),
        connect_retry: peer.connect_retry,
        idle_hold: peer.idle_hold,
        delay_open: peer.delay_open,
        passive: peer.passive,
        send_hold: peer.send_hold,
        link: peer.interface,
        graceful_restart: speaker.graceful_restart.map(|restart| LocalRestart {
            seconds: restart.restart_time,
            restarted,
            off_path: speaker.off_path,
            notification: restart.notification,
            long_lived_seconds: restart.long_lived_stale_time,
        }),
        add_path: peer.add_path,
        role: peer.conduct.role,
        extensions: Extensions {
            enhanced_refresh: peer.enhanced_refresh,
            extended_messages: peer.extended_messages,
            extended_next_hop: peer.extended_next_hop,
        },
    }
}

/// What changed of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Keys that a running session cannot take: those that its OPEN or its connection says.
    pub(crate) reset: Vec<&'static str>,
    /// Keys that are changed under it.
    pub(crate) in_place: Vec<&'static str>,
}

impl Differences {
    /// Of a peer with one address, which is what makes it the same peer; a name may change.
    pub(crate) fn between(old: (&Config, &PeerConfig), new: (&Config, &PeerConfig)) -> Self {
        let (old_session, new_session) = (session_config(old.0, old.1, false), session_config(new.0, new.1, false));
        let (old_speaker, old) = old;
        let (new_speaker, new) = new;
        let (signed, to_sign) = (old.authentication.as_ref(), new.authentication.as_ref());
        let tcp_ao = signed != to_sign && [signed, to_sign].iter().flatten().any(|it| it.tcp_ao().is_some());
        let keeps_signing = Authentication::can_follow(to_sign, signed);
        let keys = |keys: &[(&'static str, bool)]| keys.iter().filter(|key| key.1).map(|key| key.0).collect::<Vec<_>>();
        Self {
            reset: keys(&[
                ("asn", old.remote_as != new.remote_as),
                ("local-asn", old.local_as != new.local_as),
                ("router-id", old_session.router_id != new_session.router_id),
                ("port", old.port != new.port),
                ("local-address", old.local_address != new.local_address),
                ("families", old.families != new.families),
                ("add-path", old.add_path != new.add_path),
                ("ttl-security or multihop", old.ttl != new.ttl),
                ("enhanced-route-refresh", old.enhanced_refresh != new.enhanced_refresh),
                ("extended-messages", old.extended_messages != new.extended_messages),
                ("extended-next-hop", old.extended_next_hop != new.extended_next_hop),
                ("tcp-ao", tcp_ao && !keeps_signing),
                ("hold-time", old_session.hold_time != new_session.hold_time),
                ("graceful-restart", old_session.graceful_restart != new_session.graceful_restart),
                ("role", old.conduct.role != new.conduct.role),
                // Who may hear what changes for everybody, and what the peer was told of originators with it.
                ("route-reflector-client", old.client != new.client),
            ]),
            in_place: keys(&[
                ("name", old.name != new.name),
                ("password-file", signed != to_sign && !tcp_ao),
                ("tcp-ao", tcp_ao && keeps_signing),
                ("passive", old.passive != new.passive),
                ("send-hold-time", old.send_hold != new.send_hold),
                ("connect-retry", old.connect_retry != new.connect_retry),
                ("idle-hold-time", old.idle_hold != new.idle_hold),
                ("delay-open", old.delay_open != new.delay_open),
                ("add-path-send", old.add_path_send != new.add_path_send),
                ("blackhole", old.blackhole != new.blackhole),
                ("allow-as-in", old.conduct.allow_as_in != new.conduct.allow_as_in),
                ("as-override", old.conduct.as_override != new.conduct.as_override),
                ("local-asn-prepend", old.conduct.local_as_prepend != new.conduct.local_as_prepend),
                ("remove-private-asn", old.conduct.remove_private_as != new.conduct.remove_private_as),
                ("next-hop", old.conduct.next_hop != new.conduct.next_hop),
                ("default-originate", old.conduct.default_originate != new.conduct.default_originate),
                ("max-prefixes", old.max_prefixes != new.max_prefixes),
                ("graceful-shutdown", old.graceful_shutdown != new.graceful_shutdown),
                ("bfd", old.bfd != new.bfd),
                ("import", old.import != new.import),
                ("export", old.export != new.export),
                ("node address", old_speaker.own_address4 != new_speaker.own_address4),
                ("node address6", old_speaker.own_address6 != new_speaker.own_address6),
            ]),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reset.is_empty() && self.in_place.is_empty()
    }

    /// What a person reads of it.
    pub(crate) fn line(&self, name: &str) -> String {
        let keys = self.reset.iter().chain(&self.in_place).copied().collect::<Vec<_>>().join(", ");
        let how = if self.reset.is_empty() { "in place" } else { "and the session was reset" };
        format!("peer {name}: {keys} changed, {how}")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::time::Duration;

    use bgp_proto::conduct::{DefaultOriginate, LocalAsPrepend, NextHopMode, RemovePrivateAs};
    use bgp_proto::filter::Filter;
    use bgp_proto::prefix_limit::PrefixLimit;
    use bgp_proto::role::{LocalRole, Role};
    use bgp_proto::session::{RemoteAs, SendHoldTime};
    use bgp_proto::types::{Asn, Family, FamilySet, HoldTime, RouterId};

    use super::*;
    use crate::authentication::{AoAlgorithm, AoKey, AoKeys, Secret};
    use crate::config::Ttl;

    fn tcp_ao(ids: &[u8]) -> Option<Authentication> {
        let key = |id: &u8| AoKey {
            send_id: *id,
            receive_id: *id,
            algorithm: AoAlgorithm::HmacSha1,
            secret: Secret::new(b"key").unwrap(),
        };
        AoKeys::new(ids.iter().map(key).collect()).map(Authentication::TcpAo)
    }

    #[test]
    fn keys_of_tcp_ao_come_and_go_under_a_session_that_has_some() {
        let speaker = Config::new(Asn(1), RouterId(Ipv4Addr::new(1, 1, 1, 1)));
        let mut old = PeerConfig::new("p", IpAddr::V4(Ipv4Addr::LOCALHOST), RemoteAs::Internal, Asn(1));
        old.authentication = tcp_ao(&[1]);
        for ids in [&[1, 2][..], &[2, 1], &[2]] {
            let new = PeerConfig { authentication: tcp_ao(ids), ..old.clone() };
            let found = Differences::between((&speaker, &old), (&speaker, &new));
            assert_eq!(found.line("p"), "peer p: tcp-ao changed, in place", "{ids:?}");
        }
    }

    #[test]
    fn a_session_is_reset_for_what_its_open_or_its_connection_says_and_for_nothing_else() {
        type Change = fn(&mut Config, &mut PeerConfig);
        let cases: &[(&str, bool, Change)] = &[
            ("asn", true, |_, peer| peer.remote_as = RemoteAs::External),
            ("local-asn", true, |_, peer| peer.local_as = Asn(9)),
            ("router-id", true, |speaker, _| speaker.router_id = RouterId(Ipv4Addr::new(9, 9, 9, 9))),
            ("port", true, |_, peer| peer.port = 1179),
            ("local-address", true, |_, peer| peer.local_address = Some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            ("add-path", true, |_, peer| peer.add_path.send = true),
            ("families", true, |_, peer| peer.families = FamilySet::from_iter([Family::Ipv6Unicast])),
            ("ttl-security or multihop", true, |_, peer| peer.ttl = Ttl::Security { hops: 1 }),
            ("enhanced-route-refresh", true, |_, peer| peer.enhanced_refresh = false),
            ("extended-messages", true, |_, peer| peer.extended_messages = false),
            ("extended-next-hop", true, |_, peer| peer.extended_next_hop = true),
            ("hold-time", true, |_, peer| peer.hold_time = HoldTime::from_seconds(30)),
            ("graceful-restart", true, |speaker, _| speaker.graceful_restart = None),
            ("route-reflector-client", true, |_, peer| peer.client = true),
            ("role", true, |_, peer| peer.conduct.role = Some(LocalRole { role: Role::Peer, strict: false })),
            ("name", false, |_, peer| peer.name = "other".to_owned()),
            ("password-file", false, |_, peer| peer.authentication = Secret::new(b"key").map(Authentication::Md5)),
            ("tcp-ao", true, |_, peer| peer.authentication = tcp_ao(&[1])),
            ("passive", false, |_, peer| peer.passive = true),
            ("send-hold-time", false, |_, peer| peer.send_hold = SendHoldTime::Off),
            ("connect-retry", false, |_, peer| peer.connect_retry = Duration::from_secs(1)),
            ("idle-hold-time", false, |_, peer| peer.idle_hold = Duration::from_secs(9)),
            ("delay-open", false, |_, peer| peer.delay_open = Some(Duration::from_secs(9))),
            ("add-path-send", false, |_, peer| peer.add_path_send = 2),
            ("blackhole", false, |_, peer| peer.blackhole = true),
            ("graceful-shutdown", false, |_, peer| peer.graceful_shutdown = false),
            ("allow-as-in", false, |_, peer| peer.conduct.allow_as_in = 1),
            ("as-override", false, |_, peer| peer.conduct.as_override = true),
            ("local-asn-prepend", false, |_, peer| peer.conduct.local_as_prepend = LocalAsPrepend::Sent),
            ("remove-private-asn", false, |_, peer| peer.conduct.remove_private_as = RemovePrivateAs::All),
            ("default-originate", false, |_, peer| peer.conduct.default_originate = DefaultOriginate::Always),
            ("next-hop", false, |_, peer| peer.conduct.next_hop = NextHopMode::Own),
            ("max-prefixes", false, |_, peer| peer.max_prefixes = Some(PrefixLimit::new(1))),
            ("bfd", false, |_, peer| peer.bfd = Some(Default::default())),
            ("import", false, |_, peer| {
                peer.import = Some(Arc::new(Filter { name: "f".to_owned(), rules: Vec::new() }));
            }),
        ];
        let speaker = Config::new(Asn(1), RouterId(Ipv4Addr::new(1, 1, 1, 1)));
        let peer = PeerConfig::new("p", IpAddr::V4(Ipv4Addr::LOCALHOST), RemoteAs::Internal, Asn(1));
        for &(key, reset, change) in cases {
            let (mut new_speaker, mut new_peer) = (speaker.clone(), peer.clone());
            change(&mut new_speaker, &mut new_peer);
            let found = Differences::between((&speaker, &peer), (&new_speaker, &new_peer));
            let (reset_keys, in_place) = if reset { (vec![key], vec![]) } else { (vec![], vec![key]) };
            assert_eq!(found, Differences { reset: reset_keys, in_place }, "{key}");
        }
        assert!(Differences::between((&speaker, &peer), (&speaker, &peer)).is_empty());
    }
}
