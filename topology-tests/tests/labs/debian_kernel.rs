//! Linnet on Debian 12's own kernel, in a virtual machine (`labs/two-subnets.clab.yml`, `labs/ipv6-underlay.clab.yml`). Needs QEMU, not root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use topology_tests::vm::{Kernel, Machine, MachineError, Ran, WITHIN};

/// The longest takes some minutes on two busy cores.
const DEADLINE: Duration = Duration::from_secs(1200);

/// Runs the script with Debian 12's kernel and everything for labs aboard.
fn on_debian(script: &str) -> Result<Ran, MachineError> {
    Machine::debian(Kernel::V6_1).with_labs().program("wg").deadline(DEADLINE).script(script).run()
}

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

/// What scripts on two hosts ask and say; `"$lab"` is the topology file.
const WORDS: &str = r#"
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
route() { lab exec "$1" -- ip -oneline "$2" route show "$3" | grep "$4" | grep 'proto 76'; }
gone() { ! lab exec "$1" -- ip link show "$2" > /dev/null 2>&1; }
again() { lab exec h1 -- linnet status | grep -E "$1"; }
"#;

/// After `WORDS`.
const LAB: &str = r#"
trap shown ERR
lab up "$lab"
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

/// The same with IP in IP, after `WORDS`.
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
grep 'IP in IP over IPv4 carries no IPv6' overlay
lab exec h1 -- linnet route list | grep -E '10.244.2.0/24.*ipip'
echo "ipip: told"
# While one host has changed and the other has not, there is no tunnel between them: what is lost is not counted.
apply vxlan
within 60 route h1 -4 10.244.2.0/24 'dev linnet.vxlan'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.vxlan'
pods
apply ipip
within 60 route h1 -4 10.244.2.0/24 'dev linnet.ipip'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.ipip'
within 120 gone h1 linnet.vxlan
within 120 gone h2 linnet.vxlan
pods
echo "ipip: to VXLAN and back under a running daemon"
mode() { # MODE, of h1
    local file=$(dirname "$lab")/two-subnets/h1.toml
    sed -e "s/^mode = .*/mode = \"$1\"/" "$file" > new
    cat new > "$file"
    lab exec h1 -- sh -c 'kill -s HUP "$(pidof linnetd)"'
}
for n in 1 2; do lab exec router -- ip route add 10.244.$n.0/24 via 10.$n.0.2; done
lab exec h1:client-1 -- ping -n -q -c 6000 -i 0.1 -W 10 10.244.2.20 > moving &
moving=$!
mode never
within 60 route h1 -4 10.244.2.0/24 'via 10.1.0.1 dev eth1'
within 60 route h2 -4 10.244.1.0/24 'via 10.2.0.1 dev eth1'
within 120 gone h1 linnet.ipip
mode auto
within 60 route h1 -4 10.244.2.0/24 'dev linnet.ipip'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.ipip'
# A shell lets what it starts in the background ignore this signal; ping does not.
kill -s INT $(pidof ping)
wait "$moving"
grep ' 0% packet loss' moving
for n in 1 2; do lab exec router -- ip route del 10.244.$n.0/24; done
pods
echo "ipip: switched off and on again without a packet lost where there is another way"
marks() { lab exec h1 -- sh -c 'ip -o link show linnet.ipip; ip route show proto 76; ip nexthop show protocol 76'; }
marks > before
grep -E '^[0-9]+: linnet.ipip@' before
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
pods
marks | diff before -
lab exec h1 -- sh -c 'setsid linnetd --config /etc/linnet/linnetd.toml > /run/again.log 2>&1 < /dev/null &'
within 90 again 'fib +ok'
pods
marks | diff before -
echo "ipip: killed and started again, the routes stand"
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
cleaned
echo "ipip: nothing is left"
lab down two-subnets
"#;

