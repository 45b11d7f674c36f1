//! `[[bgp.rpki]]`: caches that say who may originate what.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::filter::name;
use super::reader::Section;
use super::rooms::unicast;

/// The most VRPs that are taken from a cache that is told no other number: more than twice what all of the Internet has
/// (some 900,000 in 2026).
const MOST_VRPS: u32 = 2_000_000;

/// `[[bgp.rpki]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpkiCache {
    /// Unique among caches.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// TCP port, 323 unless set.
    pub port: u16,
    /// Those of the lowest number that have data count; 1 unless set.
    pub preference: u32,
    /// Whole seconds, 1 to 86400; `None`: as the cache says.
    pub refresh: Option<Duration>,
    /// Whole seconds, 1 to 7200; likewise.
    pub retry: Option<Duration>,
    /// Whole seconds, 600 to 172800; likewise.
    pub expire: Option<Duration>,
    /// The most VRPs that it may send.
    pub max_vrps: u32,
}

pub(super) fn caches(section: &Section<'_>) -> Option<Vec<RpkiCache>> {
    let mut read: Vec<RpkiCache> = Vec::new();
    let mut sound = true;
    for table in section.sections("rpki", "[[bgp.rpki]]") {
        let Some(cache) = cache(&table) else {
            sound = false;
            continue;
        };
        let address = SocketAddr::new(cache.address, cache.port);
        let same =
            |other: &&RpkiCache| other.name == cache.name || SocketAddr::new(other.address, other.port) == address;
        if let Some(other) = read.iter().find(same) {
            let what =
                if other.name == cache.name { format!("named \"{}\"", cache.name) } else { format!("at {address}") };
            let consequence = "it would be asked twice and counted once";
            table.report.error(
                table.span.clone(),
                &format!("two RPKI caches are {what}"),
                consequence,
                "remove one of them",
            );
            sound = false;
        }
        read.push(cache);
    }
    sound.then_some(read)
}

fn cache(section: &Section<'_>) -> Option<RpkiCache> {
    let name = section.required("name", "\"validator-a\"").and_then(|field| name(&field));
    let address = section.required("address", "\"192.0.2.10\"").and_then(|field| unicast(&field));
    let port = section.field("port").map_or(Some(323), |field| field.integer(1..=65535));
    let preference = section.field("preference").map_or(Some(1), |field| field.integer(1..=255));
    // The bounds of RFC 8210 section 6.
    let seconds = |key, range| match section.field(key) {
        None => Some(None),
        Some(field) => field.integer::<u32>(range).map(|seconds| Some(Duration::from_secs(u64::from(seconds)))),
    };
    let (refresh, retry) = (seconds("refresh", 1..=86_400), seconds("retry", 1..=7_200));
    let expire = seconds("expire", 600..=172_800);
    let max_vrps = section.field("max-vrps").map_or(Some(MOST_VRPS), |field| field.integer(1..=10_000_000));
    section.finish();
    let cache = RpkiCache {
        name: name?,
        address: address?,
        port: port?,
        preference: preference?,
        refresh: refresh?,
        retry: retry?,
        expire: expire?,
        max_vrps: max_vrps?,
    };
    if let (Some(expire), Some(longest)) = (cache.expire, cache.refresh.max(cache.retry))
        && expire <= longest
        && let Some(field) = section.field("expire")
    {
        field.refuse(
            &format!("expire is {} s, not longer than refresh and retry", expire.as_secs()),
            "data would expire before it is asked for again (RFC 8210 section 6): write a larger number",
        );
        return None;
    }
    Some(cache)
}
