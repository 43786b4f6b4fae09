//! How many messages leave, and to whom.
//!
//! Two bounds. What a caller is told about, because it is the same whoever has the address: how
//! many messages one recipient gets ([`count`]), and at what pace a number does ([`pace`]). They
//! refuse before a new code ends the old one.
//!
//! And what nobody is told about: [`Admission`] judges every message after the answer is given.
//! Whether a country, a sort of number, a budget or the breaker was in the way does not show, so
//! whoever makes money from messages cannot find out by asking what still goes through.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use crate::app::State;
use crate::clock::Timestamp;
use crate::config::Sms;
use crate::error::Error;

mod admission;
mod breaker;
mod number;
mod status;
mod store;

pub use admission::{Admission, Refusal};
pub use breaker::{Scope, reset};
pub use status::{BreakerState, BreakerStatus, Status, status};

/// Words of messages that do the same for whoever asks, to prove an address and log in: codes to
/// register and codes to log in. Those of the one that nobody gave back count for the other, so that
/// strangers cause no more by asking for both.
///
/// They are not all that anybody can have sent to anybody. Codes of captchas, which go before one of
/// these, codes of addresses that are added, for which an account of one's own is enough, and links to
/// a new password, which have a limit of their own, are counted each by itself: what a stranger uses
/// up of one of them must not keep the owner from the others. So a recipient may get the limit of each
/// in an hour, and of codes to add it four times that, for which several accounts may ask; a number
/// besides waits longer after each of any ([`pace`]). Codes that need the owner's own password or session
/// are counted by themselves for the same reason.
const ASKED: [&str; 2] = ["register", "login"];

/// The word of codes to log in on a device that is trusted. Nobody else can cause them, so nothing
/// that strangers do uses them up, and they use up nothing of what others are sent.
pub const TRUSTED: &str = "login-trusted";

/// The word of codes that are a second factor, which go out behind a first factor that was right:
/// likewise.
pub const SECOND_FACTOR: &str = "mfa";

/// The word of such codes on a device that is trusted. Whoever has learned the password can cause those
/// of above, and must not use up what its owner gets there.
pub const TRUSTED_SECOND_FACTOR: &str = "mfa-trusted";

/// The word of codes that prove within a session who one is: likewise.
pub const REAUTHENTICATION: &str = "mfa-session";

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Counts one message to `recipient` (a blind index), at most `limit` in an hour of those with the
/// same word, or with the other of [`ASKED`] and unanswered.
///
/// # Errors
/// [`Error::RateLimited`] with the time until the next is allowed.
pub async fn count(
    connection: &mut AnyConnection,
    purpose: &str,
    recipient: &[u8; 32],
    limit: u32,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM message_sends WHERE sent_at <= $1")
        .bind(now - DAY)
        .execute(&mut *connection)
        .await?;
    let other = match ASKED {
        [one, other] if purpose == one => other,
        [other, one] if purpose == one => other,
        _ => purpose,
    };
    let inserted = sqlx::query(
        "INSERT INTO message_sends (purpose, recipient, sent_at)
         SELECT $1, $2, $3
         WHERE (SELECT COUNT(*) FROM message_sends
                WHERE (purpose = $1 OR (purpose = $6 AND answered = 0))
                  AND recipient = $2 AND sent_at > $5) < $4",
    )
    .bind(purpose)
    .bind(recipient.as_slice())
    .bind(now)
    .bind(i64::from(limit))
    .bind(now - HOUR)
    .bind(other)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(());
    }
    let oldest = sqlx::query(
        "SELECT sent_at FROM message_sends
         WHERE (purpose = $1 OR (purpose = $4 AND answered = 0))
           AND recipient = $2 AND sent_at > $3
         ORDER BY sent_at LIMIT 1",
    )
    .bind(purpose)
    .bind(recipient.as_slice())
    .bind(now - HOUR)
    .bind(other)
    .fetch_optional(&mut *connection)
    .await?;
    let oldest = match oldest {
        Some(row) => row.try_get::<Timestamp, _>("sent_at")?,
        None => now,
    };
    Err(Error::RateLimited((oldest + HOUR).since(now)))
}

/// Refuses a message to a number (a blind index) that had one too lately, or enough of them today, of
/// those that anybody can cause; call it before [`count`], within the same transaction.
///
/// The pause grows with every message that was not answered by a code, and is told: whoever waits
/// for an SMS asks again, and the code that is under way should then still be good.
///
/// # Errors
/// [`Error::RateLimited`] with the time until the next is allowed.
pub async fn pace(
    state: &State,
    connection: &mut AnyConnection,
    recipient: &[u8; 32],
    now: Timestamp,
) -> Result<(), Error> {
    pace_among(state, connection, recipient, "", now).await
}

