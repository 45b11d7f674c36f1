//! `linnet route list|get`.

use std::net::IpAddr;

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Routes {
    routes: Vec<Route>,
}

#[derive(Debug, Serialize)]
struct Route {
    prefix: String,
    kind: String,
    next_hops: Vec<NextHop>,
    /// Whom the kernel takes when it loses the only one of them.
    backup: Option<NextHop>,
    installed: bool,
    error: Option<String>,
    source: String,
    mtu: Option<u32>,
}

#[derive(Debug, Serialize)]
struct NextHop {
    via: Option<String>,
    dev: Option<String>,
    encap: Option<String>,
    /// 1 to 256; absent where all are taken alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
}

impl From<api::FibNextHop> for NextHop {
    fn from(hop: api::FibNextHop) -> Self {
        Self {
            via: present(hop.via),
            dev: present(hop.dev),
            encap: present(hop.encap),
            weight: (hop.weight != 0).then_some(hop.weight),
        }
    }
}

impl From<api::FibRoute> for Route {
    fn from(route: api::FibRoute) -> Self {
        Self {
            prefix: route.prefix,
            kind: route.kind,
            next_hops: route.next_hops.into_iter().map(NextHop::from).collect(),
            backup: route.backup.map(NextHop::from),
            installed: route.installed,
            error: present(route.error),
            source: route.source,
            mtu: (route.mtu != 0).then_some(route.mtu),
        }
    }
}

impl Present for Routes {
    /// One line for each next hop: of an ECMP route the later lines name the next hop only. The last is the backup's.
    fn draw(&self, page: &mut Page) {
        let mut table = Table::new(&["PREFIX", "VIA", "DEV", "ENCAP", ">WEIGHT", ">MTU", "SOURCE", "STATE"]);
        for route in &self.routes {
            let (state, tone) = match (&route.error, route.installed) {
                (Some(error), _) => (error.clone(), Tone::Bad),
                (None, true) => ("installed".to_owned(), Tone::Good),
                (None, false) => ("pending".to_owned(), Tone::Doubtful),
            };
            let mtu = dash(route.mtu.map(|mtu| mtu.to_string()).as_deref());
            let line = |hop: &NextHop, weight: Option<&str>| {
                [hop.via.as_deref(), hop.dev.as_deref(), hop.encap.as_deref(), weight]
                    .map(dash)
                    .map(|cell| (cell, Tone::Plain))
            };
            let used =
                route.next_hops.iter().map(|hop| line(hop, hop.weight.map(|weight| weight.to_string()).as_deref()));
            let mut hops = used.chain(route.backup.iter().map(|hop| line(hop, Some("backup"))));
            let [via, dev, encap, weight] = hops
                .next()
                .unwrap_or_else(|| [route.kind.as_str(), "-", "-", "-"].map(|cell| (cell.to_owned(), Tone::Plain)));
            table.toned([
                (route.prefix.clone(), Tone::Plain),
                via,
                dev,
                encap,
                weight,
                (mtu, Tone::Plain),
                (route.source.clone(), Tone::Plain),
                (state, tone),
            ]);
            for [via, dev, encap, weight] in hops {
                table.push(vec![(String::new(), Tone::Plain), via, dev, encap, weight]);
            }
        }
        page.table(&table);
    }
}

pub(crate) async fn list(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.fib().routes(api::FibRoutesRequest {}).await.map_err(|status| client.refused(status))?;
    print.print(&Routes { routes: reply.into_inner().routes.into_iter().map(Route::from).collect() })?;
    Ok(Answer::Yes)
}

/// The kernel's answer for one address.
#[derive(Debug, Serialize)]
struct Lookup {
    address: String,
    prefix: Option<String>,
    next_hop: Option<NextHop>,
    source_address: Option<String>,
    mtu: Option<u32>,
    error: Option<String>,
    route: Option<Route>,
    why: Option<String>,
}

impl Lookup {
    fn new(address: IpAddr, reply: api::FibGetReply) -> Self {
        Self {
            address: address.to_string(),
            prefix: present(reply.prefix),
            next_hop: reply.next_hop.map(NextHop::from),
            source_address: present(reply.source_address),
            mtu: (reply.mtu != 0).then_some(reply.mtu),
            error: present(reply.error),
            route: reply.route.map(Route::from),
            why: present(reply.why),
        }
    }
}

