//! SQL of sessions.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SessionId, UserId};

/// A row of `sessions`.
#[derive(Clone, Debug)]
pub(super) struct SessionRow {
    pub(super) id: SessionId,
    pub(super) user_id: UserId,
    pub(super) client_id: String,
    pub(super) counter: i64,
    pub(super) rotated_at: Timestamp,
    pub(super) epoch: i64,
    pub(super) previous_epoch: i64,
    pub(super) amr: String,
    pub(super) auth_time: Timestamp,
    pub(super) details: Vec<u8>,
    pub(super) created_at: Timestamp,
    pub(super) last_used_at: Timestamp,
    pub(super) idle_expires_at: Timestamp,
    pub(super) absolute_expires_at: Timestamp,
    pub(super) access_expires_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) second_factor_at: Option<Timestamp>,
    pub(super) ended_reason: Option<String>,
}

impl SessionRow {
    /// Whether the session can be used at `now`.
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.idle_expires_at && now < self.absolute_expires_at
    }
}

/// A session that was just ended: whose it is, and when its last access token expires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) id: SessionId,
    pub(super) user_id: UserId,
    pub(super) access_expires_at: Timestamp,
}

/// What [`read`] reads.
macro_rules! columns {
    () => {
        "id, user_id, client_id, counter, rotated_at, epoch, previous_epoch, amr, auth_time, details,
         created_at, last_used_at, idle_expires_at, absolute_expires_at, access_expires_at, ended_at,
         ended_reason, second_factor_at"
    };
}

fn read(row: &AnyRow) -> Result<SessionRow, Error> {
    Ok(SessionRow {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        client_id: row.try_get("client_id")?,
        counter: row.try_get("counter")?,
        rotated_at: row.try_get("rotated_at")?,
        epoch: row.try_get("epoch")?,
        previous_epoch: row.try_get("previous_epoch")?,
        amr: row.try_get("amr")?,
        auth_time: row.try_get("auth_time")?,
        details: row.try_get("details")?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        idle_expires_at: row.try_get("idle_expires_at")?,
        absolute_expires_at: row.try_get("absolute_expires_at")?,
        access_expires_at: row.try_get("access_expires_at")?,
        ended_at: row.try_get("ended_at")?,
        second_factor_at: row.try_get("second_factor_at")?,
        ended_reason: row.try_get("ended_reason")?,
    })
}

pub(super) async fn insert(
    connection: &mut AnyConnection,
    session: &SessionRow,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, client_id, counter, rotated_at, epoch, previous_epoch,
                               amr, auth_time, details, created_at, last_used_at,
                               idle_expires_at, absolute_expires_at, access_expires_at,
                               second_factor_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(session.id)
    .bind(session.user_id)
    .bind(&session.client_id)
    .bind(session.counter)
    .bind(session.rotated_at)
    .bind(session.epoch)
    .bind(session.previous_epoch)
    .bind(&session.amr)
    .bind(session.auth_time)
    .bind(session.details.clone())
    .bind(session.created_at)
    .bind(session.last_used_at)
    .bind(session.idle_expires_at)
    .bind(session.absolute_expires_at)
    .bind(session.access_expires_at)
    .bind(session.second_factor_at.map(Timestamp::micros))
    .execute(connection)
    .await?;
    Ok(())
}

/// What a new session has to know.
pub(super) struct Ground {
    /// The restore epoch.
    pub(super) epoch: i64,
    /// Until which second tokens of the user were revoked, if they were.
    pub(super) not_before: Option<i64>,
    /// The user's sessions that can be used, each with its sealed details.
    pub(super) others: Vec<(SessionId, Vec<u8>)>,
}

