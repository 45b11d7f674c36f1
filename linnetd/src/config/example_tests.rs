//! The example file holds every key: those with a default as it is, those without commented out.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use super::tests::{accepted, lines, read};

/// By the section's title.
type Keys = BTreeMap<String, BTreeSet<String>>;

const EXAMPLE: &str = include_str!("../../linnetd.example.toml");

#[test]
fn the_example_shows_defaults_as_they_are() {
    let config = accepted(EXAMPLE);
    let bare = accepted("[node]\npod-cidrs = [\"10.244.1.0/24\", \"fd00:244:1::/64\"]\n[bgp]\nasn = 64512\n");
    let (shown, default) = (config.bgp.clone(), bare.bgp.clone());
    let bgp = super::Bgp {
        peers: default.peers.clone(),
        dynamic_peers: default.dynamic_peers.clone(),
        filters: default.filters.clone(),
        ..shown
    };
    assert_eq!(super::Config { bgp, ..config }, bare);
}

#[test]
fn what_the_example_has_commented_out_is_accepted_too() {
    if let Err(findings) = read(&uncommented()) {
        panic!("refused:\n{}", lines(&findings));
    }
}

#[test]
fn the_example_has_every_key_that_the_parser_knows() {
    let (known, mut shown) = known_and_shown();
    // The example says that these take the keys of those.
    for (title, other) in [("[[bgp.dynamic-peer]]", "[[bgp.peer]]"), ("not", "match")] {
        let keys = shown[other].clone();
        shown.entry(title.into()).or_default().extend(keys);
    }
    let missing: BTreeMap<_, Vec<_>> = known
        .iter()
        .map(|(title, keys)| (title, keys.difference(&shown[title]).collect::<Vec<_>>()))
        .filter(|(_, keys)| !keys.is_empty())
        .collect();
    assert!(missing.is_empty(), "linnetd.example.toml lacks {missing:#?}");
    assert!(known.len() > 20, "these sections alone were seen: {:?}", known.keys());
}

#[test]
fn the_reference_has_a_row_for_every_key_of_the_speaker_and_its_peers() {
    const REFERENCE: &str = include_str!("../../../docs/configuration.md");
    // `a`, `b` of a peer, `bgp.c`
    let first_columns = REFERENCE.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let named: BTreeSet<&str> = first_columns
        .flat_map(|column| column.split('`').step_by(2))
        .map(|key| key.strip_prefix("bgp.").unwrap_or(key))
        .collect();
    let (known, _) = known_and_shown();
    for title in ["[bgp]", "[[bgp.peer]]", "[[bgp.dynamic-peer]]"] {
        // Tables have sections of their own; of these keys the value has a table in its own section.
        let elsewhere = [
            "aggregate",
            "bfd",
            "bmp",
            "dynamic-peer",
            "filter",
            "graceful-restart",
            "import-kernel",
            "mrt",
            "peer",
            "prefix-list",
            "rpki",
        ];
        let missing: Vec<_> =
            known[title].iter().filter(|key| !named.contains(&key[..]) && !elsewhere.contains(&&key[..])).collect();
        assert!(missing.is_empty(), "docs/configuration.md has no row for these keys of {title}: {missing:?}");
    }
}

/// The keys of each section: those that the parser knows, and those that the example has.
fn known_and_shown() -> (Keys, Keys) {
    let (text, tables) = probed(&uncommented());
    let findings = read(&text).expect_err("no section refuses a key that it does not know");
    let (mut known, mut shown) = (Keys::new(), Keys::new());
    for (number, keys) in tables.into_iter().enumerate() {
        let about = format!("unknown key \"{}\" in ", probe(number));
        let told = findings.iter().find_map(|finding| finding.text.strip_prefix(&about));
        let told =
            told.unwrap_or_else(|| panic!("nothing is said about {} in:\n{text}\n{}", probe(number), lines(&findings)));
        let (title, known_here) = told.split_once(';').expect("culprit; consequence");
        let (_, known_here) = known_here.split_once("known here: ").expect("what would be right");
        known.entry(title.into()).or_default().extend(known_here.split(", ").map(Into::into));
        shown.entry(title.into()).or_default().extend(keys);
    }
    (known, shown)
}

/// The example with what it has commented out: lines that are a key, or the title of a table, behind the `# `.
fn uncommented() -> String {
    let is_toml = |line: &&str| {
        let of_a_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let key = line.split_once(" = ").map(|(key, _)| key);
        line.starts_with('[') || key.is_some_and(|key| key.chars().all(of_a_key))
    };
    let all = EXAMPLE.lines().map(|line| line.strip_prefix("# ").filter(is_toml).unwrap_or(line));
    let text: String = all.map(|line| format!("{line}\n")).collect();
    // Rules are of a table of Linnet's own, and keys are read at once: any file with a first line serves.
    let some_file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    ["/etc/linnet/tor-a.key", "/etc/linnet/far.ao"]
        .iter()
        .fold(text.replace("table = 254\nmetric", "table = 100\nmetric"), |text, file| text.replace(file, some_file))
}

/// A key that no section knows, and that is near to none.
fn probe(number: usize) -> String {
    format!("zz-{number}-zz")
}

/// The text with a probe in each of its tables, and the keys that each table had.
fn probed(text: &str) -> (String, Vec<Vec<String>>) {
    let table = DeTable::parse(text).expect("TOML");
    let mut tables = vec![(0, String::from("\n"), keys(table.get_ref()))];
    for (_, value) in table.get_ref() {
        gather(text, value.get_ref(), value.span().start, &mut tables);
    }
    let mut inserts: Vec<(usize, String)> =
        tables.iter().enumerate().map(|(number, (at, end, _))| (*at, format!(" {} = 0{end}", probe(number)))).collect();
    inserts.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut text = text.to_owned();
    inserts.iter().for_each(|(at, line)| text.insert_str(*at, line));
    (text, tables.into_iter().map(|(_, _, keys)| keys).collect())
}

/// Where each table begins, and what separates its first key from the next.
fn gather(text: &str, value: &DeValue<'_>, start: usize, tables: &mut Vec<(usize, String, Vec<String>)>) {
    match value {
        DeValue::Array(items) => items.iter().for_each(|item| gather(text, item.get_ref(), item.span().start, tables)),
        DeValue::Table(table) => {
            let line = text[start..].find('\n').map_or(text.len(), |length| start + length + 1);
            let inline = text[start..].starts_with('{');
            let (at, end) = if inline { (start + 1, ",") } else { (line, "\n") };
            tables.push((at, end.into(), keys(table)));
            for (_, value) in table {
                gather(text, value.get_ref(), value.span().start, tables);
            }
        }
        _ => {}
    }
}

fn keys(table: &DeTable<'_>) -> Vec<String> {
    table.keys().map(|key| key.get_ref().to_string()).collect()
}
