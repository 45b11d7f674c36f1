//! `password-file` and `tcp-ao`: what signs a peer's segments.

use std::fmt::{self, Formatter};
use std::net::IpAddr;
use std::path::PathBuf;

use bgp_proto::types::Prefix;
use bgpd::{AoAlgorithm, AoKey, AoKeys, Secret};

use super::environment::read_secret;
use super::print::string;
use super::reader::{Field, NOT_APPLIED, Section};
use super::rooms::absolute;
use super::{DynamicPeer, Peer, Remote};

/// What signs a peer's segments, and the files that its secrets came from. No secret is ever printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `password-file`: TCP MD5 (RFC 2385).
    Password {
        /// Its path, absolute.
        file: PathBuf,
        /// The file's first line.
        secret: Secret,
    },
    /// `tcp-ao` (RFC 5925).
    TcpAo {
        /// As in the file, the one to sign with first.
        keys: AoKeys,
        /// `key-file` of each of them, absolute.
        files: Vec<PathBuf>,
    },
}

impl Authentication {
    /// As the speaker is told.
    pub(crate) fn of_speaker(&self) -> bgpd::Authentication {
        match self {
            Self::Password { secret, .. } => bgpd::Authentication::Md5(secret.clone()),
            Self::TcpAo { keys, .. } => bgpd::Authentication::TcpAo(keys.clone()),
        }
    }
}

pub(super) fn authentication(table: &Section<'_>) -> Option<Option<Authentication>> {
    match (table.field("password-file"), table.field("tcp-ao")) {
        (None, None) => Some(None),
        (Some(field), None) => {
            let (file, secret) = secret_file(&field, "the password file", "the password")?;
            Some(Some(Authentication::Password { file, secret }))
        }
        (None, Some(field)) => tcp_ao(&field).map(Some),
        (Some(_), Some(field)) => {
            field.refuse(
                "both password-file and tcp-ao",
                "a connection is signed one way: keep tcp-ao if the peer has it, else password-file",
            );
            None
        }
    }
}

fn tcp_ao(field: &Field<'_>) -> Option<Authentication> {
    let items = field.list()?;
    if items.is_empty() || items.len() > AoKeys::MOST {
        field.refuse(
            &format!("tcp-ao has {} keys", items.len()),
            &format!("write 1 to {}, the one to sign with first", AoKeys::MOST),
        );
        return None;
    }
    // All of them are read before one that is wrong ends it.
    let read: Vec<Option<(AoKey, PathBuf)>> = items.iter().map(ao_key).collect();
    let (keys, files): (Vec<_>, Vec<_>) = read.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
    for (index, (key, item)) in keys.iter().zip(&items).enumerate() {
        let others = &keys[..index];
        let refuse = |what: &str, id: u8| {
            item.refuse(
                &format!("two keys of tcp-ao have the {what} {id}"),
                "give each its own: the id is how the other end knows which key it is (RFC 5925 section 3.1)",
            );
        };
        if others.iter().any(|other| other.send_id == key.send_id) {
            refuse("send-id", key.send_id);
        }
        if others.iter().any(|other| other.receive_id == key.receive_id) {
            refuse("receive-id", key.receive_id);
        }
    }
    Some(Authentication::TcpAo { keys: AoKeys::new(keys)?, files })
}

fn ao_key(item: &Field<'_>) -> Option<(AoKey, PathBuf)> {
    let table = item.section("a key of tcp-ao")?;
    let id = |key, example| table.required(key, example).and_then(|field| field.integer(0..=255));
    let (send_id, receive_id) = (id("send-id", "1"), id("receive-id", "1"));
    let algorithm = table.required("algorithm", "\"hmac-sha-1-96\"").and_then(|field| field.word(&AoAlgorithm::ALL));
    let file = table
        .required("key-file", "\"/etc/linnet/tor-a.ao\"")
        .and_then(|field| secret_file(&field, "the key file", "the key"));
    table.finish();
    let (file, secret) = file?;
    Some((AoKey { send_id: send_id?, receive_id: receive_id?, algorithm: algorithm?, secret }, file))
}

fn secret_file(field: &Field<'_>, what: &str, whose: &str) -> Option<(PathBuf, Secret)> {
    let file = absolute(field)?;
    match read_secret(&file) {
        Ok((secret, open)) => {
            if open {
                field.report.warning(
                    field.span.clone(),
                    &format!("{} can be read by others than its owner", file.display()),
                    "they can take part in this session",
                    &format!("chmod 600 {}", file.display()),
                );
            }
            Some((file, secret))
        }
        Err(error) => {
            field.refuse(
                &format!("{what} {} cannot be used: {error}", file.display()),
                &format!("write {whose} (1 to 80 bytes) into its first line"),
            );
            None
        }
    }
}

