//! How many messages one recipient can be made to receive.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;

const HOUR: Duration = Duration::from_hours(1);

/// Counts one message to `recipient` (a blind index), at most `limit` in an hour.
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
        .bind(now - HOUR)
        .execute(&mut *connection)
        .await?;
    let inserted = sqlx::query(
        "INSERT INTO message_sends (purpose, recipient, sent_at)
         SELECT $1, $2, $3
         WHERE (SELECT COUNT(*) FROM message_sends WHERE purpose = $1 AND recipient = $2) < $4",
    )
    .bind(purpose)
    .bind(recipient.as_slice())
    .bind(now)
    .bind(i64::from(limit))
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(());
    }
    let oldest = sqlx::query(
        "SELECT sent_at FROM message_sends WHERE purpose = $1 AND recipient = $2
         ORDER BY sent_at LIMIT 1",
    )
    .bind(purpose)
    .bind(recipient.as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    let oldest = match oldest {
        Some(row) => row.try_get::<Timestamp, _>("sent_at")?,
        None => now,
    };
    Err(Error::RateLimited((oldest + HOUR).since(now)))
}
