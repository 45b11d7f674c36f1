//! `linnet overlay list`.

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::table::Table;
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Overlay {
    mode: String,
    encapsulation: Option<String>,
    device: Option<String>,
    local_endpoint: Option<String>,
    mac: Option<String>,
    /// VXLAN's, as MAC and port.
    vni: Option<u32>,
    port: Option<u32>,
    mtu: u32,
    peers: Vec<Peer>,
}

#[derive(Debug, Serialize)]
struct Peer {
    next_hop: String,
    encap: String,
    endpoint: Option<String>,
    mac: Option<String>,
    vni: Option<u32>,
    routes: u32,
    reason: String,
}

/// Neither a VNI nor a port is ever 0.
fn given(number: u32) -> Option<u32> {
    (number != 0).then_some(number)
}

impl From<api::OverlayReply> for Overlay {
    fn from(reply: api::OverlayReply) -> Self {
        let peer = |peer: api::OverlayPeer| Peer {
            vni: given(peer.vni),
            next_hop: peer.next_hop,
            encap: peer.encap,
            endpoint: present(peer.endpoint),
            mac: present(peer.mac),
            routes: peer.routes,
            reason: peer.reason,
        };
        Self {
            mode: reply.mode,
            encapsulation: present(reply.encapsulation),
            device: present(reply.device),
            local_endpoint: present(reply.local_endpoint),
            mac: present(reply.mac),
            vni: given(reply.vni),
            port: given(reply.port),
            mtu: reply.mtu,
            peers: reply.peers.into_iter().map(peer).collect(),
        }
    }
}

impl Present for Overlay {
    fn draw(&self, page: &mut Page) {
        match &self.device {
            Some(device) => {
                let vni = self.vni.map(|vni| format!(" VNI {vni}")).unwrap_or_default();
                let port = self.port.map(|port| format!(" port {port}")).unwrap_or_default();
                let mac = self.mac.as_ref().map(|mac| format!(", MAC {mac}")).unwrap_or_default();
                page.line(format!(
                    "mode {}, {device}: {}{vni}{port} MTU {}, end point {}{mac}",
                    self.mode,
                    dash(self.encapsulation.as_deref()),
                    self.mtu,
                    dash(self.local_endpoint.as_deref()),
                ));
            }
            None => page.line(format!("mode {}, no tunnel device", self.mode)),
        }
        page.line("");
        let mut table = Table::new(&["NEXT HOP", "ENCAP", "END POINT", "MAC", ">ROUTES", "WHY"]);
        for peer in &self.peers {
            table.row([
                peer.next_hop.clone(),
                peer.encap.clone(),
                dash(peer.endpoint.as_deref()),
                dash(peer.mac.as_deref()),
                peer.routes.to_string(),
                peer.reason.clone(),
            ]);
        }
        page.table(&table);
    }
}

pub(crate) async fn list(client: &Client, print: &Printer) -> Result<Answer, Error> {
    let reply = client.fib().overlay(api::OverlayRequest {}).await.map_err(|status| client.refused(status))?;
    print.print(&Overlay::from(reply.into_inner()))?;
    Ok(Answer::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{json, plain};

    fn reply() -> api::OverlayReply {
        api::OverlayReply {
            mode: "auto".into(),
            encapsulation: "vxlan".into(),
            device: "linnet.vxlan".into(),
            local_endpoint: "192.168.10.11".into(),
            mac: "02:00:5e:10:00:01".into(),
            vni: 4096,
            port: 4789,
            mtu: 1450,
            peers: vec![
                api::OverlayPeer {
                    next_hop: "192.168.10.1".into(),
                    encap: "direct".into(),
                    routes: 12,
                    reason: "adjacent on eth1".into(),
                    ..Default::default()
                },
                api::OverlayPeer {
                    next_hop: "172.31.0.5".into(),
                    encap: "vxlan".into(),
                    endpoint: "172.31.0.5".into(),
                    mac: "02:00:5e:10:00:05".into(),
                    vni: 4096,
                    routes: 1,
                    reason: "reached via 192.168.10.1: no L2 adjacency".into(),
                },
            ],
        }
    }

    #[test]
    fn an_overlay_reads_well() {
        insta::assert_snapshot!(plain(&Overlay::from(reply()), false));
    }

    #[test]
    fn an_overlay_is_a_contract() {
        insta::assert_snapshot!(json(&Overlay::from(reply())));
    }

    #[test]
    fn an_overlay_of_ipip_has_neither_vni_nor_mac() {
        let mut reply = reply();
        (reply.encapsulation, reply.device, reply.mtu) = ("ipip".into(), "linnet.ipip".into(), 1480);
        (reply.mac, reply.vni, reply.port) = (String::new(), 0, 0);
        reply.peers[1].encap = "ipip".into();
        (reply.peers[1].mac, reply.peers[1].vni) = (String::new(), 0);
        insta::assert_snapshot!(plain(&Overlay::from(reply), false));
    }
}
