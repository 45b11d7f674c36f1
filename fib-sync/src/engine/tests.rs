//! The engine when the kernel announces more than it can hear.

use netlink_packet_route::RouteNetlinkMessage;
use tokio::sync::{mpsc, oneshot};

use super::{Command, Engine, MONITOR, support::*};
use crate::{
    FibEvent,
    kernel_route::removal,
    netlink::{Request, Socket},
};

/// An engine that is asked and told by hand.
pub(super) fn engine() -> (Engine, mpsc::Receiver<FibEvent>) {
    let (events, heard) = mpsc::channel(64);
    let mut engine = Engine::start(CONFIG, MONITOR, events).expect("the engine");
    engine.swept = [true; 2];
    (engine, heard)
}

impl Engine {
    pub(super) fn wish(&mut self, wishes: Vec<Wish>) {
        self.obey(Command::Change(changes(wishes), oneshot::channel().0));
    }
}

#[test]
fn after_lost_messages_everything_is_read_again_and_repaired() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        // Room for a few messages only, and nobody listens until all is over.
        let (events, mut heard) = mpsc::channel(8);
        let mut engine = Engine::start(CONFIG, 4096, events).expect("the engine");
        let prefix = |n: u32| format!("10.{}.{}.0/24", 100 + n / 256, n % 256);
        let wishes = (0..1000).map(|n| put(&prefix(n), via(&["10.0.1.2"]))).collect();
        engine.obey(Command::Change(changes(wishes), oneshot::channel().0));
        let before = routes();
        assert_eq!(before.len(), 1000);
        let deletions: Vec<Request> = (0..1000)
            .map(|n| {
                let message = removal(prefix(n).parse().expect("a prefix"), CONFIG.table, CONFIG.metric);
                Request { message: RouteNetlinkMessage::DelRoute(message), flags: 0 }
            })
            .collect();
        Socket::open().expect("a socket").batch(&deletions).expect("deletions");
        assert_eq!(routes(), [""; 0]);
        engine.monitor.ready().await;
        engine.heard();
        assert_eq!(routes(), before);
        assert!(engine.outbox.flush());
        assert_eq!(heard.try_recv(), Ok(FibEvent::Resynced));
    });
}

#[test]
fn a_foreign_route_that_took_the_place_of_ours_a_moment_ago_is_not_replaced_by_a_change() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        engine.wish(vec![put("10.9.0.0/16", via(&["10.0.1.2"]))]);
        ip("route replace 10.9.0.0/16 via 10.0.1.9 proto static metric 76");
        // The engine has heard of nothing yet.
        engine.wish(vec![put("10.9.0.0/16", via(&["10.0.1.3"]))]);
        assert_eq!(ip("route show 10.9.0.0/16").trim(), "10.9.0.0/16 via 10.0.1.9 dev up1 proto static metric 76");
        let why = engine.status()[0].error.clone().unwrap_or_default();
        assert!(why.contains("protocol 4 (static)"), "{why}");
    });
}
