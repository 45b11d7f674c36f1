//! Whether this host's kernel forwards at all.

use super::{Finding, Section, View};

pub(super) fn examine(view: &View<'_>) -> Section {
    let families =
        [false, true].map(|v6| view.config.node.pod_cidrs.iter().any(|block| block.address().is_ipv6() == v6));
    let mut section = Section { about: "forwarding", looked_at: String::new(), findings: Vec::new() };
    match fib_sync::forwarding_enabled() {
        Ok((v4, v6)) => {
            section.looked_at = match (v4, v6) {
                (true, true) => "the kernel forwards IPv4 and IPv6".into(),
                (true, false) => "the kernel forwards IPv4".into(),
                (false, true) => "the kernel forwards IPv6".into(),
                (false, false) => "the kernel forwards nothing".into(),
            };
            section.findings = judge(families, [v4, v6]);
        }
        Err(error) => section.findings.push(Finding::fault(
            error.to_string(),
            "whether the kernel forwards is not known",
            "let linnetd read /proc/sys/net",
        )),
    }
    section
}

/// `wanted`, `on`: IPv4, IPv6.
fn judge(wanted: [bool; 2], on: [bool; 2]) -> Vec<Finding> {
    let settings = [("IPv4", "net.ipv4.ip_forward"), ("IPv6", "net.ipv6.conf.all.forwarding")];
    let off = settings.into_iter().zip(wanted).zip(on).filter(|((_, wanted), on)| *wanted && !on);
    off.map(|(((family, setting), _), _)| {
        Finding::fault(
            format!("{setting} is 0"),
            format!("no {family} packet passes between this host's pods and anybody else"),
            format!(
                "sysctl -w {setting}=1, and find who switched it off: linnetd switches it on when it starts, and \
                 /etc/sysctl.d or another program may have set it since"
            ),
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarding_that_is_off_is_a_fault_for_families_that_pods_have() {
        assert!(judge([true, true], [true, true]).is_empty());
        assert!(judge([true, false], [true, false]).is_empty());
        let found = judge([true, true], [false, true]);
        assert_eq!(found.len(), 1);
        assert!(found[0].culprit.contains("ip_forward"), "{found:?}");
        assert!(judge([false, true], [true, false])[0].culprit.contains("ipv6"));
    }
}
