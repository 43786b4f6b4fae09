//! Whether the master key is the one that a database was made under.
//!
//! What is sealed carries its version, but blind indexes and the keys of counters do not: under
//! another master key no account would be found, without any error to be seen.

use sqlx::Row as _;

use super::master::MasterKeyError;
use super::{Purpose, Vault};
use crate::app::StartError;
use crate::db::Db;
use crate::error::Error;
use crate::tokens::store;

/// The counter that keeps the version.
const INDEXED_UNDER: &str = "master_key_version";

/// Refuses a master key that is not the database's; a new database takes this one.
///
/// # Errors
/// [`MasterKeyError::DoesNotOpen`], [`MasterKeyError::Changed`], or the database fails.
pub async fn bind(db: &Db, vault: &Vault) -> Result<(), StartError> {
    let current = vault.current_version();
    let mut tx = db.write().await?;
    let sealed =
        sqlx::query("SELECT kid, private_key FROM control_keys ORDER BY created_at LIMIT 1")
            .fetch_optional(&mut *tx)
            .await
            .map_err(Error::from)?;
    let sealed: Option<(String, Vec<u8>)> = match sealed {
        None => None,
        Some(row) => Some((
            row.try_get("kid").map_err(Error::from)?,
            row.try_get("private_key").map_err(Error::from)?,
        )),
    };
    let recorded = store::recorded(&mut tx, INDEXED_UNDER).await?;
    // A database from before the counter was indexed under what sealed its first key.
    let first = sealed.as_ref().and_then(|(_, bytes)| bytes.first());
    let indexed = recorded
        .or(first.map(|&version| i64::from(version)))
        .unwrap_or(i64::from(current));
    if indexed != i64::from(current) {
        return Err(MasterKeyError::Changed { indexed, current }.into());
    }
    if let Some((kid, bytes)) = &sealed
        && vault
            .open(Purpose::ControlKey, kid.as_bytes(), bytes)
            .is_err()
    {
        return Err(MasterKeyError::DoesNotOpen.into());
    }
    if recorded.is_none() {
        store::record(&mut tx, INDEXED_UNDER, indexed).await?;
        tx.commit().await.map_err(Error::from)?;
    }
    Ok(())
}
