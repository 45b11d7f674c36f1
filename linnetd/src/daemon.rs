//! The running node: starts the rooms in order, applies a changed configuration in place, stops without an outage.
//!
//! Start, in order, each step's reason behind it:
//!
//! 1. state: the endpoints of an earlier run, so that policy can cover them at once;
//! 2. the FIB engine: it adopts what an earlier run left; if there was something, this is a restart;
//! 3. policy: in force before any pod's interface comes up (invariant 7);
//! 4. the overlay device and this host's own routes, before anyone hears of them;
//! 5. endpoints;
//! 6. BGP, which tells peers that forwarding went on across the restart (RFC 4724), and what other programs' routes it announces;
//! 7. the API and the metrics, which the program starts on what [`Daemon::start`] returns.
//!
//! Stopping leaves the kernel as it is: packets go on while nobody is there.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bgpd::{Bgp, Shutdown, StartError};
use fib_sync::{Fib, RoutePlace, Rules, rules_to};
use policy::Policy;
use tokio::sync::{Mutex, Notify, RwLock};
use tracing::{error, info, warn};

use crate::config::{self, Config, Environment, Severity};
use crate::drain::Draining;
use crate::endpoints::Endpoints;
use crate::forwarding::{self, Forwarding, fib_rules};
use crate::imports::Imports;
use crate::originate::originate;
use crate::places;
use crate::policy_input::policy_config;
use crate::renumbering::{self, Renumbering};
use crate::speaker::speaker;
use crate::succession::succeed;

/// A running node.
#[derive(Debug)]
pub struct Daemon {
    file: PathBuf,
    started: Instant,
    config: RwLock<Arc<Config>>,
    /// The text that it comes from, where that leaves `node.address` to the host.
    leaves_address: RwLock<Option<String>>,
    /// Why the file on disk is not what is in force.
    refused: RwLock<Vec<String>>,
    reloading: Mutex<()>,
    bgp: Bgp,
    draining: Arc<Draining>,
    /// Notified when the speaker has ended though nobody stopped it.
    speaker_lost: Arc<Notify>,
    kernel: Option<Kernel>,
    imports: Imports,
}

/// What exists only where this node programs its kernel (`fib.install`).
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Network policy.
    pub policy: Policy,
    /// Routes and the overlay.
    pub forwarding: Forwarding,
    /// Pods.
    pub endpoints: Arc<Endpoints>,
    /// What is looked up in Linnet's table, where that is not the main one.
    pub rules: Rules,
}

