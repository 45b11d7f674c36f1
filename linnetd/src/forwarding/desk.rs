//! The way past the task.
//!
//! What the task keeps lies on a desk while it waits. Whoever has decided about a few prefixes and finds it there, with nothing else
//! on the way, brings the kernel to it at once: after a rest, to hand a change over and to switch to the task takes a tenth of
//! its way into the kernel, for nothing but what these touch first.

use std::sync::{Arc, Mutex, PoisonError};

use bgp_proto::rib::BestChange;
use fib_sync::Fib;
use tokio::sync::Notify;

use super::task::Task;

/// What the task keeps, as it and whoever decides share it.
#[derive(Debug, Default)]
pub(super) struct Desk {
    task: Mutex<Option<Box<Task>>>,
    /// What was done past the task left something for it.
    left_over: Notify,
}

impl Desk {
    /// The task is about to wait.
    pub(super) fn lend(&self, task: Box<Task>) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    /// The task goes on. `None`: somebody panicked meanwhile, in the middle of a change, and nobody knows what the translation
    /// is worth.
    pub(super) fn take_back(&self) -> Option<Box<Task>> {
        self.task.lock().ok()?.take()
    }

    /// Waits until something is left for the task.
    pub(super) async fn left_over(&self) {
        self.left_over.notified().await;
    }
}

/// The way past it, for one speaker.
#[derive(Debug)]
pub(super) struct Aside {
    desk: Arc<Desk>,
    fib: Fib,
    /// By its number.
    speaker: u64,
}

impl Aside {
    pub(super) fn new(desk: Arc<Desk>, fib: Fib, speaker: u64) -> Self {
        Self { desk, fib, speaker }
    }
}

impl bgpd::Forward for Aside {
    fn take(&self, told: u64, changes: &[BestChange]) -> bool {
        let Ok(mut desk) = self.desk.task.try_lock() else { return false };
        let Some(task) = desk.as_mut().filter(|task| task.may_be_passed(self.speaker, told)) else { return false };
        let Some(engine) = self.fib.at_rest() else { return false };
        let routes = &mut task.state.routes;
        routes.take_in(changes);
        if routes.has_unknown() {
            // The kernel has to be asked first, which takes a wait.
            self.desk.left_over.notify_one();
            return true;
        }
        let (plan, changes) = routes.plan();
        if !changes.is_empty() {
            routes.handle_unused(plan, &engine.change(changes).unused);
        }
        true
    }
}

