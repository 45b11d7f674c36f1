//! How long ago, as routers print it.

/// `00:04:13` below a day, `3d04h` below four weeks, then `5w2d`.
pub(crate) fn ago(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    match days {
        0 => format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
        1..28 => format!("{days}d{hours:02}h"),
        _ => format!("{}w{}d", days / 7, days % 7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_as_on_a_router() {
        for (seconds, text) in [
            (0, "00:00:00"),
            (253, "00:04:13"),
            (86_399, "23:59:59"),
            (86_400, "1d00h"),
            (27 * 86_400 + 3_600, "27d01h"),
            (28 * 86_400, "4w0d"),
        ] {
            assert_eq!(ago(seconds), text);
        }
    }
}
