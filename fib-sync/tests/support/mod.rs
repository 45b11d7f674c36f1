//! A network namespace for a test, and words for what to do and expect in it.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::expect_used)]

use std::{
    process::Command,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::RecvTimeoutError,
    },
    time::{Duration, Instant},
};

use fib_sync::{Change, Fib, FibConfig, FibEvent, Hop, Path, PathId, RouteStatus, Target};
use ipnetwork::IpNetwork;
use nix::sched::{CloneFlags, unshare};
use tokio::sync::mpsc::Receiver;

pub mod chance;
pub mod meddler;
pub mod memory;
pub mod node;
mod shown;
pub mod stream;

pub use shown::without_objects;

pub const CONFIG: FibConfig = FibConfig { table: 254, metric: 76, next_hop_objects: true };

/// Runs a test in a new network namespace, with `lo` up. The namespace lives as long as the thread that entered it
/// and those that come from it: nothing is left behind, however the test ends.
pub fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: run the tests as root");
        ip("link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a program in the thread's namespace and returns what it printed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{program} {}: {}{}", arguments.join(" "), text(&output.stdout), text(&output.stderr)))
    }
}

/// `ip`, with arguments as one types them. What it prints, without the numbers of next-hop objects.
pub fn ip(arguments: &str) -> String {
    without_objects(&run("ip", &arguments.split_whitespace().collect::<Vec<_>>()).expect("ip"))
}

/// An IPv6 route by a group is shown like a multipath route, also where the group has one hop.
fn with_one_hop_inside(lines: Vec<String>) -> Vec<String> {
    let is_hop = |line: Option<&String>| line.is_some_and(|line| line.starts_with("nexthop "));
    let mut shown: Vec<String> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let alone = number > 0 && !is_hop(lines.get(number - 1)) && !is_hop(lines.get(number + 1));
        match (line.strip_prefix("nexthop ").filter(|_| alone), shown.last_mut()) {
            (Some(hop), Some(route)) => {
                let hop = hop.trim_end_matches(" weight 1");
                *route = route.replacen(' ', &format!(" {hop} "), 1);
            }
            _ => shown.push(line.clone()),
        }
    }
    shown
}

pub fn bridge(arguments: &str) -> String {
    run("bridge", &arguments.split_whitespace().collect::<Vec<_>>()).expect("bridge")
}

/// A link to a router: `NAME`, with `ADDRESS`, and its other end `NAME-peer`, both up.
pub fn link(name: &str, addresses: &[&str]) {
    ip(&format!("link add {name} type veth peer name {name}-peer"));
    for end in [name.to_owned(), format!("{name}-peer")] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/accept_dad"), "0").expect("no duplicate detection");
        ip(&format!("link set {end} up"));
    }
    for address in addresses {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        ip(&format!("addr add {address} dev {name} {nodad}"));
    }
    // The kernel tells of the carrier a moment later, and who reads the link before that goes without it.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !ip(&format!("link show {name}")).contains(" state UP ") {
        assert!(Instant::now() < deadline, "{name} has no carrier");
    }
}

/// An engine that writes next hops into routes, as it does on a kernel that has no objects for them.
pub async fn start_without_objects() -> (Fib, Receiver<FibEvent>) {
    Fib::start(FibConfig { next_hop_objects: false, ..CONFIG }).expect("the engine")
}

pub async fn start() -> (Fib, Receiver<FibEvent>) {
    Fib::start(CONFIG).expect("the engine")
}

/// Ends the engine, as the end of its process would: what is in the kernel stays.
pub async fn end(fib: Fib, mut events: Receiver<FibEvent>) {
    drop(fib);
    while events.recv().await.is_some() {}
}

/// A change as a test says it: a route with what it leads to.
#[derive(Clone, Debug)]
pub enum Wish {
    Put(IpNetwork, Path),
    Remove(IpNetwork),
}

pub fn put(prefix: &str, target: impl Into<Path>) -> Wish {
    Wish::Put(prefix.parse().expect("a prefix"), target.into())
}

pub fn remove(prefix: &str) -> Wish {
    Wish::Remove(prefix.parse().expect("a prefix"))
}

