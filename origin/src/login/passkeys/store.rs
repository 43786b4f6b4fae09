//! The SQL of passkeys. The caller owns the transaction.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{PasskeyId, UserId};

/// A passkey as it is stored.
pub(in crate::login) struct PasskeyRow {
    pub(in crate::login) id: PasskeyId,
    pub(in crate::login) user_id: UserId,
    pub(in crate::login) details: Vec<u8>,
    pub(in crate::login) added_at: Timestamp,
    pub(in crate::login) last_used_at: Option<Timestamp>,
}

impl PasskeyRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            details: row.try_get("details")?,
            added_at: row.try_get("added_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    }
}

/// The passkeys of an account, oldest first.
pub(in crate::login) async fn passkeys(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<PasskeyRow>, Error> {
    sqlx::query(
        "SELECT id, user_id, details, added_at, last_used_at
         FROM passkeys WHERE user_id = $1 ORDER BY added_at, id",
    )
    .bind(user_id)
    .fetch_all(connection)
    .await?
    .iter()
    .map(PasskeyRow::read)
    .collect()
}

/// The passkey that an authenticator calls so.
pub(super) async fn find(
    connection: &mut AnyConnection,
    credential_id: &[u8],
) -> Result<Option<PasskeyRow>, Error> {
    let row = sqlx::query(
        "SELECT id, user_id, details, added_at, last_used_at
         FROM passkeys WHERE credential_id = $1",
    )
    .bind(credential_id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(PasskeyRow::read).transpose()
}

/// Takes the lock of an account's row: two that change its ways in see each other's change.
pub(super) async fn take_turns(
    connection: &mut AnyConnection,
    user_id: UserId,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE users SET updated_at = $2 WHERE id = $1")
        .bind(user_id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Adds a passkey; false when some account has it already.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    row: &PasskeyRow,
    credential_id: &[u8],
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO passkeys (id, user_id, credential_id, details, added_at)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (credential_id) DO NOTHING",
    )
    .bind(row.id)
    .bind(row.user_id)
    .bind(credential_id)
    .bind(row.details.as_slice())
    .bind(row.added_at)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Notes a use and what it changed; false when the passkey was removed, or changed by another use,
/// since it was read. Of two signatures with the same counter one gets here.
pub(super) async fn use_passkey(
    connection: &mut AnyConnection,
    id: PasskeyId,
    read: &[u8],
    details: &[u8],
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE passkeys SET details = $3, last_used_at = $4 WHERE id = $1 AND details = $2",
    )
    .bind(id)
    .bind(read)
    .bind(details)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Gives a passkey other details, unless they changed since they were read.
pub(super) async fn rename(
    connection: &mut AnyConnection,
    id: PasskeyId,
    read: &[u8],
    details: &[u8],
) -> Result<bool, Error> {
    let updated = sqlx::query("UPDATE passkeys SET details = $3 WHERE id = $1 AND details = $2")
        .bind(id)
        .bind(read)
        .bind(details)
        .execute(connection)
        .await?;
    Ok(updated.rows_affected() == 1)
}

/// Removes a passkey, unless nothing else would let its owner in: another passkey, an identity at
/// another provider, an address that codes can go to, or a password with something to type beside
/// it. To be called after [`take_turns`].
pub(super) async fn remove(
    connection: &mut AnyConnection,
    user_id: UserId,
    id: PasskeyId,
) -> Result<bool, Error> {
    let deleted = sqlx::query(
        "DELETE FROM passkeys
         WHERE id = $1 AND user_id = $2 AND (
             EXISTS (SELECT 1 FROM passkeys AS others
                     WHERE others.user_id = $2 AND others.id <> $1)
             OR EXISTS (SELECT 1 FROM social_identities WHERE social_identities.user_id = $2)
             OR EXISTS (SELECT 1 FROM identifiers
                        WHERE identifiers.user_id = $2 AND identifiers.kind <> 'username'
                          AND identifiers.verified_at IS NOT NULL)
             OR (EXISTS (SELECT 1 FROM passwords WHERE passwords.user_id = $2)
                 AND EXISTS (SELECT 1 FROM identifiers WHERE identifiers.user_id = $2)))",
    )
    .bind(id)
    .bind(user_id)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Removes every passkey of an account.
pub(in crate::login) async fn delete_of(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM passkeys WHERE user_id = $1")
        .bind(user_id)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM passkey_ceremonies WHERE user_id = $1")
        .bind(user_id)
        .execute(connection)
        .await?;
    Ok(())
}
