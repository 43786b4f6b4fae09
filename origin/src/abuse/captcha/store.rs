//! The SQL of captchas.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::Bound;
use crate::clock::Timestamp;
use crate::config::{CaptchaFor, CaptchaKind};
use crate::error::Error;
use crate::ids::CaptchaId;

/// Answers to one captcha that are compared.
const MAX_TRIES: i64 = 3;

/// How long a provider's token is remembered. None of them calls one good for longer than five
/// minutes (Turnstile; the others two).
const SPENT_FOR: Duration = Duration::from_mins(15);

/// How long a number that was proved from a network needs no captcha there.
const PROVED_FOR: Duration = Duration::from_hours(90 * 24);

/// A captcha that was found by an answer, which is counted.
pub(super) struct Waiting {
    pub(super) bound: Bound,
    pub(super) answer_mac: Vec<u8>,
}

/// Stores a question, and removes what has expired.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    id: CaptchaId,
    bound: &Bound,
    answer_mac: &[u8; 32],
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<(), Error> {
    for statement in [
        "DELETE FROM captcha_challenges WHERE expires_at <= $1",
        "DELETE FROM captcha_passes WHERE expires_at <= $1",
        "DELETE FROM captcha_spent WHERE expires_at <= $1",
        "DELETE FROM captcha_proofs WHERE expires_at <= $1",
    ] {
        sqlx::query(statement)
            .bind(now)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "INSERT INTO captcha_challenges (id, kind, purpose, target, answer_mac, tries, expires_at)
         VALUES ($1, $2, $3, $4, $5, 0, $6)",
    )
    .bind(id)
    .bind(bound.kind.as_str())
    .bind(bound.purpose.as_str())
    .bind(bound.target.as_slice())
    .bind(answer_mac.as_slice())
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts an answer before it is compared; `None` when there is nothing to compare it with.
pub(super) async fn count_try(
    connection: &mut AnyConnection,
    id: CaptchaId,
    now: Timestamp,
) -> Result<Option<Waiting>, Error> {
    let row = sqlx::query(
        "UPDATE captcha_challenges SET tries = tries + 1
         WHERE id = $1 AND tries < $2 AND expires_at > $3
         RETURNING kind, purpose, target, answer_mac",
    )
    .bind(id)
    .bind(MAX_TRIES)
    .bind(now)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Waiting {
        bound: bound(&row)?,
        answer_mac: row.try_get("answer_mac")?,
    }))
}

/// Uses a question up; of several right answers, one gets `true`.
pub(super) async fn consume(connection: &mut AnyConnection, id: CaptchaId) -> Result<bool, Error> {
    let deleted = sqlx::query("DELETE FROM captcha_challenges WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(deleted.rows_affected() == 1)
}

/// Stores what a right answer was exchanged for.
pub(super) async fn insert_pass(
    connection: &mut AnyConnection,
    token_hash: &[u8; 32],
    bound: &Bound,
    expires_at: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO captcha_passes (token_hash, kind, purpose, target, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(token_hash.as_slice())
    .bind(bound.kind.as_str())
    .bind(bound.purpose.as_str())
    .bind(bound.target.as_slice())
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Uses a pass up, whatever it was for; of several requests, one gets what it is bound to.
pub(super) async fn consume_pass(
    connection: &mut AnyConnection,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Bound>, Error> {
    let row = sqlx::query(
        "DELETE FROM captcha_passes WHERE token_hash = $1 AND expires_at > $2
         RETURNING kind, purpose, target",
    )
    .bind(token_hash.as_slice())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(bound).transpose()
}

/// Whether a provider's token was taken before.
pub(super) async fn is_spent(
    connection: &mut AnyConnection,
    token_hash: &[u8; 32],
) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM captcha_spent WHERE token_hash = $1")
        .bind(token_hash.as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Takes a provider's token; of several requests with it, one gets `true`.
pub(super) async fn spend(
    connection: &mut AnyConnection,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO captcha_spent (token_hash, expires_at) VALUES ($1, $2)
         ON CONFLICT (token_hash) DO NOTHING",
    )
    .bind(token_hash.as_slice())
    .bind(now + SPENT_FOR)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Remembers that a number was proved from a network.
pub(super) async fn insert_proof(
    connection: &mut AnyConnection,
    number_and_network: &[u8; 32],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO captcha_proofs (number_and_network, expires_at) VALUES ($1, $2)
         ON CONFLICT (number_and_network) DO UPDATE SET expires_at = $2",
    )
    .bind(number_and_network.as_slice())
    .bind(now + PROVED_FOR)
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a number was proved from a network.
pub(super) async fn is_proved(
    connection: &mut AnyConnection,
    number_and_network: &[u8; 32],
    now: Timestamp,
) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT 1 FROM captcha_proofs WHERE number_and_network = $1 AND expires_at > $2",
    )
    .bind(number_and_network.as_slice())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Voids everything that waits for an answer or for use.
pub(super) async fn delete_waiting(connection: &mut AnyConnection) -> Result<(), Error> {
    for statement in [
        "DELETE FROM captcha_challenges",
        "DELETE FROM captcha_passes",
    ] {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    Ok(())
}

fn bound(row: &sqlx::any::AnyRow) -> Result<Bound, Error> {
    let (kind, purpose): (String, String) = (row.try_get("kind")?, row.try_get("purpose")?);
    let target: Vec<u8> = row.try_get("target")?;
    let kind = [
        CaptchaKind::Image,
        CaptchaKind::Pow,
        CaptchaKind::Code,
        CaptchaKind::Turnstile,
        CaptchaKind::Hcaptcha,
        CaptchaKind::Recaptcha,
    ]
    .into_iter()
    .find(|known| known.as_str() == kind);
    let purpose = CaptchaFor::ALL
        .into_iter()
        .find(|known| known.as_str() == purpose);
    match (kind, purpose, <[u8; 32]>::try_from(target.as_slice())) {
        (Some(kind), Some(purpose), Ok(target)) => Ok(Bound {
            kind,
            purpose,
            target,
        }),
        _ => Err(Error::internal("a stored captcha is not one of ours")),
    }
}
