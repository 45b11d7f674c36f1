//! Linnet, BIRD and FRR judge the same routes by the same RPKI cache (`labs/rpki.clab.yml`), on their way in and on their way
//! out, and a BMP station sees the same. Needs root.

#![allow(clippy::unwrap_used, reason = "the panic of a test is its verdict")]

use std::collections::BTreeMap;

use serde_json::Value;
use topology_tests::expect::{answer, json, up, wait};
use topology_tests::lab::{Lab, Node};
use topology_tests::station;

/// A route's prefix with what was made of it: `valid`, `not-found` or `invalid`.
type Verdicts = BTreeMap<String, String>;

fn of_linnet(node: &Node) -> Result<Verdicts, String> {
    let shown = json(node, &["linnet", "bgp", "routes", "--received", "feeder", "-o", "json"])?;
    let routes = shown["routes"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    Ok(routes.iter().map(|route| (text(&route["prefix"]), text(&route["validation"]))).collect())
}

/// Linnet's filter refuses what is invalid, prefers what is valid, and does so again when the cache changes its mind.
fn obeys(node: &Node, verdicts: &Verdicts) -> Result<(), String> {
    let prefixes = |arguments: &[&str], wanted: &dyn Fn(&Value) -> bool| -> Result<Vec<String>, String> {
        let shown = json(node, &[&["linnet", "bgp", "routes", "-o", "json"], arguments].concat())?;
        let routes = shown["routes"].as_array().cloned().unwrap_or_default();
        let mut prefixes: Vec<_> = routes
            .iter()
            .filter(|route| wanted(route))
            .map(|route| route["prefix"].as_str().unwrap_or_default().to_owned())
            .collect();
        prefixes.sort();
        Ok(prefixes)
    };
    let of = |state: &str| {
        let mut of: Vec<_> =
            verdicts.iter().filter(|(_, one)| *one == state).map(|(prefix, _)| prefix.clone()).collect();
        of.sort();
        of
    };
    let (refused, preferred) =
        (prefixes(&["--rejected"], &|_| true)?, prefixes(&[], &|route| route["local_pref"] == 200)?);
    if refused == of("invalid") && preferred == of("valid") {
        Ok(())
    } else {
        Err(format!("refused {refused:?}, preferred {preferred:?}"))
    }
}

fn a_filter_says_by_which_state_it_decides(node: &Node, verdicts: &Verdicts) {
    let (prefix, _) = verdicts.iter().find(|(_, state)| *state == "invalid").unwrap();
    let ask = |how: &[&str]| {
        let test = ["linnet", "bgp", "filter", "test", "judging", prefix, "-o", "json"];
        let answer = answer(node, &[&test[..], how].concat()).unwrap();
        let trace = &answer["routes"][0];
        let said = ["accepted", "rule"].map(|key| trace[key].to_string());
        (trace["route"]["validation"].as_str().unwrap_or_default().to_owned(), said.join(" "))
    };
    let answer = |state: &str, said: &str| (state.to_owned(), said.to_owned());
    let path = format!("65010 {}", origins(node)[prefix]);
    assert_eq!(ask(&["--from-rib"]), answer("invalid", "false 1"), "{prefix}");
    assert_eq!(ask(&["--as-path", &path]), answer("invalid", "false 1"), "{prefix} {path}");
    assert_eq!(ask(&["--as-path", &path, "--validation", "valid"]), answer("valid", "true 2"), "{prefix} {path}");
}

/// What the routes' origins are, by Linnet.
fn origins(node: &Node) -> BTreeMap<String, u32> {
    let shown = json(node, &["linnet", "bgp", "routes", "--received", "feeder", "-o", "json"]).unwrap();
    let origin = |route: &Value| {
        let last = route["as_path"].as_str()?.rsplit(' ').next()?.parse().ok()?;
        Some((route["prefix"].as_str()?.to_owned(), last))
    };
    shown["routes"].as_array().unwrap().iter().filter_map(origin).collect()
}

/// BIRD is asked about one route after the other, as a filter of its own would ask.
fn of_bird(node: &Node, origins: &BTreeMap<String, u32>) -> Result<Verdicts, String> {
    let question = |(prefix, origin): (&String, &u32)| {
        let table = if prefix.contains(':') { "vrps6" } else { "vrps4" };
        format!("eval roa_check({table}, {prefix}, {origin})\n")
    };
    let questions: String = origins.iter().map(question).collect();
    let line = format!("birdc <<'end'\n{questions}end");
    let said = node.shell(&line).map_err(|error| error.to_string())?;
    // "(enum 35)1": 0 unknown, 1 valid, 2 invalid.
    let answers: Vec<&str> = said.lines().filter_map(|line| line.split_once("(enum ")?.1.split(')').nth(1)).collect();
    if answers.len() != origins.len() {
        return Err(said);
    }
    let verdict = |answer: &str| match answer.trim() {
        "0" => "not-found".to_owned(),
        "1" => "valid".to_owned(),
        "2" => "invalid".to_owned(),
        other => other.to_owned(),
    };
    Ok(origins.keys().cloned().zip(answers.into_iter().map(verdict)).collect())
}

fn of_frr(node: &Node) -> Result<Verdicts, String> {
    let mut verdicts = Verdicts::new();
    // FRR 8.4 shows every route when it is asked for those not found; the other two answers say which are in truth.
    let states = [("notfound", "not-found"), ("valid", "valid"), ("invalid", "invalid")];
    for (family, (word, state)) in ["ipv4", "ipv6"].into_iter().flat_map(|family| states.map(|state| (family, state))) {
        let shown = json(node, &["vtysh", "-c", &format!("show bgp {family} unicast rpki {word} json")])?;
        let prefixes = shown["routes"].as_object().cloned().unwrap_or_default();
        verdicts.extend(prefixes.into_iter().map(|(prefix, _)| (prefix, state.to_owned())));
    }
    Ok(verdicts)
}

/// Our AS.
const OURS: u32 = 64512;

/// What the origins of our best paths will be for one who is sent them: with the paths as they are, or without private
/// numbers, of which they are full.
fn origins_on_export(node: &Node, private: bool) -> Result<BTreeMap<String, u32>, String> {
    let shown = json(node, &["linnet", "bgp", "routes", "-o", "json"])?;
    let best = shown["routes"].as_array().into_iter().flatten().filter(|route| route["best"] == true);
    let origin = |route: &Value| {
        let last = route["as_path"].as_str().and_then(|path| path.rsplit(' ').next()?.parse().ok());
        Some((route["prefix"].as_str()?.to_owned(), last.filter(|_| private).unwrap_or(OURS)))
    };
    Ok(best.filter_map(origin).filter(|(prefix, _)| !prefix.contains(':')).collect())
}

/// What the receiver has in a table, by the community that our export filter gave for what it found.
fn at_receiver(node: &Node, table: &str) -> Result<Verdicts, String> {
    let said = node.shell(&format!("birdc show route table {table} all")).map_err(|error| error.to_string())?;
    let (mut verdicts, mut prefix) = (Verdicts::new(), String::new());
    // "10.0.0.0/8    unicast [plain 08:15:04.000] * (100) [AS65020i]", and lines about it behind a tab.
    for line in said.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) && first.contains('/') {
            first.clone_into(&mut prefix);
            verdicts.insert(prefix.clone(), "none".to_owned());
        } else if first == "BGP.community:" {
            let state = if line.contains("(64512,1)") { "valid" } else { "not-found" };
            verdicts.insert(prefix.clone(), state.to_owned());
        }
    }
    Ok(verdicts)
}