/// The changes of the engine's that fulfil these wishes: equal paths have equal numbers, in all of a thread's engines.
pub fn changes(wishes: Vec<Wish>) -> Vec<Change> {
    thread_local!(static PATHS: std::cell::RefCell<Vec<Path>> = const { std::cell::RefCell::new(Vec::new()) });
    let number = |path: &Path| {
        PATHS.with_borrow_mut(|paths| {
            let known = paths.iter().position(|known| known == path);
            let number = known.unwrap_or_else(|| {
                paths.push(path.clone());
                paths.len() - 1
            });
            PathId(number as u32)
        })
    };
    let mut changes = Vec::new();
    for wish in wishes {
        match wish {
            Wish::Put(prefix, path) => {
                let id = number(&path);
                changes.push(Change::Path(id, Some(path)));
                changes.push(Change::Put(prefix, id));
            }
            Wish::Remove(prefix) => changes.push(Change::Remove(prefix)),
        }
    }
    changes
}

/// Tells an engine what a test wants.
#[allow(async_fn_in_trait)]
pub trait Wishes {
    async fn wish(&self, wishes: Vec<Wish>);
}

impl Wishes for Fib {
    async fn wish(&self, wishes: Vec<Wish>) {
        self.change(changes(wishes)).await;
    }
}

pub fn via(gateways: &[&str]) -> Target {
    let hop = |via: &&str| Hop::Direct { via: via.parse().expect("an address"), device: None, onlink: false };
    Target::Forward(gateways.iter().map(hop).collect())
}

