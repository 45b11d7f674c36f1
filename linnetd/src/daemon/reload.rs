//! A changed configuration, applied in place.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{error, info, warn};

use super::{Daemon, Source, idle_filters, read};
use crate::config::{self, Config};
use crate::forwarding::fib_rules;
use crate::originate::originate;
use crate::policy_input::policy_config;
use crate::speaker::speaker;

impl Daemon {
    /// Reads the file again and applies what changed in place: a line for each change.
    ///
    /// # Errors
    /// A line for each error; nothing has changed.
    pub async fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        let _turn = self.reloading.lock().await;
        match read(&self.file) {
            Ok(source) => {
                self.refused.write().await.clear();
                Ok(self.take_up(source).await)
            }
            Err(errors) => {
                for line in &errors {
                    error!("{line}");
                }
                warn!(file = %self.file.display(), "the changed file is refused; the configuration in force is the old one");
                self.refused.write().await.clone_from(&errors);
                Err(errors)
            }
        }
    }

    /// Applies what changed in place: a line for each change. One at a time.
    pub(super) async fn take_up(&self, source: Source) -> Vec<String> {
        let Source { config: mut wanted, leaves_address } = source;
        let old = self.config().await;
        let mut changes = needs_restart(&old, &wanted);
        if wanted.fib.table != old.fib.table {
            // Routes stay in the table that they are in, and packets have to find them there.
            wanted.fib.rules.clone_from(&old.fib.rules);
        }
        let new = Config {
            fib: config::Fib {
                install: old.fib.install,
                table: old.fib.table,
                metric: old.fib.metric,
                next_hop_objects: old.fib.next_hop_objects,
                ..wanted.fib
            },
            api_socket: old.api_socket.clone(),
            metrics_listen: old.metrics_listen,
            state_directory: old.state_directory.clone(),
            ..wanted
        };
        changes.extend(changed_keys(&old, &new));
        changes.extend(idle_filters::changed(&old.bgp, &new.bgp));
        changes.extend(self.apply(&old, &new).await);
        *self.config.write().await = Arc::new(new);
        *self.leaves_address.write().await = leaves_address;
        for change in &changes {
            info!("reload: {change}");
        }
        changes
    }

    /// Devices and policy before the routes that need them, announcements last.
    async fn apply(&self, old: &Config, new: &Config) -> Vec<String> {
        let mut lines = Vec::new();
        let mut overlay = None;
        if let Some(kernel) = &self.kernel {
            if old.policy != new.policy
                && let Err(error) = kernel.policy.reconfigure(policy_config(&new.policy)).await
            {
                lines.push(format!("policy is degraded: {error}"));
            }
            let moved = old.bgp.cluster_cidrs != new.bgp.cluster_cidrs;
            // Its key may have been removed for another.
            let keyed = new.overlay.encapsulation == config::Encapsulation::WireGuard;
            if keyed || moved || (&old.node, old.overlay, &old.fib) != (&new.node, new.overlay, &new.fib) {
                kernel.endpoints.set_blocks(new.node.pod_cidrs.clone()).await;
                kernel.forwarding.configure(new).await;
                kernel.rules.change(fib_rules(new)).await;
            }
            if moved && keyed {
                lines.push("bgp.cluster-cidrs says of routes that come from now on whether they lead to pods, and of all of them when linnetd is restarted".into());
            }
            overlay = kernel.forwarding.overlay().borrow().clone();
        }
        lines.extend(self.bgp.reconfigure(speaker(new)).await);
        self.bgp.originate(originate(new, overlay.as_ref())).await;
        if let Err(error) = self.imports.configure(new).await {
            lines.push(format!("[[bgp.import-kernel]] stays as it was: {error}"));
        } else if old.bgp.import_kernel != new.bgp.import_kernel {
            lines.push(format!(
                "bgp.import-kernel: {} entries, before {}",
                new.bgp.import_kernel.len(),
                old.bgp.import_kernel.len()
            ));
        }
        lines
    }
}

