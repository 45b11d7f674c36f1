//! The runner itself, on real namespaces and real routers. Needs root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use topology_tests::lab::{self, Lab, LabError, Options, Process};
use topology_tests::poll::poll;

const DEADLINE: Duration = Duration::from_secs(60);

/// A topology file of a test's own, gone with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, topology: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}.clab.yml", std::process::id()));
        std::fs::write(&path, format!("name: {name}\ntopology:\n{topology}"))
            .expect("the test's folder can be written");
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Two nodes on a cable, or on a bridge, 10.0.0.1 and 10.0.0.2.
const PAIR: &str = "  nodes:
    a: {kind: linux, image: debian, exec: [ip address add 10.0.0.1/24 dev eth1]}
    b: {kind: linux, image: debian, exec: [ip address add 10.0.0.2/24 dev eth1]}
  links:
  - endpoints: ['a:eth1', 'b:eth1']
";

fn labs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("labs")
}

/// Every process in the namespaces of a lab. A namespace lives as long as a process in it, unless it is mounted.
fn processes_of(lab: &str) -> Vec<Process> {
    let entry = lab::find(lab).expect("labs can be listed").pop().expect("the lab is registered");
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let ours: Vec<_> = entry.rooms.iter().filter_map(|room| network(&room.process.pid.to_string())).collect();
    let all = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let all = all.filter_map(|process| process.file_name().into_string().ok());
    all.filter(|pid| network(pid).is_some_and(|n| ours.contains(&n)))
        .filter_map(|pid| Process::of(pid.parse().ok()?))
        .collect()
}

fn wait_until_gone(lab: &str, processes: &[Process]) {
    poll("the lab to leave nothing", DEADLINE, || {
        let left: Vec<_> = processes.iter().filter(|process| process.lives()).collect();
        let folder = Path::new(lab::ROOT).join(lab);
        match (left.is_empty(), folder.exists()) {
            (true, false) => Ok(()),
            (false, _) => Err(format!("processes {left:?}")),
            (_, true) => Err(format!("{} is there", folder.display())),
        }
    })
    .expect("the lab ends");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
    assert!(!mounts.contains(lab), "{mounts}");
}

#[test]
fn two_labs_of_one_file_run_side_by_side_and_do_not_meet() {
    let file = File::new("side-by-side", PAIR);
    let (one, two) = (Lab::up(&file.0, &Options::default()).unwrap(), Lab::up(&file.0, &Options::default()).unwrap());
    for lab in [&one, &two] {
        let ping = lab.node("a").unwrap().exec(&["ping", "-c1", "-W2", "10.0.0.2"]).unwrap();
        assert!(ping.ok(), "{ping:?}");
    }
    // The address of one lab's node goes; the other's must not answer in its place.
    one.node("b").unwrap().shell("ip address del 10.0.0.2/24 dev eth1").unwrap();
    let ping = one.node("a").unwrap().exec(&["ping", "-c1", "-W1", "10.0.0.2"]).unwrap();
    assert!(!ping.ok(), "{ping:?}");
}

#[test]
fn a_lab_that_is_dropped_leaves_nothing() {
    let file = File::new("dropped", PAIR);
    let lab = Lab::up(&file.0, &Options::default()).unwrap();
    let (name, processes) = (lab.name().to_owned(), processes_of(lab.name()));
    // unshare, which holds the other end, and process 1, of two nodes each.
    assert_eq!(processes.len(), 4, "{processes:?}");
    drop(lab);
    wait_until_gone(&name, &processes);
}

#[test]
fn a_lab_whose_runner_is_killed_leaves_nothing() {
    for signal in ["KILL", "INT", "TERM"] {
        let file = File::new(&format!("killed-{}", signal.to_lowercase()), PAIR);
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.arg("up").arg("--foreground").arg(&file.0).stdout(Stdio::null());
        let mut runner = command.spawn().unwrap();
        let started = format!("-{:x}-", runner.id());
        let name = poll("the lab to be registered", DEADLINE, || {
            let labs = lab::list().map_err(|error| error.to_string())?;
            let ours = labs.into_iter().map(|entry| entry.lab).find(|name| name.contains(&started));
            ours.ok_or_else(|| "no such lab".to_owned())
        })
        .unwrap();
        let processes = processes_of(&name);
        assert!(!processes.is_empty());
        assert!(Command::new("kill").args(["-s", signal, &runner.id().to_string()]).status().unwrap().success());
        runner.wait().unwrap();
        wait_until_gone(&name, &processes);
    }
}

#[test]
fn a_lab_that_is_kept_outlives_its_runner_and_ends_when_told() {
    let file = File::new("kept", PAIR);
    let lab = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (status, said) = lab(&["up", &file.0.display().to_string()]);
    assert_eq!(status, Some(0), "{said}");
    let name = said.split_whitespace().nth(1).unwrap().to_owned();
    let processes = processes_of(&name);
    let (status, said) = lab(&["exec", "--lab", &name, "a", "--", "ping", "-c1", "-W2", "10.0.0.2"]);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = lab(&["exec", "--lab", &name, "a", "--", "sh", "-c", "exit 7"]);
    assert_eq!(status, Some(7), "{said}");
    let (status, said) = lab(&["down", &name]);
    assert_eq!(status, Some(0), "{said}");
    wait_until_gone(&name, &processes);
}