/// Reads it in one statement, which has a row of nothing where the user has no session.
pub(super) async fn ground(
    connection: &mut AnyConnection,
    user_id: UserId,
    now: Timestamp,
) -> Result<Ground, Error> {
    let rows = sqlx::query(
        "SELECT counters.value AS epoch,
                (SELECT not_before FROM revocations WHERE kind = 'sub' AND value = $1)
                    AS not_before,
                sessions.id AS id, sessions.details AS details
         FROM counters LEFT JOIN sessions
           ON sessions.user_id = $2 AND sessions.ended_at IS NULL
          AND sessions.idle_expires_at > $3 AND sessions.absolute_expires_at > $3
         WHERE counters.name = 'restore_epoch'",
    )
    .bind(user_id.to_string())
    .bind(user_id)
    .bind(now)
    .fetch_all(connection)
    .await?;
    let first = rows
        .first()
        .ok_or_else(|| Error::internal("the restore epoch is gone"))?;
    let mut ground = Ground {
        epoch: first.try_get("epoch")?,
        not_before: first.try_get("not_before")?,
        others: Vec::with_capacity(rows.len()),
    };
    for row in &rows {
        if let Some(details) = row.try_get("details")? {
            ground.others.push((row.try_get("id")?, details));
        }
    }
    Ok(ground)
}

pub(super) async fn find(
    connection: &mut AnyConnection,
    id: SessionId,
) -> Result<Option<SessionRow>, Error> {
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM sessions WHERE id = $1"
    ))
    .bind(id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

/// A user's sessions that can be used, the latest used first.
pub(super) async fn live_of(
    connection: &mut AnyConnection,
    user_id: UserId,
    now: Timestamp,
) -> Result<Vec<SessionRow>, Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM sessions
         WHERE user_id = $1 AND ended_at IS NULL
           AND idle_expires_at > $2 AND absolute_expires_at > $2
         ORDER BY last_used_at DESC, id"
    ))
    .bind(user_id)
    .bind(now)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// The latest `limit` of a user's sessions that ended or ran out after `since`, the latest first.
pub(super) async fn ended_of(
    connection: &mut AnyConnection,
    user_id: UserId,
    (since, now): (Timestamp, Timestamp),
    limit: i64,
) -> Result<Vec<SessionRow>, Error> {
    let rows = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM sessions
         WHERE user_id = $1
           AND ((ended_at IS NOT NULL AND ended_at > $2)
                OR (ended_at IS NULL AND idle_expires_at > $2 AND idle_expires_at <= $3))
          ORDER BY COALESCE(ended_at, idle_expires_at) DESC, id
          LIMIT $4"
    ))
    .bind(user_id)
    .bind(since)
    .bind(now)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Whether an access token of the session may still be used.
pub(super) async fn is_live(
    connection: &mut AnyConnection,
    id: SessionId,
    user_id: UserId,
    now: Timestamp,
) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT 1 AS live FROM sessions JOIN users ON users.id = sessions.user_id
         WHERE sessions.id = $1 AND sessions.user_id = $2 AND sessions.ended_at IS NULL
           AND sessions.absolute_expires_at > $3 AND users.status = 'active'",
    )
    .bind(id)
    .bind(user_id)
    .bind(now)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Consumes the refresh token with this counter and epoch, if it is the good one of a session
