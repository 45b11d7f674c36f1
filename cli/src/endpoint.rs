//! `linnet endpoint list|add|remove`.

use std::collections::BTreeMap;

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::args::EndpointSpec;
use crate::client::Client;
use crate::error::Error;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Endpoints {
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    name: String,
    netns: String,
    addresses: Vec<String>,
    labels: BTreeMap<String, String>,
    interface: Option<String>,
    state: String,
    error: Option<String>,
    mtu: Option<u32>,
}

impl From<api::Endpoint> for Endpoint {
    fn from(endpoint: api::Endpoint) -> Self {
        Self {
            name: endpoint.name,
            netns: endpoint.netns,
            addresses: endpoint.addresses,
            labels: endpoint.labels.into_iter().collect(),
            interface: present(endpoint.interface),
            state: endpoint.state,
            error: present(endpoint.error),
            mtu: Some(endpoint.mtu).filter(|mtu| *mtu > 0),
        }
    }
}

impl Present for Endpoints {
    fn draw(&self, page: &mut Page) {
        let mut table = Table::new(&["ENDPOINT", "ADDRESSES", "INTERFACE", "STATE", "LABELS", "NETNS"]);
        for endpoint in &self.endpoints {
            let labels: Vec<_> = endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let (state, tone) = match &endpoint.error {
                Some(error) => (format!("{}: {error}", endpoint.state), Tone::Bad),
                None => (endpoint.state.clone(), Tone::Good),
            };
            table.toned([
                (endpoint.name.clone(), Tone::Plain),
                (endpoint.addresses.join(","), Tone::Plain),
                (dash(endpoint.interface.as_deref()), Tone::Plain),
                (state, tone),
                (dash(Some(&labels.join(","))), Tone::Plain),
                (endpoint.netns.clone(), Tone::Plain),
            ]);
        }
        page.table(&table);
    }
}

pub(crate) async fn list(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.endpoints().list(api::EndpointListRequest {}).await.map_err(|status| client.refused(status))?;
    print.print(&Endpoints { endpoints: reply.into_inner().endpoints.into_iter().map(Endpoint::from).collect() })?;
    Ok(Answer::Yes)
}

pub(crate) async fn add(client: &Client, print: &Printer, spec: EndpointSpec) -> Result<Answer, Error> {
    let request = api::EndpointAddRequest {
        name: spec.name,
        netns: spec.netns,
        addresses: spec.addresses.iter().map(ToString::to_string).collect(),
        labels: spec.labels.into_iter().collect(),
        interface: spec.interface,
    };
    let reply = client.endpoints().add(request).await.map_err(|status| client.refused(status))?;
    print.print(&Endpoints { endpoints: reply.into_inner().endpoint.into_iter().map(Endpoint::from).collect() })?;
    Ok(Answer::Yes)
}

pub(crate) async fn remove(client: &Client, name: String) -> Result<Answer, Error> {
    client.endpoints().remove(api::EndpointRemoveRequest { name }).await.map_err(|status| client.refused(status))?;
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn endpoints() -> Endpoints {
        let ready = api::Endpoint {
            name: "default/web".into(),
            netns: "/run/netns/web".into(),
            addresses: vec!["10.244.1.10".into(), "fd00:244:1::10".into()],
            labels: [("tier".to_owned(), "front".to_owned()), ("app".to_owned(), "web".to_owned())].into(),
            interface: "lin0a1b2c3d4e5".into(),
            state: "ready".into(),
            error: String::new(),
            mtu: 1450,
        };
        let failed = api::Endpoint {
            name: "default/db".into(),
            netns: "/run/netns/db".into(),
            addresses: vec!["10.244.1.11".into()],
            state: "failed".into(),
            error: "/run/netns/db is gone".into(),
            ..Default::default()
        };
        Endpoints { endpoints: vec![ready.into(), failed.into()] }
    }

    #[test]
    fn endpoints_read_well() {
        insta::assert_snapshot!(plain(&endpoints(), false));
    }

    #[test]
    fn endpoints_are_a_contract() {
        insta::assert_snapshot!(json(&endpoints()));
    }
}
