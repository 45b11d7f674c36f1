//! What this speaker originates: what it is told to as a whole, and beside that what other programs on this host know a way
//! to, which comes and goes route by route.

use std::collections::HashMap;

use bgp_proto::rib::Rib;
use bgp_proto::time::Instant;
use bgp_proto::types::Prefix;
use bgp_proto::wire::attributes::Attributes;

/// See the module. A prefix that is in both has the attributes of the first.
#[derive(Debug, Default)]
pub(crate) struct Own {
    originated: HashMap<Prefix, Attributes>,
    redistributed: HashMap<Prefix, Attributes>,
}

impl Own {
    /// The whole set from now on.
    pub(crate) fn originate(&mut self, routes: Vec<(Prefix, Attributes)>, rib: &mut Rib, now: Instant) {
        let wanted: HashMap<Prefix, Attributes> = routes.into_iter().collect();
        for prefix in self.originated.keys().filter(|prefix| !wanted.contains_key(prefix)) {
            match self.redistributed.get(prefix) {
                Some(attributes) => rib.originate(*prefix, attributes.clone(), now),
                None => rib.withdraw(*prefix),
            }
        }
        for (prefix, attributes) in &wanted {
            if self.originated.get(prefix) != Some(attributes) {
                rib.originate(*prefix, attributes.clone(), now);
            }
        }
        self.originated = wanted;
    }

    /// A difference.
    pub(crate) fn redistribute(&mut self, changes: Vec<(Prefix, Option<Attributes>)>, rib: &mut Rib, now: Instant) {
        for (prefix, attributes) in changes {
            let hidden = self.originated.contains_key(&prefix);
            match attributes {
                Some(attributes) => {
                    let news = self.redistributed.get(&prefix) != Some(&attributes);
                    if news && !hidden {
                        rib.originate(prefix, attributes.clone(), now);
                    }
                    self.redistributed.insert(prefix, attributes);
                }
                None => {
                    let known = self.redistributed.remove(&prefix).is_some();
                    if known && !hidden {
                        rib.withdraw(prefix);
                    }
                }
            }
        }
    }

    /// Says everything to a RIB that knows nothing yet.
    pub(crate) fn renew(&self, rib: &mut Rib, now: Instant) {
        let beside = self.redistributed.iter().filter(|(prefix, _)| !self.originated.contains_key(prefix));
        for (prefix, attributes) in self.originated.iter().chain(beside) {
            rib.originate(*prefix, attributes.clone(), now);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use bgp_proto::rib::{RibConfig, Scope};
    use bgp_proto::types::{Asn, NextHop, RouterId};
    use bgp_proto::wire::aspath::AsPath;
    use bgp_proto::wire::attributes::Origin;

    use super::*;

    /// Of a RIB that defers nothing and tells nobody.
    pub(crate) fn config() -> RibConfig {
        RibConfig::new(Asn(64512), RouterId(Ipv4Addr::LOCALHOST))
    }

    fn rib(now: Instant) -> Rib {
        Rib::new(config(), now)
    }

    fn route(origin: Origin) -> Attributes {
        Attributes::new(origin, AsPath::default(), NextHop::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Prefixes with their ORIGIN, as the RIB has them.
    fn held(rib: &mut Rib, now: Instant) -> Vec<(String, Origin)> {
        while rib.run(now) {}
        let routes = rib.routes(Scope::Local, None, usize::MAX, now);
        routes.iter().map(|route| (route.prefix.to_string(), route.attributes.origin)).collect()
    }

    #[test]
    fn what_is_told_as_a_whole_hides_what_others_know_and_gives_it_free_again() {
        let now = Instant::default();
        let (mut own, mut rib) = (Own::default(), rib(now));
        let (one, two): (Prefix, Prefix) = ("10.0.0.0/8".parse().unwrap(), "192.0.2.0/24".parse().unwrap());
        let incomplete = || Some(route(Origin::Incomplete));
        own.redistribute(vec![(one, incomplete()), (two, incomplete())], &mut rib, now);
        own.originate(vec![(one, route(Origin::Igp))], &mut rib, now);
        let both = [("10.0.0.0/8".to_owned(), Origin::Igp), ("192.0.2.0/24".to_owned(), Origin::Incomplete)];
        assert_eq!(held(&mut rib, now), both);

        let mut anew = self::rib(now);
        own.renew(&mut anew, now);
        assert_eq!(held(&mut anew, now), both);

        own.redistribute(vec![(two, None), (two, None)], &mut rib, now);
        own.originate(Vec::new(), &mut rib, now);
        assert_eq!(held(&mut rib, now), [("10.0.0.0/8".to_owned(), Origin::Incomplete)]);

        own.originate(vec![(one, route(Origin::Igp))], &mut rib, now);
        own.redistribute(vec![(one, None)], &mut rib, now);
        assert_eq!(held(&mut rib, now), [("10.0.0.0/8".to_owned(), Origin::Igp)]);
        own.originate(Vec::new(), &mut rib, now);
        assert_eq!(held(&mut rib, now), []);
    }
}
