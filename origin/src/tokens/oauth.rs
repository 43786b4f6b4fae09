//! Introspection (RFC 7662) and revocation (RFC 7009).
//!
//! Who introspects is a gate, known by the bearer of `gate.introspection_token`. Who revokes is
//! whoever holds the token: the only client is public and has no secret, and holding a token is
//! all that using it takes. Neither asks for less than the token itself, so nothing can be
//! guessed and ended.

use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{FromRequest, FromRequestParts, Request, State as Shared};
use axum::http::StatusCode;
use axum::http::request::Parts;
use edgekeep_shared::time::UnixTime;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::routes::{Facts, TokenFacts};
use super::{bearer, judge, verifier};
use crate::abuse::Limit;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Event, Outcome};
use crate::ids::UserId;
use crate::request::{Caller, Json};
use crate::revocation::{self, Revoked};
use crate::sessions::{self, RefreshToken};
use crate::vault::Secret;

/// The routes at the root.
pub(super) fn root() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(introspect))
        .routes(routes!(revoke))
}

/// The route under `/api/v1/auth`.
pub(super) fn auth() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(revoke_token))
}

/// A form-encoded body; a parameter that is given twice is refused (RFC 6749 §3.2).
struct Parameters<T>(T);

impl<T: DeserializeOwned> FromRequest<State> for Parameters<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        match Form::<T>::from_request(request, state).await {
            Ok(Form(parameters)) => Ok(Self(parameters)),
            Err(FormRejection::BytesRejection(rejection))
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Err(Error::RequestTooLarge)
            }
            Err(_) => Err(Error::invalid(
                "Expected a form with the parameter token, each parameter once.",
            )),
        }
    }
}

/// A gate, known by its bearer; asked for before the form is looked at.
struct Gate;

impl FromRequestParts<State> for Gate {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let expected = state.config.gate.introspection_token.as_ref();
        let given = Secret::new(bearer(&parts.headers)?.to_owned()).digest();
        if expected.is_some_and(|expected| expected.digest().matches(given.as_bytes())) {
            Ok(Self)
        } else {
            Err(Error::CredentialsInvalid)
        }
    }
}

/// The parameters of RFC 7662 §2.1 that are looked at.
#[derive(Debug, Deserialize, ToSchema)]
struct Introspect {
    #[schema(value_type = String)]
    token: Secret,
}

#[utoipa::path(
    post, path = "/oauth/introspect", tag = "tokens", security(("gate" = [])),
    summary = "Introspection (RFC 7662)",
    description = "For gates, by the configured bearer. A refresh token is never active.",
    request_body(content = Introspect, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Active with its claims, or `active: false` alone.", body = Facts),
        (status = 401, description = "`token_missing`, `token_malformed`, `credentials_invalid`"),
    ),
)]
/// `POST /oauth/introspect`: whether an access token would be accepted now.
///
/// 401 without the configured bearer. An inactive token is `{"active": false}` and nothing else;
/// a refresh token is inactive, for a resource must never take one.
async fn introspect(
    Shared(state): Shared<State>,
    _: Gate,
    Parameters(form): Parameters<Introspect>,
) -> Result<Json<Facts>, Error> {
    match judge(&state, form.token.expose().as_bytes()).await {
        Ok(token) => Ok(Json(Facts {
            active: true,
            code: None,
            claims: TokenFacts::new(&token),
        })),
        Err(Error::Rejected(_)) => Ok(Json(Facts {
            active: false,
            code: None,
            claims: TokenFacts::default(),
        })),
        Err(error) => Err(error),
    }
}

/// The parameters of RFC 7009 §2.1 that are looked at.
#[derive(Debug, Deserialize, ToSchema)]
struct Revoke {
    #[schema(value_type = String)]
    token: Secret,
    client_id: Option<String>,
}

#[utoipa::path(
    post, path = "/oauth/revoke", tag = "tokens",
    summary = "Revocation (RFC 7009)",
    description = "An access token, or the session of a refresh token. 200 also for a token that \
                   is unknown, expired or nonsense.",
    request_body(content = Revoke, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "It is not good any more."),
        (status = 401, description = "`credentials_invalid`: another client's"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /oauth/revoke`: revokes an access token, or the session of a refresh token.
///
/// 200 also for a token that is unknown, expired or nonsense (RFC 7009 §2.2): what matters is
/// that it is not good afterwards. `token_type_hint` is not needed and not looked at; a
/// `client_id` that is given must be the first-party client's, else 401.
async fn revoke(
    Shared(state): Shared<State>,
    caller: Caller,
    Parameters(form): Parameters<Revoke>,
) -> Result<StatusCode, Error> {
    state.limiter.by_address(&caller, Limit::ApiByAddress)?;
    if form
        .client_id
        .is_some_and(|id| id != state.config.tokens.client_id)
    {
        return Err(Error::CredentialsInvalid);
    }
    end_token(&state, form.token.expose()).await?;
    Ok(StatusCode::OK)
}

/// A token to revoke.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RevokeToken {
    #[schema(value_type = String)]
    token: Secret,
}

#[utoipa::path(
    post, path = "/revoke-token", tag = "tokens",
    summary = "Revoke a token",
    description = "As `POST /oauth/revoke`, in JSON.",
    request_body = RevokeToken,
    responses(
        (status = 204, description = "It is not good any more."),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /revoke-token`: as `POST /oauth/revoke`, in JSON; 204 whatever the token was.
async fn revoke_token(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<RevokeToken>,
) -> Result<StatusCode, Error> {
    state.limiter.by_address(&caller, Limit::ApiByAddress)?;
    end_token(&state, body.token.expose()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_token(state: &State, text: &str) -> Result<(), Error> {
    if let Some(refresh) = RefreshToken::parse(text, &state.vault) {
        let mut tx = state.db.write().await?;
        sessions::end(state, &mut tx, refresh.session_id, "revoked").await?;
        return Ok(tx.commit().await?);
    }
    let now = state.clock.now();
    let ring = state.keyring.ring();
    let verified =
        verifier(state).verify(text.as_bytes(), ring.set(), UnixTime(now.unix_seconds()));
    let Ok(token) = verified else {
        return Ok(());
    };
    let was_good = match judge(state, text.as_bytes()).await {
        Ok(_) => true,
        Err(Error::Rejected(_)) => false,
        Err(error) => return Err(error),
    };
    let claims = token.claims();
    let mut tx = state.db.write().await?;
    // Every entry makes a list of its own, and where gates read it from a store, one of the writes
    // that this allows in a day: a token that is turned away already can be given back as often as
    // one likes.
    if revocation::is_revoked(&mut tx, &token).await? {
        return Ok(());
    }
    let until = revocation::until(Timestamp::from_unix_seconds(claims.expires_at.0));
    let revoked = Revoked::Token(&claims.token_id);
    revocation::record(&state.signal, &mut tx, revoked, Some(until), now, "revoked").await?;
    // Of a session that has ended there is an event already.
    if let (true, Ok(user_id)) = (was_good, claims.subject.parse::<UserId>()) {
        let mut event = Event::own(events::Kind::Revocation, Outcome::Success, user_id);
        event.session = claims.session_id.as_ref().and_then(|id| id.parse().ok());
        events::record(state, &mut tx, &event.because("revoked")).await?;
    }
    Ok(tx.commit().await?)
}