/// Refuses what would lie inside a dynamic peer's prefix and could not be told from it: to the kernel a key of TCP-AO is
/// for everybody in its prefix, whoever has keys of their own, and no address has keys of both kinds.
pub(super) fn check_prefixes(section: &Section<'_>, peers: &[Peer], dynamic_peers: &[DynamicPeer]) {
    let tables = section.sections("dynamic-peer", "[[bgp.dynamic-peer]]");
    for (table, outer) in tables.iter().zip(dynamic_peers) {
        let of_peers = peers.iter().filter_map(|peer| match peer.remote {
            Remote::Address(address) => Some((format!("peer \"{}\"", peer.name), host(address)?, &peer.settings)),
            Remote::Interface(_) => None,
        });
        let others = dynamic_peers.iter().filter(|other| other.prefix != outer.prefix);
        let of_others = others.map(|it| (format!("dynamic peer \"{}\"", it.name), it.prefix, &it.settings));
        for (name, prefix, settings) in of_peers.chain(of_others) {
            if !(prefix.family() == outer.prefix.family() && outer.prefix.contains(prefix)) {
                continue;
            }
            let consequence = match (&outer.settings.authentication, &settings.authentication) {
                (Some(Authentication::TcpAo { .. }), _) => {
                    "the kernel asks everybody in there for the prefix's TCP-AO keys"
                }
                (Some(Authentication::Password { .. }), Some(Authentication::TcpAo { .. })) => {
                    "the kernel has no TCP-AO keys for an address that has a TCP MD5 key"
                }
                (None | Some(Authentication::Password { .. }), _) => continue,
            };
            table.report.error(
                table.span.clone(),
                &format!("{name} lies inside the prefix {}", outer.prefix),
                &format!("{consequence}; {NOT_APPLIED}"),
                "choose prefixes that do not contain it",
            );
        }
    }
}

fn host(address: IpAddr) -> Option<Prefix> {
    Prefix::new(address, if address.is_ipv4() { 32 } else { 128 })
}

