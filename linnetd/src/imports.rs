//! From routes of other programs in the kernel to what BGP announces (`[[bgp.import-kernel]]`), for as long as they are there.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bgp_proto::filter::{Decision, Filter, MatchContext, PrefixMatch, Source, Validation};
use bgp_proto::types::{Asn, NextHop, Prefix};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::{Attributes, Origin};
use bgpd::Bgp;
use fib_sync::{Accept, FibError, ForeignChanges, ForeignRoute, Selection, protocol, watch_foreign};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::config::{Config, ImportKernel};
use crate::speaker::martians;

/// One `[[bgp.import-kernel]]` with all that it depends on.
#[derive(Clone, Debug, PartialEq)]
struct Import {
    entry: ImportKernel,
    filter: Arc<Filter>,
    local_as: Asn,
    /// This host's own, which it announces anyhow: blocks of pods, of which nothing inside is announced either, and networks.
    blocks: Vec<Prefix>,
    networks: Vec<Prefix>,
    martians: Vec<PrefixMatch>,
}

impl Import {
    fn all(config: &Config) -> Vec<Self> {
        let bgp = &config.bgp;
        let import = |entry: &ImportKernel| {
            Some(Self {
                entry: entry.clone(),
                filter: Arc::new(bgp.filter(&entry.filter)?.clone()),
                local_as: bgp.asn,
                blocks: config.node.pod_cidrs.clone(),
                networks: bgp.networks.clone(),
                martians: martians(),
            })
        };
        bgp.import_kernel.iter().filter_map(import).collect()
    }

    /// What is announced of a route; `None`: nothing. In order: not what this host announces by itself, nor what is never
    /// routed, nor what the filter does not accept.
    fn attributes(&self, route: &ForeignRoute) -> Option<Attributes> {
        let prefix = Prefix::from(route.prefix);
        let own = self.networks.contains(&prefix) || self.blocks.iter().any(|block| block.contains(prefix));
        if own || self.martians.iter().any(|martian| martian.matches(prefix)) {
            return None;
        }
        // Unspecified: each session says its own address (see `Rib::originate`).
        let ourselves = match prefix.address() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        // RFC 4271 section 5.1.1: learned by other means than BGP or EGP.
        let mut attributes = Attributes::new(Origin::Incomplete, AsPath::default(), NextHop::from(ourselves));
        attributes.med = self.entry.metric_as_med.then_some(route.metric);
        let context = MatchContext {
            prefix,
            attributes: &attributes,
            peer: "",
            source: Source::Local,
            validation: Validation::NotFound,
        };
        match self.filter.decide(&context, self.local_as) {
            Decision::Accept(accepted) => {
                self.filter.apply(accepted, &mut attributes, self.local_as);
                Some(attributes)
            }
            Decision::Reject(_) => None,
        }
    }

    fn selection(import: Arc<Self>) -> Selection {
        Selection {
            table: import.entry.table,
            protocols: import.entry.protocols.clone(),
            limit: import.entry.limit as usize,
            accept: Accept(Arc::new(move |route| import.attributes(route).is_some())),
        }
    }

    /// How a person knows it.
    fn title(&self) -> String {
        let protocols: Vec<String> = self.entry.protocols.iter().map(|number| protocol::name(*number)).collect();
        format!("protocols {} of table {}", protocols.join(", "), self.entry.table)
    }
}

/// How it is with one `[[bgp.import-kernel]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportStatus {
    /// `protocols static, ospf of table 254`
    pub title: String,
    /// Prefixes that are announced by it.
    pub announced: usize,
    /// Most routes that it takes.
    pub limit: usize,
    /// Routes beyond, at least so many.
    pub left_out: usize,
}

/// What the task and those who ask share.
#[derive(Debug, Default)]
struct Known {
    imports: Vec<Arc<Import>>,
    /// The entry and the protocol by which a prefix is announced.
    announced: HashMap<Prefix, (usize, u8)>,
    left_out: Vec<usize>,
}

