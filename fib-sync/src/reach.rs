//! The kernel's own answer to the question how a next hop is reached.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
};

use crate::{
    FibError,
    kernel_route::{family, ip, mtu_of, read, type_word},
    links::Links,
    netlink::{Refusal, Request, Socket},
};

/// How many next hops are remembered for [`crate::Fib::reach`]; those asked for longest ago are forgotten first.
const WATCHED: usize = 65_536;

/// How this host reaches an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On a link of this host.
    Adjacent {
        /// The link's device.
        device: String,
        /// Octets of the largest packet on the way there, as far as this host's routes and links say.
        mtu: u32,
    },
    /// By a router.
    Routed {
        /// The router.
        via: IpAddr,
        /// The device towards it.
        device: String,
        /// The route says that the router is on the device's link, whatever the host's addresses say (`onlink`).
        onlink: bool,
        /// Octets of the largest packet on the way there.
        mtu: u32,
    },
    /// It is this host's own.
    Local,
    /// Not at all, or by a link without a carrier.
    Unreachable {
        /// What the kernel said, or what is wrong with the link.
        error: String,
    },
}

/// [`Reach`], with the device as the kernel numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Adjacent { link: u32, mtu: u32 },
    Routed { via: IpAddr, link: u32, onlink: bool, mtu: u32 },
    Local,
    Unreachable(String),
}

impl Answer {
    /// Octets of the largest packet on the way there.
    pub(crate) fn mtu(&self) -> Option<u32> {
        match self {
            Answer::Adjacent { mtu, .. } | Answer::Routed { mtu, .. } => Some(*mtu).filter(|mtu| *mtu != 0),
            Answer::Local | Answer::Unreachable(_) => None,
        }
    }

    pub(crate) fn public(&self, links: &Links) -> Reach {
        let device = |link: &u32| links.name(*link).to_string();
        match self {
            Answer::Adjacent { link, mtu } => Reach::Adjacent { device: device(link), mtu: *mtu },
            Answer::Routed { via, link, onlink, mtu } => {
                Reach::Routed { via: *via, device: device(link), onlink: *onlink, mtu: *mtu }
            }
            Answer::Local => Reach::Local,
            Answer::Unreachable(error) => Reach::Unreachable { error: error.clone() },
        }
    }
}

#[derive(Debug)]
struct Known {
    answer: Answer,
    /// When somebody asked to be told of changes, as a running number.
    watched: Option<u64>,
}

/// The answers so far. Kept until the kernel's links, addresses or routes change, then asked for again.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    known: HashMap<IpAddr, Known>,
    asked: u64,
}

impl Answers {
    pub(crate) fn get(&self, address: IpAddr) -> Option<&Answer> {
        self.known.get(&address).map(|known| &known.answer)
    }

    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// Makes sure that each of these is known.
    pub(crate) fn learn(
        &mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
        socket: &mut Socket,
        links: &Links,
    ) -> Result<(), FibError> {
        let unknown: HashSet<IpAddr> =
            addresses.into_iter().filter(|address| !self.known.contains_key(address)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<IpAddr> = unknown.into_iter().collect();
        for (address, answer) in unknown.iter().zip(ask(&unknown, socket, links)?) {
            self.known.insert(*address, Known { answer, watched: None });
        }
        Ok(())
    }

    /// From now on changes of these are reported by [`Answers::again`].
    pub(crate) fn watch(&mut self, addresses: &[IpAddr]) {
        for address in addresses {
            self.asked += 1;
            if let Some(known) = self.known.get_mut(address) {
                known.watched = Some(self.asked);
            }
        }
        let mut stamps: Vec<u64> = self.known.values().filter_map(|known| known.watched).collect();
        if stamps.len() > WATCHED {
            let surplus = stamps.len() - WATCHED;
            let (_, oldest, _) = stamps.select_nth_unstable(surplus);
            let oldest = *oldest;
            self.known.values_mut().filter(|known| known.watched < Some(oldest)).for_each(|known| known.watched = None);
        }
    }

    /// Asks for all again, after forgetting those that nobody needs. Returns the addresses whose answer changed, and
    /// whether they are watched.
    pub(crate) fn again(
        &mut self,
        needed: &HashSet<IpAddr>,
        socket: &mut Socket,
        links: &Links,
    ) -> Result<Vec<(IpAddr, bool)>, FibError> {
        self.known.retain(|address, known| known.watched.is_some() || needed.contains(address));
        let addresses: Vec<IpAddr> = self.known.keys().copied().collect();
        let mut changed = Vec::new();
        for (address, answer) in addresses.iter().zip(ask(&addresses, socket, links)?) {
            if let Some(known) = self.known.get_mut(address)
                && known.answer != answer
            {
                known.answer = answer;
                changed.push((*address, known.watched.is_some()));
            }
        }
        Ok(changed)
    }
}

/// RTM_GETROUTE for one destination; `fib` asks for the route that matched in place of what follows from it.
pub(crate) fn question(address: IpAddr, fib: bool) -> Request {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(address.is_ipv6()),
        destination_prefix_length: if address.is_ipv6() { 128 } else { 32 },
        ..RouteHeader::default()
    };
    if fib {
        message.header.flags = netlink_packet_route::route::RouteFlags::FibMatch;
    }
    message.attributes.push(RouteAttribute::Destination(address.into()));
    Request { message: RouteNetlinkMessage::GetRoute(message), flags: 0 }
}