/// The same with WireGuard, after `WORDS`.
const WIREGUARD: &str = r#"
trap shown ERR
overlay_of() { # HOST MODE ENCAPSULATION
    local file=$(dirname "$lab")/two-subnets/$1.toml
    sed -e '/^encapsulation/d' -e "s/^mode = .*/mode = \"$2\"\nencapsulation = \"$3\"/" "$file" > new
    cat new > "$file"
}
reload() { for host in "$@"; do lab exec "$host" -- sh -c 'kill -s HUP "$(pidof linnetd)"'; done; }
pings() { lab exec "$1" -- ping -n -q -c 3 -i 0.2 -W 10 "$2" | grep ' 0% packet loss'; }
pods() {
    for target in 10.244.2.20 fd00:244:2::20; do pings h1:client-1 "$target"; done
    pings h2:client-2 10.244.1.10
}
# What leaves h1 for the other pods and is not encrypted, seen by the router.
clear() {
    lab exec router -- nft list chain inet seen forward > counters
    grep 'comment "clear"' counters | grep 'packets 0 ' > /dev/null || { cat counters; return 1; }
}
for host in h1 h2; do overlay_of "$host" always wireguard; done
lab up "$lab"
lab exec router -- nft 'add table inet seen; add chain inet seen forward { type filter hook forward priority 0; }; add rule inet seen forward udp dport 51820 counter comment "encrypted"; add rule inet seen forward iifname eth1 ip daddr 10.244.0.0/16 counter comment "clear"; add rule inet seen forward iifname eth1 ip6 daddr fd00:244::/32 counter comment "clear"; add rule inet seen forward udp dport 4789 counter comment "vxlan"'
within 60 route h1 -4 10.244.2.0/24 'via 10.2.0.2 dev linnet.wg.*src 10.1.0.2'
within 60 route h1 -6 fd00:244:2::/64 'dev linnet.wg'
within 60 route h2 -4 10.244.1.0/24 'via 10.1.0.2 dev linnet.wg'
within 60 route h2 -6 fd00:244:1::/64 'dev linnet.wg'
within 60 route h1 -4 203.0.113.0/24 'via 10.1.0.1 dev eth1'
echo "wireguard: the routes"
pods
lab exec h1:client-1 -- ping -n -q -c 3 -i 0.2 -s 1412 -M do -W 10 10.244.2.20 | grep ' 0% packet loss'
lab exec h1:client-1 -- ping -n -q -c 3 -i 0.2 -s 1392 -M do -W 10 fd00:244:2::20 | grep ' 0% packet loss'
pings h1 10.244.2.20
pings h1 203.0.113.1
clear
grep 'comment "encrypted"' counters | grep -E 'packets [1-9]'
grep 'comment "vxlan"' counters | grep 'packets 0 '
echo "wireguard: pods talk, and the router sees nothing of it"
lab exec h1 -- linnet overlay list > overlay
grep -E '^mode always, linnet.wg: wireguard port 51820 MTU 1440, end point 10.1.0.2, public key .{43}=$' overlay
grep -E '^10.2.0.2 +wireguard +10.2.0.2:51820 +00:0' overlay
lab exec h1 -- linnet route list | grep -E '10.244.2.0/24.*wireguard'
lab exec h1 -- sh -c 'stat -c %a:%U /var/lib/linnet/wireguard.key' | grep 600:root
secret=$(lab exec h1 -- cat /var/lib/linnet/wireguard.key)
if grep -rF "$secret" /run/linnet-lab/*/h1/linnetd.log; then false; fi
echo "wireguard: told, but for the secret"
overlay_of h2 auto vxlan
reload h2
within 60 route h1 -4 10.244.2.0/24 '^unreachable'
within 60 route h1 -6 fd00:244:2::/64 '^unreachable'
if lab exec h1:client-1 -- ping -n -q -c 2 -i 0.2 -W 1 10.244.2.20; then false; fi
clear
lab exec h1 -- linnet route list > told
grep -E '10.244.2.0/24.*offers vxlan' told
overlay_of h2 never vxlan
reload h2
no_key() { lab exec h1 -- linnet overlay list | grep 'announces no WireGuard key'; }
within 60 no_key
if lab exec h1:client-1 -- ping -n -q -c 2 -i 0.2 -W 1 10.244.2.20; then false; fi
clear
echo "wireguard: a node without a key is not reached in the clear"
overlay_of h2 always wireguard
reload h2
within 60 route h1 -4 10.244.2.0/24 'dev linnet.wg'
within 60 pods
marks() { lab exec h1 -- sh -c 'ip -o link show linnet.wg; ip route show proto 76; ip nexthop show protocol 76; for what in public-key endpoints allowed-ips; do wg show linnet.wg $what; done'; }
marks > before
grep -E '10.2.0.2/32' before
for host in h1 h2; do overlay_of "$host" auto vxlan; done
reload h1 h2
within 60 route h1 -4 10.244.2.0/24 'dev linnet.vxlan'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.vxlan'
within 60 pods
for host in h1 h2; do overlay_of "$host" always wireguard; done
reload h1 h2
within 60 route h1 -4 10.244.2.0/24 'dev linnet.wg'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.wg'
within 120 gone h1 linnet.vxlan
within 60 pods
grep -oE '^[^ ]{43}=' before | head -n 1 > key
marks | grep -F "$(cat key)"
echo "wireguard: to VXLAN and back with the same key"
within 30 pods
marks > before
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
pods
marks | diff before -
lab exec h1 -- sh -c 'setsid linnetd --config /etc/linnet/linnetd.toml > /run/again.log 2>&1 < /dev/null &'
within 90 again 'fib +ok'
marks | diff before -
pods
# Peers are looked at every few seconds: nobody else has touched them.
if grep -h 'another program' /run/linnet-lab/*/h?/linnetd.log; then false; fi
echo "wireguard: killed and started again, device, key and peers stand"
lab exec h1 -- sh -c 'rm /var/lib/linnet/wireguard.key; kill -s HUP "$(pidof linnetd)"'
other_key() { ! marks | grep -F "$(cat key)"; }
within 60 other_key
within 60 pods
clear
echo "wireguard: another key"
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
cleaned
lab exec h1 -- sh -c 'stat -c %a /var/lib/linnet/wireguard.key' | grep 600
echo "wireguard: nothing is left but the key"
lab down two-subnets
"#;