pub(super) fn print(f: &mut Formatter<'_>, authentication: Option<&Authentication>) -> fmt::Result {
    match authentication {
        None => Ok(()),
        Some(Authentication::Password { file, .. }) => writeln!(f, "password-file = {}", string(file.display())),
        Some(Authentication::TcpAo { keys, files }) => {
            writeln!(f, "tcp-ao = [")?;
            for (AoKey { send_id, receive_id, algorithm, .. }, file) in keys.iter().zip(files) {
                writeln!(
                    f,
                    "  {{ send-id = {send_id}, receive-id = {receive_id}, algorithm = {}, key-file = {} }},",
                    string(algorithm.name()),
                    string(file.display())
                )?;
            }
            writeln!(f, "]")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::findings;

    const KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/property.key");

    /// A key with these ids.
    fn key(send_id: u32, receive_id: u32) -> String {
        format!(
            "{{ send-id = {send_id}, receive-id = {receive_id}, algorithm = \"hmac-sha-1-96\", key-file = \"{KEY_FILE}\" }}"
        )
    }

    fn peer(keys: &str) -> String {
        format!("[[bgp.peer]]\nname = \"p\"\nasn = \"internal\"\n{keys}\n")
    }

    /// An internal peer within 192.0.2.0/24, and a dynamic peer of that prefix.
    fn both(peer: &str, dynamic: &str) -> String {
        format!(
            "[[bgp.peer]]\nname = \"p\"\nasn = \"internal\"\naddress = \"192.0.2.1\"\n{peer}\n\
             [[bgp.dynamic-peer]]\nname = \"rack\"\nprefix = \"192.0.2.0/24\"\nasn = \"internal\"\n{dynamic}\n"
        )
    }

    #[test]
    fn wrong_keys_of_tcp_ao_are_named_with_what_to_write() {
        let ao = |keys: &[String]| peer(&format!("address = \"192.0.2.1\"\ntcp-ao = [{}]", keys.join(", ")));
        let many: Vec<String> = (0..9).map(|id| key(id, id)).collect();
        let empty = std::env::temp_dir().join(format!("linnet-ao-empty-{}", std::process::id()));
        let long = std::env::temp_dir().join(format!("linnet-ao-long-{}", std::process::id()));
        std::fs::write(&empty, "\n").unwrap();
        std::fs::write(&long, "k".repeat(81)).unwrap();
        let of_file = |file: &std::path::Path| key(1, 1).replace(KEY_FILE, &file.display().to_string());
        let cases = [
            (ao(&[]), "tcp-ao has 0 keys; nothing of this file is applied; write 1 to 8"),
            (ao(&many), "tcp-ao has 9 keys"),
            (ao(&[key(1, 1), key(1, 2)]), "two keys of tcp-ao have the send-id 1"),
            (ao(&[key(1, 1), key(2, 1)]), "two keys of tcp-ao have the receive-id 1"),
            (ao(&[key(256, 1)]), "write a number from 0 to 255"),
            (ao(&["{ send-id = 1 }".to_owned()]), "a key of tcp-ao has no \"receive-id\""),
            (ao(&["{ send-id = 1 }".to_owned()]), "has no \"algorithm\""),
            (ao(&["{ send-id = 1 }".to_owned()]), "has no \"key-file\""),
            (ao(&[key(1, 1).replace("receive-id", "recieve-id")]), "did you mean \"receive-id\"?"),
            (ao(&[key(1, 1).replace("sha-1-96", "md5")]), "\"hmac-md5\" is not a value of \"algorithm\""),
            (
                ao(&[of_file(&empty)]),
                "its first line has 0 bytes, not 1 to 80; nothing of this file is applied; write the key",
            ),
            (ao(&[of_file(&long)]), "its first line has 81 bytes, not 1 to 80"),
            (ao(&[of_file("tor-a.ao".as_ref())]), "\"tor-a.ao\" is not an absolute path"),
            (
                peer("address = \"192.0.2.1\"\ntcp-ao = \"key\""),
                "\"tcp-ao\" is the string \"key\", not a list in brackets",
            ),
            (
                peer(&format!("address = \"192.0.2.1\"\npassword-file = \"{KEY_FILE}\"\ntcp-ao = [{}]", key(1, 1))),
                "both password-file and tcp-ao",
            ),
            (
                peer(&format!("interface = \"eth0\"\ntcp-ao = [{}]", key(1, 1))),
                "tcp-ao and interface: a key of TCP-AO belongs",
            ),
        ];
        for (tables, said) in &cases {
            let findings = findings(&format!("[bgp]\nasn = 64512\n{tables}"));
            assert!(findings.contains(said) && !findings.starts_with("accepted"), "{tables}:\n{findings}");
        }
        std::fs::remove_file(&empty).unwrap();
        std::fs::remove_file(&long).unwrap();
    }

    #[test]
    fn ids_go_from_0_to_255_and_may_be_one_key_s_here_and_another_s_there() {
        for keys in [vec![key(0, 255)], vec![key(1, 2), key(2, 1)], (0..8).map(|id| key(id, id)).collect()] {
            let findings = findings(&format!(
                "[bgp]\nasn = 64512\n{}",
                peer(&format!("address = \"192.0.2.1\"\ntcp-ao = [{}]", keys.join(", ")))
            ));
            assert!(findings.starts_with("accepted"), "{findings}");
        }
    }

    #[test]
    fn what_the_kernel_could_not_tell_from_a_dynamic_peer_s_keys_is_refused() {
        let (ao, md5) = (format!("tcp-ao = [{}]", key(1, 1)), format!("password-file = \"{KEY_FILE}\""));
        for (of_peer, of_dynamic, said) in [
            ("", &*ao, Some("peer \"p\" lies inside the prefix 192.0.2.0/24; the kernel asks everybody in there")),
            (&md5, &ao, Some("the kernel asks everybody in there")),
            (&ao, &ao, Some("the kernel asks everybody in there")),
            (&ao, &md5, Some("the kernel has no TCP-AO keys for an address that has a TCP MD5 key")),
            (&ao, "", None),
            (&md5, &md5, None),
            ("", &md5, None),
        ] {
            let findings = findings(&format!("[bgp]\nasn = 64512\n{}", both(of_peer, of_dynamic)));
            match said {
                Some(said) => assert!(findings.contains(said), "{of_peer} {of_dynamic}:\n{findings}"),
                None => assert!(findings.starts_with("accepted"), "{of_peer} {of_dynamic}:\n{findings}"),
            }
        }
        let narrower = both("", &ao).replace("192.0.2.1", "198.51.100.1")
            + "[[bgp.dynamic-peer]]\nname = \"few\"\nprefix = \"192.0.2.128/25\"\nasn = \"internal\"\n";
        let findings = findings(&format!("[bgp]\nasn = 64512\n{narrower}"));
        assert!(findings.contains("dynamic peer \"few\" lies inside the prefix 192.0.2.0/24"), "{findings}");
    }
}
