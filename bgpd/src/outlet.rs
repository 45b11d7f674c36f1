//! The way out of a connection: its socket, and what waits to be written to it.
//!
//! Both are the peer's task's. While the session is up, the RIB may write into a socket for which nothing waits: whoever
//! hears of a single change then hears of it without a turn of that task, of whose memory nothing is in a cache after a rest.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use bgp_proto::session::count_messages;
use bgp_proto::time::Instant;
use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

use crate::clock::Clock;

/// Most chunks of one write.
const WRITE_SLICES: usize = 64;

/// A socket with a queue.
#[derive(Debug)]
pub(crate) struct Outlet {
    stream: TcpStream,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Bytes>,
    octets: usize,
    /// The RIB may write.
    open: bool,
    aside: Option<Aside>,
}

/// What the RIB has written, for the session to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// Messages by type, as [`bgp_proto::session::Counters::sent`].
    pub(crate) counts: [u64; 5],
    /// When it wrote last.
    pub(crate) at: Instant,
}

/// What became of the RIB's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing: they have to go by the task.
    Nothing,
    /// The socket has taken all of them.
    All,
    /// The socket has taken some, and the others wait: the task has to see to them.
    AllBut {
        /// This many octets.
        left: usize,
    },
}

impl Outlet {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, waiting: Mutex::default() }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn push(&self, bytes: Bytes) {
        self.waiting().push(bytes);
    }

    /// Octets that wait.
    pub(crate) fn queued(&self) -> usize {
        self.waiting().octets
    }

    /// Writes what the socket takes now; how many octets, and how many wait still.
    pub(crate) fn write(&self) -> io::Result<(usize, usize)> {
        let mut waiting = self.waiting();
        let mut written = 0;
        while waiting.octets > 0 {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let filled =
                waiting.queue.iter().zip(&mut slices).map(|(bytes, slice)| *slice = IoSlice::new(bytes)).count();
            match self.stream.try_write_vectored(&slices[..filled]) {
                Ok(octets) => {
                    waiting.take(octets);
                    written += octets;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok((written, waiting.octets))
    }

    /// Whether the RIB may write from now on.
    pub(crate) fn let_rib_write(&self, may: bool) {
        self.waiting().open = may;
    }

    /// Whole messages of the RIB, past the task. A socket that is broken takes nothing, so that the task finds out.
    pub(crate) fn write_aside(&self, messages: &Bytes, clock: Clock) -> Written {
        let mut waiting = match self.waiting.try_lock() {
            Ok(waiting) if waiting.open && waiting.octets == 0 => waiting,
            Ok(_) | Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => return Written::Nothing,
        };
        let Ok(octets) = self.stream.try_write(messages) else { return Written::Nothing };
        let mut counts = waiting.aside.map_or([0; 5], |aside| aside.counts);
        count_messages(messages, &mut counts);
        waiting.aside = Some(Aside { counts, at: clock.now() });
        match messages.len() - octets {
            0 => Written::All,
            left => {
                waiting.push(messages.slice(octets..));
                Written::AllBut { left }
            }
        }
    }

    /// What the RIB has written since the last call.
    pub(crate) fn take_aside(&self) -> Option<Aside> {
        self.waiting().aside.take()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, bytes: Bytes) {
        self.octets += bytes.len();
        self.queue.push_back(bytes);
    }

    fn take(&mut self, mut octets: usize) {
        self.octets -= octets;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > octets {
                first.advance(octets);
                break;
            }
            octets -= first.len();
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Octets of a KEEPALIVE.
    const KEEPALIVE: usize = 19;

    /// As many KEEPALIVEs.
    fn keepalives(number: usize) -> Bytes {
        let one = [[0xff; 16].as_slice(), &[0, 19, 4]].concat();
        one.repeat(number).into()
    }

    /// The way out of a connection on which nothing was said yet, and its other end.
    pub(crate) async fn outlet() -> (Outlet, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let ours = ours.unwrap();
        ours.writable().await.unwrap();
        (Outlet::new(ours), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn the_rib_writes_while_the_session_is_up_and_nothing_waits() {
        let (outlet, mut peer) = outlet().await;
        let clock = Clock::start();
        let words = keepalives(2);
        assert_eq!(outlet.write_aside(&words, clock), Written::Nothing, "the session is not up");
        outlet.let_rib_write(true);
        outlet.push(keepalives(1));
        assert_eq!(outlet.write_aside(&words, clock), Written::Nothing, "it would overtake what waits");
        assert_eq!(outlet.take_aside(), None);
        assert_eq!(outlet.write().unwrap(), (KEEPALIVE, 0));
        assert_eq!(outlet.write_aside(&words, clock), Written::All);
        assert_eq!(outlet.write_aside(&words, clock), Written::All);
        assert_eq!(outlet.take_aside().map(|aside| aside.counts), Some([0, 0, 0, 4, 0]));
        assert_eq!(outlet.take_aside(), None, "it is told twice");
        outlet.let_rib_write(false);
        assert_eq!(outlet.write_aside(&words, clock), Written::Nothing, "the session has ended");

        let mut heard = vec![0; 5 * KEEPALIVE];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, keepalives(5));
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_waits_and_all_of_it_arrives_in_order() {
        let (outlet, mut peer) = outlet().await;
        outlet.let_rib_write(true);
        let words = keepalives(4000);
        let mut said = 0;
        let left = loop {
            match outlet.write_aside(&words, Clock::start()) {
                Written::All => said += words.len(),
                Written::AllBut { left } => {
                    said += words.len();
                    break left;
                }
                // The socket was full behind a whole message.
                Written::Nothing => break 0,
            }
            assert!(said < 64 << 20, "the socket takes everything");
        };
        assert_eq!(outlet.queued(), left);
        assert_eq!(outlet.write_aside(&words, Clock::start()), Written::Nothing);

        let reader = tokio::spawn(async move {
            let mut heard = vec![0; said];
            peer.read_exact(&mut heard).await.map(|_| heard)
        });
        while outlet.queued() > 0 {
            outlet.socket().writable().await.unwrap();
            outlet.write().unwrap();
        }
        assert!(reader.await.unwrap().unwrap() == keepalives(said / KEEPALIVE), "octets are lost or out of order");
    }
}
