//! Whether the configured master keys are a database's own, and which of them is in use.
//!
//! The database knows every version that it ever sealed under, with a value that tells the key from
//! another. So a wrong key is refused at the start, and a key that went missing is refused as long
//! as something needs it, by name.
//!
//! A higher version than the database knows takes over when a server says so ([`take_over`]); from
//! then on it seals, everywhere: other processes look several times a second ([`follow`]).

use sqlx::AnyConnection;

use super::master::MasterKeyError;
use super::{Purpose, Standing, Vault, status, store};
use crate::app::StartError;
use crate::clock::Clock;
use crate::db::Db;
use crate::error::Error;
use crate::events::chain;

/// Refuses master keys that are not the database's; a new database takes the highest.
///
/// # Errors
/// [`MasterKeyError::DoesNotOpen`], [`MasterKeyError::Needed`], or the database fails.
pub async fn bind(db: &Db, vault: &Vault, clock: &Clock) -> Result<(), StartError> {
    let mut tx = db.write().await?;
    let standing = match store::standing(&mut tx).await? {
        Some(standing) => standing,
        None => begin(&mut tx, vault, clock).await?,
    };
    check_values(&mut tx, vault).await?;
    for version in [standing.sealing, standing.indexing] {
        if !vault.has(version) {
            let needs = status::needs(&mut tx, version, clock.now()).await?;
            let by = status::list(&needs);
            return Err(MasterKeyError::Needed { version, by }.into());
        }
    }
    retire(&mut tx, vault, clock).await?;
    vault.stand(standing);
    vault
        .keep(&mut tx, standing.indexing, standing.sealing)
        .await?;
    tx.commit().await.map_err(Error::from)?;
    Ok(())
}

/// The first start, or the first since databases know their master keys.
async fn begin(
    connection: &mut AnyConnection,
    vault: &Vault,
    clock: &Clock,
) -> Result<Standing, StartError> {
    let sealed = store::first_control_key(connection).await?;
    let recorded = crate::tokens::store::recorded(connection, store::INDEXED_UNDER).await?;
    // A database from before the counter was indexed under what sealed its first key.
    let version = recorded
        .and_then(|version| u8::try_from(version).ok())
        .or(sealed
            .as_ref()
            .and_then(|(_, bytes)| bytes.first().copied()))
        .unwrap_or(vault.highest());
    if !vault.has(version) {
        let by = "everything in it".to_owned();
        return Err(MasterKeyError::Needed { version, by }.into());
    }
    if let Some((kid, bytes)) = &sealed
        && vault
            .open(Purpose::ControlKey, kid.as_bytes(), bytes)
            .is_err()
    {
        return Err(MasterKeyError::DoesNotOpen.into());
    }
    let now = clock.now();
    store::insert_key(connection, version, &check_value(vault, version)?, now).await?;
    store::index_under(connection, version, now).await?;
    store::complete(connection, version, now).await?;
    store::name_first_indexes(connection, version).await?;
    if sealed.is_none() {
        // A new database. One that has keys already has a trail, whoever took it away.
        chain::begin(vault, connection).await?;
    }
    Ok(Standing {
        sealing: version,
        indexing: version,
    })
}

fn check_value(vault: &Vault, version: u8) -> Result<[u8; 32], Error> {
    Ok(vault.mac_with(version, Purpose::Check, &[b"master key"])?)
}

async fn check_values(connection: &mut AnyConnection, vault: &Vault) -> Result<(), StartError> {
    for row in store::keys(connection).await? {
        if vault.has(row.version)
            && !super::Digest::new(check_value(vault, row.version)?).matches(&row.check_value)
        {
            return Err(MasterKeyError::DoesNotOpen.into());
        }
    }
    Ok(())
}

/// Lets versions go that are not configured any more, unless something needs them.
async fn retire(
    connection: &mut AnyConnection,
    vault: &Vault,
    clock: &Clock,
) -> Result<(), StartError> {
    let now = clock.now();
    for row in store::keys(connection).await? {
        if vault.has(row.version) || row.retired_at.is_some() {
            continue;
        }
        let needs = status::needs(connection, row.version, now).await?;
        if !needs.is_empty() {
            return Err(MasterKeyError::Needed {
                version: row.version,
                by: status::list(&needs),
            }
            .into());
        }
        store::retire(connection, row.version, now).await?;
        tracing::info!(
            version = row.version,
            "master key version is not needed any more"
        );
    }
    Ok(())
}

/// Lets the highest configured version seal from now on, if the database does not know it yet;
/// whether it is a new one.
///
/// # Errors
/// When the database fails.
pub async fn take_over(db: &Db, vault: &Vault, clock: &Clock) -> Result<bool, Error> {
    let version = vault.highest();
    let mut tx = db.write().await?;
    let standing = store::standing(&mut tx)
        .await?
        .ok_or_else(|| Error::internal("the database has no master key"))?;
    if standing.sealing >= version {
        tx.rollback().await?;
        return Ok(false);
    }
    let began =
        store::insert_key(&mut tx, version, &check_value(vault, version)?, clock.now()).await?;
    vault.keep(&mut tx, standing.indexing, version).await?;
    tx.commit().await?;
    vault.stand(Standing {
        sealing: version,
        ..standing
    });
    tracing::info!(
        version,
        before = standing.sealing,
        "another master key seals from now on"
    );
    Ok(began)
}

/// Takes up what another process changed; false when the master key that seals is not configured
/// here, so that this process can read nothing that is new.
///
/// # Errors
/// When the database fails.
pub async fn follow(db: &Db, vault: &Vault) -> Result<bool, Error> {
    follow_within(&mut *db.read().await?, vault).await
}

/// [`follow`], as the caller's transaction sees it.
///
/// # Errors
/// When the database fails.
pub async fn follow_within(connection: &mut AnyConnection, vault: &Vault) -> Result<bool, Error> {
    let Some(standing) = store::standing(connection).await? else {
        return Ok(true);
    };
    if !vault.has(standing.sealing) || !vault.has(standing.indexing) {
        tracing::error!(
            sealing = standing.sealing,
            indexing = standing.indexing,
            "another process seals under a master key that is not configured here"
        );
        return Ok(false);
    }
    vault.stand(standing);
    Ok(true)
}
