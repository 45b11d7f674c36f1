//! One TCP connection: reads without a buffer of its own, and a polite end. What is written stands in [`Outlet`].

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};

use crate::authentication::Authentication;
use crate::config::PeerConfig;
use crate::outlet::Outlet;
use crate::socket_options::{self, KeyScope};
use crate::tcp_ao;

/// Most octets of one read: enough for one UPDATE batch to be worth a message to the RIB.
const READ_LEN: usize = 64 * 1024;
/// How long a closed connection may take to deliver its last words.
const LINGER: Duration = Duration::from_secs(2);
/// How long the kernel may try to open a connection: less than the session gives it (5 s at the least), so that what is
/// told is who did not answer, and not that a timer has expired.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(4500);

thread_local! {
    /// One for each runtime thread and not for each session: a read is over before the thread does anything else.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_LEN].into_boxed_slice());
}

/// A connection with a queue.
///
/// What was read is acknowledged when the owner says so ([`Connection::acknowledge`]), behind all that it brought about. The kernel
/// would do so within the read, wherever a peer says more than we do, and after a rest to send that one segment takes longer than
/// what there is to decide: a tenth of a change's way into the kernel (docs/performance.md).
#[derive(Debug)]
pub(crate) struct Connection {
    outlet: Arc<Outlet>,
    /// A read has emptied the socket.
    unacknowledged: bool,
}

