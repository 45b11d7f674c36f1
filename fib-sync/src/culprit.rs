//! Who wrote into the kernel, as far as it tells: an announcement carries the netlink port of the request that caused it. That is
//! the port of a socket, and a process has the socket open. A program's first netlink socket mostly has its process number for
//! a port, where one look is enough; any other is looked for among the open files of all processes.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::protocol;

/// Open files that are looked at in one search.
const FILES: usize = 50_000;
/// Sockets whose owner is remembered.
const KNOWN: usize = 64;
/// Searching never takes more than one part in so many of the time.
const SEARCHES: u32 = 20;

/// What one look says of a port.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// Whose it is, or that nobody has it any more: for people, `bird (process 714)`.
    Named(Arc<str>),
    /// Nobody's whom one look finds: that of a socket with this inode.
    Of { port: u32, inode: u64 },
}

/// The owners of sockets, of which each is searched for once.
#[derive(Debug, Default)]
pub(crate) struct Culprits {
    known: HashMap<u64, Arc<str>>,
    /// No search before.
    rest: Option<Instant>,
}

impl Culprits {
    /// Looks where the owner of a port most probably is. Port 0: the kernel did not say.
    pub(crate) fn look(&self, port: u32) -> Owner {
        if port == 0 {
            return Owner::Named("an unknown program".into());
        }
        let Ok(sockets) = fs::read_to_string("/proc/thread-self/net/netlink") else {
            return Owner::Named(unknown(port));
        };
        let Some(inode) = inode(&sockets, port) else {
            return Owner::Named(
                format!("a program that has ended or has closed its socket (netlink port {port})").into(),
            );
        };
        if let Some(name) = self.known.get(&inode) {
            return Owner::Named(name.clone());
        }
        let process = Path::new("/proc").join(port.to_string());
        match holds(&process, inode, &mut FILES.clone()).then(|| name(&process)).flatten() {
            Some(name) => Owner::Named(name),
            None => Owner::Of { port, inode },
        }
    }

    /// Names it for people; searches all processes if it must, which takes tens of milliseconds where there are very many.
    pub(crate) fn name(&mut self, owner: Owner) -> Arc<str> {
        let (port, inode) = match owner {
            Owner::Named(name) => return name,
            Owner::Of { port, inode } => (port, inode),
        };
        if let Some(name) = self.known.get(&inode) {
            return name.clone();
        }
        let began = Instant::now();
        if self.rest.is_some_and(|rest| rest > began) {
            return unknown(port);
        }
        let name = search(inode).unwrap_or_else(|| unknown(port));
        self.rest = Some(began + began.elapsed().saturating_mul(SEARCHES).min(Duration::from_secs(10)));
        if self.known.len() == KNOWN {
            self.known.clear();
        }
        self.known.insert(inode, name.clone());
        name
    }
}

fn unknown(port: u32) -> Arc<str> {
    format!("an unknown program (netlink port {port})").into()
}

/// The process that has a socket open: first among those in this network namespace, then among the others, for one that moved
/// on keeps its sockets.
fn search(inode: u64) -> Option<Arc<str>> {
    let space = |process: &Path| fs::read_link(process.join("ns/net")).ok();
    let here = space(Path::new("/proc/thread-self"));
    let is_process = |path: &PathBuf| {
        path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.bytes().all(|octet| octet.is_ascii_digit()))
    };
    let all = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path()).filter(is_process);
    let (near, far): (Vec<PathBuf>, Vec<PathBuf>) = all.partition(|process| space(process) == here);
    let mut files = FILES;
    let holder = near.into_iter().chain(far).find(|process| holds(process, inode, &mut files))?;
    name(&holder)
}

/// Whether a process that may be looked at has the socket open; takes the files looked at off `files`.
fn holds(process: &Path, inode: u64, files: &mut usize) -> bool {
    let socket = format!("socket:[{inode}]");
    let Ok(open) = fs::read_dir(process.join("fd")) else { return false };
    let mut open = open.flatten().take(*files).inspect(|_| *files -= 1);
    open.any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == &*socket))
}

fn name(process: &Path) -> Option<Arc<str>> {
    let number = process.file_name()?.to_str()?;
    let name = fs::read_to_string(process.join("comm")).ok()?;
    // The name is the program's own choice.
    let name: String = name.trim().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(format!("{name} (process {number})").into())
}

/// The inode of the NETLINK_ROUTE socket (protocol 0) with this port. Columns: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
fn inode(sockets: &str, port: u32) -> Option<u64> {
    let port = port.to_string();
    sockets.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        match columns.as_slice() {
            [_, "0", number, .., inode] if **number == *port => inode.parse().ok(),
            _ => None,
        }
    })
}

