//! A monitoring station that reads nothing costs bounded memory and no session's time, and has the newest when it reads.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

mod support;

use std::collections::HashSet;
use std::net::IpAddr;

use bgp_proto::bmp::Stage;
use bgp_proto::types::{Family, Nlri};
use bgp_proto::wire::frame::next_frame;
use bgp_proto::wire::{Message, UpdateContext};
use bgpd::{StationConfig, StationState};
use bytes::BytesMut;
use support::{attributes, numbered, pair, wait_for};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// Each has attributes of its own: some 160 octets of what may wait for a station.
const MANY: u32 = 120_000;
/// What may wait for a station, and what its connection holds.
const MOST_WAITING: usize = 17 * 1024 * 1024;

/// Reads Route Monitoring until every route was seen in its newest state, or the connection ends. Whether it was.
async fn read_newest(stream: &mut TcpStream, newest: u32) -> bool {
    let context = UpdateContext { families: Family::ALL.into_iter().collect(), ..UpdateContext::PLAIN };
    let (mut buffer, mut seen) = (BytesMut::new(), HashSet::<Nlri>::new());
    while seen.len() < MANY as usize {
        match stream.read_buf(&mut buffer).await {
            Ok(octets) if octets > 0 => {}
            Ok(_) | Err(_) => return false,
        }
        while let Some(header) = buffer.first_chunk::<6>() {
            assert_eq!(header[0], 3, "BMP's version");
            let (length, kind) = (u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize, header[5]);
            if buffer.len() < length {
                break;
            }
            let message = buffer.split_to(length);
            if kind != 0 {
                continue;
            }
            let mut about = &message[6 + 42..];
            while let Some(frame) = next_frame(&mut about, 4096).unwrap() {
                let Message::Update(update) = Message::parse(frame, &context).unwrap() else { panic!("no UPDATE") };
                for announcement in update.announced {
                    if announcement.attributes.med >= Some(newest) {
                        seen.extend(announcement.nlri);
                    }
                }
            }
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_station_that_reads_nothing_is_let_go_and_begins_anew_while_sessions_notice_nothing() {
    let listener = TcpListener::bind((IpAddr::V4(support::address()), 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let station = StationConfig {
        name: "deaf".to_owned(),
        address: at.ip(),
        port: at.port(),
        stages: vec![Stage::PrePolicy],
        statistics: None,
    };
    let (watched, talker) = pair(|config, _| config.bmp.push(station), |_, _| ()).await;
    watched.wait_established("right").await;
    let status = || async { watched.bgp.stations().await.remove(0) };
    wait_for("the station's connection", || async {
        let now = status().await;
        if now.connections > 0 { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;

    let mut round = 0;
    while status().await.behind == 0 {
        round += 1;
        assert!(round < 20, "{:?}", status().await);
        talker.originate((0..MANY).map(|number| (numbered(number), attributes(Some(round * MANY + number))))).await;
        watched
            .wait_best("the round's routes", |best| {
                let newest = |paths: &Vec<bgp_proto::rib::BestPath>| {
                    paths.first().is_some_and(|path| path.attributes.med >= Some(round * MANY))
                };
                best.len() == MANY as usize && best.values().all(newest)
            })
            .await;
        let now = status().await;
        assert!(now.waiting < MOST_WAITING, "{now:?}");
    }
    let peer = watched.peer("right").await.unwrap();
    assert_eq!(peer.counters.established, 1, "{peer:?}");

    // It reads from now on, first what its dead connections still hold.
    let newest = round * MANY;
    let read = tokio::time::timeout(support::DEADLINE, async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if read_newest(&mut stream, newest).await {
                return stream;
            }
        }
    });
    let _stream = read.await.expect("the whole table in its newest state within the deadline");
    wait_for("the station to be known to have it", || async {
        let now = status().await;
        if now.state == StationState::Up { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}
