//! Sessions signed by TCP-AO (RFC 5925), for real: on a kernel that has it, which is built for this. `make tcp-ao` runs it;
//! the kernel takes some minutes the first time. Needs QEMU, not root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::process::Command;
use std::time::Duration;

use topology_tests::vm::{Kernel, Machine, WITHIN};

const DEADLINE: Duration = Duration::from_secs(580);

/// The test programs of `bgpd`: of its library, and `tests/tcp_ao.rs`.
fn of_bgpd() -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--locked", "--package", "bgpd", "--lib", "--test", "tcp_ao", "--no-run"]);
    let built = cargo.args(["--message-format", "json"]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let said = String::from_utf8(built.stdout).unwrap();
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let programs: Vec<_> = messages.filter_map(|message| Some(message["executable"].as_str()?.to_owned())).collect();
    assert_eq!(programs.len(), 2, "{programs:?}");
    programs
}

fn machine() -> Machine {
    Machine::debian(Kernel::TcpAo).processors(2).deadline(DEADLINE)
}

/// Bash: `counter NAME` of the kernel's network statistics, in this network namespace.
const COUNTER: &str = r#"
counter() {
    awk -v name="$1" '/^TcpExt:/ { if (!seen) { count = split($0, names); seen = 1 } else for (at = 1; at <= count; at++) if (names[at] == name) print $at }' /proc/net/netstat
}
"#;

/// The tests of `bgpd` ask the kernel which of two verdicts they are to hold it to. Here it is the one of signed sessions:
/// the kernel has counted their segments.
#[test]
#[ignore = "builds a kernel first: make tcp-ao"]
fn what_bgpd_holds_of_tcp_ao_it_holds_on_a_kernel_that_has_it() {
    let programs = of_bgpd();
    let machine = programs.iter().fold(machine(), |machine, program| machine.program(program));
    let runs = programs.iter().map(|program| {
        let filter = if program.contains("tcp_ao-") { "" } else { "tcp_ao::" };
        format!("{program} --color never {filter} || exit 1\n")
    });
    let script = format!(
        "{COUNTER}uname -r\n{}for name in TCPAOGood TCPAOBad TCPAOKeyNotFound TCPAORequired; do echo \"$name $(counter $name)\"; done",
        runs.collect::<String>()
    );
    let ran = machine.script(script).run().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ran.status, 0, "{}", ran.output);
    for name in ["TCPAOGood", "TCPAOBad", "TCPAOKeyNotFound", "TCPAORequired"] {
        let counted = ran.output.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        assert!(counted > Some(0), "{name}: {counted:?}\n{}", ran.output);
    }
}

/// Two hosts in network namespaces with a session over each family, and what a person changes of their keys.
const HOSTS: &str = r#"
set -E
peers=(four six)
on() { ip netns exec "$1" "${@:2}"; }
said() { trap - ERR; for host in a b; do linnet --socket "/$host/socket" bgp neighbor; counters "$host"; tail -n 40 "/$host/log"; done; }
trap 'echo "failed: line $LINENO: $BASH_COMMAND"; said; exit 1' ERR
counters() { for name in TCPAOGood TCPAOBad TCPAOKeyNotFound TCPAORequired TCPMD5Failure; do echo "$1 $name $(of "$1" "$name")"; done; }
of() { on "$1" bash -c "$counter; counter $2"; }
# HOST KEYS: both of its peers have these lines.
configure() {
    local end=2 pods=1
    [ "$1" = a ] || { end=1; pods=2; }
    {
        printf '[node]\nname = "%s"\naddress = "10.0.0.%s"\naddress6 = "fd00::%s"\npod-cidrs = ["10.244.%s.0/24", "fd00:244:%s::/64"]\n' "$1" "$pods" "$pods" "$pods" "$pods"
        printf '[bgp]\nasn = 64512\nhold-time = 9\n[overlay]\nmode = "never"\n[api]\nsocket = "/%s/socket"\n[state]\ndirectory = "/%s/state"\n' "$1" "$1"
        printf '[[bgp.peer]]\nname = "four"\naddress = "10.0.0.%s"\nasn = "internal"\nfamilies = ["ipv4-unicast"]\nttl-security = 1\nconnect-retry = 1\nidle-hold-time = 1\n%s\n' "$end" "$2"
        printf '[[bgp.peer]]\nname = "six"\naddress = "fd00::%s"\nasn = "internal"\nfamilies = ["ipv6-unicast"]\nttl-security = 1\nconnect-retry = 1\nidle-hold-time = 1\n%s\n' "$end" "$2"
    } > "/$1/linnetd.toml"
}
start() { setsid ip netns exec "$1" linnetd --config "/$1/linnetd.toml" >> "/$1/log" 2>&1 < /dev/null & }
reload() { configure "$1" "$2"; linnet --socket "/$1/socket" reload; }
both() { reload a "$1"; reload b "$1"; }
key() { echo "{ send-id = $1, receive-id = $1, algorithm = \"$2\", key-file = \"/keys/$3\" }"; }
# HOST PEER FILTER: what jq says of the peer is true.
is() { linnet --socket "/$1/socket" bgp neighbor "$2" -o json | jq -e ".neighbors[0] | $3" > /dev/null || { linnet --socket "/$1/socket" bgp neighbor "$2"; return 1; }; }
all() { local host peer; for host in a b; do for peer in "${peers[@]}"; do within 60 is "$host" "$peer" "$1"; done; done; }
route() { on "$1" ip "$2" route show "$3" | grep 'proto 76'; }
routes() { within 60 route a -4 10.244.2.0/24; within 60 route b -4 10.244.1.0/24; within 60 route a -6 fd00:244:2::/64; within 60 route b -6 fd00:244:1::/64; }

