//! What files mean, and what is said about wrong ones.

use bgp_proto::filter::{Condition, Rule};
use bgp_proto::hints::{Hint, Hints};

use super::{Authentication, Config, Environment, Finding, Parsed, parse};

fn environment() -> Environment {
    Environment { host_name: Some("node-1".into()), address: Some("192.168.10.11".parse().unwrap()) }
}

pub(super) fn read(text: &str) -> Result<Parsed, Vec<Finding>> {
    parse("linnetd.toml", text, &environment())
}

pub(super) fn accepted(text: &str) -> Config {
    read(text).unwrap_or_else(|findings| panic!("refused:\n{}", lines(&findings))).config
}

pub(super) fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

pub(super) fn findings(text: &str) -> String {
    match read(text) {
        Ok(parsed) => format!("accepted\n{}", lines(&parsed.warnings)),
        Err(findings) => lines(&findings),
    }
}

#[test]
fn an_as_number_is_all_that_a_node_must_say() {
    insta::assert_snapshot!(accepted("[bgp]\nasn = 64512\n"));
}

#[test]
fn the_canonical_file_shows_every_key_of_a_full_one() {
    insta::assert_snapshot!(accepted(FULL));
}

/// What is said of a peer with these lines, where `bgp.hold-time` is 60.
fn of_a_peer(lines: &str) -> String {
    findings(&format!(
        "[bgp]\nasn = 64512\nhold-time = 60\n[[bgp.peer]]\nname = \"p\"\naddress = \"192.168.10.1\"\nasn = \"internal\"\n{lines}\n"
    ))
}

#[test]
fn a_send_hold_time_is_longer_than_the_hold_time_or_off() {
    for lines in [
        "send-hold-time = 61",
        "hold-time = 0\nsend-hold-time = 1",
        "send-hold-time = 0",
        "hold-time = 9\nsend-hold-time = 10",
    ] {
        assert_eq!(of_a_peer(lines), "accepted\n", "{lines}");
    }
    for (lines, said) in [
        ("send-hold-time = 60", "a send hold time of 60 seconds, and a hold time of 60; "),
        ("hold-time = 600\nsend-hold-time = 300", "write more than 600 (RFC 9687 section 4.4), or 0 (off)"),
        ("send-hold-time = 86401", "\"send-hold-time\" is 86401"),
        ("send-hold-time = \"10 s\"", "\"send-hold-time\" is the string"),
    ] {
        let seen = of_a_peer(lines);
        assert!(seen.contains(said), "{lines}: {seen}");
    }
}

#[test]
fn the_canonical_file_parses_back_to_the_same_configuration() {
    let config = accepted(FULL);
    assert_eq!(accepted(&config.to_string()), config);
}

#[test]
fn every_error_of_a_file_is_said_at_once() {
    insta::assert_snapshot!(findings(
        r#"
[node]
nme = "node-1"
address = "192.168.10.300"
pod-cidrs = ["10.244.1.0/24", "10.244.0.0/16", "10.244.1.0"]

[bgp]
asn = "64512"
router-id = "0.0.0.0"
hold-tme = 90
hold-time = 2
max-paths = 0
networks = "203.0.113.0/24"
graceful-restart = { enabled = "yes", restart-tme = 3 }

[[bgp.peer]]
name = "tor-a"
address = "192.168.10.1"
asn = 23456
families = ["ipv4-unicats"]
import = "form-tor"

[[bgp.peer]]
name = "tor-a"
address = "192.168.10.1"
asn = "internall"
ttl-security = 1
multihop = 2
local-address = "fd00::1"
password-file = "tor-a.key"

[[bgp.filter]]
name = "from-tor"
rules = [
  { match = { prefix = ["10.0.0.0/8 le 4"], community = ["65001"] }, then = "acept" },
  { set = { local-pref = -1 }, then = "reject" },
  { match = { prefix = ["10.0.0.0/8 between 1"], large-community = ["1:2"] } },
]

[overlays]
mode = "auto"
"#
    ));
}

