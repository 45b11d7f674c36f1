//! Pods on this host: remembered, enforced, wired and routed, in that order, and undone in the other.
//!
//! A pod's interface comes up only when its policy is in force (invariant 7). If this program dies between two steps of
//! [`Endpoints::add`], the record is there and the next start finishes the work; if it dies between two steps of
//! [`Endpoints::remove`], likewise, and asking again removes the rest.

mod record;
mod request;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bgp_proto::types::Prefix;
use fib_sync::pod::{self, PodInterface};
use policy::Policy;
use tokio::sync::{Mutex, RwLock};
use tracing::{info, warn};

use crate::forwarding::Forwarding;
use crate::policy_input;
pub use record::{Record, RecordError};

/// Between two attempts to bring up endpoints that failed.
const MEND: Duration = Duration::from_secs(5);

/// Why a request was not done. The message says what, what follows and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Another endpoint is in the way.
    #[error("{0}")]
    Exists(String),
    /// No endpoint has this name.
    #[error("no endpoint is named {name}; nothing was removed; there are: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// A step failed, and those before it were undone.
    #[error("{0}")]
    Failed(String),
}

/// An endpoint and how it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// As it was asked for.
    pub record: Record,
    /// The host's end of its interface.
    pub host_interface: String,
    /// Of the interface at both ends, octets; `None`: this run has not made it yet.
    pub mtu: Option<u32>,
    /// Why it does not work; `None`: it is ready.
    pub error: Option<String>,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    /// Its interface exists as far as we know, so its host routes are wanted.
    wired: bool,
    /// MTU of the interface as it was made or changed last, octets; `None`: not by this run.
    mtu: Option<u32>,
    error: Option<String>,
}

/// This host's endpoints. Requests are done one after another; looking at them never waits for a request.
#[derive(Debug)]
pub struct Endpoints {
    directory: PathBuf,
    policy: Policy,
    forwarding: Forwarding,
    blocks: RwLock<Vec<Prefix>>,
    entries: RwLock<BTreeMap<String, Entry>>,
    /// Held by whoever changes something.
    turn: Mutex<()>,
}

impl Endpoints {
    /// Reads what an earlier run left, for [`Policy::start`] and [`Endpoints::start`].
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn load(directory: &std::path::Path) -> Result<Vec<Record>, RecordError> {
        record::load(directory)
    }

