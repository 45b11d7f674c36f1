//! What two OPENs agree on (RFC 4271 section 6.2, RFC 5492), and our own.

use std::net::IpAddr;

use super::{Direction, Established, Extensions, RemoteAs, SessionConfig};
use crate::role::Role;
use crate::types::{Asn, Family, FamilySet};
use crate::wire::capability::{AddPath, Capability, GracefulRestart, LongLived};
use crate::wire::notification::OpenError;
use crate::wire::{MAX_EXTENDED_MESSAGE_LEN, MAX_MESSAGE_LEN, Notification, Open, UpdateContext};

/// Why an OPEN that reads well is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What the peer is sent.
    pub(super) notification: Notification,
    /// What a person is told.
    pub(super) why: String,
}

/// The OPEN that we send. `came_up_before`: this process has had a session with the peer.
///
/// R says that this speaker has restarted and that the peer must not wait for its End-of-RIB: true until the first session
/// is up. F says that forwarding went on: true after a restart that found the kernel's state, and true always when only
/// the session was lost, because with F clear the peer would drop our routes as soon as it is back (RFC 4724 section 4.2).
pub(super) fn local_open(config: &SessionConfig, came_up_before: bool) -> Open {
    let mut capabilities: Vec<_> = config.families.iter().map(Capability::Multiprotocol).collect();
    capabilities.push(Capability::RouteRefresh);
    if config.extensions.enhanced_refresh {
        capabilities.push(Capability::EnhancedRouteRefresh);
    }
    if config.extensions.extended_messages {
        capabilities.push(Capability::ExtendedMessage);
    }
    if let Some(local) = config.role {
        capabilities.push(Capability::Role(local.role.code()));
    }
    let extended_next_hop = extended_next_hop(config);
    if !extended_next_hop.is_empty() {
        capabilities.push(Capability::ExtendedNextHop(extended_next_hop));
    }
    if let Some(restart) = config.graceful_restart {
        let forwarded = restart.restarted || restart.off_path || came_up_before;
        capabilities.push(Capability::GracefulRestart(GracefulRestart {
            restarting: restart.restarted && !came_up_before,
            notification: restart.notification,
            restart_seconds: restart.seconds.min(0x0fff),
            families: config.families.iter().map(|family| (family, forwarded)).collect(),
        }));
        if restart.long_lived_seconds > 0 {
            let said = |family| LongLived { family, forwarding: forwarded, stale_seconds: restart.long_lived_seconds };
            capabilities.push(Capability::LongLivedGracefulRestart(config.families.iter().map(said).collect()));
        }
    }
    if config.add_path != AddPath::NONE {
        let families = config.families.iter().map(|family| (family, config.add_path)).collect();
        capabilities.push(Capability::AddPath(families));
    }
    capabilities.push(Capability::FourOctetAs(config.local_as));
    Open { asn: config.local_as, hold_time: config.hold_time, router_id: config.router_id, capabilities }
}

/// Families of ours that may have IPv6 next hops by RFC 8950; IPv6's may anyway (RFC 2545).
fn extended_next_hop(config: &SessionConfig) -> FamilySet {
    let offered = config.families.iter().filter(|family| *family != Family::Ipv6Unicast);
    offered.filter(|_| config.extensions.extended_next_hop).collect()
}

