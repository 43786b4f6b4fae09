//! Devices that are trusted: those on which somebody logged in before.
//!
//! Whoever knows an identifier can lock its account by failing five times. So that strangers cannot
//! lock a person out of a device that the person uses, every login answers a `device_token` (what
//! OWASP calls a device cookie: a slow guesser without one is held up, its owner with one is not).
//! A login that shows it, by password or by a one-time code, counts failures at the device and not at
//! the account:
//!
//! - it may fail as often in a row as an account may; then the device is a stranger again, so that
//!   a stolen token gives its thief so many guesses and no more;
//! - neither a lock of the account nor codes that are off for it hold it up, and its failures lock
//!   nobody else out;
//! - its success leaves the account's lock alone, which holds for whoever caused it.
//!
//! Of the second step of such a login, too, wrong codes are counted at the device ([`subject`]), with the
//! bounds that the account has for itself: whoever knows the password and turns a factor off by
//! guessing at it does not turn it off there. These are not failures in a row, since a right password
//! would begin them anew for a thief who knows it.
//!
//! A login by a passkey, by another provider, or by the proof of a registration counts nothing at it and
//! only knows it again.
//!
//! How many logins it may have in an hour is counted at it, too, once it has been trusted for as long.
//! Until then they are counted with its account's: otherwise each login of a device without a token,
//! which makes one that is trusted, would bring as many others.
//!
//! A token is 32 random bytes, kept as a keyed hash, good for one account, for 90 days from its
//! last login, until all sessions, or all but one, are ended at once: by their owner, with a change or
//! a reset of the password, or by the server. One that is foreign, stolen and used up, or
//! expired is as if absent: the login then goes on like any other. It proves nothing: without the
//! password it opens nothing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::{AnyConnection, Row as _};

use super::Subject;
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::Reaction;
use crate::error::Error;
use crate::events::{self, Actor, Event, Kind, Outcome};
use crate::ids::UserId;
use crate::vault::{Purpose, Secret};

/// What leaked tokens are searched for by.
const PREFIX: &str = "ekd_";

const RANDOM_BYTES: usize = 32;

/// Devices of one account; the one that was used longest ago gives way. A client that keeps no
/// token makes a new device at each login.
const PER_ACCOUNT: i64 = 10;

const DAY: Duration = Duration::from_hours(24);

/// Over what logins are counted, and how long a device has been trusted whose own are counted apart.
const LOGINS_WINDOW: Duration = Duration::from_hours(1);

/// A device that may try one password or code, counted as wrong before it is compared.
#[derive(Clone, Copy)]
pub struct Trusted {
    token_hash: [u8; 32],
    user_id: UserId,
}

/// A device that is trusted, known again by a right login, its count and time begun anew.
pub struct Known {
    /// Its token, for the answer.
    pub token: String,
    token_hash: [u8; 32],
    trusted_at: Timestamp,
}

impl Known {
    /// Where its logins are counted; with those of its account where there is none.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn logins(&self, state: &State) -> Result<Option<Subject>, Error> {
        if state.clock.now() < self.trusted_at + LOGINS_WINDOW {
            return Ok(None);
        }
        let subject = Subject::on_device(&state.vault, &self.token_hash, "login")?;
        Ok(Some(subject))
    }
}

/// Nobody has the id of zeroes: an unknown account costs the same look-up.
fn or_nobody(user_id: Option<UserId>) -> UserId {
    user_id.unwrap_or(UserId::from_bytes([0; 16]))
}

/// Counts a try of the device that `token` belongs to, in a transaction of its own; `None` where it
/// is none of the user's, its time is over, or its tries are used up.
///
/// # Errors
/// When the database fails.
pub async fn enter(
    state: &State,
    token: &Secret,
    user_id: Option<UserId>,
) -> Result<Option<Trusted>, Error> {
    let mut reader = state.db.read().await?;
    let known = is_trusted(state, &mut reader, token, user_id).await?;
    drop(reader);
    // Looked at first: what is no token must not cost a write.
    if !known {
        return Ok(None);
    }
    let mut tx = state.db.write().await?;
    let counted = count(state, &mut tx, token, user_id).await?;
    tx.commit().await?;
    Ok(counted)
}

/// Whether `token` belongs to a device of the user that has tries left. Counts nothing.
///
/// # Errors
/// When the database fails.
pub async fn is_trusted(
    state: &State,
    connection: &mut AnyConnection,
    token: &Secret,
    user_id: Option<UserId>,
) -> Result<bool, Error> {
    let Some(token_hash) = hash(state, token)?.filter(|_| !life(state).is_zero()) else {
        return Ok(false);
    };
    let known = sqlx::query(
        "SELECT 1 FROM trusted_devices
         WHERE token_hash = $1 AND user_id = $2 AND failures < $3 AND expires_at > $4",
    )
    .bind(token_hash.as_slice())
    .bind(or_nobody(user_id))
    .bind(i64::from(state.config.lockout.max_failures))
    .bind(state.clock.now())
    .fetch_optional(connection)
    .await?;
    Ok(known.is_some())
}

