//! The real daemon beside a real router: sessions, the kernel, restarts, reloads, pods. Needs root.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use linnet_api::{
    BgpSummaryRequest, EndpointAddRequest, FibCheckRequest, FibRoute, FibRoutesRequest, ReloadRequest, StatusRequest,
};
use support::stream::{Stream, told};
use support::{HOST, Namespace, ROUTE, ROUTER, Rack, routes, shown, six, spawn, wait_for_both_sides};

#[test]
fn a_restart_after_kill_9_loses_no_route_and_cleanup_leaves_nothing() {
    let rack = Rack::new("");
    rack.configure("", "");
    let daemon = rack.start();
    wait_for_both_sides(&rack);
    let monitor_log = rack.directory.join("monitor.log");
    let _monitor = spawn(rack.host.command("ip").args(["monitor", "route"]), &monitor_log);

    daemon.signal("KILL");
    daemon.end();
    assert!(routes(&rack).contains(ROUTE), "{}", rack.dump());
    // The first run may have been killed before it was told that the routes are complete: only the second one's words count.
    let log = || fs::read_to_string(rack.directory.join("linnetd.log")).unwrap();
    let before = log().len();
    let daemon = rack.start();
    rack.until("both sides have confirmed their routes", || {
        let log = log();
        let ours = log[before..].lines().any(|line| line.contains("routes are complete") && line.contains("ipv4"));
        let theirs = rack.birdc("show protocols all host");
        (ours && theirs.contains("Established") && !theirs.contains("graceful restart active")).then_some(())
    });
    wait_for_both_sides(&rack);
    let seen = fs::read_to_string(&monitor_log).unwrap();
    let lost: Vec<&str> =
        seen.lines().filter(|line| line.starts_with("Deleted") && line.contains("203.0.113.0")).collect();
    assert!(lost.is_empty(), "{lost:?}\n{}", rack.dump());

    daemon.signal("TERM");
    assert!(daemon.end().success(), "{}", rack.dump());
    assert!(routes(&rack).contains(ROUTE), "{}", rack.dump());
    assert!(rack.birdc("show route 10.244.1.0/24").contains(HOST), "the peer kept our route\n{}", rack.dump());

    let cleanup = rack.linnetd(&["--cleanup"]);
    assert!(cleanup.status.success(), "{}", shown(&cleanup));
    assert_eq!(rack.host.linnet_state(), Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_a_right_one_is_applied_without_a_reset() {
    let rack = Rack::new("");
    rack.configure("", "");
    let daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut node = rack.node().await;

    rack.configure("max-pahts = 2", "");
    let refused = node.reload(ReloadRequest {}).await.unwrap().into_inner();
    assert!(refused.changes.is_empty() && refused.errors.len() == 1, "{}", shown(&refused));
    assert!(
        refused.errors[0].contains("linnetd.toml:9:1") && refused.errors[0].contains("max-paths"),
        "{}",
        shown(&refused)
    );
    let status = node.status(StatusRequest {}).await.unwrap().into_inner();
    let configuration = status.components.iter().find(|component| component.name == "configuration").unwrap();
    assert_eq!(configuration.state, "degraded", "{}", shown(&status));
    assert!(routes(&rack).contains(ROUTE), "{}", rack.dump());

    rack.configure("networks = [\"198.51.100.0/24\"]", "");
    let applied = node.reload(ReloadRequest {}).await.unwrap().into_inner();
    assert!(applied.errors.is_empty(), "{}", shown(&applied));
    assert_eq!(applied.changes, ["bgp.networks: [] -> [\"198.51.100.0/24\"]"]);
    rack.until("BIRD hears the new network", || rack.birdc("show route 198.51.100.0/24").contains(HOST).then_some(()));
    rack.configure("networks = [\"192.0.2.0/24\"]", "");
    daemon.signal("HUP");
    rack.until("a hangup does what the API does", || {
        let gone = !rack.birdc("show route 198.51.100.0/24").contains(HOST);
        (gone && rack.birdc("show route 192.0.2.0/24").contains(HOST)).then_some(())
    });
    let neighbor = linnet_api::NeighborRequest { peer: ROUTER.into() };
    let neighbor = rack.bgp().await.neighbor(neighbor).await.unwrap().into_inner();
    assert_eq!(neighbor.neighbors[0].times_established, 1, "{}", shown(&neighbor));
}

#[tokio::test]
async fn what_the_router_announces_and_hears_is_shown_by_the_api() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut bgp = rack.bgp().await;
    let summary = bgp.summary(BgpSummaryRequest {}).await.unwrap().into_inner();
    let peer = &summary.peers[0];
    assert_eq!(
        (peer.name.as_str(), peer.asn, peer.state.as_str(), peer.received, peer.accepted),
        ("router", 65001, "Established", 1, 1),
        "{}",
        shown(&summary)
    );
    let unknown = bgp.neighbor(linnet_api::NeighborRequest { peer: "rooter".into() }).await.unwrap_err();
    assert!(unknown.message().contains("router"), "{unknown:?}");
    let mut fib = linnet_api::fib_client::FibClient::new(rack.channel().await);
    let answer = fib.get(linnet_api::FibGetRequest { address: "203.0.113.9".into() }).await.unwrap().into_inner();
    assert_eq!(answer.next_hop.clone().unwrap().via, ROUTER, "{}", shown(&answer));
    assert!(answer.why.contains("link eth0"), "{}", shown(&answer));
}

#[tokio::test]
async fn a_check_names_a_route_of_another_owner_until_it_is_gone() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut fib = linnet_api::fib_client::FibClient::new(rack.channel().await);
    let foreign = format!("203.0.113.0/24 via {ROUTER} proto static metric 76");
    rack.host.run(&format!("ip route replace {foreign}"));
    let check = fib.check(FibCheckRequest {}).await.unwrap().into_inner();
    let told = check.differences.iter().map(|found| (found.name.as_str(), found.kind.as_str(), found.repaired));
    assert_eq!(told.collect::<Vec<_>>(), [("203.0.113.0/24", "conflict", false)], "{}", shown(&check));
    assert_eq!(check.unrepaired, 1, "{}", shown(&check));
    let status = rack.node().await.status(StatusRequest {}).await.unwrap().into_inner();
    let room = status.components.iter().find(|component| component.name == "fib").unwrap();
    assert!(room.detail.contains("1 differed, 1 not repaired"), "{}", shown(&status));
    let answer = fib.get(linnet_api::FibGetRequest { address: "203.0.113.9".into() }).await.unwrap().into_inner();
    let why =
        "not a route of Linnet's; 203.0.113.0/24 is not in the kernel: a route of another owner (protocol 4 (static))";
    assert!(answer.why.starts_with(why) && answer.error.is_empty(), "{}", shown(&answer));

    rack.host.run(&format!("ip route del {foreign}"));
    rack.until_host_shows("ip route show proto 76", ROUTE);
    let check = fib.check(FibCheckRequest {}).await.unwrap().into_inner();
    assert!(check.differences.is_empty() && check.routes >= 2, "{}", shown(&check));
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused_and_a_stale_socket_is_not() {
    let rack = Rack::new("");
    rack.configure("", "");
    let daemon = rack.start();
    let second = rack.linnetd(&[]);
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another linnetd answers"), "{}", shown(&second));
    daemon.signal("KILL");
    daemon.end();
    assert!(rack.socket().exists());
    drop(rack.start());
}

#[test]
fn metrics_and_health_answer_over_http() {
    let rack = Rack::new("");
    rack.configure("", "[metrics]\nlisten = \"127.0.0.1:9476\"\n");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let get = |path: &str| rack.http(path);
    let metrics = get("/metrics");
    for line in ["linnet_bgp_peer_up{peer=\"router\"} 1", "linnet_policy_in_force 1", "linnet_endpoints 0"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(get("/healthz").starts_with("HTTP/1.1 200"));
    rack.until("ready", || get("/readyz").starts_with("HTTP/1.1 200").then_some(()));
    assert!(get("/other").starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_second_daemon_in_a_namespace_changes_nothing_and_says_why() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let ruleset = || rack.host.run("nft -a list ruleset");
    let (before, routes_before) = (ruleset(), routes(&rack));
    let text = std::fs::read_to_string(rack.config_file()).unwrap();
    let other = rack.directory.join("other.toml");
    std::fs::write(&other, text.replace("linnetd.sock", "other.sock").replace("/state\"", "/state2\"")).unwrap();
    for arguments in [&[][..], &["--cleanup"]] {
        let mut command = rack.host.command(env!("CARGO_BIN_EXE_linnetd"));
        let output = command.arg("--config").arg(&other).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.contains("another linnetd programs this network namespace"), "{said}");
        assert_eq!((ruleset(), routes(&rack)), (before.clone(), routes_before.clone()));
        assert!(!rack.directory.join("run/other.sock").exists(), "a daemon that did not start leaves no socket");
    }
}

/// A route as it is listed: prefix, next hops, whether it is installed, why not.
type Listed = (String, String, bool, String);

#[tokio::test]
async fn a_prefix_whose_next_hop_does_not_resolve_is_listed_with_the_reason_until_it_does() {
    let rack = Rack::new(
        "protocol static far { ipv4; route 198.51.100.0/24 blackhole { bgp_next_hop = 10.77.0.1; }; }
         protocol static further { ipv4; route 198.51.101.0/24 blackhole { bgp_next_hop = 10.77.0.1; }; }",
    );
    rack.configure("", "[metrics]\nlisten = \"127.0.0.1:9476\"\n");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut fib = linnet_api::fib_client::FibClient::new(rack.channel().await);
    let listed = async |fib: &mut linnet_api::fib_client::FibClient<_>| {
        let reply = fib.routes(FibRoutesRequest {}).await.unwrap().into_inner();
        let shown = reply.routes.iter().filter(|route| route.prefix.starts_with("198.51.10"));
        let via = |route: &FibRoute| route.next_hops.iter().map(|hop| hop.via.clone()).collect::<Vec<_>>().join(" ");
        shown.map(|route| (route.prefix.clone(), via(route), route.installed, route.error.clone())).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let far = async |fib: &mut _, wanted: &dyn Fn(&[Listed]) -> bool| loop {
        let shown = listed(fib).await;
        if wanted(&shown) {
            return;
        }
        assert!(Instant::now() < deadline, "{shown:?}\n{}", rack.dump());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let unreachable = |why: &str| {
        let error = format!("unreachable: the kernel has no way to the next hop 10.77.0.1: {why}");
        ["198.51.100.0/24", "198.51.101.0/24"].map(|net| (net.to_owned(), "10.77.0.1".to_owned(), false, error.clone()))
    };
    let lost = unreachable("Network is unreachable (os error 101)");
    far(&mut fib, &|shown| shown == lost).await;
    let answer = fib.get(linnet_api::FibGetRequest { address: "198.51.100.9".into() }).await.unwrap().into_inner();
    assert_eq!(answer.why, format!("198.51.100.0/24 is not in the kernel: {}", lost[0].3), "{}", shown(&answer));
    let status = rack.node().await.status(StatusRequest {}).await.unwrap().into_inner();
    let room = status.components.iter().find(|component| component.name == "fib").unwrap();
    assert!(
        room.state == "degraded" && room.detail.contains("2 more without a next hop in reach"),
        "{}",
        shown(&status)
    );
    assert!(rack.http("/metrics").contains("linnet_fib_routes_unreachable 2"));

    rack.host.run(&format!("ip route add 10.77.0.0/24 via {ROUTER}"));
    rack.until_host_shows("ip route show proto 76", "198.51.100.0/24 via 10.99.0.2 dev eth0");
    far(&mut fib, &|shown| shown.len() == 2 && shown.iter().all(|route| route.2 && route.3.is_empty())).await;
    assert!(rack.http("/metrics").contains("linnet_fib_routes_unreachable 0"));

    rack.host.run("ip route replace prohibit 10.77.0.0/24");
    rack.until("the routes are gone", || (!routes(&rack).contains("198.51.100.0/24")).then_some(()));
    far(&mut fib, &|shown| shown.len() == 2 && shown.iter().all(|route| route.3.starts_with("unreachable: "))).await;
}

#[tokio::test]
async fn source_and_mtu_of_routes_are_changed_by_a_reload() {
    let rack = Rack::new("");
    rack.configure("", "[fib]\nsource = \"node\"\nmtu = 1400\n");
    let _daemon = rack.start();
    let route = "203.0.113.0/24 via 10.99.0.2 dev eth0 src 10.99.0.1 metric 76 mtu 1400";
    rack.until_host_shows("ip route show proto 76", route);
    rack.configure("", "[fib]\nmtu = 1300\nmetric = 77\n");
    let applied = rack.node().await.reload(ReloadRequest {}).await.unwrap().into_inner();
    assert!(applied.errors.is_empty(), "{}", shown(&applied));
    let later: Vec<&String> = applied.changes.iter().filter(|line| line.contains("restart")).collect();
    assert_eq!(later.len(), 1, "{}", shown(&applied));
    rack.until_host_shows("ip route show proto 76", "203.0.113.0/24 via 10.99.0.2 dev eth0 metric 76 mtu 1300");
}

#[tokio::test]
async fn an_overlay_that_is_lost_while_it_runs_is_said_so_until_it_is_back() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let mut node = rack.node().await;
    let mut until_overlay = async |state: &str, detail: &str| {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let status = node.status(StatusRequest {}).await.unwrap().into_inner();
            let overlay = status.components.iter().find(|component| component.name == "overlay").unwrap();
            if overlay.state == state && overlay.detail.contains(detail) {
                return;
            }
            assert!(Instant::now() < deadline, "waited for {state} {detail}: {}\n{}", shown(&status), rack.dump());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until_overlay("ok", "linnet.vxlan").await;
    // Without its address the device that somebody removes cannot be made anew.
    rack.host.run(&format!("ip addr del {HOST}/24 dev eth0"));
    rack.host.run("ip link del linnet.vxlan");
    until_overlay("degraded", HOST).await;
    rack.host.run(&format!("ip addr add {HOST}/24 dev eth0"));
    until_overlay("ok", "linnet.vxlan").await;
    let log = fs::read_to_string(rack.directory.join("linnetd.log")).unwrap();
    assert_eq!(log.matches("the overlay device cannot be set up").count(), 1, "{log}");
}

#[tokio::test]
async fn ipv6_routes_have_the_nodes_own_ipv6_address_as_source_and_follow_a_reload() {
    let rack = Rack::new(six::BIRD);
    six::address(&rack);
    let configure = |fib: &str| {
        rack.configure("", &format!("[fib]\n{fib}\n"));
        six::configure(&rack);
    };
    rack.host.run("ip -6 addr add fd00:77::1/128 dev lo");
    configure("source6 = \"node\"");
    let _daemon = rack.start();
    let shows = |rest: &str| {
        // Whether its next hop stands in the same line depends on the kernel's next-hop objects.
        rack.until(&format!("the route says {rest}"), || {
            let routes = rack.host.run("ip -6 route show proto 76");
            let line = routes.lines().find(|line| line.starts_with("fd00:203::/64 "))?;
            (line.contains(rest) && line.contains(" src ") == rest.starts_with("src ")).then_some(())
        });
    };
    shows("src fd00:99::1 metric 76");
    // The other family keeps the kernel's choice.
    rack.until_host_shows("ip route show proto 76", "203.0.113.0/24 via 10.99.0.2 dev eth0 metric 76");
    for (fib, rest) in [("source6 = \"fd00:77::1\"", "src fd00:77::1 metric 76"), ("", "metric 76")] {
        configure(fib);
        let applied = rack.node().await.reload(ReloadRequest {}).await.unwrap().into_inner();
        assert!(applied.errors.is_empty(), "{}", shown(&applied));
        shows(rest);
    }
}

#[tokio::test]
async fn a_filter_says_source_and_mtu_of_single_routes_and_a_reload_changes_them() {
    let rack =
        Rack::new("protocol static more { ipv4; route 198.51.100.0/24 blackhole; route 198.51.101.0/24 blackhole; }");
    rack.host.run("ip addr add 10.77.0.1/32 dev lo");
    let configure = |rules: &str| {
        rack.configure("", "[fib]\nsource = \"node\"\nmtu = 1400\n");
        let text = fs::read_to_string(rack.config_file()).unwrap();
        let filter = "[[bgp.filter]]\nname = \"mine\"\nrules = [\n";
        let text = text.replace("import = \"all\"", "import = \"mine\"");
        let text =
            text.replacen("[[bgp.filter]]", &format!("{filter}{rules}\n{{ then = \"accept\" }}]\n[[bgp.filter]]"), 1);
        fs::write(rack.config_file(), text).unwrap();
    };
    let one =
        |set: &str| format!("{{ match = {{ prefix = \"198.51.100.0/24\" }}, set = {{ {set} }}, then = \"next\" }},");
    configure(&one("mtu = 1300, source = \"10.77.0.1\""));
    let _daemon = rack.start();
    let via = "via 10.99.0.2 dev eth0";
    let shows =
        |prefix: &str, rest: &str| rack.until_host_shows("ip route show proto 76", &format!("{prefix} {via} {rest}"));
    shows("198.51.100.0/24", "src 10.77.0.1 metric 76 mtu 1300");
    shows("198.51.101.0/24", "src 10.99.0.1 metric 76 mtu 1400");
    shows("203.0.113.0/24", "src 10.99.0.1 metric 76 mtu 1400");
    let request = linnet_api::BgpRoutesRequest { prefix: "198.51.100.0/24".into(), scope: None };
    let mut pages = rack.bgp().await.routes(request).await.unwrap().into_inner();
    let page = pages.message().await.unwrap().unwrap();
    assert_eq!(page.routes[0].hints, ["mtu 1300", "source 10.77.0.1"], "{}", shown(&page));

    configure(&one("mtu = \"auto\", source = \"auto\""));
    let applied = rack.node().await.reload(ReloadRequest {}).await.unwrap().into_inner();
    assert!(applied.errors.is_empty(), "{}", shown(&applied));
    rack.until("the route has the kernel's choice", || {
        let line = rack.host.run("ip route show 198.51.100.0/24 proto 76");
        (line.trim() == "198.51.100.0/24 via 10.99.0.2 dev eth0 metric 76").then_some(())
    });
    shows("198.51.101.0/24", "src 10.99.0.1 metric 76 mtu 1400");
}

#[tokio::test]
async fn rules_lead_to_a_table_of_linnets_own_and_are_kept_changed_and_cleaned_up() {
    let rack = Rack::new("");
    let fib = "[fib]\ntable = 100\nrules = [{ from = \"10.244.1.0/24\" }, { iif = \"eth0\", priority = 900 }]\n";
    rack.configure("", fib);
    let daemon = rack.start();
    rack.until_host_shows("ip route show table 100 proto 76", ROUTE);
    let from = "1000:\tfrom 10.244.1.0/24 lookup 100 proto 76";
    let iif = "900:\tfrom all iif eth0 lookup 100 proto 76";
    for (words, rule) in [("ip rule show", from), ("ip rule show", iif), ("ip -6 rule show", iif)] {
        rack.until_host_shows(words, rule);
    }
    // A packet that comes in by the device follows the table's route, one of the host's own does not.
    let answer = rack.host.run("ip route get 203.0.113.7 from 10.99.0.9 iif eth0");
    assert!(answer.contains("via 10.99.0.2"), "{answer}");
    assert!(!rack.host.try_run("ip route get 203.0.113.7").status.success());
    rack.host.run("ip rule del priority 1000");
    rack.until_host_shows("ip rule show", from);

    let mut node = rack.node().await;
    rack.configure("", "[fib]\ntable = 100\nrules = [{ priority = 1000 }]\n");
    let applied = node.reload(ReloadRequest {}).await.unwrap().into_inner();
    assert!(applied.errors.is_empty() && applied.changes.len() == 1, "{}", shown(&applied));
    let rules = rack.host.run("ip rule show");
    assert!(rules.contains("1000:\tfrom all lookup 100 proto 76") && !rules.contains(iif), "{rules}");
    let answer = rack.host.run("ip route get 203.0.113.7");
    assert!(answer.contains("via 10.99.0.2"), "{answer}");
    let status = node.status(StatusRequest {}).await.unwrap().into_inner();
    let rules = status.components.iter().find(|component| component.name == "rules").unwrap();
    assert_eq!((rules.state.as_str(), &*rules.detail), ("ok", "2 rules for routing tables, 2 in the kernel"));

    // Routes stay in the table until a restart, and so does what leads there.
    rack.configure("", "");
    let applied = node.reload(ReloadRequest {}).await.unwrap().into_inner();
    let waits = applied.changes.iter().all(|change| change.ends_with("takes effect when linnetd is restarted"));
    assert!(applied.errors.is_empty() && applied.changes.len() == 2 && waits, "{}", shown(&applied));
    let answer = rack.host.run("ip route get 203.0.113.7");
    assert!(answer.contains("via 10.99.0.2"), "{answer}");

    drop(daemon);
    let cleanup = rack.linnetd(&["--cleanup"]);
    assert!(cleanup.status.success(), "{}", shown(&cleanup));
    assert_eq!(rack.host.linnet_state(), Vec::<String>::new());
}

/// Two links to one router, a session on each, and a kernel that is to have no next-hop objects.
#[test]
fn without_next_hop_objects_a_route_names_both_of_its_next_hops_and_loses_and_regains_one_with_its_link() {
    let rack = Rack::new(
        "protocol bgp second {\n  local 10.98.0.2 as 65001;\n  neighbor 10.98.0.1 as 64512;\n  connect retry time 1;\n  \
         connect delay time 1;\n  error wait time 1, 2;\n  ipv4 { import all; export where source = RTS_STATIC; };\n}",
    );
    rack.host.run(&format!("ip link add eth1 type veth peer name eth1 netns {}", rack.router.name));
    for (namespace, end) in [(&rack.host, 1), (&rack.router, 2)] {
        namespace.run(&format!("ip addr add 10.98.0.{end}/24 dev eth1"));
        namespace.run("ip link set eth1 up");
    }
    let peer = "[fib]\nnext-hop-objects = false\n[[bgp.peer]]\nname = \"second\"\naddress = \"10.98.0.2\"\nasn = 65001\n\
                connect-retry = 1\nimport = \"all\"\nexport = \"all\"";
    rack.configure("max-paths = 2", peer);
    let daemon = rack.start();
    let both = || {
        let shown = rack.host.run("ip route show 203.0.113.0/24");
        let hop = |hop: &str| shown.lines().filter(|line| line.trim().starts_with(hop)).count() == 1;
        let both = hop("nexthop via 10.99.0.2 dev eth0 weight 1") && hop("nexthop via 10.98.0.2 dev eth1 weight 1");
        (both && shown.starts_with("203.0.113.0/24 proto 76") && shown.lines().count() == 3).then_some(())
    };
    rack.until("two next hops", both);
    rack.router.run("ip link set eth1 down");
    let first_alone = || {
        (rack.host.run("ip route show 203.0.113.0/24").trim_end()
            == "203.0.113.0/24 via 10.99.0.2 dev eth0 proto 76 metric 76")
            .then_some(())
    };
    rack.until("the first next hop alone", first_alone);
    rack.router.run("ip link set eth1 up");
    rack.until("two next hops again", both);
    // And the other one, by the end of its session alone.
    let ended = rack.birdc("disable host");
    let second_alone = || rack.host.run("ip route show 203.0.113.0/24").contains("via 10.98.0.2 dev eth1 proto 76");
    rack.until("the second next hop alone", || second_alone().then_some(()));
    assert!(ended.contains("disabled"), "{ended}");
    rack.birdc("enable host");
    rack.until("two next hops at the end", both);
    assert_eq!(rack.host.run("ip nexthop show"), "", "{}", rack.dump());
    daemon.signal("TERM");
    assert!(daemon.end().success(), "{}", rack.dump());
}

/// What an earlier run left goes when all of it stands in its new place; a packet finds the one or the other.
#[tokio::test]
async fn a_run_with_another_table_or_metric_takes_over_without_a_loss_and_leaves_none_of_the_last_ones_routes() {
    let rack = Rack::new("");
    let pod = Namespace::new("pod");
    rack.configure("", "");
    let daemon = rack.start();
    wait_for_both_sides(&rack);
    let request = EndpointAddRequest {
        name: "web".into(),
        netns: pod.name.clone(),
        addresses: vec!["10.244.1.2".into()],
        ..EndpointAddRequest::default()
    };
    rack.endpoints().await.add(request).await.unwrap();
    rack.router.run(&format!("ip route add 10.244.1.0/24 via {HOST}"));
    // Of others: with Linnet's protocol and metric in a table that no run had, and of another owner.
    rack.host.run(&format!("ip route add 10.77.0.0/16 via {ROUTER} proto 76 metric 76 table 101"));
    rack.host.run(&format!("ip route add 10.78.0.0/16 via {ROUTER} proto static metric 76"));
    rack.host.run(&format!("ip route add 10.78.0.0/16 via {ROUTER} proto static metric 76 table 100"));
    rack.router.run("ip addr add 203.0.113.1/32 dev lo");
    let streams = [(&rack.host, &rack.router, "203.0.113.1:7000"), (&rack.router, &pod, "10.244.1.2:7000")].map(
        |(from, to, address)| {
            let bound = address.parse().unwrap();
            (address, Stream::start(from.udp("0.0.0.0:0".parse().unwrap()), to.udp(bound), bound))
        },
    );

    let mut daemon = Some(daemon);
    for (fib, there, gone) in [
        (
            "table = 100\nrules = [{ to = \"203.0.113.0/24\" }, { to = \"10.244.0.0/16\" }]",
            "table 100 metric 76",
            "table main metric 76",
        ),
        ("metric = 99", "table main metric 99", "table 100 metric 76"),
        ("metric = 50", "table main metric 50", "table main metric 99"),
        (
            "table = 100\nmetric = 70\nrules = [{ from = \"10.99.0.0/24\" }]",
            "table 100 metric 70",
            "table main metric 50",
        ),
    ] {
        let last = daemon.take().unwrap();
        last.signal("KILL");
        last.end();
        rack.configure("", &format!("[fib]\n{fib}"));
        daemon = Some(rack.start());
        let in_place = |place: &str| rack.host.run(&format!("ip route show proto 76 {place}"));
        rack.until(&format!("all is in {there}, and nothing in {gone}"), || {
            let complete = in_place(there).contains(ROUTE) && in_place(there).contains("10.244.1.0/24");
            (complete && in_place(gone).is_empty()).then_some(())
        });
        let rules = rack.host.run("ip rule show");
        let wanted = fib.matches("{ ").count();
        rack.until(&format!("{wanted} rules of {rules}"), || {
            (rack.host.run("ip rule show").matches("proto 76").count() == wanted).then_some(())
        });
    }
    for (to, stream) in streams {
        let (sent, lost) = stream.end();
        assert!(lost.is_empty(), "{to}: of {sent} packets:{}\n{}", told(&lost, &[]), rack.dump());
    }
    let last = daemon.take().unwrap();
    last.signal("TERM");
    last.end();

    // As if the next run had another table, and never came.
    rack.configure("", "[fib]\ntable = 102");
    let cleanup = rack.linnetd(&["--cleanup"]);
    assert!(cleanup.status.success(), "{}", shown(&cleanup));
    let said = String::from_utf8_lossy(&cleanup.stdout).into_owned();
    assert!(said.contains("of table 100 with metric 70, of an earlier configuration"), "{said}");
    let left = rack.host.linnet_state();
    assert!(left.len() == 1 && left[0].starts_with("10.77.0.0/16"), "{left:?}");
    for table in ["main", "100"] {
        let theirs = rack.host.run(&format!("ip route show proto static table {table}"));
        assert!(theirs.contains("10.78.0.0/16"), "{table}: {theirs}");
    }
    assert!(!rack.directory.join("state/routes.json").exists());
}

#[tokio::test]
async fn a_node_whose_address_is_taken_away_says_so_and_is_whole_again_when_it_is_given_back() {
    let rack = Rack::new("");
    rack.configure("", "[fib]\nsource = \"node\"");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let (mut node, mut doctor) = (rack.node().await, rack.node().await);
    let mut address = async || {
        let status = node.status(StatusRequest {}).await.unwrap().into_inner();
        let room = status.components.into_iter().find(|component| component.name == "address").unwrap();
        (room.state, room.detail)
    };
    assert_eq!(address().await, ("ok".to_owned(), HOST.to_owned()));
    let written = rack.until_host_shows("ip route show proto 76", &format!("{ROUTE} src {HOST}"));

    rack.host.run(&format!("ip addr del {HOST}/24 dev eth0"));
    let (state, detail) = address().await;
    assert_eq!(state, "degraded");
    for part in [&format!("{HOST} is on no device of this host"), "set node.address to the new one"] {
        assert!(detail.contains(part), "{detail}");
    }
    let mut steps = doctor.doctor(linnet_api::DoctorRequest {}).await.unwrap().into_inner();
    let mut findings = Vec::new();
    while let Some(step) = steps.message().await.unwrap() {
        let sections = step.report.into_iter().flat_map(|report| report.sections);
        findings.extend(sections.flat_map(|section| section.findings));
    }
    let found = findings.iter().any(|finding| finding.culprit.contains("is on no device of this host"));
    assert!(found, "{}", shown(&findings));
    // The kernel took the routes along.
    rack.until("the route is gone", || (!routes(&rack).contains("203.0.113.0/24")).then_some(()));

    rack.host.run(&format!("ip addr add {HOST}/24 dev eth0"));
    rack.until("all is as it was", || (rack.host.run("ip route show proto 76") == written).then_some(()));
    assert_eq!(address().await, ("ok".to_owned(), HOST.to_owned()));
    wait_for_both_sides(&rack);
}