fn ask(addresses: &[IpAddr], socket: &mut Socket, links: &Links) -> Result<Vec<Answer>, FibError> {
    let questions: Vec<Request> = addresses.iter().map(|address| question(*address, false)).collect();
    let mut answers: Vec<Answer> =
        socket.ask(&questions)?.into_iter().map(|answer| understand(answer, links)).collect();
    mark_onlink(addresses, &mut answers, socket)?;
    Ok(answers)
}

/// Notes of routers whether the kernel's own routes name them `onlink`. The answer for an address does not tell; the route that
/// matched does, and is asked for once a router.
fn mark_onlink(addresses: &[IpAddr], answers: &mut [Answer], socket: &mut Socket) -> Result<(), FibError> {
    let mut routers: BTreeMap<(IpAddr, u32), IpAddr> = BTreeMap::new();
    for (address, answer) in addresses.iter().zip(answers.iter()) {
        // A link-local router is on its link as it is.
        if let Answer::Routed { via, link, .. } = answer
            && !matches!(via, IpAddr::V6(via) if via.is_unicast_link_local())
        {
            routers.entry((*via, *link)).or_insert(*address);
        }
    }
    let questions: Vec<Request> = routers.values().map(|address| question(*address, true)).collect();
    let matched = socket.ask(&questions)?;
    let named =
        routers.keys().zip(matched).filter(|((via, link), matched)| is_onlink(*via, *link, matched.as_ref().ok()));
    let named: BTreeSet<(IpAddr, u32)> = named.map(|(router, _)| *router).collect();
    for answer in answers {
        if let Answer::Routed { via, link, onlink, .. } = answer {
            *onlink = named.contains(&(*via, *link));
        }
    }
    Ok(())
}

/// Whether a route has this hop, `onlink`.
fn is_onlink(via: IpAddr, link: u32, route: Option<&RouteNetlinkMessage>) -> bool {
    let Some(RouteNetlinkMessage::NewRoute(message)) = route else { return false };
    let hops = read(message).map(|route| route.path.hops).unwrap_or_default();
    hops.iter().any(|hop| hop.onlink && hop.via == Some(via) && hop.link == link)
}

fn understand(answer: Result<RouteNetlinkMessage, Refusal>, links: &Links) -> Answer {
    let message = match answer {
        Ok(RouteNetlinkMessage::NewRoute(message)) => message,
        Ok(_) => return Answer::Unreachable("the kernel gave no route".into()),
        Err(refusal) => return Answer::Unreachable(refusal.to_string()),
    };
    match message.header.kind {
        RouteType::Unicast => {}
        RouteType::Local => return Answer::Local,
        other => return Answer::Unreachable(format!("the kernel has a route of type {} for it", type_word(other))),
    }
    let (mut via, mut link, mut mtu, mut learned) = (None, 0, None, false);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Gateway(address) => via = ip(address),
            RouteAttribute::Via(netlink_packet_route::route::RouteVia::Inet6(address)) => via = Some((*address).into()),
            RouteAttribute::Oif(index) => link = *index,
            RouteAttribute::Metrics(metrics) => mtu = mtu_of(metrics),
            RouteAttribute::CacheInfo(cache) => learned = cache.expires != 0,
            _ => {}
        }
    }
    // What a router somewhere on the way has said holds for some minutes, and nobody is told when it ends. The kernel itself
    // heeds it, in tunnels too.
    let mtu = mtu.filter(|_| !learned);
    // The kernel goes on answering with a route whose cable is pulled.
    if let Some(device) = links.by_index(link).filter(|device| !device.running) {
        return Answer::Unreachable(format!("device {} has no carrier", device.name));
    }
    let mtu = mtu.or_else(|| links.by_index(link).map(|link| link.mtu)).unwrap_or_default();
    match via {
        Some(via) => Answer::Routed { via, link, onlink: false, mtu },
        None => Answer::Adjacent { link, mtu },
    }
}