/// Where guesses of a second factor are counted that are made on the device that `token` belongs to;
/// `None` where it is none of the user's that is trusted.
///
/// # Errors
/// When the database fails.
pub async fn subject(
    state: &State,
    connection: &mut AnyConnection,
    token: &Secret,
    user_id: UserId,
    factor: &str,
) -> Result<Option<Subject>, Error> {
    if !is_trusted(state, connection, token, Some(user_id)).await? {
        return Ok(None);
    }
    let Some(token_hash) = hash(state, token)? else {
        return Ok(None);
    };
    Ok(Some(Subject::on_device(&state.vault, &token_hash, factor)?))
}

/// [`enter`] within the caller's transaction, which has to be committed before anything is compared.
///
/// # Errors
/// When the database fails.
pub async fn count(
    state: &State,
    connection: &mut AnyConnection,
    token: &Secret,
    user_id: Option<UserId>,
) -> Result<Option<Trusted>, Error> {
    let token_hash = hash(state, token)?.filter(|_| !life(state).is_zero());
    let Some(token_hash) = token_hash else {
        return Ok(None);
    };
    let (now, most) = (
        state.clock.now(),
        i64::from(state.config.lockout.max_failures),
    );
    let user_id = or_nobody(user_id);
    let counted = sqlx::query(
        "UPDATE trusted_devices SET failures = failures + 1
         WHERE token_hash = $1 AND user_id = $2 AND failures < $3 AND expires_at > $4",
    )
    .bind(token_hash.as_slice())
    .bind(user_id)
    .bind(most)
    .bind(now)
    .execute(connection)
    .await?;
    Ok((counted.rows_affected() == 1).then_some(Trusted {
        token_hash,
        user_id,
    }))
}

/// Ends the trust of a device whose tries are used up, after a wrong password or code.
///
/// # Errors
/// When the database fails. The try is counted all the same.
pub async fn failed(state: &State, device: &Trusted) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    let removed =
        sqlx::query("DELETE FROM trusted_devices WHERE token_hash = $1 AND failures >= $2")
            .bind(device.token_hash.as_slice())
            .bind(i64::from(state.config.lockout.max_failures))
            .execute(&mut *tx)
            .await?;
    if removed.rows_affected() == 1 {
        note(state, &mut tx, device.user_id, Actor::System, "failures").await?;
    }
    Ok(tx.commit().await?)
}

