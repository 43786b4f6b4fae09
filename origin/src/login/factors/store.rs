//! The SQL of second factors. The caller owns the transaction.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::accounts::Kind;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SessionId, UserId};

/// A confirmed authenticator app.
pub(super) struct TotpRow {
    pub(super) secret: Vec<u8>,
    pub(super) added_at: Timestamp,
    pub(super) last_used_at: Option<Timestamp>,
}

pub(super) async fn totp(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Option<TotpRow>, Error> {
    let row =
        sqlx::query("SELECT secret, added_at, last_used_at FROM totp_factors WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional(connection)
            .await?;
    row.map(|row| {
        Ok(TotpRow {
            secret: row.try_get("secret")?,
            added_at: row.try_get("added_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    })
    .transpose()
}

/// Stores a confirmed secret in the place of the one before.
pub(super) async fn put_totp(
    connection: &mut AnyConnection,
    user_id: UserId,
    secret: &[u8],
    step: i64,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO totp_factors (user_id, secret, last_step, added_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE SET
             secret = $2, last_step = $3, added_at = $4, last_used_at = NULL",
    )
    .bind(user_id)
    .bind(secret)
    .bind(step)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Uses a step up, and with it all before: the one statement by which a code is accepted once.
pub(super) async fn use_step(
    connection: &mut AnyConnection,
    user_id: UserId,
    secret: &[u8],
    step: i64,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE totp_factors SET last_step = $3, last_used_at = $4
         WHERE user_id = $1 AND secret = $2 AND last_step < $3",
    )
    .bind(user_id)
    .bind(secret)
    .bind(step)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

pub(super) async fn delete_totp(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM totp_factors WHERE user_id = $1")
        .bind(user_id)
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() == 1)
}

/// A secret that was shown.
pub(super) struct PendingRow {
    pub(super) session_id: SessionId,
    pub(super) secret: Vec<u8>,
    pub(super) expires_at: Timestamp,
}

/// Keeps a secret until it is confirmed, in the place of the one before; forgets those of which
/// nothing came for an hour.
pub(super) async fn put_pending(
    connection: &mut AnyConnection,
    user_id: UserId,
    pending: &PendingRow,
    forget_before: Timestamp,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM totp_pending WHERE expires_at < $1")
        .bind(forget_before)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO totp_pending (user_id, session_id, secret, expires_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE SET session_id = $2, secret = $3, expires_at = $4",
    )
    .bind(user_id)
    .bind(pending.session_id)
    .bind(pending.secret.as_slice())
    .bind(pending.expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn pending(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Option<PendingRow>, Error> {
    let row =
        sqlx::query("SELECT session_id, secret, expires_at FROM totp_pending WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional(connection)
            .await?;
    row.map(|row| {
        Ok(PendingRow {
            session_id: row.try_get("session_id")?,
            secret: row.try_get("secret")?,
            expires_at: row.try_get("expires_at")?,
        })
    })
    .transpose()
}

/// Takes a secret out of waiting; of several that confirm it, one succeeds.
pub(super) async fn take_pending(
    connection: &mut AnyConnection,
    user_id: UserId,
    secret: &[u8],
) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM totp_pending WHERE user_id = $1 AND secret = $2")
        .bind(user_id)
        .bind(secret)
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() == 1)
}

pub(super) async fn delete_every_pending(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM totp_pending")
        .execute(connection)
        .await?;
    Ok(())
}

/// The MACs of the recovery codes that are good, and when they were made.
pub(super) async fn recovery_codes(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<(Vec<u8>, Timestamp)>, Error> {
    sqlx::query(
        "SELECT code_mac, made_at FROM recovery_codes WHERE user_id = $1 AND replaced_at IS NULL",
    )
    .bind(user_id)
    .fetch_all(connection)
    .await?
    .iter()
    .map(|row| Ok((row.try_get("code_mac")?, row.try_get("made_at")?)))
    .collect()
}

/// Replaces every recovery code of an account. Those before are good no more, and are kept until
/// [`forget_replaced`].
pub(super) async fn put_recovery_codes(
    connection: &mut AnyConnection,
    user_id: UserId,
    macs: &[Vec<u8>],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE recovery_codes SET replaced_at = $2 WHERE user_id = $1 AND replaced_at IS NULL",
    )
    .bind(user_id)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    for mac in macs {
        sqlx::query("INSERT INTO recovery_codes (user_id, code_mac, made_at) VALUES ($1, $2, $3)")
            .bind(user_id)
            .bind(mac.as_slice())
            .bind(now)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Uses a recovery code up: the one statement by which it is accepted once.
pub(super) async fn use_recovery_code(
    connection: &mut AnyConnection,
    user_id: UserId,
    mac: &[u8],
) -> Result<bool, Error> {
    let deleted = sqlx::query(
        "DELETE FROM recovery_codes WHERE user_id = $1 AND code_mac = $2 AND replaced_at IS NULL",
    )
    .bind(user_id)
    .bind(mac)
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Removes recovery codes that were replaced before `instant`.
pub(super) async fn forget_replaced(
    connection: &mut AnyConnection,
    instant: Timestamp,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM recovery_codes WHERE replaced_at < $1")
        .bind(instant)
        .execute(connection)
        .await?;
    Ok(())
}

/// Codes by mail or SMS that were chosen as second factor.
#[derive(Clone, Copy)]
pub(super) struct CodeRow {
    pub(super) kind: Kind,
    pub(super) added_at: Timestamp,
    pub(super) last_used_at: Option<Timestamp>,
    pub(super) withheld: bool,
}

pub(super) async fn code_factors(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<CodeRow>, Error> {
    let read = |row: &AnyRow| -> Result<CodeRow, Error> {
        let word: String = row.try_get("kind")?;
        Ok(CodeRow {
            kind: Kind::from_word(&word)
                .ok_or_else(|| Error::internal("unknown identifier kind"))?,
            added_at: row.try_get("added_at")?,
            last_used_at: row.try_get("last_used_at")?,
            withheld: row.try_get::<i64, _>("withheld")? != 0,
        })
    };
    sqlx::query(
        "SELECT kind, added_at, last_used_at, withheld FROM code_factors WHERE user_id = $1",
    )
    .bind(user_id)
    .fetch_all(connection)
    .await?
    .iter()
    .map(read)
    .collect()
}

/// Adds codes of a kind; false when they were chosen already.
pub(super) async fn put_code_factor(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    now: Timestamp,
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO code_factors (user_id, kind, added_at, withheld) VALUES ($1, $2, $3, 0)
         ON CONFLICT (user_id, kind) DO NOTHING",
    )
    .bind(user_id)
    .bind(kind.as_str())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Notes that a code of a kind was used; false when it is not a factor any more.
pub(super) async fn use_code_factor(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE code_factors SET last_used_at = $3
         WHERE user_id = $1 AND kind = $2 AND withheld = 0",
    )
    .bind(user_id)
    .bind(kind.as_str())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

pub(super) async fn delete_code_factor(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM code_factors WHERE user_id = $1 AND kind = $2")
        .bind(user_id)
        .bind(kind.as_str())
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Withholds codes of a kind, or offers those of every kind again.
pub(super) async fn withhold(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Option<Kind>,
) -> Result<(), Error> {
    let query = match kind {
        Some(kind) => {
            sqlx::query("UPDATE code_factors SET withheld = 1 WHERE user_id = $1 AND kind = $2")
                .bind(user_id)
                .bind(kind.as_str())
        }
        None => {
            sqlx::query("UPDATE code_factors SET withheld = 0 WHERE user_id = $1").bind(user_id)
        }
    };
    query.execute(connection).await?;
    Ok(())
}

/// Whether the account has a second factor; recovery codes alone are none.
pub(super) async fn any(connection: &mut AnyConnection, user_id: UserId) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT 1 AS one FROM totp_factors WHERE user_id = $1
         UNION ALL SELECT 1 AS one FROM code_factors WHERE user_id = $1
         UNION ALL SELECT 1 AS one FROM passkeys WHERE user_id = $1",
    )
    .bind(user_id)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Removes what was added at `since` or later, and whatever waits. Recovery codes that were replaced
/// since are good again.
pub(super) async fn delete_since(
    connection: &mut AnyConnection,
    user_id: UserId,
    since: Timestamp,
) -> Result<(), Error> {
    for sql in [
        "DELETE FROM passkeys WHERE user_id = $1 AND added_at >= $2",
        "DELETE FROM totp_factors WHERE user_id = $1 AND added_at >= $2",
        "DELETE FROM code_factors WHERE user_id = $1 AND added_at >= $2",
        "DELETE FROM recovery_codes WHERE user_id = $1 AND made_at >= $2",
        "UPDATE recovery_codes SET replaced_at = NULL WHERE user_id = $1 AND replaced_at >= $2",
    ] {
        sqlx::query(sql)
            .bind(user_id)
            .bind(since)
            .execute(&mut *connection)
            .await?;
    }
    for sql in [
        "DELETE FROM totp_pending WHERE user_id = $1",
        "DELETE FROM passkey_ceremonies WHERE user_id = $1",
    ] {
        sqlx::query(sql)
            .bind(user_id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Removes recovery codes and whatever waits: what is left once the last factor is gone.
pub(super) async fn delete_rest(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<(), Error> {
    for sql in [
        "DELETE FROM recovery_codes WHERE user_id = $1",
        "DELETE FROM totp_pending WHERE user_id = $1",
    ] {
        sqlx::query(sql)
            .bind(user_id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