/// RFC 8893: both sessions of the receiver have what is not invalid by the origin that it sees there. BIRD's ROA tables are the
/// judge. What it has by the second one.
fn a_receiver_has_what_is_not_invalid_by_the_origin_that_it_sees(lab: &Lab, what: &str) -> Verdicts {
    let [linnet, bird, receiver] = ["linnet", "bird", "receiver"].map(|name| lab.node(name).unwrap());
    wait(lab, what, || {
        let mut last = Verdicts::new();
        for (table, private) in [("plain4", true), ("published4", false)] {
            let mut expected = of_bird(bird, &origins_on_export(linnet, private)?)?;
            expected.retain(|_, state| state != "invalid");
            last = at_receiver(receiver, table)?;
            let differ = differences(&expected, &last);
            if expected.len() < 5 || !differ.is_empty() {
                return Err(format!("{table}: {} expected, there is {differ:?}", expected.len()));
            }
        }
        Ok(last)
    })
}

/// What the station has of the feeder's routes behind our import filter is what we have accepted, also when it is another
/// judgement by which that is so (RFC 7854 section 5).
fn the_station_has_what_is_accepted_now(lab: &Lab, what: &str) {
    let [linnet, bmp] = ["linnet", "station"].map(|name| lab.node(name).unwrap());
    wait(lab, what, || {
        let routes = json(linnet, &["linnet", "bgp", "routes", "-o", "json"])?;
        let of_feeder = routes["routes"].as_array().into_iter().flatten().filter(|route| route["peer"] == "feeder");
        let ours: Verdicts = of_feeder
            .map(|route| (route["prefix"].as_str().unwrap_or_default().to_owned(), route["local_pref"].to_string()))
            .collect();
        let theirs = station::routes(bmp, "10.9.0.10", station::post_policy)?;
        // A preference that the filter did not set is in no UPDATE of an external peer's, and pmbmpd says 0.
        let preference = |entry: &Value| match &entry["local_pref"] {
            Value::Number(preference) if preference.as_u64() != Some(0) => preference.to_string(),
            _ => "null".to_owned(),
        };
        let theirs = theirs.iter().map(|(prefix, entry)| (prefix.clone(), preference(entry))).collect();
        let differ = differences(&ours, &theirs);
        if ours.len() > 10 && differ.is_empty() { Ok(()) } else { Err(format!("{} here; {differ:?}", ours.len())) }
    });
}

