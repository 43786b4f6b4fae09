//! Challenges that wait for their answer, and their SQL.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{AnyConnection, Row as _};

use crate::app::State;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::vault::{Purpose, Secret};

/// How long an answer may take: the time that WebAuthn recommends where the holder is to be
/// verified (§15.1).
pub(super) const TTL: Duration = Duration::from_mins(5);

/// What an answer is for; another's is not accepted.
#[derive(Clone, Copy)]
pub(in crate::login) enum For<'a> {
    /// A login of whoever's passkey it is.
    Login,
    /// The second factor of the login that this token stands for.
    SecondFactor(UserId, &'a Secret),
    /// Proving again who one is, in this session of this account.
    Reauthentication(UserId, SessionId),
    /// A new passkey of this account, asked for in this session.
    Registration(UserId, SessionId),
}

impl For<'_> {
    const fn user_id(self) -> Option<UserId> {
        match self {
            Self::Login => None,
            Self::SecondFactor(user_id, _)
            | Self::Reauthentication(user_id, _)
            | Self::Registration(user_id, _) => Some(user_id),
        }
    }

    fn bound_to(self, state: &State) -> Result<[u8; 32], Error> {
        let parts: [&[u8]; 3] = match &self {
            Self::Login => [b"login", b"", b""],
            Self::SecondFactor(user_id, token) => {
                [b"second", user_id.as_bytes(), token.expose().as_bytes()]
            }
            Self::Reauthentication(user_id, session_id) => [
                b"reauthentication",
                user_id.as_bytes(),
                session_id.as_bytes(),
            ],
            Self::Registration(user_id, session_id) => {
                [b"registration", user_id.as_bytes(), session_id.as_bytes()]
            }
        };
        Ok(state.vault.mac(Purpose::Passkey, &parts)?)
    }
}

/// Keeps the state of a ceremony, and gives the token that stands for it.
pub(super) async fn keep<S: Serialize + Sync>(
    state: &State,
    connection: &mut AnyConnection,
    what: For<'_>,
    kept: &S,
) -> Result<Secret, Error> {
    let now = state.clock.now();
    let random: [u8; 32] = state.random.bytes();
    let token = Secret::new(format!("ekw_{}", URL_SAFE_NO_PAD.encode(random)));
    let token_hash = hash(state, &token)?;
    let json = serde_json::to_vec(kept).map_err(|_| Error::internal("ceremony as JSON"))?;
    let sealed = state.vault.seal(Purpose::Passkey, &token_hash, &json)?;
    sqlx::query("DELETE FROM passkey_ceremonies WHERE expires_at <= $1")
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO passkey_ceremonies (token_hash, user_id, bound_to, state, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(token_hash.as_slice())
    .bind(what.user_id())
    .bind(what.bound_to(state)?.as_slice())
    .bind(sealed)
    .bind(now + TTL)
    .execute(connection)
    .await?;
    Ok(token)
}

/// Uses a ceremony up, committed before its answer is looked at: of many answers one is.
///
/// # Errors
/// [`Error::CodeInvalid`] for one that is unknown, used, over, or for something else.
pub(super) async fn take<S: DeserializeOwned>(
    state: &State,
    what: For<'_>,
    token: &Secret,
) -> Result<S, Error> {
    let token_hash = hash(state, token)?;
    let mut tx = state.db.write().await?;
    let row = sqlx::query(
        "DELETE FROM passkey_ceremonies
         WHERE token_hash = $1 AND bound_to = $2 AND expires_at > $3
         RETURNING state",
    )
    .bind(token_hash.as_slice())
    .bind(what.bound_to(state)?.as_slice())
    .bind(state.clock.now())
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    let row = row.ok_or(Error::CodeInvalid("no such challenge waits"))?;
    let sealed: Vec<u8> = row.try_get("state")?;
    let json = state.vault.open(Purpose::Passkey, &token_hash, &sealed)?;
    serde_json::from_slice(&json).map_err(|_| Error::internal("kept ceremony as JSON"))
}

/// Forgets every challenge.
///
/// # Errors
/// When the database fails.
pub(in crate::login) async fn withdraw_all(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM passkey_ceremonies")
        .execute(connection)
        .await?;
    Ok(())
}

fn hash(state: &State, token: &Secret) -> Result<[u8; 32], Error> {
    let parts = [b"token".as_slice(), token.expose().as_bytes()];
    Ok(state.vault.mac(Purpose::Passkey, &parts)?)
}