/// Linnet's routes as `ip` shows them, a line each (a hop of a multipath route has one of its own).
pub fn routes() -> Vec<String> {
    let mut lines = Vec::new();
    for family in ["-4", "-6"] {
        let shown = ip(&format!("{family} route show table all proto 76"));
        lines.extend(shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    with_one_hop_inside(lines)
}

/// Everything that is not Linnet's: routes and devices.
pub fn foreign() -> String {
    let all = ["-4", "-6"].map(|family| ip(&format!("-o {family} route show table all")));
    let mut lines: Vec<String> = all.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    // The kernel's own routes come and go with the state of links, which it changes in its own time.
    lines.retain(|line| !line.contains("proto 76") && !line.contains("linnet.") && !line.contains("proto kernel"));
    lines.extend(devices().into_iter().filter(|name| !name.contains("linnet.")));
    lines.join("\n")
}

/// Number and name of each device. Not its state, which the kernel changes in its own time.
pub fn devices() -> Vec<String> {
    let shown = ip("-o link show");
    shown.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// How long things may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; after twenty seconds says what there is.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: it did not come to that; routes:\n{}", routes().join("\n"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the engine says of its routes what it should, and returns that; after twenty seconds says what it does say.
pub async fn until_status(what: &str, fib: &Fib, mut wanted: impl FnMut(&[RouteStatus]) -> bool) -> Vec<RouteStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = fib.status().await;
        if wanted(&status) {
            return status;
        }
        let shown = || format!("{status:#?}; routes:\n{}", routes().join("\n"));
        assert!(Instant::now() < deadline, "{what}: it did not come to that: {}", shown());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The next event that `pick` wants.
pub async fn event<T>(events: &mut Receiver<FibEvent>, mut pick: impl FnMut(FibEvent) -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = pick(events.recv().await.expect("the engine lives")) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.expect("an event within 5 seconds")
}

/// `ip monitor route`, listening.
pub struct RouteMonitor {
    child: std::process::Child,
    reader: Option<std::thread::JoinHandle<()>>,
    heard: std::sync::Arc<std::sync::Mutex<String>>,
}

impl RouteMonitor {
    /// Starts it and waits until it hears a route that has nothing to do with the test.
    pub async fn start() -> RouteMonitor {
        use std::io::BufRead;
        let mut child = Command::new("ip")
            // Room for what a storm makes, so that nothing goes by unheard.
            .args(["-rcvbuf", "67108864", "monitor", "route"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("ip monitor");
        let heard = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (lines, text) = (std::io::BufReader::new(child.stdout.take().expect("its output")), heard.clone());
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut text = text.lock().expect("no panic");
                text.push_str(&line);
                text.push('\n');
            }
        });
        let monitor = RouteMonitor { child, reader: Some(reader), heard };
        until("ip monitor listens", || {
            ip("route replace unreachable 192.0.2.0/24");
            ip("route del unreachable 192.0.2.0/24");
            monitor.heard.lock().expect("no panic").contains("192.0.2.0/24")
        })
        .await;
        monitor
    }

    /// Ends it; returns what it heard.
    pub fn stop(mut self) -> String {
        // What the kernel announced before this is heard before this: one more route marks the end.
        ip("route replace unreachable 198.51.100.0/24");
        ip("route del unreachable 198.51.100.0/24");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.heard.lock().expect("no panic").contains("198.51.100.0/24") {
            assert!(Instant::now() < deadline, "ip monitor went deaf");
            std::thread::yield_now();
        }
        self.end();
        self.heard.lock().expect("no panic").clone()
    }
}

impl RouteMonitor {
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for RouteMonitor {
    /// A test that fails must not leave it behind.
    fn drop(&mut self) {
        self.end();
    }
}

/// How long one piece of work in another namespace may take, also in a virtual machine.
const WORK: Duration = Duration::from_secs(120);

/// One more network namespace: a thread that lives in it and does there what it is told.
pub struct Other {
    work: Option<std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>>,
    thread: Option<std::thread::JoinHandle<()>>,
    path: std::path::PathBuf,
    /// Some work has not ended in time, and may never end.
    stuck: AtomicBool,
}

impl Other {
    pub fn new() -> Other {
        let (work, todo) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace: run the tests as root");
            ip("link set lo up");
            // Its worker comes from this thread and so lives in the namespace, too.
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
            let _entered = runtime.enter();
            let own = std::fs::read_link("/proc/thread-self").expect("a thread's own folder");
            tell.send(std::path::Path::new("/proc").join(own).join("ns/net")).expect("somebody to tell");
            todo.iter().for_each(|work| work());
        });
        let path = told.recv().expect("the namespace");
        Other { work: Some(work), thread: Some(thread), path, stuck: AtomicBool::new(false) }
    }

    /// Its path.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Moves a device there.
    pub fn take(&self, device: &str) {
        // `ip` takes a file as a namespace only by way of its own folder; a process's number will do, and a thread is one.
        let number = self.path.components().nth(4).expect("/proc/PID/task/TID").as_os_str().to_owned();
        ip(&format!("link set {device} netns {}", number.to_string_lossy()));
    }

    /// Does work there.
    #[track_caller]
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = std::sync::mpsc::channel();
        let work: Box<dyn FnOnce() + Send> = Box::new(move || {
            let _ = tell.send(work());
        });
        self.work.as_ref().expect("a thread").send(work).expect("a thread that lives");
        match told.recv_timeout(WORK) {
            Ok(done) => done,
            Err(RecvTimeoutError::Disconnected) => panic!("what was done in a namespace ended in a panic"),
            Err(RecvTimeoutError::Timeout) => {
                self.stuck.store(true, Ordering::Relaxed);
                panic!("what is done in a namespace has not ended for {WORK:?}\n{}", self.state())
            }
        }
    }

    /// What there is, for a person. Asked from outside: its own thread may be stuck.
    pub fn state(&self) -> String {
        let inside = format!("--net={}", self.path.display());
        let asked = ["ip -s addr", "ip -4 route show table all", "ip -6 route show table all", "ip neigh", "ss -tinm"];
        let answers = asked.map(|words| {
            let arguments: Vec<&str> = std::iter::once(&*inside).chain(words.split_whitespace()).collect();
            format!("--- {words}\n{}", run("nsenter", &arguments).unwrap_or_else(|error| error))
        });
        answers.join("\n")
    }

    /// Does asynchronous work there.
    #[track_caller]
    pub fn block_on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.run(|| tokio::runtime::Handle::current().block_on(work))
    }

    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments))
    }

    /// One echo, answered within a second.
    #[track_caller]
    pub fn pings(&self, arguments: &str) -> Result<String, String> {
        let line = format!("-c 1 -W 1 {arguments}");
        self.run(move || run("ping", &line.split_whitespace().collect::<Vec<_>>()))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take().filter(|_| !self.stuck.load(Ordering::Relaxed)) {
            let _ = thread.join();
        }
    }
}
