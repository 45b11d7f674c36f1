//! `linnet overlay list`.

use linnet_api as api;
use serde::Serialize;

use crate::Answer;
use crate::client::Client;
use crate::error::Error;
use crate::output::duration::ago;
use crate::output::table::{Table, Tone};
use crate::output::{Page, Present, Printer, dash, present};

#[derive(Debug, Serialize)]
struct Overlay {
    mode: String,
    encapsulation: Option<String>,
    device: Option<String>,
    local_endpoint: Option<String>,
    mac: Option<String>,
    /// VXLAN's, as MAC.
    vni: Option<u32>,
    port: Option<u32>,
    /// WireGuard's.
    public_key: Option<String>,
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
    public_key: Option<String>,
    port: Option<u32>,
    /// Where the kernel sends to.
    heard_at: Option<String>,
    /// Unless it is in the future.
    handshake_seconds_ago: Option<u64>,
    /// In the future: this node's clock was set back.
    handshake_seconds_ahead: Option<u64>,
    received_octets: Option<u64>,
    sent_octets: Option<u64>,
    routes: u32,
    reason: String,
}

impl Peer {
    fn handshake(&self) -> String {
        match (self.handshake_seconds_ahead, self.handshake_seconds_ago) {
            (Some(ahead), _) => format!("{} in the future", ago(ahead)),
            (None, Some(seconds)) => ago(seconds),
            (None, None) => "-".into(),
        }
    }
}

/// Neither a VNI nor a port is ever 0.
fn given(number: u32) -> Option<u32> {
    (number != 0).then_some(number)
}

impl From<api::OverlayReply> for Overlay {
    fn from(reply: api::OverlayReply) -> Self {
        let peer = |peer: api::OverlayPeer| Peer {
            vni: given(peer.vni),
            port: given(peer.port),
            // The kernel knows the peer when it says where it is.
            received_octets: Some(peer.received_octets).filter(|_| !peer.heard_at.is_empty()),
            sent_octets: Some(peer.sent_octets).filter(|_| !peer.heard_at.is_empty()),
            public_key: present(peer.public_key),
            heard_at: present(peer.heard_at),
            handshake_seconds_ago: peer
                .last_handshake_seconds
                .checked_sub(1)
                .filter(|_| peer.last_handshake_ahead_seconds == 0),
            handshake_seconds_ahead: Some(peer.last_handshake_ahead_seconds).filter(|ahead| *ahead > 0),
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
            public_key: present(reply.public_key),
            mtu: reply.mtu,
            peers: reply.peers.into_iter().map(peer).collect(),
        }
    }
}

impl Overlay {
    fn draw_wireguard(&self, page: &mut Page) {
        let heads = ["NEXT HOP", "ENCAP", "END POINT", "HANDSHAKE", ">RX", ">TX", ">ROUTES"];
        let heads = [&heads[..], if page.wide { &["PUBLIC KEY"] } else { &[] }, &["WHY"]].concat();
        let mut table = Table::new(&heads);
        for peer in &self.peers {
            let announced = || Some(format!("{}:{}", peer.endpoint.as_ref()?, peer.port?));
            let octets = |octets: Option<u64>| octets.map_or_else(|| "-".to_owned(), |octets| octets.to_string());
            let mut cells = vec![
                peer.next_hop.clone(),
                peer.encap.clone(),
                dash(peer.heard_at.clone().or_else(announced).as_deref()),
                peer.handshake(),
                octets(peer.received_octets),
                octets(peer.sent_octets),
                peer.routes.to_string(),
            ];
            if page.wide {
                cells.push(dash(peer.public_key.as_deref()));
            }
            cells.push(peer.reason.clone());
            table.push(cells.into_iter().map(|cell| (cell, Tone::Plain)).collect());
        }
        page.table(&table);
    }
}

impl Present for Overlay {
    fn draw(&self, page: &mut Page) {
        match &self.device {
            Some(device) => {
                let vni = self.vni.map(|vni| format!(" VNI {vni}")).unwrap_or_default();
                let port = self.port.map(|port| format!(" port {port}")).unwrap_or_default();
                let key = self.public_key.as_ref().map(|key| format!(", public key {key}")).unwrap_or_default();
                let mac = self.mac.as_ref().map(|mac| format!(", MAC {mac}")).unwrap_or_default();
                page.line(format!(
                    "mode {}, {device}: {}{vni}{port} MTU {}, end point {}{mac}{key}",
                    self.mode,
                    dash(self.encapsulation.as_deref()),
                    self.mtu,
                    dash(self.local_endpoint.as_deref()),
                ));
            }
            None => page.line(format!("mode {}, no tunnel device", self.mode)),
        }
        page.line("");
        if self.encapsulation.as_deref() == Some("wireguard") {
            return self.draw_wireguard(page);
        }
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
                    ..Default::default()
                },
            ],
            public_key: String::new(),
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

    fn wireguard() -> api::OverlayReply {
        let key = |letter: &str| format!("{}=", letter.repeat(43));
        let peer = |next_hop: &str| api::OverlayPeer {
            next_hop: next_hop.into(),
            endpoint: next_hop.into(),
            encap: "wireguard".into(),
            public_key: key("B"),
            port: 51820,
            routes: 2,
            reason: "overlay.mode is \"always\"".into(),
            ..Default::default()
        };
        api::OverlayReply {
            mode: "always".into(),
            encapsulation: "wireguard".into(),
            device: "linnet.wg".into(),
            local_endpoint: "192.168.10.11".into(),
            port: 51820,
            mtu: 1440,
            public_key: key("A"),
            peers: vec![
                api::OverlayPeer {
                    heard_at: "203.0.113.9:40000".into(),
                    last_handshake_seconds: 76,
                    received_octets: 148_992,
                    sent_octets: 92_160,
                    ..peer("192.168.10.12")
                },
                api::OverlayPeer {
                    heard_at: "192.168.10.15:51820".into(),
                    last_handshake_seconds: 1,
                    last_handshake_ahead_seconds: 3725,
                    ..peer("192.168.10.15")
                },
                api::OverlayPeer { heard_at: "192.168.10.13:51820".into(), ..peer("192.168.10.13") },
                api::OverlayPeer {
                    next_hop: "192.168.10.14".into(),
                    encap: "none".into(),
                    routes: 1,
                    reason: "192.168.10.14 announces no WireGuard key for its pods".into(),
                    ..Default::default()
                },
            ],
            ..Default::default()
        }
    }

    #[test]
    fn an_overlay_of_wireguard_has_handshakes_and_octets_and_wide_its_keys() {
        insta::assert_snapshot!(
            plain(&Overlay::from(wireguard()), false) + "\n" + &plain(&Overlay::from(wireguard()), true)
        );
    }

    #[test]
    fn an_overlay_of_wireguard_is_a_contract() {
        insta::assert_snapshot!(json(&Overlay::from(wireguard())));
    }
}