impl Known {
    /// Takes in what changed in the kernel. Returns what follows for the speaker.
    fn take_in(&mut self, news: ForeignChanges) -> Vec<(Prefix, Option<Attributes>)> {
        for (number, (before, now)) in self.left_out.iter().zip(&news.left_out).enumerate() {
            let Some(import) = self.imports.get(number) else { continue };
            let (title, limit) = (import.title(), import.entry.limit);
            match (before, now) {
                (0, 1..) => warn!(
                    "[[bgp.import-kernel]] {title} has more than {limit} routes; those beyond are not announced; let its \
                     filter accept fewer, or raise its limit"
                ),
                (1.., 0) => info!("[[bgp.import-kernel]] {title} is within its limit of {limit} routes again"),
                _ => {}
            }
        }
        self.left_out = news.left_out;
        let mut changes = Vec::with_capacity(news.changes.len());
        for (prefix, choice) in news.changes {
            let prefix = Prefix::from(prefix);
            let attributes = choice.and_then(|choice| {
                let attributes = self.imports.get(choice.selection)?.attributes(&choice.route)?;
                self.announced.insert(prefix, (choice.selection, choice.route.protocol));
                Some(attributes)
            });
            if attributes.is_none() {
                self.announced.remove(&prefix);
            }
            changes.push((prefix, attributes));
        }
        changes
    }

    /// Starts anew with other entries and all that there is for them. Returns what follows for the speaker: what stays is
    /// not withdrawn in between.
    fn exchange(&mut self, imports: Vec<Arc<Import>>, all: ForeignChanges) -> Vec<(Prefix, Option<Attributes>)> {
        let before = std::mem::take(&mut self.announced);
        self.left_out = vec![0; imports.len()];
        self.imports = imports;
        let mut changes = self.take_in(all);
        let gone = before.into_keys().filter(|prefix| !self.announced.contains_key(prefix));
        changes.extend(gone.map(|prefix| (prefix, None)));
        changes
    }
}

/// Other entries, what is heard of the kernel for them, and whom to tell when it is announced.
type Exchange = (Vec<Arc<Import>>, mpsc::Receiver<ForeignChanges>, oneshot::Sender<()>);

/// A handle to the task that announces, which ends with it.
#[derive(Debug)]
pub struct Imports {
    known: Arc<Mutex<Known>>,
    exchanges: mpsc::Sender<Exchange>,
}

impl Imports {
    /// Announces what is there when this returns, and follows the kernel from then on.
    ///
    /// # Errors
    /// The kernel cannot be listened to or read.
    pub async fn start(config: &Config, bgp: Bgp) -> Result<Self, FibError> {
        let (exchanges, commands) = mpsc::channel(1);
        let imports = Self { known: Arc::default(), exchanges };
        tokio::spawn(follow(imports.known.clone(), bgp, commands));
        imports.configure(config).await?;
        Ok(imports)
    }

    /// Applies a changed configuration: what is not wanted any more is withdrawn, and nothing else is.
    ///
    /// # Errors
    /// The kernel cannot be listened to or read; what was announced goes on as it is.
    pub async fn configure(&self, config: &Config) -> Result<(), FibError> {
        let imports = Import::all(config);
        if imports.iter().eq(lock(&self.known).imports.iter().map(|import| &**import)) {
            return Ok(());
        }
        let imports: Vec<Arc<Import>> = imports.into_iter().map(Arc::new).collect();
        let watch = match imports.is_empty() {
            true => mpsc::channel(1).1,
            false => watch_foreign(imports.iter().cloned().map(Import::selection).collect())?,
        };
        let (done, answered) = oneshot::channel();
        if self.exchanges.send((imports, watch, done)).await.is_ok() {
            let _ = answered.await;
        }
        Ok(())
    }

    /// By which protocol of the kernel's the prefix is announced; `None`: by none.
    #[must_use]
    pub fn protocol(&self, prefix: Prefix) -> Option<u8> {
        lock(&self.known).announced.get(&prefix).map(|(_, protocol)| *protocol)
    }

    /// How it is with each, in the file's order.
    #[must_use]
    pub fn status(&self) -> Vec<ImportStatus> {
        let known = lock(&self.known);
        let mut status: Vec<ImportStatus> = known
            .imports
            .iter()
            .zip(&known.left_out)
            .map(|(import, left_out)| ImportStatus {
                title: import.title(),
                announced: 0,
                limit: import.entry.limit as usize,
                left_out: *left_out,
            })
            .collect();
        for (import, _) in known.announced.values() {
            status[*import].announced += 1;
        }
        status
    }
}

async fn follow(known: Arc<Mutex<Known>>, bgp: Bgp, mut exchanges: mpsc::Receiver<Exchange>) {
    let mut heard: Option<mpsc::Receiver<ForeignChanges>> = None;
    loop {
        tokio::select! {
            exchange = exchanges.recv() => {
                let Some((imports, mut watch, done)) = exchange else { return };
                // All that there is comes first, and is there.
                let all = watch.try_recv().unwrap_or_default();
                let changes = lock(&known).exchange(imports, all);
                bgp.redistribute(changes).await;
                heard = Some(watch);
                let _ = done.send(());
            }
            news = next(&mut heard) => match news {
                Some(news) => {
                    let changes = lock(&known).take_in(news);
                    bgp.redistribute(changes).await;
                }
                None => heard = None,
            },
        }
    }
}