umask 077
mkdir -p /a/state /b/state /keys
for name in md5 one two; do echo "the key $name" > /keys/$name; done
echo 'another key' > /keys/wrong
for host in a b; do ip netns add "$host"; ip -n "$host" link set lo up; done
ip link add name veth-a netns a type veth peer name veth-b netns b
for host in a b; do
    number=1; [ "$host" = a ] || number=2
    ip -n "$host" address add "10.0.0.$number/24" dev "veth-$host"
    ip -n "$host" address add "fd00::$number/64" dev "veth-$host" nodad
    ip -n "$host" link set "veth-$host" up
done
# A stranger's.
ip -n a address add 10.0.0.3/24 dev veth-a

md5='password-file = "/keys/md5"'
one=$(key 1 hmac-sha-1-96 one)
two=$(key 2 aes-128-cmac-96 two)
wrong=$(key 2 aes-128-cmac-96 wrong)

configure a "$md5"; configure b "$md5"
start a; start b
all '.state == "Established" and .times_established == 1 and (.tcp_ao | length) == 0'
routes
[ "$(of a TCPAOGood) $(of b TCPAOGood)" = "0 0" ]
echo "MD5: sessions over both families"

both "tcp-ao = [$one]"
all '.state == "Established" and .tcp_ao[0].signs and .tcp_ao[0].send_id == 1'
routes
for host in a b; do [ "$(of $host TCPAOGood)" -gt 0 ]; done
echo "MD5 to TCP-AO: sessions anew, signed"
counters a; counters b

before=$(for host in a b; do for peer in "${peers[@]}"; do linnet --socket "/$host/socket" bgp neighbor "$peer" -o json | jq '.neighbors[0].times_established'; done; done)
bad() { for host in a b; do for name in TCPAOBad TCPAOKeyNotFound TCPAORequired; do of "$host" "$name"; done; done; }
bad_before=$(bad)
for keys in "$one, $two" "$two, $one" "$two"; do
    both "tcp-ao = [$keys]"
    if [ "$keys" = "$one, $two" ]; then id=1; else id=2; fi
    all ".state == \"Established\" and ([.tcp_ao[] | select(.signs) | .send_id] == [$id])"
done
# Three keepalives are signed by the new key and taken.
good=$(of a TCPAOGood)
more() { [ "$(of a TCPAOGood)" -gt "$((good + 6))" ]; }
within 60 more
after=$(for host in a b; do for peer in "${peers[@]}"; do linnet --socket "/$host/socket" bgp neighbor "$peer" -o json | jq '.neighbors[0].times_established'; done; done)
[ "$before" = "$after" ]
[ "$bad_before" = "$(bad)" ]
echo "rollover: another key signs, no session was reset, no segment was refused"

kill -s KILL $(pidof linnetd)
within 20 bash -c '! pidof linnetd'
start a; start b
all '.state == "Established" and .tcp_ao[0].signs and .tcp_ao[0].send_id == 2'
routes
echo "killed and started again: signed"

bad=$(of b TCPAOBad)
reload a "tcp-ao = [$wrong]"
within 60 is a four '.state != "Established" and (.last_error | test("no answer|cannot connect"))'
within 60 is a six '.state != "Established"'
within 60 is b four '.state != "Established"'
within 60 is b six '.state != "Established"'
refused() { [ "$(of b TCPAOBad)" -gt "$bad" ]; }
within 60 refused
linnet --socket /a/socket bgp neighbor four | grep -i 'error'
echo "wrong key: no session"

required=$(of b TCPAORequired)
if on a timeout 3 bash -c '< /dev/tcp/10.0.0.2/179' 2> said; then echo "an unsigned connection was let in"; false; fi
[ "$(of b TCPAORequired)" -gt "$required" ]
echo "unsigned: refused by the kernel"
# A stranger's connection is none of the keys' business; the daemon closes it without a word.
[ -z "$(on a timeout 20 nc -s 10.0.0.3 10.0.0.2 179 < /dev/null)" ]

reload a "tcp-ao = [$two]"
all '.state == "Established" and .tcp_ao[0].send_id == 2'
echo "right key: sessions are back"

both "$md5"
all '.state == "Established" and (.tcp_ao | length) == 0'
routes
echo "TCP-AO to MD5: sessions anew"
both ''
all '.state == "Established"'
routes
echo "no key: sessions anew"
counters a; counters b
"#;

#[test]
#[ignore = "builds a kernel first: make tcp-ao"]
fn two_hosts_change_from_md5_to_tcp_ao_roll_its_keys_over_refuse_what_is_not_signed_and_change_back() {
    let programs = ["linnetd", "linnet", "jq", "nft", "nc", "setsid", "timeout"];
    let machine = programs.into_iter().fold(machine(), Machine::program);
    let script = format!("counter=$(cat <<'end'{COUNTER}end\n)\n{WITHIN}{HOSTS}");
    let ran = machine.script(script).run().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ran.status, 0, "{}", ran.output);
    assert!(ran.output.contains("no key: sessions anew"), "{}", ran.output);
}