#[test]
fn broken_toml_is_named_where_it_breaks() {
    insta::assert_snapshot!(findings("[bgp]\nasn = 64512\nrouter-id = 10.0.0.1\n[node\nname = \"x\"\n"));
}

#[test]
fn what_this_version_has_not_is_refused_by_name() {
    insta::assert_snapshot!(findings(
        r#"
[bgp]
asn = 64512
[[bgp.peer]]
name = "tor-a"
interface = "eth0"
asn = "external"
[store]
kind = "etcd"
"#
    ));
}

#[test]
fn what_is_odd_but_sound_is_warned_about() {
    insta::assert_snapshot!(findings(
        r#"
[node]
pod-cidrs = ["10.244.1.7/24"]
[bgp]
asn = 64512
listen = ["10.0.0.1:179", "fd00:200::1:179", "[fd00:200::2]:179"]
[[bgp.peer]]
name = "tor-a"
address = "192.168.10.1"
asn = 65001
"#
    ));
}

#[test]
fn ipip_goes_over_the_family_of_the_nodes_address() {
    let text = |address: &str| {
        format!(
            "[node]\nname = \"n\"\naddress = \"{address}\"\n[bgp]\nasn = 2\nrouter-id = \"10.0.0.1\"\n[overlay]\nencapsulation = \"ipip\"\n"
        )
    };
    let nowhere = Environment { host_name: None, address: None };
    for address in ["192.0.2.1", "fd00::1"] {
        let parsed = parse("f", &text(address), &nowhere).unwrap();
        assert_eq!(parsed.config.overlay.encapsulation, super::Encapsulation::IpIp, "{address}");
    }
}

#[test]
fn ipip_over_ipv4_with_ipv6_pods_is_warned_about() {
    let text = |address: &str, pods: &str, overlay: &str| {
        format!(
            "[node]\nname = \"n\"\naddress = \"{address}\"\npod-cidrs = [{pods}]\n[bgp]\nasn = 2\nrouter-id = \"10.0.0.1\"\n[overlay]\n{overlay}\n"
        )
    };
    let nowhere = Environment { host_name: None, address: None };
    let (both, four) = ("\"10.244.1.0/24\", \"fd00:244:1::/64\"", "\"10.244.1.0/24\"");
    let (ipip, never) = ("encapsulation = \"ipip\"", "encapsulation = \"ipip\"\nmode = \"never\"");
    for (address, pods, overlay, warned) in [
        ("192.0.2.1", both, ipip, true),
        ("192.0.2.1", four, ipip, false),
        ("192.0.2.1", both, never, false),
        ("192.0.2.1", both, "", false),
        ("fd00::1", both, ipip, false),
    ] {
        let warnings = parse("f", &text(address, pods, overlay), &nowhere).unwrap().warnings;
        let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said.iter().filter(|said| said.contains("IPv6 pods have no tunnel")).count(), usize::from(warned));
        assert_eq!(said.len(), usize::from(warned), "{address} {pods} {overlay}: {said:?}");
    }
}

#[test]
fn with_wireguard_everything_is_encrypted_unless_somebody_asks_for_less() {
    let text = |more: &str| {
        format!(
            "[node]\nname = \"n\"\naddress = \"fd00::1\"\n[bgp]\nasn = 2\nrouter-id = \"10.0.0.1\"\n[overlay]\nencapsulation = \"wireguard\"\n{more}"
        )
    };
    let nowhere = Environment { host_name: None, address: None };
    let parsed = parse("f", &text(""), &nowhere).unwrap();
    let overlay = parsed.config.overlay;
    assert_eq!((overlay.mode, overlay.port), (super::OverlayMode::Always, 51820));
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    let parsed = parse("f", &text("mode = \"auto\"\nport = 4500\n"), &nowhere).unwrap();
    assert_eq!((parsed.config.overlay.mode, parsed.config.overlay.port), (super::OverlayMode::Auto, 4500));
    let told: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].contains("is not encrypted"), "{told:?}");
}