impl Daemon {
    /// Starts everything but the API and the metrics. `file` is what [`Daemon::reload`] reads again.
    ///
    /// # Errors
    /// A room that cannot start; the kernel's forwarding is left as it was found.
    pub async fn start(file: PathBuf, source: Source) -> anyhow::Result<Arc<Self>> {
        let Source { config, leaves_address } = source;
        let started = Instant::now();
        make_directory(&config.state_directory)?;
        let mut earlier = Vec::new();
        let (kernel, restarted) = if config.fib.install {
            let kernel;
            (kernel, earlier) = Kernel::start(&config).await?;
            let restarted = kernel.forwarding.fib().adopted() > 0 || !earlier.is_empty();
            (Some(kernel), restarted)
        } else {
            info!("fib.install is false: this node programs no route, no policy and no pod");
            (None, false)
        };
        let in_use = |error: &StartError| matches!(error, StartError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
        let drain = Draining::stored(&config.state_directory);
        let start = async || Bgp::start(bgpd::Config { drain, ..speaker(&config) }, restarted).await;
        let (bgp, events) = succeed("bgp.listen", start, in_use).await.context("BGP cannot start")?;
        let overlay = kernel.as_ref().and_then(|kernel| kernel.forwarding.overlay().borrow().clone());
        bgp.originate(originate(&config, overlay.as_ref())).await;
        let imports = Imports::start(&config, bgp.clone()).await.context("[[bgp.import-kernel]] cannot start")?;
        let speaker_lost = Arc::new(Notify::new());
        match &kernel {
            Some(kernel) => kernel.forwarding.follow(bgp.clone(), events, speaker_lost.clone()).await,
            None => drop(tokio::spawn(forwarding::only_log(events, speaker_lost.clone()))),
        }
        let config_directory = config.state_directory.clone();
        let daemon = Arc::new(Self {
            file,
            started,
            config: RwLock::new(Arc::new(config)),
            leaves_address: RwLock::new(leaves_address),
            refused: RwLock::default(),
            reloading: Mutex::default(),
            draining: Arc::new(Draining::new(drain, &config_directory, bgp.clone())),
            bgp,
            speaker_lost,
            kernel,
            imports,
        });
        daemon.clone().announce_overlay_changes();
        daemon.clone().leave_earlier_places(earlier);
        daemon.clone().follow_address();
        info!(restarted, "linnetd is up");
        Ok(daemon)
    }

    /// What a device that appears late or changes offers must be announced anew.
    fn announce_overlay_changes(self: Arc<Self>) {
        let Some(kernel) = &self.kernel else { return };
        let mut overlay = kernel.forwarding.overlay();
        tokio::spawn(async move {
            while overlay.changed().await.is_ok() {
                let device = overlay.borrow_and_update().clone();
                let config = self.config().await;
                self.bgp.originate(originate(&config, device.as_ref())).await;
            }
        });
    }

    /// Removes what runs with another table or metric left, when all of it stands where it is now, and the rules that led there. A packet
    /// finds the old routes or the new ones.
    fn leave_earlier_places(self: Arc<Self>, earlier: Vec<RoutePlace>) {
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

    /// The configuration in force.
    pub async fn config(&self) -> Arc<Config> {
        self.config.read().await.clone()
    }

    /// How long this process has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until the speaker has ended though nobody stopped it: a fault of Linnet's own. Nothing that this process
    /// still does can be trusted to follow the network; the kernel forwards on, and the next run takes over.
    pub async fn speaker_lost(&self) {
        self.speaker_lost.notified().await;
    }

    /// The speaker.
    #[must_use]
    pub fn bgp(&self) -> &Bgp {
        &self.bgp
    }

    /// Whether the node is drained, and the way to drain it.
    #[must_use]
    pub fn draining(&self) -> &Arc<Draining> {
        &self.draining
    }

    /// The kernel's side, where there is one.
    #[must_use]
    pub fn kernel(&self) -> Option<&Kernel> {
        self.kernel.as_ref()
    }

    /// What is announced of other programs' routes.
    #[must_use]
    pub fn imports(&self) -> &Imports {
        &self.imports
    }

    /// Why the last reload was refused; empty: it was not.
    pub async fn refused(&self) -> Vec<String> {
        self.refused.read().await.clone()
    }

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
    async fn take_up(&self, source: Source) -> Vec<String> {
        let Source { config: wanted, leaves_address } = source;
        let old = self.config().await;
        let mut changes = needs_restart(&old, &wanted);
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
        changes.extend(self.apply(&old, &new).await);
        *self.config.write().await = Arc::new(new);
        *self.leaves_address.write().await = leaves_address;
        for change in &changes {
            info!("reload: {change}");
        }
        changes
    }

    /// Where the file leaves `node.address` to the host, it is followed when it is renumbered.
    fn follow_address(self: Arc<Self>) {
        let Some(kernel) = self.kernel.clone() else { return };
        tokio::spawn(async move {
            let mut renumbering = Renumbering::default();
            loop {
                if !self.follows_host().await {
                    // A reload may change that.
                    tokio::time::sleep(renumbering::SELDOM).await;
                    continue;
                }
                tokio::time::sleep(renumbering::LOOK).await;
                let known = self.config().await.node.address;
                if let Some(address) = renumbering.look(known, kernel.forwarding.fib()).await {
                    self.take_address(address).await;
                }
            }
        });
    }

    /// What is in force, with another address of the host's.
    async fn take_address(&self, address: IpAddr) {
        let _turn = self.reloading.lock().await;
        let Some(text) = self.leaves_address.read().await.clone() else { return };
        let environment = Environment { address: Some(address), ..Environment::of_this_host() };
        match parse(&self.file, text, &environment) {
            Ok(source) => {
                info!(%address, "this host is renumbered, and node.address follows it");
                self.take_up(source).await;
            }
            Err(errors) => {
                let why = errors.join("; ");
                warn!(%address, %why, "this host is renumbered, and its new address does not suit the configuration");
            }
        }
    }

    /// Whether the host decides about `node.address`.
    pub async fn follows_host(&self) -> bool {
        self.leaves_address.read().await.is_some()
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

    /// Ends the sessions and leaves the kernel as it is. With graceful restart, peers keep our routes until we are back.
    pub async fn stop(&self) {
        let how = if self.config().await.bgp.graceful_restart.is_some() { Shutdown::Silent } else { Shutdown::Cease };
        info!(?how, "stopping; forwarding, policy and pods stay in the kernel");
        if let Some(kernel) = &self.kernel {
            kernel.forwarding.freeze().await;
        }
        self.bgp.stop(how).await;
    }
}

impl Kernel {
    /// Also says where routes of earlier runs are but where this one puts them.
    async fn start(config: &Config) -> anyhow::Result<(Self, Vec<RoutePlace>)> {
        let records = Endpoints::load(&config.state_directory)?;
        let fib_config = crate::forwarding::fib_config(config);
        let (fib, events) = Fib::start(fib_config).context("the FIB engine cannot start")?;
        if fib.adopted() > 0 {
            info!(routes = fib.adopted(), "routes of an earlier run are adopted");
        }
        let earlier = earlier_places(&fib, config).await;
        match fib_sync::forwarding_enabled() {
            Ok((true, true)) => {}
            _ => match fib_sync::enable_forwarding() {
                Ok(()) => {
                    info!("the kernel forwards IPv4 and IPv6 now (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding)")
                }
                Err(error) => warn!(%error, "the kernel does not forward; pods reach nothing outside of this host"),
            },
        }
        let enforced = records.iter().map(crate::policy_input::endpoint).collect();
        let policy = Policy::start(policy_config(&config.policy), enforced).await.context("policy cannot start")?;
        let forwarding = Forwarding::start(fib, events, config).await;
        // What leads to routes stays as long as they do.
        let tables: Vec<u32> = earlier.iter().map(|place| place.table).collect();
        let standing = if tables.is_empty() { Ok(Vec::new()) } else { rules_to(&tables) };
        let wanted = standing.map(|standing| [fib_rules(config), standing].concat());
        let rules =
            wanted.and_then(|wanted| Rules::start(&wanted)).context("rules for routing tables cannot be kept")?;
        let endpoints = Endpoints::start(
            config.state_directory.clone(),
            records,
            config.node.pod_cidrs.clone(),
            policy.clone(),
            forwarding.clone(),
        )
        .await;
        Ok((Self { policy, forwarding, endpoints, rules }, earlier))
    }
}

/// Where this run puts its routes.
fn place(config: &Config) -> RoutePlace {
    RoutePlace { table: config.fib.table, metric: config.fib.metric }
}

/// Where else there are routes that earlier runs have left; of other places nobody has to know any more.
async fn earlier_places(fib: &Fib, config: &Config) -> Vec<RoutePlace> {
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

/// What a file says.
#[derive(Debug)]
pub struct Source {
    /// Checked, with what it leaves to the host.
    pub config: Config,
    /// Its text, if it leaves `node.address` to the host.
    leaves_address: Option<String>,
}

/// Reads and checks a file. Warnings are logged.
///
/// # Errors
/// A line for each error.
pub fn read(file: &Path) -> Result<Source, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        vec![format!(
            "{}: it cannot be read: {error}; nothing of this file is applied; check the path and its permissions",
            file.display()
        )]
    })?;
    parse(file, text, &Environment::of_this_host())
}

fn parse(file: &Path, text: String, environment: &Environment) -> Result<Source, Vec<String>> {
    match config::parse(&file.display().to_string(), &text, environment) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                warn!("{warning}");
            }
            Ok(Source { config: parsed.config, leaves_address: parsed.leaves_address.then_some(text) })
        }
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            Err(errors.map(ToString::to_string).collect())
        }
    }
}

fn make_directory(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| {
        format!(
            "state.directory {} cannot be made; endpoints could not be remembered, so nothing was started; make it, or name another",
            directory.display()
        )
    })
}

/// Keys that a running process cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let later = |key: &str, differs: bool| {
        differs.then(|| format!("{key} has changed in the file and takes effect when linnetd is restarted"))
    };
    let fixed = |fib: &config::Fib| (fib.install, fib.table, fib.metric, fib.next_hop_objects);
    // Without graceful restart there is nothing to wait for, and that it comes or goes the speaker says.
    let deferral = match (old.bgp.graceful_restart, new.bgp.graceful_restart) {
        (Some(old), Some(new)) => old.deferral_time != new.deferral_time,
        _ => false,
    };
    [
        later("deferral-time of bgp.graceful-restart", deferral),
        later("[fib] install, table, metric or next-hop-objects", fixed(&old.fib) != fixed(&new.fib)),
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
