//! What `lab demo` shows: Linnet's main job on `labs/two-racks.clab.yml`, each claim with a check under it.

use std::time::{Duration, Instant};

use crate::lab::{self, Lab, LabError, Options};
use crate::poll::poll;
use crate::probe::Stream;
use crate::progress::Progress;
use crate::two_racks::{self, HOSTS, Pod, client, routes, sessions, traffic, web};

mod page;

use page::Page;

/// How long the lab may take to be as it should be.
const CONVERGENCE: Duration = Duration::from_secs(90);

/// Runs the lab, shows it, and ends it unless it is to be kept; whether every check held.
///
/// # Errors
/// When the lab cannot run, or something that was waited for did not come.
pub fn run(keep: bool) -> Result<bool, LabError> {
    let mut page = Page::new();
    let began = Instant::now();
    page.text(
        "Linnet on two racks: BIRD, FRR and GoBGP from Debian, linnetd on five hosts, all in network namespaces.",
    );
    page.text(PICTURE);
    let untouched = host_state();
    let lab = Lab::up(&two_racks::file(), &Options { keep, ..Options::default() })?;
    let name = lab.name().to_owned();
    let shown = show(&lab, &mut page);
    if keep {
        let lab = std::env::args().next().unwrap_or_else(|| "lab".to_owned());
        page.text(&format!(
            "\nThe lab stays. Enter it:\n  \
             {lab} exec h1 -- linnet bgp summary           linnetd on a host\n  \
             {lab} exec h1:client-1 -- ping 10.244.3.20    a pod\n  \
             {lab} exec spine -- vtysh                     a router (tor1a: birdc; collector: gobgp neighbor)\n  \
             {lab} exec h1                                 a shell on a host\n\
             End it: make demo-down (or {lab} down {name})"
        ));
        shown?;
    } else {
        shown?;
        let rooms: Vec<_> = lab::find(&name)?.into_iter().flat_map(|entry| entry.rooms).collect();
        drop(lab);
        page.section("Nothing is left", "Every process, namespace and file of the lab is gone.");
        let gone = rooms.iter().all(|room| !room.process.lives()) && lab::find(&name)?.is_empty();
        page.check(gone, "no process and no file of the lab is left");
        page.check(host_state() == untouched, "this machine's own links, routes and nftables are what they were");
    }
    page.text(&format!("\n{} seconds.", began.elapsed().as_secs()));
    Ok(page.end())
}

/// What a lab must not touch: the links, routes and nftables of the machine itself.
fn host_state() -> Vec<String> {
    let commands: [&[&str]; 3] = [&["ip", "-oneline", "link"], &["ip", "-4", "route"], &["nft", "list", "tables"]];
    let said = commands.map(|words| std::process::Command::new(words[0]).args(&words[1..]).output());
    said.into_iter().flatten().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).collect()
}

const PICTURE: &str = "
                        collector (GoBGP, only listens)
                             |
   cloudgw --------------- spine (FRR) --------------+
   (no BGP, no pod route)   /    \\                    \\
      |            tor1a (BIRD)  tor1b (FRR)        tor2 (FRR)
      |                |  \\      /  |                /      \\
     h5               h1   \\----/   h2             h3        h4
    cloud          rack 1: each wired to both      rack 2
";

fn show(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    show_sessions(lab, page)?;
    show_routes(lab, page)?;
    show_pings(lab, page)?;
    show_policy(lab, page)?;
    show_ecmp(lab, page)?;
    show_failover(lab, page)?;
    show_restart(lab, page)
}

