//! `linnet bgp routes`: printed as they come, because a full table is long.

use std::io::{self, Write};

use linnet_api as api;
use linnet_api::bgp_routes_request::Scope;
use serde::Serialize;

use crate::Answer;
use crate::args::RoutesQuery;
use crate::client::Client;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::{Table, Tone};
use crate::output::{Format, Printer, dash, present};

#[derive(Debug, Serialize)]
pub(super) struct Route {
    pub(super) prefix: String,
    path_id: u32,
    pub(super) next_hop: String,
    pub(super) peer: String,
    pub(super) as_path: String,
    /// This speaker's own preference; absent where no filter has set one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) weight: Option<u32>,
    pub(super) local_pref: Option<u32>,
    pub(super) med: Option<u32>,
    pub(super) communities: Vec<String>,
    /// Octets a second, of the link bandwidth community.
    #[serde(skip_serializing_if = "Option::is_none")]
    link_bandwidth: Option<f64>,
    pub(super) origin: String,
    /// Only to Customer (RFC 9234).
    #[serde(skip_serializing_if = "Option::is_none")]
    otc: Option<u32>,
    /// Of a route that was reflected (RFC 4456), as the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    originator_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cluster_list: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggregator: Option<Aggregator>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    atomic_aggregate: bool,
    best: bool,
    multipath: bool,
    stale: bool,
    tunnels: Vec<String>,
    /// Absent where routes are not validated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) validation: Option<String>,
    /// How filters have it written into the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) hints: Vec<String>,
    reason: Option<String>,
    age_seconds: u64,
}

/// Who made an aggregate of routes.
#[derive(Debug, Serialize)]
struct Aggregator {
    asn: u32,
    router_id: String,
}

impl From<api::BgpRoute> for Route {
    fn from(route: api::BgpRoute) -> Self {
        Self {
            prefix: route.prefix,
            path_id: route.path_id,
            next_hop: route.next_hop,
            peer: route.peer,
            as_path: route.as_path,
            weight: (route.weight != 0).then_some(route.weight),
            link_bandwidth: (route.link_bandwidth != 0.0).then_some(route.link_bandwidth),
            local_pref: route.local_pref,
            med: route.med,
            communities: route.communities,
            origin: route.origin,
            otc: route.otc,
            originator_id: present(route.originator_id),
            cluster_list: route.cluster_list,
            aggregator: route.aggregator.map(|it| Aggregator { asn: it.asn, router_id: it.router_id }),
            atomic_aggregate: route.atomic_aggregate,
            best: route.best,
            multipath: route.multipath,
            stale: route.stale,
            tunnels: route.tunnels,
            validation: present(route.validation),
            hints: route.hints,
            reason: present(route.reason),
            age_seconds: route.age_seconds,
        }
    }
}

impl Route {
    /// `*` best, `=` in the multipath set, `s` stale.
    fn marks(&self) -> String {
        let mark = match (self.best, self.multipath) {
            (true, _) => "*",
            (false, true) => "=",
            (false, false) => " ",
        };
        format!("{mark}{}", if self.stale { "s" } else { " " })
    }
}

impl Route {
    /// What few routes have: by whom they were reflected or aggregated, and where they must not go.
    pub(super) fn seldom(&self) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.otc.map(|asn| format!("otc {asn}")));
        words.extend(self.originator_id.as_ref().map(|id| format!("originator {id}")));
        if !self.cluster_list.is_empty() {
            words.push(format!("clusters {}", self.cluster_list.join(" ")));
        }
        words.extend(self.aggregator.as_ref().map(|it| format!("aggregator {} {}", it.asn, it.router_id)));
        words.extend(self.atomic_aggregate.then(|| "atomic-aggregate".to_owned()));
        words
    }

    /// With the path identifier, where there are several paths to the prefix (RFC 7911).
    fn prefix_and_path(&self) -> String {
        match self.path_id {
            0 => self.prefix.clone(),
            path_id => format!("{} #{path_id}", self.prefix),
        }
    }
}

/// Writes routes in one format, page by page.
enum Writer {
    Table { table: Box<Table>, wide: bool },
    Json { any: bool },
    Yaml { any: bool },
}

impl Writer {
    fn new(format: Format) -> Self {
        let heads = ["  ", "PREFIX", "NEXT HOP", "PEER", ">PREF", ">MED", "AS PATH", "ORIGIN"];
        match format {
            Format::Table => Self::Table { table: Box::new(Table::new(&[&heads[..], &["WHY"]].concat())), wide: false },
            Format::Wide => {
                let wide =
                    [&heads[..], &[">AGE", "VALIDATION", "COMMUNITIES", "ATTRIBUTES", "TUNNELS", "WHY"]].concat();
                Self::Table { table: Box::new(Table::new(&wide)), wide: true }
            }
            Format::Json => Self::Json { any: false },
            Format::Yaml => Self::Yaml { any: false },
        }
    }