async fn next(heard: &mut Option<mpsc::Receiver<ForeignChanges>>) -> Option<ForeignChanges> {
    match heard {
        Some(heard) => heard.recv().await,
        None => std::future::pending().await,
    }
}

/// What is locked is whole even if a thread panicked while it held it: each change is made by one call.
fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use fib_sync::Choice;

    use super::*;
    use crate::config::{Environment, parse};

    fn imports(extra: &str) -> Vec<Arc<Import>> {
        let text = format!(
            "[node]\nname = \"n\"\naddress = \"192.168.10.11\"\npod-cidrs = [\"10.244.1.0/24\"]\n[bgp]\nasn = 64512\n\
             networks = [\"203.0.113.0/24\"]\n{extra}"
        );
        let config = parse("f", &text, &Environment { host_name: None, address: None }).unwrap().config;
        Import::all(&config).into_iter().map(Arc::new).collect()
    }

    fn route(prefix: &str, metric: u32) -> ForeignRoute {
        ForeignRoute { prefix: prefix.parse().unwrap(), protocol: 4, metric }
    }

    const ALL: &str = "[[bgp.filter]]\nname = \"all\"\nrules = [{ match = { prefix = [\"198.51.100.0/24\"] }, \
                       set = { local-pref = 50 }, then = \"accept\" }, { then = \"accept\" }]\n";

    #[test]
    fn what_the_filter_accepts_is_announced_and_never_what_is_this_hosts_own_or_never_routed() {
        let import = &imports(&format!("[[bgp.import-kernel]]\nprotocols = [4]\nfilter = \"all\"\n{ALL}"))[0];
        for (prefix, wanted) in [
            ("192.0.2.0/24", true),
            ("10.244.0.0/16", true),
            ("0.0.0.0/0", true),
            ("10.244.1.0/24", false),
            ("10.244.1.7/32", false),
            ("203.0.113.0/24", false),
            ("169.254.0.0/16", false),
            ("127.0.0.0/8", false),
            ("fe80::/64", false),
            ("fd00:1::/64", true),
        ] {
            assert_eq!(import.attributes(&route(prefix, 0)).is_some(), wanted, "{prefix}");
        }
    }

    #[test]
    fn a_route_has_its_metric_as_med_if_that_is_asked_for_and_what_the_filter_sets() {
        for (asked, med) in [("", None), ("metric-as-med = true\n", Some(20))] {
            let text = format!("[[bgp.import-kernel]]\nprotocols = [\"static\"]\nfilter = \"all\"\n{asked}{ALL}");
            let attributes = imports(&text)[0].attributes(&route("198.51.100.0/24", 20)).unwrap();
            assert_eq!((attributes.med, attributes.local_pref), (med, Some(50)));
            assert_eq!(attributes.origin, Origin::Incomplete);
            assert!(attributes.next_hop.address().is_unspecified());
        }
    }

    #[test]
    fn other_entries_withdraw_what_they_do_not_have_and_nothing_else() {
        let mut known = Known::default();
        let entry = |table| {
            format!("[[bgp.import-kernel]]\nprotocols = [\"static\"]\ntable = {table}\nfilter = \"all\"\n{ALL}")
        };
        let news = |prefixes: &[&str]| {
            let choice =
                |prefix: &&str| (prefix.parse().unwrap(), Some(Choice { selection: 0, route: route(prefix, 0) }));
            ForeignChanges { changes: prefixes.iter().map(choice).collect(), left_out: vec![0] }
        };
        let shown = |changes: Vec<(Prefix, Option<Attributes>)>| {
            let mut shown: Vec<String> =
                changes.iter().map(|(prefix, it)| format!("{prefix} {}", it.is_some())).collect();
            shown.sort();
            shown
        };
        let changes = known.exchange(imports(&entry(254)), news(&["192.0.2.0/24", "198.51.100.0/24"]));
        assert_eq!(shown(changes), ["192.0.2.0/24 true", "198.51.100.0/24 true"]);
        let changes = known.exchange(imports(&entry(100)), news(&["198.51.100.0/24"]));
        assert_eq!(shown(changes), ["192.0.2.0/24 false", "198.51.100.0/24 true"]);
        assert_eq!(shown(known.exchange(Vec::new(), ForeignChanges::default())), ["198.51.100.0/24 false"]);
        assert!(known.announced.is_empty());
    }
}