/// WireGuard with mode "auto", after `WORDS`: a host has the other on its link when it has a route to it without a gateway, as the
/// router answers for each on the other's link.
const WIREGUARD_MOVES: &str = r#"
trap shown ERR
overlay_of() { # HOST MODE
    local file=$(dirname "$lab")/two-subnets/$1.toml
    sed -e '/^encapsulation/d' -e "s/^mode = .*/mode = \"$2\"\nencapsulation = \"wireguard\"/" "$file" > new
    cat new > "$file"
}
reload() { lab exec "$1" -- sh -c 'kill -s HUP "$(pidof linnetd)"'; }
for host in h1 h2; do overlay_of "$host" auto; done
lab up "$lab"
for n in 1 2; do
    lab exec router -- sysctl -q -w net.ipv4.conf.eth$n.proxy_arp=1 net.ipv4.neigh.eth$n.proxy_delay=0
    lab exec router -- ip route add 10.244.$n.0/24 via 10.$n.0.2
done
is_link() { within 60 route h$1 -4 10.244.$((3 - $1)).0/24 "via 10.$((3 - $1)).0.2 dev eth1"; }
is_tunnel() { within 60 route h$1 -4 10.244.$((3 - $1)).0/24 'dev linnet.wg'; }
peer() { lab exec h$1 -- wg show linnet.wg allowed-ips | grep -F "10.244.$((3 - $1)).0/24"; }
to_link() { lab exec h$1 -- ip route add 10.$((3 - $1)).0.2/32 dev eth1; is_link "$1"; peer "$1"; }
to_tunnel() { lab exec h$1 -- ip route del 10.$((3 - $1)).0.2/32 dev eth1; is_tunnel "$1"; peer "$1"; }
for n in 1 2; do is_tunnel $n; to_link $n; done
held() { lab exec h1 -- linnet overlay list | grep -E '^10.2.0.2 +direct +10.2.0.2:51820 +00:0'; }
within 60 held
direct() { lab exec h1:client-1 -- ping -n -q -c 1 -W 2 10.244.2.20; }
within 60 direct
streams=
stream() { # HOST POD TARGET
    lab exec "h$1:$2" -- ping -n -q -c 60000 -i 0.02 -W 10 "$3" > "moving$1" &
    streams="$streams $!"
}
ended() {
    # A shell lets what it starts in the background ignore this signal; ping does not.
    kill -s INT $(pidof ping)
    wait $streams
    streams=
    for n in 1 2; do grep ' 0% packet loss' moving$n || { cat moving$n; return 1; }; done
}
stream 1 client-1 10.244.2.20
stream 2 client-2 10.244.1.10
for round in 1 2 3; do
    for n in 1 2; do to_tunnel $n; sleep 1; done
    for n in 1 2; do to_link $n; sleep 1; done