#[test]
fn a_filter_that_asks_for_a_state_that_nobody_knows_is_warned_about() {
    insta::assert_snapshot!(findings(
        r#"
[bgp]
asn = 64512
[[bgp.peer]]
name = "tor-a"
address = "192.168.10.1"
asn = 65001
import = "judging"
export = "judging"
[[bgp.filter]]
name = "judging"
rules = [{ match = { not = { validation = "invalid" } }, then = "accept" }]
"#
    ));
}

#[test]
fn a_node_without_default_route_or_ipv4_is_told_what_to_set() {
    let nowhere = Environment { host_name: None, address: None };
    let without = parse("f", "[bgp]\nasn = 1\n", &nowhere).unwrap_err();
    let only_v6 = parse("f", "[node]\nname = \"n\"\naddress = \"fd00::1\"\n[bgp]\nasn = 1\n", &nowhere).unwrap_err();
    insta::assert_snapshot!(format!("{}\n{}", lines(&without), lines(&only_v6)));
}

#[test]
fn a_link_local_address_is_no_peers_without_its_link() {
    let of = |remote: &str| {
        findings(&format!("[bgp]\nasn = 64512\n[[bgp.peer]]\nname = \"p\"\n{remote}\nasn = \"internal\"\n"))
    };
    let seen = of("address = \"fe80::2\"");
    assert!(seen.contains("fe80::2 is a link-local address") && seen.contains("write interface = "), "{seen}");
    for remote in ["address = \"fd00::2\"", "address = \"169.254.1.1\"", "interface = \"eth0\""] {
        assert_eq!(of(remote), "accepted\n", "{remote}");
    }
}

#[test]
fn a_password_is_read_but_never_shown() {
    let file = std::env::temp_dir().join(format!("linnet-password-{}", std::process::id()));
    std::fs::write(&file, "s3cret\n").unwrap();
    let text = format!(
        "[bgp]\nasn = 1\n[[bgp.peer]]\nname = \"a\"\naddress = \"10.0.0.1\"\nasn = 2\npassword-file = \"{}\"\n",
        file.display()
    );
    let parsed = read(&text);
    std::fs::remove_file(&file).unwrap();
    let config = parsed.unwrap_or_else(|findings| panic!("{}", lines(&findings))).config;
    let Some(Authentication::Password { secret, .. }) = &config.bgp.peers[0].settings.authentication else { panic!() };
    assert_eq!(Some(secret), bgpd::Secret::new(b"s3cret").as_ref());
    assert!(!format!("{config:?}{config}").contains("s3cret"));
}

#[test]
fn prefixes_with_lengths_read_as_every_router_reads_them() {
    for (text, shown, ge, le) in [
        ("10.0.0.0/8", "10.0.0.0/8", 8, 8),
        ("10.0.0.0/8 le 24", "10.0.0.0/8 le 24", 8, 24),
        ("10.0.0.0/8 ge 16", "10.0.0.0/8 ge 16", 16, 32),
        ("10.0.0.0/8 ge 16 le 24", "10.0.0.0/8 ge 16 le 24", 16, 24),
        ("10.0.0.0/8 ge 8 le 32", "10.0.0.0/8 le 32", 8, 32),
        ("fd00::/8 ge 64", "fd00::/8 ge 64", 64, 128),
    ] {
        let config = accepted(&format!(
            "[bgp]\nasn = 1\n[[bgp.filter]]\nname = \"f\"\nrules = [{{ match = {{ prefix = [\"{text}\"] }}, then = \"accept\" }}]\n"
        ));
        let Condition::Prefix(wanted) = &config.bgp.filters[0].rules[0].conditions[0] else { panic!("{text}") };
        let wanted = wanted[0];
        assert_eq!((wanted.ge, wanted.le), (ge, le), "{text}");
        assert_eq!(wanted.to_string(), shown);
    }
}

