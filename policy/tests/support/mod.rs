//! A host with pods, made of network namespaces that belong to threads: they end with the test, whatever happens.
//!
//! ```text
//!  pod 10.244.0.N, fd00:244::N --- linN [host 192.0.2.1] eth0 --- [outside 192.0.2.2, 192.0.2.3]
//! ```

// unshare(2) changes the calling thread alone, and each of these threads exists for that.
#![allow(unsafe_code)]
// All of it is test code: a panic is a verdict.
#![allow(clippy::unwrap_used, unreachable_pub)]
// Each test binary uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use policy::{Endpoint, Policy, PolicyConfig, PolicyError};

/// How long anything that must come true may take.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// How long is waited for a packet that must not come.
const SILENCE: Duration = Duration::from_millis(300);

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, that runs what it is handed. The namespace ends with its last thread.
pub struct Namespace {
    jobs: mpsc::Sender<Job>,
    thread: i32,
}

impl Namespace {
    pub fn new() -> Namespace {
        let (jobs, received) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        thread::spawn(move || {
            // SAFETY: a network namespace is per thread, and nothing in this thread has used the old one.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
                .expect("these tests need root");
            run("ip link set lo up");
            // Link-local addresses at once, without the second that finding duplicates takes.
            fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/accept_dad", "0").unwrap();
            ready.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            for job in received {
                job();
            }
        });
        Namespace { jobs, thread: started.recv().unwrap() }
    }

    /// Runs a closure in the namespace, and waits for it. Threads that it starts are in the namespace too.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (reply, outcome) = mpsc::channel();
        self.jobs
            .send(Box::new(move || {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                _ = reply.send(result);
            }))
            .unwrap();
        match outcome.recv().unwrap() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a command line; it must succeed. Returns what it printed.
    pub fn sh(&self, command: &str) -> String {
        let command = command.to_owned();
        self.run(move || run(&command))
    }

    /// Starts a server that answers every TCP connection and every datagram on `port` with its own words.
    pub fn serve(&self, port: u16) {
        self.run(move || {
            // Both families: Linux maps IPv4 into an IPv6 socket.
            let listener = TcpListener::bind(("::", port)).unwrap();
            let socket = UdpSocket::bind(("::", port)).unwrap();
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    thread::spawn(move || echo(stream));
                }
            });
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    _ = socket.send_to(&buffer[..length], from);
                }
            });
        });
    }

    /// An open TCP connection with an answer received, if there is a way; refused counts as none.
    pub fn connect(&self, to: &str, port: u16) -> Option<TcpStream> {
        let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), port);
        self.run(move || {
            let stream = match TcpStream::connect_timeout(&to, SILENCE) {
                Ok(stream) => stream,
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => return None,
                Err(error) => panic!("connecting to {to} failed in a way that no policy makes: {error}"),
            };
            stream.set_read_timeout(Some(SILENCE)).unwrap();
            answers(&stream).then_some(stream)
        })
    }

    /// A connection that there must be.
    pub fn connect_in_time(&self, to: &str, port: u16) -> TcpStream {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(stream) = self.connect(to, port) {
                return stream;
            }
            assert!(Instant::now() < deadline, "no connection to {to} {port}");
        }
    }

    /// Whether one attempt gets through: for what must not.
    pub fn tcp(&self, to: &str, port: u16) -> bool {
        self.connect(to, port).is_some()
    }

    /// Whether an attempt gets through before the deadline: for what must, on a machine that may be busy.
    pub fn reaches_tcp(&self, to: &str, port: u16) -> bool {
        in_time(|| self.tcp(to, port))
    }

    /// Likewise by datagrams.
    pub fn reaches_udp(&self, to: &str, port: u16) -> bool {
        in_time(|| self.udp(to, port))
    }

    /// Whether a datagram is answered, at once: for what must not be.
    pub fn udp(&self, to: &str, port: u16) -> bool {
        let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), port);
        self.run(move || {
            let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
            let socket = UdpSocket::bind((any, 0)).unwrap();
            socket.set_read_timeout(Some(SILENCE)).unwrap();
            socket.send_to(b"?", to).unwrap();
            socket.recv_from(&mut [0; 8]).is_ok()
        })
    }
}

fn in_time(attempt: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if attempt() {
            return true;
        }
    }
    false
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Whether the other end still answers on an open connection.
pub fn answers(stream: &TcpStream) -> bool {
    let mut stream = stream;
    stream.write_all(b"?").is_ok() && matches!(stream.read(&mut [0; 8]), Ok(1..))
}

fn run(command: &str) -> String {
    let output = Command::new("sh").arg("-ec").arg(command).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}\n{out}{err}");
    out.into_owned()
}

