//! Tests of reading topology files.

use super::*;

fn parse(text: &str) -> Result<Topology, Vec<Fault>> {
    Topology::parse("x.clab.yml", Path::new("/labs"), text)
}

/// The only fault of a file, as a person sees it.
fn fault(text: &str) -> String {
    let faults = parse(text).expect_err("the file is wrong");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].to_string()
}

#[test]
fn a_node_inherits_from_defaults_its_kind_and_its_group_and_the_nearest_wins() {
    let topology = parse(
        "name: x
topology:
  defaults: {kind: linux, image: 'debian:12', network-mode: none, env: {A: defaults, B: defaults}, exec: [one], sysctls: {net.ipv4.ip_forward: 1}}
  kinds:
    linux: {env: {B: kind, C: kind}, exec: [two]}
  groups:
    hosts: {image: 'linnet:1', binds: ['etc/__clabNodeName__:/etc/linnet:ro', 'a:/opt/a']}
  nodes:
    h1: {group: hosts, exec: ['echo \"three words\" here'], env: {C: node}, binds: ['b:/opt/a']}
",
    )
    .unwrap();
    let node = topology.node("h1").unwrap();
    assert_eq!(node.image, "linnet:1");
    assert_eq!(node.exec, [vec!["one"], vec!["two"], vec!["echo", "three words", "here"]]);
    let env: Vec<_> = node.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=defaults", "B=kind", "C=node"]);
    assert_eq!(node.sysctls["net.ipv4.ip_forward"], "1");
    let bind = |source: &str, target: &str, read_only| Bind { source: source.into(), target: target.into(), read_only };
    assert_eq!(node.binds, [bind("/labs/etc/h1", "/etc/linnet", true), bind("/labs/b", "/opt/a", false)]);
}

#[test]
fn a_link_names_two_ends_in_the_short_and_in_the_long_form() {
    let topology = parse(
        "name: x
topology:
  nodes: {a: {kind: linux, image: debian}, b: {kind: linux, image: debian}}
  links:
  - endpoints: ['a:eth1', 'b:eth1']
    mtu: 1400
  - type: veth
    endpoints: [{node: a, interface: eth2}, {node: b, interface: eth2}]
",
    )
    .unwrap();
    let end = |node: &str, interface: &str| End { node: node.into(), interface: interface.into() };
    let link = |interface, mtu| Link { ends: [end("a", interface), end("b", interface)], mtu };
    assert_eq!(topology.links, [link("eth1", Some(1400)), link("eth2", None)]);
}

#[test]
fn keys_that_concern_the_container_engine_are_noted_and_change_nothing() {
    let with = "name: x\nmgmt: {network: m}\ntopology: {nodes: {a: {kind: linux, image: debian, ports: ['80:80']}}}\n";
    let without = "name: x\ntopology: {nodes: {a: {kind: linux, image: debian}}}\n";
    let (with, without) = (parse(with).unwrap(), parse(without).unwrap());
    assert_eq!(with.nodes, without.nodes);
    assert_eq!(with.notes.len(), 2, "{:?}", with.notes);
    assert!(with.notes[0].starts_with("x.clab.yml:2: `mgmt`"), "{:?}", with.notes);
}