    fn page(&mut self, routes: Vec<Route>, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Table { table, wide } => {
                for route in routes {
                    table.push(row(&route, *wide));
                }
                out.write_all(table.render(false).as_bytes())?;
                table.next_page();
            }
            Self::Json { any } => {
                for route in routes {
                    out.write_all(if *any { b",\n" } else { b"{\"routes\":[\n" })?;
                    serde_json::to_writer(&mut *out, &route)?;
                    *any = true;
                }
            }
            Self::Yaml { any } => {
                if !routes.is_empty() {
                    out.write_all(if *any { b"" } else { b"routes:\n" })?;
                    out.write_all(serde_yaml_ng::to_string(&routes).map_err(io::Error::other)?.as_bytes())?;
                    *any = true;
                }
            }
        }
        Ok(())
    }

    fn end(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Table { .. } | Self::Yaml { any: true } => Ok(()),
            Self::Json { any: true } => out.write_all(b"\n]}\n"),
            Self::Json { any: false } => out.write_all(b"{\"routes\":[]}\n"),
            Self::Yaml { any: false } => out.write_all(b"routes: []\n"),
        }
    }
}

fn row(route: &Route, wide: bool) -> Vec<(String, Tone)> {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut cells = vec![
        route.marks(),
        route.prefix_and_path(),
        route.next_hop.clone(),
        route.peer.clone(),
        number(route.local_pref),
        number(route.med),
        route.as_path.clone(),
        route.origin.clone(),
    ];
    if wide {
        cells.extend([
            ago(route.age_seconds),
            dash(route.validation.as_deref()),
            route.communities.join(" "),
            route.seldom().join(", "),
            route.tunnels.join(", "),
        ]);
    }
    cells.push(route.reason.clone().unwrap_or_default());
    cells.into_iter().map(|cell| (cell, Tone::Plain)).collect()
}

pub(crate) async fn routes(client: &Client, print: &Printer, query: RoutesQuery) -> Result<Answer, Error> {
    let prefix = query.prefix.map(|given| {
        let canonical = ipnetwork::IpNetwork::new(given.network(), given.prefix()).unwrap_or(given);
        if canonical != given {
            eprintln!("linnet: {given} has host bits: showing {canonical}");
        }
        canonical.to_string()
    });
    let scope = match (query.received, query.advertised, query.rejected) {
        (Some(peer), _, _) => Some(Scope::Received(peer)),
        (None, Some(peer), _) => Some(Scope::Advertised(peer)),
        (None, None, true) => Some(Scope::Rejected(true)),
        (None, None, false) => None,
    };
    let wanted = prefix.clone();
    let request = api::BgpRoutesRequest { prefix: prefix.unwrap_or_default(), scope };
    let mut pages = client.bgp().routes(request).await.map_err(|status| client.refused(status))?.into_inner();
    let mut writer = Writer::new(print.format);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut any = false;
    while let Some(page) = pages.message().await.map_err(|status| client.refused(status))? {
        any |= !page.routes.is_empty();
        writer.page(page.routes.into_iter().map(Route::from).collect(), &mut out)?;
        out.flush()?;
    }
    writer.end(&mut out)?;
    out.flush()?;
    match wanted {
        Some(prefix) if !any => {
            eprintln!(
                "linnet: no such path has exactly the prefix {prefix}; `linnet route get ADDRESS` finds what covers it"
            );
            Ok(Answer::No)
        }
        _ => Ok(Answer::Yes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Vec<Vec<api::BgpRoute>> {
        let best = api::BgpRoute {
            prefix: "10.244.2.0/24".into(),
            next_hop: "192.168.10.1".into(),
            peer: "tor-a".into(),
            as_path: "65001 64513".into(),
            local_pref: Some(100),
            origin: "igp".into(),
            best: true,
            multipath: true,
            reason: "best".into(),
            communities: vec!["65001:100".into()],
            age_seconds: 253,
            validation: "valid".into(),
            ..Default::default()
        };
        let lost = api::BgpRoute {
            best: false,
            multipath: false,
            stale: true,
            path_id: 7,
            peer: "tor-b".into(),
            as_path: "65002 65009 64513".into(),
            med: Some(10),
            otc: Some(65002),
            originator_id: "192.0.2.7".into(),
            cluster_list: vec!["192.0.2.1".into(), "192.0.2.2".into()],
            aggregator: Some(api::Aggregator { asn: 64513, router_id: "192.0.2.9".into() }),
            atomic_aggregate: true,
            reason: "lost at 2, as-path length: 3 > 2".into(),
            ..best.clone()
        };
        vec![vec![best], vec![lost]]
    }

    fn written(format: Format, pages: Vec<Vec<api::BgpRoute>>) -> String {
        let (mut writer, mut out) = (Writer::new(format), Vec::new());
        for page in pages {
            writer.page(page.into_iter().map(Route::from).collect(), &mut out).unwrap();
        }
        writer.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn routes_read_well() {
        insta::assert_snapshot!(written(Format::Table, pages()));
    }

    #[test]
    fn wide_routes_have_age_and_communities() {
        insta::assert_snapshot!(written(Format::Wide, pages()));
    }

    #[test]
    fn routes_are_a_contract() {
        let text = written(Format::Json, pages());
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["routes"].as_array().unwrap().len(), 2);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn yaml_over_several_pages_is_one_document() {
        let value: serde_json::Value = serde_yaml_ng::from_str(&written(Format::Yaml, pages())).unwrap();
        assert_eq!(value["routes"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn no_route_is_an_empty_list() {
        assert_eq!(written(Format::Json, vec![]), "{\"routes\":[]}\n");
        assert_eq!(written(Format::Yaml, vec![vec![]]), "routes: []\n");
    }
}
