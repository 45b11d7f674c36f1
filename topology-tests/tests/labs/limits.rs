//! Prefix limits with FRR and BIRD (`labs/limits.clab.yml`): ours, with each of their actions, and theirs. Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use serde_json::Value;
use topology_tests::expect::{holds, json, up, wait};
use topology_tests::lab::Lab;
use topology_tests::words::{established, neighbor, reload, shell};

const ROUTERS: [&str; 2] = ["frr", "bird"];
const SESSIONS: [&str; 4] = ["warned", "restarted", "stopped", "theirs"];

/// A third prefix of a router's, which is one too many for us.
fn announce_one_more(lab: &Lab, router: &str, more: bool) {
    let line = match (router, more) {
        ("frr", true) => at_frr("network 198.51.100.128/26"),
        ("frr", false) => at_frr("no network 198.51.100.128/26"),
        (_, true) => "birdc enable one_more".to_owned(),
        (_, false) => "birdc disable one_more".to_owned(),
    };
    lab.node(router).unwrap().shell(&line).unwrap();
}

fn at_frr(command: &str) -> String {
    let commands = ["configure terminal", "router bgp 65001", "address-family ipv4 unicast", command];
    commands.iter().fold("vtysh".to_owned(), |line, command| format!("{line} -c '{command}'"))
}

/// FRR's session with one of our addresses.
fn frrs(lab: &Lab, ours: &str) -> Result<Value, String> {
    let command = format!("show bgp neighbors {ours} json");
    Ok(json(lab.node("frr").unwrap(), &["vtysh", "-c", &command])?[ours].clone())
}

/// Whether the router shows that we ended its session for its prefixes (RFC 4486).
fn was_told(lab: &Lab, router: &str, session: &str) -> Result<(), String> {
    if router == "bird" {
        let log = lab.node("bird").unwrap().log("bird");
        return holds(log.contains(&format!("{session}: Received: Maximum number of prefixes reached")), log);
    }
    let shown = frrs(lab, if session == "stopped" { "10.8.0.21" } else { "10.8.0.11" })?;
    holds(shown["lastErrorCodeSubcode"] == "0601" && shown["lastResetDueTo"] == "BGP Notification received", &shown)?;
    holds(shown["lastNotificationReason"] == "Cease/Maximum Number of Prefixes Reached", &shown)
}

#[test]
fn a_limit_warns_restarts_or_stops_and_a_routers_own_is_told_as_what_it_is() {
    let lab = up("limits");
    for router in ROUTERS {
        established(&lab, &SESSIONS.map(|session| format!("{router}-{session}")).each_ref().map(String::as_str));
    }
    established(&lab, &["bird-theirs-disabled"]);
    for router in ROUTERS {
        our_limit_warns_restarts_and_stops(&lab, router);
    }
    a_routers_limit_is_shown_as_why_the_session_ended(&lab);
}

fn our_limit_warns_restarts_and_stops(lab: &Lab, router: &str) {
    let of = |session: &str| neighbor(lab, &format!("{router}-{session}"));
    let is_up_with = |session: &str, routes: u64| {
        let shown = of(session)?;
        holds(shown["state"] == "Established" && shown["received"] == routes, &shown)?;
        Ok::<_, String>(shown)
    };
    for session in SESSIONS {
        wait(lab, &format!("the routes of {router}, {session}"), || is_up_with(session, 2).map(drop));
    }
    announce_one_more(lab, router, true);
    for session in ["restarted", "stopped"] {
        wait(lab, &format!("{router} to be told of its limit, {session}"), || was_told(lab, router, session));
        wait(lab, &format!("the session with {router} to be down for its limit, {session}"), || {
            let shown = of(session)?;
            holds(shown["state"] != "Established" && shown["prefix_limit_reached"].as_u64() > Some(0), &shown)?;
            holds(shown["down_seconds"].as_u64() > Some(0), &shown)?;
            holds(shown["last_down"] == "the peer sent more than 2 prefixes (max-prefixes)", &shown)?;
            let until = if session == "stopped" { "down until it is reset" } else { "starts again in " };
            let error = shown["last_error"].as_str().unwrap_or_default();
            holds(error.contains("Cease / Maximum Number of Prefixes Reached: the peer sent more than 2"), error)?;
            holds(error.contains(until), error)?;
            let after = &shown["max_prefixes_restart_after_seconds"];
            holds(after.as_u64() == (session == "restarted").then_some(5), after)
        });
    }
    wait(lab, &format!("{router} to be warned of and left alone"), || {
        let shown = is_up_with("warned", 3)?;
        holds(shown["max_prefixes_warned"] == true && shown["times_established"] == 1, &shown)
    });
    wait(lab, &format!("{router} to be let in again, and ended again for it sends as many as before"), || {
        let shown = of("restarted")?;
        holds(shown["prefix_limit_reached"].as_u64() > Some(1) && shown["state"] != "Established", &shown)
    });

    announce_one_more(lab, router, false);
    wait(lab, &format!("{router} to be back with fewer"), || is_up_with("restarted", 2).map(drop));
    wait(lab, &format!("{router} to be warned of no more than once"), || is_up_with("warned", 2).map(drop));
    let stopped = of("stopped").unwrap();
    assert!(stopped["state"] != "Established" && stopped["restarts_in_seconds"].is_null(), "{stopped}");
    assert_eq!((&stopped["times_established"], &stopped["prefix_limit_reached"]), (&1.into(), &1.into()), "{stopped}");
    // A person lets it in again by either word.
    let command = if router == "frr" { "reset" } else { "enable" };
    shell(lab.node("linnet").unwrap(), &format!("linnet bgp {command} {router}-stopped")).unwrap();
    wait(lab, &format!("{router} to be back when a person says so"), || {
        let shown = is_up_with("stopped", 2)?;
        holds(!shown["last_error"].as_str().unwrap_or_default().contains("down until it is reset"), &shown)
    });
}

