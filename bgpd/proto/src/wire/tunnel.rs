//! The Tunnel Encapsulation attribute (RFC 9012): how to reach a next hop that is not adjacent.
//!
//! Malformed ones have spread across the Internet and reset sessions far from their origin (2023). Nothing here does:
//! the worst that this attribute brings about is that its routes are withdrawn.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16};
use nom::{IResult, Parser};

/// One tunnel that a node offers for reaching what it announces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tunnel {
    /// Tunnel type 8 (RFC 9012 section 3.2.1).
    Vxlan {
        /// The tunnel egress endpoint (section 3.1).
        endpoint: IpAddr,
        /// VXLAN network identifier, 24 bits.
        vni: u32,
        /// The MAC address of the far end's VXLAN device.
        mac: [u8; 6],
        /// The UDP destination port (section 3.3.1), if it is not 4789.
        udp_port: Option<u16>,
        /// Sub-TLVs that Linnet does not use, as they came: they are passed on (RFC 9012 section 13). Empty for our own.
        other: Bytes,
    },
    /// Tunnel type 7, IP in IP.
    IpIp {
        /// The tunnel egress endpoint.
        endpoint: IpAddr,
        /// As for VXLAN.
        other: Bytes,
    },
    /// WireGuard, for which IANA has assigned neither a tunnel type nor sub-TLVs: see [`WIREGUARD`].
    WireGuard {
        /// The tunnel egress endpoint.
        endpoint: IpAddr,
        /// The public key of the far end (Curve25519), not all zero.
        key: [u8; 32],
        /// The UDP destination port (section 3.3.1), not 0. WireGuard has no port of its own, so it is always said.
        udp_port: u16,
        /// As for VXLAN.
        other: Bytes,
    },
    /// Any other type, or one that lacks what Linnet needs (a VNI, a MAC address, a public key, an endpoint of its own instead
    /// of "the next hop"): passed on as it came, not used.
    Unknown {
        /// The tunnel type.
        kind: u16,
        /// The TLV's value.
        value: Bytes,
    },
}

/// What the attribute holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tunnels {
    pub(super) tunnels: Box<[Tunnel]>,
    /// A tunnel was taken out because its egress endpoint is missing or malformed.
    pub(super) removed: bool,
}

/// IANA "BGP Tunnel Encapsulation Attribute Tunnel Types".
const VXLAN: u16 = 8;
const IP_IN_IP: u16 = 7;
/// WireGuard's tunnel type, Linnet's own choice: IANA has assigned none, and has no types for experiments. It is WireGuard's
/// customary port, far from those that are assigned one after the other. Should it be assigned to something else, that will
/// not have the sub-TLV of the key with its magic, and so is passed on unused.
pub const WIREGUARD: u16 = 51820;
/// IANA "BGP Tunnel Encapsulation Attribute Sub-TLVs".
const ENCAPSULATION: u8 = 1;
const EGRESS_ENDPOINT: u8 = 6;
const UDP_DESTINATION_PORT: u8 = 8;
/// Of those for experiments (126 and 127): [`MAGIC`] and WireGuard's public key, 36 octets in all.
const PUBLIC_KEY: u8 = 126;
/// Tells Linnet's use of the sub-TLV from others' experiments.
const MAGIC: [u8; 4] = *b"WGv1";
/// RFC 7348 section 5.
const VXLAN_PORT: u16 = 4789;
/// The V and M bits of VXLAN's Encapsulation sub-TLV: VNI and MAC address are there.
const VNI_AND_MAC: u8 = 0xc0;

/// Parses the attribute's value, by RFC 9012 section 13.
///
/// # Errors
/// What is wrong, when the routes are to be treated as withdrawn.
pub(super) fn parse(value: &[u8]) -> Result<Tunnels, &'static str> {
    let mut rest = value;
    let mut tunnels = Vec::new();
    let mut removed = false;
    while !rest.is_empty() {
        let (behind, (kind, value)) = tunnel_tlv(rest).map_err(|_| "a tunnel runs over its end")?;
        rest = behind;
        // "The final octet of a TLV MUST also be the final octet of its final sub-TLV", whatever its type.
        let sub_tlvs = sub_tlvs(value).ok_or("a sub-TLV runs over its tunnel's end")?;
        match tunnel(kind, value, &sub_tlvs) {
            Some(tunnel) => tunnels.push(tunnel),
            None => removed = true,
        }
    }
    if tunnels.is_empty() {
        return Err("it has no valid tunnel");
    }
    Ok(Tunnels { tunnels: tunnels.into_boxed_slice(), removed })
}

