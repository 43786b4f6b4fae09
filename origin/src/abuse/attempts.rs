//! What counts against an account within a sliding window, as an exact log in the database.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::Subject;
use crate::clock::Timestamp;
use crate::error::Error;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A wrong password.
    Login,
    /// A reset link that was asked for.
    Forgot,
    /// A password that was set by a link.
    Reset,
    /// A copy that somebody took of what is held about them.
    Export,
    /// A user name that somebody tried to have.
    Username,
}

impl Kind {
    /// The word that the database keeps.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Forgot => "forgot",
            Self::Reset => "reset",
            Self::Export => "export",
            Self::Username => "username",
        }
    }
}

/// The longest window of any kind; what is older counts nowhere.
const LONGEST: Duration = Duration::from_hours(1);

/// Adds one event unless there were `limit` within `window` already; whether it was added.
///
/// # Errors
/// When the database fails.
pub(super) async fn add(
    connection: &mut AnyConnection,
    kind: Kind,
    subject: &Subject,
    source: &[u8],
    (limit, window): (u32, Duration),
    now: Timestamp,
) -> Result<bool, Error> {
    sqlx::query("DELETE FROM attempts WHERE made_at <= $1")
        .bind(now - LONGEST)
        .execute(&mut *connection)
        .await?;
    let inserted = sqlx::query(
        "INSERT INTO attempts (kind, subject, source, made_at)
         SELECT $1, $2, $3, $4
         WHERE (SELECT COUNT(*) FROM attempts
                WHERE kind = $1 AND subject = $2 AND made_at > $5) < $6",
    )
    .bind(kind.as_str())
    .bind(subject.bytes())
    .bind(source)
    .bind(now)
    .bind(now - window)
    .bind(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Counts one event, at most `limit` within an hour.
///
/// # Errors
/// [`Error::RateLimited`] with the time until the next is allowed.
pub async fn count(
    connection: &mut AnyConnection,
    kind: Kind,
    subject: &Subject,
    limit: u32,
    now: Timestamp,
) -> Result<(), Error> {
    if add(connection, kind, subject, &[], (limit, LONGEST), now).await? {
        return Ok(());
    }
    // The oldest of the last `limit`: once it is forgotten there is room.
    let row = sqlx::query(
        "SELECT made_at FROM attempts WHERE kind = $1 AND subject = $2
         ORDER BY made_at DESC LIMIT 1 OFFSET $3",
    )
    .bind(kind.as_str())
    .bind(subject.bytes())
    .bind(i64::from(limit) - 1)
    .fetch_optional(connection)
    .await?;
    let made_at = row.map_or(Ok(now), |row| row.try_get("made_at"))?;
    Err(Error::RateLimited((made_at + LONGEST).since(now)))
}

/// Forgets what counts against two subjects, or one named twice; with `source`, only what came
/// from there.
///
/// # Errors
/// When the database fails.
pub(super) async fn forget(
    connection: &mut AnyConnection,
    kind: Kind,
    subjects: [&Subject; 2],
    source: Option<&Subject>,
) -> Result<(), Error> {
    let query = sqlx::query(match source {
        None => "DELETE FROM attempts WHERE kind = $1 AND subject IN ($2, $3)",
        Some(_) => "DELETE FROM attempts WHERE kind = $1 AND subject IN ($2, $3) AND source = $4",
    });
    let query = query
        .bind(kind.as_str())
        .bind(subjects[0].bytes())
        .bind(subjects[1].bytes());
    match source {
        None => query.execute(connection).await?,
        Some(source) => query.bind(source.bytes()).execute(connection).await?,
    };
    Ok(())
}
