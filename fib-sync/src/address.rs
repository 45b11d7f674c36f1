//! Addresses on devices of Linnet's own.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeader, AddressMessage, AddressScope},
};

use crate::{
    FibError,
    kernel_route::family,
    netlink::{Request, Socket},
};

fn message(link: u32, address: IpAddr, length: u8, scope: AddressScope) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: family(address.is_ipv6()),
        prefix_len: length,
        index: link,
        scope,
        ..AddressHeader::default()
    };
    message.attributes = vec![AddressAttribute::Address(address), AddressAttribute::Local(address)];
    message
}

/// Adds one to the device `name`, which has the interface index `link`. An IPv6 one works from the first moment.
pub(crate) fn add(
    socket: &mut Socket,
    name: &str,
    link: u32,
    address: IpAddr,
    length: u8,
    scope: AddressScope,
) -> Result<(), FibError> {
    let mut message = message(link, address, length, scope);
    if address.is_ipv6() {
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    let request = Request { message: RouteNetlinkMessage::NewAddress(message), flags: NLM_F_CREATE | NLM_F_REPLACE };
    socket.perform(&format!("add address {address}/{length} to device {name}"), request)
}

/// Removes one.
pub(crate) fn remove(socket: &mut Socket, name: &str, link: u32, address: IpAddr, length: u8) -> Result<(), FibError> {
    let message = RouteNetlinkMessage::DelAddress(message(link, address, length, AddressScope::Universe));
    socket.perform(&format!("remove address {address}/{length} from device {name}"), Request { message, flags: 0 })
}

/// The addresses on a device, with the length of their prefixes and their scope.
pub(crate) fn on(socket: &mut Socket, link: u32) -> Result<Vec<(IpAddr, u8, AddressScope)>, FibError> {
    socket.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        let RouteNetlinkMessage::NewAddress(message) = message else { return None };
        let address = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })?;
        (message.header.index == link).then_some((address, message.header.prefix_len, message.header.scope))
    })
}
