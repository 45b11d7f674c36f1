//! Another program that changes what is Linnet's.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, Stdio},
};

/// One `ip` that does what it is told, a line each, as a program that runs for long does.
pub struct Meddler {
    child: Child,
    told: ChildStdin,
}

impl Meddler {
    pub fn start() -> Meddler {
        let mut command = Command::new("ip");
        let command = command.args(["-force", "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("ip");
        let told = child.stdin.take().expect("its input");
        Meddler { child, told }
    }

    /// As [`Meddler::start`], of a program that writes by its second netlink socket, as BIRD does: the port that is its process
    /// number is taken, here by us.
    pub fn start_by_another_port() -> (Meddler, netlink_sys::Socket) {
        let mut command = Command::new("sh");
        let command = command.args(["-c", "read go; exec ip -force -batch -"]).stdin(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().expect("sh");
        let mut taken = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).expect("a socket");
        taken.bind(&netlink_sys::SocketAddr::new(child.id(), 0)).expect("a free port");
        let told = child.stdin.take().expect("its input");
        let mut meddler = Meddler { child, told };
        meddler.tell("go");
        (meddler, taken)
    }

    pub fn tell(&mut self, line: &str) {
        self.told.write_all(format!("{line}\n").as_bytes()).expect("its ear");
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        format!("ip (process {})", self.child.id())
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