fn differences(one: &Verdicts, other: &Verdicts) -> Vec<String> {
    let keys = one.keys().chain(other.keys()).collect::<std::collections::BTreeSet<_>>();
    let differs = keys.into_iter().filter(|key| one.get(*key) != other.get(*key));
    differs.map(|key| format!("{key}: {:?} and {:?}", one.get(key), other.get(key))).collect()
}

/// All three agree, and each state is there.
fn agree(lab: &Lab, what: &str) -> Verdicts {
    let [linnet, bird, frr] = ["linnet", "bird", "frr"].map(|name| lab.node(name).unwrap());
    wait(lab, what, || {
        let ours = of_linnet(linnet)?;
        if !["valid", "invalid", "not-found"].iter().all(|state| ours.values().any(|one| one == state)) {
            return Err(format!("{ours:?}"));
        }
        let birds = differences(&ours, &of_bird(bird, &origins(linnet))?);
        let frrs = differences(&ours, &of_frr(frr)?);
        obeys(linnet, &ours)?;
        if birds.is_empty() && frrs.is_empty() { Ok(ours) } else { Err(format!("BIRD {birds:?} FRR {frrs:?}")) }
    })
}

fn cache(node: &Node, name: &str) -> Result<Value, String> {
    let shown = json(node, &["linnet", "bgp", "rpki", "-o", "json"])?;
    let caches = shown["caches"].as_array().cloned().unwrap_or_default();
    caches.into_iter().find(|cache| cache["name"] == name).ok_or_else(|| shown.to_string())
}

/// The cache's file with something replaced in it.
fn change_vrps(node: &Node, change: &str) {
    let line = format!(
        "sed '{change}' /etc/stayrtr/vrps.json > /run/changed.json && cp /run/changed.json /run/now.json &&
         mount --bind /run/now.json /etc/stayrtr/vrps.json"
    );
    node.shell(&line).unwrap();
}

