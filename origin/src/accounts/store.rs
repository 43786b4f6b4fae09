//! The SQL of accounts. The caller owns the transaction.

use sqlx::{AnyConnection, Row as _};

use super::identifier::{Blind, Kind};
use crate::clock::Timestamp;
use crate::db;
use crate::error::Error;
use crate::ids::UserId;

pub(super) struct UserRow {
    pub(super) status: String,
    pub(super) roles: String,
    pub(super) permissions: String,
    pub(super) kyc_level: i64,
    pub(super) kyc_status: String,
    pub(super) customer_id: Option<String>,
    pub(super) profile: Vec<u8>,
}

pub(super) struct IdentifierRow {
    pub(super) kind: Kind,
    pub(super) blind: Vec<u8>,
    pub(super) spelling: Vec<u8>,
    pub(super) verified_at: Option<Timestamp>,
}

pub(super) async fn user(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<UserRow>, Error> {
    let row = sqlx::query(
        "SELECT status, roles, permissions, kyc_level, kyc_status, customer_id, profile
         FROM users WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(UserRow {
            status: row.try_get("status")?,
            roles: row.try_get("roles")?,
            permissions: row.try_get("permissions")?,
            kyc_level: row.try_get("kyc_level")?,
            kyc_status: row.try_get("kyc_status")?,
            customer_id: row.try_get("customer_id")?,
            profile: row.try_get("profile")?,
        })
    })
    .transpose()
}

pub(super) async fn identifiers(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Vec<IdentifierRow>, Error> {
    sqlx::query(
        "SELECT kind, blind, spelling, verified_at FROM identifiers
         WHERE user_id = $1 ORDER BY kind, created_at",
    )
    .bind(id)
    .fetch_all(connection)
    .await?
    .iter()
    .map(|row| {
        let word: String = row.try_get("kind")?;
        Ok(IdentifierRow {
            kind: Kind::from_word(&word)
                .ok_or_else(|| Error::internal("unknown identifier kind"))?,
            blind: row.try_get("blind")?,
            spelling: row.try_get("spelling")?,
            verified_at: row.try_get("verified_at")?,
        })
    })
    .collect()
}

/// Who has the identifier, whether it is proved, and whether the account is active.
pub(super) async fn holder(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
) -> Result<Option<(UserId, bool, bool)>, Error> {
    let row = sqlx::query(
        "SELECT identifiers.user_id AS user_id, identifiers.verified_at AS verified_at,
                users.status AS status
         FROM identifiers JOIN users ON users.id = identifiers.user_id
         WHERE identifiers.kind = $1 AND identifiers.blind = $2",
    )
    .bind(kind.as_str())
    .bind(blind.as_slice())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let verified_at: Option<Timestamp> = row.try_get("verified_at")?;
        let status: String = row.try_get("status")?;
        Ok((
            row.try_get("user_id")?,
            verified_at.is_some(),
            status == super::ACTIVE,
        ))
    })
    .transpose()
}

pub(super) struct NewUser<'a> {
    pub(super) id: UserId,
    pub(super) roles: &'a str,
    pub(super) permissions: &'a str,
    pub(super) customer_id: Option<&'a str>,
    pub(super) kyc_level: i64,
    pub(super) profile: &'a [u8],
    pub(super) now: Timestamp,
}

pub(super) async fn insert_user(
    connection: &mut AnyConnection,
    new: &NewUser<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO users (id, status, roles, permissions, kyc_level, kyc_status, customer_id,
                            profile, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
    )
    .bind(new.id)
    .bind(super::ACTIVE)
    .bind(new.roles)
    .bind(new.permissions)
    .bind(new.kyc_level)
    .bind(if new.kyc_level > 0 {
        "verified"
    } else {
        "none"
    })
    .bind(new.customer_id)
    .bind(new.profile)
    .bind(new.now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds an identifier; false when somebody has it already.
pub(super) async fn insert_identifier(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    blind: &Blind,
    spelling: &[u8],
    verified_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO identifiers (kind, blind, user_id, spelling, verified_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kind, blind) DO NOTHING",
    )
    .bind(kind.as_str())
    .bind(blind.as_slice())
    .bind(user_id)
    .bind(spelling)
    .bind(verified_at.map(Timestamp::micros))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Marks an identifier as proved; true when it was not before.
pub(super) async fn mark_verified(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE identifiers SET verified_at = $3
         WHERE kind = $1 AND blind = $2 AND verified_at IS NULL",
    )
    .bind(kind.as_str())
    .bind(blind.as_slice())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

pub(super) async fn update_profile(
    connection: &mut AnyConnection,
    id: UserId,
    profile: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    let updated = sqlx::query("UPDATE users SET profile = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(profile)
        .bind(now)
        .execute(connection)
        .await?;
    if updated.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::NotFound)
    }
}

pub(super) async fn password(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<String>, Error> {
    let row = sqlx::query("SELECT phc FROM passwords WHERE user_id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("phc")).transpose()?)
}

pub(super) async fn set_password(
    connection: &mut AnyConnection,
    id: UserId,
    phc: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO passwords (user_id, phc, updated_at) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET phc = $2, updated_at = $3",
    )
    .bind(id)
    .bind(phc)
    .bind(now)
    .execute(connection)
    .await
    .map_err(|error| {
        let gone = error
            .as_database_error()
            .is_some_and(sqlx::error::DatabaseError::is_foreign_key_violation);
        if gone && !db::is_unique_violation(&error) {
            Error::NotFound
        } else {
            error.into()
        }
    })?;
    Ok(())
}

/// Removes every identifier of the account but one and those that were proved by their owner;
/// user names, which need no proof, go too.
pub(super) async fn delete_other_identifiers(
    connection: &mut AnyConnection,
    id: UserId,
    kind: Kind,
    blind: &Blind,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM identifiers
         WHERE user_id = $1 AND NOT (kind = $2 AND blind = $3)
           AND (verified_at IS NULL OR kind = 'username')",
    )
    .bind(id)
    .bind(kind.as_str())
    .bind(blind.as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn delete_password(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM passwords WHERE user_id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}