    /// Forgets what an earlier run left.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn forget(directory: &std::path::Path) -> Result<(), RecordError> {
        record::store(directory, &[])
    }

    /// Takes over the endpoints of an earlier run: their interfaces stay as they are where they are sound.
    pub async fn start(
        directory: PathBuf,
        records: Vec<Record>,
        blocks: Vec<Prefix>,
        policy: Policy,
        forwarding: Forwarding,
    ) -> Arc<Self> {
        let entry = |record: Record| {
            let error = Some("it is being taken over from an earlier run".to_owned());
            // Adopted until shown otherwise: its route must not vanish in between.
            (record.name.clone(), Entry { record, wired: true, mtu: None, error })
        };
        let endpoints = Arc::new(Self {
            directory,
            policy,
            forwarding,
            blocks: RwLock::new(blocks),
            entries: RwLock::new(records.into_iter().map(entry).collect()),
            turn: Mutex::new(()),
        });
        endpoints.mend().await;
        let weak = Arc::downgrade(&endpoints);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(MEND).await;
                match weak.upgrade() {
                    Some(endpoints) => endpoints.mend().await,
                    None => return,
                }
            }
        });
        endpoints
    }

    /// Changes the blocks that addresses must be in; endpoints that are there stay.
    pub async fn set_blocks(&self, blocks: Vec<Prefix>) {
        *self.blocks.write().await = blocks;
    }

    /// All of them, by name.
    pub async fn list(&self) -> Vec<EndpointStatus> {
        self.entries.read().await.values().map(status).collect()
    }

    /// Adds an endpoint; the same request again gives the same answer.
    ///
    /// # Errors
    /// See [`EndpointError`]; then nothing is left of it.
    pub async fn add(&self, request: Record) -> Result<EndpointStatus, EndpointError> {
        let blocks = self.blocks.read().await.clone();
        let record = request::check(request, &blocks).map_err(EndpointError::Invalid)?;
        let _turn = self.turn.lock().await;
        let name = record.name.clone();
        {
            let entries = self.entries.read().await;
            match entries.get(&name) {
                Some(entry) if entry.record != record => {
                    return Err(EndpointError::Exists(format!(
                        "endpoint {name} exists and is another; it stays as it is; remove it first (linnet endpoint remove {name})"
                    )));
                }
                Some(entry) if entry.error.is_none() => return Ok(status(entry)),
                _ => {}
            }
            in_the_way(&entries, &record)?;
        }
        let entry = Entry { record: record.clone(), wired: false, mtu: None, error: Some("it is being made".into()) };
        self.entries.write().await.insert(name.clone(), entry);
        if let Err(error) = self.bring_up(&record).await {
            self.take_down(&name).await;
            return Err(EndpointError::Failed(format!(
                "endpoint {name}: {error}; everything done for it was undone; mend the cause and ask again"
            )));
        }
        info!(endpoint = name, interface = pod::host_name(&name), "the endpoint is ready");
        let entries = self.entries.read().await;
        entries
            .get(&name)
            .map(status)
            .ok_or_else(|| EndpointError::Failed(format!("endpoint {name} vanished; ask again")))
    }

    /// Removes an endpoint.
    ///
    /// # Errors
    /// No endpoint has this name, or its interface or record cannot be removed.
    pub async fn remove(&self, name: &str) -> Result<(), EndpointError> {
        let name = request::full_name(name).map_err(EndpointError::Invalid)?;
        let _turn = self.turn.lock().await;
        {
            let entries = self.entries.read().await;
            if !entries.contains_key(&name) {
                return Err(EndpointError::Unknown { name, known: entries.keys().cloned().collect() });
            }
        }
        match self.take_down(&name).await {
            None => {
                info!(endpoint = name, "the endpoint is removed");
                Ok(())
            }
            Some(error) => Err(EndpointError::Failed(format!(
                "endpoint {name} is not wholly removed: {error}; it stays listed as failed; remove it again"
            ))),
        }
    }

    /// Tries again what failed, and notices namespaces and interfaces that have gone.
    pub async fn mend(&self) {
        let _turn = self.turn.lock().await;
        self.notice_interfaces_that_are_down().await;
        let failed: Vec<Record> = {
            let mut entries = self.entries.write().await;
            for entry in entries.values_mut() {
                if !entry.record.netns.exists() {
                    let error = format!(
                        "its network namespace {} is gone; it has no interface; remove the endpoint",
                        entry.record.netns.display()
                    );
                    if entry.error.as_ref() != Some(&error) {
                        warn!(endpoint = entry.record.name, error, "an endpoint has failed");
                    }
                    entry.error = Some(error);
                    entry.wired = false;
                }
            }
            let there = |entry: &&Entry| entry.error.is_some() && entry.record.netns.exists();
            entries.values().filter(there).map(|entry| entry.record.clone()).collect()
        };
        for record in failed {
            if let Err(error) = self.bring_up(&record).await {
                let mut entries = self.entries.write().await;
                if let Some(entry) = entries.get_mut(&record.name) {
                    if entry.error.as_ref() != Some(&error) {
                        warn!(endpoint = record.name, error, "an endpoint has failed; it is tried again");
                    }
                    entry.error = Some(error);
                }
            }
        }
        self.widen_or_narrow().await;
        self.route().await;
    }

    /// Lets the interfaces that are there follow the MTU of what is behind them. One whose namespace is out of reach stays as it
    /// is at both ends, since a veth drops what is longer than its other end takes; the routes say what fits, and the kernel
    /// tells the pod (path MTU discovery).
    async fn widen_or_narrow(&self) {
        let mtu = self.forwarding.pod_mtu().await;
        let other: Vec<Record> = {
            let entries = self.entries.read().await;
            let ready = entries.values().filter(|entry| entry.error.is_none() && entry.mtu != Some(mtu));
            ready.map(|entry| entry.record.clone()).collect()
        };
        for record in other {
            let (name, interface) = (&record.name, interface(&record, mtu));
            match pod::add(&interface).await {
                Ok(()) => info!(endpoint = name, mtu, "the interface has another MTU now"),
                Err(error) => warn!(endpoint = name, mtu, %error, "the interface keeps its MTU, at both ends"),
            }
            // Said once; what removed the interface or its namespace is noticed by itself.
            if let Some(entry) = self.entries.write().await.get_mut(name) {
                entry.mtu = Some(mtu);
            }
        }
    }

    /// A pod that is not reached must not be called ready.
    async fn notice_interfaces_that_are_down(&self) {
        let ready: Vec<String> = {
            let entries = self.entries.read().await;
            entries.iter().filter(|(_, entry)| entry.error.is_none()).map(|(name, _)| pod::host_name(name)).collect()
        };
        if ready.is_empty() {
            return;
        }
        let down = match pod::down(ready).await {
            Ok(down) => down,
            Err(error) => return warn!(%error, "the pods' interfaces cannot be looked at; it is tried again"),
        };
        for (name, entry) in self.entries.write().await.iter_mut() {
            let host_name = pod::host_name(name);
            if entry.error.is_none() && down.contains(&host_name) && entry.record.netns.exists() {
                warn!(endpoint = name, interface = host_name, "an interface was removed or switched off; it is mended");
                entry.error =
                    Some(format!("its interface {host_name} was removed or switched off; it is being mended"));
            }
        }
    }

    /// The steps in order: record, policy, interface, routes, up. What was done already stays as it is.
    async fn bring_up(&self, record: &Record) -> Result<(), String> {
        self.store().await.map_err(|error| error.to_string())?;
        self.enforce().await?;
        let host_name = pod::host_name(&record.name);
        let mtu = self.forwarding.pod_mtu().await;
        let interface = interface(record, mtu);
        pod::add(&interface).await.map_err(|error| error.to_string())?;
        self.note(&record.name, true, Some("its interface is not up yet".into())).await;
        if let Some(entry) = self.entries.write().await.get_mut(&record.name) {
            entry.mtu = Some(mtu);
        }
        self.route().await;
        pod::up(&host_name).await.map_err(|error| error.to_string())?;
        pod::settled(&interface).await.map_err(|error| error.to_string())?;
        self.note(&record.name, true, None).await;
        Ok(())
    }

    /// The steps in the other order. Goes on when one fails, and gives the first error; the entry stays if the interface
    /// or the record does.
    async fn take_down(&self, name: &str) -> Option<String> {
        let mut first = pod::remove(&pod::host_name(name)).await.err().map(|error| error.to_string());
        let entry = match first {
            None => self.entries.write().await.remove(name),
            Some(_) => None,
        };
        self.route().await;
        if let Err(error) = self.enforce().await {
            // The old ruleset stays and covers one interface that is not there any more; policy tries again by itself.
            warn!(endpoint = name, error, "the ruleset still knows an endpoint that is gone");
        }
        if let Err(error) = self.store().await {
            first = first.or_else(|| Some(error.to_string()));
            if let Some(entry) = entry {
                self.entries.write().await.insert(name.to_owned(), Entry { wired: false, ..entry });
            }
        }
        if first.is_some() {
            let mut entries = self.entries.write().await;
            if let Some(entry) = entries.get_mut(name) {
                entry.error.clone_from(&first);
            }
        }
        first
    }

    async fn note(&self, name: &str, wired: bool, error: Option<String>) {
        if let Some(entry) = self.entries.write().await.get_mut(name) {
            entry.wired = wired;
            entry.error = error;
        }
    }

    async fn store(&self) -> Result<(), RecordError> {
        let records: Vec<Record> = self.entries.read().await.values().map(|entry| entry.record.clone()).collect();
        let directory = self.directory.clone();
        let path = directory.clone();
        match tokio::task::spawn_blocking(move || record::store(&directory, &records)).await {
            Ok(stored) => stored,
            Err(error) => Err(RecordError::Io { path, source: std::io::Error::other(error) }),
        }
    }

    async fn enforce(&self) -> Result<(), String> {
        let endpoints = {
            let entries = self.entries.read().await;
            entries.values().map(|entry| policy_input::endpoint(&entry.record)).collect()
        };
        self.policy.set_endpoints(endpoints).await.map_err(|error| format!("its policy is not in force: {error}"))
    }

    async fn route(&self) {
        let pods: Vec<(IpAddr, String)> = {
            let entries = self.entries.read().await;
            let wired = entries.values().filter(|entry| entry.wired);
            wired
                .flat_map(|entry| {
                    let device = pod::host_name(&entry.record.name);
                    entry.record.addresses.iter().map(move |address| (*address, device.clone()))
                })
                .collect()
        };
        self.forwarding.set_pods(pods).await;
    }
}