#[test]
fn a_wrong_filter_is_answered_with_what_to_write() {
    for (rule, part) in [
        ("match = { as-path = \"_65001_\" }", "write \"65001\" for _65001_"),
        ("match = { as-path = [] }", "\"as-path\" names nothing that could match"),
        ("match = { community = \"65536:1\" }", "\"65536:1\" is not a community"),
        ("match = { prefix-list = \"bogon\" }", "did you mean \"bogons\"?"),
        ("match = { next-hop = \"192.0.2\" }", "write 192.0.2.1 or 192.0.2.0/24"),
        ("match = { origin-as = \"9-1\" }", "\"9-1\" is not an AS number or a range"),
        ("match = { med = \"le\" }", "\"le\" is not a number or a range"),
        ("match = { local = true, source = \"local\" }", "both \"source\" and \"local\""),
        ("match = { not = { prefx = \"0.0.0.0/0\" } }", "did you mean \"prefix\"?"),
        ("match = { validation = \"unknown\" }", "\"unknown\" is not a value of \"validation\""),
        ("set = { local-pref = \"10%\" }", "\"10%\" is not a number or a change of one"),
        ("set = { replace-community = [] }", "remove-community = [\"*\"]"),
        ("set = { add-community = \"65001:*\" }", "\"65001:*\" is not a community"),
        ("set = { link-bandwidth = \"fast\" }", "write bits a second like \"10G\""),
        ("set = { next-hop = \"me\" }", "write \"self\", \"unchanged\" or an address"),
        ("set = { source = \"fd00::1\" }", "fd00::1 is not an IPv4 address"),
        ("set = { source6 = \"10.0.0.1\" }", "\"source6\" for IPv6 routes"),
        ("set = { source6 = \"node\" }", "the node has not an IPv6 address"),
        ("set = { mtu = 1000 }", "1280"),
        ("set = { mtu = \"small\" }", "\"small\" is not a value of \"mtu\""),
        ("set = { overlay = \"sometimes\" }", "\"always\""),
    ] {
        let text = format!(
            "[bgp]\nasn = 1\n[[bgp.prefix-list]]\nname = \"bogons\"\nprefixes = []\n[[bgp.filter]]\nname = \"f\"\nrules = [{{ {rule}, then = \"accept\" }}]\n"
        );
        let said = lines(&read(&text).expect_err(rule));
        assert!(said.contains(part), "{rule}: {said}");
    }
    let nexts = "{ then = \"next\" },".repeat(33);
    let said = findings(&format!("[bgp]\nasn = 1\n[[bgp.filter]]\nname = \"f\"\nrules = [{nexts}]\n"));
    assert!(said.contains("at most 32 may"), "{said}");
}

#[test]
fn what_filters_say_of_the_kernels_routes_is_read_and_refused_where_nothing_could_follow_from_it() {
    let file = |set: &str, more: &str| {
        format!(
            "[node]\naddress = \"10.0.0.1\"\naddress6 = \"fd00::1\"\n[bgp]\nasn = 1\n[[bgp.filter]]\nname = \"f\"\n\
             rules = [{{ set = {{ {set} }}, then = \"accept\" }}]\n{more}"
        )
    };
    let hints = |set: &str| accepted(&file(set, "")).bgp.filters[0].rules[0].set.hints;
    let read = hints("mtu = 9000, source = \"node\", source6 = \"auto\", overlay = \"always\"");
    let source = Hint::Is([10, 0, 0, 1].into());
    let overlay = Some(super::OverlayMode::Always);
    assert_eq!(read, Hints { mtu: Some(Hint::Is(9000)), source: Some(source), source6: Some(Hint::Auto), overlay });
    assert!(hints("med = 1").is_empty());
    // Without the device there is no tunnel to choose.
    let said = findings(&file("overlay = \"auto\"", "[overlay]\nmode = \"never\"\n"));
    assert!(said.contains("overlay.mode is \"never\"") && said.contains("set overlay.mode = \"auto\""), "{said}");
    accepted(&file("overlay = \"never\"", "[overlay]\nmode = \"never\"\n"));
    let peer = |way: &str| format!("[[bgp.peer]]\nname = \"a\"\naddress = \"10.0.0.9\"\nasn = 2\n{way} = \"f\"\n");
    let said = findings(&file("mtu = 1400", &peer("export")));
    assert!(said.contains("filter \"f\" sets \"mtu\"") && said.contains("name it as \"import\""), "{said}");
    assert_eq!(findings(&file("mtu = 1400", &(peer("export") + "import = \"f\"\n"))), "accepted\n");
}