/// The peer's OPEN against our configuration.
pub(super) fn negotiate(
    config: &SessionConfig,
    open: &Open,
    direction: Direction,
    local_address: IpAddr,
    remote_address: IpAddr,
) -> Result<Established, Refusal> {
    check_as(config, open.asn)?;
    let external = open.asn != config.local_as;
    check_router_id(config, open, external)?;
    let remote_role = check_role(config, open, external)?;
    let families = common_families(config, open)?;

    let context = UpdateContext {
        four_octet_as: open.has_four_octet_as(),
        external,
        families,
        add_path: FamilySet::EMPTY,
        extended_next_hop: extended_next_hop(config).intersection(open.extended_next_hop()).intersection(families),
        link: None,
        max_message_len: MAX_MESSAGE_LEN,
    };
    let up_to = |extended: bool| if extended { MAX_EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN };
    // RFC 8654 section 4: who has announced it takes long messages from whoever sends them, and sends them only to those
    // who have announced it too.
    let ours = config.extensions.extended_messages;
    // RFC 7911 section 5: path identifiers stand where the sender has said that it sends them, and the receiver that it
    // takes them.
    let agreed = |both: fn(AddPath, AddPath) -> bool| -> FamilySet {
        families.iter().filter(|family: &Family| both(config.add_path, open.add_path(*family))).collect()
    };
    let receive = UpdateContext {
        add_path: agreed(|ours, theirs| ours.receive && theirs.send),
        max_message_len: up_to(ours),
        link: config.link,
        ..context
    };
    let send = UpdateContext {
        add_path: agreed(|ours, theirs| ours.send && theirs.receive),
        max_message_len: up_to(ours && open.has_extended_messages()),
        ..context
    };
    Ok(Established {
        direction,
        remote_as: open.asn,
        remote_id: open.router_id,
        // Zero, "no keepalives", is the smallest (RFC 4271 section 4.2).
        hold_time: config.hold_time.min(open.hold_time),
        receive,
        send,
        route_refresh: open.has_route_refresh(),
        add_path_received: families.iter().any(|family| open.add_path(family) != AddPath::NONE),
        enhanced_refresh: config.extensions.enhanced_refresh && open.has_enhanced_route_refresh(),
        remote_extensions: Extensions {
            enhanced_refresh: open.has_enhanced_route_refresh(),
            extended_messages: open.has_extended_messages(),
            extended_next_hop: !open.extended_next_hop().is_empty(),
        },
        remote_role,
        graceful_restart: config.graceful_restart.and_then(|_| open.graceful_restart().cloned()),
        graceful_notification: config.graceful_restart.is_some_and(|restart| restart.notification)
            && open.graceful_restart().is_some_and(|restart| restart.notification),
        long_lived_received: open.long_lived().is_some(),
        long_lived: long_lived(config, open, families),
        local_address,
        remote_address,
    })
}

/// What the peer's routes may become where both sides have RFC 9494.
fn long_lived(config: &SessionConfig, open: &Open, families: FamilySet) -> Vec<LongLived> {
    let ours = config.graceful_restart.is_some_and(|restart| restart.long_lived_seconds > 0);
    let theirs = open.long_lived().filter(|_| ours).unwrap_or_default();
    theirs.iter().filter(|said| families.contains(said.family) && said.stale_seconds > 0).copied().collect()
}

/// Bad Peer AS (RFC 4271 section 6.2; RFC 7607 for AS 0).
fn check_as(config: &SessionConfig, asn: Asn) -> Result<(), Refusal> {
    let (fits, expected) = match config.remote_as {
        RemoteAs::Exactly(expected) => (asn == expected, format!("AS {expected}")),
        RemoteAs::Internal => (asn == config.local_as, format!("AS {} (internal)", config.local_as)),
        RemoteAs::External => {
            (asn != config.local_as && asn != Asn(0), format!("an AS other than {} (external)", config.local_as))
        }
    };
    if fits {
        return Ok(());
    }
    Err(Refusal {
        notification: Notification::open(OpenError::BadPeerAs, &[]),
        why: format!("{expected} expected, AS {asn} in OPEN"),
    })
}

/// Bad BGP Identifier: only an internal peer must have another one than ours (RFC 6286 section 2.2).
fn check_router_id(config: &SessionConfig, open: &Open, external: bool) -> Result<(), Refusal> {
    if external || open.router_id != config.router_id {
        return Ok(());
    }
    Err(Refusal {
        notification: Notification::open(OpenError::BadBgpIdentifier, &[]),
        why: format!("router id {} in OPEN is our own", open.router_id),
    })
}