/// What a read brought.
pub(crate) enum Read {
    /// This many octets, which the closure has seen.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The end, in words.
    End(String),
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        acknowledge_later(&stream);
        Self { outlet: Arc::new(Outlet::new(stream)), unacknowledged: false }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.outlet.socket()
    }

    pub(crate) fn outlet(&self) -> &Arc<Outlet> {
        &self.outlet
    }

    /// Our end and the peer's.
    pub(crate) fn addresses(&self) -> io::Result<(IpAddr, IpAddr)> {
        let socket = self.socket();
        Ok((socket.local_addr()?.ip().to_canonical(), socket.peer_addr()?.ip().to_canonical()))
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.outlet.push(bytes);
    }

    /// Octets that wait.
    pub(crate) fn queued(&self) -> usize {
        self.outlet.queued()
    }

    /// Waits until the socket takes bytes, if some wait, or has some, if `reading`.
    pub(crate) async fn ready(&self, reading: bool) {
        // By the socket's own two wakers, one for either direction, as one task waits at a time: `TcpStream::ready` enters itself into
        // a list of waiters each time, and takes itself out.
        std::future::poll_fn(|context| {
            let socket = self.socket();
            let readable = if reading { socket.poll_read_ready(context) } else { Poll::Pending };
            let ready = match readable {
                Poll::Pending if self.queued() > 0 => socket.poll_write_ready(context),
                readable => readable,
            };
            match ready {
                // Only a runtime that ends answers so, at once and for ever; whoever went round then would keep it from ending.
                Poll::Ready(Err(_)) => Poll::Pending,
                ready => ready.map(drop),
            }
        })
        .await;
    }

    /// One read, seen by `with`.
    pub(crate) fn read(&mut self, with: impl FnOnce(&[u8])) -> Read {
        READ_BUFFER.with_borrow_mut(|buffer| match self.read_into(buffer) {
            Ok(Some(0)) => Read::End("the peer closed the connection".to_owned()),
            Ok(Some(octets)) => {
                // With more to come, the kernel acknowledges every other segment whatever it was told.
                self.unacknowledged = octets < buffer.len();
                with(&buffer[..octets]);
                Read::Bytes(octets)
            }
            Ok(None) => Read::Nothing,
            Err(error) => Read::End(error.to_string()),
        })
    }

    /// `None`: nothing now. A read that does not fill the buffer has emptied the socket, and tokio is told so: else the next
    /// read, half of all reads of a peer that says little at a time, were one that finds nothing.
    fn read_into(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut brought = None;
        let read = self.socket().try_io(Interest::READABLE, || {
            let octets = (&*SockRef::from(self.socket())).read(buffer)?;
            brought = Some(octets);
            if (1..buffer.len()).contains(&octets) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match read {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(brought),
        }
    }

    /// Acknowledges what was read, unless something that was sent since has. A peer that sends the next little only when the last was
    /// acknowledged (Nagle's algorithm, RFC 9293 section 3.7.4) would wait 40 ms for the kernel to do so by itself.
    pub(crate) fn acknowledge(&mut self) {
        if std::mem::take(&mut self.unacknowledged) {
            // If it cannot, the kernel's own timer does it.
            let _ = SockRef::from(self.socket()).set_tcp_quickack(true);
            acknowledge_later(self.socket());
        }
    }

    /// Whether the peer's bytes wait in the socket.
    pub(crate) fn has_unread_bytes(&self) -> bool {
        socket_options::has_unread_bytes(self.socket())
    }

    /// Writes what the socket takes now; how many octets, and how many wait still.
    pub(crate) fn write(&mut self) -> io::Result<(usize, usize)> {
        self.outlet.write()
    }

    /// Delivers what waits, then closes. Closing a socket with unread bytes in it resets the connection, and the reset
    /// can overtake our NOTIFICATION; so the peer's bytes are read and dropped until it closes too, within a deadline.
    pub(crate) async fn finish(mut self) {
        let farewell = async {
            while self.queued() > 0 {
                self.socket().writable().await?;
                self.write()?;
            }
            SockRef::from(self.socket()).shutdown(std::net::Shutdown::Write)?;
            loop {
                self.socket().readable().await?;
                if let Read::End(_) = self.read(|_| ()) {
                    return io::Result::Ok(());
                }
            }
        };
        // Late or broken: the connection goes either way.
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }
}

/// `TCP_QUICKACK` of tcp(7), which is no state: each time it says what is from now on. If it cannot, it is as with any other socket.
fn acknowledge_later(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_tcp_quickack(false);
}

/// Opens a connection to a peer. `scope`: the number of the interface that a link-local address is on.
pub(crate) async fn connect(peer: PeerConfig, scope: u32) -> io::Result<TcpStream> {
    let socket = if peer.address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket_options::prepare_connection(&socket, &peer)?;
    let signer = KeyScope::Address(peer.address);
    match &peer.authentication {
        Some(Authentication::Md5(secret)) => socket_options::set_md5_key(&socket, signer, Some(secret))?,
        Some(Authentication::TcpAo(keys)) => tcp_ao::prepare(&socket, signer, keys)?,
        None => {}
    }
    if let Some(local) = peer.local_address {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let remote = match peer.address {
        IpAddr::V6(address) => SocketAddrV6::new(address, peer.port, 0, scope).into(),
        address @ IpAddr::V4(_) => SocketAddr::new(address, peer.port),
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(remote)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            // A kernel drops segments with a wrong signature, or with one where it has no key, without a word.
            let hint = match &peer.authentication {
                Some(Authentication::Md5(_)) => "has another TCP MD5 key for us, or none",
                Some(Authentication::TcpAo(_)) => "has another TCP-AO key under our first key's ids, or none",
                None => "wants a TCP MD5 or TCP-AO key",
            };
            let hint = format!("it is not reachable, drops what we send, or {hint}");
            let seconds = CONNECT_TIMEOUT.as_secs_f32();
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {seconds} s: {hint}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd as _;
    use std::time::Instant;

    use super::*;

    /// What a peer has sent and we have not acknowledged.
    #[allow(unsafe_code, reason = "there is no other way to ask")]
    fn unacknowledged(peer: &std::net::TcpStream) -> libc::c_int {
        let mut octets = 0;
        // SAFETY: SIOCOUTQ, which has the number of TIOCOUTQ, writes one int (tcp(7)).
        let outcome = unsafe { libc::ioctl(peer.as_raw_fd(), libc::TIOCOUTQ, &raw mut octets) };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
        octets
    }

    /// The kernel's own timer is 40 ms, and a machine may be busy for longer than that: one of many tries has to show it.
    #[tokio::test]
    async fn what_is_read_is_acknowledged_when_the_owner_says_so_and_neither_before_nor_much_later() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peer.set_nodelay(true).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut connection = Connection::new(TcpStream::from_std(socket).unwrap());
        let mut tries = Vec::new();
        for _ in 0..50 {
            let sent = Instant::now();
            peer.write_all(b"a little").unwrap();
            connection.ready(true).await;
            let mut seen = 0;
            assert!(matches!(connection.read(|bytes| seen = bytes.len()), Read::Bytes(8)));
            assert_eq!(seen, 8);
            let not_by_the_read = unacknowledged(&peer) == 8;
            connection.acknowledge();
            let when_told = unacknowledged(&peer) == 0 && sent.elapsed() < Duration::from_millis(30);
            while unacknowledged(&peer) > 0 {
                assert!(sent.elapsed() < Duration::from_secs(5), "it is never acknowledged");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if not_by_the_read && when_told {
                return;
            }
            tries.push((not_by_the_read, when_told));
        }
        panic!("acknowledged not by the read, and when told to: {tries:?}");
    }
}
