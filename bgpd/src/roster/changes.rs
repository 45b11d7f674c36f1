//! What a changed configuration does to the roster.

use std::collections::HashMap;

use bgp_proto::types::PeerId;
use bgp_proto::wire::notification::Cease;

use super::{Roster, check, dynamic_peer, keys, rib_config};
use crate::StartError;
use crate::bfd;
use crate::config::{Config, PeerConfig, PeerKey};
use crate::peer::PeerCommand;
use crate::reconfigure::{Differences, session_config};
use crate::rib_task::Order;

impl Roster {
    /// Applies a changed configuration; says what it did, a line each.
    pub(super) async fn reconfigure(&mut self, new: Config) -> Vec<String> {
        if let Err(error) = check(&new) {
            return vec![format!("nothing changed: {error}")];
        }
        let mut lines = Vec::new();
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            let disabled = self.entries.get(&id).filter(|entry| entry.disabled);
            if let Some(name) = disabled.map(|entry| entry.config.name.clone()) {
                lines.push(format!("peer {name}: enabled again"));
                self.set_enabled(id, None).await;
            }
        }
        self.change_listeners(&new, &mut lines);
        let old = std::mem::replace(&mut self.config, new);
        self.change_dynamic(&old, &mut lines).await;
        if self.change_speaker(&old, &mut lines).await {
            return lines;
        }

        let wanted: HashMap<PeerKey, PeerConfig> =
            self.config.peers.iter().map(|peer| (peer.key(), peer.clone())).collect();
        let present: Vec<PeerId> = self.entries.keys().copied().collect();
        for id in present {
            let Some(entry) = self.entries.get(&id) else { continue };
            let (name, address, key) = (entry.config.name.clone(), entry.config.address, entry.config.key());
            let at = entry.at;
            let range = self.config.dynamic_peers.iter().find(|range| Some(range.prefix) == entry.dynamic);
            let next = match entry.dynamic {
                // A peer that was dynamic and now has an entry of its own is that peer from now on.
                Some(_) if wanted.contains_key(&key) => None,
                Some(_) => range.map(|range| dynamic_peer(&range.template, address)),
                None => wanted.get(&key).cloned(),
            };
            match next {
                Some(next) => self.change_peer(id, &old, next, &mut lines).await,
                None => {
                    self.remove(id, Cease::PeerDeConfigured).await;
                    self.bfd.remove(at);
                    lines.push(format!("peer {name}: removed"));
                }
            }
        }
        for peer in self.config.peers.clone() {
            if !self.by_key.contains_key(&peer.key()) {
                lines.push(format!("peer {}: added", peer.name));
                self.add(peer, None, None);
            }
        }
        lines
    }

    fn change_listeners(&mut self, new: &Config, lines: &mut Vec<String>) {
        self.listeners.retain(|listener| {
            let kept = new.listen.contains(&listener.configured);
            if !kept {
                lines.push(format!("listen {}: closed", listener.configured));
            }
            kept
        });
        let keys = keys(new);
        for listener in &mut self.listeners {
            listener.settle_keys(&keys);
        }
        for address in &new.listen {
            if self.listeners.iter().all(|listener| listener.configured != *address) {
                lines.push(match self.listen(*address, &keys) {
                    Ok(()) => format!("listen {address}: opened"),
                    Err(error) => StartError::Listen { address: *address, source: error }.to_string(),
                });
            }
        }
    }

    /// What changes the RIB as a whole: with another AS, router id or cluster, it starts anew, and so do all sessions, each
    /// with its peer's new configuration. Whether that was so.
    async fn change_speaker(&mut self, old: &Config, lines: &mut Vec<String>) -> bool {
        let (was, is) = (rib_config(old, false), rib_config(&self.config, false));
        if was.max_paths != is.max_paths {
            lines.push(format!("max-paths: {}", is.max_paths));
            let _ = self.rib.orders.send(Order::SetMaxPaths(is.max_paths));
        }
        if was.aggregates != is.aggregates {
            lines.push("aggregates changed, in place".to_owned());
            let _ = self.rib.orders.send(Order::SetAggregates(is.aggregates.clone()));
        }
        let changed = [
            ("asn", was.local_as != is.local_as),
            ("router-id", was.router_id != is.router_id),
            ("cluster-id", was.cluster_id != is.cluster_id),
        ];
        let keys: Vec<_> = changed.iter().filter(|key| key.1).map(|key| key.0).collect();
        if keys.is_empty() {
            return false;
        }
        lines.push(format!("{} changed, and every session was reset", keys.join(", ")));
        for (id, at) in self.entries.iter().map(|(id, entry)| (*id, entry.at)).collect::<Vec<_>>() {
            self.remove(id, Cease::OtherConfigurationChange).await;
            if self.config.peers.iter().all(|peer| bfd::target(peer) != at) {
                self.bfd.remove(at);
            }
        }
        let _ = self.rib.orders.send(Order::Renew(is));
        for peer in self.config.peers.clone() {
            self.add(peer, None, None);
        }
        true
    }

    async fn change_dynamic(&mut self, old: &Config, lines: &mut Vec<String>) {
        for range in &old.dynamic_peers {
            if self.config.dynamic_peers.iter().all(|other| other.prefix != range.prefix) {
                lines.push(format!("dynamic-peer {}: removed", range.prefix));
            }
        }
        for range in self.config.dynamic_peers.clone() {
            match old.dynamic_peers.iter().find(|other| other.prefix == range.prefix) {
                None => {
                    lines.push(format!("dynamic-peer {}: added", range.prefix));
                }
                Some(before) => {
                    if before.limit != range.limit {
                        lines.push(format!("dynamic-peer {}: limit {}", range.prefix, range.limit));
                    }
                }
            }
        }
    }

    async fn change_peer(&mut self, id: PeerId, old: &Config, next: PeerConfig, lines: &mut Vec<String>) {
        let Some(entry) = self.entries.get(&id) else { return };
        let differences = Differences::between((old, &entry.config), (&self.config, &next));
        if differences.is_empty() {
            return;
        }
        lines.push(differences.line(&next.name));
        if !differences.reset.is_empty() {
            let (dynamic, at) = (entry.dynamic.is_some(), entry.at);
            self.remove(id, Cease::OtherConfigurationChange).await;
            if dynamic {
                self.bfd.remove(at);
            } else {
                self.add(next, None, None);
            }
            return;
        }
        let policy = self.policy(&next);
        let session = session_config(&self.config, &next, self.restarted_until.is_some());
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let order = Order::SetPeer { peer: id, task: entry.task, policy, to: entry.to_rib.clone() };
        let _ = self.rib.orders.send(order);
        entry.config = next.clone();
        self.bfd.set(entry.at, &entry.config, !entry.disabled, &entry.teller);
        let _ = entry.commands.send(PeerCommand::Reconfigure(Box::new(next), Box::new(session))).await;
    }
}