/// The owner of a route, by number and name: `12 (bird)`.
pub(crate) fn protocol(number: u8) -> String {
    let (name, number) = (protocol::name(number), number.to_string());
    if name == number { number } else { format!("{number} ({name})") }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::{
        engine::support::{in_namespace, link, until},
        netlink::{Monitor, Notice, Socket},
    };

    /// A program that ends with the test, and its folder.
    struct Running(Child, PathBuf);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
            let _ = fs::remove_dir_all(&self.1);
        }
    }

    fn named(culprits: &mut Culprits, port: u32) -> Arc<str> {
        let owner = culprits.look(port);
        culprits.name(owner)
    }

    #[test]
    fn the_owner_of_a_port_is_the_process_that_holds_its_socket_whatever_the_ports_number() {
        // Nobody else takes a port there that became free.
        in_namespace(|| async {
            let mut culprits = Culprits::default();
            let one = Socket::open().expect("a socket");
            let two = Socket::open().expect("a socket");
            let own = format!("(process {})", std::process::id());
            for socket in [&one, &two] {
                culprits.rest = None;
                let name = named(&mut culprits, socket.port());
                assert!(name.ends_with(&own), "port {}: {name}", socket.port());
            }
            // No second search for a socket that is known.
            culprits.rest = Some(Instant::now() + Duration::from_secs(60));
            assert!(named(&mut culprits, two.port()).ends_with(&own));
            let closed = two.port();
            drop((one, two));
            let is_closed = |name: &str| name.contains("has closed its socket") && name.contains(&closed.to_string());
            // A program that another test is about to run has it as well, for a moment.
            until("it is closed", || is_closed(&named(&mut culprits, closed))).await;
        });
    }

    #[test]
    fn bird_which_writes_by_another_socket_than_its_first_is_named() {
        in_namespace(|| async {
            link("up1", &["10.0.1.1/24"]);
            // ipv4-route of linux/rtnetlink.h; nothing is filtered: port 0 is the kernel's own.
            let mut monitor = Monitor::listen(&[7], &crate::netlink::all_but(0), 1 << 16).expect("a listener");
            let directory = std::env::temp_dir().join(format!("linnet-culprit-{}", std::process::id()));
            fs::create_dir_all(&directory).expect("a folder");
            let file = |name: &str| directory.join(name);
            let configuration = "router id 10.0.1.1; protocol device {}\n\
                                 protocol static { ipv4; route 10.1.0.0/16 via 10.0.1.9; }\n\
                                 protocol kernel { ipv4 { export all; }; }\n";
            fs::write(file("bird.conf"), configuration).expect("its configuration");
            let mut command = Command::new("bird");
            command.arg("-f").arg("-c").arg(file("bird.conf")).arg("-s").arg(file("bird.ctl"));
            let bird = command.arg("-P").arg(file("bird.pid")).spawn().expect("BIRD is installed");
            let number = bird.id();
            let bird = Running(bird, directory.clone());
            let mut port = None;
            until("BIRD writes a route", || {
                port = monitor.hear().iter().find_map(|notice| match notice {
                    Notice::Message { port, .. } => Some(*port),
                    _ => None,
                });
                port.is_some()
            })
            .await;
            let port = port.expect("its port");
            let name = named(&mut Culprits::default(), port);
            drop(bird);
            assert_ne!(port, number);
            assert_eq!(&*name, &*format!("bird (process {number})"));
        });
    }

    #[test]
    fn searches_rest_between_each_other_and_say_so_truthfully() {
        let mut culprits = Culprits { rest: Some(Instant::now() + Duration::from_secs(60)), ..Culprits::default() };
        // No process has a file of this number.
        let owner = Owner::Of { port: 7, inode: u64::MAX };
        assert_eq!(&*culprits.name(owner.clone()), "an unknown program (netlink port 7)");
        assert!(culprits.known.is_empty(), "nobody searched");
        culprits.rest = None;
        assert_eq!(&*culprits.name(owner), "an unknown program (netlink port 7)");
        assert!(culprits.rest.is_some() && culprits.known.len() == 1);
    }

    #[test]
    fn a_socket_is_found_by_protocol_and_port() {
        let table = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                     0000000000000000 15  714        00000001 0        0        0     2        0        40\n\
                     0000000000000000 0   714        00000551 0        0        0     2        0        41\n";
        assert_eq!((inode(table, 714), inode(table, 7)), (Some(41), None));
    }
}