fn show_sessions(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    page.section("Sessions", "Hosts peer with their routers, the cloud host with the racks' hosts across the fabric.");
    let speakers = lab.poll("every session to be established", CONVERGENCE, || sessions::all_established(lab))?;
    let row = |speaker: &sessions::Speaker| {
        let up = speaker.sessions.iter().filter(|session| session.established()).count();
        let peers = speaker.sessions.iter().map(|session| match session.received {
            Some(received) => format!("{} ({received})", session.peer),
            None => session.peer.clone(),
        });
        let up = format!("{up} of {}", speaker.sessions.len());
        vec![speaker.node.clone(), speaker.program.to_owned(), up, peers.collect::<Vec<_>>().join("  ")]
    };
    page.table(
        &["NODE", "SPEAKER", "ESTABLISHED", "PEERS (PREFIXES RECEIVED)"],
        &speakers.iter().map(row).collect::<Vec<_>>(),
    );
    let ends: usize = speakers.iter().map(|speaker| speaker.sessions.len()).sum();
    let up = speakers.iter().flat_map(|speaker| &speaker.sessions).filter(|session| session.established()).count();
    page.check(up == ends, &format!("all {ends} ends of sessions are Established"));
    page.text("\nOne host's view, `linnet bgp summary` on h1:\n");
    page.text(&lab.node("h1")?.exec(&["linnet", "bgp", "summary"])?.checked()?);
    Ok(())
}

fn show_routes(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    page.section(
        "Kernel routes",
        "What each host's kernel holds of Linnet's (`ip route show proto 76`): devices of an ECMP route joined by +.",
    );
    lab.poll("every host's routes", CONVERGENCE, || routes::all_there(lab))?;
    let mut tables = Vec::new();
    for host in HOSTS {
        let node = lab.node(host)?;
        tables.push([routes::of(node, false)?, routes::of(node, true)?].concat());
    }
    let mut prefixes: Vec<String> = (1..=HOSTS.len()).flat_map(routes::pod_subnets).collect();
    prefixes.sort_by_key(|prefix| prefix.contains(':'));
    prefixes.push("10.50.0.0/24".to_owned());
    let cell = |table: &Vec<routes::Route>, prefix: &str| {
        table.iter().find(|route| route.prefix == prefix).map_or_else(|| "-".to_owned(), |route| route.to.to_string())
    };
    let row =
        |prefix: &String| [prefix.clone()].into_iter().chain(tables.iter().map(|table| cell(table, prefix))).collect();
    let heads: Vec<_> = ["DESTINATION"].into_iter().chain(HOSTS).collect();
    page.table(&heads, &prefixes.iter().map(row).collect::<Vec<_>>());
    page.check(
        true,
        "hosts of the racks reach each other directly, rack 1 by both of its ToRs, and the cloud by VXLAN",
    );
    let spine = lab.node("spine")?.shell("ip route; ip -6 route")?;
    let gateway = lab.node("cloudgw")?.shell("ip route; ip -6 route")?;
    page.check(
        !spine.contains("10.244.5.") && !spine.contains("fd00:244:5:"),
        "the spine knows no pod of the cloud host",
    );
    page.check(
        !gateway.contains("10.244.") && !gateway.contains("fd00:244:"),
        "the cloud's gateway knows no pod at all",
    );
    Ok(())
}

fn show_pings(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    page.section("Pods talk", "Ten pings each, counted on the way out of the first pod's host.");
    let cases = [
        ("in one rack", client(1), client(2), false),
        ("across racks", client(1), client(3), false),
        ("rack 2 to rack 1", client(4), client(2), false),
        ("to the cloud", client(1), client(5), true),
        ("from the cloud", client(5), client(3), true),
    ];
    let (mut rows, mut checks) = (Vec::new(), Vec::new());
    for (what, from, to, tunnel) in cases {
        for address in [to.address(), to.address6()] {
            let passage = traffic::passage(lab, from, &address, 10)?;
            let cables: u64 = passage.cables.iter().map(|(_, count)| count).sum();
            let way = if passage.tunnelled >= 10 {
                "VXLAN"
            } else if cables >= 10 {
                "direct"
            } else {
                "?"
            };
            let time = passage.pings.round_trip_ms.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
            let answers = format!("{} of {}", passage.pings.received, passage.pings.sent);
            rows.push(vec![what.to_owned(), from.name(), to.name(), address.clone(), way.to_owned(), answers, time]);
            let good = passage.pings.lost() == 0 && (way == "VXLAN") == tunnel && way != "?";
            checks.push((
                good,
                format!("{what}: {} reaches {address} {}", from.name(), if tunnel { "by VXLAN" } else { "directly" }),
            ));
        }
    }
    page.table(&["WAY", "FROM", "TO", "ADDRESS", "BY", "ANSWERS", "MS"], &rows);
    checks.iter().for_each(|(good, what)| page.check(*good, what));
    Ok(())
}