fn interface(record: &Record, mtu: u32) -> PodInterface {
    PodInterface {
        host_name: pod::host_name(&record.name),
        netns: record.netns.clone(),
        pod_name: record.interface.clone(),
        addresses: record.addresses.clone(),
        mtu,
    }
}

fn status(entry: &Entry) -> EndpointStatus {
    EndpointStatus {
        record: entry.record.clone(),
        host_interface: pod::host_name(&entry.record.name),
        mtu: entry.mtu,
        error: entry.error.clone(),
    }
}

/// Whether another endpoint has one of the addresses, or the interface in the namespace.
fn in_the_way(entries: &BTreeMap<String, Entry>, record: &Record) -> Result<(), EndpointError> {
    for other in entries.values().map(|entry| &entry.record).filter(|other| other.name != record.name) {
        if let Some(address) = record.addresses.iter().find(|address| other.addresses.contains(address)) {
            return Err(EndpointError::Exists(format!(
                "address {address} belongs to endpoint {}; nothing was made; choose another, or remove that endpoint",
                other.name
            )));
        }
        if other.netns == record.netns && other.interface == record.interface {
            return Err(EndpointError::Exists(format!(
                "interface {} in {} belongs to endpoint {}; nothing was made; name another interface, or remove that endpoint",
                record.interface,
                record.netns.display(),
                other.name
            )));
        }
        if pod::host_name(&other.name) == pod::host_name(&record.name) {
            return Err(EndpointError::Exists(format!(
                "the name {} gives the same host interface as endpoint {}; nothing was made; choose another name",
                record.name, other.name
            )));
        }
    }
    Ok(())
}
