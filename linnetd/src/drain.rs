//! Draining this node (RFC 8326): for a while it is everybody's last resort, then nobody's.
//!
//! That a node is drained is a file in the state directory, so that a restart does not bring traffic back. It is written
//! before the first peer is told, and removed before the first peer is told that all is as it was. A run that finds it
//! announces nothing from the start: whoever was to find another way had the time for it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bgpd::{Bgp, Drain};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};
use tracing::info;

/// The file, in the state directory.
const NAME: &str = "drained";
const TEXT: &str = "`linnet drain` was run on this node: it announces no route. `linnet undrain` ends that.\n";

/// Why a node was not drained, or not undrained.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; nothing was changed, because the next start of linnetd would not know of it; make the state directory writable", .path.display())]
pub struct DrainError {
    /// The file.
    path: PathBuf,
    /// What the kernel said.
    source: io::Error,
}

/// How far a node is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainState {
    /// Not at all.
    No,
    /// All is announced as the last resort for so much longer; zero: it is being withdrawn.
    Draining(Duration),
    /// Every peer has been told that nothing is left.
    Drained,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Off,
    LastResort { until: Instant },
    Withdrawn,
}

/// Whether the node is drained, and the way to drain it.
#[derive(Debug)]
pub struct Draining {
    directory: PathBuf,
    bgp: Bgp,
    phase: Mutex<Phase>,
}

impl Draining {
    /// What an earlier run left: what the speaker is to start with.
    #[must_use]
    pub fn stored(directory: &Path) -> Drain {
        if directory.join(NAME).exists() { Drain::Withdrawn } else { Drain::Off }
    }

    /// `drain` is what the speaker was started with.
    #[must_use]
    pub fn new(drain: Drain, directory: &Path, bgp: Bgp) -> Self {
        let phase = if drain == Drain::Off { Phase::Off } else { Phase::Withdrawn };
        Self { directory: directory.to_owned(), bgp, phase: Mutex::new(phase) }
    }

    /// Begins to drain the node: for `time` its routes are the last resort, then they are withdrawn. Of a node that is
    /// drained, or being drained, nothing changes.
    ///
    /// # Errors
    /// See [`DrainError`].
    pub async fn begin(self: &Arc<Self>, time: Duration) -> Result<(), DrainError> {
        let mut phase = self.phase.lock().await;
        if *phase != Phase::Off {
            return Ok(());
        }
        self.store()?;
        let until = Instant::now() + time;
        *phase = Phase::LastResort { until };
        self.bgp.set_drain(Drain::LastResort).await;
        info!(seconds = time.as_secs(), "draining: peers are asked to use other routes, then all is withdrawn");
        let this = Arc::clone(self);
        tokio::spawn(async move {
            sleep_until(until).await;
            this.withdraw(until).await;
        });
        Ok(())
    }

    /// Unless it was ended meanwhile.
    async fn withdraw(&self, until: Instant) {
        let mut phase = self.phase.lock().await;
        if *phase == (Phase::LastResort { until }) {
            *phase = Phase::Withdrawn;
            self.bgp.set_drain(Drain::Withdrawn).await;
            info!("drained: every route is withdrawn, and the sessions stay up");
        }
    }

    /// Announces everything again.
    ///
    /// # Errors
    /// See [`DrainError`].
    pub async fn end(&self) -> Result<(), DrainError> {
        let mut phase = self.phase.lock().await;
        if *phase == Phase::Off {
            return Ok(());
        }
        self.forget()?;
        *phase = Phase::Off;
        self.bgp.set_drain(Drain::Off).await;
        info!("no longer drained: every route is announced again");
        Ok(())
    }

    /// How far the node is drained.
    pub async fn state(&self) -> DrainState {
        let phase = *self.phase.lock().await;
        match phase {
            Phase::Off => DrainState::No,
            Phase::LastResort { until } => DrainState::Draining(until.saturating_duration_since(Instant::now())),
            Phase::Withdrawn => {
                let peers = self.bgp.peers().await;
                let told = peers.iter().all(|peer| peer.counts.advertised == 0 && peer.counts.unsent_bytes == 0);
                if told { DrainState::Drained } else { DrainState::Draining(Duration::ZERO) }
            }
        }
    }

    /// The names of the peers that have not heard yet what there is to be said; of one whose session is down, nothing is.
    pub async fn untold(&self) -> Vec<String> {
        let behind = |peer: bgpd::PeerStatus| peer.counts.behind.then_some(peer.config.name);
        self.bgp.peers().await.into_iter().filter_map(behind).collect()
    }

    fn store(&self) -> Result<(), DrainError> {
        let path = self.directory.join(NAME);
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(TEXT.as_bytes())?;
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| DrainError { path: path.clone(), source })
    }

    fn forget(&self) -> Result<(), DrainError> {
        let path = self.directory.join(NAME);
        let remove = || -> io::Result<()> {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            }?;
            File::open(&self.directory)?.sync_all()
        };
        remove().map_err(|source| DrainError { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use bgp_proto::types::{Asn, RouterId};

    use super::*;
    use crate::directory::Directory;

    async fn draining(directory: &Path) -> Arc<Draining> {
        fs::create_dir_all(directory).unwrap();
        let drain = Draining::stored(directory);
        let config = bgpd::Config { drain, ..bgpd::Config::new(Asn(64512), RouterId([10, 0, 0, 1].into())) };
        let (bgp, _events) = Bgp::start(config, false).await.unwrap();
        Arc::new(Draining::new(drain, directory, bgp))
    }

    #[tokio::test]
    async fn a_node_stays_drained_across_a_restart_until_it_is_undrained() {
        let directory = Directory::new("drain-restart");
        let node = draining(&directory.0).await;
        assert_eq!(node.state().await, DrainState::No);
        node.begin(Duration::from_secs(600)).await.unwrap();
        node.begin(Duration::ZERO).await.unwrap();
        assert!(matches!(node.state().await, DrainState::Draining(left) if left > Duration::from_secs(590)));

        let next = draining(&directory.0).await;
        assert_eq!(next.state().await, DrainState::Drained);
        next.end().await.unwrap();
        assert_eq!(next.state().await, DrainState::No);
        assert_eq!(Draining::stored(&directory.0), Drain::Off);
        next.end().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_ended_is_not_withdrawn_by_the_timer_of_before() {
        let directory = Directory::new("drain-timer");
        let node = draining(&directory.0).await;
        node.begin(Duration::from_secs(600)).await.unwrap();
        let Phase::LastResort { until } = *node.phase.lock().await else { panic!("it drains") };
        node.end().await.unwrap();
        node.withdraw(until).await;
        assert_eq!(node.state().await, DrainState::No);
        node.begin(Duration::ZERO).await.unwrap();
        let Phase::LastResort { until } = *node.phase.lock().await else { panic!("it drains") };
        node.withdraw(until).await;
        assert_eq!(node.state().await, DrainState::Drained);
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_kept_is_not_begun() {
        let directory = Directory::new("drain-unwritable");
        let node = draining(&directory.0).await;
        fs::remove_dir_all(&directory.0).unwrap();
        let error = node.begin(Duration::ZERO).await.unwrap_err().to_string();
        assert!(error.contains("nothing was changed"), "{error}");
        assert_eq!(node.state().await, DrainState::No);
    }
}
