//! A stream of pings, and what was lost of it.

use std::time::{Duration, SystemTime};

use crate::lab::{Background, LabError, Node, Output};

/// Between two pings of a stream: short enough to measure an outage of a few hundredths of a second.
pub const INTERVAL: Duration = Duration::from_millis(10);

/// What came back of a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pings {
    /// Packets sent.
    pub sent: u64,
    /// Distinct answers.
    pub received: u64,
    /// The longest time without an answer, beyond the interval.
    pub outage: Duration,
    /// Mean round trip, in milliseconds.
    pub round_trip_ms: Option<f64>,
}

impl Pings {
    /// Packets without an answer.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// Reads what iputils' `ping -D` printed.
    ///
    /// # Errors
    /// When there is no summary in it: the ping did not run to its end.
    pub fn read(output: &Output, interval: Duration) -> Result<Self, LabError> {
        let parsed = Self::parse(&output.stdout, interval);
        parsed.ok_or_else(|| LabError::Command {
            command: output.command.clone(),
            status: output.status,
            said: format!("{}{}", output.stdout, output.stderr).trim().to_owned(),
        })
    }

    fn parse(text: &str, interval: Duration) -> Option<Self> {
        // "[1700000000.123456] 64 bytes from 10.0.0.1: icmp_seq=1 ttl=64 time=0.05 ms", with " (DUP!)" when repeated
        let answers =
            text.lines().filter(|line| line.contains("icmp_seq=") && line.contains(" time=") && !line.contains("DUP"));
        let times: Vec<f64> = answers.filter_map(time).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0_f64, f64::max);
        let outage = Duration::try_from_secs_f64(gap).unwrap_or_default().saturating_sub(interval);
        // "300 packets transmitted, 300 received, 0% packet loss, time 3000ms"
        let summary = text.lines().find(|line| line.contains(" packets transmitted, "))?;
        let mut numbers = summary.split(", ").filter_map(|part| part.split_whitespace().next()?.parse::<u64>().ok());
        // "rtt min/avg/max/mdev = 0.071/0.282/0.493/0.211 ms"
        let mean = text
            .lines()
            .find_map(|line| line.strip_prefix("rtt ")?.split_once("= ")?.1.split('/').nth(1)?.parse().ok());
        Some(Self { sent: numbers.next()?, received: numbers.next()?, outage, round_trip_ms: mean })
    }
}

/// Sends `count` pings from a node, or a pod in it, and waits for the last answer.
///
/// # Errors
/// When ping cannot run.
pub fn ping(node: &Node, pod: Option<&str>, to: &str, count: u32, interval: Duration) -> Result<Pings, LabError> {
    let output = node.exec_in(pod, &arguments(to, Some(&count.to_string()), &seconds(interval)))?;
    Pings::read(&output, interval)
}

/// A stream that runs while something else happens.
#[derive(Debug)]
pub struct Stream(Background);

impl Stream {
    /// Starts it, one ping each [`INTERVAL`].
    ///
    /// # Errors
    /// When ping cannot run.
    pub fn start(node: &Node, pod: &str, to: &str) -> Result<Self, LabError> {
        Ok(Self(node.spawn(Some(pod), &arguments(to, None, &seconds(INTERVAL)))?))
    }

    /// Ends it and counts.
    ///
    /// # Errors
    /// When ping ended before it was told to.
    pub fn stop(self) -> Result<Pings, LabError> {
        let ended = SystemTime::now();
        let output = self.0.interrupt()?;
        let mut pings = Pings::read(&output, INTERVAL)?;
        // Nothing that came after the last answer shows in the answers.
        let since = last_answer(&output.stdout).and_then(|last| ended.duration_since(last).ok());
        pings.outage = since.map_or(pings.outage, |since| pings.outage.max(since.saturating_sub(INTERVAL)));
        // The packet under way when the stream was told to end is not lost.
        if !output.stdout.contains(&format!("icmp_seq={} ", pings.sent)) {
            pings.sent = pings.sent.saturating_sub(1);
        }
        Ok(pings)
    }
}

/// The time stamp that `ping -D` puts before a line: seconds since 1970.
fn time(line: &str) -> Option<f64> {
    line.strip_prefix('[')?.split_once(']')?.0.parse().ok()
}

fn last_answer(text: &str) -> Option<SystemTime> {
    let seconds = text.lines().rev().filter(|line| line.contains(" time=")).find_map(time)?;
    Some(SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(seconds).ok()?)
}

fn seconds(interval: Duration) -> String {
    format!("{:.3}", interval.as_secs_f64())
}

fn arguments<'a>(to: &'a str, count: Option<&'a str>, interval: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["ping", "-n", "-D", "-W", "2", "-i", interval];
    arguments.extend(count.iter().flat_map(|count| ["-c", count]));
    arguments.push(to);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_the_longest_time_without_an_answer_beyond_the_interval() {
        let text = "PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.
[1700000000.000000] 64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=0.493 ms
[1700000000.010000] 64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=0.071 ms
[1700000000.011000] 64 bytes from 10.0.0.2: icmp_seq=2 ttl=64 time=1.071 ms (DUP!)
[1700000000.260000] 64 bytes from 10.0.0.2: icmp_seq=27 ttl=64 time=0.071 ms

--- 10.0.0.2 ping statistics ---
27 packets transmitted, 3 received, +1 duplicates, 88% packet loss, time 260ms
rtt min/avg/max/mdev = 0.071/0.282/0.493/0.211 ms
";
        let pings = Pings::parse(text, INTERVAL).unwrap();
        assert_eq!((pings.sent, pings.received, pings.lost(), pings.round_trip_ms), (27, 3, 24, Some(0.282)));
        assert!((pings.outage.as_secs_f64() - 0.240).abs() < 0.0001, "{pings:?}");
    }

    #[test]
    fn a_ping_without_a_summary_has_no_result() {
        assert_eq!(Pings::parse("ping: connect: Network is unreachable\n", INTERVAL), None);
    }
}
