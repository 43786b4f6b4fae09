//! Access tokens: the keys that sign them, what they say, and who may call, as proved by the
//! bearer token of a request.
//!
//! Issuing is here; judging is `edgekeep_shared`'s `Verifier`, here as at the gates. What the
//! verifier cannot know is asked of the database: whether the token, its session, its subject or
//! its key was revoked.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use edgekeep_shared::error::Rejection;
use edgekeep_shared::headers::bearer_token_of;
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::{VerifiedToken, Verifier};
use sqlx::AnyConnection;

mod claims;
pub mod keyring;
mod oauth;
mod published;
mod ring;
pub mod routes;
pub mod signing;
pub(crate) mod store;

pub use claims::{Grant, used_several_factors};
pub use published::Published;

use crate::abuse::Limit;
use crate::accounts::User;
use crate::app::State;
use crate::error::Error;
use crate::ids::{SessionId, TokenId, UserId};
use crate::request::Caller;
use crate::{revocation, sessions};
use claims::AccessClaims;

/// An access token that was just signed.
#[derive(Debug)]
pub struct Issued {
    /// The compact JWS.
    pub access_token: String,
    /// `exp`, in seconds since 1970.
    pub expires_at: i64,
}

/// Signs an access token for `user` with the active key.
///
/// `iat` is now, or one second after the last revocation of the whole subject: a token issued
/// after it must not be caught by it.
///
/// # Errors
/// When no key is active or the database fails.
pub async fn issue(
    state: &State,
    connection: &mut AnyConnection,
    user: &User,
    grant: &Grant<'_>,
) -> Result<Issued, Error> {
    let subject = user.id.to_string();
    let not_before = revocation::subject_not_before(connection, &subject).await?;
    issue_after(state, user, grant, not_before).await
}

/// [`issue`], where it is known until which second tokens of the subject were revoked, if they were.
///
/// # Errors
/// When there is no active key.
pub(crate) async fn issue_after(
    state: &State,
    user: &User,
    grant: &Grant<'_>,
    not_before: Option<i64>,
) -> Result<Issued, Error> {
    let now = state.clock.now().unix_seconds();
    let issued_at = match not_before {
        Some(not_before) => now.max(not_before.saturating_add(1)),
        None => now,
    };
    let issuer = state.config.issuer();
    let token_id = TokenId::generate(&state.random);
    let claims = AccessClaims::new(&state.config, &issuer, user, grant, token_id, issued_at);
    let ring = state.keyring.ring();
    let (kid, key) = ring.active()?;
    Ok(Issued {
        access_token: key.issue_aside("at+jwt", kid, &claims).await?,
        expires_at: claims.expires_at(),
    })
}

/// The shared verifier with this issuer's expectations.
fn verifier(state: &State) -> Verifier {
    let leeway = u32::try_from(state.config.tokens.leeway_seconds).unwrap_or(u32::MAX);
    Verifier::new(state.config.issuer(), &*state.config.tokens.audience).with_leeway(leeway)
}

/// Judges an access token: verifier, then revocation, then its session.
///
/// # Errors
/// [`Error::Rejected`] with the contract's code, or the database fails.
pub async fn judge(state: &State, token: &[u8]) -> Result<VerifiedToken, Error> {
    let now = state.clock.now();
    let verified = verifier(state).verify(
        token,
        state.keyring.ring().set(),
        UnixTime(now.unix_seconds()),
    )?;
    let mut reader = state.db.read().await?;
    let live = !revocation::is_revoked(&mut reader, &verified).await?
        && match verified.claims().session_id.as_deref() {
            None => true,
            Some(session) => match (session.parse(), verified.claims().subject.parse()) {
                (Ok(session), Ok(user)) => {
                    sessions::is_live(&mut reader, session, user, now).await?
                }
                _ => false,
            },
        };
    if live {
        Ok(verified)
    } else {
        Err(Rejection::TokenRevoked.into())
    }
}

/// The caller of a request whose access token was verified and is not revoked.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// `sub`
    pub user_id: UserId,
    /// `sid`
    pub session_id: SessionId,
    /// The token itself.
    pub token: VerifiedToken,
}

impl FromRequestParts<State> for Authenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let bearer = bearer(&parts.headers)?;
        let caller = Caller::of(parts, state);
        // Before anything is verified: whoever floods with garbage is held up, too.
        state.limiter.by_address(&caller, Limit::ApiByAddress)?;
        let token = judge(state, bearer.as_bytes()).await?;
        let claims = token.claims();
        let session = claims
            .session_id
            .as_deref()
            .ok_or(Rejection::ClaimMissing)?;
        let user_id = claims
            .subject
            .parse()
            .map_err(|_| Rejection::ClaimInvalid)?;
        state.limiter.by_user(&caller, Limit::ApiByUser, user_id)?;
        Ok(Self {
            user_id,
            session_id: session.parse().map_err(|_| Rejection::ClaimInvalid)?,
            token,
        })
    }
}

/// The bearer token of the one `Authorization` header (RFC 6750 §2.1), read as the gate reads it.
/// Tokens in a body or a query are not looked for: RFC 9700 §4.3.2 wants them nowhere else.
///
/// # Errors
/// `token_missing` without such a header; `token_malformed` with two, and for a token that has
/// characters of none.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Error> {
    let fields = headers.get_all(header::AUTHORIZATION).iter();
    Ok(bearer_token_of(fields.map(HeaderValue::as_bytes))?)
}
