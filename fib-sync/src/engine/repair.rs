//! Putting back what another program changed, and then telling who it was: to find that out takes longer than the repair.

use std::{collections::HashMap, sync::Arc, time::Instant};

use ipnetwork::IpNetwork;

use super::{Engine, failover::OBJECTS, overlay_fights::Part};
use crate::{
    culprit::Owner,
    fight::Response,
    plan::{Intent, Verdict, decide},
};

/// Programs that are asked for by name, and repairs that are logged one by one, of what is heard in one go.
const NAMES: usize = 8;
const LOGGED: usize = 16;
/// Whoever there is no time to ask for.
const CROWD: &str = "one of many programs";

/// What another program did to a route.
#[derive(Debug)]
pub(super) struct Meddling {
    pub(super) what: String,
    /// The netlink port of its request.
    pub(super) port: u32,
}

/// Something of Linnet's that another program touched.
#[derive(Debug)]
pub(super) enum Thing {
    /// A route, and what was done to it.
    Route(IpNetwork, String),
    NextHops,
    /// A part of the overlay, and what was done to it.
    Overlay(Part, String),
}

/// What others did and was answered; whoever reads the log is still to be told.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Things with the netlink port of who touched them.
    things: Vec<(Thing, u32, Response)>,
    /// Whose ports these are, as far as one look says; of the first few.
    owners: HashMap<u32, Owner>,
}

impl Untold {
    pub(super) fn is_empty(&self) -> bool {
        self.things.is_empty()
    }
}

impl Engine {
    /// Puts back what somebody else changed.
    pub(super) fn repair(&mut self, meddled: HashMap<IpNetwork, Meddling>) {
        let now = Instant::now();
        let mut back = Vec::new();
        for (prefix, Meddling { what, port }) in meddled {
            let slot = self.ledger.table.get(prefix);
            let intent = self.ledger.paths.intent(slot.want(), prefix.is_ipv6());
            let swept = self.swept[usize::from(prefix.is_ipv6())];
            let foreign = self.ledger.foreign.get(&prefix).copied();
            let repairs = matches!(decide(intent, slot.have(), foreign, swept), Verdict::Do(_));
            if !repairs || !matches!(intent, Intent::Route(_)) {
                back.push(prefix);
                continue;
            }
            let response = self.troubles.meddled(prefix, now);
            if response == Response::PutBack {
                back.push(prefix);
            }
            self.tell_later(Thing::Route(prefix, what), port, response);
        }
        self.reconcile(back);
    }

    /// Notes what is to be told; a program that ends soon is looked at now.
    pub(super) fn tell_later(&mut self, thing: Thing, port: u32, response: Response) {
        if response == Response::Wait {
            return;
        }
        let Untold { things, owners } = &mut self.untold;
        if owners.len() < NAMES && !owners.contains_key(&port) {
            owners.insert(port, self.culprits.look(port));
        }
        things.push((thing, port, response));
    }

    /// Tells who touched what.
    pub(super) fn tell(&mut self) {
        let now = Instant::now();
        let Untold { things, owners } = std::mem::take(&mut self.untold);
        let names: HashMap<u32, Arc<str>> =
            owners.into_iter().map(|(port, owner)| (port, self.culprits.name(owner))).collect();
        let (mut logged, mut unlogged) = (0, 0);
        for (thing, port, response) in things {
            let who = names.get(&port);
            self.blame(&thing, who);
            let by = who.map_or(CROWD, |name| name);
            match (thing, response) {
                (_, Response::Wait) => {}
                (Thing::Route(prefix, what), Response::PutBack) => {
                    if logged < LOGGED {
                        tracing::warn!(%prefix, %what, %by, port, "another program touched a route of Linnet's; it is put back");
                        logged += 1;
                    } else {
                        unlogged += 1;
                    }
                    self.outbox.repaired(prefix, format!("{what}, by {by}"));
                }
                (Thing::Route(prefix, _), Response::Leave(truce)) => {
                    let why = self.troubles.why(prefix, now).unwrap_or_default();
                    tracing::warn!(%prefix, ?truce, %why, "a fight over a route of Linnet's; it is left alone for a while");
                }
                (Thing::NextHops, Response::PutBack) => {
                    tracing::warn!(%by, port, "another program touched next-hop objects of Linnet's; they are put back");
                }
                (Thing::NextHops, Response::Leave(truce)) => {
                    let why = self.object_fight.as_ref().and_then(|fight| fight.why(OBJECTS, now)).unwrap_or_default();
                    tracing::warn!(?truce, %why, "a fight over next-hop objects; routes name their next hops themselves for a while");
                }
                (Thing::Overlay(part, what), Response::PutBack) => {
                    tracing::warn!(%what, %by, port, "another program touched {}; it is put right", part.words());
                }
                (Thing::Overlay(part, _), Response::Leave(truce)) => {
                    let why = self.overlay_fights.why(part, now).unwrap_or_default();
                    tracing::warn!(?truce, %why, "a fight over {}; it is left alone for a while", part.words());
                }
            }
        }
        if unlogged > 0 {
            tracing::warn!(
                routes = unlogged,
                "another program touched more routes of Linnet's than are told one by one"
            );
        }
    }

    fn blame(&mut self, thing: &Thing, who: Option<&Arc<str>>) {
        let Some(who) = who else { return };
        let fight = match thing {
            Thing::Route(prefix, _) => return self.troubles.blame(*prefix, who),
            Thing::NextHops => self.object_fight.as_mut(),
            Thing::Overlay(part, _) => self.overlay_fights.fight_mut(*part),
        };
        if let Some(fight) = fight {
            fight.blame(who);
        }
    }
}