done
ended
echo "wireguard: between link and tunnel, one host before the other, without a packet lost"
for n in 1 2; do to_tunnel $n; done
stream 1 client-1 10.244.2.20
stream 2 client-2 10.244.1.10
sleep 1
overlay_of h1 never
reload h1
within 60 route h1 -4 10.244.2.0/24 'via 10.1.0.1 dev eth1'
within 60 route h2 -4 10.244.1.0/24 'via 10.2.0.1 dev eth1'
within 120 gone h1 linnet.wg
ended
echo "wireguard: switched off without a packet lost where there is another way"
lab down two-subnets
"#;

/// Runs a script on two hosts with different subnets, which is to end with these words.
fn on_two_subnets(script: &str, last: &str) -> Result<String, MachineError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/two-subnets.clab.yml");
    let ran = on_debian(&format!("{WITHIN}lab={}\n{WORDS}{script}", file.display()))?;
    assert_eq!(ran.status, 0, "{}", ran.output);
    assert!(ran.output.contains(last), "{}", ran.output);
    Ok(ran.output)
}

#[test]
fn two_hosts_on_different_subnets_reach_each_others_pods_by_vxlan_on_debians_kernel() -> Result<(), MachineError> {
    let said = on_two_subnets(&format!("{FEATURES}{LAB}"), "cleanup: nothing is left")?;
    for feature in ["vxlan", "ipip", "wireguard", "dummy", "nexthop-objects", "nft-verdict-maps"] {
        assert!(said.contains(&format!("feature {feature}: yes")), "{said}");
    }
    Ok(())
}

#[test]
fn two_hosts_on_different_subnets_reach_each_others_pods_by_ipip_on_debians_kernel() -> Result<(), MachineError> {
    on_two_subnets(IPIP, "ipip: nothing is left").map(drop)
}

#[test]
fn two_hosts_on_different_subnets_reach_each_others_pods_by_wireguard_on_debians_kernel() -> Result<(), MachineError> {
    on_two_subnets(WIREGUARD, "wireguard: nothing is left but the key").map(drop)
}

#[test]
fn two_hosts_move_between_link_and_wireguard_at_different_times_and_lose_no_packet_on_debians_kernel()
-> Result<(), MachineError> {
    on_two_subnets(WIREGUARD_MOVES, "wireguard: switched off without a packet lost where there is another way")
        .map(drop)
}

