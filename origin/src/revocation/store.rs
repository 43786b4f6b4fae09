//! SQL of revocation entries.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;

/// A row of `revocations`.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) kind: String,
    pub(super) value: String,
    pub(super) not_before: i64,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) change: i64,
}

/// Writes an entry, or widens the one that is there: the later instants count, and never is
/// later than any.
pub(super) async fn upsert(
    connection: &mut AnyConnection,
    row: &Row,
    now: Timestamp,
    reason: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO revocations (kind, value, not_before, expires_at, created_at, reason, change)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (kind, value) DO UPDATE SET
             not_before = CASE WHEN excluded.not_before > revocations.not_before
                 THEN excluded.not_before ELSE revocations.not_before END,
             expires_at = CASE
                 WHEN excluded.expires_at IS NULL OR revocations.expires_at IS NULL THEN NULL
                 WHEN excluded.expires_at > revocations.expires_at THEN excluded.expires_at
                 ELSE revocations.expires_at END,
             change = excluded.change",
    )
    .bind(&row.kind)
    .bind(&row.value)
    .bind(row.not_before)
    .bind(row.expires_at)
    .bind(now)
    .bind(reason)
    .bind(row.change)
    .execute(connection)
    .await?;
    Ok(())
}

/// The counter of changes, held until the transaction ends: whoever is writing an entry is done.
pub(super) async fn lock(connection: &mut AnyConnection) -> Result<i64, Error> {
    let row =
        sqlx::query("UPDATE counters SET value = value WHERE name = 'revocations' RETURNING value")
            .fetch_one(connection)
            .await?;
    Ok(row.try_get("value")?)
}

/// The first `limit` entries written after the change `after`, in order.
pub(super) async fn since(
    connection: &mut AnyConnection,
    after: i64,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query(
        "SELECT kind, value, not_before, expires_at, change FROM revocations
         WHERE change > $1 ORDER BY change LIMIT $2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// An entry as it is shown.
#[derive(Debug)]
pub struct Listed {
    /// `jti`, `sid`, `sub` or `kid`.
    pub kind: String,
    /// What is turned away.
    pub value: String,
    /// Of a subject: tokens issued at or before this second.
    pub not_before: i64,
    /// When it no longer matters; none: never.
    pub expires_at: Option<Timestamp>,
    /// When it was first written.
    pub created_at: Timestamp,
    /// Why, in a word.
    pub reason: String,
    /// Its place in the order of changes.
    pub change: i64,
}

/// Entries that matter at `now`, the latest change first.
pub(super) async fn page(
    connection: &mut AnyConnection,
    before: i64,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Listed>, Error> {
    let rows = sqlx::query(
        "SELECT kind, value, not_before, expires_at, created_at, reason, change FROM revocations
         WHERE change < $1 AND (expires_at IS NULL OR expires_at > $2)
         ORDER BY change DESC LIMIT $3",
    )
    .bind(before)
    .bind(now)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Listed {
                kind: row.try_get("kind")?,
                value: row.try_get("value")?,
                not_before: row.try_get("not_before")?,
                expires_at: row.try_get("expires_at")?,
                created_at: row.try_get("created_at")?,
                reason: row.try_get("reason")?,
                change: row.try_get("change")?,
            })
        })
        .collect()
}

fn read(row: &AnyRow) -> Result<Row, Error> {
    Ok(Row {
        kind: row.try_get("kind")?,
        value: row.try_get("value")?,
        not_before: row.try_get("not_before")?,
        expires_at: row.try_get("expires_at")?,
        change: row.try_get("change")?,
    })
}

pub(super) async fn subject_not_before(
    connection: &mut AnyConnection,
    subject: &str,
) -> Result<Option<i64>, Error> {
    let row = sqlx::query("SELECT not_before FROM revocations WHERE kind = 'sub' AND value = $1")
        .bind(subject)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("not_before")).transpose()?)
}

pub(super) async fn is_revoked(
    connection: &mut AnyConnection,
    token_id: &str,
    session_id: &str,
    key_id: &str,
    subject: &str,
    issued_at: i64,
) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT 1 AS found FROM revocations
         WHERE (kind = 'jti' AND value = $1)
            OR (kind = 'sid' AND value = $2)
            OR (kind = 'kid' AND value = $3)
            OR (kind = 'sub' AND value = $4 AND not_before >= $5)
         LIMIT 1",
    )
    .bind(token_id)
    .bind(session_id)
    .bind(key_id)
    .bind(subject)
    .bind(issued_at)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Removes entries that no longer matter; how many there were.
pub(super) async fn remove_expired(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM revocations WHERE expires_at <= $1")
        .bind(now)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// The next sequence number of what the control key signs: the larger of the last + 1 and
/// `at_least`, so that an origin restored from a copy is not behind its gates.
pub(super) async fn next_sequence(
    connection: &mut AnyConnection,
    at_least: i64,
) -> Result<i64, Error> {
    let row = sqlx::query(
        "UPDATE counters
         SET value = CASE WHEN value + 1 > $1 THEN value + 1 ELSE $1 END
         WHERE name = 'control_sequence' RETURNING value",
    )
    .bind(at_least)
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("value")?)
}

/// A row of `control_keys`.
#[derive(Debug)]
pub(super) struct ControlKeyRow {
    pub(super) kid: String,
    /// Sealed.
    pub(super) private_key: Vec<u8>,
    /// None of a key that waits.
    pub(super) activated_at: Option<Timestamp>,
}

/// Every control key: the one that signs first, then one that waits.
pub(super) async fn control_keys(
    connection: &mut AnyConnection,
) -> Result<Vec<ControlKeyRow>, Error> {
    let rows = sqlx::query(
        "SELECT kid, private_key, activated_at FROM control_keys
         ORDER BY CASE WHEN activated_at IS NULL THEN 1 ELSE 0 END, activated_at DESC, kid",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(ControlKeyRow {
                kid: row.try_get("kid")?,
                private_key: row.try_get("private_key")?,
                activated_at: row.try_get("activated_at")?,
            })
        })
        .collect()
}

pub(super) async fn insert_control_key(
    connection: &mut AnyConnection,
    row: &ControlKeyRow,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO control_keys (kid, private_key, created_at, activated_at)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(&row.kid)
    .bind(row.private_key.clone())
    .bind(now)
    .bind(row.activated_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the control key sign that waits under this name and was made by `made_by`; false when none
/// does.
pub(super) async fn activate_control_key(
    connection: &mut AnyConnection,
    kid: &str,
    made_by: Timestamp,
    now: Timestamp,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE control_keys SET activated_at = $2
         WHERE kid = $1 AND activated_at IS NULL AND created_at <= $3",
    )
    .bind(kid)
    .bind(now)
    .bind(made_by)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes every control key but this one.
pub(super) async fn remove_other_control_keys(
    connection: &mut AnyConnection,
    kid: &str,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM control_keys WHERE kid <> $1")
        .bind(kid)
        .execute(connection)
        .await?;
    Ok(())
}