#[test]
fn linnet_bird_and_frr_judge_every_route_alike_also_after_the_cache_has_changed_its_mind() {
    let lab = up("rpki");
    let linnet = lab.node("linnet").unwrap();
    let before = agree(&lab, "Linnet, BIRD and FRR to agree about every route");
    assert!(before.len() > 60, "{before:?}");

    // The one that speaks version 0 stands by.
    wait(&lab, "both caches to be synchronised", || {
        let (first, second) = (cache(linnet, "cache")?, cache(linnet, "cache-v0")?);
        let seen = |cache: &Value| ["state", "in_use", "version", "vrps"].map(|key| cache[key].to_string());
        let wanted = [["\"synchronised\"", "true", "1", "14"], ["\"synchronised\"", "false", "0", "2"]];
        let seen = [seen(&first), seen(&second)];
        if seen == wanted { Ok(()) } else { Err(format!("{first} {second}")) }
    });

    the_station_has_what_is_accepted_now(&lab, "the station to have what was accepted");
    let published =
        a_receiver_has_what_is_not_invalid_by_the_origin_that_it_sees(&lab, "the receiver to have the rest");
    assert_eq!(
        (published.get("203.0.113.0/24").map(String::as_str), published.get("192.0.2.0/24")),
        (Some("not-found"), None)
    );

    let serial = cache(linnet, "cache").unwrap()["serial"].clone();
    let (of_21, longer, of_us) = ("s/AS65021/AS65099/", "s/\"maxLength\": 20/\"maxLength\": 24/", "s/AS65027/AS64512/");
    change_vrps(lab.node("cache").unwrap(), &format!("{of_21}; {longer}; {of_us}"));
    let after = wait(&lab, "the change to be here by a serial query", || {
        let now = cache(linnet, "cache")?;
        if now["serial"] == serial { Err(now.to_string()) } else { Ok(of_linnet(linnet)?) }
    });
    let changed = differences(&before, &after);
    assert!(!changed.is_empty() && changed.len() < before.len() / 2, "{changed:?}");
    assert_eq!(agree(&lab, "all three to agree again"), after);
    the_station_has_what_is_accepted_now(&lab, "the station to have what is accepted by what the cache says now");
    let published = a_receiver_has_what_is_not_invalid_by_the_origin_that_it_sees(&lab, "the receiver to have it too");
    assert_eq!(
        published.get("192.0.2.0/24").map(String::as_str),
        Some("valid"),
        "ours since the cache says so: {published:?}"
    );

    // Who says so: the VRPs that cover a prefix.
    let shown = json(linnet, &["linnet", "bgp", "rpki", "10.1.2.0/24", "-o", "json"]).unwrap();
    let vrps: Vec<_> = shown["vrps"].as_array().unwrap().iter().map(|vrp| vrp["asn"].as_u64().unwrap()).collect();
    assert_eq!(vrps.len(), 4, "{shown}");
    assert!(vrps.contains(&65099), "{shown}");

    a_filter_says_by_which_state_it_decides(linnet, &after);

    // Dead, its data counts on; the cache that stands by takes over only when there is none: a restart of the daemon.
    lab.node("cache").unwrap().signal("stayrtr", "KILL").unwrap();
    wait(&lab, "the loss of the cache to be seen", || {
        let now = cache(linnet, "cache")?;
        if now["state"] != "synchronised" && now["in_use"] == true { Ok(()) } else { Err(now.to_string()) }
    });
    assert_eq!(of_linnet(linnet).unwrap(), after);
    linnet.signal("linnetd", "KILL").unwrap();
    linnet.start("linnetd").unwrap();
    wait(&lab, "the other cache to count", || {
        let now = cache(linnet, "cache-v0")?;
        let verdicts = of_linnet(linnet)?;
        let by_it = verdicts.get("10.1.0.0/16").is_some_and(|state| state == "invalid")
            && verdicts.get("10.3.0.0/16").is_some_and(|state| state == "not-found");
        if now["in_use"] == true && by_it { Ok(()) } else { Err(format!("{now} {verdicts:?}")) }
    });
    lab.node("cache").unwrap().start("stayrtr").unwrap();
    let back = agree(&lab, "the first cache to count again when it is back");
    assert_eq!(back, after);
}
