//! The SQL of master keys. The caller owns the transaction.

use sqlx::{AnyConnection, Row as _};

use super::Standing;
use crate::clock::Timestamp;
use crate::error::Error;

/// The counter that keeps the version by which identifiers are looked up.
pub(super) const INDEXED_UNDER: &str = "master_key_version";

/// A row of `master_keys`.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) version: u8,
    pub(super) check_value: Vec<u8>,
    pub(super) began_at: Timestamp,
    pub(super) indexed_at: Option<Timestamp>,
    pub(super) completed_at: Option<Timestamp>,
    pub(super) retired_at: Option<Timestamp>,
}

fn version_of(number: i64) -> Result<u8, Error> {
    u8::try_from(number).map_err(|_| Error::internal("version of a master key"))
}

/// Every version that the database knows, the lowest first.
pub(super) async fn keys(connection: &mut AnyConnection) -> Result<Vec<KeyRow>, Error> {
    sqlx::query(
        "SELECT version, check_value, began_at, indexed_at, completed_at, retired_at
         FROM master_keys ORDER BY version",
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|row| {
        Ok(KeyRow {
            version: version_of(row.try_get("version")?)?,
            check_value: row.try_get("check_value")?,
            began_at: row.try_get("began_at")?,
            indexed_at: row.try_get("indexed_at")?,
            completed_at: row.try_get("completed_at")?,
            retired_at: row.try_get("retired_at")?,
        })
    })
    .collect()
}

/// Adds a version that seals from now on; false when another process did.
pub(super) async fn insert_key(
    connection: &mut AnyConnection,
    version: u8,
    check_value: &[u8],
    now: Timestamp,
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO master_keys (version, check_value, began_at) VALUES ($1, $2, $3)
         ON CONFLICT (version) DO NOTHING",
    )
    .bind(i64::from(version))
    .bind(check_value)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Lets identifiers be looked up by the index of `version`.
pub(super) async fn index_under(
    connection: &mut AnyConnection,
    version: u8,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO counters (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = $2",
    )
    .bind(INDEXED_UNDER)
    .bind(i64::from(version))
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE master_keys SET indexed_at = $2 WHERE version = $1 AND indexed_at IS NULL")
        .bind(i64::from(version))
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that nothing is under an older version.
pub(super) async fn complete(
    connection: &mut AnyConnection,
    version: u8,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE master_keys SET completed_at = $2 WHERE version = $1 AND completed_at IS NULL",
    )
    .bind(i64::from(version))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a version is not configured any more, and that nothing needs it.
pub(super) async fn retire(
    connection: &mut AnyConnection,
    version: u8,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE master_keys SET retired_at = $2 WHERE version = $1 AND retired_at IS NULL")
        .bind(i64::from(version))
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Which versions are in use; none before the first start is done.
pub(super) async fn standing(connection: &mut AnyConnection) -> Result<Option<Standing>, Error> {
    let row = sqlx::query(
        "SELECT MAX(version) AS sealing,
                (SELECT value FROM counters WHERE name = $1) AS indexing
         FROM master_keys",
    )
    .bind(INDEXED_UNDER)
    .fetch_one(connection)
    .await?;
    let (sealing, indexing): (Option<i64>, Option<i64>) =
        (row.try_get("sealing")?, row.try_get("indexing")?);
    Ok(match (sealing, indexing) {
        (Some(sealing), Some(indexing)) => Some(Standing {
            sealing: version_of(sealing)?,
            indexing: version_of(indexing)?,
        }),
        _ => None,
    })
}

/// Indexes from before they carried their version are under `version`.
pub(super) async fn name_first_indexes(
    connection: &mut AnyConnection,
    version: u8,
) -> Result<(), Error> {
    sqlx::query("UPDATE identifier_blinds SET version = $1 WHERE version = 0")
        .bind(i64::from(version))
        .execute(connection)
        .await?;
    Ok(())
}

/// The oldest sealed value of all: a control key, if there is one.
pub(super) async fn first_control_key(
    connection: &mut AnyConnection,
) -> Result<Option<(String, Vec<u8>)>, Error> {
    let row = sqlx::query("SELECT kid, private_key FROM control_keys ORDER BY created_at LIMIT 1")
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok((row.try_get("kid")?, row.try_get("private_key")?)))
        .transpose()
}

/// Every kept key, by name and sealed.
pub(super) async fn kept_keys(
    connection: &mut AnyConnection,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    sqlx::query("SELECT name, sealed FROM kept_keys")
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| Ok((row.try_get("name")?, row.try_get("sealed")?)))
        .collect()
}

/// Keeps a key.
pub(super) async fn keep_key(
    connection: &mut AnyConnection,
    name: &str,
    sealed: &[u8],
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO kept_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
    )
    .bind(name)
    .bind(sealed)
    .execute(connection)
    .await?;
    Ok(())
}

/// Sessions that can be used and whose refresh token was made in a span of time: how many, and when
/// the last such token expires.
pub(super) async fn refresh_tokens(
    connection: &mut AnyConnection,
    made_from: Timestamp,
    made_before: Timestamp,
    now: Timestamp,
) -> Result<(i64, Option<Timestamp>), Error> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS count, MAX(idle_expires_at) AS until FROM sessions
         WHERE ended_at IS NULL AND idle_expires_at > $3 AND absolute_expires_at > $3
           AND rotated_at >= $1 AND rotated_at < $2",
    )
    .bind(made_from)
    .bind(made_before)
    .bind(now)
    .fetch_one(connection)
    .await?;
    Ok((row.try_get("count")?, row.try_get("until")?))
}

/// Passwords whose pepper is of `version`.
pub(super) async fn passwords(connection: &mut AnyConnection, version: u8) -> Result<i64, Error> {
    let row = sqlx::query("SELECT COUNT(*) AS count FROM passwords WHERE phc LIKE $1")
        .bind(format!("{version}$%"))
        .fetch_one(connection)
        .await?;
    Ok(row.try_get("count")?)
}

/// Index rows by version.
pub(super) async fn indexes(connection: &mut AnyConnection) -> Result<Vec<(u8, i64)>, Error> {
    sqlx::query(
        "SELECT version, COUNT(*) AS count FROM identifier_blinds GROUP BY version ORDER BY version",
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|row| Ok((version_of(row.try_get("version")?)?, row.try_get("count")?)))
    .collect()
}
