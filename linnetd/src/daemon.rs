//! The running node: starts the rooms in order and stops without an outage. `reload` applies a changed configuration in place.
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

mod earlier;
mod idle_filters;
mod reload;
mod renumbering;
mod source;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bgpd::{Bgp, Shutdown, StartError};
use fib_sync::{Fib, RoutePlace, Rules, rules_to};
use policy::Policy;
use tokio::sync::{Mutex, Notify, RwLock};
use tracing::{info, warn};

use crate::config::Config;
use crate::drain::Draining;
use crate::endpoints::Endpoints;
use crate::forwarding::{self, Forwarding, fib_rules};
use crate::imports::Imports;
use crate::originate::originate;
use crate::policy_input::policy_config;
use crate::speaker::speaker;
use crate::succession::succeed;
pub(crate) use renumbering::host_has;
pub use source::{Source, read};

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
        let earlier = earlier::find(&fib, config).await;
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
        let endpoints = Endpoints::start(
            config.state_directory.clone(),
            records,
            config.node.pod_cidrs.clone(),
            policy.clone(),
            forwarding.clone(),
        )
        .await;
        // Behind the routes of pods: whatever is led to a new table must not find the unreachable routes of their blocks alone. What
        // leads to routes stays as long as they do.
        let tables: Vec<u32> = earlier.iter().map(|place| place.table).collect();
        let standing = if tables.is_empty() { Ok(Vec::new()) } else { rules_to(&tables) };
        let wanted = standing.map(|standing| [fib_rules(config), standing].concat());
        let rules =
            wanted.and_then(|wanted| Rules::start(&wanted)).context("rules for routing tables cannot be kept")?;
        Ok((Self { policy, forwarding, endpoints, rules }, earlier))
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
