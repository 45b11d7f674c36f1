//! The kernel's side: transactions through nft, in the network namespace of the calling thread.

use nftables::helper::{self, NftablesError};
use nftables::schema::{NfListObject, NfObject, Nftables};
use nftables::types::NfFamily;

use crate::PolicyError;
use crate::ruleset::{Difference, Ruleset, TABLE, json};

/// Brings the kernel from `old` (`None`: not known, nothing, or an earlier run's) to `new`, in one transaction.
pub(super) fn apply(old: Option<&Ruleset>, new: &Ruleset) -> Result<(), PolicyError> {
    match old.map_or(Difference::Structure, |old| old.difference(new)) {
        Difference::None => Ok(()),
        Difference::Membership(changes) => commit(&json::membership(&changes)).or_else(|error| {
            // The table is not what we left, or nft stumbles over its own cache: say it all anew.
            tracing::warn!(%error, "members of sets could not be changed; the table is replaced instead");
            commit(&new.replacement())
        }),
        Difference::Structure => commit(&new.replacement()),
    }
}

/// Removes the table.
pub(super) fn remove() -> Result<(), PolicyError> {
    commit(&json::removal())
}

/// Whether the table is there at all: whoever flushes the host's ruleset takes it along.
pub(super) fn is_present() -> bool {
    let Ok(tables) = helper::get_current_ruleset_with_args(helper::DEFAULT_NFT, ["list", "tables"]) else {
        // That nft does not answer does not make the table vanish.
        return true;
    };
    tables.objects.iter().any(|object| {
        matches!(object, NfObject::ListObject(NfListObject::Table(table))
            if table.family == NfFamily::INet && table.name == TABLE)
    })
}

fn commit(transaction: &Nftables<'_>) -> Result<(), PolicyError> {
    helper::apply_ruleset(transaction).map_err(|error| PolicyError::Kernel { message: explain(error) })
}

fn explain(error: NftablesError) -> String {
    const STAYS: &str = "what was in force before stays in force";
    match error {
        NftablesError::NftExecution { program, inner } => {
            format!("{} cannot be run ({inner}); {STAYS}. Install the package nftables", program.display())
        }
        NftablesError::NftFailed { stdout, stderr, .. } => {
            let said = if stderr.trim().is_empty() { stdout } else { stderr };
            let said: String = said.trim().chars().take(600).collect();
            let advice = if said.contains("Operation not permitted") {
                "The program needs the capability CAP_NET_ADMIN"
            } else {
                "It is tried again; run linnetd with --log debug to see the ruleset"
            };
            format!("nft refused the ruleset: {said}; {STAYS}. {advice}")
        }
        error => format!("nft could not be spoken to: {error}; {STAYS}. Is the package nftables whole?"),
    }
}
