//! SQL of the address book.

use sqlx::{AnyConnection, Row as _};

use crate::accounts::Kind;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::UserId;

/// Makes an address the one of its kind that messages go to; false when it is not there or not
/// proved. One statement over all of them, so that two at once leave one.
pub(super) async fn set_primary(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    name: &[u8],
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE identifiers SET is_primary = CASE WHEN blind = $3 THEN 1 ELSE 0 END
         WHERE user_id = $1 AND kind = $2
           AND EXISTS (SELECT 1 FROM identifiers AS chosen
                       WHERE chosen.user_id = $1 AND chosen.kind = $2 AND chosen.blind = $3
                         AND chosen.verified_at IS NOT NULL)",
    )
    .bind(user_id)
    .bind(kind.as_str())
    .bind(name.to_vec())
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() > 0)
}

/// Removes an address unless no other proved one is left.
pub(super) async fn remove(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    name: &[u8],
) -> Result<bool, Error> {
    let deleted = sqlx::query(
        "DELETE FROM identifiers
         WHERE user_id = $1 AND kind = $2 AND blind = $3
           AND EXISTS (SELECT 1 FROM identifiers AS others
                       WHERE others.user_id = $1 AND others.kind IN ('email', 'phone')
                         AND others.verified_at IS NOT NULL
                         AND NOT (others.kind = $2 AND others.blind = $3))",
    )
    .bind(user_id)
    .bind(kind.as_str())
    .bind(name.to_vec())
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Marks an address of the account as proved.
pub(super) async fn mark_verified(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    name: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE identifiers SET verified_at = $4
         WHERE user_id = $1 AND kind = $2 AND blind = $3 AND verified_at IS NULL",
    )
    .bind(user_id)
    .bind(kind.as_str())
    .bind(name.to_vec())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says since when the account has an address that came back.
pub(super) async fn set_added_at(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    name: &[u8],
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE identifiers SET created_at = $4
         WHERE user_id = $1 AND kind = $2 AND blind = $3",
    )
    .bind(user_id)
    .bind(kind.as_str())
    .bind(name.to_vec())
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

/// A change that can be taken back.
pub(super) struct Undo {
    pub(super) token_hash: Vec<u8>,
    pub(super) user_id: UserId,
    /// Sealed.
    pub(super) details: Vec<u8>,
    pub(super) told_added_at: Timestamp,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

pub(super) async fn insert_undo(connection: &mut AnyConnection, undo: &Undo) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO contact_undos
             (token_hash, user_id, details, told_added_at, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(undo.token_hash.clone())
    .bind(undo.user_id)
    .bind(undo.details.clone())
    .bind(undo.told_added_at)
    .bind(undo.created_at)
    .bind(undo.expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Uses a token up.
pub(super) async fn consume_undo(
    connection: &mut AnyConnection,
    token_hash: &[u8],
) -> Result<Option<Undo>, Error> {
    let row = sqlx::query(
        "DELETE FROM contact_undos WHERE token_hash = $1
         RETURNING user_id, details, told_added_at, created_at, expires_at",
    )
    .bind(token_hash.to_vec())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Undo {
            token_hash: token_hash.to_vec(),
            user_id: row.try_get("user_id")?,
            details: row.try_get("details")?,
            told_added_at: row.try_get("told_added_at")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    })
    .transpose()
}

/// Voids what addresses were told that the account has only had since `since`.
pub(super) async fn void_undos_of_later(
    connection: &mut AnyConnection,
    user_id: UserId,
    since: Timestamp,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM contact_undos WHERE user_id = $1 AND told_added_at >= $2")
        .bind(user_id)
        .bind(since)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn remove_expired(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM contact_undos WHERE expires_at <= $1")
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn remove_all_undos(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM contact_undos")
        .execute(connection)
        .await?;
    Ok(())
}