/// Role Mismatch (RFC 9234 section 4.2). Returns the peer's role, if it said one that there is.
fn check_role(config: &SessionConfig, open: &Open, external: bool) -> Result<Option<Role>, Refusal> {
    let mut said: Vec<u8> = open.roles().collect();
    said.dedup();
    let remote = said.first().copied().and_then(Role::from_code);
    // Between internal peers there are no roles, and a role that only one side has says nothing to the other.
    let Some(local) = config.role.filter(|_| external) else { return Ok(remote) };
    let wanted = local.role.counterpart();
    let why = match (&said[..], remote) {
        ([], _) if !local.strict => return Ok(None),
        ([_], Some(role)) if role == wanted => return Ok(remote),
        ([], _) => format!("role mismatch: we are its {}, and it says no role, which role-strict asks for", local.role),
        ([_], Some(role)) => format!(
            "role mismatch: we are its {}, so it must be our {wanted}, and it says that it is {role}",
            local.role
        ),
        ([code], None) => {
            format!("role mismatch: we are its {}, and it says role {code}, which there is not", local.role)
        }
        _ => format!("role mismatch: we are its {}, and it says several roles", local.role),
    };
    Err(Refusal { notification: Notification::open(OpenError::RoleMismatch, &[]), why })
}

/// Unsupported Capability, with the capabilities that would have helped as its data (RFC 5492 section 5), only where
/// nothing at all could be exchanged.
fn common_families(config: &SessionConfig, open: &Open) -> Result<FamilySet, Refusal> {
    let theirs = open.families();
    let common = config.families.intersection(theirs);
    if !common.is_empty() {
        return Ok(common);
    }
    let data: Vec<u8> = config
        .families
        .iter()
        .flat_map(|family| {
            let [high, low] = family.afi().to_be_bytes();
            [1, 4, high, low, 0, family.safi()]
        })
        .collect();
    Err(Refusal {
        notification: Notification::open(OpenError::UnsupportedCapability, &data),
        why: format!("no common family: {} configured, {} in OPEN", names(config.families), names(theirs)),
    })
}

