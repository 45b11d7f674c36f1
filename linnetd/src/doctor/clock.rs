//! Whether the clock is where it was: WireGuard's handshakes carry the time of day, and who has taken one takes none that is
//! older.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fib_sync::PeerStatus;

use super::{Finding, Section, View, counted};
use crate::overlay_key;

/// What is less is over before anybody has read of it.
const SLACK: Duration = Duration::from_secs(5);

/// Nothing to look at where the overlay is another.
pub(super) async fn examine(view: &View<'_>) -> Option<Section> {
    view.kernel.forwarding.overlay().borrow().as_ref()?.key?;
    // Where they cannot be read, the log says so every few seconds.
    let peers = view.kernel.forwarding.fib().peers().await.unwrap_or_default();
    let key = view.config.state_directory.join(overlay_key::NAME);
    let made = std::fs::metadata(&key).and_then(|file| file.modified()).ok();
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Section {
        about: "clock",
        looked_at: format!("this node's key and handshakes with {}", counted(peers.len(), "peer")),
        findings: judge(since(SystemTime::now()), (&key, made.map(since)), &peers).into_iter().collect(),
    })
}

/// All times since 1970 began. `key`: the file, and when it was made.
fn judge(now: Duration, key: (&Path, Option<Duration>), peers: &[PeerStatus]) -> Option<Finding> {
    let (file, made) = (key.0.display(), key.1);
    let to_come = |time: Duration| time.checked_sub(now).filter(|ahead| *ahead > SLACK);
    let ahead = peers.iter().filter_map(|peer| Some((to_come(peer.handshake?)?, peer)));
    let refuse = "take no handshake that this node begins until its clock is past the last one that they took: once a session is over \
                  (three minutes), their pods are reached only where they begin";
    let (what, consequence) = match ahead.clone().max_by_key(|(ahead, _)| *ahead) {
        Some((most, peer)) => {
            let at = peer.endpoint.map_or_else(|| peer.key.to_string(), |endpoint| endpoint.to_string());
            let handshake = format!("the last WireGuard handshake with {at} is {} s in the future", most.as_secs());
            (handshake, format!("{} had none since, and may {refuse}", counted(ahead.count(), "peer")))
        }
        None => {
            let most = made.and_then(to_come)?;
            let made = format!("{file} was made {} s in the future", most.as_secs());
            (made, format!("nodes that know the key may {refuse}"))
        }
    };
    Some(Finding::fault(
        format!("this node's clock was set back: {what}"),
        consequence,
        format!("set the clock right; or give this node a new key: remove {file}, then linnet reload"),
    ))
}

#[cfg(test)]
mod tests {
    use fib_sync::PublicKey;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn peer(number: u8, handshake: Option<Duration>) -> PeerStatus {
        let endpoint = Some(([192, 0, 2, number], 51820).into());
        PeerStatus { key: PublicKey([number; 32]), endpoint, handshake, received: 0, sent: 0, prefixes: 1 }
    }

    fn found(made: Option<Duration>, peers: &[PeerStatus]) -> Option<Finding> {
        judge(NOW, (Path::new("/var/lib/linnet/wireguard.key"), made), peers)
    }

    #[test]
    fn handshakes_and_a_key_of_the_past_are_well_and_so_is_a_second_of_the_future() {
        let ago = NOW.checked_sub(Duration::from_secs(90_000));
        let peers = [peer(1, ago), peer(2, Some(NOW + Duration::from_secs(1))), peer(3, None)];
        assert_eq!(found(ago, &peers), None);
        assert_eq!(found(None, &[]), None);
    }

    #[test]
    fn a_handshake_that_is_still_to_come_is_a_clock_that_was_set_back_and_says_with_how_many() {
        let ahead = |seconds| Some(NOW + Duration::from_secs(seconds));
        let finding = found(ahead(9000), &[peer(1, ahead(3500)), peer(2, ahead(3600)), peer(3, Some(NOW))]);
        let finding = finding.expect("a finding");
        let culprit =
            "this node's clock was set back: the last WireGuard handshake with 192.0.2.2:51820 is 3600 s in the future";
        assert_eq!(finding.culprit, culprit);
        assert!(finding.consequence.starts_with("2 peers had none since"), "{finding:?}");
        assert!(finding.next_step.contains("remove /var/lib/linnet/wireguard.key"), "{finding:?}");
    }

    #[test]
    fn a_key_that_is_still_to_be_made_is_one_too_where_a_boot_has_forgotten_the_handshakes() {
        let finding = found(Some(NOW + Duration::from_secs(86_400)), &[peer(1, None)]).expect("a finding");
        assert!(finding.culprit.ends_with("wireguard.key was made 86400 s in the future"), "{finding:?}");
    }
}
