//! `bfd`, of a peer: `true`, or a table.

use std::time::Duration;

use bgp_proto::bfd::SessionConfig;
use bgpd::{BfdConfig, BfdHops, OnBfdDown};

use super::conduct::word;
use super::reader::Field;

/// `on-down`
pub const ON_DOWN: [(&str, OnBfdDown); 2] = [("auto", OnBfdDown::Auto), ("drop", OnBfdDown::Drop)];

/// A host that is busy with something else for this long is no broken path.
const BRISK: Duration = Duration::from_millis(150);

/// `None` in it: off. An `unnumbered` peer is one hop away.
pub(super) fn bfd(field: &Field<'_>, unnumbered: bool) -> Option<Option<BfdConfig>> {
    if field.is_boolean() {
        return field.boolean().map(|on| on.then(BfdConfig::default));
    }
    let section = field.section("bfd")?;
    let defaults = SessionConfig::default();
    let interval = section
        .field("min-interval-ms")
        .map_or(Some(defaults.min_interval), |field| field.integer(10..=60_000).map(Duration::from_millis));
    let detect_mult = section.field("multiplier").map_or(Some(defaults.detect_mult), |field| field.integer(1..=255));
    let passive = section.field("passive").map_or(Some(defaults.passive), |field| field.boolean());
    let hops = section.field("multihop").map_or(Some(BfdHops::Auto), |field| {
        let multihop = field.boolean()?;
        if multihop && unnumbered {
            field.refuse("multihop and interface: a neighbour on a link is one hop away", "leave multihop out");
            return None;
        }
        Some(if multihop { BfdHops::Multi } else { BfdHops::Single })
    });
    let on_down = section.field("on-down").map_or(Some(OnBfdDown::Auto), |field| field.word(&ON_DOWN));
    section.finish();
    let session = SessionConfig { min_interval: interval?, detect_mult: detect_mult?, passive: passive? };
    let detection = session.min_interval * u32::from(session.detect_mult);
    if detection < BRISK {
        field.report.warning(
            field.span.clone(),
            &format!("BFD gives a peer up after {} ms", detection.as_millis()),
            "a host that is busy for that long loses its routes, though the path is sound",
            "choose intervals of 50 ms or more and a multiplier of 3 between hosts",
        );
    }
    Some(Some(BfdConfig { session, hops: hops?, on_down: on_down? }))
}

/// The canonical table.
pub(super) fn text(bfd: &BfdConfig) -> String {
    let SessionConfig { min_interval, detect_mult, passive } = bfd.session;
    let multihop = match bfd.hops {
        BfdHops::Auto => "",
        BfdHops::Single => "multihop = false, ",
        BfdHops::Multi => "multihop = true, ",
    };
    let on_down = word(&ON_DOWN, &bfd.on_down);
    format!(
        "{{ min-interval-ms = {}, multiplier = {detect_mult}, passive = {passive}, {multihop}on-down = \"{on_down}\" }}",
        min_interval.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, parse};
    use super::*;

    fn read(value: &str) -> Result<(Option<BfdConfig>, Vec<String>), Vec<String>> {
        read_beside("address = \"192.0.2.1\"", value)
    }

    fn read_beside(remote: &str, value: &str) -> Result<(Option<BfdConfig>, Vec<String>), Vec<String>> {
        let environment = Environment { host_name: Some("n".into()), address: Some([192, 0, 2, 11].into()) };
        let text =
            format!("[bgp]\nasn = 64512\n[[bgp.peer]]\nname = \"a\"\n{remote}\nasn = \"internal\"\nbfd = {value}\n");
        let words = |findings: Vec<super::super::Finding>| findings.iter().map(ToString::to_string).collect();
        match parse("f", &text, &environment) {
            Ok(parsed) => Ok((parsed.config.bgp.peers[0].settings.bfd, words(parsed.warnings))),
            Err(findings) => Err(words(findings)),
        }
    }

    #[test]
    fn bfd_is_on_off_or_as_its_table_says() {
        let (standard, session) = (BfdConfig::default(), SessionConfig::default());
        let fifty = SessionConfig { min_interval: Duration::from_millis(50), detect_mult: 5, passive: true };
        for (text, expected) in [
            ("false", None),
            ("true", Some(standard)),
            ("{}", Some(standard)),
            (
                "{ min-interval-ms = 50, multiplier = 5, passive = true }",
                Some(BfdConfig { session: fifty, ..standard }),
            ),
            ("{ multihop = true }", Some(BfdConfig { hops: BfdHops::Multi, ..standard })),
            (
                "{ multihop = false, on-down = \"drop\" }",
                Some(BfdConfig { session, hops: BfdHops::Single, on_down: OnBfdDown::Drop }),
            ),
        ] {
            assert_eq!(read(text), Ok((expected, Vec::new())), "{text}");
        }
    }

    #[test]
    fn a_neighbour_on_a_link_is_never_many_hops_away() {
        let interface = "interface = \"eth0\"";
        let single = BfdConfig { hops: BfdHops::Single, ..BfdConfig::default() };
        for (text, expected) in [("true", BfdConfig::default()), ("{ multihop = false }", single)] {
            assert_eq!(read_beside(interface, text), Ok((Some(expected), Vec::new())), "{text}");
        }
        let errors = read_beside(interface, "{ multihop = true }").unwrap_err();
        assert!(errors[0].contains("one hop away"), "{errors:?}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_what_is_brisk_is_warned_of() {
        for (text, said) in [
            ("300", "bfd"),
            ("{ min-interval-ms = 5 }", "from 10 to 60000"),
            ("{ multiplier = 0 }", "from 1 to 255"),
            ("{ min-intervall-ms = 300 }", "did you mean \"min-interval-ms\"?"),
            ("{ on-down = \"keep\" }", "on-down"),
        ] {
            let errors = read(text).unwrap_err();
            assert!(errors.iter().any(|error| error.contains(said)), "{text}: {errors:?}");
        }
        let (_, warnings) = read("{ min-interval-ms = 20 }").unwrap();
        assert!(warnings[0].contains("after 60 ms"), "{warnings:?}");
    }
}
