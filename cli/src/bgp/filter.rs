//! `linnet bgp filter list|test`.

use linnet_api as api;
use serde::Serialize;

use super::routes::Route;
use crate::Answer;
use crate::args::FilterQuestion;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Page, Present, Printer, present};

#[derive(Debug, Serialize)]
struct Filters {
    filters: Vec<Filter>,
}

#[derive(Debug, Serialize)]
struct Filter {
    name: String,
    rules: Vec<String>,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl From<api::FilterListReply> for Filters {
    fn from(reply: api::FilterListReply) -> Self {
        let filter = |filter: api::Filter| Filter {
            name: filter.name,
            rules: filter.rules,
            imports: filter.imports,
            exports: filter.exports,
        };
        Self { filters: reply.filters.into_iter().map(filter).collect() }
    }
}

impl Present for Filters {
    fn draw(&self, page: &mut Page) {
        for filter in &self.filters {
            let used = [("import of", &filter.imports), ("export of", &filter.exports)];
            let used: Vec<String> = used
                .iter()
                .filter(|(_, peers)| !peers.is_empty())
                .map(|(how, peers)| format!("{how} {}", peers.join(", ")))
                .collect();
            let used = if used.is_empty() { "not used".to_owned() } else { used.join("; ") };
            page.line(format!("{}: {used}", filter.name));
            for (index, rule) in filter.rules.iter().enumerate() {
                page.line(format!("  {} {rule}", index + 1));
            }
            page.line("    the end rejects");
        }
    }
}

#[derive(Debug, Serialize)]
struct Test {
    filter: String,
    /// The peer that would be sent it, if one was named.
    to: Option<String>,
    routes: Vec<Trace>,
}

/// What the filter made of one route.
#[derive(Debug, Serialize)]
struct Trace {
    route: Route,
    source: String,
    accepted: bool,
    /// Counted from 1; absent if the end decided.
    rule: Option<u32>,
    rules: Vec<Rule>,
    result: Option<Route>,
    /// With `to`: as that peer would hear it.
    sent: Option<Route>,
    /// With `to`: why it would not.
    withheld: Option<String>,
}

#[derive(Debug, Serialize)]
struct Rule {
    number: u32,
    matches: bool,
    checks: Vec<Check>,
    then: String,
    sets: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Check {
    condition: String,
    passed: bool,
    found: String,
}

impl Test {
    fn new(filter: String, to: Option<String>, reply: api::FilterTestReply) -> Self {
        let check =
            |check: api::FilterCheck| Check { condition: check.condition, passed: check.passed, found: check.found };
        let rule = |rule: api::FilterRule| Rule {
            number: rule.number,
            matches: rule.matches,
            checks: rule.checks.into_iter().map(check).collect(),
            then: rule.then,
            sets: rule.sets,
        };
        let trace = |trace: api::FilterTrace| Trace {
            route: trace.route.unwrap_or_default().into(),
            source: trace.source,
            accepted: trace.accepted,
            rule: (trace.rule != 0).then_some(trace.rule),
            rules: trace.rules.into_iter().map(rule).collect(),
            result: trace.result.map(Route::from),
            sent: trace.sent.map(Route::from),
            withheld: present(trace.withheld),
        };
        Self { filter, to, routes: reply.traces.into_iter().map(trace).collect() }
    }
}

impl Present for Test {
    fn draw(&self, page: &mut Page) {
        for (index, trace) in self.routes.iter().enumerate() {
            if index > 0 {
                page.line("");
            }
            trace.draw(&self.filter, page);
            match (&self.to, &trace.sent) {
                (None, _) => {}
                (Some(to), Some(sent)) => {
                    page.line(format!("sent to {to}"));
                    page.line(format!("  {}", described(sent)));
                }
                (Some(to), None) => {
                    page.line(format!(
                        "not sent to {to}: {}",
                        trace.withheld.as_deref().unwrap_or("no reason is known")
                    ));
                }
            }
        }
    }
}

impl Trace {
    fn draw(&self, filter: &str, page: &mut Page) {
        let peer = if self.route.peer.is_empty() { "no peer" } else { &self.route.peer };
        page.line(format!("{} from {peer} ({})", self.route.prefix, self.source));
        page.line(format!("  {}", described(&self.route)));
        for rule in &self.rules {
            let outcome = match (rule.matches, rule.then.as_str()) {
                (false, _) => "does not match".to_owned(),
                (true, "next") => "matches: go on with the next".to_owned(),
                (true, then) => format!("matches: {then}"),
            };
            page.line(format!("rule {} {outcome}", rule.number));
            for check in &rule.checks {
                let mark = if check.passed { "yes" } else { "no " };
                page.line(format!("  {mark} {}: {}", check.condition, check.found));
            }
            if rule.matches {
                rule.sets.iter().for_each(|set| page.line(format!("  set {set}")));
            }
        }
        let verdict = if self.accepted { "accepted" } else { "rejected" };
        match self.rule {
            Some(rule) => page.line(format!("{verdict} by filter \"{filter}\", rule {rule}")),
            None => page.line(format!("{verdict} by filter \"{filter}\": no rule decides, and the end rejects")),
        }
        if let Some(result) = &self.result {
            page.line(format!("  {}", described(result)));
        }
    }
}

/// A route's attributes on one line.
fn described(route: &Route) -> String {
    let mut words = vec![format!("next hop {}", if route.next_hop.is_empty() { "ourselves" } else { &route.next_hop })];
    words.push(format!("as-path {}", if route.as_path.is_empty() { "empty" } else { &route.as_path }));
    words.push(format!("origin {}", route.origin));
    words.extend(route.weight.map(|weight| format!("weight {weight}")));
    words.extend(route.local_pref.map(|preference| format!("local-pref {preference}")));
    words.extend(route.med.map(|med| format!("med {med}")));
    words.extend(route.validation.as_ref().map(|state| format!("validation {state}")));
    if !route.communities.is_empty() {
        words.push(format!("communities {}", route.communities.join(" ")));
    }
    words.extend(route.seldom());
    words.extend(route.hints.iter().cloned());
    words.join(", ")
}

pub(crate) async fn filters(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.bgp().filter_list(api::FilterListRequest {}).await.map_err(|status| client.refused(status))?;
    print.print(&Filters::from(reply.into_inner()))?;
    Ok(Answer::Yes)
}

pub(crate) async fn test(client: &Client, print: &Printer, question: FilterQuestion) -> Result<Answer, Error> {
    let (name, to) = (question.filter.clone(), question.to.clone());
    let request = api::FilterTestRequest {
        filter: question.filter,
        prefix: question.prefix.to_string(),
        from_rib: question.from_rib,
        as_path: question.as_path.unwrap_or_default(),
        communities: question.communities,
        next_hop: question.next_hop.map(|address| address.to_string()).unwrap_or_default(),
        peer: question.peer.unwrap_or_default(),
        source: question.source.unwrap_or_default(),
        med: question.med,
        local_pref: question.local_pref,
        origin: question.origin.unwrap_or_default(),
        validation: question.validation.unwrap_or_default(),
        to: question.to.unwrap_or_default(),
    };
    let reply = client.bgp().filter_test(request).await.map_err(|status| client.refused(status))?;
    let test = Test::new(name, to, reply.into_inner());
    print.print(&test)?;
    let passes = |trace: &Trace| if test.to.is_some() { trace.sent.is_some() } else { trace.accepted };
    Ok(test.routes.iter().any(passes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    /// A route as a router announced it.
    fn announced() -> api::BgpRoute {
        api::BgpRoute {
            prefix: "10.1.0.0/16".into(),
            next_hop: "192.0.2.1".into(),
            peer: "tor-a".into(),
            as_path: "65001 65010".into(),
            origin: "igp".into(),
            ..Default::default()
        }
    }

    fn test() -> Test {
        let route = api::BgpRoute {
            communities: vec!["65001:100".into(), "64512:7:1".into(), "lb:65001:10G".into()],
            validation: "valid".into(),
            ..announced()
        };
        let check = |condition: &str, passed, found: &str| api::FilterCheck {
            condition: condition.into(),
            passed,
            found: found.into(),
        };
        let rules = vec![
            api::FilterRule {
                number: 1,
                checks: vec![
                    check("prefix = [\"10.0.0.0/8 le 24\"]", true, "10.1.0.0/16 by \"10.0.0.0/8 le 24\""),
                    check("community = [\"65001:666\"]", false, "65001:100 64512:7:1 lb:65001:10G"),
                ],
                then: "reject".into(),
                ..Default::default()
            },
            api::FilterRule {
                number: 2,
                matches: true,
                checks: vec![check("not as-path = [\"65099$\"]", true, "65001 65010")],
                then: "accept".into(),
                sets: vec!["weight = 5".into(), "local-pref = \"+50\"".into(), "mtu = 1400".into()],
            },
        ];
        let hints = vec!["mtu 1400".into()];
        let result = api::BgpRoute { weight: 5, local_pref: Some(150), hints, ..route.clone() };
        let accepted = api::FilterTrace {
            route: Some(route.clone()),
            source: "external".into(),
            rules,
            accepted: true,
            rule: 2,
            result: Some(result),
            ..Default::default()
        };
        let own = api::BgpRoute {
            peer: "local".into(),
            next_hop: String::new(),
            as_path: String::new(),
            validation: String::new(),
            ..route
        };
        let rejected = api::FilterTrace { route: Some(own), source: "local".into(), ..Default::default() };
        Test::new("from-tor".into(), None, api::FilterTestReply { traces: vec![accepted, rejected] })
    }

    /// One that the peer would hear, and one that the filter lets through and a community does not.
    fn test_to() -> Test {
        let route = announced();
        let sent = api::BgpRoute { next_hop: "192.0.2.9".into(), as_path: "64512 65001 65010".into(), ..route.clone() };
        let accepted = api::FilterTrace {
            route: Some(route.clone()),
            source: "external".into(),
            rules: vec![api::FilterRule { number: 1, matches: true, then: "accept".into(), ..Default::default() }],
            accepted: true,
            rule: 1,
            result: Some(route.clone()),
            sent: Some(sent),
            ..Default::default()
        };
        let inside = api::BgpRoute { communities: vec!["65535:65281".into()], ..route };
        let withheld = api::FilterTrace {
            route: Some(inside.clone()),
            result: Some(inside),
            sent: None,
            withheld: "community no-export".into(),
            ..accepted.clone()
        };
        Test::new("to-tor".into(), Some("tor-b".into()), api::FilterTestReply { traces: vec![accepted, withheld] })
    }

    fn filters() -> Filters {
        let filter = |name: &str, imports: &[&str]| api::Filter {
            name: name.into(),
            rules: vec!["{ match = { prefix = [\"10.0.0.0/8\"] }, then = \"accept\" }".into()],
            imports: imports.iter().map(|peer| (*peer).to_owned()).collect(),
            exports: Vec::new(),
        };
        api::FilterListReply { filters: vec![filter("from-tor", &["tor-a", "tor-b"]), filter("mesh", &[])] }.into()
    }

    #[test]
    fn a_test_says_rule_by_rule_why() {
        insta::assert_snapshot!(plain(&test(), false));
    }

    #[test]
    fn a_test_towards_a_peer_says_what_it_would_hear() {
        insta::assert_snapshot!(plain(&test_to(), false));
    }

    #[test]
    fn a_test_towards_a_peer_is_a_contract() {
        insta::assert_snapshot!(json(&test_to()));
    }

    #[test]
    fn a_test_is_a_contract() {
        insta::assert_snapshot!(json(&test()));
    }

    #[test]
    fn filters_read_as_they_are_written() {
        insta::assert_snapshot!(plain(&filters(), false));
    }

    #[test]
    fn filters_are_a_contract() {
        insta::assert_snapshot!(json(&filters()));
    }
}