fn show_policy(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    page.section(
        "Policy",
        "A NetworkPolicy lets clients into web pods on TCP 8080, and nobody else. The pods serve 9090 too.",
    );
    let cases: [(&str, Pod, bool, Pod, u16, bool); 6] = [
        ("a client, the port that is allowed", client(1), false, web(3), 8080, true),
        ("a client, another port", client(1), false, web(3), 9090, false),
        ("no client", web(2), false, web(3), 8080, false),
        ("the pod's own host, as ever", client(3), true, web(3), 9090, true),
        ("a client in the cloud", client(5), false, web(1), 8080, true),
        ("no client, in the cloud", web(5), false, web(1), 8080, false),
    ];
    let (mut rows, mut checks) = (Vec::new(), Vec::new());
    for (who, from, as_host, to, port, wanted) in cases {
        let source = if as_host { from.host_name() } else { from.name() };
        let target = format!("{}:{port}", to.name());
        let got = traffic::connects(lab, from, as_host, &to.address(), port)?;
        let word = |open| if open { "connects" } else { "denied" };
        rows.push(vec![source.clone(), target.clone(), who.to_owned(), word(got).to_owned()]);
        checks.push((got == wanted, format!("{source} to {target} is {}", if wanted { "allowed" } else { "denied" })));
    }
    page.table(&["FROM", "TO", "WHO", "RESULT"], &rows);
    checks.iter().for_each(|(good, what)| page.check(*good, what));
    Ok(())
}

fn show_ecmp(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    page.section("ECMP", "64 flows from a pod in rack 1 to one in rack 2, a packet each, counted on h1's two cables.");
    let spread = traffic::spread(lab, client(1), &client(3).address(), 64)?;
    let router = |cable: &str| if cable == "eth1" { "tor1a (BIRD)" } else { "tor1b (FRR)" };
    let rows: Vec<_> =
        spread.iter().map(|(cable, count)| vec![cable.clone(), router(cable).to_owned(), count.to_string()]).collect();
    page.table(&["CABLE", "TO", "PACKETS"], &rows);
    page.check(spread.len() == 2 && spread.iter().all(|(_, count)| *count >= 10), "both cables carry flows");
    Ok(())
}

fn show_failover(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    page.section(
        "A cable is pulled",
        "A ping every 10 to 20 ms from rack 1 to rack 2; the cable that carries it is pulled for two seconds.",
    );
    let failover = traffic::failover(lab, client(1), &client(3).address())?;
    let (lost, outage) = (failover.pings.lost(), failover.pings.outage);
    let row = vec![
        format!("{} to {}", failover.pulled, failover.router),
        failover.pings.sent.to_string(),
        lost.to_string(),
        outage.as_millis().to_string(),
        failover.by_the_other.to_string(),
    ];
    page.table(&["PULLED", "SENT", "LOST", "OUTAGE MS", "BY THE OTHER CABLE"], &[row]);
    page.check(outage < Duration::from_secs(1), "traffic was on the other cable within a second");
    page.check(failover.by_the_other >= 50, "the other cable carried it while the first was out");
    lab.poll("both cables in use again", CONVERGENCE, || {
        sessions::all_established(lab)?;
        routes::all_there(lab)
    })?;
    page.check(true, "the cable is back, and so are its sessions and both paths");
    Ok(())
}

