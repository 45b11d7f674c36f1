use proptest::prelude::*;

use super::*;

fn path(text: &str) -> AsPath {
    text.parse().unwrap()
}

#[test]
fn patterns_match_whole_as_numbers_where_they_are_anchored_and_anywhere_else() {
    for (pattern, candidate, matches) in [
        ("65001", "65001", true),
        ("65001", "1 65001 2", true),
        ("65001", "165001 650010", false),
        ("65001", "", false),
        ("^65001", "65001 2", true),
        ("^65001", "2 65001", false),
        ("65001$", "2 65001", true),
        ("65001$", "65001 2", false),
        ("^65001$", "65001", true),
        ("^65001$", "65001 65001", false),
        ("^65001+$", "65001 65001", true),
        ("^$", "", true),
        ("^$", "1", false),
        (".*", "", true),
        (".*", "1 2", true),
        (".", "", false),
        ("^.$", "7", true),
        ("^.{2,3}$", "7 8", true),
        ("^.{2,3}$", "7 8 9", true),
        ("^.{2,3}$", "7", false),
        ("^.{2,3}$", "7 8 9 10", false),
        ("^65001 .* (65002|65003)$", "65001 65003", true),
        ("^65001 .* (65002|65003)$", "65001 7 8 9 65002", true),
        ("^65001 .* (65002|65003)$", "65001 7 8 9 65004", false),
        ("^65001.*65003$", "65001 1 65003", true),
        ("64512-65534", "1 65000 2", true),
        ("64512-65534", "1 64511 65535", false),
        ("^(64512-65534)*$", "64512 65534", true),
        ("^(64512-65534)*$", "64512 1 65534", false),
        ("1 (2 3)? 4", "9 1 4 9", true),
        ("1 (2 3)? 4", "9 1 2 3 4 9", true),
        ("1 (2 3)? 4", "9 1 2 4 9", false),
        ("^1 {7,8}$".trim(), "1 1 1 1 1 1 1", true),
        ("1|2 3", "2 3", true),
        ("1|2 3", "2", false),
        ("^(1|2)(3|4)$", "2 3", true),
        ("^1 2$", "1 {2,3}", true),
        ("^1 3$", "1 {2,3}", true),
        ("^1 2 3$", "1 {2,3}", false),
        ("^1 .$", "1 {2,3}", true),
        ("1?$", "5", true),
        ("^1?", "5", true),
        ("^1?$", "5", false),
    ] {
        assert_eq!(
            pattern.parse::<AsPathPattern>().unwrap().matches(&path(candidate)),
            matches,
            "{pattern}: {candidate}"
        );
    }
}

#[test]
fn a_wrong_pattern_is_answered_with_what_to_write() {
    for (text, part) in [
        ("_65001_", "write \"65001\" for _65001_"),
        ("^65001_", "write \"65001\" for _65001_"),
        ("[0-9]+", "64512-65534"),
        ("65001 ^65002", "^ belongs at the very beginning"),
        ("(65001$|65002)", "write two patterns"),
        ("*", "\"*\" repeats nothing"),
        ("(+)", "\"+\" repeats nothing"),
        ("4294967296", "\"4294967296\" is not an AS number"),
        ("2-1", "\"2-1\" is not an AS number"),
        ("1{0}", "write {2} or {2,5}"),
        ("1{2,1}", "write {2} or {2,5}"),
        ("1{", "write {2} or {2,5}"),
        ("(1", "each ( with its )"),
        ("1)", "each ( with its )"),
        ("", "write .* for any path"),
        ("1||2", "write .* for any path"),
        ("()", "write .* for any path"),
        ("AS65001", "\"A\" is not understood"),
        (".{257}", "at most 256"),
        ("((.{16}){16}){2}", "at most 256"),
        (&"(".repeat(100_000), "too large"),
        (&format!("1{}", "*".repeat(100_000)), "too large"),
    ] {
        let error = text.parse::<AsPathPattern>().unwrap_err().to_string();
        assert!(error.contains(part), "{}: {error}", &text[..text.len().min(20)]);
    }
}

