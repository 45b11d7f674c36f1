//! Against the real BIRD, on loopback addresses: routes both ways, as `birdc` sees them.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bgp_proto::filter::Filter;
use bgp_proto::session::RemoteAs;
use bgp_proto::types::{Asn, HoldTime};
use bgp_proto::wire::aspath::AsPath;
use bgp_proto::wire::attributes::Attributes;
use bgpd::{Authentication, PeerConfig, Secret, Shutdown, Ttl};
use support::{ASN, Speaker, attributes, prefix, wait_for};

/// A BIRD of our own, which ends with the test.
struct Bird {
    process: Child,
    directory: PathBuf,
}

impl Bird {
    fn start(config: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("linnet-bgpd-bird-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str| directory.join(name);
        fs::write(file("bird.conf"), config).unwrap();
        let process = Command::new("bird")
            .arg("-f")
            .args([Path::new("-c"), &file("bird.conf"), Path::new("-s"), &file("bird.ctl")])
            .args([Path::new("-P"), &file("bird.pid")])
            .stdout(Stdio::null())
            .stderr(fs::File::create(file("bird.log")).unwrap())
            .spawn()
            .expect("bird; Debian has it in the package bird2");
        Self { process, directory }
    }

    fn ask(&self, question: &str) -> String {
        let control = self.directory.join("bird.ctl");
        let answer = Command::new("birdc").arg("-s").arg(control).args(question.split(' ')).output().unwrap();
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    /// Its log keeps what the status of a protocol shows only until the next attempt to connect.
    async fn wait_log(&self, wanted: &str) {
        wait_for(&format!("{wanted:?} in BIRD's log"), || async {
            let log = fs::read_to_string(self.directory.join("bird.log")).unwrap_or_default();
            if log.contains(wanted) { Ok(()) } else { Err(log) }
        })
        .await;
    }

    async fn wait_answer(&self, question: &str, wanted: &str) -> String {
        wait_for(&format!("{wanted:?} in the answer to {question:?}"), || async {
            let answer = self.ask(question);
            let log = || fs::read_to_string(self.directory.join("bird.log")).unwrap_or_default();
            if answer.contains(wanted) { Ok(answer) } else { Err(format!("{answer}\n{}", log())) }
        })
        .await
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// BIRD at `address` with the session `linnet` to a speaker, which it connects to. It programs no kernel.
fn bird_config(address: Ipv4Addr, speaker: &Speaker, port: u16, options: &str) -> String {
    let peer = speaker.address;
    let asn = ASN.0;
    format!(
        "log stderr all;
router id {address};
protocol device {{ }}
protocol static {{ ipv4; route 10.9.0.0/16 unreachable; route 10.9.7.0/24 unreachable; }}
protocol static static6 {{ ipv6; route fd00:9::/32 unreachable; }}
protocol bgp linnet {{
  local {address} port 1790 as {asn};
  strict bind yes;
  neighbor {peer} port {port} as {asn};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  {options}
  ipv4 {{ import all; export filter {{ bgp_next_hop = 192.0.2.9; bgp_community.add((65001,7)); bgp_med = 33; accept; }}; next hop keep; }};
  ipv6 {{ import all; export filter {{ bgp_next_hop = 2001:db8::9; accept; }}; next hop keep; }};
}}
"
    )
}

async fn speaker_for(bird: Ipv4Addr, change: impl FnOnce(&mut PeerConfig)) -> Speaker {
    Speaker::start(|config| {
        config.own_address6 = Some("2001:db8::1".parse().unwrap());
        config.hold_time = HoldTime::from_seconds(30).unwrap();
        config.graceful_restart = Some(bgpd::GracefulRestart { restart_time: 60, ..Default::default() });
        let mut peer = PeerConfig::new("bird", IpAddr::V4(bird), RemoteAs::Internal, ASN);
        peer.passive = true;
        peer.connect_retry = Duration::from_secs(1);
        change(&mut peer);
        config.peers.push(peer);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn bird_and_linnet_hear_each_others_routes_of_both_families() {
    let address = support::address();
    let speaker = speaker_for(address, |_| ()).await;
    let port = speaker.port().await;
    speaker.originate([(prefix("10.1.0.0/16"), attributes(Some(5)))]).await;
    let bird = Bird::start(&bird_config(address, &speaker, port, ""));

    speaker.wait_prefix(prefix("10.9.0.0/16")).await;
    speaker.wait_prefix(prefix("10.9.7.0/24")).await;
    speaker.wait_prefix(prefix("fd00:9::/32")).await;
    let path = speaker.told.lock().unwrap().best[&prefix("10.9.0.0/16")][0].attributes.clone();
    assert_eq!(path.med, Some(33));
    assert_eq!(path.communities.len(), 1);
    assert_eq!(path.next_hop.address(), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)));

    let answer = bird.wait_answer("show route all 10.1.0.0/16", "10.1.0.0/16").await;
    assert!(answer.contains("BGP.next_hop: 192.0.2.1"), "{answer}");
    assert!(answer.contains("BGP.med: 5"), "{answer}");
    assert!(answer.contains("BGP.local_pref: 100"), "{answer}");
    bird.wait_answer("show protocols all linnet", "Established").await;

    speaker.originate([]).await;
    bird.wait_answer("show route all 10.1.0.0/16", "Network not found").await;
    bird.ask("disable static6");
    speaker.wait_no_prefix(prefix("fd00:9::/32")).await;
    assert_eq!(speaker.peer("bird").await.unwrap().counters.established, 1);
}

/// RFC 6793: on a session of two octets, longer numbers travel in AS4_PATH, and both ends put the path together again.
#[tokio::test(flavor = "multi_thread")]
async fn bird_without_four_octet_as_numbers_carries_long_paths_both_ways() {
    let all = || Some(Arc::new(Filter::accept_all("all")));
    let address = support::address();
    let speaker = speaker_for(address, |peer| {
        peer.remote_as = RemoteAs::External;
        (peer.import, peer.export) = (all(), all());
    })
    .await;
    let port = speaker.port().await;
    let long = AsPath::sequence([Asn(4_200_000_009), Asn(65010)]);
    speaker.originate([(prefix("10.1.0.0/16"), Attributes { as_path: long, ..attributes(None) })]).await;
    let config = bird_config(address, &speaker, port, "enable as4 off; multihop;")
        .replace(&format!("port 1790 as {}", ASN.0), "port 1790 as 65002")
        .replace("bgp_med = 33;", "bgp_path.prepend(4200000009); bgp_path.prepend(65009);");
    let bird = Bird::start(&config);

    speaker.wait_prefix(prefix("10.9.0.0/16")).await;
    let path = speaker.told.lock().unwrap().best[&prefix("10.9.0.0/16")][0].attributes.as_path.to_string();
    assert_eq!(path, "65002 65009 4200000009");
    let answer = bird.wait_answer("show route all 10.1.0.0/16", "10.1.0.0/16").await;
    assert!(answer.contains("BGP.as_path: 64512 4200000009 65010"), "{answer}");
    let peer = speaker.peer("bird").await.unwrap();
    assert!(!peer.established.unwrap().receive.four_octet_as);
}

#[tokio::test(flavor = "multi_thread")]
async fn bird_with_a_key_and_ttl_security_has_a_session_with_linnet_with_the_same() {
    let address = support::address();
    let speaker = speaker_for(address, |peer| {
        peer.authentication = Secret::new(b"shared secret").map(Authentication::Md5);
        peer.ttl = Ttl::Security { hops: 1 };
    })
    .await;
    let port = speaker.port().await;
    let options = "password \"shared secret\"; ttl security on; setkey no;";
    let bird = Bird::start(&bird_config(address, &speaker, port, options));
    speaker.wait_established("bird").await;
    bird.wait_answer("show protocols all linnet", "Established").await;
}

/// A speaker, and a BIRD that has its route and does graceful restart.
async fn bird_with_our_route() -> (Speaker, Bird) {
    let address = support::address();
    let speaker = speaker_for(address, |_| ()).await;
    let port = speaker.port().await;
    speaker.originate([(prefix("10.1.0.0/16"), attributes(None))]).await;
    let bird = Bird::start(&bird_config(address, &speaker, port, "graceful restart on;"));
    bird.wait_answer("show route all 10.1.0.0/16", "10.1.0.0/16").await;
    (speaker, bird)
}

#[tokio::test(flavor = "multi_thread")]
async fn bird_keeps_our_routes_across_a_silent_stop_and_drops_them_after_a_cease() {
    let (speaker, bird) = bird_with_our_route().await;
    speaker.bgp.stop(Shutdown::Silent).await;
    bird.wait_answer("show protocols all linnet", "graceful restart").await;
    let answer = bird.ask("show route all 10.1.0.0/16");
    assert!(answer.contains("192.0.2.1"), "{answer}");

    let (speaker, bird) = bird_with_our_route().await;
    speaker.bgp.stop(Shutdown::Cease).await;
    bird.wait_answer("show route all 10.1.0.0/16", "Network not found").await;
    bird.wait_log("Received: Administrative shutdown").await;
}
