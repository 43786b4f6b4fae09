//! The SQL of flows and identities. The caller owns the transaction.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{IdentityId, SessionId, UserId};

/// The account and the session that asked for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user_id: UserId,
    pub(super) session_id: SessionId,
}

/// A flow that begins.
pub(super) struct NewFlow<'a> {
    pub(super) state_hash: &'a [u8; 32],
    pub(super) provider: &'a str,
    /// Whose link it is; none for a login.
    pub(super) owner: Option<Owner>,
    pub(super) binding: &'a [u8; 32],
    pub(super) by_token: bool,
    pub(super) kept: &'a [u8],
    pub(super) begun_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

const fn purpose(owner: Option<Owner>) -> &'static str {
    match owner {
        None => "login",
        Some(_) => "link",
    }
}

/// Adds a flow, and removes those whose time is over.
pub(super) async fn begin(connection: &mut AnyConnection, flow: &NewFlow<'_>) -> Result<(), Error> {
    sqlx::query("DELETE FROM social_flows WHERE expires_at <= $1")
        .bind(flow.begun_at)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO social_flows
             (state_hash, provider, purpose, binding, by_token, user_id, session_id, kept,
              begun_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(flow.state_hash.as_slice())
    .bind(flow.provider)
    .bind(purpose(flow.owner))
    .bind(flow.binding.as_slice())
    .bind(i64::from(flow.by_token))
    .bind(flow.owner.map(|owner| owner.user_id.as_bytes().to_vec()))
    .bind(flow.owner.map(|owner| owner.session_id.as_bytes().to_vec()))
    .bind(flow.kept)
    .bind(flow.begun_at)
    .bind(flow.expires_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// A flow whose state has come back.
pub(super) struct Returned {
    pub(super) kept: Vec<u8>,
    pub(super) begun_at: Timestamp,
}

/// Consumes a state: once, at the callback of its own provider, by the browser that holds its
/// cookie (`binding`), or by any where a flow token binds it. It then has until `until`.
pub(super) async fn consume_state(
    connection: &mut AnyConnection,
    state_hash: &[u8; 32],
    provider: &str,
    binding: &[u8; 32],
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Returned>, Error> {
    let row = sqlx::query(
        "UPDATE social_flows SET returned_at = $4, expires_at = $5
         WHERE state_hash = $1 AND provider = $2 AND (by_token = 1 OR binding = $3)
           AND returned_at IS NULL AND expires_at > $4
         RETURNING kept, begun_at",
    )
    .bind(state_hash.as_slice())
    .bind(provider)
    .bind(binding.as_slice())
    .bind(now)
    .bind(until)
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Returned {
            kept: row.try_get("kept")?,
            begun_at: row.try_get("begun_at")?,
        })
    })
    .transpose()
}

/// Whether a state that could not be consumed is one whose time is over.
pub(super) async fn state_expired(
    connection: &mut AnyConnection,
    state_hash: &[u8; 32],
    now: Timestamp,
) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT 1 FROM social_flows
         WHERE state_hash = $1 AND returned_at IS NULL AND expires_at <= $2",
    )
    .bind(state_hash.as_slice())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Puts the code that is exchanged, and what the provider said, to a flow that returned; whether