/// IP in IPv6 between hosts without an address of IPv4, after `WORDS`.
const IP6TNL: &str = r#"
trap shown ERR
file() { echo "$(dirname "$lab")/ipv6-underlay/$1.toml"; }
encapsulate() { # HOST ENCAPSULATION, into the same file, which is mounted into the node
    sed -e "s/^encapsulation = .*/encapsulation = \"$2\"/" "$(file "$1")" > new
    cat new > "$(file "$1")"
}
apply() { for host in h1 h2; do encapsulate "$host" "$1"; lab exec "$host" -- sh -c 'kill -s HUP "$(pidof linnetd)"'; done; }
routes_by() { # WHAT IS IN FRONT OF THE DEVICE, IF ANYTHING, by '%' for the other host's number
    for n in 1 2; do
        local o=$((3 - n))
        within 60 route h$n -4 "10.244.$o.0/24" "$(echo "$1" | sed "s/%/$o/")"
        within 60 route h$n -6 "fd00:244:$o::/64" "$(echo "$1" | sed "s/%/$o/")"
    done
}
pods() {
    for target in 10.244.2.20 fd00:244:2::20 fd00:244:2::10; do
        lab exec h1:client-1 -- ping -n -q -c 3 -i 0.2 -W 10 "$target" | grep ' 0% packet loss'
    done
    lab exec h2:client-2 -- ping -n -q -c 3 -i 0.2 -W 10 10.244.1.10 | grep ' 0% packet loss'
}
lab up "$lab"
routes_by 'encap ip6 .*dst fd00:%::2 .*dev linnet.ip6tnl'
lab exec h1 -- ip -d link show linnet.ip6tnl > device
grep 'mtu 1460' device
grep 'ip6tnl external' device
gone h1 linnet.ipip
echo "ip6tnl: the device and the routes"
lab exec router -- nft 'add table ip6 seen; add chain ip6 seen forward { type filter hook forward priority 0; }; add rule ip6 seen forward meta l4proto 4 counter; add rule ip6 seen forward meta l4proto 41 counter'
pods
lab exec h1:client-1 -- ping -n -q -c 3 -i 0.2 -s 1432 -M do -W 10 10.244.2.20 | grep ' 0% packet loss'
lab exec h1:client-1 -- ping -n -q -c 3 -i 0.2 -s 1412 -M do -W 10 fd00:244:2::20 | grep ' 0% packet loss'
lab exec router -- nft list table ip6 seen > counters
[ "$(grep -cE 'counter packets [1-9]' counters)" = 2 ] || { cat counters; false; }
lab exec h1 -- ping -n -q -c 3 -i 0.2 -W 10 fd00:244:2::20 | grep ' 0% packet loss'
lab exec h1:client-1 -- ping -n -q -c 3 -i 0.2 -W 10 fd00:2::2 | grep ' 0% packet loss'
echo "ip6tnl: pods and hosts talk, by IP in IPv6 on the wire"
lab exec h1 -- linnet overlay list > overlay
grep -E '^mode auto, linnet.ip6tnl: ipip MTU 1460, end point fd00:1::2' overlay
grep -E '^fd00:2::2 +ipip +fd00:2::2 .* 2 +no L2 adjacency' overlay
lab exec h1 -- linnet route list > told
for prefix in 10.244.2.0/24 fd00:244:2::/64; do grep -E "^$prefix +fd00:2::2 +linnet.ip6tnl +ipip" told; done
lab exec h1 -- linnet route get 10.244.2.20 | grep 'dev linnet.ip6tnl by ipip mtu 1460'
lab exec h1 -- linnet route check | grep 'no difference'
lab exec h1 -- linnet status | grep -E '^overlay +ok +linnet.ip6tnl, end point fd00:1::2, MTU 1460'
lab exec h1 -- linnet doctor | grep '^0 faults'
echo "ip6tnl: told"
apply vxlan
routes_by 'dev linnet.vxlan'
within 30 pods
apply ipip
routes_by 'dst fd00:%::2 .*dev linnet.ip6tnl'
for host in h1 h2; do within 120 gone "$host" linnet.vxlan; done
within 30 pods
echo "ip6tnl: to VXLAN and back under a running daemon"
marks() { lab exec h1 -- sh -c 'ip -o link show linnet.ip6tnl; ip route show proto 76; ip -6 route show proto 76; ip nexthop show protocol 76'; }
marks > before
grep -E '^[0-9]+: linnet.ip6tnl@' before
grep -E '^id .* encap ip6 .*dst fd00:2::2 ' before
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
pods
marks | diff before -
lab exec h1 -- sh -c 'setsid linnetd --config /etc/linnet/linnetd.toml > /run/again.log 2>&1 < /dev/null &'
within 90 again 'bgp +ok'
within 90 again 'fib +ok'
pods
marks | diff before -
echo "ip6tnl: killed and started again, device, objects and routes stand"
lab exec h1 -- sh -c 'kill -s KILL "$(pidof linnetd)"'
cleaned
echo "ip6tnl: nothing is left"
lab down ipv6-underlay
"#;

