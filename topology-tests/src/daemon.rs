//! Which programs stand in for which image, and how each is started. A new router is a new entry in [`IMAGES`].

use std::path::{Path, PathBuf};

use crate::topology::Node;

/// What an image would bring.
#[derive(Debug)]
pub struct Image {
    /// What the last part of the image's name, without its tag, begins with.
    names: &'static [&'static str],
    /// The Debian package that brings the programs.
    package: &'static str,
    /// Folders that the node sees empty but for its binds, so that the host's own configuration stays out.
    folders: &'static [&'static str],
    programs: Programs,
}

#[derive(Debug)]
enum Programs {
    /// Nothing runs but `entrypoint`, `cmd` and `exec`.
    None,
    /// One program; `cmd` takes the place of these arguments.
    One { command: &'static str, arguments: &'static [&'static str], ready: &'static str },
    /// FRR's daemons, as its file `daemons` says, and its integrated configuration.
    Frr,
    /// OpenBGPD's one daemon, which refuses a configuration that others can read.
    OpenBgpd,
}

/// One program of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The name of its process.
    pub name: String,
    /// What is executed.
    pub command: Vec<String>,
    /// The path, in the node, that is there when the program serves.
    pub ready: Option<PathBuf>,
}

/// What runs in a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Folders that start empty.
    pub folders: Vec<&'static str>,
    /// Commands that run before the programs.
    pub first: Vec<Vec<String>>,
    /// In this order; each must be ready before the next.
    pub programs: Vec<Program>,
    /// Commands that run once when the programs are ready, before the node's own `exec`.
    pub then: Vec<Vec<String>>,
}

/// Images and their stand-ins.
pub const IMAGES: &[Image] = &[
    Image { names: &["frr"], package: "frr", folders: &["/etc/frr", "/run/frr"], programs: Programs::Frr },
    Image {
        names: &["bird"],
        package: "bird2",
        folders: &["/etc/bird", "/run/bird"],
        programs: Programs::One {
            command: "bird",
            arguments: &["-f", "-c", "/etc/bird/bird.conf", "-s", "/run/bird/bird.ctl"],
            ready: "/run/bird/bird.ctl",
        },
    },
    Image {
        names: &["gobgp"],
        package: "gobgpd",
        folders: &["/etc/gobgp"],
        programs: Programs::One { command: "gobgpd", arguments: &["-f", "/etc/gobgp/gobgpd.toml"], ready: "" },
    },
    Image {
        names: &["openbgpd"],
        package: "openbgpd",
        folders: &["/etc/bgpd", "/run/openbgpd"],
        programs: Programs::OpenBgpd,
    },
    Image {
        names: &["stayrtr"],
        package: "stayrtr",
        folders: &["/etc/stayrtr"],
        programs: Programs::One { command: "stayrtr", arguments: &[], ready: "" },
    },
    Image {
        names: &["pmbmpd"],
        package: "pmacct",
        folders: &[],
        programs: Programs::One { command: "pmbmpd", arguments: &["-f", "/etc/pmacct/pmbmpd.conf"], ready: "" },
    },
    Image {
        names: &["linnet"],
        package: "linnet (cargo build -p linnetd -p linnet)",
        folders: &["/etc/linnet", "/var/lib/linnet"],
        programs: Programs::One {
            command: "linnetd",
            arguments: &["--config", "/etc/linnet/linnetd.toml"],
            ready: "/run/linnet/linnetd.sock",
        },
    },
    Image {
        names: &["alpine", "busybox", "debian", "ubuntu", "network-multitool", "netshoot", "iperf"],
        package: "",
        folders: &[],
        programs: Programs::None,
    },
];

/// FRR's daemons that its file `daemons` turns on or off. zebra and staticd always run.
const FRR_DAEMONS: &[&str] = &[
    "bgpd", "ospfd", "ospf6d", "ripd", "ripngd", "isisd", "pimd", "ldpd", "nhrpd", "eigrpd", "babeld", "pbrd", "bfdd",
    "fabricd", "vrrpd", "pathd",
];