fn tunnel_tlv(input: &[u8]) -> IResult<&[u8], (u16, &[u8])> {
    let (rest, (kind, length)) = (be_u16, be_u16).parse(input)?;
    let (rest, value) = take(length)(rest)?;
    Ok((rest, (kind, value)))
}

struct SubTlv<'a> {
    kind: u8,
    value: &'a [u8],
    /// With its type and length.
    whole: &'a [u8],
}

fn sub_tlvs(mut input: &[u8]) -> Option<Vec<SubTlv<'_>>> {
    let mut found = Vec::new();
    while !input.is_empty() {
        let (rest, (kind, value)) = sub_tlv(input).ok()?;
        found.push(SubTlv { kind, value, whole: &input[..input.len() - rest.len()] });
        input = rest;
    }
    Some(found)
}

fn sub_tlv(input: &[u8]) -> IResult<&[u8], (u8, &[u8])> {
    let (rest, kind) = be_u8(input)?;
    // RFC 9012 section 2: from 128 on the length has two octets.
    let (rest, length) = if kind < 128 { be_u8.map(u16::from).parse(rest)? } else { be_u16(rest)? };
    let (rest, value) = take(length)(rest)?;
    Ok((rest, (kind, value)))
}

/// `None`: its egress endpoint is missing or malformed, so the tunnel is not even passed on.
fn tunnel(kind: u16, value: &[u8], sub_tlvs: &[SubTlv<'_>]) -> Option<Tunnel> {
    // Copied, because a slice would keep all that was received with it alive for as long as the route lives.
    let unknown = || Tunnel::Unknown { kind, value: Bytes::copy_from_slice(value) };
    if ![VXLAN, IP_IN_IP, WIREGUARD].contains(&kind) {
        return Some(unknown());
    }
    // Of a sub-TLV that stands more than once the first counts; the others are passed on.
    let first = |wanted: u8| sub_tlvs.iter().position(|sub_tlv| sub_tlv.kind == wanted);
    let endpoint_at = first(EGRESS_ENDPOINT)?;
    let Endpoint::At(endpoint) = Endpoint::parse(sub_tlvs[endpoint_at].value)? else { return Some(unknown()) };

    // A malformed sub-TLV other than the endpoint counts as one that is not known.
    let of = |wanted: u8| first(wanted).map(|index| (index, sub_tlvs[index].value));
    let other = |used: &[Option<usize>]| -> Bytes {
        let kept = sub_tlvs.iter().enumerate().filter(|(index, _)| !used.contains(&Some(*index)));
        kept.flat_map(|(_, sub_tlv)| sub_tlv.whole.iter().copied()).collect()
    };
    if kind == IP_IN_IP {
        return Some(Tunnel::IpIp { endpoint, other: other(&[Some(endpoint_at)]) });
    }
    let port = of(UDP_DESTINATION_PORT).and_then(|(index, value)| Some((index, udp_port(value)?)));
    if kind == WIREGUARD {
        let key = of(PUBLIC_KEY).and_then(|(index, value)| Some((index, public_key(value)?)));
        let (Some((key_at, key)), Some((port_at, udp_port))) = (key, port) else { return Some(unknown()) };
        let other = other(&[Some(endpoint_at), Some(key_at), Some(port_at)]);
        return Some(Tunnel::WireGuard { endpoint, key, udp_port, other });
    }
    let Some((encapsulation_at, (vni, mac))) =
        of(ENCAPSULATION).and_then(|(index, value)| Some((index, vxlan(value)?)))
    else {
        return Some(unknown());
    };
    // One that says what is so anyway is passed on among the others.
    let port = port.filter(|(_, port)| *port != VXLAN_PORT);
    Some(Tunnel::Vxlan {
        endpoint,
        vni,
        mac,
        udp_port: port.map(|(_, port)| port),
        other: other(&[Some(endpoint_at), Some(encapsulation_at), port.map(|(index, _)| index)]),
    })
}

enum Endpoint {
    At(IpAddr),
    /// Address family 0: the route's next hop.
    NextHop,
}

impl Endpoint {
    /// RFC 9012 section 3.1: four reserved octets, the address family, the address.
    fn parse(value: &[u8]) -> Option<Self> {
        let (family, address) = value.get(4..)?.split_first_chunk::<2>()?;
        match (u16::from_be_bytes(*family), address.len()) {
            (0, 0) => Some(Self::NextHop),
            (1, 4) => {
                let address = Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?);
                let unicast = !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast();
                unicast.then_some(Self::At(IpAddr::V4(address)))
            }
            (2, 16) => {
                let address = Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?);
                let unicast = !address.is_unspecified() && !address.is_multicast();
                unicast.then_some(Self::At(IpAddr::V6(address)))
            }
            _ => None,
        }
    }
}