#[test]
fn a_next_hop_of_exports_is_refused_on_import() {
    let said = findings(
        "[bgp]\nasn = 1\n[[bgp.filter]]\nname = \"f\"\nrules = [{ set = { next-hop = \"self\" }, then = \"accept\" }]\n[[bgp.peer]]\nname = \"a\"\naddress = \"10.0.0.1\"\nasn = 2\nimport = \"f\"\nexport = \"f\"\n",
    );
    assert!(said.contains("means nothing on import"), "{said}");
}

#[test]
fn a_file_without_defaults_spelled_out_makes_a_speaker_that_takes_and_gives_everything() {
    let config = accepted(
        r#"
[node]
name = "dut"
address = "10.0.0.1"

[bgp]
asn = 65000
router-id = "10.0.0.1"
listen = ["10.0.0.1:179"]
hold-time = 240

[[bgp.filter]]
name = "all"
rules = [{ then = "accept" }]

[[bgp.peer]]
name = "p0"
address = "10.0.0.2"
asn = 65001
local-address = "10.0.0.1"
passive = true
families = ["ipv4-unicast"]
route-reflector-client = false
import = "all"
export = "all"

[overlay]
mode = "never"

[fib]
install = false

[api]
socket = "/tmp/linnetd.sock"

[metrics]
listen = "127.0.0.1:0"

[state]
directory = "/tmp/state"
"#,
    );
    let peer = &config.bgp.peers[0].settings;
    assert!(peer.passive && !peer.internal() && !config.fib.install);
    assert_eq!(config.bgp.filter("all").unwrap().rules, [Rule::accept(vec![])]);
}

const FULL: &str = r#"
[node]
name = "node-1"
address = "192.168.10.11"
address6 = "fd00:10::11"
pod-cidrs = ["10.244.1.0/24", "fd00:244:1::/64"]

[bgp]
asn = 64512
router-id = "192.168.10.11"
listen = ["0.0.0.0:179", "[::]:179"]
hold-time = 90
cluster-id = "192.168.10.11"
max-paths = 16
networks = ["203.0.113.0/24"]
cluster-cidrs = ["10.244.0.0/16"]
graceful-restart = { enabled = true, restart-time = 120 }

[[bgp.peer]]
name = "tor-a"
address = "192.168.10.1"
port = 179
asn = 65001
local-asn = 64513
local-address = "192.168.10.11"
families = ["ipv4-unicast", "ipv6-unicast"]
ttl-security = 1
passive = false
route-reflector-client = false
next-hop-self = false
blackhole = true
add-path = "both"
add-path-send = 4
max-prefixes = 10000
hold-time = 30
send-hold-time = 600
connect-retry = 10
import = "from-tor"
export = "to-tor"

[[bgp.peer]]
name = "rr"
address = "192.168.10.2"
asn = "internal"
route-reflector-client = true

[[bgp.dynamic-peer]]
prefix = "192.168.10.0/24"
asn = "internal"
limit = 100

[[bgp.prefix-list]]
name = "bogons"
prefixes = ["10.0.0.0/8 le 32", "fc00::/7 le 128"]

