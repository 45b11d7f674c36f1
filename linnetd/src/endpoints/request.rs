//! What a request for an endpoint must be like.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bgp_proto::types::Prefix;

use super::record::Record;

/// Checks a request and completes it: a name alone is in `default`, a namespace's name is a file in `/run/netns`, the
/// pod's interface is `eth0`.
///
/// # Errors
/// The first thing that is wrong: culprit, consequence, next step.
pub(super) fn check(request: Record, blocks: &[Prefix]) -> Result<Record, String> {
    let Record { name, netns, interface, addresses, labels } = request;
    Ok(Record {
        name: full_name(&name)?,
        netns: netns_path(&netns)?,
        interface: interface_name(interface)?,
        addresses: checked_addresses(addresses, blocks)?,
        labels: checked_labels(labels)?,
    })
}

/// `namespace/name`.
pub(super) fn full_name(name: &str) -> Result<String, String> {
    let (namespace, own) = name.split_once('/').unwrap_or(("default", name));
    let fits = |part: &str| {
        (1..=253).contains(&part.len())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if fits(namespace) && fits(own) {
        return Ok(format!("{namespace}/{own}"));
    }
    Err(format!(
        "\"{name}\" is not an endpoint's name; nothing was made; write namespace/name in lower case letters, digits, '-' and '.'"
    ))
}

fn netns_path(netns: &Path) -> Result<PathBuf, String> {
    let path = if netns.components().count() == 1 && netns.is_relative() {
        Path::new("/run/netns").join(netns)
    } else {
        netns.to_owned()
    };
    if netns.as_os_str().is_empty() || !path.is_absolute() {
        return Err(format!(
            "\"{}\" is not a network namespace; nothing was made; name one of /run/netns, or give an absolute path",
            netns.display()
        ));
    }
    if !path.exists() {
        return Err(format!(
            "network namespace {} does not exist; nothing was made; make it first (ip netns add), or give its path (/proc/PID/ns/net)",
            path.display()
        ));
    }
    Ok(path)
}

fn interface_name(name: String) -> Result<String, String> {
    if name.is_empty() {
        return Ok("eth0".into());
    }
    let fits = name.len() <= 15
        && name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':')
        && name != "lo"
        && name != "."
        && name != "..";
    if fits {
        return Ok(name);
    }
    Err(format!(
        "\"{name}\" is not an interface's name; nothing was made; use up to 15 visible characters, such as eth0"
    ))
}

fn checked_addresses(addresses: Vec<IpAddr>, blocks: &[Prefix]) -> Result<Vec<IpAddr>, String> {
    if addresses.is_empty() {
        return Err("no address is given; nothing was made; give at least one of this node's pod-cidrs".into());
    }
    if addresses.len() > 16 {
        return Err(format!("{} addresses are given; nothing was made; 16 is the most", addresses.len()));
    }
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            return Err(format!("address {address} is given twice; nothing was made; give it once"));
        }
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let host = Prefix::new(*address, bits);
        let Some(block) = blocks.iter().find(|block| host.is_some_and(|host| block.contains(host))) else {
            let blocks = blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let blocks = if blocks.is_empty() { "none".to_owned() } else { blocks };
            return Err(format!(
                "address {address} is in none of this node's pod-cidrs ({blocks}); nothing was made, since no other node would find it here; choose another address, or add its block to node.pod-cidrs"
            ));
        };
        if block.address() == *address && block.length() < bits - 1 {
            return Err(format!(
                "address {address} is the network address of {block}; nothing was made; choose another in the block"
            ));
        }
    }
    Ok(addresses)
}

/// What Kubernetes allows: keys up to 317 characters, values up to 63.
fn checked_labels(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let visible = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    match labels
        .iter()
        .find(|(key, value)| key.is_empty() || key.len() > 317 || value.len() > 63 || !visible(key) || !visible(value))
    {
        None if labels.len() <= 256 => Ok(labels),
        None => Err(format!("{} labels are given; nothing was made; 256 is the most", labels.len())),
        Some((key, value)) => Err(format!(
            "label {key}={value} is not one; nothing was made; use letters, digits, '-', '_', '.', '/', keys up to 317 and values up to 63 characters"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Record {
        Record {
            name: "web".into(),
            netns: "/proc/self/ns/net".into(),
            interface: String::new(),
            addresses: vec!["10.244.1.2".parse().unwrap()],
            labels: BTreeMap::new(),
        }
    }

    fn blocks() -> Vec<Prefix> {
        vec!["10.244.1.0/24".parse().unwrap(), "fd00:244:1::/64".parse().unwrap()]
    }

    #[test]
    fn a_short_request_is_completed() {
        let record = check(request(), &blocks()).unwrap();
        assert_eq!((record.name.as_str(), record.interface.as_str()), ("default/web", "eth0"));
    }

    #[test]
    fn a_wrong_request_is_refused_for_what_is_wrong() {
        let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let label = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let cases: [(&str, Record); 11] = [
            ("not an endpoint's name", Record { name: "Web".into(), ..request() }),
            ("not an endpoint's name", Record { name: "a/b/c".into(), ..request() }),
            ("not an endpoint's name", Record { name: "/b".into(), ..request() }),
            ("does not exist", Record { netns: "no-such-netns".into(), ..request() }),
            ("not a network namespace", Record { netns: "a/b".into(), ..request() }),
            ("not an interface's name", Record { interface: "lo".into(), ..request() }),
            ("no address", Record { addresses: Vec::new(), ..request() }),
            ("given twice", Record { addresses: addresses(&["10.244.1.2", "10.244.1.2"]), ..request() }),
            ("none of this node's pod-cidrs", Record { addresses: addresses(&["10.245.1.2"]), ..request() }),
            ("network address", Record { addresses: addresses(&["fd00:244:1::"]), ..request() }),
            ("label", Record { labels: label("a b", "c"), ..request() }),
        ];
        for (wanted, request) in cases {
            let error = check(request, &blocks()).unwrap_err();
            assert!(error.contains(wanted), "{wanted}: {error}");
            assert_eq!(error.split("; ").count(), 3, "{error}");
        }
    }
}
