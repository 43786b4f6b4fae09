//! SQL of verification.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SubmissionId, UserId};

pub(super) struct SubmissionRow {
    pub(super) id: SubmissionId,
    pub(super) user_id: UserId,
    pub(super) level: i64,
    pub(super) state: String,
    /// Sealed.
    pub(super) details: Vec<u8>,
    pub(super) submitted_at: Timestamp,
    pub(super) decided_at: Option<Timestamp>,
}

fn read(row: &AnyRow) -> Result<SubmissionRow, Error> {
    Ok(SubmissionRow {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        level: row.try_get("level")?,
        state: row.try_get("state")?,
        details: row.try_get("details")?,
        submitted_at: row.try_get("submitted_at")?,
        decided_at: row.try_get("decided_at")?,
    })
}

/// Adds a submission that waits; false when one of the same account does.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    row: &SubmissionRow,
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO kyc_submissions (id, user_id, level, state, details, submitted_at)
         VALUES ($1, $2, $3, 'pending', $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(row.id)
    .bind(row.user_id)
    .bind(row.level)
    .bind(row.details.clone())
    .bind(row.submitted_at)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(super) async fn of_user(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<SubmissionRow>, Error> {
    let rows = sqlx::query(
        "SELECT id, user_id, level, state, details, submitted_at, decided_at
         FROM kyc_submissions WHERE user_id = $1 ORDER BY submitted_at DESC, id",
    )
    .bind(user_id)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn pending(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Option<SubmissionRow>, Error> {
    let row = sqlx::query(
        "SELECT id, user_id, level, state, details, submitted_at, decided_at
         FROM kyc_submissions WHERE user_id = $1 AND state = 'pending'",
    )
    .bind(user_id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Those that wait, the oldest first; `after` is the last one that was seen, whether or not it
/// still waits.
pub(super) async fn waiting(
    connection: &mut AnyConnection,
    after: Option<SubmissionId>,
    limit: i64,
) -> Result<Vec<SubmissionRow>, Error> {
    let seen = match after {
        None => None,
        Some(id) => sqlx::query("SELECT submitted_at FROM kyc_submissions WHERE id = $1")
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?
            .map(|row| row.try_get::<Timestamp, _>("submitted_at"))
            .transpose()?,
    };
    let rows = sqlx::query(
        "SELECT id, user_id, level, state, details, submitted_at, decided_at
         FROM kyc_submissions
         WHERE state = 'pending' AND (submitted_at > $1 OR (submitted_at = $1 AND id > $2))
         ORDER BY submitted_at, id LIMIT $3",
    )
    .bind(seen.unwrap_or(Timestamp::from_micros(i64::MIN)))
    .bind(after.unwrap_or(SubmissionId::from_bytes([0; 16])))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Decides on a submission that waits; none when somebody did meanwhile.
pub(super) async fn decide(
    connection: &mut AnyConnection,
    id: SubmissionId,
    outcome: &str,
    level: i64,
    details: Vec<u8>,
    reviewer: Option<UserId>,
    now: Timestamp,
) -> Result<Option<SubmissionRow>, Error> {
    let row = sqlx::query(
        "UPDATE kyc_submissions
         SET state = $2, level = $3, details = $4, decided_by = $5, decided_at = $6
         WHERE id = $1 AND state = 'pending'
         RETURNING id, user_id, level, state, details, submitted_at, decided_at",
    )
    .bind(id)
    .bind(outcome)
    .bind(level)
    .bind(details)
    .bind(reviewer.map(|id| id.as_bytes().to_vec()))
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Takes an approval back.
pub(super) async fn take_back(
    connection: &mut AnyConnection,
    id: SubmissionId,
    details: Vec<u8>,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE kyc_submissions SET state = 'withdrawn', details = $2, decided_at = $3
         WHERE id = $1 AND state = 'approved'",
    )
    .bind(id)
    .bind(details)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says that somebody without a verification waits for one.
pub(super) async fn set_status(
    connection: &mut AnyConnection,
    user_id: UserId,
    status: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE users SET kyc_status = $2, kyc_level = 0, kyc_expires_at = NULL, updated_at = $3
         WHERE id = $1",
    )
    .bind(user_id)
    .bind(status)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn set_standing(
    connection: &mut AnyConnection,
    user_id: UserId,
    level: i64,
    status: &str,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE users SET kyc_level = $2, kyc_status = $3, kyc_expires_at = $4, updated_at = $5
         WHERE id = $1",
    )
    .bind(user_id)
    .bind(level)
    .bind(status)
    .bind(expires_at.map(Timestamp::micros))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends verifications whose time is over: whose, and of which level they were.
pub(super) async fn expire(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<Vec<(UserId, i64)>, Error> {
    let rows = sqlx::query(
        "SELECT id, kyc_level FROM users
         WHERE kyc_expires_at <= $1 AND kyc_status = 'verified' ORDER BY id",
    )
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    let mut over = Vec::with_capacity(rows.len());
    for row in rows {
        let id: UserId = row.try_get("id")?;
        let updated = sqlx::query(
            "UPDATE users SET kyc_level = 0, kyc_status = 'expired', updated_at = $2
             WHERE id = $1 AND kyc_expires_at <= $2 AND kyc_status = 'verified'",
        )
        .bind(id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
        if updated.rows_affected() == 1 {
            over.push((id, row.try_get("kyc_level")?));
        }
    }
    Ok(over)
}
