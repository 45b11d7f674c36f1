//! Who wrote into the kernel, as far as it tells: an announcement carries the netlink port of the request that caused it. A
//! program's first netlink socket has its process number for a port; that it is this program is looked up, never assumed.

use std::{fs, path::Path, sync::Arc};

use crate::protocol;

/// What is said of a program that is not there any more, or that this one may not see.
const ENDED: &str = "a program that has ended";

/// Names the program behind a port, for people: `bird (process 714)`.
pub(super) fn name(port: u32) -> Arc<str> {
    running(port).map_or_else(|| ENDED.into(), Into::into)
}

/// The running process of this number, if a netlink socket with this port is its.
fn running(port: u32) -> Option<String> {
    let sockets = fs::read_to_string("/proc/thread-self/net/netlink").ok()?;
    let socket = format!("socket:[{}]", inode(&sockets, port)?);
    let process = Path::new("/proc").join(port.to_string());
    let files = fs::read_dir(process.join("fd")).ok()?;
    let holds =
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == &*socket));
    let name = fs::read_to_string(process.join("comm")).ok().filter(|_| holds)?;
    // The name is the program's own choice.
    let name: String = name.trim().chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(format!("{name} (process {port})"))
}

/// The inode of the NETLINK_ROUTE socket (protocol 0) with this port. Columns: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
fn inode(sockets: &str, port: u32) -> Option<&str> {
    let port = port.to_string();
    sockets.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        match columns.as_slice() {
            [_, "0", number, .., inode] if **number == *port => Some(*inode),
            _ => None,
        }
    })
}

/// The owner of a route, by number and name: `12 (bird)`.
pub(super) fn protocol(number: u8) -> String {
    let (name, number) = (protocol::name(number), number.to_string());
    if name == number { number } else { format!("{number} ({name})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Socket;

    #[test]
    fn the_owner_of_a_port_is_a_process_that_holds_its_socket_and_no_other() {
        let one = Socket::open().expect("a socket");
        let two = Socket::open().expect("a socket");
        let own = std::process::id();
        let named: Vec<Arc<str>> = [one.port(), two.port()].map(name).into();
        for (socket, name) in [&one, &two].iter().zip(&named) {
            let is_own = socket.port() == own;
            assert_eq!(name.contains(&format!("(process {own})")), is_own, "{name}");
        }
        drop((one, two));
        assert_eq!(&*name(1), ENDED);
    }

    #[test]
    fn a_socket_is_found_by_protocol_and_port() {
        let table = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                     0000000000000000 15  714        00000001 0        0        0     2        0        40\n\
                     0000000000000000 0   714        00000551 0        0        0     2        0        41\n";
        assert_eq!((inode(table, 714), inode(table, 7)), (Some("41"), None));
    }
}
