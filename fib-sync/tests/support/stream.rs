//! Packets that count themselves. One file for the tests of all rooms.
#![allow(clippy::unwrap_used)] // a panic is a test's verdict

use std::{
    collections::HashSet,
    fmt::Write,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Octets of packets that wait for a receiver which is not run, on a busy machine: some seconds of the stream. The kernel's
/// default is a quarter of a second of it.
const WAITING: usize = 8 << 20;
/// How long after the last was sent one may still be on its way.
const ON_THE_WAY: Duration = Duration::from_secs(3);

/// A stream of packets, one a millisecond, each with its number.
pub struct Stream {
    stop: Arc<AtomicBool>,
    /// When each was sent.
    sender: JoinHandle<Vec<Instant>>,
    receiver: JoinHandle<HashSet<u64>>,
}

/// A packet that was sent and not received.
#[derive(Debug)]
pub struct Missing {
    pub number: u64,
    pub sent: Instant,
}

/// Missing packets as a person reads them: which, and when they were sent, each behind the last of the moments before.
pub fn told(missing: &[Missing], moments: &[(Instant, String)]) -> String {
    let mut told = String::new();
    for run in missing.chunk_by(|one, two| one.number + 1 == two.number) {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let _ = write!(told, "\n{} to {}", first.number, last.number);
        if let Some((moment, name)) = moments.iter().rev().find(|(moment, _)| *moment <= first.sent) {
            let _ = write!(told, ", {:?} after {name}, within {:?}", first.sent - *moment, last.sent - first.sent);
        }
    }
    told
}

impl Stream {
    /// From one socket to another, which is bound to `to`.
    pub fn start(sender: UdpSocket, receiver: UdpSocket, to: SocketAddr) -> Stream {
        sender.connect(to).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, WAITING).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        // The first one finds out who has which MAC address.
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        sender.send(&u64::MAX.to_be_bytes()).unwrap();
        let first = receiver.recv_from(&mut [0; 8]);
        let (_, from) = first.unwrap_or_else(|error| panic!("{to}: the path does not work at all: {error}"));
        // Answered, where a way leads back, so that it is a connection to nftables (`ct state established`). While nft replaces a table
        // the kernel judges a packet by the old rules and looks into their verdict maps as they are in the new ones, that is empty: of a
        // connection that is not established one packet may be dropped at each replacement, which is not what streams are about.
        let _ = receiver.send_to(&[0; 8], from);
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let ended = Arc::new(OnceLock::new());
        let (stopped, told) = (stop.clone(), ended.clone());
        let sender = std::thread::spawn(move || {
            let mut sent = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                sent.push(Instant::now());
                // What the host itself refuses (no route) is lost as well.
                let _ = sender.send(&(sent.len() as u64 - 1).to_be_bytes());
                std::thread::sleep(Duration::from_millis(1));
            }
            told.set((sent.len(), Instant::now())).unwrap();
            sent
        });
        let receiver = std::thread::spawn(move || {
            let (mut heard, mut number) = (HashSet::new(), [0; 8]);
            // Silence is no end of it: on a busy machine the sender may not be run for a while, and a lost link may come back.
            loop {
                if receiver.recv(&mut number).is_ok() {
                    heard.insert(u64::from_be_bytes(number));
                } else if let Some((sent, last)) = ended.get()
                    && (heard.len() == *sent || last.elapsed() > ON_THE_WAY)
                {
                    return heard;
                }
            }
        });
        Stream { stop, sender, receiver }
    }

    /// How many packets were sent, and which of them are missing.
    pub fn end(self) -> (u64, Vec<Missing>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        let heard = self.receiver.join().unwrap();
        let numbered = (0..).zip(&sent).map(|(number, sent)| Missing { number, sent: *sent });
        (sent.len() as u64, numbered.filter(|packet| !heard.contains(&packet.number)).collect())
    }
}
