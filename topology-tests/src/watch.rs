//! What happens to a node's kernel routes while a test looks elsewhere.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::lab::{Background, LabError, Node};
use crate::poll::poll;

/// `ip monitor route` in a node.
#[derive(Debug)]
pub struct Watch(Background);

/// Watches of one process.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Watch {
    /// Begins to watch. When this returns, the kernel tells the watcher of everything: that its process runs is not enough.
    ///
    /// # Errors
    /// When it cannot be started, or is not told within ten seconds.
    pub fn begin(node: &Node) -> Result<Self, LabError> {
        let pid = format!("/run/watch.{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let watcher = node.spawn(None, &["sh", "-c", &format!("echo $$ > {pid}; exec ip monitor route")])?;
        // A row of NETLINK_ROUTE (0) with the watcher's port, which is its process, and groups.
        let row = format!(
            "test -s {pid} && awk -v pid=\"$(cat {pid})\" \
             '$2 == 0 && $3 == pid && $4 !~ /^0*$/ {{ found = 1 }} END {{ exit !found }}' /proc/net/netlink"
        );
        poll(&format!("the kernel to tell a watcher in {}", node.name()), Duration::from_secs(10), || {
            node.shell(&row).map(drop).map_err(|error| error.to_string())
        })?;
        Ok(Self(watcher))
    }

    /// Ends the watch: the lines that say that a route to one of these prefixes was removed.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn removed(self, prefixes: &[&str]) -> Result<Vec<String>, LabError> {
        let seen = self.0.interrupt()?.stdout;
        let is_one = |line: &&str| line.starts_with("Deleted") && prefixes.iter().any(|prefix| line.contains(prefix));
        Ok(seen.lines().filter(is_one).map(str::to_owned).collect())
    }
}