/// [`pace`] of messages with the word `purpose`, one of [`TRUSTED`], [`SECOND_FACTOR`],
/// [`TRUSTED_SECOND_FACTOR`] and [`REAUTHENTICATION`], by those alone.
///
/// # Errors
/// As [`pace`].
pub async fn pace_own(
    state: &State,
    connection: &mut AnyConnection,
    purpose: &'static str,
    recipient: &[u8; 32],
    now: Timestamp,
) -> Result<(), Error> {
    pace_among(state, connection, recipient, purpose, now).await
}

async fn pace_among(
    state: &State,
    connection: &mut AnyConnection,
    recipient: &[u8; 32],
    own: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let sms = &state.config.sms;
    if !sms.defended(&state.config.notify.sms) {
        return Ok(());
    }
    let rows = sqlx::query(
        "SELECT sent_at, answered FROM message_sends
         WHERE recipient = $1 AND sent_at > $2
           AND CASE WHEN purpose IN ($3, $4, $5, $6) THEN purpose ELSE '' END = $7
         ORDER BY sent_at",
    )
    .bind(recipient.as_slice())
    .bind(now - DAY)
    .bind(TRUSTED)
    .bind(SECOND_FACTOR)
    .bind(TRUSTED_SECOND_FACTOR)
    .bind(REAUTHENTICATION)
    .bind(own)
    .fetch_all(connection)
    .await?;
    let mut sent = Vec::with_capacity(rows.len());
    for row in rows {
        let answered: i64 = row.try_get("answered")?;
        sent.push((row.try_get("sent_at")?, answered != 0));
    }
    match next_at(sms, &sent) {
        Some(at) if at > now => Err(Error::RateLimited(at.since(now))),
        _ => Ok(()),
    }
}

/// When the next message is allowed after those of a day, oldest first, each with whether it was
/// answered.
fn next_at(sms: &Sms, sent: &[(Timestamp, bool)]) -> Option<Timestamp> {
    let unanswered: Vec<Timestamp> = sent
        .iter()
        .filter_map(|&(at, answered)| (!answered).then_some(at))
        .collect();
    let delay = unanswered.len().checked_sub(1).and_then(|index| {
        let delays = &sms.delays_seconds;
        delays.get(index).or(delays.last())
    });
    let by_pace = match (unanswered.last(), delay) {
        (Some(&last), Some(&delay)) => Some(last + Duration::from_secs(delay)),
        _ => None,
    };
    // The one whose going frees a place: with `n` allowed the n-th from the end.
    let allowed = sms.per_number_per_day as usize;
    let by_day = sent
        .len()
        .checked_sub(allowed)
        .and_then(|index| sent.get(index))
        .map(|&(at, _)| at + DAY);
    by_pace.max(by_day)
}

/// Notes that a code of `recipient` (a blind index) came back: its messages were worth sending.
///
/// # Errors
/// When the database fails.
pub async fn answered(
    connection: &mut AnyConnection,
    recipient: &[u8; 32],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("UPDATE message_sends SET answered = 1 WHERE recipient = $1 AND answered = 0")
        .bind(recipient.as_slice())
        .execute(&mut *connection)
        .await?;
    // Of several that somebody asked for in a row only one comes back; all were meant for them.
    sqlx::query(
        "UPDATE sent_messages SET answered_at = $2
         WHERE recipient = $1 AND answered_at IS NULL AND sent_at > $3",
    )
    .bind(recipient.as_slice())
    .bind(now)
    .bind(now - HOUR)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(sent: &[(i64, bool)], now: i64) -> i64 {
        let at = |seconds| Timestamp::from_unix_seconds(seconds);
        let sent: Vec<_> = sent
            .iter()
            .map(|&(s, answered)| (at(s), answered))
            .collect();
        next_at(&Sms::default(), &sent).map_or(0, |next| {
            i64::try_from(next.since(at(now)).as_secs()).unwrap()
        })
    }

    #[test]
    fn the_pause_grows_with_messages_that_nobody_answers() {
        const DAY: i64 = 86_400;
        for (sent, now, expected) in [
            (&[][..], 0, 0),
            (&[(0, false)], 0, 60),
            (&[(0, false)], 59, 1),
            (&[(0, false)], 60, 0),
            (&[(0, false), (60, false)], 60, 120),
            (&[(0, false), (60, false), (180, false)], 180, 300),
            (
                &[(0, false), (60, false), (180, false), (480, false)],
                480,
                900,
            ),
            // An answer begins it anew.
            (&[(0, true), (60, true), (180, true)], 180, 0),
            (&[(0, true), (60, true), (180, false)], 180, 60),
            // Five are a day's, answered or not.
            (
                &[(0, true), (1, true), (2, true), (3, true), (4, true)],
                10,
                DAY - 10,
            ),
            (
                &[(0, true), (1, true), (2, true), (3, true), (4, true)],
                DAY,
                0,
            ),
        ] {
            assert_eq!(wait(sent, now), expected, "{sent:?} at {now}");
        }
    }
}