[[bgp.filter]]
name = "from-tor"
rules = [
  { match = { prefix-list = "bogons", not = { peer = "tor-a", as-path = ["^65001 .* (65002|65003)$"] } }, then = "reject" },
  { match = { family = "ipv4-unicast", origin-as = [65001, "64512-65534"], neighbor-as = 65001, as-path-length = "le 10" }, set = { weight = 10, local-pref = "+50", med = "-5", remove-community = ["65001:*", "rt:*"] }, then = "next" },
  { match = { next-hop = ["192.0.2.0/24", "fd00::1"], origin = "igp", source = ["external"], med = "ge 1 le 9", local-pref = 100 }, set = { origin = "incomplete", replace-community = ["64512:1:1"], link-bandwidth = "10G", remove-as = [65001, "65100-65199"], prepend-as = [65001, 65001], next-hop = "192.0.2.9", mtu = 1400, source = "10.0.0.9", source6 = "auto", overlay = "never" }, then = "accept" },
  { match = { prefix = ["0.0.0.0/0"] }, then = "accept" },
  { match = { prefix = ["10.0.0.0/8 le 24"], community = ["65001:100"] }, set = { local-pref = 200, add-community = ["64512:1", "no-export"], add-large-community = ["64512:1:2"], med = 5, prepend = 2 }, then = "accept" },
  { match = { large-community = ["1:2:3"], local = false }, then = "reject" },
]

[[bgp.filter]]
name = "to-tor"
rules = [{ match = { local = true }, then = "accept" }]

[overlay]
mode = "always"
encapsulation = "vxlan"
vni = 4097
port = 4790
mtu = 1400

[fib]
install = true
table = 100
metric = 77
next-hop-objects = false

[policy]
directory = "/srv/policy"
default = "deny"

[store]
kind = "files"
[api]
socket = "/run/linnet/other.sock"
[metrics]
listen = "off"
[state]
directory = "/srv/linnet"
"#;

#[test]
fn what_is_taken_from_the_kernel_is_checked() {
    insta::assert_snapshot!(findings(
        r#"
[bgp]
asn = 64512
[[bgp.import-kernel]]
protocols = ["static", "opsf", 76, 300]
filter = "kernal"
table = 255
limit = 0
[[bgp.import-kernel]]
protocols = []
[[bgp.import-kernel]]
filter = "kernel"
metric-as-mad = true
[[bgp.filter]]
name = "kernel"
rules = [{ then = "accept" }]
"#
    ));
}

#[test]
fn what_routes_say_beside_where_they_lead_is_checked() {
    insta::assert_snapshot!(findings(
        "[node]\naddress = \"10.0.0.1\"\n[bgp]\nasn = 1\n[fib]\nsource = \"fd00::1\"\nsource6 = \"node\"\nmtu = 1000\n"
    ));
    let fib =
        accepted("[node]\naddress = \"10.0.0.1\"\n[bgp]\nasn = 1\n[fib]\nsource = \"node\"\nsource6 = \"auto\"\n").fib;
    assert_eq!((fib.source, fib.source6, fib.mtu), (Some([10, 0, 0, 1].into()), None, None));
    let own: std::net::Ipv6Addr = "fd00::1".parse().unwrap();
    for node in ["address = \"10.0.0.1\"\naddress6 = \"fd00::1\"", "address = \"fd00::1\""] {
        let text = format!("[node]\n{node}\n[bgp]\nasn = 1\nrouter-id = \"10.0.0.1\"\n[fib]\nsource6 = \"node\"\n");
        let fib = accepted(&text).fib;
        assert_eq!((fib.source, fib.source6), (None, Some(own)), "{node}");
    }
}

#[test]
fn rules_for_the_table_are_checked() {
    let file = |fib: &str| format!("[node]\naddress = \"10.0.0.1\"\n[bgp]\nasn = 1\n[fib]\n{fib}\n");
    insta::assert_snapshot!(findings(&file(
        "table = 100\nrules = [{ from = \"10.0.0.0/8\", to = \"fd00::/8\" }, { fwmark = \"0x10/0x0f\" }, { iif = \"a/b\" }, \
         { prio = 7 }, { priority = 0 }]"
    )));
    insta::assert_snapshot!(findings(&file("rules = [{ from = \"10.0.0.0/8\" }]")));
    insta::assert_snapshot!(findings(&file("table = 100\nrules = [{ fwmark = 16 }, { fwmark = \"0x10\" }]")));
}