fn names(families: FamilySet) -> String {
    if families.is_empty() {
        return "none that Linnet speaks".to_owned();
    }
    families.iter().map(|family| family.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{Extensions, LocalRestart};
    use super::*;
    use crate::role::LocalRole;
    use crate::types::{HoldTime, Interface, RouterId};

    fn config() -> SessionConfig {
        let router_id = RouterId([192, 0, 2, 1].into());
        SessionConfig {
            graceful_restart: Some(LocalRestart {
                seconds: 120,
                restarted: false,
                off_path: false,
                notification: true,
                long_lived_seconds: 0,
            }),
            ..SessionConfig::new(Asn(64512), router_id, RemoteAs::Exactly(Asn(65001)))
        }
    }

    fn open(asn: u32, capabilities: Vec<Capability>) -> Open {
        Open { asn: Asn(asn), hold_time: HoldTime::default(), router_id: RouterId([192, 0, 2, 2].into()), capabilities }
    }

    fn agree(config: &SessionConfig, open: &Open) -> Result<Established, Refusal> {
        let address = IpAddr::from([192, 0, 2, 1]);
        negotiate(config, open, Direction::Outgoing, address, address)
    }

    #[test]
    fn a_peer_in_the_wrong_as_is_refused_in_words() {
        for (remote_as, asn, why) in [
            (RemoteAs::Exactly(Asn(65010)), 65010, None),
            (RemoteAs::Exactly(Asn(65010)), 65011, Some("AS 65010 expected, AS 65011 in OPEN")),
            (RemoteAs::Internal, 64512, None),
            (RemoteAs::Internal, 65011, Some("AS 64512 (internal) expected, AS 65011 in OPEN")),
            (RemoteAs::External, 65011, None),
            (RemoteAs::External, 64512, Some("an AS other than 64512 (external) expected, AS 64512 in OPEN")),
            (RemoteAs::External, 0, Some("an AS other than 64512 (external) expected, AS 0 in OPEN")),
        ] {
            let refusal = agree(&SessionConfig { remote_as, ..config() }, &open(asn, vec![])).err();
            assert_eq!(refusal.as_ref().map(|refusal| &*refusal.why), why, "{remote_as:?} {asn}");
            if let Some(refusal) = refusal {
                assert_eq!((refusal.notification.code, refusal.notification.subcode), (2, 2));
            }
        }
    }

    #[test]
    fn roles_must_fit_together_and_be_said_where_they_are_asked_for() {
        use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
        for ours in Role::ALL {
            for theirs in Role::ALL {
                let fits = matches!(
                    (ours, theirs),
                    (Provider, Customer)
                        | (Customer, Provider)
                        | (Peer, Peer)
                        | (RouteServer, RouteServerClient)
                        | (RouteServerClient, RouteServer)
                );
                let config = SessionConfig { role: Some(LocalRole { role: ours, strict: false }), ..config() };
                let agreed = agree(&config, &open(65001, vec![Capability::Role(theirs.code())]));
                match agreed {
                    Ok(agreed) => assert_eq!((fits, agreed.remote_role), (true, Some(theirs)), "{ours} {theirs}"),
                    Err(refusal) => {
                        let notification = (refusal.notification.code, refusal.notification.subcode);
                        assert_eq!((fits, notification), (false, (2, 11)), "{ours} {theirs}");
                    }
                }
            }
        }
        let (peer, customer, nobody) = (Capability::Role(4), Capability::Role(3), Capability::Role(77));
        for (role, strict, said, why) in [
            (None, false, vec![customer.clone()], None),
            (Some(Peer), false, vec![], None),
            (Some(Peer), true, vec![], Some("we are its peer, and it says no role, which role-strict asks for")),
            (Some(Peer), true, vec![peer.clone()], None),
            (Some(Peer), false, vec![peer.clone(), peer.clone()], None),
            (Some(Peer), false, vec![peer.clone(), customer.clone()], Some("and it says several roles")),
            (
                Some(Peer),
                false,
                vec![customer.clone()],
                Some("so it must be our peer, and it says that it is customer"),
            ),
            (Some(Provider), false, vec![nobody], Some("and it says role 77, which there is not")),
        ] {
            let config = SessionConfig { role: role.map(|role| LocalRole { role, strict }), ..config() };
            let refusal = agree(&config, &open(65001, said.clone())).err();
            match (refusal, why) {
                (None, None) => {}
                (Some(refusal), Some(why)) => assert!(refusal.why.contains(why), "{}", refusal.why),
                (refusal, why) => panic!("{role:?} {said:?}: {refusal:?} and not {why:?}"),
            }
        }
        let internal = SessionConfig {
            remote_as: RemoteAs::Internal,
            role: Some(LocalRole { role: Provider, strict: true }),
            ..config()
        };
        assert!(agree(&internal, &open(64512, vec![])).is_ok(), "internal peers have no roles");
    }

    #[test]
    fn our_own_router_id_is_refused_from_an_internal_peer_only() {
        for (asn, fits) in [(64512, false), (65001, true)] {
            let config = SessionConfig { remote_as: RemoteAs::Exactly(Asn(asn)), ..config() };
            let open = Open { router_id: config.router_id, ..open(asn, vec![]) };
            let refusal = agree(&config, &open).err();
            assert_eq!(refusal.is_none(), fits, "AS {asn}");
            if let Some(refusal) = refusal {
                assert_eq!((refusal.notification.code, refusal.notification.subcode), (2, 3));
            }
        }
    }

    #[test]
    fn families_are_what_both_sides_name_and_ipv4_where_the_peer_names_none() {
        use Capability::Multiprotocol as Mp;
        use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};
        let unknown = Capability::UnknownFamily { afi: 25, safi: 70 };
        for (ours, theirs, common) in [
            (vec![V4, V6], vec![Mp(V6), Mp(V4)], vec![V4, V6]),
            (vec![V4, V6], vec![Mp(V6), unknown.clone()], vec![V6]),
            (vec![V4, V6], vec![], vec![V4]),
            (vec![V6], vec![], vec![]),
            (vec![V4], vec![Mp(V6)], vec![]),
            (vec![V4, V6], vec![unknown], vec![]),
        ] {
            let config = SessionConfig { families: ours.iter().copied().collect(), ..config() };
            let got = agree(&config, &open(65001, theirs.clone())).map(|up| up.receive.families);
            match got {
                Ok(families) => assert_eq!(families.iter().collect::<Vec<_>>(), common, "{ours:?} {theirs:?}"),
                Err(refusal) => {
                    assert!(common.is_empty(), "{ours:?} {theirs:?}: {}", refusal.why);
                    assert_eq!((refusal.notification.code, refusal.notification.subcode), (2, 7));
                }
            }
        }
    }

    #[test]
    fn a_peer_without_a_common_family_is_told_which_ones_we_need() {
        let config = SessionConfig { families: [Family::Ipv6Unicast].into_iter().collect(), ..config() };
        let refusal = agree(&config, &open(65001, vec![])).unwrap_err();
        assert_eq!(&refusal.notification.data[..], [1, 4, 0, 2, 0, 1]);
        assert_eq!(refusal.why, "no common family: ipv6-unicast configured, ipv4-unicast in OPEN");
    }

    #[test]
    fn the_hold_time_is_the_smaller_and_zero_wins() {
        for (ours, theirs, agreed) in [(90, 180, 90), (90, 9, 9), (90, 0, 0), (0, 90, 0), (3, 65535, 3)] {
            let hold = |seconds| HoldTime::from_seconds(seconds).unwrap();
            let config = SessionConfig { hold_time: hold(ours), ..config() };
            let up = agree(&config, &Open { hold_time: hold(theirs), ..open(65001, vec![]) }).unwrap();
            assert_eq!(up.hold_time.seconds(), agreed, "{ours} {theirs}");
        }
    }

    #[test]
    fn what_the_peer_can_do_is_taken_from_its_capabilities() {
        let restart = GracefulRestart { restart_seconds: 60, ..GracefulRestart::default() };
        let rich = [
            Capability::RouteRefresh,
            Capability::FourOctetAs(Asn(65001)),
            Capability::GracefulRestart(restart.clone()),
        ];
        let up = agree(&config(), &open(65001, rich.to_vec())).unwrap();
        assert_eq!((up.route_refresh, up.receive.four_octet_as, up.send.four_octet_as), (true, true, true));
        assert_eq!(up.graceful_restart, Some(restart));
        let up = agree(&config(), &open(65001, vec![])).unwrap();
        assert_eq!((up.route_refresh, up.receive.four_octet_as, up.graceful_restart), (false, false, None));
        let without = SessionConfig { graceful_restart: None, ..config() };
        assert_eq!(agree(&without, &open(65001, rich.to_vec())).unwrap().graceful_restart, None);
    }

    #[test]
    fn routes_are_kept_across_notifications_where_both_sides_say_so() {
        for (ours, theirs) in [(true, true), (true, false), (false, true), (false, false)] {
            let local = LocalRestart {
                seconds: 120,
                restarted: false,
                off_path: false,
                notification: ours,
                long_lived_seconds: 0,
            };
            let config = SessionConfig { graceful_restart: Some(local), ..config() };
            let open_of_ours = local_open(&config, false);
            assert_eq!(open_of_ours.graceful_restart().map(|restart| restart.notification), Some(ours));
            let restart = GracefulRestart { notification: theirs, ..GracefulRestart::default() };
            let up = agree(&config, &open(65001, vec![Capability::GracefulRestart(restart)])).unwrap();
            assert_eq!(up.graceful_notification, ours && theirs, "{ours} {theirs}");
        }
    }

    #[test]
    fn long_lived_graceful_restart_is_agreed_on_by_family_and_only_beside_graceful_restart() {
        let said = |family, stale_seconds| LongLived { family, forwarding: true, stale_seconds };
        let v4 = said(Family::Ipv4Unicast, 600);
        let capability = |families: &[LongLived]| Capability::LongLivedGracefulRestart(families.to_vec());
        let restart = Capability::GracefulRestart(GracefulRestart::default());
        for (ours, theirs, received, agreed) in [
            (60, vec![restart.clone(), capability(&[v4])], true, vec![v4]),
            (60, vec![restart.clone(), capability(&[said(Family::Ipv4Unicast, 0)])], true, vec![]),
            (60, vec![restart.clone(), capability(&[said(Family::Ipv6Unicast, 600)])], true, vec![]),
            (60, vec![restart.clone()], false, vec![]),
            (60, vec![capability(&[v4])], false, vec![]),
            (0, vec![restart, capability(&[v4])], true, vec![]),
        ] {
            let local = LocalRestart {
                seconds: 120,
                restarted: true,
                off_path: false,
                notification: false,
                long_lived_seconds: ours,
            };
            let config = SessionConfig {
                graceful_restart: Some(local),
                families: FamilySet::from_iter([Family::Ipv4Unicast]),
                ..config()
            };
            let sent = local_open(&config, false);
            let expected = [said(Family::Ipv4Unicast, 60)];
            assert_eq!(sent.long_lived(), (ours > 0).then_some(&expected[..]));
            let up = agree(&config, &open(65001, theirs.clone())).unwrap();
            assert_eq!((up.long_lived_received, up.long_lived), (received, agreed), "{ours} {theirs:?}");
        }
    }

    #[test]
    fn enhanced_route_refresh_is_in_use_where_both_sides_announce_it() {
        for (ours, theirs) in [(true, true), (true, false), (false, true), (false, false)] {
            let config = SessionConfig {
                extensions: Extensions { enhanced_refresh: ours, ..Extensions::default() },
                ..config()
            };
            assert_eq!(local_open(&config, false).has_enhanced_route_refresh(), ours);
            let capability = theirs.then_some(Capability::EnhancedRouteRefresh);
            let up = agree(&config, &open(65001, capability.into_iter().collect())).unwrap();
            assert_eq!(up.enhanced_refresh, ours && theirs, "{ours} {theirs}");
            assert_eq!(up.remote_extensions.enhanced_refresh, theirs, "{ours} {theirs}");
        }
    }

    #[test]
    fn path_identifiers_are_in_use_by_family_and_direction_where_one_side_sends_and_the_other_takes_them() {
        use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};
        let mode = |send, receive| AddPath { send, receive };
        let theirs = |tuples: &[(Family, AddPath)]| vec![Capability::AddPath(tuples.to_vec())];
        let both = mode(true, true);
        for (ours, theirs, receive, send) in [
            (both, theirs(&[(V4, both), (V6, both)]), vec![V4, V6], vec![V4, V6]),
            (both, theirs(&[(V4, mode(true, false)), (V6, mode(false, true))]), vec![V4], vec![V6]),
            (mode(true, false), theirs(&[(V4, both), (V6, mode(true, false))]), vec![], vec![V4]),
            (mode(false, true), theirs(&[(V4, both), (V6, mode(false, true))]), vec![V4], vec![]),
            (AddPath::NONE, theirs(&[(V4, both), (V6, both)]), vec![], vec![]),
            (both, vec![], vec![], vec![]),
            // The last word of several.
            (both, theirs(&[(V4, both), (V4, mode(true, false))]), vec![V4], vec![]),
            (both, [theirs(&[(V4, both)]), theirs(&[(V6, both)])].concat(), vec![V6], vec![V6]),
        ] {
            let config = SessionConfig { add_path: ours, ..config() };
            let families = Family::ALL.map(Capability::Multiprotocol).to_vec();
            let up = agree(&config, &open(65001, [families, theirs.clone()].concat())).unwrap();
            let in_use = |families: FamilySet| families.iter().collect::<Vec<_>>();
            assert_eq!((in_use(up.receive.add_path), in_use(up.send.add_path)), (receive, send), "{ours:?} {theirs:?}");
            let said = local_open(&config, false).add_path(V6);
            assert_eq!(said, ours, "in our OPEN");
        }
        let config = SessionConfig { add_path: both, families: [V4].into_iter().collect(), ..config() };
        let up = agree(&config, &open(65001, theirs(&[(V4, both), (V6, both)]))).unwrap();
        assert_eq!(up.send.add_path.iter().collect::<Vec<_>>(), [V4], "only in families that both sides have");
    }

    #[test]
    fn long_messages_are_taken_where_we_announce_them_and_sent_where_the_peer_does_too() {
        for (ours, theirs, receive, send) in [
            (true, true, 65535, 65535),
            (true, false, 65535, 4096),
            (false, true, 4096, 4096),
            (false, false, 4096, 4096),
        ] {
            let extensions = Extensions { extended_messages: ours, ..Extensions::default() };
            let config = SessionConfig { extensions, ..config() };
            assert_eq!(local_open(&config, false).has_extended_messages(), ours);
            let capability = theirs.then_some(Capability::ExtendedMessage);
            let up = agree(&config, &open(65001, capability.into_iter().collect())).unwrap();
            let lengths = (up.receive.max_message_len, up.send.max_message_len);
            assert_eq!(lengths, (receive, send), "{ours} {theirs}");
        }
    }

    #[test]
    fn ipv6_next_hops_of_ipv4_prefixes_are_in_use_where_both_sides_announce_them_and_speak_ipv4() {
        use Family::{Ipv4Unicast as V4, Ipv6Unicast as V6};
        let mp = |families: &[Family]| families.iter().copied().map(Capability::Multiprotocol).collect::<Vec<_>>();
        for (ours, our_families, theirs, their_families, agreed) in [
            (true, vec![V4, V6], Some(vec![V4]), vec![V4, V6], vec![V4]),
            (true, vec![V4, V6], Some(vec![V4, V6]), vec![V4, V6], vec![V4]),
            (true, vec![V4, V6], None, vec![V4, V6], vec![]),
            (false, vec![V4, V6], Some(vec![V4]), vec![V4, V6], vec![]),
            (true, vec![V6], Some(vec![V4]), vec![V4, V6], vec![]),
            (true, vec![V4, V6], Some(vec![V4]), vec![V6], vec![]),
            (true, vec![V4, V6], Some(vec![]), vec![V4, V6], vec![]),
        ] {
            let extensions = Extensions { extended_next_hop: ours, ..Extensions::default() };
            let link = Interface::new("eth0");
            let config = SessionConfig { extensions, families: our_families.into_iter().collect(), link, ..config() };
            let offered = ours && config.families.contains(V4);
            let sent: FamilySet = [V4].into_iter().filter(|_| offered).collect();
            assert_eq!(local_open(&config, false).extended_next_hop(), sent);
            let mut capabilities = mp(&their_families);
            capabilities.extend(theirs.map(|families| Capability::ExtendedNextHop(families.into_iter().collect())));
            let up = agree(&config, &open(65001, capabilities.clone())).unwrap();
            for context in [up.receive, up.send] {
                assert_eq!(context.extended_next_hop.iter().collect::<Vec<_>>(), agreed, "{ours} {capabilities:?}");
            }
            assert_eq!((up.receive.link, up.send.link), (link, None));
        }
    }

    #[test]
    fn only_the_first_open_after_a_restart_has_r_and_every_later_one_has_f() {
        for (restarted, off_path, came_up_before, r, f) in [
            (false, false, false, false, false),
            (true, false, false, true, true),
            (true, false, true, false, true),
            (false, false, true, false, true),
            (false, true, false, false, true),
        ] {
            let graceful_restart =
                Some(LocalRestart { seconds: 120, restarted, off_path, notification: false, long_lived_seconds: 0 });
            let open = local_open(&SessionConfig { graceful_restart, ..config() }, came_up_before);
            let sent = open.graceful_restart().unwrap();
            assert_eq!((sent.restarting, sent.families[0].1, sent.restart_seconds), (r, f, 120), "{restarted}");
        }
    }
}
