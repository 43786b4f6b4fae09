//! SQL of the keyring.

use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;

/// A row of `signing_keys`.
#[derive(Debug)]
pub(super) struct KeyRow {
    pub(super) kid: String,
    pub(super) algorithm: String,
    pub(super) state: String,
    pub(super) public_jwk: String,
    pub(super) private_key: Option<Vec<u8>>,
    pub(super) created_at: Timestamp,
    pub(super) published_at: Timestamp,
    pub(super) activate_not_before: Timestamp,
    pub(super) activated_at: Option<Timestamp>,
    pub(super) retire_after: Option<Timestamp>,
    pub(super) token_seconds: i64,
}

/// The value of a counter.
pub(crate) async fn counter(connection: &mut AnyConnection, name: &str) -> Result<i64, Error> {
    let row = sqlx::query("SELECT value FROM counters WHERE name = $1")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("value")?)
}

/// The value that was recorded under a name, if any was.
pub(crate) async fn recorded(
    connection: &mut AnyConnection,
    name: &str,
) -> Result<Option<i64>, Error> {
    let row = sqlx::query("SELECT value FROM counters WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("value")).transpose()?)
}

/// Records a value under a name, over what was there.
pub(crate) async fn record(
    connection: &mut AnyConnection,
    name: &str,
    value: i64,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO counters (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = $2",
    )
    .bind(name)
    .bind(value)
    .execute(connection)
    .await?;
    Ok(())
}

/// Raises a counter and holds its row until the transaction ends: writers go one after another.
pub(crate) async fn raise(connection: &mut AnyConnection, name: &str) -> Result<i64, Error> {
    let row = sqlx::query("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(name)
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("value")?)
}

/// Every key, oldest first.
pub(super) async fn keys(connection: &mut AnyConnection) -> Result<Vec<KeyRow>, Error> {
    let rows = sqlx::query(
        "SELECT kid, algorithm, state, public_jwk, private_key, created_at, published_at,
                activate_not_before, activated_at, retire_after, token_seconds
         FROM signing_keys
         ORDER BY created_at,
                  -- The first key and its standby are made at one instant.
                  CASE WHEN activated_at IS NULL THEN 1 ELSE 0 END, activated_at, kid",
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(KeyRow {
                kid: row.try_get("kid")?,
                algorithm: row.try_get("algorithm")?,
                state: row.try_get("state")?,
                public_jwk: row.try_get("public_jwk")?,
                private_key: row.try_get("private_key")?,
                created_at: row.try_get("created_at")?,
                published_at: row.try_get("published_at")?,
                activate_not_before: row.try_get("activate_not_before")?,
                activated_at: row.try_get("activated_at")?,
                retire_after: row.try_get("retire_after")?,
                token_seconds: row.try_get("token_seconds")?,
            })
        })
        .collect()
}

/// Adds a pending key.
pub(super) async fn insert(connection: &mut AnyConnection, key: &KeyRow) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO signing_keys (kid, algorithm, state, public_jwk, private_key, created_at,
                                   published_at, activate_not_before, token_seconds)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&key.kid)
    .bind(&key.algorithm)
    .bind(&key.state)
    .bind(&key.public_jwk)
    .bind(key.private_key.clone())
    .bind(key.created_at)
    .bind(key.published_at)
    .bind(key.activate_not_before)
    .bind(key.token_seconds)
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes the pending key the active one, if it may be by now; whether it was.
pub(super) async fn activate(
    connection: &mut AnyConnection,
    kid: &str,
    now: Timestamp,
    not_after: Timestamp,
    token_seconds: i64,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE signing_keys SET state = 'active', activated_at = $2,
                token_seconds = CASE WHEN token_seconds < $4 THEN $4 ELSE token_seconds END
         WHERE kid = $1 AND state = 'pending' AND activate_not_before <= $3",
    )
    .bind(kid)
    .bind(now)
    .bind(not_after)
    .bind(token_seconds)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the active key's signing, if it is still that key and was active by `activated_by`;
/// whether it was. Its private half goes: it signs nothing more.
pub(super) async fn begin_retiring(
    connection: &mut AnyConnection,
    kid: &str,
    activated_by: Timestamp,
    now: Timestamp,
    retire_after: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE signing_keys
         SET state = 'retiring', retiring_at = $3, retire_after = $4, private_key = NULL
         WHERE kid = $1 AND state = 'active' AND activated_at <= $2",
    )
    .bind(kid)
    .bind(activated_by)
    .bind(now)
    .bind(retire_after)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Retires every key whose last token has expired; how many there were.
pub(super) async fn retire_due(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "UPDATE signing_keys SET state = 'retired', retired_at = $1
         WHERE state = 'retiring' AND retire_after <= $1",
    )
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Revokes a key in any other state; whether there was one.
pub(super) async fn revoke(
    connection: &mut AnyConnection,
    kid: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE signing_keys SET state = 'revoked', revoked_at = $2, private_key = NULL
         WHERE kid = $1 AND state <> 'revoked'",
    )
    .bind(kid)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Remembers that the active key signs tokens of a longer life than before.
pub(super) async fn lengthen(
    connection: &mut AnyConnection,
    token_seconds: i64,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "UPDATE signing_keys SET token_seconds = $1
         WHERE state = 'active' AND token_seconds < $1",
    )
    .bind(token_seconds)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