/// VNI and MAC address of VXLAN's Encapsulation sub-TLV (section 3.2.1); `None` if one of them is not there.
fn vxlan(value: &[u8]) -> Option<(u32, [u8; 6])> {
    match *value {
        [flags, v0, v1, v2, m0, m1, m2, m3, m4, m5, _, _] if flags & VNI_AND_MAC == VNI_AND_MAC => {
            Some((u32::from_be_bytes([0, v0, v1, v2]), [m0, m1, m2, m3, m4, m5]))
        }
        _ => None,
    }
}

/// Section 3.3.1; zero makes it malformed.
fn udp_port(value: &[u8]) -> Option<u16> {
    <[u8; 2]>::try_from(value).ok().map(u16::from_be_bytes).filter(|port| *port != 0)
}

/// WireGuard's public key, behind the magic. All zero is no key: nobody has a secret to it.
fn public_key(value: &[u8]) -> Option<[u8; 32]> {
    let key = <[u8; 32]>::try_from(value.strip_prefix(&MAGIC)?).ok()?;
    (key != [0; 32]).then_some(key)
}

impl Tunnel {
    /// Appends the TLV.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let kind = match self {
            Self::Vxlan { .. } => VXLAN,
            Self::IpIp { .. } => IP_IN_IP,
            Self::WireGuard { .. } => WIREGUARD,
            Self::Unknown { kind, .. } => *kind,
        };
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        match self {
            Self::Vxlan { endpoint, vni, mac, udp_port, other } => {
                let [_, v0, v1, v2] = vni.to_be_bytes();
                out.extend_from_slice(&[ENCAPSULATION, 12, VNI_AND_MAC, v0, v1, v2]);
                out.extend_from_slice(mac);
                out.extend_from_slice(&[0, 0]);
                encode_endpoint(*endpoint, out);
                udp_port.iter().for_each(|port| encode_udp_port(*port, out));
                out.extend_from_slice(other);
            }
            Self::WireGuard { endpoint, key, udp_port, other } => {
                encode_endpoint(*endpoint, out);
                out.extend_from_slice(&[PUBLIC_KEY, 36]);
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(key);
                encode_udp_port(*udp_port, out);
                out.extend_from_slice(other);
            }
            Self::IpIp { endpoint, other } => {
                encode_endpoint(*endpoint, out);
                out.extend_from_slice(other);
            }
            Self::Unknown { value, .. } => out.extend_from_slice(value),
        }
        // A longer one has no encoding, and its message is refused for its size before it is sent.
        let length = u16::try_from(out.len() - start - 4).unwrap_or(u16::MAX);
        out[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn encode_endpoint(endpoint: IpAddr, out: &mut Vec<u8>) {
    match endpoint {
        IpAddr::V4(address) => {
            out.extend_from_slice(&[EGRESS_ENDPOINT, 10, 0, 0, 0, 0, 0, 1]);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.extend_from_slice(&[EGRESS_ENDPOINT, 22, 0, 0, 0, 0, 0, 2]);
            out.extend_from_slice(&address.octets());
        }
    }
}

fn encode_udp_port(port: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[UDP_DESTINATION_PORT, 2]);
    out.extend_from_slice(&port.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::arbitrary;

    const ENDPOINT: &[u8] = b"\x06\x0a\x00\x00\x00\x00\x00\x01\xc0\x00\x02\x01";
    const VXLAN_VALUE: &[u8] = b"\x01\x0c\xc0\x00\x10\x00\x02\x00\x00\x00\x00\x09\x00\x00";
    const COLOR: &[u8] = b"\x04\x08\x03\x0b\x00\x00\x00\x00\x00\x07";

    fn tlv(kind: u16, sub_tlvs: &[&[u8]]) -> Vec<u8> {
        let value = sub_tlvs.concat();
        [&kind.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), &value].concat()
    }

    fn parsed(value: &[u8]) -> Vec<Tunnel> {
        parse(value).unwrap().tunnels.into_vec()
    }

    fn vxlan_with(udp_port: Option<u16>, other: &[u8]) -> Tunnel {
        let endpoint = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        Tunnel::Vxlan { endpoint, vni: 4096, mac: [2, 0, 0, 0, 0, 9], udp_port, other: Bytes::copy_from_slice(other) }
    }

    #[test]
    fn a_vxlan_tunnel_reads_as_rfc_9012_writes_it() {
        for (sub_tlvs, expected) in [
            (&[VXLAN_VALUE, ENDPOINT][..], vxlan_with(None, b"")),
            (&[ENDPOINT, VXLAN_VALUE], vxlan_with(None, b"")),
            (&[ENDPOINT, VXLAN_VALUE, b"\x08\x02\x12\xb5"], vxlan_with(None, b"\x08\x02\x12\xb5")),
            (&[ENDPOINT, VXLAN_VALUE, b"\x08\x02\x12\xb6"], vxlan_with(Some(4790), b"")),
            (&[COLOR, ENDPOINT, VXLAN_VALUE], vxlan_with(None, COLOR)),
            // Zero, or three octets: malformed, so unknown, so passed on.
            (&[ENDPOINT, VXLAN_VALUE, b"\x08\x02\x00\x00"], vxlan_with(None, b"\x08\x02\x00\x00")),
            (&[ENDPOINT, VXLAN_VALUE, b"\x08\x03\x12\xb6\x00"], vxlan_with(None, b"\x08\x03\x12\xb6\x00")),
            // The first of two counts, the second is passed on.
            (&[ENDPOINT, VXLAN_VALUE, ENDPOINT], vxlan_with(None, ENDPOINT)),
            // A sub-TLV whose length has two octets.
            (&[ENDPOINT, VXLAN_VALUE, b"\x80\x00\x01\x07"], vxlan_with(None, b"\x80\x00\x01\x07")),
        ] {
            assert_eq!(parsed(&tlv(8, sub_tlvs)), [expected], "{sub_tlvs:02x?}");
        }
    }

    #[test]
    fn a_tunnel_that_lacks_what_is_needed_is_passed_on_as_it_came() {
        let next_hop: &[u8] = b"\x06\x06\x00\x00\x00\x00\x00\x00";
        for (kind, sub_tlvs) in [
            (8, &[ENDPOINT][..]),
            (8, &[ENDPOINT, b"\x01\x0c\x80\x00\x10\x00\x02\x00\x00\x00\x00\x09\x00\x00"]),
            (8, &[ENDPOINT, b"\x01\x0c\x40\x00\x10\x00\x02\x00\x00\x00\x00\x09\x00\x00"]),
            (8, &[ENDPOINT, b"\x01\x0b\xc0\x00\x10\x00\x02\x00\x00\x00\x00\x09\x00"]),
            (8, &[next_hop, VXLAN_VALUE]),
            (7, &[next_hop]),
            (2, &[ENDPOINT]),
            (999, &[]),
        ] {
            let value = Bytes::from(sub_tlvs.concat());
            assert_eq!(parsed(&tlv(kind, sub_tlvs)), [Tunnel::Unknown { kind, value }]);
        }
    }

    const KEY: &[u8] = b"\x7e\x24WGv1\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07";
    const PORT: &[u8] = b"\x08\x02\xca\x6c";

    #[test]
    fn a_wireguard_tunnel_has_an_end_point_a_key_and_a_port() {
        let endpoint = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let with = |other: &'static [u8]| Tunnel::WireGuard {
            endpoint,
            key: [7; 32],
            udp_port: 51820,
            other: Bytes::from_static(other),
        };
        for (sub_tlvs, other) in [
            (&[ENDPOINT, KEY, PORT][..], &b""[..]),
            (&[PORT, KEY, ENDPOINT], b""),
            (&[ENDPOINT, COLOR, KEY, PORT], COLOR),
            (&[ENDPOINT, KEY, PORT, KEY], KEY),
        ] {
            assert_eq!(parsed(&tlv(WIREGUARD, sub_tlvs)), [with(other)], "{sub_tlvs:02x?}");
        }
        assert_eq!(parsed(&tlv(WIREGUARD, &[ENDPOINT, KEY, PORT])), [with(b"")]);
    }

    #[test]
    fn what_has_wireguards_number_and_no_key_or_port_of_linnets_is_passed_on_as_it_came() {
        let zero = [&b"\x7e\x24WGv1"[..], &[0; 32]].concat();
        let without_magic = [&b"\x7e\x24WGv2"[..], &[7; 32]].concat();
        let short = [&b"\x7e\x23WGv1"[..], &[7; 31]].concat();
        let long = [&b"\x7e\x25WGv1"[..], &[7; 33]].concat();
        for sub_tlvs in [
            &[ENDPOINT][..],
            &[ENDPOINT, KEY],
            &[ENDPOINT, PORT],
            &[ENDPOINT, KEY, b"\x08\x02\x00\x00"],
            &[ENDPOINT, &zero, PORT],
            &[ENDPOINT, &without_magic, PORT],
            &[ENDPOINT, &short, PORT],
            &[ENDPOINT, &long, PORT],
            // The first of two counts, whatever it is.
            &[ENDPOINT, &short, KEY, PORT],
            &[b"\x06\x06\x00\x00\x00\x00\x00\x00", KEY, PORT],
        ] {
            let value = Bytes::from(sub_tlvs.concat());
            assert_eq!(parsed(&tlv(WIREGUARD, sub_tlvs)), [Tunnel::Unknown { kind: WIREGUARD, value }]);
        }
        assert_eq!(parse(&tlv(WIREGUARD, &[KEY, PORT])), Err("it has no valid tunnel"), "it has no end point");
    }

    #[test]
    fn a_tunnel_without_a_good_endpoint_is_removed_and_the_others_stay() {
        let good = tlv(8, &[ENDPOINT, VXLAN_VALUE]);
        for endpoint in [
            &b""[..],
            b"\x06\x05\x00\x00\x00\x00\x00",
            b"\x06\x0a\x00\x00\x00\x00\x00\x02\xc0\x00\x02\x01",
            b"\x06\x0b\x00\x00\x00\x00\x00\x01\xc0\x00\x02\x01\x00",
            b"\x06\x0a\x00\x00\x00\x00\x00\x03\xc0\x00\x02\x01",
            b"\x06\x0a\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00",
            b"\x06\x0a\x00\x00\x00\x00\x00\x01\xe0\x00\x00\x01",
        ] {
            let bad = tlv(8, &[endpoint, VXLAN_VALUE]);
            let tunnels = parse(&[&bad[..], &good].concat()).unwrap();
            assert_eq!(
                (&tunnels.tunnels[..], tunnels.removed),
                (&[vxlan_with(None, b"")][..], true),
                "{endpoint:02x?}"
            );
            assert_eq!(parse(&bad), Err("it has no valid tunnel"));
        }
    }

    #[test]
    fn an_attribute_cut_anywhere_but_between_tunnels_is_malformed() {
        let one = tlv(8, &[ENDPOINT, VXLAN_VALUE, COLOR]);
        let whole = [&one[..], &tlv(999, &[COLOR])].concat();
        for cut in 0..=whole.len() {
            assert_eq!(parse(&whole[..cut]).is_ok(), cut == one.len() || cut == whole.len(), "cut at {cut}");
        }
    }

    #[test]
    fn a_sub_tlv_that_does_not_end_with_its_tunnel_is_malformed_whatever_the_type() {
        for kind in [7, 8, 999] {
            assert_eq!(parse(&tlv(kind, &[ENDPOINT, b"\x04"])), Err("a sub-TLV runs over its tunnel's end"));
            assert_eq!(parse(&tlv(kind, &[ENDPOINT, b"\x04\x02\x00"])), Err("a sub-TLV runs over its tunnel's end"));
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(tunnels in prop::collection::vec(arbitrary::tunnel(), 1..4)) {
            let mut value = Vec::new();
            tunnels.iter().for_each(|tunnel| tunnel.encode(&mut value));
            prop_assert_eq!(parsed(&value), tunnels);
        }

        #[test]
        fn random_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&value);
            for kind in [8, WIREGUARD] {
                let _ = parse(&tlv(kind, &[&value]));
                let _ = parse(&tlv(kind, &[ENDPOINT, &value]));
            }
        }
    }
}
