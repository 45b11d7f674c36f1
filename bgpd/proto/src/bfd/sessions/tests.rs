//! Datagrams find their session, and two hosts on a virtual clock come up and notice what breaks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::super::packet::State;
use super::super::session::Cause;
use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_start(Duration::from_millis(millis))
}

fn target(last: u8) -> Target {
    Target { address: Ipv4Addr::new(10, 0, 0, last).into(), scope: 0 }
}

fn packet(state: State, your_discriminator: u32) -> Packet {
    Packet {
        diagnostic: Default::default(),
        state,
        poll: false,
        final_: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 9,
        your_discriminator,
        desired_min_tx: 1_000_000,
        required_min_rx: 300_000,
        required_min_echo_rx: 0,
    }
}

#[test]
fn a_datagram_finds_its_session_or_is_discarded_with_the_reason() {
    let mut sessions = Sessions::new(1);
    sessions.set(at(0), target(1), Hops::Single, SessionConfig::default());
    sessions.set(at(0), target(2), Hops::Multi { least_ttl: 250 }, SessionConfig::default());
    let id = |sessions: &Sessions, last| sessions.status(target(last)).unwrap().local_discriminator;
    let (one, two) = (id(&sessions, 1), id(&sessions, 2));
    let (down, init) = (State::Down, State::Init);
    type Case = (&'static str, u8, Option<u8>, bool, Packet, Result<(), Discard>);
    let cases: [Case; 13] = [
        ("by address", 1, Some(255), true, packet(down, 0), Ok(())),
        ("by number", 1, Some(255), true, packet(down, one), Ok(())),
        ("by address, many hops", 2, Some(250), false, packet(down, 0), Ok(())),
        ("by number, many hops", 2, Some(255), false, packet(init, two), Ok(())),
        ("over a router", 1, Some(254), true, packet(down, one), Err(Discard::Ttl)),
        ("of unknown TTL", 1, None, true, packet(down, one), Err(Discard::Ttl)),
        ("over too many routers", 2, Some(249), false, packet(down, two), Err(Discard::Ttl)),
        ("of a stranger", 3, Some(255), true, packet(down, 0), Err(Discard::UnknownSource)),
        ("of a stranger with a number", 3, Some(255), true, packet(down, one), Err(Discard::WrongSource)),
        ("with the other's number", 2, Some(255), false, packet(down, one), Err(Discard::WrongSource)),
        ("to the other port", 1, Some(255), false, packet(down, one), Err(Discard::WrongSource)),
        ("with no one's number", 1, Some(255), true, packet(down, one ^ two ^ 1), Err(Discard::UnknownDiscriminator)),
        ("Init without a number", 1, Some(255), true, packet(init, 0), Err(Discard::ZeroYourDiscriminator)),
    ];
    for (name, last, ttl, single_hop, packet, expected) in cases {
        let octets = packet.encode();
        let datagram = Received { source: target(last), ttl, single_hop, payload: &octets };
        assert_eq!(sessions.handle_datagram(at(1), &datagram), expected, "{name}");
    }
    let counted: u64 = sessions.discards().map(|(_, count)| count).sum();
    assert_eq!(counted, 9);
    let traffic: Vec<_> = sessions.iter().map(|session| session.4).collect();
    assert_eq!((traffic[0].received, traffic[0].discarded), (2, 5));
    assert_eq!(traffic[0].last_discard, Some(Discard::ZeroYourDiscriminator));
    assert_eq!((traffic[1].received, traffic[1].discarded), (2, 2));
}

#[test]
fn a_session_that_is_removed_says_so_for_a_detection_time_and_may_come_back_meanwhile() {
    let mut net = Net::new(1, [SessionConfig::default(); 2], Weather::FAIR);
    net.run(at(5000));
    net.hosts[0].remove(net.now, target(1));
    net.run(at(5100));
    assert_eq!(net.downs[1], [(at(5001), Cause::RemoteAdminDown)]);
    net.hosts[0].set(net.now, target(1), Hops::Single, SessionConfig::default());
    net.run(at(10_000));
    assert_eq!(net.states(), [State::Up; 2]);
    net.hosts[0].remove(net.now, target(1));
    net.run(at(14_000));
    assert!(net.hosts[0].is_empty());
    assert_eq!(net.hosts[0].poll_timeout(), None);
    // Nobody to tell: gone at once.
    net.run(at(30_000));
    net.hosts[1].remove(net.now, target(0));
    net.run(at(30_001));
    assert!(net.hosts[1].is_empty());
}

/// What befalls datagrams.
#[derive(Clone, Copy, Debug)]
struct Weather {
    /// Of a thousand.
    lost: u64,
    duplicated: u64,
    /// A datagram takes up to this longer than 1 ms, each its own time, so that they overtake one another.
    delay: u64,
}

impl Weather {
    const FAIR: Self = Self { lost: 0, duplicated: 0, delay: 0 };
}

type Arrival = Reverse<(Instant, u64, usize, [u8; LEN])>;

/// Two hosts, 10.0.0.0 and 10.0.0.1.
struct Net {
    now: Instant,
    hosts: [Sessions; 2],
    weather: Weather,
    random: Jitter,
    /// When each link, from that host, is cut.
    cut: [bool; 2],
    flying: BinaryHeap<Arrival>,
    sent: u64,
    ups: [Vec<Instant>; 2],
    downs: [Vec<(Instant, Cause)>; 2],
    heard: [Instant; 2],
}

impl Net {
    fn new(seed: u64, configs: [SessionConfig; 2], weather: Weather) -> Self {
        let mut hosts = [Sessions::new(seed), Sessions::new(seed ^ 0xffff)];
        for (index, config) in configs.into_iter().enumerate() {
            hosts[index].set(at(0), target(1 - index as u8), Hops::Single, config);
        }
        Self {
            now: at(0),
            hosts,
            weather,
            random: Jitter::new(seed ^ 0x5555),
            cut: [false; 2],
            flying: BinaryHeap::new(),
            sent: 0,
            ups: Default::default(),
            downs: Default::default(),
            heard: [at(0); 2],
        }
    }

    fn chance(&mut self, of_thousand: u64) -> bool {
        self.random.bits() % 1000 < of_thousand
    }

    fn collect(&mut self) {
        for from in 0..2 {
            while let Some(output) = self.hosts[from].poll() {
                match output {
                    Output::Send { octets, .. } => self.send(from, octets),
                    Output::Change { change: Change::Up, .. } => self.ups[from].push(self.now),
                    Output::Change { change: Change::Down { cause, .. }, .. } => {
                        self.downs[from].push((self.now, cause));
                    }
                    Output::Gone { .. } => {}
                }
            }
        }
    }

    fn send(&mut self, from: usize, octets: [u8; LEN]) {
        let copies = 1 + usize::from(self.chance(self.weather.duplicated));
        for _ in 0..copies {
            if self.cut[from] || self.chance(self.weather.lost) {
                continue;
            }
            let delay = 1000 + self.random.bits() % (self.weather.delay * 1000 + 1);
            self.sent += 1;
            self.flying.push(Reverse((self.now + Duration::from_micros(delay), self.sent, 1 - from, octets)));
        }
    }

    fn run(&mut self, until: Instant) {
        loop {
            self.collect();
            let timers = self.hosts.iter().filter_map(Sessions::poll_timeout);
            let next = timers.chain(self.flying.peek().map(|arrival| arrival.0.0)).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if let Some(Reverse((arrives, _, to, octets))) = self.flying.peek().copied()
                && arrives <= self.now
            {
                self.flying.pop();
                let source = target(1 - to as u8);
                let received = Received { source, ttl: Some(255), single_hop: true, payload: &octets };
                if self.hosts[to].handle_datagram(self.now, &received).is_ok() {
                    self.heard[to] = self.now;
                }
                continue;
            }
            for host in &mut self.hosts {
                host.handle_timeout(self.now);
            }
        }
        self.now = until;
    }

    fn status(&self, host: usize) -> Status {
        self.hosts[host].status(target(1 - host as u8)).unwrap()
    }

    fn states(&self) -> [State; 2] {
        [self.status(0).state, self.status(1).state]
    }
}

fn config() -> impl Strategy<Value = SessionConfig> {
    (10u64..2500, 1u8..6).prop_map(|(millis, detect_mult)| SessionConfig {
        min_interval: Duration::from_millis(millis),
        detect_mult,
        passive: false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Both agree on the slower of what they want, each way, and the Poll Sequences end.
    #[test]
    fn two_hosts_come_up_and_agree_on_intervals(
        seed in any::<u64>(), one in config(), other in config(), lost in 0u64..300, duplicated in 0u64..200, delay in 0u64..10,
    ) {
        let mut net = Net::new(seed, [one, other], Weather { lost, duplicated, delay });
        net.run(at(40_000));
        net.weather = Weather { delay, ..Weather::FAIR };
        net.run(at(100_000));
        prop_assert_eq!(net.states(), [State::Up; 2]);
        let interval = one.min_interval.max(other.min_interval);
        for (host, (mine, theirs)) in [(one, other), (other, one)].into_iter().enumerate() {
            let status = net.status(host);
            prop_assert!(!status.polling, "{:?}", status);
            prop_assert_eq!(status.transmit_interval, Some(interval));
            prop_assert_eq!(status.detection_time, interval * u32::from(theirs.detect_mult));
            prop_assert_eq!(status.remote_detect_mult, theirs.detect_mult);
            prop_assert_eq!(net.hosts[host].iter().next().unwrap().3, mine);
        }
    }

    /// Where nothing is lost, and a datagram's delay differs by less than what a lost one takes, nothing goes down, however the
    /// intervals are changed meanwhile.
    #[test]
    fn changes_of_intervals_take_no_session_down(
        seed in any::<u64>(),
        one in config(),
        other in config(),
        duplicated in 0u64..200,
        changes in proptest::collection::vec((0usize..2, 50u64..2500, 0u64..4000), 0..12),
    ) {
        // With a multiplier of 1, a packet's jitter of 10 % is all that there is to spare.
        let [one, other] = [one, other].map(|config| SessionConfig {
            min_interval: config.min_interval.max(Duration::from_millis(50)),
            detect_mult: config.detect_mult.max(2),
            ..config
        });
        let mut net = Net::new(seed, [one, other], Weather { lost: 0, duplicated, delay: 4 });
        net.run(at(10_000));
        prop_assert_eq!(net.states(), [State::Up; 2]);
        // A Down that an Init overtakes takes an end back while they come up.
        net.downs = Default::default();
        let mut configs = [one, other];
        for (host, millis, wait) in changes {
            configs[host].min_interval = Duration::from_millis(millis);
            let now = net.now;
            net.hosts[host].set(now, target(1 - host as u8), Hops::Single, configs[host]);
            net.run(now + Duration::from_millis(wait));
        }
        net.run(net.now + Duration::from_secs(60));
        prop_assert_eq!(&net.downs, &[vec![], vec![]]);
        let interval = configs[0].min_interval.max(configs[1].min_interval);
        for host in 0..2 {
            let status = net.status(host);
            prop_assert_eq!((status.transmit_interval, status.polling), (Some(interval), false));
        }
    }

    /// Each end notices within the detection time of the last packet that reached it; the other hears of it at once, if it can.
    #[test]
    fn a_cut_is_noticed_within_the_detection_time(
        seed in any::<u64>(), one in config(), other in config(), both in any::<bool>(), delay in 0u64..4, when in 0u64..3000,
    ) {
        let mut net = Net::new(seed, [one, other], Weather { delay, ..Weather::FAIR });
        net.run(at(60_000 + when));
        prop_assume!(net.states() == [State::Up; 2]);
        net.downs = Default::default();
        let detection = [net.status(0).detection_time, net.status(1).detection_time];
        net.cut = [true, both];
        let cut = net.now;
        net.run(cut + Duration::from_secs(20));
        let late = Duration::from_millis(delay + 1);
        // Host 1 hears nothing any more.
        let (noticed, cause) = net.downs[1][0];
        prop_assert_eq!(cause, Cause::Expired);
        prop_assert!(noticed - cut <= detection[1] + late, "{:?} after the cut, {:?}", noticed - cut, detection[1]);
        let (heard, cause) = net.downs[0][0];
        if both {
            prop_assert_eq!(cause, Cause::Expired);
            prop_assert!(heard - cut <= detection[0] + late);
        } else {
            prop_assert!(cause.is_failure());
            prop_assert!(heard <= noticed + late);
        }
        // And once it is mended, they are up again.
        net.cut = [false; 2];
        net.run(net.now + Duration::from_secs(20));
        prop_assert_eq!(net.states(), [State::Up; 2]);
    }

    #[test]
    fn no_datagram_makes_it_panic_or_speak_without_bound(
        seed in any::<u64>(),
        datagrams in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..30), any::<bool>(), 0u64..50, any::<u8>(), 0u8..4), 0..200,
        ),
    ) {
        let mut sessions = Sessions::new(seed);
        sessions.set(at(0), target(1), Hops::Single, SessionConfig::default());
        let id = sessions.status(target(1)).unwrap().local_discriminator;
        let (mut now, mut spoke) = (at(0), 0);
        for (mut octets, forged, wait, mult, state) in datagrams {
            now = now + Duration::from_millis(wait);
            if forged && octets.len() >= LEN {
                (octets[0], octets[1], octets[2], octets[3]) = (0x20, state << 6 | octets[1] & 0x3a, mult.max(1), 24);
                octets[8..12].copy_from_slice(&id.to_be_bytes());
            }
            let received = Received { source: target(1), ttl: Some(255), single_hop: true, payload: &octets };
            let _ = sessions.handle_datagram(now, &received);
            sessions.handle_timeout(now);
            spoke += std::iter::from_fn(|| sessions.poll()).filter(|it| matches!(it, Output::Send { .. })).count();
        }
        let elapsed = usize::try_from((now - at(0)).as_millis()).unwrap();
        prop_assert!(spoke <= 20 + elapsed / 10 + elapsed / 200, "{} in {} ms", spoke, elapsed);
    }
}
