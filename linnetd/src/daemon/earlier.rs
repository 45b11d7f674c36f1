//! What runs with another `fib.table` or `fib.metric` left: its routes stay where they are until all are complete where this run puts them.

use std::sync::Arc;

use fib_sync::{Fib, RoutePlace};
use tracing::{info, warn};

use super::Daemon;
use crate::config::Config;
use crate::forwarding::fib_rules;
use crate::places;

impl Daemon {
    /// Removes what runs with another table or metric left, when all of it stands where it is now, and the rules that led there. A packet
    /// finds the old routes or the new ones.
    pub(super) fn leave_earlier_places(self: Arc<Self>, earlier: Vec<RoutePlace>) {
        let Some(kernel) = self.kernel.clone().filter(|_| !earlier.is_empty()) else { return };
        tokio::spawn(async move {
            if !kernel.forwarding.complete().await {
                return;
            }
            let _turn = self.reloading.lock().await;
            let config = self.config().await;
            kernel.rules.change(fib_rules(&config)).await;
            for place in &earlier {
                let RoutePlace { table, metric } = *place;
                match kernel.forwarding.fib().vacate(*place).await {
                    Ok(routes) => info!(routes, table, metric, "routes that an earlier configuration left are removed"),
                    // They are still written down: the next run tries again.
                    Err(error) => return warn!(%error, table, metric, "routes that an earlier configuration left stay"),
                }
            }
            if let Err(error) = places::store(&config.state_directory, &[place(&config)]) {
                warn!(%error, "where routes are is not written down");
            }
        });
    }
}

/// Where this run puts its routes.
fn place(config: &Config) -> RoutePlace {
    RoutePlace { table: config.fib.table, metric: config.fib.metric }
}

/// Where else there are routes that earlier runs have left; of other places nobody has to know any more.
pub(super) async fn find(fib: &Fib, config: &Config) -> Vec<RoutePlace> {
    let here = place(config);
    let noted = places::note(&config.state_directory, here).unwrap_or_else(|error| {
        warn!(%error, "what earlier configurations left is not looked for");
        Vec::new()
    });
    let mut earlier = Vec::new();
    for place in noted.iter().copied() {
        let RoutePlace { table, metric } = place;
        match fib.left(place).await {
            Ok(0) => continue,
            Ok(routes) => {
                info!(routes, table, metric, "routes of an earlier configuration stay until all are complete here")
            }
            Err(error) => warn!(%error, table, metric, "routes of an earlier configuration cannot be looked for"),
        }
        earlier.push(place);
    }
    if earlier.len() < noted.len()
        && let Err(error) = places::store(&config.state_directory, &[&*earlier, &[here]].concat())
    {
        warn!(%error, "places of earlier configurations are looked at again by the next run");
    }
    earlier
}