fn show_restart(lab: &Lab, page: &mut Page) -> Result<(), LabError> {
    page.section(
        "kill -9",
        "linnetd on h1 is killed and started again, under a stream of pings to rack 2 and one to the cloud.",
    );
    let host = lab.node("h1")?;
    // A route of somebody else's, which must be there at the end.
    host.shell("ip route add 198.51.100.0/24 dev lo protocol static")?;
    let before = routes::of(host, false)?.len() + routes::of(host, true)?.len();
    let targets = [client(3), client(5)];
    let streams: Vec<_> =
        targets.iter().map(|to| Stream::start(host, "client-1", &to.address())).collect::<Result<_, _>>()?;
    let mut steps = vec![vec!["before".to_owned(), before.to_string(), established(lab)]];
    host.signal("linnetd", "KILL")?;
    let dead_since = Instant::now();
    let without = poll("a second without linnetd", Duration::from_secs(10), || {
        let routes = routes::of(host, false).and_then(|v4| Ok(v4.len() + routes::of(host, true)?.len()));
        let routes = routes.map_err(|error| error.to_string())?;
        if dead_since.elapsed() >= Duration::from_secs(1) { Ok(routes) } else { Err("not over".to_owned()) }
    })?;
    steps.push(vec!["a second after kill -9".to_owned(), without.to_string(), "-".to_owned()]);
    host.start("linnetd")?;
    lab.poll("the sessions of h1 to be back", CONVERGENCE, || {
        sessions::all_established(lab)?;
        routes::all_there(lab)
    })?;
    let after = settled(lab, before)?;
    steps.push(vec!["started again".to_owned(), after.to_string(), established(lab)]);
    // What goes wrong after a restart may do so a little later.
    poll("four seconds from kill -9", Duration::from_secs(10), || {
        if dead_since.elapsed() >= Duration::from_secs(4) { Ok(()) } else { Err("not over".to_owned()) }
    })?;
    page.table(&["h1", "ROUTES", "SESSIONS"], &steps);
    let mut rows = Vec::new();
    let mut results = Vec::new();
    for (stream, to) in streams.into_iter().zip(targets) {
        let pings = stream.stop()?;
        rows.push(vec![
            format!("client-1 to {}", to.name()),
            pings.sent.to_string(),
            pings.received.to_string(),
            pings.lost().to_string(),
        ]);
        results.push((pings, to));
    }
    page.table(&["STREAM", "SENT", "ANSWERED", "LOST"], &rows);
    for (pings, to) in results {
        // Four seconds, at 10 to 20 ms on a machine that is not busy.
        page.check(pings.sent > 20 && pings.lost() == 0, &format!("no packet to {} was lost", to.name()));
    }
    page.check(without == before, "the routes stood while no linnetd ran");
    page.check(after == before, "the routes are the same after the restart");
    let foreign = host.shell("ip route show 198.51.100.0/24")?;
    page.check(foreign.contains("proto static"), "a route of somebody else's was not touched");
    Ok(())
}

/// Routes of h1 once there are as many as there were, or whatever there are after some seconds.
fn settled(lab: &Lab, wanted: usize) -> Result<usize, LabError> {
    let (host, mut progress) = (lab.node("h1")?, Progress::new("the sweep"));
    loop {
        let routes = routes::of(host, false)?.len() + routes::of(host, true)?.len();
        if routes == wanted || progress.elapsed() > Duration::from_secs(10) {
            return Ok(routes);
        }
        progress.tick(&format!("{routes} routes"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn established(lab: &Lab) -> String {
    let speaker = lab.node("h1").and_then(sessions::speaker).ok().flatten();
    speaker.map_or_else(
        || "-".to_owned(),
        |speaker| {
            let up = speaker.sessions.iter().filter(|session| session.established()).count();
            format!("{up} of {} established", speaker.sessions.len())
        },
    )
}
