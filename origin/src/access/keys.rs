//! The HTTP of signing keys, for administrators.

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Administrator, FreshAdministrator};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::request::Json;
use crate::tokens::keyring::{KeyState, RotateError};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(rotate))
        .routes(routes!(revoke))
}

/// A signing key; instants are seconds since 1970.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKey)]
struct Key {
    kid: String,
    algorithm: &'static str,
    /// `pending`, `active`, `retiring`, `retired` or `revoked`.
    state: &'static str,
    created_at: i64,
    /// When it began to sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<i64>,
    /// Of a pending key: from when on it may sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    activate_not_before: Option<i64>,
    /// Of a retiring key: until when it is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_until: Option<i64>,
}

/// The signing keys, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = SigningKeys)]
struct Keys {
    keys: Vec<Key>,
}

fn shown(state: &State) -> Json<Keys> {
    let ring = state.keyring.ring();
    let keys = ring.keys().iter().map(|key| Key {
        kid: key.kid.clone(),
        algorithm: key.algorithm,
        state: key.state.name(),
        created_at: key.created_at.unix_seconds(),
        activated_at: key.activated_at.map(Timestamp::unix_seconds),
        activate_not_before: (key.state == KeyState::Pending)
            .then(|| key.activate_not_before.unix_seconds()),
        published_until: key
            .retire_after
            .filter(|_| key.state == KeyState::Retiring)
            .map(Timestamp::unix_seconds),
    });
    Json(Keys {
        keys: keys.collect(),
    })
}

#[utoipa::path(
    get, path = "/keys", tag = "administration", operation_id = "keys",
    summary = "The signing keys",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Oldest first.", body = Keys),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
    ),
)]
/// `GET /keys`
async fn list(
    _administrator: Administrator,
    Shared(state): Shared<State>,
) -> Result<Json<Keys>, Error> {
    state.keyring.refresh().await?;
    Ok(shown(&state))
}

#[utoipa::path(
    post, path = "/keys/rotate", tag = "administration", operation_id = "rotate_keys",
    summary = "Let the standby sign",
    description = "Refused while a verifier may hold a JWK Set without it: `activate_not_before` of \
                   the pending key says until when.",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The keys as they now are.", body = Keys),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 409, description = "`conflict`: the standby is too young"),
    ),
)]
/// `POST /keys/rotate`
async fn rotate(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
) -> Result<Json<Keys>, Error> {
    let actor = administrator.actor();
    state.keyring.rotate(actor).await.map_err(refused)?;
    Ok(shown(&state))
}

#[utoipa::path(
    post, path = "/keys/{kid}/revoke", tag = "administration", operation_id = "revoke_key",
    summary = "Turn a key away with everything it signed",
    description = "For ever. Of the active key: the standby signs at once. Repeating it changes \
                   nothing.",
    params(("kid" = String, Path, description = "The key's `kid`")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Turned away, and on disk."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`: no such key"),
    ),
)]
/// `POST /keys/{kid}/revoke`
async fn revoke(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(kid): Path<String>,
) -> Result<StatusCode, Error> {
    let actor = administrator.actor();
    state.keyring.revoke(&kid, actor).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn refused(error: RotateError) -> Error {
    match error {
        RotateError::TooEarly { .. } => {
            Error::Conflict("A verifier may still hold a JWK Set without the standby key.")
        }
        RotateError::Overtaken => Error::Conflict("Another process changed the keys meanwhile."),
        RotateError::TooManyKeys => {
            Error::Conflict("As many keys are published as a verifier reads.")
        }
        RotateError::Unknown(_) => Error::NotFound,
        RotateError::Failed(error) => error,
    }
}
