//! Each daemon's configuration for a scenario, in its own language.

use std::fmt::Write as _;
use std::path::Path;

use super::ROUTER_ID;
use crate::message::HOLD_TIME;
use crate::scenario::{LOCAL_AS, Scenario, Sessions};

/// The text with one block for each peer: number, address, AS.
fn for_peers(scenario: &Scenario, mut block: impl FnMut(usize, &str, u32) -> String) -> String {
    let peers = 0..scenario.peers();
    peers.map(|peer| block(peer, &scenario.peer_address(peer).to_string(), scenario.peer_as(peer))).collect()
}

fn reflects(scenario: &Scenario) -> bool {
    scenario.sessions == Sessions::Reflected
}

/// linnetd.toml.
pub(super) fn linnet(scenario: &Scenario, directory: &Path) -> String {
    let directory = directory.display();
    let family = if scenario.is_v6() { "ipv6-unicast" } else { "ipv4-unicast" };
    let listen: Vec<_> =
        scenario.local_addresses().map(|own| std::net::SocketAddr::new(own, 179).to_string()).collect();
    let install = scenario.fib.is_some();
    let mut text = format!(
        r#"[node]
name = "bench"
address = "{ROUTER_ID}"

[bgp]
asn = {LOCAL_AS}
router-id = "{ROUTER_ID}"
listen = {listen:?}
hold-time = {HOLD_TIME}

[overlay]
mode = "never"

[fib]
install = {install}

[policy]
directory = "{directory}/policy.d"

[api]
socket = "{directory}/linnetd.sock"

[metrics]
listen = "127.0.0.1:0"

[state]
directory = "{directory}/state"

[[bgp.filter]]
name = "everything"
rules = [{{ then = "accept" }}]
"#
    );
    text += &for_peers(scenario, |peer, address, asn| {
        let (client, local) = (reflects(scenario), scenario.local_address(peer));
        format!(
            r#"
[[bgp.peer]]
name = "peer-{peer}"
address = "{address}"
asn = {asn}
local-address = "{local}"
families = ["{family}"]
passive = true
route-reflector-client = {client}
import = "everything"
export = "everything"
"#
        )
    });
    text
}

/// bird.conf.
pub(super) fn bird(scenario: &Scenario) -> String {
    let channel = if scenario.is_v6() { "ipv6" } else { "ipv4" };
    let client = if reflects(scenario) { "    rr client;\n" } else { "" };
    let mut text =
        format!("log stderr {{ warning, error, fatal, bug }};\nrouter id {ROUTER_ID};\nprotocol device {{ }}\n");
    if scenario.fib.is_some() {
        // A scan looks through the whole table: once in ten minutes is never here.
        let _ = writeln!(text, "protocol kernel {{ scan time 600; {channel} {{ import none; export all; }}; }}");
    }
    text += &for_peers(scenario, |peer, address, asn| {
        let local = scenario.local_address(peer);
        format!(
            "protocol bgp peer{peer} {{
    local {local} as {LOCAL_AS};
    neighbor {address} as {asn};
    direct;
    passive;
    hold time {HOLD_TIME};
{client}    {channel} {{ import all; export all; }};
}}
"
        )
    });
    text
}

/// FRR's bgpd.conf.
pub(super) fn frr(scenario: &Scenario) -> String {
    let keepalive = HOLD_TIME / 3;
    let mut text = format!(
        "frr defaults datacenter
router bgp {LOCAL_AS}
 bgp router-id {ROUTER_ID}
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 timers bgp {keepalive} {HOLD_TIME}
"
    );
    text += &for_peers(scenario, |_, address, asn| {
        format!(" neighbor {address} remote-as {asn}\n neighbor {address} passive\n")
    });
    let _ = writeln!(text, " address-family {} unicast", if scenario.is_v6() { "ipv6" } else { "ipv4" });
    text += &for_peers(scenario, |_, address, _| {
        let client =
            if reflects(scenario) { format!("  neighbor {address} route-reflector-client\n") } else { String::new() };
        format!("  neighbor {address} activate\n{client}")
    });
    text + " exit-address-family\n"
}

/// gobgpd's TOML.
pub(super) fn gobgp(scenario: &Scenario) -> String {
    let (local, keepalive) = (scenario.local_address(0), HOLD_TIME / 3);
    let family = if scenario.is_v6() { "ipv6-unicast" } else { "ipv4-unicast" };
    let mut text = format!(
        "[global.config]\nas = {LOCAL_AS}\nrouter-id = \"{ROUTER_ID}\"\nport = 179\nlocal-address-list = [\"{local}\"]\n"
    );
    text += &for_peers(scenario, |_, address, asn| {
        let reflector = if reflects(scenario) {
            format!(
                "[neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = \"{ROUTER_ID}\"\n"
            )
        } else {
            String::new()
        };
        format!(
            "[[neighbors]]
[neighbors.config]
neighbor-address = \"{address}\"
peer-as = {asn}
[neighbors.transport.config]
passive-mode = true
local-address = \"{local}\"
[neighbors.timers.config]
hold-time = {HOLD_TIME}
keepalive-interval = {keepalive}
{reflector}[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = \"{family}\"
"
        )
    });
    text
}

/// OpenBGPD's bgpd.conf.
pub(super) fn openbgpd(scenario: &Scenario, directory: &Path) -> String {
    let family = if scenario.is_v6() { "IPv6" } else { "IPv4" };
    let client = if reflects(scenario) { "\troute-reflector\n" } else { "" };
    let mut text = format!(
        "AS {LOCAL_AS}
router-id {ROUTER_ID}
listen on {}
holdtime {HOLD_TIME}
fib-update no
nexthop qualify via default
socket \"{}/control\"
",
        scenario.local_address(0),
        directory.display(),
    );
    text += &for_peers(scenario, |_, address, asn| {
        format!(
            "neighbor {address} {{
\tremote-as {asn}
\tpassive
\tannounce {family} unicast
\tenforce neighbor-as no
{client}}}
"
        )
    });
    text + "allow from any\nallow to any\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_daemon_is_told_of_every_peer() {
        for name in ["S4", "S6"] {
            let scenario = Scenario::named(name).expect("a scenario");
            let directory = Path::new("/nowhere");
            let texts = [
                linnet(&scenario, directory),
                bird(&scenario),
                frr(&scenario),
                gobgp(&scenario),
                openbgpd(&scenario, directory),
            ];
            for text in texts {
                let last = scenario.peer_address(scenario.peers() - 1).to_string();
                assert!(text.contains(&last), "no {last} in:\n{text}");
            }
        }
    }
}
