//! What is said about wrong keys of single peers, and about aggregates.

use super::tests::findings;

/// The file with one peer that has these keys beside what it must have.
fn peer(keys: &str) -> String {
    findings(&format!("[bgp]\nasn = 64512\n[[bgp.peer]]\nname = \"p\"\naddress = \"192.0.2.1\"\n{keys}\n"))
}

#[test]
fn each_wrong_key_of_a_peer_is_named_with_what_to_write() {
    for (keys, said) in [
        ("asn = 65001\nrole = \"upstream\"", "\"upstream\" is not a value of \"role\""),
        ("asn = 65001\nrole-strict = true", "role-strict without a role"),
        ("asn = \"internal\"\nrole = \"peer\"", "role on an internal peer"),
        ("asn = \"internal\"\nas-override = true", "as-override on an internal peer"),
        ("asn = \"internal\"\nremove-private-asn = \"all\"", "remove-private-asn on an internal peer"),
        ("asn = 65001\nremove-private-asn = \"every\"", "\"every\" is not a value of \"remove-private-asn\""),
        ("asn = 65001\nallow-as-in = 11", "write a number from 0 to 10"),
        ("asn = 65001\nlocal-asn-prepend = \"sent\"", "local-asn-prepend without a local-asn of its own"),
        ("asn = 65001\nnext-hop = \"unchanged\"\nnext-hop-self = true", "contradict each other"),
        ("asn = 65001\nnext-hop = \"self\"\nnext-hop-self = false", "contradict each other"),
        ("asn = 65001\nnext-hop = \"own\"", "\"own\" is not a value of \"next-hop\""),
        ("asn = 65001\ndefault-originate = \"yes\"", "\"default-originate\" is the string \"yes\", not true or false"),
        ("asn = 65001\ndefault-originate = { }", "has no \"while\""),
        ("asn = 65001\nmax-prefixes = 0", "write a number from 1 to 4294967295"),
        ("asn = 65001\nmax-prefixes = { action = \"stop\" }", "has no \"limit\""),
        ("asn = 65001\nmax-prefixes = { limit = 9, action = \"halt\" }", "\"halt\" is not a value of \"action\""),
        (
            "asn = 65001\nmax-prefixes = { limit = 9, action = \"stop\", restart-after = 5 }",
            "restart-after of a session that does not start again",
        ),
    ] {
        let findings = peer(keys);
        assert!(findings.contains(said) && !findings.starts_with("accepted"), "{keys}:\n{findings}");
    }
}

#[test]
fn an_aggregate_never_asks_for_an_as_set_and_stands_there_once() {
    for (tables, said) in [
        ("[[bgp.aggregate]]\nprefix = \"10.0.0.0/8\"\nas-set = true", "RFC 9774 forbids"),
        ("[[bgp.aggregate]]\nsummary-only = true", "has no \"prefix\""),
        (
            "[[bgp.aggregate]]\nprefix = \"10.0.0.0/8\"\n[[bgp.aggregate]]\nprefix = \"10.0.0.0/8\"",
            "10.0.0.0/8 is aggregated twice",
        ),
    ] {
        let findings = findings(&format!("[bgp]\nasn = 64512\n{tables}\n"));
        assert!(findings.contains(said) && !findings.starts_with("accepted"), "{tables}:\n{findings}");
    }
    let fine = findings("[bgp]\nasn = 64512\n[[bgp.aggregate]]\nprefix = \"10.0.0.0/8\"\nas-set = false\n");
    assert!(fine.starts_with("accepted"), "{fine}");
}