#[test]
fn the_largest_pattern_follows_a_path_of_a_thousand_hops_in_no_time() {
    // Backtracking would try 2^100 ways.
    let pattern: AsPathPattern = "^(1*)*(1|1 1)* (1? 1?){50} 2$".parse().unwrap();
    let long = AsPath::sequence(std::iter::repeat_n(Asn(1), 1000));
    assert!(!pattern.matches(&long));
    let mut ends = long.clone();
    ends.segments = vec![(SegmentKind::Sequence, long.asns().chain([Asn(2)]).collect())];
    assert!(pattern.matches(&ends));
}

/// Patterns over three AS numbers with what each means, by trying everything.
#[derive(Clone, Debug)]
enum Naive {
    One(u32),
    Any,
    Then(Box<Naive>, Box<Naive>),
    Or(Box<Naive>, Box<Naive>),
    Repeat(Box<Naive>, usize, Option<usize>),
}

impl Naive {
    fn text(&self) -> String {
        match self {
            Self::One(asn) => asn.to_string(),
            Self::Any => ".".into(),
            Self::Then(a, b) => format!("{} {}", a.text(), b.text()),
            Self::Or(a, b) => format!("({}|{})", a.text(), b.text()),
            Self::Repeat(a, 0, None) => format!("({})*", a.text()),
            Self::Repeat(a, _, None) => format!("({})+", a.text()),
            Self::Repeat(a, 0, Some(1)) => format!("({})?", a.text()),
            Self::Repeat(a, least, Some(most)) => format!("({}){{{least},{most}}}", a.text()),
        }
    }

    /// Where a match that begins at `from` may end.
    fn ends(&self, path: &[u32], from: usize) -> std::collections::BTreeSet<usize> {
        let mut ends = std::collections::BTreeSet::new();
        match self {
            Self::One(asn) => ends.extend((path.get(from) == Some(asn)).then_some(from + 1)),
            Self::Any => ends.extend((from < path.len()).then_some(from + 1)),
            Self::Then(a, b) => {
                for middle in a.ends(path, from) {
                    ends.extend(b.ends(path, middle));
                }
            }
            Self::Or(a, b) => {
                ends.extend(a.ends(path, from));
                ends.extend(b.ends(path, from));
            }
            Self::Repeat(a, least, most) => {
                let mut now = std::collections::BTreeSet::from([from]);
                for times in 0..=most.unwrap_or(path.len() + least) {
                    if times >= *least {
                        ends.extend(now.iter().copied());
                    }
                    now = now.iter().flat_map(|at| a.ends(path, *at)).collect();
                }
            }
        }
        ends
    }
}

fn naive() -> impl Strategy<Value = Naive> {
    let leaf = prop_oneof![(1u32..=3).prop_map(Naive::One), Just(Naive::Any)];
    leaf.prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Naive::Then(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Naive::Or(Box::new(a), Box::new(b))),
            (
                inner,
                prop_oneof![
                    Just((0, None)),
                    Just((1, None)),
                    Just((0, Some(1))),
                    Just((2, Some(3))),
                    Just((0, Some(2)))
                ]
            )
                .prop_map(|(a, (least, most))| Naive::Repeat(Box::new(a), least, most)),
        ]
    })
}

proptest! {
    #[test]
    fn the_automaton_says_what_trying_everything_says(
        pattern in naive(), path in prop::collection::vec(1u32..=3, 0..8), start: bool, end: bool,
    ) {
        let text = format!("{}({}){}", if start { "^" } else { "" }, pattern.text(), if end { "$" } else { "" });
        let Ok(compiled) = text.parse::<AsPathPattern>() else { return Ok(()) };
        let begins = if start { 0..=0 } else { 0..=path.len() };
        let expected = begins.into_iter().any(|from| {
            pattern.ends(&path, from).iter().any(|to| !end || *to == path.len())
        });
        prop_assert_eq!(compiled.matches(&AsPath::sequence(path.iter().map(|asn| Asn(*asn)))), expected, "{}", text);
        prop_assert_eq!(compiled.to_string().parse::<AsPathPattern>(), Ok(compiled));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[0-9^$.*+?|(){},_ é-]{0,40}") {
        let _ = text.parse::<AsPathPattern>();
    }
}
