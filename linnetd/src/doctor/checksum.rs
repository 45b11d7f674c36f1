//! Checksums of what leaves by VXLAN, on kernels that get them wrong.

use std::io;

use fib_sync::overlay::{VXLAN_DEVICE, checksum};

use super::{Finding, Section, View};

/// Nothing to look at where the overlay is another.
pub(super) fn examine(view: &View<'_>) -> Option<Section> {
    let overlay = view.kernel.forwarding.overlay().borrow().clone()?;
    if overlay.device != VXLAN_DEVICE {
        return None;
    }
    let release = fib_sync::host::kernel_release().unwrap_or_else(|_| "of unknown release".into());
    let findings = judge(&release, checksum::is_offloaded(VXLAN_DEVICE));
    Some(Section {
        about: "checksums",
        looked_at: format!("kernel {release}"),
        findings: findings.into_iter().collect(),
    })
}

fn judge(release: &str, offloaded: io::Result<bool>) -> Option<Finding> {
    if !checksum::is_wrong_on(release) {
        return None;
    }
    let kernel = format!(
        "kernel {release} is older than the one that computes checksums of VXLAN packets right after source NAT (5.7; 5.6.13, 5.4.41)"
    );
    Some(match offloaded {
        Ok(false) => Finding::note(
            kernel,
            format!(
                "linnetd has switched transmit checksum offload of {VXLAN_DEVICE} off: packets are right, and cost more"
            ),
            "use a newer kernel, if throughput matters",
        ),
        Ok(true) | Err(_) => Finding::fault(
            kernel,
            "packets that are masqueraded on their way into the tunnel may be dropped by the other node: connections hang for a minute",
            format!(
                "ethtool -K {VXLAN_DEVICE} tx off, which linnetd could not do (its log says why), or use a newer kernel"
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn an_old_kernel_is_a_note_where_offload_is_off_and_a_fault_where_it_is_not() {
        assert_eq!(judge("6.1.0-18-amd64", Ok(true)), None);
        assert_eq!(judge("5.4.0-42-generic", Ok(false)).map(|found| found.severity), Some(Severity::Note));
        assert_eq!(judge("5.4.0-42-generic", Ok(true)).map(|found| found.severity), Some(Severity::Fault));
    }
}
