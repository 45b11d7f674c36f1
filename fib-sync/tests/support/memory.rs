//! A limit to the memory that this process, and the kernel on its behalf, may have.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    mm::{MlockAllFlags, mlockall, munlockall},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount},
};

use super::node::ALL_DEVICES;

/// For how long the limit may hold, in seconds. A page of this process that the limit does not give stops it; somebody else
/// has to lift it then.
const LONGEST: u32 = 20;

const PAGE: u64 = 4096;

/// A control group (version 1) of this process alone, which nothing is killed for: the kernel's own allocations fail.
pub struct MemoryGroup {
    mounted: PathBuf,
    folder: PathBuf,
    limit: File,
}

impl MemoryGroup {
    /// Puts this process into it. None where the kernel has no such controller, or another mount has it in version 2.
    pub fn enter() -> Option<Self> {
        // Mounted in a namespace of this thread, and of those that come from it: it is gone with them.
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("a tree of its own");
        let mounted = std::env::temp_dir().join(format!("linnet-memory-{}", std::process::id()));
        fs::create_dir(&mounted).expect("a folder");
        if let Err(error) = mount("none", &mounted, "cgroup", MountFlags::empty(), c"memory") {
            fs::remove_dir(&mounted).expect("an empty folder");
            assert!(
                std::env::var_os(ALL_DEVICES).is_none(),
                "{ALL_DEVICES} is set, and the memory controller: {error}"
            );
            return None;
        }
        let folder = mounted.join(format!("linnet-{}", std::process::id()));
        fs::create_dir(&folder).expect("a control group");
        fs::write(folder.join("memory.oom_control"), "1").expect("nothing is killed");
        fs::write(folder.join("cgroup.procs"), "0").expect("this process is in it");
        let limit = File::options().write(true).open(folder.join("memory.limit_in_bytes")).expect("the limit");
        Some(Self { mounted, folder, limit })
    }

    /// From now on there is hardly more than what is in use, until the answer is dropped.
    pub fn exhaust(&self) -> Exhausted<'_> {
        // Outside of the group, so that it needs nothing from it. It has the file open before the limit holds.
        let script =
            format!("exec 3>memory.limit_in_bytes; echo $$ >../cgroup.procs; echo; sleep {LONGEST}; echo -1 >&3");
        let mut lifter = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&self.folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh");
        let mut line = String::new();
        let out = lifter.stdout.take().expect("its output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("it is ready");
        // What the first of these was mapped for, `malloc` takes from its heap from then on, and keeps when it is freed.
        for octets in [16 << 20, 8 << 20] {
            drop(std::hint::black_box(vec![1_u8; octets]));
        }
        // All that is mapped is here from now on: the heap, and stacks as deep as they may be.
        mlockall(MlockAllFlags::CURRENT).expect("every page");
        let used = fs::read_to_string(self.folder.join("memory.usage_in_bytes")).expect("what is in use");
        let mut limit: u64 = used.trim().parse().expect("a number of octets");
        // Each processor has some in reserve, which counts as used until the limit asks for it and it had time to hear of that.
        let mut refused = 0;
        while refused < 20 {
            if self.set(&limit.to_string()).is_ok() {
                limit = limit.saturating_sub(PAGE);
                refused = 0;
            } else {
                std::thread::sleep(std::time::Duration::from_millis(2));
                refused += 1;
            }
        }
        Exhausted { group: self, lifter }
    }

    fn set(&self, octets: &str) -> std::io::Result<()> {
        (&self.limit).write_all(octets.as_bytes())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = self.set("-1");
        let _ = fs::write(self.mounted.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.folder);
        let _ = unmount(&self.mounted, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.mounted);
    }
}

/// While it lives there is no memory.
pub struct Exhausted<'a> {
    group: &'a MemoryGroup,
    lifter: Child,
}

impl Drop for Exhausted<'_> {
    fn drop(&mut self) {
        let _ = self.group.set("-1");
        let _ = munlockall();
        let _ = self.lifter.kill();
        let _ = self.lifter.wait();
    }
}