impl Task {
    /// Whether it has heard all that this speaker has told, and waits for nothing of the kernel's.
    fn may_be_passed(&self, speaker: u64, told: u64) -> bool {
        self.rests && self.speaker.is_some() && self.speakers == speaker && self.heard == told
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use bgp_proto::rib::BestPath;
    use bgp_proto::types::{NextHop, PeerId};
    use bgp_proto::wire::aspath::AsPath;
    use bgp_proto::wire::attributes::{Attributes, Origin};
    use bgpd::{Bgp, Forward as _};
    use tokio::sync::mpsc;
    use tokio::task::yield_now;

    use super::*;
    use crate::config::{Environment, parse};
    use crate::forwarding::{Forwarding, fib_config, run};
    use crate::speaker::speaker;

    const CONFIG: &str = r#"
[node]
name = "here"
address = "192.0.2.1"
[bgp]
asn = 64512
listen = ["127.0.0.1:0"]
[overlay]
mode = "never"
[fib]
install = true
"#;

    /// In a network namespace with a router, 192.0.2.2, which lasts as long as the thread that is in it.
    fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
        let thread = std::thread::spawn(move || {
            // SAFETY: a network namespace is per thread, and nothing in this thread has used the old one.
            #[expect(unsafe_code, reason = "there is no other way to it")]
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
                .expect("a network namespace: run the tests as root");
            ip("link set lo up");
            ip("link add eth0 type veth peer name router");
            ip("address add 192.0.2.1/24 dev eth0");
            ip("link set eth0 up");
            ip("link set router up");
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn ip(words: &str) -> String {
        let output = Command::new("ip").args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn best(prefix: &str) -> [BestChange; 1] {
        let next_hop = NextHop::from("192.0.2.2".parse::<std::net::IpAddr>().unwrap());
        let attributes = Arc::new(Attributes::new(Origin::Igp, AsPath::default(), next_hop));
        let path = BestPath { peer: PeerId(1), attributes, discard: false };
        [BestChange { prefix: prefix.parse().unwrap(), paths: vec![path], backup: None, only_backup: false }]
    }

    fn is_there(prefix: &str) -> bool {
        ip(&format!("route show {prefix}")).contains("via 192.0.2.2")
    }

    async fn until(what: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if what() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("it does not come to that");
    }

    /// A task that forwards and follows a speaker, whose events come by `events`.
    struct Scene {
        forwarding: Forwarding,
        speaker: Bgp,
        events: mpsc::Sender<bgpd::Event>,
        aside: Aside,
    }

    async fn scene() -> Scene {
        let config = parse("linnetd.toml", CONFIG, &Environment::of_this_host()).unwrap().config;
        let (fib, kernel) = Fib::start(fib_config(&config)).unwrap();
        let (forwarding, task, inbox) = Forwarding::prepare(fib.clone(), kernel, &config).await;
        let desk = Arc::clone(&inbox.desk);
        tokio::spawn(run(task, inbox));
        let (speaker, _) = Bgp::start(speaker(&config), false).await.unwrap();
        let events = follow(&forwarding, &speaker).await;
        Scene { forwarding, speaker, events, aside: Aside::new(desk, fib, 1) }
    }

    async fn follow(forwarding: &Forwarding, speaker: &Bgp) -> mpsc::Sender<bgpd::Event> {
        let (events, told) = mpsc::channel(16);
        forwarding.follow(speaker.clone(), told, Arc::default()).await;
        // It is at rest again.
        forwarding.ask(|_| ()).await.unwrap();
        yield_now().await;
        events
    }

    #[test]
    fn a_change_is_in_the_kernel_when_it_was_taken_past_the_task() {
        in_namespace(async || {
            let Scene { aside, forwarding: _forwarding, events: _events, speaker: _speaker } = scene().await;
            // The kernel was never asked for this next hop, and only the task can wait for the answer.
            assert!(aside.take(0, &best("198.51.100.0/24")));
            until(|| is_there("198.51.100.0/24")).await;
            until(|| aside.take(0, &best("203.0.113.0/24"))).await;
            assert!(is_there("203.0.113.0/24"));
            let gone = best("203.0.113.0/24").map(|change| BestChange { paths: Vec::new(), ..change });
            assert!(aside.take(0, &gone));
            assert!(!is_there("203.0.113.0/24"));
        });
    }

    #[test]
    fn a_change_does_not_overtake_an_event() {
        in_namespace(async || {
            let Scene { aside, events, forwarding: _forwarding, speaker: _speaker } = scene().await;
            assert!(!aside.take(1, &best("198.51.100.0/24")), "before the event that is on its way");
            events.try_send(bgpd::Event::Best(best("203.0.113.0/24").into())).unwrap();
            assert!(!aside.take(1, &best("198.51.100.0/24")), "before the event that waits");
            until(|| is_there("203.0.113.0/24")).await;
            until(|| aside.take(1, &best("198.51.100.0/24"))).await;
        });
    }

    #[test]
    fn nobody_passes_a_task_that_follows_no_speaker_or_another_one() {
        in_namespace(async || {
            let Scene { forwarding, speaker, aside, events: _events } = scene().await;
            forwarding.freeze().await;
            yield_now().await;
            assert!(!aside.take(0, &best("198.51.100.0/24")), "what is frozen has changed");
            let _events = follow(&forwarding, &speaker).await;
            assert!(!aside.take(0, &best("198.51.100.0/24")), "by the speaker before");
            let next = Aside { speaker: 2, ..aside };
            assert!(next.take(0, &best("198.51.100.0/24")));
        });
    }
}
