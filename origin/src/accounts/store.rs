//! The SQL of accounts. The caller owns the transaction.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::identifier::{Blind, Kind};
use super::status::Status;
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
    pub(super) kyc_expires_at: Option<Timestamp>,
    pub(super) customer_id: Option<String>,
    pub(super) profile: Vec<u8>,
    pub(super) created_at: Timestamp,
    pub(super) last_login_at: Option<Timestamp>,
    pub(super) erase_at: Option<Timestamp>,
    /// Sealed.
    pub(super) status_note: Option<Vec<u8>>,
}

pub(super) struct IdentifierRow {
    pub(super) kind: Kind,
    /// What names the row beside its kind; not what it is looked up by.
    pub(super) name: Vec<u8>,
    pub(super) spelling: Vec<u8>,
    pub(super) verified_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
}

pub(super) async fn user(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<UserRow>, Error> {
    let row = sqlx::query(
        "SELECT status, roles, permissions, kyc_level, kyc_status, kyc_expires_at, customer_id,
                profile, created_at, last_login_at, erase_at, status_note
         FROM users WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read_user).transpose()
}

fn read_user(row: &AnyRow) -> Result<UserRow, Error> {
    Ok(UserRow {
        status: row.try_get("status")?,
        roles: row.try_get("roles")?,
        permissions: row.try_get("permissions")?,
        kyc_level: row.try_get("kyc_level")?,
        kyc_status: row.try_get("kyc_status")?,
        kyc_expires_at: row.try_get("kyc_expires_at")?,
        customer_id: row.try_get("customer_id")?,
        profile: row.try_get("profile")?,
        created_at: row.try_get("created_at")?,
        last_login_at: row.try_get("last_login_at")?,
        erase_at: row.try_get("erase_at")?,
        status_note: row.try_get("status_note")?,
    })
}

/// The account's identifiers, the primary of each kind first.
pub(super) async fn identifiers(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Vec<IdentifierRow>, Error> {
    sqlx::query(
        "SELECT kind, blind, spelling, verified_at, created_at FROM identifiers
         WHERE user_id = $1
         ORDER BY kind, is_primary DESC, CASE WHEN verified_at IS NULL THEN 1 ELSE 0 END,
                  created_at, blind",
    )
    .bind(id)
    .fetch_all(connection)
    .await?
    .iter()
    .map(read_identifier)
    .collect()
}

fn read_identifier(row: &AnyRow) -> Result<IdentifierRow, Error> {
    let word: String = row.try_get("kind")?;
    Ok(IdentifierRow {
        kind: Kind::from_word(&word).ok_or_else(|| Error::internal("unknown identifier kind"))?,
        name: row.try_get("blind")?,
        spelling: row.try_get("spelling")?,
        verified_at: row.try_get("verified_at")?,
        created_at: row.try_get("created_at")?,
    })
}

/// Who has the identifier, whether it is proved, and whether its holder may log in.
pub(super) async fn holder(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
) -> Result<Option<(UserId, bool, bool)>, Error> {
    let row = sqlx::query(
        "SELECT identifiers.user_id AS user_id, identifiers.verified_at AS verified_at,
                users.status AS status
         FROM identifier_blinds
         JOIN identifiers ON identifiers.kind = identifier_blinds.kind
                         AND identifiers.blind = identifier_blinds.holder
         JOIN users ON users.id = identifiers.user_id
         WHERE identifier_blinds.kind = $1 AND identifier_blinds.blind = $2",
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
            Status::from_word(&status).is_some_and(Status::may_log_in),
        ))
    })
    .transpose()
}

/// What one look at the index of identifiers reads: the row that was asked for, or the one that
/// stands in for it.
pub(super) struct Entry {
    /// Whether it is the one that was asked for.
    pub(super) is_the_one: bool,
    pub(super) user_id: UserId,
    pub(super) verified: bool,
    pub(super) may_log_in: bool,
    /// What names the identifier's row beside its kind.
    pub(super) name: Vec<u8>,
    /// Sealed.
    pub(super) spelling: Vec<u8>,
    pub(super) password: Option<String>,
}