/// A host, its pods, and the world outside.
pub struct Host {
    pub namespace: Namespace,
    pub outside: Namespace,
    pub pods: Vec<Namespace>,
    pub endpoints: Vec<Endpoint>,
    pub directory: PathBuf,
    runtime: Arc<tokio::runtime::Runtime>,
    policy: Option<Policy>,
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Host {
    /// `pods`: the labels of each, `app=web,tier=front`; all are in namespace `default`, called `pod1`, `pod2`, ...
    pub fn new(pods: &[&str]) -> Host {
        let namespace = Namespace::new();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("linnet-policy-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let outside = Namespace::new();
        namespace.run(|| {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        namespace.sh(&format!(
            "ip link add eth0 type veth peer name eth0 netns {outside}
             ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad; ip link set eth0 up",
            outside = outside.thread
        ));
        outside.sh("ip addr add 192.0.2.2/24 dev eth0; ip addr add 192.0.2.3/24 dev eth0
             ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up
             ip route add 10.244.0.0/16 via 192.0.2.1; ip -6 route add fd00:244::/64 via 2001:db8::1");
        // Made and entered in the namespace alone, so that all its threads are in it, and the nft that they start.
        let runtime = namespace.run(|| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map(Arc::new).unwrap()
        });
        let mut host =
            Host { namespace, outside, pods: Vec::new(), endpoints: Vec::new(), directory, runtime, policy: None };
        for labels in pods {
            host.add_pod(labels);
        }
        host
    }

    /// Wires one more pod, and adds it to `endpoints` without telling anyone.
    pub fn add_pod(&mut self, labels: &str) {
        let pod = Namespace::new();
        let n = self.pods.len() + 1;
        let tid = pod.thread;
        self.namespace.sh(&format!(
            "ip link add lin{n} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {tid}
             ip link set lin{n} up; ip route add 10.244.0.{n} dev lin{n}; ip -6 route add fd00:244::{n} dev lin{n}"
        ));
        pod.sh(&format!(
            "ip addr add 10.244.0.{n}/32 dev eth0; ip addr add fd00:244::{n}/128 dev eth0 nodad; ip link set eth0 up
             ip neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent
             ip neigh add fe80::1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent
             ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1
             ip -6 route add default via fe80::1 dev eth0"
        ));
        self.pods.push(pod);
        let labels: BTreeMap<String, String> = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        self.endpoints.push(Endpoint {
            namespace: "default".into(),
            name: format!("pod{n}"),
            labels,
            interface: format!("lin{n}"),
            addresses: vec![format!("10.244.0.{n}").parse().unwrap(), format!("fd00:244::{n}").parse().unwrap()],
        });
    }

    /// Writes a document as an editor does: beside it, then renamed over.
    pub fn write(&self, name: &str, text: &str) {
        let temporary = self.directory.join(format!(".{name}.tmp"));
        fs::write(&temporary, text).unwrap();
        fs::rename(&temporary, self.directory.join(name)).unwrap();
    }

    pub fn start(&mut self, default: policy::Default) {
        let config = PolicyConfig { directory: self.directory.clone(), default };
        let (runtime, endpoints) = (self.runtime.clone(), self.endpoints.clone());
        let started = self.namespace.run(move || runtime.block_on(Policy::start(config, endpoints)));
        self.policy = Some(started.unwrap());
    }

    /// Something asked of the running room.
    pub fn ask<T: Send + 'static>(&self, question: impl AsyncFnOnce(Policy) -> T + Send + 'static) -> T {
        let (runtime, policy) = (self.runtime.clone(), self.policy.clone().unwrap());
        self.namespace.run(move || runtime.block_on(question(policy)))
    }

    /// Hands the room what `endpoints` holds now.
    pub fn set_endpoints(&self) -> Result<(), PolicyError> {
        let endpoints = self.endpoints.clone();
        self.ask(async |policy| policy.set_endpoints(endpoints).await)
    }

    pub fn status(&self) -> policy::Status {
        self.ask(async |policy| policy.status().await)
    }

    /// Waits until the status is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&policy::Status) -> bool) -> policy::Status {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "not seen in time: {what}\n{status:#?}\n{}",
                self.namespace.sh("nft list ruleset")
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The state that the next reading of the folder leaves in force, once `file` is among the documents from `line`.
    pub fn until_in_force(&self, file: &str, line: u32) {
        self.until(&format!("{file}:{line} in force"), |status| {
            status.state == policy::State::InForce
                && status.documents.iter().any(|document| document.file == file && document.line == line)
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.namespace.sh("nft list ruleset; ip -br addr; ip route; ip -6 route"));
        }
        _ = fs::remove_dir_all(&self.directory);
    }
}
