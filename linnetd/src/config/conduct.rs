//! What is between us and one peer beyond filters: the keys of [`Conduct`], alike for configured and dynamic peers.

use std::fmt::{self, Formatter};

use bgp_proto::conduct::Conduct;
use bgp_proto::role::{LocalRole, Role};

use super::PeerSettings;
use super::reader::Section;

/// Reads the keys.
pub(super) fn conduct(table: &Section<'_>) -> Option<Conduct> {
    let role = role(table);
    Some(Conduct { role: role? })
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

/// Refuses what only an external peer can have.
pub(super) fn check(table: &Section<'_>, settings: &PeerSettings) -> Option<()> {
    if !settings.internal() {
        return Some(());
    }
    let only_external = [("role", settings.conduct.role.is_some(), "roles are between ASes (RFC 9234)")];
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
    if let Some(LocalRole { role, strict }) = conduct.role {
        writeln!(f, "role = \"{role}\"\nrole-strict = {strict}")?;
    }
    Ok(())
}
