//! How many codes may be guessed for one account, whatever the number of codes.
//!
//! Three tries a code and three codes an hour would be 78,840 guesses a year. The bound by day
//! catches a burst, the one by month holds a year's guesses down: whoever has used up a month's
//! share waits until it is 30 days old, so a year has room for 13 shares. Each factor of an account
//! is a subject of its own, so that guessing one turns no other off.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::Subject;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::random::Random;

const DAY: Duration = Duration::from_hours(24);
const MONTH: Duration = Duration::from_hours(30 * 24);

/// A guess that was counted as wrong before it was compared.
#[derive(Clone, Copy, Debug)]
pub struct Counted([u8; 16]);

/// Wrong guesses after which codes are off.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In 24 hours.
    pub per_day: u32,
    /// In 30 days.
    pub per_month: u32,
}

/// Whether a guess may be compared.
#[derive(Clone, Copy, Debug)]
pub enum Admission {
    /// It may, and counts as wrong until it is taken back.
    Counted(Counted),
    /// Codes are off.
    Off,
    /// Codes are off from this guess on: somebody should be told.
    TurnedOff,
}

impl Admission {
    /// The count, where there is one.
    pub const fn counted(self) -> Option<Counted> {
        match self {
            Self::Counted(counted) => Some(counted),
            Self::Off | Self::TurnedOff => None,
        }
    }
}

/// Counts a guess before it is compared, unless codes are off for the subject.
///
/// With `lasting` they stay off until another proof. Without an account nobody could give one:
/// an address that is not registered is only held up until its failures are a day old, or anyone
/// could bar its owner for ever.
///
/// # Errors
/// When the database fails.
pub async fn count(
    connection: &mut AnyConnection,
    bounds: Bounds,
    random: &Random,
    subject: &Subject,
    lasting: bool,
    now: Timestamp,
) -> Result<Admission, Error> {
    sqlx::query("DELETE FROM code_failures WHERE failed_at <= $1")
        .bind(now - MONTH)
        .execute(&mut *connection)
        .await?;
    // Written though nothing changes: where several write at a time (PostgreSQL) the row's lock has
    // the guesses of one subject counted one after the other.
    let row = sqlx::query(
        "INSERT INTO code_suspensions (subject, suspended, lifted_at) VALUES ($1, 0, 0)
         ON CONFLICT (subject) DO UPDATE SET suspended = code_suspensions.suspended
         RETURNING suspended, lifted_at",
    )
    .bind(subject.bytes())
    .fetch_one(&mut *connection)
    .await?;
    if row.try_get::<i64, _>("suspended")? != 0 {
        return Ok(Admission::Off);
    }
    let lifted_at: Timestamp = row.try_get("lifted_at")?;
    let row = sqlx::query(
        "SELECT COUNT(*) AS month,
                COALESCE(SUM(CASE WHEN failed_at > $2 THEN 1 ELSE 0 END), 0) AS day
         FROM code_failures WHERE subject = $1",
    )
    .bind(subject.bytes())
    .bind(lifted_at.max(now - DAY))
    .fetch_one(&mut *connection)
    .await?;
    let (month, day): (i64, i64) = (row.try_get("month")?, row.try_get("day")?);
    if day >= i64::from(bounds.per_day) || month >= i64::from(bounds.per_month) {
        if !lasting {
            return Ok(Admission::Off);
        }
        sqlx::query("UPDATE code_suspensions SET suspended = 1 WHERE subject = $1")
            .bind(subject.bytes())
            .execute(&mut *connection)
            .await?;
        return Ok(Admission::TurnedOff);
    }
    let id: [u8; 16] = random.bytes();
    sqlx::query("INSERT INTO code_failures (id, subject, failed_at) VALUES ($1, $2, $3)")
        .bind(id.as_slice())
        .bind(subject.bytes())
        .bind(now)
        .execute(&mut *connection)
        .await?;
    Ok(Admission::Counted(Counted(id)))
}

/// [`count`] of a second factor: at the `device` where that is trusted and has guesses left, for which
/// nobody else is held up, else at the `account`, where codes then stay off until another proof. Whether
/// it was at the device.
///
/// # Errors
/// When the database fails.
pub async fn count_second(
    connection: &mut AnyConnection,
    bounds: Bounds,
    random: &Random,
    (device, account): (Option<&Subject>, &Subject),
    now: Timestamp,
) -> Result<(Admission, bool), Error> {
    if let Some(device) = device {
        let admission = count(connection, bounds, random, device, false, now).await?;
        if let Admission::Counted(_) = admission {
            return Ok((admission, true));
        }
    }
    let admission = count(connection, bounds, random, account, true, now).await?;
    Ok((admission, false))
}

/// Takes the count of a right guess back.
///
/// # Errors
/// When the database fails.
pub async fn take_back(connection: &mut AnyConnection, counted: Counted) -> Result<(), Error> {
    sqlx::query("DELETE FROM code_failures WHERE id = $1")
        .bind(counted.0.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether codes are off for the account.
///
/// # Errors
/// When the database fails.
pub async fn suspended(connection: &mut AnyConnection, subject: &Subject) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM code_suspensions WHERE subject = $1 AND suspended = 1")
        .bind(subject.bytes())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Allows codes again after another proof; the month's count goes on.
///
/// # Errors
/// When the database fails.
pub async fn lift(
    connection: &mut AnyConnection,
    subject: &Subject,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE code_suspensions SET suspended = 0, lifted_at = $2
         WHERE subject = $1 AND suspended = 1",
    )
    .bind(subject.bytes())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes suspensions that were lifted a day ago: they change no count any more.
///
/// # Errors
/// When the database fails.
pub async fn remove_lifted(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query("DELETE FROM code_suspensions WHERE suspended = 0 AND lifted_at <= $1")
        .bind(now - DAY)
        .execute(connection)
        .await?;
    Ok(())
}
