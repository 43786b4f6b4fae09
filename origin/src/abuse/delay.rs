//! The delay that grows with wrong codes of a second factor, as it does with wrong passwords.
//!
//! It is kept in the same table as theirs, and `[lockout]` says how long it is and whom it is for
//! ([`lockout`](super::lockout)): after the second failure in a row the next guess must stay away for a
//! second, then for five, then for thirty. There is no lock, for codes that were guessed too often
//! are off for the account ([`guesses`](super::guesses)).
//!
//! Each factor of an account is a subject of its own: what is guessed of one holds up no other.
//! Only whoever proved the first factor, or is logged in, comes to guess a second one, so that
//! strangers who know a name can hold nobody up; a device that is trusted is not held up by whoever
//! knows the password, either, and does not add to the count. Codes that are a login's *first* factor
//! have no such delay: anybody could renew it for their owner.
//!
//! A guess is counted as wrong by the statement that admits it, committed before anything is
//! compared. So of many that arrive together no more are compared than one after the other, whatever
//! process they reach; a right one takes the count back when it is used. Recovery codes alone are
//! compared first, since nobody finds one by trying: a wrong one is counted and has to wait, and the
//! right one never does, whoever failed before.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::{Network, Subject, lockout};
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::{DelayFor, LOGIN_WINDOW};
use crate::error::Error;
use crate::ids::UserId;
use crate::request::Caller;

/// A factor that somebody guesses, and where from.
#[derive(Clone, Copy)]
pub struct Guessed {
    factor: Subject,
    source: Subject,
}

impl Guessed {
    /// A guess by `caller` of what `factor` is called of the user.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn new(
        state: &State,
        caller: &Caller,
        user_id: UserId,
        factor: &str,
    ) -> Result<Self, Error> {
        Ok(Self {
            factor: Subject::factor(&state.vault, user_id, factor)?,
            source: Subject::source(&state.vault, Network::counted(state, caller))?,
        })
    }
}

/// Counts a guess as wrong unless it comes too soon, within the caller's transaction, which has to be
/// committed before anything is compared.
///
/// # Errors
/// [`Error::RateLimited`] for a guess that must not be compared; nothing was counted then. When
/// the database fails.
pub async fn count(
    state: &State,
    connection: &mut AnyConnection,
    guessed: &Guessed,
) -> Result<(), Error> {
    let settings = &state.config.lockout;
    if settings.delay_seconds.is_empty() {
        return Ok(());
    }
    let now = state.clock.now();
    lockout::forget(connection, now).await?;
    let for_everybody = settings.delay_for == DelayFor::Everybody;
    // Failures are in a row until the last, and the wait for it, is a while ago.
    let row = sqlx::query(
        "INSERT INTO lockouts (subject, failures, told, locked_until, updated_at, source)
         VALUES ($1, 1, 0, 0, $2, $3)
         ON CONFLICT (subject) DO UPDATE SET
           failures = CASE
             WHEN lockouts.updated_at <= $4 AND lockouts.delayed_until <= $4 THEN 1
             ELSE lockouts.failures + 1 END,
           updated_at = $2,
           source = $3
         WHERE lockouts.delayed_until <= $2 OR ($5 = 0 AND lockouts.source = $3)
         RETURNING failures",
    )
    .bind(guessed.factor.bytes())
    .bind(now)
    .bind(guessed.source.bytes())
    .bind(now - LOGIN_WINDOW)
    .bind(i64::from(for_everybody))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        let standing = standing(connection, &guessed.factor, now).await?;
        return Err(Error::RateLimited(standing.wait));
    };
    let failures: i64 = row.try_get("failures")?;
    let delay = settings.delay(u32::try_from(failures).unwrap_or(u32::MAX));
    sqlx::query("UPDATE lockouts SET delayed_until = $2 WHERE subject = $1")
        .bind(guessed.factor.bytes())
        .bind(now + delay)
        .execute(connection)
        .await?;
    Ok(())
}

/// How things stand with one factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Failures in a row.
    pub failures: u32,
    /// How long the next guess must stay away, where it is one that has to.
    pub wait: Duration,
}

/// How things stand with the factor `subject` now.
///
/// # Errors
/// When the database fails.
pub async fn standing(
    connection: &mut AnyConnection,
    subject: &Subject,
    now: Timestamp,
) -> Result<Standing, Error> {
    let row = sqlx::query(
        "SELECT failures, delayed_until FROM lockouts
         WHERE subject = $1 AND (updated_at > $2 OR delayed_until > $2)",
    )
    .bind(subject.bytes())
    .bind(now - LOGIN_WINDOW)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(Standing::default());
    };
    let failures: i64 = row.try_get("failures")?;
    let delayed_until: Timestamp = row.try_get("delayed_until")?;
    Ok(Standing {
        failures: u32::try_from(failures).unwrap_or(u32::MAX),
        wait: delayed_until.since(now),
    })
}

/// Forgets the failures of these factors of one account, within the transaction in which its owner
/// proves one of them.
///
/// # Errors
/// When the database or the vault fails.
pub async fn clear(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    factors: [&str; 4],
) -> Result<(), Error> {
    let mut query = sqlx::query(
        "UPDATE lockouts SET failures = 0, delayed_until = 0
         WHERE subject IN ($1, $2, $3, $4)",
    );
    for factor in factors {
        let subject = Subject::factor(&state.vault, user_id, factor)?;
        query = query.bind(subject.bytes().to_vec());
    }
    query.execute(connection).await?;
    Ok(())
}
