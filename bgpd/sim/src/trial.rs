//! One whole run: a network from a seed, faults, healing, rest, checks; then a node stops for good, rest, checks.

use std::time::Duration;

use bgp_proto::rib::{Drain, Scope};

use crate::checks;
use crate::faults;
use crate::network::{Death, Network};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::topology::NodeId;
use crate::transcript::Transcript;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Of the transcript.
    pub hash: u64,
    /// Of the transcript.
    pub lines: u64,
    /// What kind of network it was.
    pub shape: String,
}

/// No route and no session may change for this long: longer than any hold time.
const STILL: Duration = Duration::from_secs(300);
/// The longest that a network may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The stream of chance for faults of every kind that there was from the beginning.
const FAULTS: u64 = 2;
/// The stream of chance for who is drained when.
const DRAINS: u64 = 5;
/// The stream of chance for which paths BFD loses.
const PATH_LOSSES: u64 = 20;
/// The stream of chance for how much neighbours may send.
const LIMITS: u64 = 22;
/// The stream of chance for which links lose datagrams.
const DATAGRAMS: u64 = 25;
/// The stream of chance for what befalls RPKI caches.
const CACHES: u64 = 27;
/// The stream of chance for which stations begin anew.
const STATIONS: u64 = 30;
/// The stream of chance for what befalls links without addresses.
const LINKS: u64 = 32;
/// The stream of chance for who no longer reaches which next hop.
const UNREACHABLE: u64 = 14;

/// How often a network is looked at while things go wrong.
const SLICES: u32 = 8;

/// Runs one seed. `echo` hears of each line of the transcript.
///
/// # Errors
/// What did not hold, for a person.
pub fn run(seed: u64, echo: Option<fn(&str)>) -> Result<Report, String> {
    let mut scenario = Scenario::from_seed(seed);
    let mut network = Network::new(scenario.topology(), seed, Transcript::new(echo));
    let shape = scenario.to_string();
    let outcome = play(&mut network, &mut scenario, &mut Chances::new(seed));
    let outcome = outcome.map_err(|error| format!("{shape}: {error}"));
    outcome.map(|()| Report { hash: network.transcript().hash(), lines: network.transcript().lines(), shape })
}

/// Each kind of misfortune has a stream of its own, so that the seeds of old go on to stand for the same ones.
struct Chances {
    random: Random,
    drains: Random,
    unreachable: Random,
    losses: Random,
    limits: Random,
    datagrams: Random,
    caches: Random,
    stations: Random,
    links: Random,
}

impl Chances {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, FAULTS),
            drains: Random::new(seed, DRAINS),
            unreachable: Random::new(seed, UNREACHABLE),
            losses: Random::new(seed, PATH_LOSSES),
            limits: Random::new(seed, LIMITS),
            datagrams: Random::new(seed, DATAGRAMS),
            caches: Random::new(seed, CACHES),
            stations: Random::new(seed, STATIONS),
            links: Random::new(seed, LINKS),
        }
    }
}

fn play(network: &mut Network, scenario: &mut Scenario, chances: &mut Chances) -> Result<(), String> {
    let Chances { random, drains, unreachable, losses, limits, datagrams, caches, stations, links } = chances;
    // 1. All start, at about the same time: connections cross.
    for node in network.topology().ids() {
        let time = network.now() + random.between(Duration::ZERO, Duration::from_secs(2));
        network.at(time, faults::Action::Start(node, false));
    }
    if random.percent(50) {
        rest(network, "after the start")?;
        checks::start_was_smooth(network)?;
    }
    // 2. What can go wrong does.
    let span = random.between(Duration::from_secs(5), Duration::from_secs(400));
    faults::schedule(network, scenario, random, span);
    faults::schedule_drains(network, drains, span);
    faults::schedule_vrps(network, scenario, span);
    faults::schedule_unreachable(network, unreachable, span);
    faults::schedule_path_losses(network, losses, span);
    faults::schedule_limits(network, limits, span);
    faults::schedule_datagram_losses(network, datagrams, span);
    faults::schedule_cache_faults(network, caches, span);
    faults::schedule_stations(network, stations, span);
    faults::schedule_link_faults(network, links, span);
    for _ in 0..SLICES {
        network.run_until(network.now() + span / SLICES);
        let checked = checks::reports_add_up(network).and_then(|()| checks::limits_hold(network));
        let checked = checked.and_then(|()| checks::cut_paths_are_noticed(network));
        let checked = checked.and_then(|()| checks::neighbours_are_the_first_heard(network));
        checked.map_err(|error| format!("amid the faults: {error}"))?;
    }
    // 3. All is well again.
    network.heal();
    rest(network, "after all faults")?;
    // 4. A node is drained.
    let nodes: Vec<NodeId> = network.topology().ids().collect();
    if drains.percent(30) {
        let node = drains.pick(&nodes);
        for drain in [Drain::LastResort, Drain::Withdrawn, Drain::Off] {
            network.drain(node, drain);
            rest(network, &format!("with {node} drained ({drain:?})"))?;
        }
    }
    // 5. A stranger stands on a link when it comes up, and goes.
    let without_addresses = faults::unnumbered(network);
    if !without_addresses.is_empty() && links.percent(40) {
        let (link, side) = (links.pick(&without_addresses), links.below(2));
        network.unplug(link, side, true);
        network.set_stranger(link, Some(faults::STRANGER));
        network.run_until(network.now() + links.between(Duration::ZERO, Duration::from_secs(5)));
        network.unplug(link, side, false);
        rest(network, "with a stranger on a link")?;
        network.set_stranger(link, None);
        rest(network, "without the stranger")?;
    }
    // 6. A node stops for good.
    let deaths = [Death::Silent, Death::Cease, Death::Killed, Death::Reset, Death::Power];
    let (gone, death) = (random.pick(&nodes), random.pick(&deaths));
    network.kill(gone, death);
    rest(network, &format!("after {gone} is gone ({death:?})"))?;
    nothing_is_left_of(network, gone)
}

fn rest(network: &mut Network, when: &str) -> Result<(), String> {
    let quiet = network.run_until_quiet(STILL, network.now() + PATIENCE);
    if let Some(violation) = network.violations().first() {
        return Err(format!("{when}: {violation}"));
    }
    if !quiet {
        return Err(format!("{when}: routes or sessions still change after {} s", PATIENCE.as_secs()));
    }
    checks::all(network).map_err(|error| format!("{when}: {error}"))
}

fn nothing_is_left_of(network: &Network, gone: NodeId) -> Result<(), String> {
    for node in network.running() {
        let Some(speaker) = network.speaker(node) else { continue };
        let held = speaker.rib().routes(Scope::Received(gone.as_peer()), None, usize::MAX, network.now());
        if let Some(view) = held.first() {
            return Err(format!("{node} still holds {} from {gone}, which is gone", view.prefix));
        }
    }
    Ok(())
}
