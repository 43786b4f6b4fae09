//! The token that stands for a proved first factor, and its SQL.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::accounts::Kind;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::UserId;
use crate::vault::{Purpose, Secret};

/// How long a token that ran out is kept, so that a late factor is told `code_expired`.
const REMEMBERED: Duration = Duration::from_hours(1);

/// What a login brings to its second step; sealed in the database.
#[derive(Serialize, Deserialize)]
pub(in crate::login) struct Waiting {
    /// What the audit trail calls the first factor.
    pub(in crate::login) method: String,
    /// What `amr` says of it.
    pub(in crate::login) amr: Vec<String>,
    /// To what kind of address its code was sent, where it was a code.
    pub(in crate::login) sent_to: Option<Kind>,
    /// The device that was named with it.
    pub(in crate::login) device_id: Option<String>,
    /// The token of that device, where it is trusted already.
    pub(in crate::login) device_token: Option<String>,
}

impl Waiting {
    /// The token of the device, where it was trusted when the first factor was proved.
    pub(super) fn device(&self) -> Option<Secret> {
        self.device_token.clone().map(Secret::new)
    }
}

/// A login that waits, found by its token.
pub(super) struct Found {
    pub(super) user_id: UserId,
    pub(super) waiting: Waiting,
    token_hash: [u8; 32],
}

/// Makes a token of 256 random bits.
///
/// # Errors
/// When the database or the vault fails.
pub(in crate::login) async fn issue(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    waiting: &Waiting,
) -> Result<Secret, Error> {
    let now = state.clock.now();
    let random: [u8; 32] = state.random.bytes();
    let token = Secret::new(format!("ekm_{}", URL_SAFE_NO_PAD.encode(random)));
    let token_hash = hash(state, &token)?;
    let json = serde_json::to_vec(waiting).map_err(|_| Error::internal("login as JSON"))?;
    let sealed = state
        .vault
        .seal(Purpose::Mfa, &aad(user_id, &token_hash), &json)?;
    sqlx::query("DELETE FROM mfa_tokens WHERE expires_at < $1")
        .bind(now - REMEMBERED)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO mfa_tokens (token_hash, user_id, payload, tries, expires_at)
         VALUES ($1, $2, $3, 0, $4)",
    )
    .bind(token_hash.as_slice())
    .bind(user_id)
    .bind(sealed)
    .bind(now + Duration::from_secs(state.config.mfa.token_seconds))
    .execute(connection)
    .await?;
    Ok(token)
}

/// Counts a try, committed before anything is compared; the one statement that finds the token
/// counts it.
///
/// # Errors
/// [`Error::CodeInvalid`] for a token that is unknown, used, or tried too often;
/// [`Error::CodeExpired`] when its time is over.
pub(super) async fn count(state: &State, token: &Secret) -> Result<Found, Error> {
    let token_hash = hash(state, token)?;
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let row = sqlx::query(
        "UPDATE mfa_tokens SET tries = tries + 1
         WHERE token_hash = $1 AND tries < $2 AND expires_at > $3
         RETURNING user_id, payload",
    )
    .bind(token_hash.as_slice())
    .bind(i64::from(state.config.mfa.token_tries))
    .bind(now)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else {
        let refusal = why_not(&mut tx, token_hash, now).await?;
        tx.rollback().await?;
        return Err(refusal);
    };
    tx.commit().await?;
    open(state, &row, token_hash)
}

/// Takes the count of a try back of which nothing was compared.
///
/// # Errors
/// When the database fails.
pub(super) async fn give_back(state: &State, found: &Found) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    sqlx::query("UPDATE mfa_tokens SET tries = tries - 1 WHERE token_hash = $1 AND tries > 0")
        .bind(found.token_hash.as_slice())
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// Finds a login that waits, without trying anything.
///
/// # Errors
/// As [`count`].
pub(super) async fn find(
    state: &State,
    connection: &mut AnyConnection,
    token: &Secret,
) -> Result<Found, Error> {
    let token_hash = hash(state, token)?;
    let now = state.clock.now();
    let row = sqlx::query(
        "SELECT user_id, payload FROM mfa_tokens
         WHERE token_hash = $1 AND tries < $2 AND expires_at > $3",
    )
    .bind(token_hash.as_slice())
    .bind(i64::from(state.config.mfa.token_tries))
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => open(state, &row, token_hash),
        None => Err(why_not(connection, token_hash, now).await?),
    }
}

/// Whose login the token stands for, whether or not it may still be tried.
///
/// # Errors
/// When the database fails.
pub(super) async fn owner(
    state: &State,
    connection: &mut AnyConnection,
    token: &Secret,
) -> Result<Option<UserId>, Error> {
    let row = sqlx::query("SELECT user_id FROM mfa_tokens WHERE token_hash = $1")
        .bind(hash(state, token)?.as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| row.try_get("user_id")).transpose()?)
}

/// Uses the token up within the caller's transaction; of several that proved a factor, one
/// succeeds.
pub(super) async fn consume(
    connection: &mut AnyConnection,
    found: &Found,
    now: Timestamp,
) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM mfa_tokens WHERE token_hash = $1 AND expires_at > $2")
        .bind(found.token_hash.as_slice())
        .bind(now)
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() == 1)
}

pub(super) async fn delete_of(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM mfa_tokens WHERE user_id = $1")
        .bind(user_id)
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn delete_all(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM mfa_tokens")
        .execute(connection)
        .await?;
    Ok(())
}

async fn why_not(
    connection: &mut AnyConnection,
    token_hash: [u8; 32],
    now: Timestamp,
) -> Result<Error, Error> {
    let row = sqlx::query("SELECT expires_at FROM mfa_tokens WHERE token_hash = $1")
        .bind(token_hash.as_slice())
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else {
        return Ok(Error::CodeInvalid("no such login waits"));
    };
    let expires_at: Timestamp = row.try_get("expires_at")?;
    Ok(if expires_at <= now {
        Error::CodeExpired
    } else {
        Error::CodeInvalid("tries used up")
    })
}

fn open(state: &State, row: &AnyRow, token_hash: [u8; 32]) -> Result<Found, Error> {
    let user_id: UserId = row.try_get("user_id")?;
    let sealed: Vec<u8> = row.try_get("payload")?;
    let json = state
        .vault
        .open(Purpose::Mfa, &aad(user_id, &token_hash), &sealed)?;
    let waiting =
        serde_json::from_slice(&json).map_err(|_| Error::internal("login that waits as JSON"))?;
    Ok(Found {
        user_id,
        waiting,
        token_hash,
    })
}

fn hash(state: &State, token: &Secret) -> Result<[u8; 32], Error> {
    let parts = [b"token".as_slice(), token.expose().as_bytes()];
    Ok(state.vault.mac(Purpose::Mfa, &parts)?)
}

/// Binds what waits to its account and its token: moved to another row it does not open.
fn aad(user_id: UserId, token_hash: &[u8; 32]) -> Vec<u8> {
    [user_id.as_bytes().as_slice(), token_hash].concat()
}
