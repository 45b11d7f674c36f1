//! One node's namespaces, held by one small process: when that ends, everything in them ends.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::LabError;
use crate::topology::Bind;

/// Where a node may write without its host noticing: each is an overlay with the upper half in the node's /run.
const PRIVATE: &str = "/etc /var /opt /srv /mnt";

/// Runs as process 1 of the node. Its first word is how long it stays: `stay`, or `pipe`: until standard input closes,
/// which is when the runner ends, however it ends. bash reaps whatever is left to process 1.
///
/// /proc/self read through the old mount gives the process id that the outside knows. /sys stays as it is: a new one
/// would hide the control groups.
const HOLDER: &str = r#"
set -e
read -r pid _ < /proc/self/stat
stay=$1 name=$2 private=$3 folders=$4
shift 4
mount -t proc proc /proc
hostname "$name"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/lock /run/netns
for folder in $private; do
    [ -d "$folder" ] || continue
    mkdir -p "/run/.node/upper$folder" "/run/.node/work$folder"
    mount -t overlay -o "lowerdir=$folder,upperdir=/run/.node/upper$folder,workdir=/run/.node/work$folder" overlay "$folder"
done
for folder in $folders; do
    mkdir -p "$folder"
    mount -t tmpfs -o mode=0755 tmpfs "$folder"
done
while [ $# -gt 0 ]; do
    source=$1 target=$2 access=$3
    shift 3
    if [ -d "$source" ]; then
        mkdir -p "$target"
    elif [ ! -e "$target" ]; then
        mkdir -p "$(dirname "$target")"
        touch "$target"
    fi
    mount --bind "$source" "$target"
    [ "$access" = rw ] || mount -o remount,bind,ro "$target"
done
ip link set lo up
echo "ready $pid"
exec > /dev/null
[ "$stay" = pipe ] || exec 0<> <(:)
while read -r _; do :; done
"#;

/// How long a room stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// As long as this process.
    WithRunner,
    /// Until someone ends it.
    Forever,
}

/// Namespaces and the process that holds them.
#[derive(Debug)]
pub(super) struct Room {
    holder: Child,
    pid: u32,
    stay: Stay,
}

impl Room {
    /// Makes the namespaces. `folders` are empty in it but for what `binds` brings.
    pub(super) fn new(name: &str, folders: &[&str], binds: &[Bind], stay: Stay) -> Result<Self, LabError> {
        for bind in binds {
            check(name, bind, folders)?;
        }
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "--", "bash", "-c", HOLDER]);
        command.arg("linnet-lab").arg(if stay == Stay::WithRunner { "pipe" } else { "stay" });
        command.args([name, PRIVATE, &folders.join(" ")]);
        for bind in binds {
            command.arg(&bind.source).arg(&bind.target).arg(if bind.read_only { "ro" } else { "rw" });
        }
        // A group of its own: a person's Ctrl-C must reach the runner, which then ends its rooms in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |reason: String| LabError::Room { node: name.to_owned(), reason };
        let mut holder = command.spawn().map_err(|error| failed(format!("unshare: {error}")))?;
        let mut line = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(|error| failed(error.to_string()))?;
        }
        let Some(pid) = line.strip_prefix("ready ").and_then(|pid| pid.trim().parse().ok()) else {
            drop(holder.stdin.take());
            let output = holder.wait_with_output().map_err(|error| failed(error.to_string()))?;
            return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        };
        if stay == Stay::Forever {
            drop(holder.stdin.take());
        }
        // Nobody reads it any more; a full pipe would stop the holder.
        drop(holder.stderr.take());
        Ok(Self { holder, pid, stay })
    }

    /// Process 1 of the room, as the outside knows it.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.stay == Stay::WithRunner {
            // unshare takes its child with it (--kill-child), and process 1 everything in its namespace.
            let _ = self.holder.kill();
            let _ = self.holder.wait();
        }
    }
}

/// What is not there cannot be bound, and a target that would have to be made must be in a private folder.
fn check(node: &str, bind: &Bind, folders: &[&str]) -> Result<(), LabError> {
    let failed = |problem: &str, next: &str| {
        let (source, target) = (bind.source.display(), bind.target.display());
        Err(LabError::Room { node: node.to_owned(), reason: format!("bind {source}:{target}: {problem}; {next}") })
    };
    if !bind.source.exists() {
        return failed("the source does not exist", "make it, or correct the path (relative to the topology file)");
    }
    let made = |target: &Path| {
        PRIVATE.split(' ').chain(["/run"]).chain(folders.iter().copied()).any(|f| target.starts_with(f))
    };
    if !bind.target.exists() && !made(&bind.target) {
        return failed(
            "the target would have to be made on this host",
            "use a path under /etc, /opt, /run, /srv or /var",
        );
    }
    Ok(())
}

/// A command that runs in the room whose process 1 is `pid`. `programs` comes first in its PATH.
#[must_use]
pub fn enter(pid: u32, netns: Option<&str>, programs: &Path) -> Command {
    let mut command = Command::new("nsenter");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(programs.to_owned()).chain(std::env::split_paths(&path));
    let folders = folders.chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/frr"].map(PathBuf::from));
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    command.args(["--target", &pid.to_string(), "--mount", "--net", "--pid", "--uts", "--"]);
    if let Some(netns) = netns {
        command.args(["nsenter", &format!("--net=/run/netns/{netns}"), "--"]);
    }
    command
}
