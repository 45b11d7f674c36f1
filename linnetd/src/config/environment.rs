//! What a configuration leaves to the host: its name, its address, and the contents of files with secrets.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bgpd::Secret;

/// What the host says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The host name, if the kernel has one.
    pub host_name: Option<String>,
    /// The source address of the default route, IPv4 before IPv6.
    pub address: Option<IpAddr>,
}

impl Environment {
    /// Asks this host, in the network namespace of the calling thread.
    #[must_use]
    pub fn of_this_host() -> Self {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        Self {
            host_name: (!name.is_empty() && name != "(none)").then(|| name.to_owned()),
            address: source_of_default_route(),
        }
    }
}

/// Connecting a datagram socket sends nothing and makes the kernel choose a source. The addresses are of documentation
/// (RFC 5737, RFC 3849), so that only a default route leads there.
fn source_of_default_route() -> Option<IpAddr> {
    let tries: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    tries.into_iter().find_map(|(from, to)| {
        let socket = UdpSocket::bind(SocketAddr::new(from, 0)).ok()?;
        socket.connect(SocketAddr::new(to, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

/// The first line of a file with a secret, and whether others than its owner may read the file.
pub(super) fn read_secret(file: &Path) -> io::Result<(Secret, bool)> {
    // A key is 80 bytes at most (linux/tcp.h, TCP_MD5SIG_MAXKEYLEN and TCP_AO_MAXKEYLEN): what is far longer is another file.
    let metadata = fs::metadata(file)?;
    // A device says that it is empty and is read without end, a pipe is waited for: neither is opened.
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > 4096 {
        return Err(io::Error::other("it is longer than 4096 bytes"));
    }
    let text = fs::read_to_string(file)?;
    let line = text.lines().next().unwrap_or_default();
    let secret = Secret::new(line.as_bytes()).ok_or_else(|| {
        io::Error::other(format!("its first line has {} bytes, not 1 to {}", line.len(), Secret::MAX_LEN))
    })?;
    Ok((secret, metadata.permissions().mode() & 0o077 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_secret_that_would_never_end_is_not_read() {
        for file in ["/dev/zero", "/dev", "/proc/self/fd/does-not-exist"] {
            assert!(read_secret(Path::new(file)).is_err(), "{file}");
        }
    }
}