/// that can be used: the one statement by which of many equal requests one rotates.
pub(super) async fn rotate(
    connection: &mut AnyConnection,
    id: SessionId,
    counter: i64,
    epoch: i64,
    now: Timestamp,
    idle_until: Timestamp,
) -> Result<Option<SessionRow>, Error> {
    let row = sqlx::query(concat!(
        "UPDATE sessions SET
             counter = counter + 1,
             rotated_at = $4,
             previous_epoch = epoch,
             epoch = (SELECT value FROM counters WHERE name = 'restore_epoch'),
             last_used_at = $4,
             idle_expires_at = CASE WHEN absolute_expires_at < $5
                 THEN absolute_expires_at ELSE $5 END
         WHERE id = $1 AND counter = $2 AND epoch = $3 AND ended_at IS NULL
           AND idle_expires_at > $4 AND absolute_expires_at > $4
           AND EXISTS (SELECT 1 FROM users
                       WHERE users.id = sessions.user_id AND users.status = 'active')
         RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(counter)
    .bind(epoch)
    .bind(now)
    .bind(idle_until)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Adds a word to what a session's `amr` says, unless it stands there.
pub(super) async fn add_method(
    connection: &mut AnyConnection,
    id: SessionId,
    method: &'static str,
) -> Result<(), Error> {
    // `amr` is an array of words of ours, which need no escaping in JSON.
    sqlx::query(
        "UPDATE sessions SET amr = CASE
             WHEN amr = '[]' THEN '[' || $2 || ']'
             ELSE REPLACE(amr, ']', ',' || $2 || ']') END
         WHERE id = $1 AND amr NOT LIKE '%' || $2 || '%'",
    )
    .bind(id)
    .bind(format!("\"{method}\""))
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes a proof of now in a session that can be used, and rotates its refresh token. One statement,
/// so that proofs that arrive together are all noted.
///
/// In a session of two factors the first alone does not renew `auth_time`: gates read it with `acr`,
/// and would take an old second factor for a new one.
pub(super) async fn step_up(
    connection: &mut AnyConnection,
    id: SessionId,
    is_second_factor: bool,
    now: Timestamp,
    idle_until: Timestamp,
) -> Result<Option<SessionRow>, Error> {
    let row = sqlx::query(concat!(
        "UPDATE sessions SET
             counter = counter + 1,
             rotated_at = $3,
             previous_epoch = epoch,
             epoch = (SELECT value FROM counters WHERE name = 'restore_epoch'),
             last_used_at = $3,
             idle_expires_at = CASE WHEN absolute_expires_at < $4
                 THEN absolute_expires_at ELSE $4 END,
             auth_time = CASE WHEN $2 = 1 OR second_factor_at IS NULL THEN $3 ELSE auth_time END,
             second_factor_at = CASE WHEN $2 = 1 THEN $3 ELSE second_factor_at END
         WHERE id = $1 AND ended_at IS NULL
           AND idle_expires_at > $3 AND absolute_expires_at > $3
           AND EXISTS (SELECT 1 FROM users
                       WHERE users.id = sessions.user_id AND users.status = 'active')
         RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(i64::from(is_second_factor))
    .bind(now)
    .bind(idle_until)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Remembers that the refresh token with this counter was made by a proof within the session.
pub(super) async fn note_step_up(
    connection: &mut AnyConnection,
    id: SessionId,
    counter: i64,
) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET stepped_up_to = $2 WHERE id = $1")
        .bind(id)
        .bind(counter)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the refresh token with this counter was made by a proof within the session.
pub(super) async fn was_stepped_up_to(
    connection: &mut AnyConnection,
    id: SessionId,
    counter: i64,
) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM sessions WHERE id = $1 AND stepped_up_to = $2")
        .bind(id)
        .bind(counter)
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Remembers when the last access token of a session expires.
pub(super) async fn note_access_token(
    connection: &mut AnyConnection,
    id: SessionId,
    expires_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE sessions SET access_expires_at = $2 WHERE id = $1 AND access_expires_at < $2",
    )
    .bind(id)
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn set_details(
    connection: &mut AnyConnection,
    id: SessionId,
    details: Vec<u8>,
) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET details = $2 WHERE id = $1")
        .bind(id)
        .bind(details)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets the second factor of a session, and when its owner proved anything.
pub(super) async fn set_one_factor(
    connection: &mut AnyConnection,
    id: SessionId,
    amr: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE sessions SET amr = $2, second_factor_at = NULL, auth_time = 0 WHERE id = $1",
    )
    .bind(id)
    .bind(amr)
    .execute(connection)
    .await?;
    Ok(())
}

fn ended(rows: &[AnyRow]) -> Result<Vec<Ended>, Error> {
    rows.iter()
        .map(|row| {
            Ok(Ended {
                id: row.try_get("id")?,
                user_id: row.try_get("user_id")?,
                access_expires_at: row.try_get("access_expires_at")?,
            })
        })
        .collect()
}

/// Ends one session that has not ended.
pub(super) async fn end(
    connection: &mut AnyConnection,
    id: SessionId,
    now: Timestamp,
    reason: &str,
) -> Result<Vec<Ended>, Error> {
    let rows = sqlx::query(
        "UPDATE sessions SET ended_at = $2, ended_reason = $3
         WHERE id = $1 AND ended_at IS NULL RETURNING id, user_id, access_expires_at",
    )
    .bind(id)
    .bind(now)
    .bind(reason)
    .fetch_all(connection)
    .await?;
    ended(&rows)
}

/// Ends some of the sessions that can be used and whose refresh token was made before `instant`.
pub(super) async fn end_refreshed_before(
    connection: &mut AnyConnection,
    instant: Timestamp,
    limit: i64,
    now: Timestamp,
    reason: &str,
) -> Result<Vec<Ended>, Error> {
    let rows = sqlx::query(
        "UPDATE sessions SET ended_at = $3, ended_reason = $4
         WHERE ended_at IS NULL AND id IN (
             SELECT id FROM sessions
             WHERE ended_at IS NULL AND rotated_at < $1
               AND idle_expires_at > $3 AND absolute_expires_at > $3
             LIMIT $2)
         RETURNING id, user_id, access_expires_at",
    )
    .bind(instant)
    .bind(limit)
    .bind(now)
    .bind(reason)
    .fetch_all(connection)
    .await?;
    ended(&rows)
}

/// Ends every session of a user that has not ended, but for `except`.
pub(super) async fn end_of_user(
    connection: &mut AnyConnection,
    user_id: UserId,
    except: Option<SessionId>,
    now: Timestamp,
    reason: &str,
) -> Result<Vec<Ended>, Error> {
    let rows = sqlx::query(
        "UPDATE sessions SET ended_at = $3, ended_reason = $4
         WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL
         RETURNING id, user_id, access_expires_at",
    )
    .bind(user_id)
    // No session has an id of zeros: it would not be a version 4 UUID.
    .bind(except.unwrap_or(SessionId::from_bytes([0; 16])))
    .bind(now)
    .bind(reason)
    .fetch_all(connection)
    .await?;
    ended(&rows)
}

/// Ends every session that has not ended; how many there were.
pub(super) async fn end_every(
    connection: &mut AnyConnection,
    now: Timestamp,
    reason: &str,
) -> Result<u64, Error> {
    let done =
        sqlx::query("UPDATE sessions SET ended_at = $1, ended_reason = $2 WHERE ended_at IS NULL")
            .bind(now)
            .bind(reason)
            .execute(connection)
            .await?;
    Ok(done.rows_affected())
}

/// Ends the oldest sessions of a user beyond `keep`, never `newest`.
pub(super) async fn end_beyond(
    connection: &mut AnyConnection,
    user_id: UserId,
    newest: SessionId,
    keep: u32,
    now: Timestamp,
) -> Result<Vec<Ended>, Error> {
    let rows = sqlx::query(
        "UPDATE sessions SET ended_at = $3, ended_reason = 'limit'
         WHERE ended_at IS NULL AND id IN (
             SELECT id FROM sessions
             WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL
               AND idle_expires_at > $3 AND absolute_expires_at > $3
             ORDER BY created_at DESC, id
             LIMIT 1000000 OFFSET $4)
         RETURNING id, user_id, access_expires_at",
    )
    .bind(user_id)
    .bind(newest)
    .bind(now)
    .bind(i64::from(keep.saturating_sub(1)))
    .fetch_all(connection)
    .await?;
    ended(&rows)
}

/// Removes sessions that nobody can ask about any more; how many there were.
pub(super) async fn remove_expired(
    connection: &mut AnyConnection,
    before: Timestamp,
) -> Result<u64, Error> {
    let done = sqlx::query("DELETE FROM sessions WHERE absolute_expires_at <= $1")
        .bind(before)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}