impl Present for Lookup {
    fn draw(&self, page: &mut Page) {
        let mut words = vec![self.address.clone()];
        match (&self.error, &self.next_hop) {
            (Some(error), _) => words = vec![format!("{}: {error}", self.address)],
            (None, Some(hop)) => {
                words.extend(hop.via.iter().map(|via| format!("via {via}")));
                words.extend(hop.dev.iter().map(|dev| format!("dev {dev}")));
                words.extend(hop.encap.iter().map(|encap| format!("by {encap}")));
                words.extend(self.source_address.iter().map(|source| format!("from {source}")));
                words.extend(self.mtu.iter().map(|mtu| format!("mtu {mtu}")));
            }
            (None, None) => words.push("has no route".to_owned()),
        }
        page.line(words.join(" "));
        if let Some(prefix) = &self.prefix {
            page.line(format!("  follows {prefix}"));
        }
        if let Some(why) = &self.why {
            page.line(format!("  because {why}"));
        }
    }
}

pub(crate) async fn get(client: &Client, print: &Printer, address: IpAddr) -> Result<Answer, Error> {
    let request = api::FibGetRequest { address: address.to_string() };
    let reply = client.fib().get(request).await.map_err(|status| client.refused(status))?;
    let lookup = Lookup::new(address, reply.into_inner());
    print.print(&lookup)?;
    Ok(lookup.error.is_none().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn hop(via: &str, dev: &str, encap: &str) -> api::FibNextHop {
        api::FibNextHop { via: via.into(), dev: dev.into(), encap: encap.into(), weight: 0 }
    }

    fn routes() -> Routes {
        let route = |prefix: &str, next_hops: Vec<api::FibNextHop>, source: &str, kind: &str| api::FibRoute {
            prefix: prefix.into(),
            next_hops,
            installed: true,
            source: source.into(),
            kind: kind.into(),
            ..Default::default()
        };
        let ecmp = vec![hop("10.1.0.0", "eth1", ""), hop("10.1.0.2", "eth2", "")];
        let weighted = |(hop, weight)| api::FibNextHop { weight, ..hop };
        let weighted = ecmp.iter().cloned().zip([2, 5]).map(weighted).collect();
        let mut tunnel = route("10.244.5.0/24", vec![hop("172.31.0.5", "linnet.vxlan", "vxlan")], "bgp", "unicast");
        tunnel.mtu = 1450;
        tunnel.backup = Some(hop("172.31.0.6", "linnet.vxlan", "vxlan"));
        let mut failed = route("10.244.6.0/24", vec![hop("10.9.9.9", "", "")], "bgp", "unicast");
        failed.installed = false;
        failed.error = "Network is unreachable".into();
        let routes = vec![
            route("10.244.1.0/24", vec![], "local", "unreachable"),
            route("10.244.3.0/24", ecmp, "bgp", "unicast"),
            route("10.244.4.0/24", weighted, "bgp", "unicast"),
            route("203.0.113.9/32", vec![], "bgp", "blackhole"),
            tunnel,
            failed,
        ];
        Routes { routes: routes.into_iter().map(Route::from).collect() }
    }

    fn lookup() -> Lookup {
        Lookup::new(
            "10.244.5.7".parse().unwrap(),
            api::FibGetReply {
                prefix: "10.244.5.0/24".into(),
                next_hop: Some(hop("172.31.0.5", "linnet.vxlan", "vxlan")),
                source_address: "10.0.0.1".into(),
                mtu: 1450,
                why: "peer h5 announced it with a VXLAN tunnel, and 172.31.0.5 has no L2 adjacency".into(),
                ..Default::default()
            },
        )
    }

    #[test]
    fn routes_read_well() {
        insta::assert_snapshot!(plain(&routes(), false));
    }

    #[test]
    fn routes_are_a_contract() {
        insta::assert_snapshot!(json(&routes()));
    }

    #[test]
    fn a_lookup_says_why() {
        insta::assert_snapshot!(plain(&lookup(), false));
    }

    #[test]
    fn a_lookup_is_a_contract() {
        insta::assert_snapshot!(json(&lookup()));
    }
}