/// Why a node cannot run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// Nobody knows what the image would run.
    #[error(
        "node {node}: nothing stands in for image `{image}`; known are {known}; \
         name one of these, or say with `entrypoint` which of Debian's programs to run"
    )]
    UnknownImage {
        /// The node.
        node: String,
        /// Its image.
        image: String,
        /// What there is.
        known: String,
    },
    /// The file `daemons` of an FRR node cannot be read.
    #[error("node {node}: {path}: {reason}; FRR's daemons cannot be chosen; bind a readable file to /etc/frr/daemons")]
    Daemons {
        /// The node.
        node: String,
        /// On the host.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
}

/// `quay.io/frrouting/frr:8.4.1` is called `frr`.
fn repository(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last)
}

/// The entry for an image's name.
fn image(name: &str) -> Option<&'static Image> {
    let name = repository(name);
    IMAGES
        .iter()
        .find(|image| image.names.iter().any(|start| name.strip_prefix("docker-").unwrap_or(name).starts_with(start)))
}

/// The Debian package to install for a program that is not there.
#[must_use]
pub fn package(image_name: &str) -> Option<&'static str> {
    image(image_name).map(|image| image.package).filter(|package| !package.is_empty())
}

/// What runs in `node`.
///
/// # Errors
/// When nothing is known of its image and it does not say itself what to run.
pub fn plan(node: &Node) -> Result<Plan, NoPlan> {
    let image = image(&node.image);
    let folders = image.map(|image| image.folders.to_vec()).unwrap_or_default();
    if let Some(entrypoint) = &node.entrypoint {
        let command: Vec<_> = entrypoint.iter().chain(node.cmd.iter().flatten()).cloned().collect();
        return Ok(Plan { folders, programs: vec![program(command, "")], ..Plan::default() });
    }
    let Some(image) = image else {
        let known: Vec<_> = IMAGES.iter().flat_map(|image| image.names).copied().collect();
        let (node, image) = (node.name.clone(), node.image.clone());
        return Err(NoPlan::UnknownImage { node, image, known: known.join(", ") });
    };
    let mut plan = Plan { folders, ..Plan::default() };
    match &image.programs {
        Programs::None => plan.programs.extend(node.cmd.clone().map(|command| program(command, ""))),
        Programs::One { command, arguments, ready } => {
            // Some images have the program as entry point, some as the first word of their command.
            let given = node.cmd.clone().unwrap_or_else(|| arguments.iter().map(|&a| a.to_owned()).collect());
            let named =
                given.first().is_some_and(|word| Path::new(word).file_name().is_some_and(|name| name == *command));
            let first = (!named).then(|| (*command).to_owned());
            plan.programs.push(program(first.into_iter().chain(given).collect(), ready));
        }
        Programs::Frr => {
            let chosen = frr_daemons(node)?;
            let always = ["zebra", "staticd"].map(|name| (name.to_owned(), String::new()));
            for (name, modules) in always.into_iter().chain(chosen) {
                let command = format!("/usr/lib/frr/{name} --log stdout{modules}");
                let ready = format!("/run/frr/{name}.vty");
                plan.programs.push(program(command.split(' ').map(str::to_owned).collect(), &ready));
            }
            // Debian's daemons run as the user frr, whom the package made.
            plan.first.push(["chown", "frr:frr", "/run/frr"].map(str::to_owned).to_vec());
            plan.then.push(vec!["vtysh".to_owned(), "-b".to_owned()]);
        }
        Programs::OpenBgpd => {
            let copy = "install -m 600 /etc/bgpd/bgpd.conf /run/openbgpd/bgpd.conf";
            plan.first.push(copy.split(' ').map(str::to_owned).collect());
            let command = "bgpd -d -f /run/openbgpd/bgpd.conf";
            plan.programs.push(program(command.split(' ').map(str::to_owned).collect(), "/run/openbgpd/bgpd.sock.0"));
        }
    }
    Ok(plan)
}

