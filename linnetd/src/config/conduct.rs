//! What is between us and one peer beyond filters: the keys of [`Conduct`], alike for configured and dynamic peers.

use std::fmt::{self, Formatter};

use bgp_proto::conduct::{Conduct, DefaultOriginate, LocalAsPrepend, NextHopMode, RemovePrivateAs};
use bgp_proto::role::{LocalRole, Role};
use bgp_proto::types::Asn;

use super::PeerSettings;
use super::reader::{Field, Section};
use super::rooms::prefix;

/// `local-asn-prepend`
pub const LOCAL_AS_PREPEND: [(&str, LocalAsPrepend); 3] =
    [("none", LocalAsPrepend::None), ("sent", LocalAsPrepend::Sent), ("both", LocalAsPrepend::Both)];
/// `remove-private-asn`
pub const REMOVE_PRIVATE_AS: [(&str, RemovePrivateAs); 4] = [
    ("no", RemovePrivateAs::No),
    ("yes", RemovePrivateAs::Yes),
    ("all", RemovePrivateAs::All),
    ("replace", RemovePrivateAs::Replace),
];
/// `next-hop`
pub const NEXT_HOP: [(&str, NextHopMode); 3] =
    [("auto", NextHopMode::Auto), ("self", NextHopMode::Own), ("unchanged", NextHopMode::Unchanged)];

/// The word for a value.
pub fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| *word)
}

/// Reads the keys.
pub(super) fn conduct(table: &Section<'_>) -> Option<Conduct> {
    let role = role(table);
    let allow_as_in = table.field("allow-as-in").map_or(Some(0), |field| field.integer(0..=10));
    let as_override = table.field("as-override").map_or(Some(false), |field| field.boolean());
    let prepend = table.field("local-asn-prepend").map_or(Some(LocalAsPrepend::None), |it| it.word(&LOCAL_AS_PREPEND));
    let private = table.field("remove-private-asn").map_or(Some(RemovePrivateAs::No), |it| it.word(&REMOVE_PRIVATE_AS));
    let next_hop = next_hop(table);
    let default_originate =
        table.field("default-originate").map_or(Some(DefaultOriginate::No), |it| default_route(&it));
    Some(Conduct {
        role: role?,
        allow_as_in: allow_as_in?,
        as_override: as_override?,
        local_as_prepend: prepend?,
        remove_private_as: private?,
        next_hop: next_hop?,
        default_originate: default_originate?,
    })
}

fn role(table: &Section<'_>) -> Option<Option<LocalRole>> {
    let words = Role::ALL.map(|role| (role.name(), role));
    let role = table.field("role").map_or(Some(None), |field| field.word(&words).map(Some));
    let strict = table.field("role-strict").map_or(Some(false), |field| {
        let strict = field.boolean()?;
        if strict && table.field("role").is_none() {
            field.refuse("role-strict without a role", "write role = \"provider\", or whatever you are to this peer");
            return None;
        }
        Some(strict)
    });
    let (role, strict) = (role?, strict?);
    Some(role.map(|role| LocalRole { role, strict }))
}

/// `true`, or the prefix on which it depends.
fn default_route(field: &Field<'_>) -> Option<DefaultOriginate> {
    if !field.is_table() {
        return Some(if field.boolean()? { DefaultOriginate::Always } else { DefaultOriginate::No });
    }
    let section = field.section("default-originate")?;
    let condition = section.required("while", "\"192.0.2.0/24\"").and_then(|field| prefix(&field));
    section.finish();
    condition.map(DefaultOriginate::While)
}

/// `next-hop`, and the older key that says "self" or nothing.
fn next_hop(table: &Section<'_>) -> Option<NextHopMode> {
    let own = table.field("next-hop-self").map_or(Some(None), |field| field.boolean().map(Some));
    let Some(field) = table.field("next-hop") else {
        return Some(if own?.unwrap_or(false) { NextHopMode::Own } else { NextHopMode::Auto });
    };
    let (mode, own) = (field.word(&NEXT_HOP)?, own?);
    if own.is_some_and(|own| own != (mode == NextHopMode::Own)) {
        field.refuse(
            "next-hop and next-hop-self contradict each other",
            "leave next-hop-self out: next-hop says it all",
        );
        return None;
    }
    Some(mode)
}

/// Refuses what this peer cannot have.
pub(super) fn check(table: &Section<'_>, settings: &PeerSettings, own: Option<Asn>) -> Option<()> {
    let conduct = settings.conduct;
    if conduct.local_as_prepend != LocalAsPrepend::None
        && own == Some(settings.local_as)
        && let Some(field) = table.field("local-asn-prepend")
    {
        field.refuse("local-asn-prepend without a local-asn of its own", "write local-asn, or drop the key");
        return None;
    }
    if !settings.internal() {
        return Some(());
    }
    let only_external = [
        ("role", conduct.role.is_some(), "roles are between ASes (RFC 9234)"),
        ("as-override", conduct.as_override, "inside of an AS nothing is put into the path"),
        ("local-asn-prepend", conduct.local_as_prepend != LocalAsPrepend::None, "inside of an AS the path stays"),
        ("remove-private-asn", conduct.remove_private_as != RemovePrivateAs::No, "inside of an AS the path stays"),
    ];
    for (key, set, why) in only_external {
        if let Some(field) = table.field(key).filter(|_| set) {
            field.refuse(&format!("{key} on an internal peer"), &format!("{why}: drop the key, or mend \"asn\""));
            return None;
        }
    }
    Some(())
}

/// Prints the keys that say more than the default.
pub(super) fn print(f: &mut Formatter<'_>, conduct: &Conduct) -> fmt::Result {
    let Conduct { role, allow_as_in, as_override, local_as_prepend, remove_private_as, next_hop, default_originate } =
        conduct;
    writeln!(f, "next-hop-self = {}", *next_hop == NextHopMode::Own)?;
    if *next_hop == NextHopMode::Unchanged {
        writeln!(f, "next-hop = \"unchanged\"")?;
    }
    if let Some(LocalRole { role, strict }) = role {
        writeln!(f, "role = \"{role}\"\nrole-strict = {strict}")?;
    }
    if *allow_as_in > 0 {
        writeln!(f, "allow-as-in = {allow_as_in}")?;
    }
    if *as_override {
        writeln!(f, "as-override = true")?;
    }
    if *local_as_prepend != LocalAsPrepend::None {
        writeln!(f, "local-asn-prepend = \"{}\"", word(&LOCAL_AS_PREPEND, local_as_prepend))?;
    }
    if *remove_private_as != RemovePrivateAs::No {
        writeln!(f, "remove-private-asn = \"{}\"", word(&REMOVE_PRIVATE_AS, remove_private_as))?;
    }
    match default_originate {
        DefaultOriginate::No => {}
        DefaultOriginate::Always => writeln!(f, "default-originate = true")?,
        DefaultOriginate::While(prefix) => writeln!(f, "default-originate = {{ while = \"{prefix}\" }}")?,
    }
    Ok(())
}