/// it was still there.
pub(super) async fn finish(
    connection: &mut AnyConnection,
    state_hash: &[u8; 32],
    code_hash: &[u8; 32],
    facts: &[u8],
    expires_at: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query(
        "UPDATE social_flows SET code_hash = $2, facts = $3, expires_at = $4
         WHERE state_hash = $1 AND returned_at IS NOT NULL AND code_hash IS NULL",
    )
    .bind(state_hash.as_slice())
    .bind(code_hash.as_slice())
    .bind(facts)
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Ends a flow that came to nothing.
pub(super) async fn abandon(
    connection: &mut AnyConnection,
    state_hash: &[u8; 32],
) -> Result<(), Error> {
    sqlx::query("DELETE FROM social_flows WHERE state_hash = $1")
        .bind(state_hash.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// A flow whose code was exchanged; it is gone.
pub(super) struct Finished {
    pub(super) state_hash: Vec<u8>,
    pub(super) provider: String,
    pub(super) kept: Vec<u8>,
    pub(super) facts: Vec<u8>,
}

/// Exchanges a code: once, for whoever holds its binding, for what it was begun for. A link's is
/// its owner's, in the session that asked.
pub(super) async fn exchange(
    connection: &mut AnyConnection,
    code_hash: &[u8; 32],
    binding: &[u8; 32],
    owner: Option<Owner>,
    now: Timestamp,
) -> Result<Option<Finished>, Error> {
    let row = match owner {
        None => {
            sqlx::query(
                "DELETE FROM social_flows
                 WHERE code_hash = $1 AND binding = $2 AND expires_at > $3 AND purpose = 'login'
                 RETURNING state_hash, provider, kept, facts",
            )
            .bind(code_hash.as_slice())
            .bind(binding.as_slice())
            .bind(now)
            .fetch_optional(connection)
            .await?
        }
        Some(Owner {
            user_id,
            session_id,
        }) => {
            sqlx::query(
                "DELETE FROM social_flows
                 WHERE code_hash = $1 AND binding = $2 AND expires_at > $3 AND purpose = 'link'
                   AND user_id = $4 AND session_id = $5
                 RETURNING state_hash, provider, kept, facts",
            )
            .bind(code_hash.as_slice())
            .bind(binding.as_slice())
            .bind(now)
            .bind(user_id)
            .bind(session_id)
            .fetch_optional(connection)
            .await?
        }
    };
    row.map(|row| {
        Ok(Finished {
            state_hash: row.try_get("state_hash")?,
            provider: row.try_get("provider")?,
            kept: row.try_get("kept")?,
            facts: row.try_get("facts")?,
        })
    })
    .transpose()
}

/// A link between an account and an identity.
pub(super) struct Identity {
    pub(super) id: IdentityId,
    pub(super) user_id: UserId,
    pub(super) provider: String,
    pub(super) details: Vec<u8>,
    pub(super) created_at: Timestamp,
    pub(super) last_used_at: Timestamp,
}

impl Identity {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            id: row.try_get("id")?,
            user_id: row.try_get("user_id")?,
            provider: row.try_get("provider")?,
            details: row.try_get("details")?,
            created_at: row.try_get("created_at")?,
            last_used_at: row.try_get("last_used_at")?,
        })
    }
}

/// Whose identity it is, noting that it was used.
pub(super) async fn use_identity(
    connection: &mut AnyConnection,
    blind: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Identity>, Error> {
    let row = sqlx::query(
        "UPDATE social_identities SET last_used_at = $2 WHERE blind = $1
         RETURNING id, user_id, provider, details, created_at, last_used_at",
    )
    .bind(blind.as_slice())
    .bind(now)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(Identity::read).transpose()
}

/// Adds a link; false when the identity has an account already.
pub(super) async fn insert_identity(
    connection: &mut AnyConnection,
    identity: &Identity,
    blind: &[u8; 32],
) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO social_identities
             (id, user_id, provider, blind, details, created_at, last_used_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (blind) DO NOTHING",
    )
    .bind(identity.id)
    .bind(identity.user_id)
    .bind(&identity.provider)
    .bind(blind.as_slice())
    .bind(&identity.details)
    .bind(identity.created_at)
    .bind(identity.last_used_at)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The links of an account, oldest first.
pub(super) async fn identities(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<Identity>, Error> {
    sqlx::query(
        "SELECT id, user_id, provider, details, created_at, last_used_at
         FROM social_identities WHERE user_id = $1 ORDER BY created_at, id",
    )
    .bind(user_id)
    .fetch_all(connection)
    .await?
    .iter()
    .map(Identity::read)
    .collect()
}

/// Removes a link, unless nothing else would let its owner in: a password with something to type
/// beside it, an address that codes can go to, a passkey, or another link. Its provider, if it was removed.
pub(super) async fn remove_identity(
    connection: &mut AnyConnection,
    user_id: UserId,
    id: IdentityId,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    // The row's lock: of two that remove the last two links, the second sees what the first did.
    sqlx::query("UPDATE users SET updated_at = $2 WHERE id = $1")
        .bind(user_id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query(
        "DELETE FROM social_identities
         WHERE id = $1 AND user_id = $2 AND (
             EXISTS (SELECT 1 FROM social_identities AS others
                     WHERE others.user_id = $2 AND others.id <> $1)
             OR EXISTS (SELECT 1 FROM passkeys WHERE passkeys.user_id = $2)
             OR EXISTS (SELECT 1 FROM identifiers
                        WHERE identifiers.user_id = $2 AND identifiers.kind <> 'username'
                          AND identifiers.verified_at IS NOT NULL)
             OR (EXISTS (SELECT 1 FROM passwords WHERE passwords.user_id = $2)
                 AND EXISTS (SELECT 1 FROM identifiers WHERE identifiers.user_id = $2)))
         RETURNING provider",
    )
    .bind(id)
    .bind(user_id)
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.try_get("provider")).transpose()?)
}

/// Removes every link of an account, and those that are under way.
pub(super) async fn withdraw(connection: &mut AnyConnection, user_id: UserId) -> Result<(), Error> {
    sqlx::query("DELETE FROM social_identities WHERE user_id = $1")
        .bind(user_id)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM social_flows WHERE user_id = $1")
        .bind(user_id)
        .execute(connection)
        .await?;
    Ok(())
}
