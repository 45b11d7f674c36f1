//! The packets that other tests count.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::{net::UdpSocket, time::Duration};

use support::{stream::Stream, *};

#[test]
fn a_stream_goes_on_behind_an_outage_of_a_second_and_misses_what_was_sent_in_it() {
    in_namespace(|| async {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let stream = Stream::start(UdpSocket::bind("127.0.0.1:0").unwrap(), receiver, to);
        // These are no waiting for anything: they are how long the link is there, and how long it is not.
        let pause = || std::thread::sleep(Duration::from_secs(1));
        for state in ["down", "up"] {
            pause();
            ip(&format!("link set lo {state}"));
        }
        pause();
        let (sent, missing) = stream.end();
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else { panic!("all of {sent} were heard") };
        assert!(first.number > 0 && last.number + 1 < sent, "of {sent} packets {first:?} to {last:?}");
    });
}