#[test]
fn what_a_node_writes_to_its_etc_var_and_run_stays_in_the_node() {
    let file = File::new("private", PAIR);
    let lab = Lab::up(&file.0, &Options::default()).unwrap();
    let name = format!("linnet-lab-test-{}", std::process::id());
    for folder in ["/etc", "/var/lib", "/run", "/opt"] {
        let path = format!("{folder}/{name}");
        lab.node("a").unwrap().shell(&format!("echo x > {path}")).unwrap();
        assert!(!Path::new(&path).exists(), "{path} is on the host");
        let seen = lab.node("b").unwrap().exec(&["test", "-e", &path]).unwrap();
        assert!(!seen.ok(), "{path} of one node is in the other");
    }
    assert_eq!(lab.node("a").unwrap().shell("hostname").unwrap().trim(), "a");
}

#[test]
fn nodes_on_a_bridge_reach_each_other_and_the_host_has_no_such_bridge() {
    let topology = "  nodes:
    br-test: {kind: bridge}
    a: {kind: linux, image: debian, exec: [ip address add 10.0.0.1/24 dev eth1]}
    b: {kind: linux, image: debian, exec: [ip address add 10.0.0.2/24 dev eth1]}
  links:
  - endpoints: ['a:eth1', 'br-test:p1']
  - endpoints: ['b:eth1', 'br-test:p2']
";
    let file = File::new("bridged", topology);
    let lab = Lab::up(&file.0, &Options::default()).unwrap();
    lab.poll("a ping over the bridge", DEADLINE, || {
        let ping = lab.node("a").unwrap().exec(&["ping", "-c1", "-W1", "10.0.0.2"]).unwrap();
        if ping.ok() { Ok(()) } else { Err(ping.stdout) }
    })
    .unwrap();
    assert!(!Path::new("/sys/class/net/br-test").exists());
}

#[test]
fn a_command_of_exec_that_fails_is_named_and_ends_the_lab() {
    let topology = PAIR.replace("ip address add 10.0.0.2/24 dev eth1", "ip address add 10.0.0.2/24 dev eth9");
    let file = File::new("failing", &topology);
    let error = Lab::up(&file.0, &Options { keep: true, ..Options::default() }).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("b: ip address add 10.0.0.2/24 dev eth9") && said.contains("Cannot find device"), "{said}");
    assert_eq!(lab::find("failing").unwrap(), []);
}

#[test]
fn a_bind_that_would_leave_something_on_the_host_is_refused() {
    let cases = [
        ("/nowhere/at/all:/etc/x", "the source does not exist"),
        ("/etc/hostname:/nowhere/x", "the target would have to be made on this host"),
    ];
    for (bind, wanted) in cases {
        let topology = format!("  nodes:\n    a: {{kind: linux, image: debian, binds: ['{bind}']}}\n");
        let file = File::new("bind", &topology);
        let said = Lab::up(&file.0, &Options::default()).unwrap_err().to_string();
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn bird_frr_and_gobgp_of_debian_learn_each_others_routes() -> Result<(), LabError> {
    let lab = Lab::up(&labs().join("triangle.clab.yml"), &Options::default())?;
    let cases = [
        ("gobgp", "gobgp global rib", vec!["192.0.2.0/24", "198.51.100.0/24"]),
        ("bird", "ip route", vec!["198.51.100.0/24 via 10.0.1.2"]),
        ("frr", "ip route", vec!["192.0.2.0/24 nhid"]),
    ];
    for (node, command, wanted) in cases {
        lab.poll(&format!("the routes of {node}"), DEADLINE, || {
            let said = lab.node(node).and_then(|node| node.shell(command)).map_err(|error| error.to_string())?;
            if wanted.iter().all(|route| said.contains(route)) { Ok(()) } else { Err(said) }
        })?;
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_can_be_started_again() -> Result<(), LabError> {
    let lab = Lab::up(&labs().join("triangle.clab.yml"), &Options::default())?;
    let bird = lab.node("bird")?;
    let first = bird.pid("bird").expect("bird runs");
    bird.signal("bird", "KILL")?;
    assert_eq!(bird.pid("bird"), None);
    bird.start("bird")?;
    assert_ne!(bird.pid("bird").expect("bird runs again"), first);
    Ok(())
}

#[test]
fn the_links_of_a_node_can_be_pulled_and_put_back() {
    let file = File::new("pulled", PAIR);
    let lab = Lab::up(&file.0, &Options::default()).unwrap();
    let carrier = || lab.node("a").unwrap().shell("ip -brief link show eth1").unwrap();
    lab.node("b").unwrap().link("eth1", false).unwrap();
    lab.poll(
        "the loss of carrier",
        DEADLINE,
        || if carrier().contains("NO-CARRIER") { Ok(()) } else { Err(carrier()) },
    )
    .unwrap();
    lab.node("b").unwrap().link("eth1", true).unwrap();
    lab.poll("the carrier", DEADLINE, || if carrier().contains("LOWER_UP") { Ok(()) } else { Err(carrier()) }).unwrap();
}
