//! Who has an identifier, asked so that the answer costs the same whether or not anybody has it.
//!
//! A look-up that finds nothing reads less than one that finds something: fewer pages, no row to
//! decode, nothing to open. Each of these is microseconds, and thousands of requests tell them from
//! chance. So one statement always reads a row: the holder's or, where nobody has the identifier,
//! that of whoever comes next in the index. What the steps of a login, a reset or a registration
//! read after it, they read of the same account ([`LookedUp::reads`]); what they find there is
//! dropped where it is not the holder's.

use sqlx::AnyConnection;

use super::identifier::{Blind, Identifier, Kind};
use super::{Holder, open_spelling, store};
use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::vault::{Purpose, Vault};

/// What a look-up has found, or read in its place.
pub struct LookedUp {
    kind: Kind,
    reads: UserId,
    holder: Option<Holder>,
    entry: Option<store::Entry>,
}

/// Looks up who has the identifier.
///
/// # Errors
/// When the database fails, or the vault has no key.
pub async fn look_up(
    vault: &Vault,
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
) -> Result<LookedUp, Error> {
    let nobody = nobody(vault, blind)?;
    let entry = store::entry(connection, kind, blind).await?;
    let holder = entry
        .as_ref()
        .filter(|entry| entry.is_the_one)
        .map(|entry| Holder {
            user_id: entry.user_id,
            verified: entry.verified,
            active: entry.may_log_in,
        });
    Ok(LookedUp {
        kind,
        reads: entry.as_ref().map_or(nobody, |entry| entry.user_id),
        holder,
        entry,
    })
}

impl LookedUp {
    /// Who has the identifier, if anybody has.
    pub const fn holder(&self) -> Option<Holder> {
        self.holder
    }

    /// The holder's account.
    pub fn user_id(&self) -> Option<UserId> {
        self.holder.map(|holder| holder.user_id)
    }

    /// Whose rows to read from here on. Without a holder they are somebody else's: whatever they
    /// say must be dropped.
    pub const fn reads(&self) -> UserId {
        self.reads
    }

    /// The holder's password hash, if they have a password.
    pub fn password(&self) -> Option<&str> {
        let entry = self.entry.as_ref().filter(|entry| entry.is_the_one)?;
        entry.password.as_deref()
    }

    /// Where messages to the identifier go: the spelling under which its holder stored it, else
    /// that of the request.
    ///
    /// # Errors
    /// When the stored spelling does not open.
    pub fn spelling(&self, state: &State, asked: &Identifier) -> Result<String, Error> {
        let Some(entry) = &self.entry else {
            return Ok(asked.spelling().to_owned());
        };
        let stored = open_spelling(state, self.kind, &entry.name, &entry.spelling)?;
        Ok(if entry.is_the_one {
            stored
        } else {
            asked.spelling().to_owned()
        })
    }
}

/// The id of nobody, for rows that are written for an identifier without an account: among the
/// others in the order of ids, so that it is no nearer at hand, and the same each time.
///
/// # Errors
/// When the vault has no key.
pub fn nobody(vault: &Vault, blind: &Blind) -> Result<UserId, Error> {
    let mac = vault.mac(Purpose::Abuse, &[b"nobody", blind])?;
    let mut id = [0; 16];
    id.copy_from_slice(&mac[..16]);
    Ok(UserId::from_bytes(id))
}
