//! Packets between pods: by which device they leave, which connections come about.

use std::time::{Duration, Instant};

use super::routes::TUNNEL;
use super::{Pod, json};
use crate::lab::{Lab, LabError, Node};
use crate::probe::{Pings, Stream, ping};

/// How a few pings fared, and which way they went.
#[derive(Clone, Debug)]
pub struct Passage {
    /// What came back.
    pub pings: Pings,
    /// Packets that left through the tunnel's device meanwhile.
    pub tunnelled: u64,
    /// Packets that left by each cable meanwhile.
    pub cables: Vec<(String, u64)>,
}

/// Pings from pod to pod, counting on the first one's host.
///
/// # Errors
/// When a command fails.
pub fn passage(lab: &Lab, from: Pod, to: &str, count: u32) -> Result<Passage, LabError> {
    let host = from.node(lab)?;
    let before = sent(host)?;
    let pings = ping(host, Some(&from.name()), to, count, Duration::from_millis(20))?;
    let after = sent(host)?;
    let since = |device: &str| count_of(&after, device).saturating_sub(count_of(&before, device));
    let cables =
        after.iter().filter(|(device, _)| device.starts_with("eth")).map(|(device, _)| (device.clone(), since(device)));
    Ok(Passage { pings, tunnelled: since(TUNNEL), cables: cables.collect() })
}

/// Packets that each device of a host has sent.
///
/// # Errors
/// When `ip` fails.
pub fn sent(host: &Node) -> Result<Vec<(String, u64)>, LabError> {
    let shown = json(host, &["ip", "-json", "-statistics", "link", "show"])?;
    let devices = shown.as_array().into_iter().flatten();
    let one = |device: &serde_json::Value| {
        Some((device["ifname"].as_str()?.to_owned(), device["stats64"]["tx"]["packets"].as_u64()?))
    };
    Ok(devices.filter_map(one).collect())
}

fn count_of(counts: &[(String, u64)], device: &str) -> u64 {
    counts.iter().find(|(name, _)| name == device).map_or(0, |(_, count)| *count)
}

/// Whether a TCP connection comes about, from a pod or from its host itself.
///
/// # Errors
/// When `nc` cannot be run.
pub fn connects(lab: &Lab, from: Pod, as_host: bool, to: &str, port: u16) -> Result<bool, LabError> {
    let pod = from.name();
    let netns = (!as_host).then_some(pod.as_str());
    Ok(from.node(lab)?.exec_in(netns, &["nc", "-z", "-w", "2", to, &port.to_string()])?.ok())
}

/// Sends one packet in each of `flows` UDP flows and counts by which cable they left.
///
/// # Errors
/// When a command fails.
pub fn spread(lab: &Lab, from: Pod, to: &str, flows: u32) -> Result<Vec<(String, u64)>, LabError> {
    let host = from.node(lab)?;
    let before = sent(host)?;
    // Each redirection is a socket of its own, with a source port of its own.
    let line = format!("for i in $(seq {flows}); do echo > /dev/udp/{to}/9; done");
    host.exec_in(Some(&from.name()), &["bash", "-c", &line])?.checked()?;
    let after = sent(host)?;
    let cables = after.into_iter().filter(|(device, _)| device.starts_with("eth"));
    Ok(cables
        .map(|(device, count)| {
            let since = count.saturating_sub(count_of(&before, &device));
            (device, since)
        })
        .collect())
}

/// What happened when a cable was pulled under a stream of pings.
#[derive(Clone, Debug)]
pub struct Failover {
    /// The host's end of the cable that carried the stream.
    pub pulled: String,
    /// The router at its other end.
    pub router: &'static str,
    /// The stream.
    pub pings: Pings,
    /// Packets that left by the other cable while the first was out.
    pub by_the_other: u64,
}

/// Pulls, at the router's end, the cable of h1 that carries a stream of pings, and puts it back after two seconds.
///
/// # Errors
/// When a command fails.
pub fn failover(lab: &Lab, from: Pod, to: &str) -> Result<Failover, LabError> {
    let host = from.node(lab)?;
    let stream = Stream::start(host, &from.name(), to)?;
    let used = |deadline: Duration| -> Result<String, LabError> {
        let before = sent(host)?;
        lab.poll("a cable that carries the stream", deadline, || {
            let after = sent(host).map_err(|error| error.to_string())?;
            let since = |device: &str| count_of(&after, device).saturating_sub(count_of(&before, device));
            // 30 pings; nothing else in the lab sends as much in so short a time.
            ["eth1", "eth2"]
                .into_iter()
                .find(|device| since(device) >= 30)
                .map(str::to_owned)
                .ok_or_else(|| "neither yet".to_owned())
        })
    };
    let pulled = used(Duration::from_secs(10))?;
    let (router, other) = if pulled == "eth1" { ("tor1a", "eth2") } else { ("tor1b", "eth1") };
    let before = count_of(&sent(host)?, other);
    lab.node(router)?.link("eth1", false)?;
    let out = Instant::now();
    // As long as the outage is measured, whatever happens meanwhile.
    let done = lab.poll("two seconds without the cable", Duration::from_secs(10), || {
        if out.elapsed() >= Duration::from_secs(2) { Ok(()) } else { Err("not over".to_owned()) }
    });
    let after = count_of(&sent(host)?, other);
    let pings = stream.stop();
    lab.node(router)?.link("eth1", true)?;
    done?;
    Ok(Failover { pulled, router, pings: pings?, by_the_other: after.saturating_sub(before) })
}
