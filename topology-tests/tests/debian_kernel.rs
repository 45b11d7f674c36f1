//! Linnet on Debian 12's own kernel, in a virtual machine (`labs/two-subnets.clab.yml`). Needs QEMU, not root.

use std::path::Path;
use std::time::Duration;

use topology_tests::vm::{Kernel, Machine, MachineError, Ran};

/// It takes two minutes on two busy cores.
const DEADLINE: Duration = Duration::from_secs(580);

/// Runs the script with Debian 12's kernel and everything for labs aboard.
fn on_debian(script: &str) -> Result<Ran, MachineError> {
    Machine::debian(Kernel::V6_1).with_labs().deadline(DEADLINE).script(script).run()
}

/// Bash: `within SECONDS COMMAND…` repeats it until it succeeds; its last words are shown when it does not in time.
const WITHIN: &str = r#"
within() {
    local until=$((SECONDS + $1)) said
    shift
    until said=$("$@" 2>&1); do
        [ "$SECONDS" -lt "$until" ] || { echo "not in time: $*: $said" >&2; return 1; }
        sleep 0.2
    done
}
"#;

/// What of the kernel Linnet uses or will use, each tried in a network namespace of its own.
const FEATURES: &str = r#"
feature() { local name=$1; shift; unshare --net sh -c "$*" > /dev/null 2>&1 && echo "feature $name: yes" || echo "feature $name: no"; }
uname -r
feature vxlan ip link add name x0 type vxlan id 1 local 192.0.2.1 dstport 4789
feature ipip ip link add name x0 type ipip local 192.0.2.1 remote 192.0.2.2
feature ip6tnl ip link add name x0 type ip6tnl local 2001:db8::1 remote 2001:db8::2
feature wireguard ip link add name x0 type wireguard
feature dummy ip link add name x0 type dummy
feature veth ip link add name x0 type veth peer name x1
feature bridge ip link add name x0 type bridge
feature vrf ip link add name x0 type vrf table 100
feature nexthop-objects 'ip link set lo up; ip nexthop add id 1 blackhole'
feature multipath 'ip link set lo up; ip route add 192.0.2.0/24 nexthop dev lo nexthop dev lo weight 2'
feature nft-conntrack 'nft add table t; nft add chain t c "{ type filter hook forward priority 0; }"; nft add rule t c ct state established accept'
feature nft-verdict-maps 'nft add table t; nft add map t m "{ type ifname : verdict; }"'
feature nft-flowtable 'ip link set lo up; nft add table t; nft add flowtable t f "{ hook ingress priority 0; devices = { lo }; }"'
feature nft-bridge-conntrack 'nft add table bridge t; nft add chain bridge t c "{ type filter hook forward priority 0; }"; nft add rule bridge t c ct state established accept'
"#;

