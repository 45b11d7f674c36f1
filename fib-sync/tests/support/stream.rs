//! Packets that count themselves. One file for the tests of all rooms.
#![allow(clippy::unwrap_used)] // a panic is a test's verdict

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// A stream of packets, one a millisecond, each with its number.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Vec<u64>>,
}

impl Stream {
    /// From one socket to another, which is bound to `to`.
    pub fn start(sender: UdpSocket, receiver: UdpSocket, to: SocketAddr) -> Stream {
        sender.connect(to).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        // The first one finds out who has which MAC address.
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        sender.send(&u64::MAX.to_be_bytes()).unwrap();
        receiver.recv(&mut [0; 8]).unwrap_or_else(|error| panic!("{to}: the path does not work at all: {error}"));
        receiver.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let stopped = stop.clone();
        let sender = std::thread::spawn(move || {
            let mut sent = 0u64;
            while !stopped.load(Ordering::Relaxed) {
                // What the host itself refuses (no route) is lost as well.
                let _ = sender.send(&sent.to_be_bytes());
                sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        let receiver = std::thread::spawn(move || {
            let (mut heard, mut number) = (Vec::new(), [0; 8]);
            // Half a second of silence is its end.
            while receiver.recv(&mut number).is_ok() {
                heard.push(u64::from_be_bytes(number));
            }
            heard
        });
        Stream { stop, sender, receiver }
    }

    /// How many packets were sent, and which of them are missing.
    pub fn end(self) -> (u64, Vec<u64>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.sender.join().unwrap();
        let mut heard = self.receiver.join().unwrap();
        heard.sort_unstable();
        (sent, (0..sent).filter(|number| heard.binary_search(number).is_err()).collect())
    }
}
