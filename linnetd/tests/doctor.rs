//! What the real daemon finds on a host where something is wrong. Needs root.

mod support;

use linnet_api::{DoctorFinding, DoctorReport, DoctorRequest};
use support::{Rack, shown, wait_for_both_sides};

/// The report, which is the last step.
async fn doctor(rack: &Rack) -> DoctorReport {
    let mut steps = rack.node().await.doctor(DoctorRequest {}).await.expect("an answer").into_inner();
    let mut report = None;
    while let Some(step) = steps.message().await.expect("an answer") {
        assert!(report.is_none(), "a step after the report");
        report = step.report;
    }
    report.expect("an answer")
}

fn findings<'a>(report: &'a DoctorReport, about: &str) -> &'a [DoctorFinding] {
    let section = report.sections.iter().find(|section| section.about == about);
    &section.unwrap_or_else(|| panic!("{about}: {}", shown(report))).findings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_well_has_no_finding_and_each_fault_is_found_with_its_culprit() {
    let rack = Rack::new("");
    rack.configure("", "");
    let _daemon = rack.start();
    wait_for_both_sides(&rack);
    let well = doctor(&rack).await;
    assert!(well.sections.iter().all(|section| section.findings.is_empty()), "{}\n{}", shown(&well), rack.dump());
    let about: Vec<&str> = well.sections.iter().map(|section| section.about.as_str()).collect();
    assert_eq!(about, ["sessions", "forwarding", "overlay", "reverse paths", "checksums", "routes", "paths", "rooms"]);

    // Packets that vanish, as behind a switch with a smaller MTU.
    let nft = |rules: &str| assert!(rack.router.command("nft").arg(rules).status().unwrap().success());
    nft("add table ip narrow; add chain ip narrow in { type filter hook prerouting priority -300; }; \
         add rule ip narrow in ip length > 1400 drop");
    rack.host.run("sysctl -qw net.ipv4.ip_forward=0");
    // A route of somebody else's in the place of Linnet's.
    rack.host.run("ip route replace 203.0.113.0/24 via 10.99.0.2 proto static metric 76");
    let ill = rack.until("the conflict is noticed", || {
        let report = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(doctor(&rack)));
        (!findings(&report, "routes").is_empty()).then_some(report)
    });
    let one = |about: &str| match findings(&ill, about) {
        [one] => one.clone(),
        other => panic!("{about}: {}\n{}", shown(&other), rack.dump()),
    };
    assert!(one("forwarding").culprit.contains("net.ipv4.ip_forward is 0"), "{}", shown(&ill));
    assert!(one("routes").culprit.starts_with("203.0.113.0/24: a route of another owner"), "{}", shown(&ill));

    rack.host.run("ip route del 203.0.113.0/24 proto static metric 76");
    rack.until_host_shows("ip route show 203.0.113.0/24", "proto 76");
    let path = doctor(&rack).await;
    let found = findings(&path, "paths");
    assert_eq!(found.len(), 1, "{}", shown(&path));
    assert_eq!(
        (found[0].severity.as_str(), found[0].culprit.as_str()),
        (
            "fault",
            "packets of 1500 octets do not reach the next hop 10.99.0.2 on eth0; those of 1400 do, and nobody says why"
        )
    );
    assert!(found[0].next_step.contains("fib.mtu = 1400"), "{}", shown(&path));

    nft("delete table ip narrow");
    rack.birdc("disable host");
    let lost = rack.until("the session is down", || {
        let report = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(doctor(&rack)));
        (!findings(&report, "sessions").is_empty()).then_some(report)
    });
    let session = &findings(&lost, "sessions")[0];
    assert!(session.culprit.starts_with("the session with router (10.99.0.2) is "), "{}", shown(&lost));
}