/// BIRD's `action restart` and `disable`, and FRR's, which stays down until a person clears it.
fn a_routers_limit_is_shown_as_why_the_session_ended(lab: &Lab) {
    // FRR 8.4 ends a session with the second prefix above its limit.
    const TWO_MORE: &str = "\"203.0.113.128\\/26\", \"203.0.113.192\\/26\", ";
    let said = reload(lab, &format!("s/^networks = \\[/networks = [{TWO_MORE}/")).unwrap();
    assert!(said.contains("bgp.networks"), "{said}");
    for (name, data) in
        [("frr-theirs", " (at most 2 of ipv4-unicast)"), ("bird-theirs", ""), ("bird-theirs-disabled", "")]
    {
        wait(lab, &format!("{name} to say what ended its session"), || {
            let shown = neighbor(lab, name)?;
            let reason = format!("received Cease / Maximum Number of Prefixes Reached{data}");
            holds(shown["last_down"] == reason.as_str(), &shown)
        });
    }
    wait(lab, "FRR to stay down, and BIRD where it is told to", || {
        let frr = frrs(lab, "10.8.0.31")?;
        holds(frr["bgpState"] == "Idle" && frr["prefixesConfigExceedMax"] == true, &frr)?;
        let bird = shell(lab.node("bird").unwrap(), "birdc show protocols theirs_disabled")?;
        holds(bird.contains("down") && bird.contains("Route limit exceeded"), bird)
    });
    wait(lab, "BIRD to try again, and to end it again", || {
        let shown = neighbor(lab, "bird-theirs")?;
        holds(shown["times_established"].as_u64() > Some(2), &shown)
    });
    wait(lab, "what the attempts to reach FRR meet with, beside why its session ended", || {
        let shown = shell(lab.node("linnet").unwrap(), "linnet bgp neighbor frr-theirs")?;
        let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).unwrap_or_default();
        holds(line("  last session: ended ").contains("Maximum Number of Prefixes Reached"), &shown)?;
        let error = line("  last error: ");
        holds(!error.is_empty() && !error.contains("Cease"), &shown)
    });

    reload(lab, &format!("s/{TWO_MORE}//")).unwrap();
    lab.node("frr").unwrap().shell("vtysh -c 'clear bgp 10.8.0.31'").unwrap();
    lab.node("bird").unwrap().shell("birdc enable theirs_disabled").unwrap();
    established(lab, &["frr-theirs", "bird-theirs", "bird-theirs-disabled"]);
    wait(lab, "both to have two routes of ours", || {
        let frr = frrs(lab, "10.8.0.31")?;
        holds(frr["addressFamilyInfo"]["ipv4Unicast"]["acceptedPrefixCounter"] == 2, &frr)?;
        for protocol in ["theirs", "theirs_disabled"] {
            let bird = shell(lab.node("bird").unwrap(), &format!("birdc show protocols all {protocol}"))?;
            holds(bird.contains("Established") && bird.contains("2 imported"), bird)?;
        }
        Ok(())
    });
}