/// Takes back the count of a right password or code that could not be used for another reason.
///
/// # Errors
/// When the database fails.
pub async fn take_back(connection: &mut AnyConnection, device: &Trusted) -> Result<(), Error> {
    sqlx::query(
        "UPDATE trusted_devices SET failures = failures - 1
         WHERE token_hash = $1 AND user_id = $2 AND failures > 0",
    )
    .bind(device.token_hash.as_slice())
    .bind(device.user_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Begins the count and time of the device with this token anew after a right password or code; `None`
/// where it is trusted no longer.
///
/// # Errors
/// When the database fails.
pub async fn renew(
    state: &State,
    connection: &mut AnyConnection,
    device: &Trusted,
    token: &Secret,
) -> Result<Option<Known>, Error> {
    let now = state.clock.now();
    let renewed = sqlx::query(
        "UPDATE trusted_devices SET failures = 0, used_at = $3, expires_at = $4
         WHERE token_hash = $1 AND user_id = $2
         RETURNING trusted_at",
    )
    .bind(device.token_hash.as_slice())
    .bind(device.user_id)
    .bind(now)
    .bind(now + life(state))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = renewed else {
        return Ok(None);
    };
    let actor = Actor::User(device.user_id);
    note(state, connection, device.user_id, actor, "used").await?;
    Ok(Some(Known {
        token: token.expose().to_owned(),
        token_hash: device.token_hash,
        trusted_at: row.try_get("trusted_at")?,
    }))
}

/// The device of `user_id` that `token` belongs to, renewed, where they proved on it who they are by
/// something that nobody can guess at; `None` where it is none of theirs that is trusted.
///
/// # Errors
/// When the database fails.
pub async fn recognise(
    state: &State,
    connection: &mut AnyConnection,
    token: Option<Secret>,
    user_id: UserId,
) -> Result<Option<Known>, Error> {
    let Some(token) = token else {
        return Ok(None);
    };
    if !is_trusted(state, connection, &token, Some(user_id)).await? {
        return Ok(None);
    }
    let Some(token_hash) = hash(state, &token)? else {
        return Ok(None);
    };
    let device = Trusted {
        token_hash,
        user_id,
    };
    renew(state, connection, &device, &token).await
}

/// Records what became of a device's trust.
async fn note(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    actor: Actor,
    reason: &str,
) -> Result<(), Error> {
    events::record(state, connection, &event(user_id, actor, reason)).await
}

fn event(user_id: UserId, actor: Actor, reason: &str) -> Event<'_> {
    let event = Event::new(Kind::TrustedDevice, Outcome::Success, actor).about(user_id);
    event.because(reason)
}

/// The token of a device that just logged in, once it was seen whether that is like the logins of
/// before: where it was not, and all that was there has ended for it, the device is trusted anew.
///
/// # Errors
/// When the database fails.
pub async fn trust_still(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    token: Option<String>,
    is_of_before: bool,
) -> Result<Option<String>, Error> {
    // Nothing else ends trust within a login; between its two steps its owner may have.
    if !is_of_before && !state.config.anomaly.reacts_with(Reaction::EndAllSessions) {
        return Ok(token);
    }
    if let Some(text) = token {
        let token = Secret::new(text);
        if is_trusted(state, connection, &token, Some(user_id)).await? {
            return Ok(Some(token.expose().to_owned()));
        }
    }
    let Some((token, event)) = trust(state, connection, user_id).await? else {
        return Ok(None);
    };
    events::record(state, connection, &event).await?;
    Ok(Some(token))
}

/// Trusts a device from now on, within the transaction of its login: its token, with the event that
/// the caller has to record, or nothing where there are to be no trusted devices.
///
/// # Errors
/// When the database fails.
pub async fn trust(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Option<(String, Event<'static>)>, Error> {
    if life(state).is_zero() {
        return Ok(None);
    }
    let now = state.clock.now();
    let token = Secret::new(format!(
        "{PREFIX}{}",
        URL_SAFE_NO_PAD.encode(state.random.bytes::<RANDOM_BYTES>())
    ));
    let token_hash = hash(state, &token)?.ok_or_else(|| Error::internal("device token"))?;
    // Where there are as many as there may be, the one that was used longest ago becomes this one.
    let replaced = sqlx::query(
        "UPDATE trusted_devices
         SET token_hash = $1, failures = 0, trusted_at = $3, used_at = $3, expires_at = $4
         WHERE token_hash = (
             SELECT token_hash FROM trusted_devices WHERE user_id = $2
             ORDER BY used_at DESC, token_hash LIMIT 1 OFFSET $5)",
    )
    .bind(token_hash.as_slice())
    .bind(user_id)
    .bind(now)
    .bind(now + life(state))
    .bind(PER_ACCOUNT - 1)
    .execute(&mut *connection)
    .await?;
    if replaced.rows_affected() == 0 {
        sqlx::query(
            "INSERT INTO trusted_devices
                 (token_hash, user_id, failures, trusted_at, used_at, expires_at)
             VALUES ($1, $2, 0, $3, $3, $4)",
        )
        .bind(token_hash.as_slice())
        .bind(user_id)
        .bind(now)
        .bind(now + life(state))
        .execute(connection)
        .await?;
    }
    let actor = Actor::User(user_id);
    let event = event(user_id, actor, "trusted");
    Ok(Some((token.expose().to_owned(), event)))
}

/// Removes devices whose time is over; until then they are as if absent.
///
/// # Errors
/// When the database fails.
pub async fn remove_expired(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query("DELETE FROM trusted_devices WHERE expires_at <= $1")
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Trusts none of a user's devices any more.
///
/// # Errors
/// When the database fails.
pub async fn forget_all(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    by: Actor,
) -> Result<(), Error> {
    let removed = sqlx::query("DELETE FROM trusted_devices WHERE user_id = $1")
        .bind(user_id)
        .execute(&mut *connection)
        .await?;
    if removed.rows_affected() > 0 {
        note(state, connection, user_id, by, "removed").await?;
    }
    Ok(())
}

/// When each trusted device of a user was used last, in seconds since 1970.
///
/// # Errors
/// When the database fails.
pub(crate) async fn used(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<i64>, Error> {
    let rows =
        sqlx::query("SELECT used_at FROM trusted_devices WHERE user_id = $1 ORDER BY used_at")
            .bind(user_id)
            .fetch_all(connection)
            .await?;
    rows.iter()
        .map(|row| Ok(row.try_get::<Timestamp, _>("used_at")?.unix_seconds()))
        .collect()
}

/// Trusts no device of anybody any more.
///
/// # Errors
/// When the database fails.
pub async fn forget_every(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM trusted_devices")
        .execute(connection)
        .await?;
    Ok(())
}

/// How long a device is trusted without a login; zero where none is to be.
pub fn life(state: &State) -> Duration {
    DAY * state.config.lockout.device_days
}

/// The keyed hash by which a device is found; `None` for what cannot be a token.
fn hash(state: &State, token: &Secret) -> Result<Option<[u8; 32]>, Error> {
    let text = token.expose();
    let well_formed = text
        .strip_prefix(PREFIX)
        .is_some_and(|encoded| encoded.len() == (RANDOM_BYTES * 8).div_ceil(6));
    if !well_formed {
        return Ok(None);
    }
    Ok(Some(
        state
            .vault
            .mac(Purpose::Device, &[b"token", text.as_bytes()])?,
    ))
}