/// Keys that a running process cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let later = |key: &str, differs: bool| {
        differs.then(|| format!("{key} has changed in the file and takes effect when linnetd is restarted"))
    };
    let moved = old.fib.table != new.fib.table;
    let fixed = |fib: &config::Fib| (fib.install, fib.table, fib.metric, fib.next_hop_objects);
    // Without graceful restart there is nothing to wait for, and that it comes or goes the speaker says.
    let deferral = match (old.bgp.graceful_restart, new.bgp.graceful_restart) {
        (Some(old), Some(new)) => old.deferral_time != new.deferral_time,
        _ => false,
    };
    [
        later("deferral-time of bgp.graceful-restart", deferral),
        later("[fib] install, table, metric or next-hop-objects", fixed(&old.fib) != fixed(&new.fib)),
        later("fib.rules, which leads to that table,", moved && old.fib.rules != new.fib.rules),
        later("api.socket", old.api_socket != new.api_socket),
        later("metrics.listen", old.metrics_listen != new.metrics_listen),
        later("state.directory", old.state_directory != new.state_directory),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A line for each key that differs, outside of what the speaker reports itself.
fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (keys(old), keys(new));
    let all: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let shown = |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
    all.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| format!("{key}: {} -> {}", shown(old.get(key)), shown(new.get(key))))
        .collect()
}

/// `section.key` with its value, from the canonical file. Of `[bgp]`, only what the speaker is not told as such.
fn keys(config: &Config) -> BTreeMap<String, String> {
    let text = config.to_string();
    let mut section = "";
    let mut keys = BTreeMap::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('[') {
            section = title.strip_suffix(']').unwrap_or_default();
        } else if let Some((key, value)) = line.split_once(" = ") {
            let told = section == "bgp" && !matches!(key, "networks" | "cluster-cidrs" | "drain-time");
            if !told && !section.starts_with('[') {
                keys.insert(format!("{section}.{key}"), value.to_owned());
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn config(text: &str) -> Config {
        let environment = Environment { host_name: Some("n".into()), address: Some([192, 168, 10, 11].into()) };
        config::parse("f", text, &environment).unwrap().config
    }

    #[test]
    fn a_reload_names_each_key_that_changed_and_no_other() {
        let old = config("[bgp]\nasn = 1\n[[bgp.filter]]\nname = \"a\"\nrules = [{ then = \"accept\" }]\n");
        let new = config(
            "[node]\npod-cidrs = [\"10.244.1.0/24\"]\n[bgp]\nasn = 2\nnetworks = [\"10.0.0.0/8\"]\n[overlay]\nmode = \"never\"\n",
        );
        assert_eq!(
            changed_keys(&old, &new),
            [
                "bgp.networks: [] -> [\"10.0.0.0/8\"]",
                "node.pod-cidrs: [] -> [\"10.244.1.0/24\"]",
                "overlay.mode: \"auto\" -> \"never\""
            ]
        );
        assert!(changed_keys(&old, &old).is_empty());
    }

    #[test]
    fn what_only_a_restart_applies_is_said() {
        let old = config("[bgp]\nasn = 1\n");
        let new = config("[bgp]\nasn = 1\n[fib]\ntable = 100\n[metrics]\nlisten = \"off\"\n");
        let lines = needs_restart(&old, &new);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("[fib]") && lines[1].starts_with("metrics.listen"), "{lines:?}");
    }

    /// Sessions are not reset for it, so the speaker has nothing to say of it.
    #[test]
    fn a_deferral_time_that_changes_is_said_to_wait_for_a_restart() {
        let with = |keys: &str| config(&format!("[bgp]\nasn = 1\ngraceful-restart = {{ {keys} }}\n"));
        let lines = needs_restart(&with("deferral-time = 20"), &with("deferral-time = 5"));
        assert_eq!(
            lines,
            [
                "deferral-time of bgp.graceful-restart has changed in the file and takes effect when linnetd is restarted"
            ]
        );
        assert!(needs_restart(&with("deferral-time = 20"), &with("enabled = false")).is_empty());
    }
}