/// `"$lab"`: the topology file.
const LAB: &str = r#"
set -e
shown() {
    trap - ERR
    for host in h1 h2; do
        for words in 'linnet status' 'linnet bgp summary' 'linnet overlay list' 'linnet route list -o wide' 'ip route' 'ip -6 route' 'ip -d link show'; do
            echo "--- $host: $words"; lab exec "$host" -- $words
        done
        tail -n 30 /run/linnet-lab/*/"$host"/linnetd.log
    done
}
cleaned() {
    lab exec h1 -- linnetd --cleanup --config /etc/linnet/linnetd.toml
    lab exec h1 -- sh -c 'ip route show proto 76; ip -6 route show proto 76; ip nexthop show protocol 76; ip -brief link | grep -E "linnet|^lin"; nft list tables' > left
    [ ! -s left ] || { echo "left: $(cat left)"; return 1; }
}
trap shown ERR
lab up "$lab"
route() { lab exec "$1" -- ip -oneline "$2" route show "$3" | grep "$4" | grep 'proto 76'; }
within 60 route h1 -4 10.244.2.0/24 'dev linnet.vxlan'
within 60 route h1 -6 fd00:244:2::/64 'dev linnet.vxlan'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.vxlan'
within 60 route h2 -6 fd00:244:1::/64 'dev linnet.vxlan'
within 60 route h1 -4 203.0.113.0/24 'via 10.1.0.1 dev eth1'
echo "routes: pods by VXLAN, the world by the router"
lab exec router -- sh -c 'ip route; ip -6 route' > routes
if grep 244 routes; then false; fi
echo "router: knows no pod"
lab exec h1 -- ping -n -q -c 5 -i 0.2 -W 10 203.0.113.1 | grep ' 0% packet loss'
for target in 10.244.2.20 fd00:244:2::20 10.244.2.10; do
    lab exec h1:client-1 -- ping -n -q -c 5 -i 0.2 -W 10 "$target" | grep ' 0% packet loss'
done
lab exec h2:client-2 -- ping -n -q -c 5 -i 0.2 -W 10 fd00:244:1::10 | grep ' 0% packet loss'
lab exec h1:client-1 -- ping -n -q -c 5 -i 0.2 -s 1400 -M dont -W 10 10.244.2.20 | grep ' 0% packet loss'
echo "pods: talk in both families"
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
lab exec h1:client-1 -- ping -n -q -c 5 -i 0.2 -W 10 10.244.2.20 | grep ' 0% packet loss'
echo "killed: the routes stand"
cleaned
echo "cleanup: nothing is left"
lab down two-subnets
"#;

/// The same with IP in IP, after `LAB`.
const IPIP: &str = r#"
trap shown ERR
configure() { # into the same file, which is mounted into the node
    for host in h1 h2; do
        local file=$(dirname "$lab")/two-subnets/$host.toml
        sed -e '/^encapsulation/d' -e "s/^mode = \"auto\"/&\nencapsulation = \"$1\"/" "$file" > new
        cat new > "$file"
    done
}
apply() { configure "$1"; for host in h1 h2; do lab exec "$host" -- sh -c 'kill -s HUP "$(pidof linnetd)"'; done; }
pods() {
    for target in 10.244.2.20 10.244.2.10; do
        lab exec h1:client-1 -- ping -n -q -c 5 -i 0.2 -W 10 "$target" | grep ' 0% packet loss'
    done
    lab exec h2:client-2 -- ping -n -q -c 5 -i 0.2 -W 10 10.244.1.10 | grep ' 0% packet loss'
}
gone() { ! lab exec "$1" -- ip link show "$2" > /dev/null 2>&1; }
configure ipip
lab up "$lab"
within 60 route h1 -4 10.244.2.0/24 'via 10.2.0.2 dev linnet.ipip.* onlink'
within 60 route h2 -4 10.244.1.0/24 'via 10.1.0.2 dev linnet.ipip.* onlink'
lab exec h1 -- ip -d link show linnet.ipip > device
grep 'mtu 1480' device
grep -E 'ipip .*remote any local 10.1.0.2' device
gone h1 linnet.vxlan
echo "ipip: the device and the routes"
lab exec router -- nft 'add table ip seen; add chain ip seen forward { type filter hook forward priority 0; }; add rule ip seen forward ip protocol 4 counter'
pods
lab exec h1:client-1 -- ping -n -q -c 5 -i 0.2 -s 1452 -M dont -W 10 10.244.2.20 | grep ' 0% packet loss'
lab exec router -- nft list table ip seen | grep -E 'protocol .* counter packets [1-9]'
echo "ipip: pods talk, by IP in IP on the wire"
lab exec h1 -- linnet overlay list > overlay
grep -E '^mode auto, linnet.ipip: ipip MTU 1480, end point 10.1.0.2' overlay
grep -E '^10.2.0.2 +ipip +10.2.0.2' overlay
grep 'IP in IP carries no IPv6' overlay
lab exec h1 -- linnet route list | grep -E '10.244.2.0/24.*ipip'
echo "ipip: told"
lab exec h1:client-1 -- ping -n -q -c 200 -i 0.1 -W 2 10.244.2.20 > moving &
moving=$!
apply vxlan
within 60 route h1 -4 10.244.2.0/24 'dev linnet.vxlan'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.vxlan'
within 60 gone h1 linnet.ipip
within 60 gone h2 linnet.ipip
pods
apply ipip
within 60 route h1 -4 10.244.2.0/24 'dev linnet.ipip'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.ipip'
within 60 gone h1 linnet.vxlan
within 60 gone h2 linnet.vxlan
pods
wait "$moving" || true
grep loss moving
echo "ipip: to VXLAN and back under a running daemon"
marks() { lab exec h1 -- sh -c 'ip -o link show linnet.ipip; ip route show proto 76; ip nexthop show protocol 76'; }
marks > before
grep -E '^[0-9]+: linnet.ipip@' before
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
pods
marks | diff before -
lab exec h1 -- sh -c 'setsid linnetd --config /etc/linnet/linnetd.toml > /run/again.log 2>&1 < /dev/null &'
again() { lab exec h1 -- linnet status | grep -E "$1"; }
within 90 again 'fib +ok'
pods
marks | diff before -
echo "ipip: killed and started again, the routes stand"
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
cleaned
echo "ipip: nothing is left"
lab down two-subnets
"#;

#[test]
fn two_hosts_on_different_subnets_reach_each_others_pods_by_vxlan_and_by_ipip_on_debians_kernel()
-> Result<(), MachineError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/two-subnets.clab.yml");
    let ran = on_debian(&format!("{FEATURES}{WITHIN}lab={}\n{LAB}{IPIP}", file.display()))?;
    assert_eq!(ran.status, 0, "{}", ran.output);
    for feature in ["vxlan", "ipip", "wireguard", "dummy", "nexthop-objects", "nft-verdict-maps"] {
        assert!(ran.output.contains(&format!("feature {feature}: yes")), "{}", ran.output);
    }
    assert!(ran.output.contains("cleanup: nothing is left"), "{}", ran.output);
    assert!(ran.output.contains("ipip: nothing is left"), "{}", ran.output);
    Ok(())
}