#[test]
fn every_fault_names_its_line_what_follows_and_what_to_do() {
    let nodes =
        "name: x\ntopology:\n  nodes:\n    h1: {kind: linux, image: debian}\n    h2: {kind: linux, image: debian}\n";
    let cases = [
        (format!("{nodes}      exek: [ls]\n"), "x.clab.yml:6"),
        (
            nodes
                .replace("image: debian}\n    h2", "imgae: debian}\n    h2")
                .replace("{kind: linux, imgae", "{kind: linux, image: x, imgae"),
            "4:33: unknown key `imgae` in a node; the lab might not be what you mean; did you mean `image`?",
        ),
        (
            nodes.replace("h2: {kind: linux", "h2: {kind: nokia_srlinux"),
            "5:16: kind `nokia_srlinux` needs its vendor's image; known here: linux, bridge",
        ),
        (
            nodes.replace("h2: {kind: linux, ", "h2: {"),
            "5:5: node h2 has no kind; write `kind: linux` or `kind: bridge`",
        ),
        (
            nodes.replace("h2: {kind: linux, image: debian", "h2: {kind: linux, image: debian, startup-config: x"),
            "5:38: `startup-config` does not work here, and the lab would differ; bind the file to where the daemon reads it",
        ),
        (
            format!("{nodes}  links:\n  - endpoints: ['h1:eth1', 'h3:eth1']\n"),
            "7:28: there is no node `h3` to wire; did you mean `h1`?",
        ),
        (
            format!("{nodes}  links:\n  - endpoints: ['h1:eth1', 'h2']\n"),
            "7:28: endpoint `h2` names no interface; write `NODE:INTERFACE`",
        ),
        (
            format!("{nodes}  links:\n  - endpoints: ['h1:eth1', 'h2:an-interface-too-long']\n"),
            "the kernel takes no new interface `an-interface-too-long`; use 1 to 15 characters",
        ),
        (
            format!("{nodes}  links:\n  - endpoints: ['h1:eth1', 'h2:eth1']\n  - endpoints: ['h1:eth1', 'h2:eth2']\n"),
            "8:17: h1:eth1 is taken by an earlier link; use another name",
        ),
        (
            format!("{nodes}  links:\n  - endpoints: ['h1:eth1']\n"),
            "7:16: a link has two endpoints and this one 1; write two",
        ),
        (
            format!("{nodes}  links:\n  - {{type: macvlan, endpoints: ['h1:eth1', 'h2:eth1']}}\n"),
            "a link of type `macvlan` reaches outside",
        ),
        (
            nodes.replace("debian}\n    h2", "debian, exec: ['echo \"a']}\n    h2"),
            "a line of `exec`: a double quote is not closed",
        ),
        (
            nodes.replace("debian}\n    h2", "debian, binds: ['a']}\n    h2"),
            "bind `a` has no target; write `SOURCE:TARGET`",
        ),
        (
            nodes.replace("debian}\n    h2", "debian, binds: ['a:../b']}\n    h2"),
            "bind `a:../b` needs an absolute path without `..`",
        ),
        (nodes.replace("    h2", "    -h2"), "`-h2` cannot be the name of a node"),
        ("name: x\ntopology: {}\n".to_owned(), "there are no nodes, so there is nothing to run"),
        ("topology: {nodes: {a: {kind: linux, image: debian}}}\n".to_owned(), "the lab has no name"),
        ("name: x\n  bad: [\n".to_owned(), "this is not YAML"),
        (String::new(), "0 YAML documents where one is wanted"),
    ];
    for (text, wanted) in cases {
        let got = fault(&text);
        assert!(got.contains(wanted), "wanted: {wanted}\n   got: {got}\n{text}");
    }
}

#[test]
fn all_faults_of_a_file_come_at_once_in_its_order() {
    let text = "name: x\nnmae: y\ntopology:\n  nodes:\n    h1: {kind: linux, image: debian, exce: []}\n  lniks: []\n";
    let lines: Vec<_> = parse(text).unwrap_err().iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 5, 6]);
}

#[test]
fn ports_of_two_bridges_share_one_set_of_names_as_under_containerlab() {
    let text = "name: x
topology:
  nodes: {a: {kind: linux, image: debian}, b1: {kind: bridge}, b2: {kind: bridge}}
  links:
  - endpoints: ['a:eth1', 'b1:p1']
  - endpoints: ['a:eth2', 'b2:p1']
";
    assert!(fault(text).contains("b2:p1 is taken by an earlier link (all bridges share one namespace)"));
}

#[test]
fn a_line_is_cut_into_words_as_containerlab_cuts_it() {
    let cases: [(&str, Result<&[&str], &str>); 9] = [
        ("ip  addr\tadd", Ok(&["ip", "addr", "add"])),
        ("sh -c 'a b; c'", Ok(&["sh", "-c", "a b; c"])),
        (r#"a "b \"c\" 'd'" e"#, Ok(&["a", "b \"c\" 'd'", "e"])),
        (r"a\ b c", Ok(&["a b", "c"])),
        ("a '' b", Ok(&["a", "", "b"])),
        ("x=a'b'c", Ok(&["x=abc"])),
        ("a # b", Ok(&["a"])),
        ("a 'b", Err("a single quote is not closed")),
        (r"a \", Err("nothing follows the last backslash")),
    ];
    for (line, wanted) in cases {
        let got = words(line);
        let got = got.as_ref().map(Vec::as_slice).map_err(|problem| *problem);
        let wanted = wanted.map(|words| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(got, wanted.as_ref().map(Vec::as_slice).map_err(|problem| *problem), "{line}");
    }
}
