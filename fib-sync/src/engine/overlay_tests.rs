//! The overlay device when it cannot be made, and devices when they cannot be read.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{
    Command, Engine, SETTLE,
    support::{node::spec, *},
    tests::engine,
};
use crate::{FibEvent, overlay::VXLAN_DEVICE};

impl Engine {
    fn ask_for_overlay(&mut self) -> Result<(), String> {
        let (answer, mut answered) = oneshot::channel();
        self.obey(Command::Overlay(Some(spec("192.168.0.1")), answer));
        answered.try_recv().expect("an answer").map(|_| ()).map_err(|error| error.to_string())
    }
}

#[test]
fn while_the_device_cannot_be_made_no_route_is_read_for_that_and_it_is_tried_ever_more_rarely() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        ip("link add theirs type vxlan id 4096 dstport 4789 local 192.168.0.1");
        let (mut engine, mut events) = engine();
        engine.heard();
        engine.wish(vec![put("10.1.0.0/16", via(&["192.168.0.2"]))]);
        engine.tick(Instant::now() + SETTLE);
        let before = engine.readings;
        engine.ask_for_overlay().expect_err("a twin");
        engine.ask_for_overlay().expect_err("a twin");
        for least in [2, 4, 8, 16, 30, 30] {
            let now = Instant::now();
            let due = engine.timers.overlay.expect("a time to try again");
            engine.tick(due);
            let pause = engine.timers.overlay.expect("a time to try again").duration_since(now);
            assert!(pause >= Duration::from_secs(least), "{pause:?}, at least {least} s");
        }
        assert_eq!(engine.readings, before);
        ip("link del theirs");
        engine.heard();
        engine.tick(engine.timers.overlay.expect("soon"));
        assert!(run("ip", &["link", "show", VXLAN_DEVICE]).is_ok());
        assert_eq!((engine.readings, engine.timers.overlay), (before, None));
        engine.outbox.flush();
        assert!(matches!(events.try_recv(), Ok(FibEvent::OverlayChanged(_))));
    });
}

#[test]
fn a_device_that_is_gone_and_cannot_be_made_again_is_told_once_and_so_is_its_return() {
    in_namespace(|| async {
        link("up1", &["192.168.0.1/24"]);
        let (mut engine, mut events) = engine();
        engine.ask_for_overlay().expect("an overlay");
        ip("addr del 192.168.0.1/24 dev up1");
        ip(&format!("link del {VXLAN_DEVICE}"));
        engine.heard();
        for _ in 0..3 {
            engine.tick(engine.timers.overlay.expect("a time to try again"));
        }
        engine.outbox.flush();
        let mut overlay_events = || {
            let all = std::iter::from_fn(|| events.try_recv().ok());
            all.filter(|event| !matches!(event, FibEvent::ReachChanged(_))).collect::<Vec<_>>()
        };
        let told = overlay_events();
        let [FibEvent::OverlayLost { error }] = told.as_slice() else { panic!("{told:?}") };
        assert!(error.contains("192.168.0.1"), "{error}");
        ip("addr add 192.168.0.1/24 dev up1");
        engine.heard();
        engine.tick(engine.timers.overlay.expect("soon"));
        engine.outbox.flush();
        let told = overlay_events();
        assert!(matches!(told.as_slice(), [FibEvent::OverlayChanged(_)]), "{told:?}");
    });
}

#[test]
fn devices_that_could_not_be_read_are_read_again() {
    in_namespace(|| async {
        link("up1", &["10.0.1.1/24"]);
        let (mut engine, _events) = engine();
        link("up2", &["10.0.2.1/24"]);
        // Messages were lost, and then the answer is cut off.
        engine.monitor.hear();
        engine.socket.set_datagram(64);
        engine.resync();
        engine.socket.set_datagram(64 << 10);
        assert!(engine.links.by_name("up2").is_none());
        for second in 1..10 {
            engine.tick(Instant::now() + Duration::from_secs(2 * second));
        }
        engine.wish(vec![put("10.1.0.0/16", via(&["10.0.2.2"]))]);
        assert_eq!(routes(), ["10.1.0.0/16 via 10.0.2.2 dev up2 metric 76"]);
    });
}
