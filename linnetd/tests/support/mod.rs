//! A host and a router in network namespaces of their own, the real daemon on one and BIRD on the other.

#![allow(dead_code, unreachable_pub)] // each test file uses its own part of this
#![allow(clippy::unwrap_used)] // a panic is a test's verdict, here as in the tests

#[path = "../../../fib-sync/tests/support/chance.rs"]
pub mod chance;
#[path = "../../../fib-sync/tests/support/shown.rs"]
mod shown;
#[path = "../../../fib-sync/tests/support/stream.rs"]
pub mod stream;

use std::fmt::Debug;
use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use linnet_api::bgp_client::BgpClient;
use linnet_api::endpoints_client::EndpointsClient;
use linnet_api::node_client::NodeClient;
use rustix::thread::LinkNameSpaceType;
use shown::without_objects;
use tonic::transport::{Channel, Endpoint};

/// The host's address on the link, and the router's.
pub const HOST: &str = "10.99.0.1";
pub const ROUTER: &str = "10.99.0.2";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A network namespace that goes when this does.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn new(role: &str) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lnd{}-{number}-{role}", std::process::id());
        succeed(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        namespace.run("ip link set lo up");
        namespace
    }

    /// A command in the namespace. `nsenter` becomes the command, so that its process is the child's.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Runs words without quotes and gives standard output; they must succeed.
    pub fn run(&self, words: &str) -> String {
        let mut words = words.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        without_objects(&succeed(command.args(words)))
    }

    /// Likewise; whether they succeed.
    pub fn try_run(&self, words: &str) -> Output {
        let mut words = words.split_whitespace();
        let mut command = self.command(words.next().unwrap());
        command.args(words).output().unwrap()
    }

    /// A socket that lives in the namespace.
    pub fn udp(&self, bound: SocketAddr) -> UdpSocket {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let thread = std::thread::spawn(move || {
            rustix::thread::move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            UdpSocket::bind(bound).unwrap()
        });
        thread.join().unwrap()
    }

    /// What Linnet has in the kernel here, a line each.
    pub fn linnet_state(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for words in ["ip -4 route show table all proto 76", "ip -6 route show table all proto 76", "nft list tables"] {
            lines.extend(self.run(words).lines().map(|line| line.trim().to_owned()));
        }
        for words in ["ip -4 rule show", "ip -6 rule show"] {
            lines.extend(self.run(words).lines().filter(|line| line.contains("proto 76")).map(str::to_owned));
        }
        let links = self.run("ip -br link");
        lines.extend(links.lines().filter(|line| line.starts_with("lin")).map(str::to_owned));
        lines
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A process that goes when this does.
pub struct Process(Child);

impl Process {
    pub fn signal(&self, name: &str) {
        succeed(Command::new("kill").args(["-s", name, &self.0.id().to_string()]));
    }

    /// Waits for its end.
    pub fn end(mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host wired to a router that runs BIRD.
pub struct Rack {
    pub host: Namespace,
    pub router: Namespace,
    pub directory: PathBuf,
    _bird: Process,
}

impl Rack {
    /// BIRD (AS 65001) announces 203.0.113.0/24 and takes everything into its kernel. `extra` is more of its
    /// configuration.
    pub fn new(extra: &str) -> Self {
        let host = Namespace::new("h");
        let router = Namespace::new("r");
        let directory = std::env::temp_dir().join(&host.name);
        fs::create_dir_all(&directory).unwrap();
        host.run(&format!("ip link add eth0 type veth peer name eth0 netns {}", router.name));
        host.run(&format!("ip addr add {HOST}/24 dev eth0"));
        router.run(&format!("ip addr add {ROUTER}/24 dev eth0"));
        host.run("ip link set eth0 up");
        router.run("ip link set eth0 up");
        router.run("sysctl -qw net.ipv4.ip_forward=1");
        let configuration = format!(
            r#"
router id {ROUTER};
protocol device {{}}
protocol kernel {{ ipv4 {{ export all; }}; }}
protocol static {{ ipv4; route 203.0.113.0/24 blackhole; }}
protocol bgp host {{
  local {ROUTER} as 65001;
  neighbor {HOST} as 64512;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import all; export where source = RTS_STATIC; }};
}}
{extra}
"#
        );
        let file = directory.join("bird.conf");
        fs::write(&file, configuration).unwrap();
        let mut bird = router.command("bird");
        bird.arg("-f").arg("-c").arg(&file).arg("-s").arg(directory.join("bird.ctl"));
        bird.arg("-P").arg(directory.join("bird.pid"));
        let bird = spawn(&mut bird, &directory.join("bird.log"));
        Self { host, router, directory, _bird: bird }
    }

    /// What BIRD answers.
    pub fn birdc(&self, words: &str) -> String {
        let mut command = Command::new("birdc");
        command.arg("-s").arg(self.directory.join("bird.ctl")).args(words.split_whitespace());
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    pub fn config_file(&self) -> PathBuf {
        self.directory.join("linnetd.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("run/linnetd.sock")
    }

    /// Writes the daemon's file; `extra` stands before the first section, `more` behind the last.
    pub fn configure(&self, bgp: &str, more: &str) {
        let directory = self.directory.display();
        let text = format!(
            r#"
[node]
name = "host"
address = "{HOST}"
pod-cidrs = ["10.244.1.0/24", "fd00:244:1::/64"]
[bgp]
asn = 64512
listen = ["{HOST}:179"]
{bgp}
[[bgp.filter]]
name = "all"
rules = [{{ then = "accept" }}]
[[bgp.peer]]
name = "router"
address = "{ROUTER}"
asn = 65001
connect-retry = 1
import = "all"
export = "all"
[policy]
directory = "{directory}/policy.d"
[api]
socket = "{directory}/run/linnetd.sock"
[state]
directory = "{directory}/state"
{more}
"#
        );
        fs::write(self.config_file(), text).unwrap();
    }

    /// Starts the daemon on the host; it answers when this returns.
    pub fn start(&self) -> Process {
        let process = self.launch();
        self.until("linnetd answers", || std::os::unix::net::UnixStream::connect(self.socket()).is_ok().then_some(()));
        process
    }

    /// Starts the daemon on the host and does not wait for it.
    pub fn launch(&self) -> Process {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_linnetd"));
        command.arg("--config").arg(self.config_file()).args(["--log", "info,linnetd=debug"]);
        spawn(&mut command, &self.directory.join("linnetd.log"))
    }

    /// What the daemon answers over HTTP, if it listens on 127.0.0.1:9476.
    pub fn http(&self, path: &str) -> String {
        let request = format!(
            "exec 3<>/dev/tcp/127.0.0.1/9476; printf 'GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3"
        );
        let output = self.host.command("bash").args(["-c", &request]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the daemon's program to its end.
    pub fn linnetd(&self, arguments: &[&str]) -> Output {
        let mut command = self.host.command(env!("CARGO_BIN_EXE_linnetd"));
        command.arg("--config").arg(self.config_file()).args(arguments).output().unwrap()
    }

    /// Waits for an answer; on the deadline, shows what a person needs.
    pub fn until<T>(&self, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(answer) = answer() {
                return answer;
            }
            assert!(Instant::now() < deadline, "waited for: {what}\n{}", self.dump());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a command's output on the host has this in it.
    pub fn until_host_shows(&self, words: &str, wanted: &str) -> String {
        self.until(&format!("{words} shows {wanted}"), || {
            // A routing table is there from its first route on, and `ip` fails until then.
            let shown = without_objects(&String::from_utf8_lossy(&self.host.try_run(words).stdout));
            Some(shown).filter(|shown| shown.contains(wanted))
        })
    }

    /// Everything there is to see.
    pub fn dump(&self) -> String {
        let log = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        format!(
            "--- host\n{}\n{}\n{}\n--- BIRD\n{}\n{}\n--- linnetd\n{}\n--- BIRD's log\n{}",
            self.host.run("ip -br addr"),
            self.host.run("ip route show table all"),
            self.host.linnet_state().join("\n"),
            self.birdc("show protocols all host"),
            self.birdc("show route"),
            log("linnetd.log"),
            log("bird.log")
        )
    }

    /// A connection to the API.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix://{}", self.socket().display())).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel().await)
    }

    pub async fn bgp(&self) -> BgpClient<Channel> {
        BgpClient::new(self.channel().await)
    }

    pub async fn endpoints(&self) -> EndpointsClient<Channel> {
        EndpointsClient::new(self.channel().await)
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The program's words go to the end of `log`.
pub fn spawn(command: &mut Command, log: &std::path::Path) -> Process {
    let file = File::options().create(true).append(true).open(log).unwrap();
    let copy = file.try_clone().unwrap();
    Process(command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn().unwrap())
}

/// A value and what it should be, for messages.
pub fn shown(value: &impl Debug) -> String {
    format!("{value:#?}")
}

/// What the host's kernel shows of the route that BIRD announces.
pub const ROUTE: &str = "203.0.113.0/24 via 10.99.0.2 dev eth0";

/// Linnet's IPv4 routes in the host's kernel.
pub fn routes(rack: &Rack) -> String {
    rack.host.run("ip route show proto 76")
}

/// A second session between host and router, over IPv6 and for IPv6: the host is fd00:99::1, the router fd00:99::2, which
/// announces fd00:203::/64.
pub mod six {
    use super::{Rack, fs};

    /// BIRD's side, for [`Rack::new`].
    pub const BIRD: &str = "
protocol static six { ipv6; route fd00:203::/64 blackhole; }
protocol bgp host6 {
  local fd00:99::2 as 65001;
  neighbor fd00:99::1 as 64512;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv6 { import all; export where source = RTS_STATIC; };
}
";

    /// The addresses, before the daemon starts.
    pub fn address(rack: &Rack) {
        for (namespace, end) in [(&rack.host, 1), (&rack.router, 2)] {
            namespace.run(&format!("ip -6 addr add fd00:99::{end}/64 dev eth0 nodad"));
        }
    }

    /// Adds the peer and the node's address to what [`Rack::configure`] has written.
    pub fn configure(rack: &Rack) {
        let text = fs::read_to_string(rack.config_file()).unwrap();
        let peer = "[[bgp.peer]]\nname = \"router6\"\naddress = \"fd00:99::2\"\nasn = 65001\nconnect-retry = 1\n\
                    families = [\"ipv6-unicast\"]\nimport = \"all\"\nexport = \"all\"\n[policy]";
        let text = text.replacen("[policy]", peer, 1).replacen("pod-cidrs", "address6 = \"fd00:99::1\"\npod-cidrs", 1);
        fs::write(rack.config_file(), text).unwrap();
    }
}

/// Waits until each side has the other's route.
pub fn wait_for_both_sides(rack: &Rack) {
    rack.until_host_shows("ip route show proto 76", ROUTE);
    rack.until("BIRD has the pods' block", || rack.birdc("show route 10.244.1.0/24").contains(HOST).then_some(()));
}
