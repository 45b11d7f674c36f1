//! One QEMU process. It ends with this one, however that ends, and its folder is removed with it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::machine::{MachineError, at};

/// QEMU's program.
pub(super) const PROGRAM: &str = "qemu-system-x86_64";

/// Starts QEMU when it is told to by a line on standard input; when that closes, which is when the runner ends, ends QEMU and
/// removes the folder. It is QEMU's parent, so the number that it kills is QEMU's, also when that has ended before.
const HOLDER: &str = r#"
folder=$1
shift
if read -r _; then
    "$@" < /dev/null 2> "$folder/said" &
    exec > /dev/null
    while read -r _; do :; done
    kill -s KILL "$!" 2> /dev/null
    wait
fi
rm -rf -- "$folder"
"#;

/// What QEMU boots, and with what.
pub(super) struct Boot<'a> {
    pub(super) image: &'a Path,
    pub(super) memory_mib: u32,
    pub(super) processors: u32,
    /// Added to the kernel's command line.
    pub(super) arguments: &'a str,
}

/// The process and its folder. Dropped, both are gone.
pub(super) struct Qemu {
    holder: Child,
    tell: Option<ChildStdin>,
    folder: PathBuf,
}

/// How the script ended.
pub(super) enum End {
    /// With this exit status.
    Status(i32),
    /// QEMU ended first: a panic, no memory, or QEMU's own fault.
    Early,
    /// Not in time.
    Late,
}

/// Machines of one process.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Qemu {
    /// Makes the folder, and what will remove it. QEMU does not run yet.
    pub(super) fn prepare(boot: &Boot<'_>) -> Result<Self, MachineError> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("linnet-vm-{}-{count}", std::process::id()));
        fs::create_dir(&folder).map_err(at(&folder))?;
        let mut command = Command::new("sh");
        command.args(["-c", HOLDER, "linnet-vm"]).arg(&folder).arg(PROGRAM).args(arguments(boot, &folder));
        // A group of its own: a person's Ctrl-C must not end it before it has removed the folder.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().map_err(|error| {
            // Nothing is in it yet; what cannot be removed is an empty folder among temporary ones.
            let _ = fs::remove_dir(&folder);
            MachineError::no_tool("sh", &error)
        })?;
        let tell = holder.stdin.take();
        Ok(Self { holder, tell, folder })
    }

    /// The folder, for what is made on the way.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that becomes the machine's file system.
    pub(super) fn archive(&self) -> PathBuf {
        archive(&self.folder)
    }

    /// Boots, hands on each line that the script prints, and returns when the machine has ended.
    pub(super) fn run(&mut self, deadline: Duration, mut line: impl FnMut(&str)) -> Result<End, MachineError> {
        let until = Instant::now() + deadline;
        let folder = self.folder.clone();
        if let Some(tell) = &mut self.tell {
            tell.write_all(b"start\n").map_err(at(&folder))?;
        }
        let lines = self.lines();
        loop {
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(text) => line(&text),
                Err(RecvTimeoutError::Timeout) => return Ok(End::Late),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = fs::read_to_string(self.folder.join("status")).unwrap_or_default();
        Ok(status.trim().parse().map_or(End::Early, End::Status))
    }

    /// The end of what the kernel and QEMU itself said.
    pub(super) fn console(&self) -> String {
        let read = |name: &str| fs::read(self.folder.join(name)).unwrap_or_default();
        let text = [read("said"), read("console")].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Lines as they come. The channel closes when QEMU has ended.
    fn lines(&mut self) -> Receiver<String> {
        let (send, receive) = channel();
        if let Some(stdout) = self.holder.stdout.take() {
            std::thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut bytes = Vec::new();
                while stdout.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
                    let text = String::from_utf8_lossy(&bytes);
                    if send.send(text.trim_end_matches(['\n', '\r']).to_owned()).is_err() {
                        break;
                    }
                    bytes.clear();
                }
            });
        }
        receive
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        drop(self.tell.take());
        let _ = self.holder.wait();
    }
}

fn archive(folder: &Path) -> PathBuf {
    folder.join("archive")
}

fn arguments(boot: &Boot<'_>, folder: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
    // No device but what is named here; a reboot, which a panic is too, ends QEMU.
    add(&["-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot", "-cpu", "max"]);
    // Emulated, also where there is a /dev/kvm: many a cloud's own machine has one on which a kernel like this does not
    // run to its end, and a test must not depend on that.
    add(&["-accel", if boot.processors > 1 { "tcg,thread=multi" } else { "tcg" }]);
    add(&["-smp", &boot.processors.to_string(), "-m", &boot.memory_mib.to_string()]);
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    add(&["-kernel", &boot.image.to_string_lossy(), "-initrd", &archive(folder).to_string_lossy()]);
    // On a busy machine the timer is late, which a kernel takes for broken wires, and panics.
    let kernel =
        "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on cryptomgr.notests no_timer_check";
    add(&["-append", &format!("{kernel} {}", boot.arguments)]);
    add(&["-serial", &format!("file:{}", path("console"))]);
    add(&["-chardev", "file,id=script,path=/dev/stdout", "-serial", "chardev:script"]);
    add(&["-serial", &format!("file:{}", path("status"))]);
    arguments
}