#[test]
fn two_hosts_without_ipv4_reach_each_others_pods_of_both_families_by_ip_in_ipv6_on_debians_kernel()
-> Result<(), MachineError> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/ipv6-underlay.clab.yml");
    let ran = on_debian(&format!("{FEATURES}{WITHIN}lab={}\n{WORDS}{IP6TNL}", file.display()))?;
    assert_eq!(ran.status, 0, "{}", ran.output);
    assert!(ran.output.contains("feature ip6tnl: yes"), "{}", ran.output);
    assert!(ran.output.contains("ip6tnl: nothing is left"), "{}", ran.output);
    Ok(())
}

/// The clock is set back and forward under running daemons, after `WORDS`. Both hosts have the machine's clock.
const CLOCK: &str = r#"
trap shown ERR
for host in h1 h2; do
    file=$(dirname "$lab")/two-subnets/$host.toml
    sed -e 's/^asn = 64512/&\nhold-time = 15/' -e 's/^mode = .*/mode = "always"\nencapsulation = "wireguard"/' "$file" > new
    cat new > "$file"
done
lab up "$lab"
within 60 route h1 -4 10.244.2.0/24 'dev linnet.wg'
within 60 route h1 -6 fd00:244:2::/64 'dev linnet.wg'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.wg'
within 60 route h1 -4 203.0.113.0/24 'via 10.1.0.1 dev eth1'
ping_pod() { lab exec h1:client-1 -- ping -n -q -c 1 -W 2 10.244.2.20; }
within 60 ping_pod
state() { for host in h1 h2; do lab exec "$host" -- sh -c 'ip route show proto 76; ip -6 route show proto 76; ip nexthop show protocol 76'; done; }
state > before
established() { [ "$(lab exec h1 -- linnet bgp summary | tee summary | grep -c Established)" = 2 ]; }
set_clock() { date -s "@$(($(date +%s) + $1))" > /dev/null; }
stands() {
    # Longer than the hold time: without keepalives the sessions would end.
    sleep 20
    established
    # None of them is an hour old.
    grep -E 'Established +00:0' summary
    state | diff before -
    ping_pod
    if grep -h 'the session is down' /run/linnet-lab/*/h?/linnetd.log; then false; fi
}
set_clock -3600
stands
echo "clock: an hour back, and all stands"
set_clock 7200
stands
echo "clock: two hours forward, and all stands"
set_clock -3600
stands
lab exec h2 -- sh -c 'kill -s STOP "$(pidof linnetd)"'
silent() { grep -h 'the session is down.*h2' /run/linnet-lab/*/h1/linnetd.log; }
within 60 silent
lab exec h2 -- sh -c 'kill -s CONT "$(pidof linnetd)"'
# It has stopped with what it waits for, and without it linnetd would have nobody to reap it.
kill -s CONT $(pidof nsenter)
within 60 established
echo "clock: hold timers and attempts to connect go by another one"
# WireGuard's handshakes go by this one: with the session gone, none is taken until the clock is where it was.
lab exec h1 -- sh -c 'ip link set linnet.wg down; ip link set linnet.wg up'
lab exec h2 -- sh -c 'ip link set linnet.wg down; ip link set linnet.wg up'
within 60 ping_pod
set_clock -3600
lab exec h1 -- sh -c 'ip link set linnet.wg down; ip link set linnet.wg up'
lab exec h2 -- sh -c 'ip link set linnet.wg down; ip link set linnet.wg up'
within 60 route h1 -4 10.244.2.0/24 'dev linnet.wg'
within 60 route h2 -4 10.244.1.0/24 'dev linnet.wg'
for n in 1 2 3 4 5; do if ping_pod; then false; fi; done
if lab exec h1 -- linnet doctor > doctor; then false; fi
grep -E 'clock was set back: the last WireGuard handshake with 10.2.0.2:51820 is 3[45][0-9]{2} s in the future' doctor || { cat doctor; false; }
lab exec h1 -- sh -c 'rm /var/lib/linnet/wireguard.key; kill -s HUP "$(pidof linnetd)"'
within 60 ping_pod
lab exec h1 -- linnet doctor | tee doctor | grep '^0 faults' || { cat doctor; false; }
echo "clock: with a new key WireGuard goes on"
lab down two-subnets
"#;

