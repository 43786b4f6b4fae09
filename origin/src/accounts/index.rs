//! How identifiers are found: by a blind index under every version of the master key in use.
//!
//! One version at a time is used for looking up. What is added is indexed under every later version
//! that is configured, too, so that changing over is one step, and so that of two processes that know
//! different versions neither can add what the other has: they share one.

use sqlx::AnyConnection;

use super::{Blind, Identifier, Kind, spelling_aad, store};
use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::vault::{Purpose, Vault, binding};

/// The index of an identifier under each version that is used, or will be.
fn blinds(vault: &Vault, identifier: &Identifier) -> Result<Vec<(u8, Blind)>, Error> {
    let used_from = vault.standing().indexing;
    vault
        .versions()
        .filter(|version| *version >= used_from)
        .map(|version| Ok((version, identifier.blind_with(vault, version)?)))
        .collect()
}

/// Takes up which master key seals and which indexes, as the caller's transaction sees it.
///
/// # Errors
/// [`Error::Unavailable`] when one of them is not configured here; when the database fails.
pub(super) async fn follow(connection: &mut AnyConnection, vault: &Vault) -> Result<(), Error> {
    if binding::follow_within(connection, vault).await? {
        Ok(())
    } else {
        Err(Error::Unavailable(
            "the master key in use is not configured here",
        ))
    }
}

/// Adds an identifier to an account within the caller's transaction; false, and nothing added,
/// when somebody has it already.
///
/// # Errors
/// When the database or the vault fails.
pub(super) async fn add(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    identifier: &Identifier,
    verified: bool,
) -> Result<bool, Error> {
    let now = state.clock.now();
    let (vault, kind) = (&state.vault, identifier.kind());
    // A process that was held up through a whole rotation, and knows the old version only, shares
    // no index with the others.
    follow(connection, vault).await?;
    // The row's own name is the index under the version that seals, which it is bound to.
    let name = identifier.blind_with(vault, vault.current_version())?;
    let spelling = identifier.spelling().as_bytes();
    let sealed = vault.seal(Purpose::Identifier, &spelling_aad(kind, &name), spelling)?;
    let verified_at = verified.then_some(now);
    let row = store::NewIdentifier {
        user_id,
        kind,
        name: &name,
        spelling: &sealed,
        verified_at,
        now,
    };
    if !store::insert_identifier(connection, &row).await? {
        return Ok(false);
    }
    for (version, blind) in blinds(vault, identifier)? {
        if !store::insert_blind(connection, kind, &blind, version, &name).await? {
            // Somebody has it under a version by which its row is not named.
            store::delete_identifier(connection, kind, &name).await?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Names, seals and indexes an identifier anew under the version that seals now. `row` is kind
/// and present name; whether its row was still as `sealed`.
///
/// # Errors
/// [`Error::Vault`] when the spelling does not open; when another identifier has the index.
pub(crate) async fn rebuild_index(
    vault: &Vault,
    connection: &mut AnyConnection,
    row: &(String, Vec<u8>),
    sealed: &[u8],
) -> Result<bool, Error> {
    let (word, old_name) = row;
    let kind = Kind::from_word(word).ok_or_else(|| Error::internal("unknown identifier kind"))?;
    let spelling = vault.open(Purpose::Identifier, &spelling_aad(kind, old_name), sealed)?;
    let text = std::str::from_utf8(&spelling)
        .map_err(|_| Error::internal("stored spelling is not UTF-8"))?;
    let version = vault.current_version();
    let name = Identifier::stored(kind, text).blind_with(vault, version)?;
    if !store::has_identifier(connection, kind, old_name, sealed).await? {
        // Another process was faster, or it is gone.
        return Ok(false);
    }
    match store::holder_of(connection, kind, &name).await? {
        None => {
            store::insert_blind(connection, kind, &name, version, old_name).await?;
        }
        Some(holder) if holder == *old_name => {}
        Some(_) => {
            tracing::error!("two identifiers have one index; this one stays under the old key");
            return Ok(false);
        }
    }
    let anew = vault.seal(Purpose::Identifier, &spelling_aad(kind, &name), &spelling)?;
    store::rename_identifier(connection, kind, old_name, sealed, &name, &anew).await
}

/// Removes index rows of versions before `indexing` from a page of at most `limit` behind `after`;
/// the page's last row, or nothing where there is no page.
///
/// # Errors
/// When the database fails.
pub(crate) async fn remove_old_indexes(
    connection: &mut AnyConnection,
    indexing: u8,
    after: Option<&(String, Vec<u8>)>,
    limit: i64,
) -> Result<Option<(String, Vec<u8>)>, Error> {
    let page = store::old_blinds(connection, indexing, after, limit).await?;
    for (kind, blind) in &page {
        store::delete_blind(connection, kind, blind, indexing).await?;
    }
    Ok(page.into_iter().last())
}