/// The identifier with everything about it, or the one behind it in the order of blind indexes
/// (after the last one the first) where nobody has it. Blind indexes are keyed hashes, so who stands
/// in is anybody, and always the same. Nothing comes back only where there is no identifier of the
/// kind at all.
pub(super) async fn entry(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
) -> Result<Option<Entry>, Error> {
    let row = sqlx::query(
        "SELECT identifier_blinds.blind AS found, identifiers.user_id AS user_id,
                identifiers.verified_at AS verified_at, identifiers.blind AS name,
                identifiers.spelling AS spelling, users.status AS status, passwords.phc AS phc
         FROM identifier_blinds
         JOIN identifiers ON identifiers.kind = identifier_blinds.kind
                         AND identifiers.blind = identifier_blinds.holder
         JOIN users ON users.id = identifiers.user_id
         LEFT JOIN passwords ON passwords.user_id = users.id
         WHERE identifier_blinds.kind = $1
           AND identifier_blinds.blind = COALESCE(
                 (SELECT blind FROM identifier_blinds WHERE kind = $1 AND blind >= $2
                  ORDER BY blind LIMIT 1),
                 (SELECT blind FROM identifier_blinds WHERE kind = $1 ORDER BY blind LIMIT 1))",
    )
    .bind(kind.as_str())
    .bind(blind.as_slice())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let found: Vec<u8> = row.try_get("found")?;
        let verified_at: Option<Timestamp> = row.try_get("verified_at")?;
        let status: String = row.try_get("status")?;
        Ok(Entry {
            is_the_one: found == blind,
            user_id: row.try_get("user_id")?,
            verified: verified_at.is_some(),
            may_log_in: Status::from_word(&status).is_some_and(Status::may_log_in),
            name: row.try_get("name")?,
            spelling: row.try_get("spelling")?,
            password: row.try_get("phc")?,
        })
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
    .bind(Status::Active.as_str())
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

pub(super) struct NewIdentifier<'a> {
    pub(super) user_id: UserId,
    pub(super) kind: Kind,
    pub(super) name: &'a Blind,
    pub(super) spelling: &'a [u8],
    pub(super) verified_at: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// Adds an identifier's row; false when there is one of that name.
pub(super) async fn insert_identifier(
    connection: &mut AnyConnection,
    new: &NewIdentifier<'_>,
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO identifiers (kind, blind, user_id, spelling, verified_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (kind, blind) DO NOTHING",
    )
    .bind(new.kind.as_str())
    .bind(new.name.as_slice())
    .bind(new.user_id)
    .bind(new.spelling)
    .bind(new.verified_at.map(Timestamp::micros))
    .bind(new.now)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Lets an identifier be found by `blind`; false when somebody's is.
pub(super) async fn insert_blind(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
    version: u8,
    name: &[u8],
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO identifier_blinds (kind, blind, version, holder) VALUES ($1, $2, $3, $4)
         ON CONFLICT (kind, blind) DO NOTHING",
    )
    .bind(kind.as_str())
    .bind(blind.as_slice())
    .bind(i64::from(version))
    .bind(name)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Removes an identifier with everything that finds it.
pub(super) async fn delete_identifier(
    connection: &mut AnyConnection,
    kind: Kind,
    name: &[u8],
) -> Result<(), Error> {
    sqlx::query("DELETE FROM identifiers WHERE kind = $1 AND blind = $2")
        .bind(kind.as_str())
        .bind(name.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether an identifier's row is still named and sealed so.
pub(super) async fn has_identifier(
    connection: &mut AnyConnection,
    kind: Kind,
    name: &[u8],
    sealed: &[u8],
) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT 1 AS found FROM identifiers WHERE kind = $1 AND blind = $2 AND spelling = $3",
    )
    .bind(kind.as_str())
    .bind(name)
    .bind(sealed)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// The name of the identifier that `blind` finds.
pub(super) async fn holder_of(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
) -> Result<Option<Vec<u8>>, Error> {
    let row = sqlx::query("SELECT holder FROM identifier_blinds WHERE kind = $1 AND blind = $2")
        .bind(kind.as_str())
        .bind(blind.as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("holder")).transpose()?)
}

/// Names and seals an identifier's row anew, if it is still as it was; whether it was. What finds
/// it follows by the foreign key.
pub(super) async fn rename_identifier(
    connection: &mut AnyConnection,
    kind: Kind,
    old_name: &[u8],
    old_spelling: &[u8],
    name: &Blind,
    spelling: &[u8],
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE identifiers SET blind = $1, spelling = $2
         WHERE kind = $3 AND blind = $4 AND spelling = $5",
    )
    .bind(name.as_slice())
    .bind(spelling)
    .bind(kind.as_str())
    .bind(old_name)
    .bind(old_spelling)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Index rows of versions before `version`, at most `limit` behind `after`.
pub(super) async fn old_blinds(
    connection: &mut AnyConnection,
    version: u8,
    after: Option<&(String, Vec<u8>)>,
    limit: i64,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let (kind, blind) = after.map_or(("", &[][..]), |(kind, blind)| (kind, blind));
    sqlx::query(
        "SELECT kind, blind FROM identifier_blinds
         WHERE (kind, blind) > ($1, $2) AND version < $3 ORDER BY kind, blind LIMIT $4",
    )
    .bind(kind)
    .bind(blind)
    .bind(i64::from(version))
    .bind(limit)
    .fetch_all(connection)
    .await?
    .iter()
    .map(|row| Ok((row.try_get("kind")?, row.try_get("blind")?)))
    .collect()
}

/// Removes an index row of a version before `version`.
pub(super) async fn delete_blind(
    connection: &mut AnyConnection,
    kind: &str,
    blind: &[u8],
    version: u8,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM identifier_blinds WHERE kind = $1 AND blind = $2 AND version < $3")
        .bind(kind)
        .bind(blind)
        .bind(i64::from(version))
        .execute(connection)
        .await?;
    Ok(())
}

/// How often to look again for a row that is being renamed.
const ATTEMPTS: usize = 3;

/// Marks an identifier as proved; true when it was not before.
pub(super) async fn mark_verified(
    connection: &mut AnyConnection,
    kind: Kind,
    blind: &Blind,
    now: Timestamp,
) -> Result<bool, Error> {
    for _ in 0..ATTEMPTS {
        let updated = sqlx::query(
            "UPDATE identifiers SET verified_at = $3
             WHERE kind = $1 AND verified_at IS NULL
               AND blind = (SELECT holder FROM identifier_blinds WHERE kind = $1 AND blind = $2)",
        )
        .bind(kind.as_str())
        .bind(blind.as_slice())
        .bind(now)
        .execute(&mut *connection)
        .await?;
        if updated.rows_affected() == 1 {
            return Ok(true);
        }
        // A rotation that renames the row in this moment hides it from the statement (PostgreSQL
        // reads the row again, the subquery not). To take that for "proved before" would leave a
        // stranger's password in place.
        match holder(connection, kind, blind).await? {
            Some((_, false, _)) => {}
            _ => return Ok(false),
        }
    }
    Err(Error::Unavailable("the identifier is being renamed"))
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

/// Notes a login of an account that is active; its row, or nothing where it is not there, not
/// active, or past its time.
pub(super) async fn note_login_of_active(
    connection: &mut AnyConnection,
    id: UserId,
    now: Timestamp,
) -> Result<Option<UserRow>, Error> {
    let row = sqlx::query(
        "UPDATE users SET last_login_at = $2
         WHERE id = $1 AND status = 'active' AND (erase_at IS NULL OR erase_at > $2)
         RETURNING status, roles, permissions, kyc_level, kyc_status, kyc_expires_at, customer_id,
                   profile, created_at, last_login_at, erase_at, status_note",
    )
    .bind(id)
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read_user).transpose()
}

/// Notes a login, and ends a deactivation or a deletion whose time has not come; false when the
/// account is not there, disabled, or past that time.
pub(super) async fn note_login(
    connection: &mut AnyConnection,
    id: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE users SET last_login_at = $2, status = 'active', erase_at = NULL,
                          status_note = NULL
         WHERE id = $1 AND status IN ('active', 'deactivated', 'deleting')
           AND (erase_at IS NULL OR erase_at > $2)",
    )
    .bind(id)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Holds the account's row until the transaction ends: who changes it next waits, and then sees
/// this change. False when it is gone.
pub(super) async fn hold(
    connection: &mut AnyConnection,
    id: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query("UPDATE users SET updated_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(updated.rows_affected() == 1)
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
         WHERE user_id = $1
           AND NOT (kind = $2 AND blind = (SELECT holder FROM identifier_blinds
                                           WHERE kind = $2 AND blind = $3))
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

/// Removes an account and all that hangs on it; false when it is gone, or is the last active one
/// that has the role `kept`.
pub(super) async fn delete_user(
    connection: &mut AnyConnection,
    id: UserId,
    kept: &str,
) -> Result<bool, Error> {
    let deleted = sqlx::query(
        "DELETE FROM users
         WHERE id = $1
           AND ($2 = '' OR replace(roles, $2, '') = roles OR status <> 'active'
                OR EXISTS (SELECT 1 FROM users AS others
                           WHERE others.id <> $1 AND others.status = 'active'
                             AND replace(others.roles, $2, '') <> others.roles))",
    )
    .bind(id)
    .bind(kept)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Whether the time of an account has come, holding its row so that its owner does not come back
/// meanwhile.
pub(super) async fn is_due(
    connection: &mut AnyConnection,
    id: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    let held = sqlx::query("UPDATE users SET updated_at = $2 WHERE id = $1 AND erase_at <= $2")
        .bind(id)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(held.rows_affected() == 1)
}

/// When the present password was set.
pub(super) async fn password_set_at(
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Option<Timestamp>, Error> {
    let row = sqlx::query("SELECT updated_at FROM passwords WHERE user_id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("updated_at")).transpose()?)
}