fn program(command: Vec<String>, ready: &str) -> Program {
    let path = Path::new(command.first().map_or("", String::as_str));
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Program { name, command, ready: (!ready.is_empty()).then(|| PathBuf::from(ready)) }
}

/// The daemons that the node's bound file `daemons` turns on, with the modules that their options there load (` -M rpki`);
/// without the file, bgpd.
fn frr_daemons(node: &Node) -> Result<Vec<(String, String)>, NoPlan> {
    let target = Path::new("/etc/frr/daemons");
    let source = node.binds.iter().rev().find_map(|bind| {
        let rest = target.strip_prefix(&bind.target).ok()?;
        Some(if rest.as_os_str().is_empty() { bind.source.clone() } else { bind.source.join(rest) })
    });
    let Some(path) = source else { return Ok(vec![("bgpd".to_owned(), String::new())]) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let reason = error.to_string();
        NoPlan::Daemons { node: node.name.clone(), path, reason }
    })?;
    let on = text.lines().filter_map(|line| line.split_once('=')).filter(|(_, value)| value.trim().starts_with("yes"));
    let on: Vec<_> = on.map(|(name, _)| name.trim()).collect();
    let modules = |daemon: &str| -> String {
        let options = text.lines().find_map(|line| line.trim().strip_prefix(daemon)?.strip_prefix("_options="));
        let words: Vec<_> = options.unwrap_or_default().trim_matches(['"', '\'']).split_whitespace().collect();
        words.windows(2).filter(|pair| pair[0] == "-M").map(|pair| format!(" -M {}", pair[1])).collect()
    };
    let chosen = FRR_DAEMONS.iter().filter(|name| on.contains(name));
    Ok(chosen.map(|&name| (name.to_owned(), modules(name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    fn node(yaml: &str) -> Node {
        let text = format!("name: x\ntopology:\n  nodes:\n    n: {yaml}\n");
        Topology::parse("x", Path::new("/"), &text).unwrap().nodes.remove(0)
    }

    #[test]
    fn an_image_is_known_by_its_repository_whatever_its_registry_and_tag() {
        let cases = [
            ("quay.io/frrouting/frr:8.4.1", Some("frr")),
            ("pierky/bird:2.0.12", Some("bird2")),
            ("akafeng/docker-bird@sha256:00", Some("bird2")),
            ("localhost:5000/jauderho/gobgp", Some("gobgpd")),
            ("openbgpd/openbgpd:7.7", Some("openbgpd")),
            ("debian:12", None),
            ("ghcr.io/nokia/srlinux", None),
        ];
        let got = cases.map(|(name, _)| (name, package(name)));
        assert_eq!(got, cases);
    }

    #[test]
    fn an_unknown_image_is_named_with_what_is_known() {
        let error = plan(&node("{kind: linux, image: ghcr.io/nokia/srlinux}")).unwrap_err();
        assert!(error.to_string().contains("`ghcr.io/nokia/srlinux`; known are frr, bird"), "{error}");
    }

    #[test]
    fn an_entry_point_takes_the_place_of_what_the_image_would_run() {
        let plan = plan(&node("{kind: linux, image: some/gobgp, entrypoint: gobgpd, cmd: -f /x}")).unwrap();
        assert_eq!(
            plan.programs,
            [Program { name: "gobgpd".into(), command: vec!["gobgpd".into(), "-f".into(), "/x".into()], ready: None }]
        );
    }

    #[test]
    fn a_command_may_or_may_not_begin_with_the_program() {
        for command in ["gobgpd -f /x", "-f /x"] {
            let plan = plan(&node(&format!("{{kind: linux, image: gobgp, cmd: '{command}'}}"))).unwrap();
            assert_eq!(plan.programs[0].command, ["gobgpd", "-f", "/x"]);
        }
    }

    #[test]
    fn frr_without_a_file_daemons_runs_zebra_staticd_and_bgpd() {
        let plan = plan(&node("{kind: linux, image: frr}")).unwrap();
        let names: Vec<_> = plan.programs.iter().map(|program| program.name.as_str()).collect();
        assert_eq!(names, ["zebra", "staticd", "bgpd"]);
    }
}