#[test]
fn a_clock_that_is_set_back_or_forward_ends_no_session_and_touches_no_route_on_debians_kernel()
-> Result<(), MachineError> {
    on_two_subnets(CLOCK, "clock: with a new key WireGuard goes on").map(drop)
}

/// What `cargo test -p fib-sync --test NAME` runs. The kernel of a test machine often has neither WireGuard nor IP in IP, and the
/// tests then look at little; here they look at all.
fn tests_of_fib_sync(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--locked", "--package", "fib-sync", "--test", name, "--no-run", "--message-format", "json"]);
    let built = cargo.output().expect("cargo runs");
    let said = String::from_utf8_lossy(&built.stdout);
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let executables = messages.filter(|message| message["target"]["name"] == name);
    let executable = executables.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next();
    executable.unwrap_or_else(|| panic!("no tests were built: {}", String::from_utf8_lossy(&built.stderr)))
}

/// Runs them on a kernel that has every kind of device, and has to have it.
fn passes(tests: &str, kernel: Kernel, modules: &[&str]) -> Result<(), MachineError> {
    pass(tests, "", kernel, modules)
}

/// Those with this in their name.
fn pass(tests: &str, named: &str, kernel: Kernel, modules: &[&str]) -> Result<(), MachineError> {
    let tests = tests_of_fib_sync(tests).display().to_string();
    let mut machine = Machine::debian(kernel).program(&tests).program("ping").program("bridge").program("wg");
    // What a test that waits in vain looks with.
    machine = machine.program("nsenter").program("ss");
    for module in modules {
        machine = machine.module(*module);
    }
    let script = format!("ping -V; LINNET_TEST_ALL_DEVICES=1 {tests} {named} 2>&1");
    // With two processors, qemu may bring the breakpoint of code that the kernel patches (its static keys) to one of them when the
    // other has patched it: the kernel, which knows of none, panics (seen once with 6.12, at a static key of netif_rx_internal).
    let processors = if kernel == Kernel::V6_12 { 1 } else { 2 };
    let ran = machine.processors(processors).deadline(DEADLINE).script(script).run()?;
    assert_eq!(ran.status, 0, "{}", ran.output);
    Ok(())
}

#[test]
fn peers_of_the_wireguard_device_follow_routes_on_debians_kernel() -> Result<(), MachineError> {
    passes("wireguard", Kernel::V6_1, &[])
}

#[test]
fn routes_by_ip_in_ipv6_lead_to_each_end_by_one_device_on_debians_kernels() -> Result<(), MachineError> {
    for kernel in [Kernel::V6_1, Kernel::V6_12] {
        passes("ip6tnl", kernel, &["ip6_tunnel"])?;
    }
    Ok(())
}

#[test]
fn overlays_are_made_changed_and_retired_on_debians_kernel() -> Result<(), MachineError> {
    passes("overlay", Kernel::V6_1, &["ip6_tunnel"])
}

#[test]
fn paths_of_ipv6_too_move_between_tunnels_and_links_without_a_packet_lost_on_debians_newer_kernel()
-> Result<(), MachineError> {
    pass("overlay", "no_packet_is_lost", Kernel::V6_12, &["ip6_tunnel"])
}

#[test]
fn hosts_and_pods_reach_each_other_by_each_encapsulation_whatever_is_checked_of_reverse_paths_on_debians_kernel()
-> Result<(), MachineError> {
    passes("reverse_path", Kernel::V6_1, &[])
}

#[test]
fn a_debian_kernel_without_memory_loses_no_route_and_has_all_when_there_is_some() -> Result<(), MachineError> {
    passes("memory", Kernel::V6_1, &[])
}
