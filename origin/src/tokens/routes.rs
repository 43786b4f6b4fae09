//! HTTP of tokens: the JWK Set, metadata, and what tells a client about a token.

use axum::Router;
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use edgekeep_shared::verifier::VerifiedToken;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Authenticated, Published, judge, oauth};
use crate::app::State;
use crate::error::Error;
use crate::request::Json;
use crate::vault::Secret;

/// The routes under `/api/v1/auth`.
pub fn auth() -> Router<State> {
    Router::new()
        .route("/validate-token", post(validate))
        .route("/token-info", get(info))
        .merge(oauth::auth())
}

/// The routes at the root.
pub fn root() -> Router<State> {
    Router::new()
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .merge(oauth::root())
}

/// `GET /.well-known/jwks.json`: the published keys, with a strong entity tag.
async fn jwks(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    let max_age = state.config.keys.jwks_max_age_seconds;
    let cache_control = format!("public, max-age={max_age}");
    state
        .keyring
        .ring()
        .document()
        .respond(&headers, "application/json", &cache_control)
}

/// `GET /.well-known/openid-configuration` and `/.well-known/oauth-authorization-server`
/// (RFC 8414): what is there, and nothing that is not. There is no authorization endpoint: people
/// log in through the API, so no response type and no grant but the refresh is offered.
async fn metadata(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    let issuer = state.config.issuer();
    let document = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "introspection_endpoint_auth_methods_supported": ["bearer"],
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": [],
        "grant_types_supported": [],
        "subject_types_supported": ["public"],
        "access_token_signing_alg_values_supported": ["ES256", "EdDSA"],
        "edgekeep_revocation_list_uri": format!("{issuer}/.well-known/revocations"),
    });
    Published::new(document.to_string()).respond(
        &headers,
        "application/json",
        "public, max-age=300",
    )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Validate {
    token: Secret,
}

/// What a token says, to whoever holds it.
#[derive(Debug, Serialize)]
struct Facts {
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(flatten)]
    claims: Value,
}

/// The claims as RFC 7662 §2.2 names them; absent ones left out.
pub(super) fn claims(token: &VerifiedToken) -> Value {
    let claims = token.claims();
    let mut facts = json!({
        "iss": claims.issuer,
        "sub": claims.subject,
        "aud": claims.audience,
        "client_id": claims.client_id,
        "exp": claims.expires_at.0,
        "iat": claims.issued_at.0,
        "nbf": claims.not_before.map(|at| at.0),
        "jti": claims.token_id,
        "sid": claims.session_id,
        "scope": claims.scopes.join(" "),
        "roles": claims.roles,
        "permissions": claims.permissions,
        "amr": claims.authentication_methods,
        "acr": claims.authentication_context,
        "auth_time": claims.authenticated_at.map(|at| at.0),
        "kyc_level": claims.kyc_level,
        "kyc_status": claims.kyc_status,
        "device_id": claims.device_id,
        "customer_id": claims.customer_id,
        "token_type": "Bearer",
    });
    if let Some(members) = facts.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    facts
}

/// `POST /validate-token`: whether a token would be accepted now, and if not, the code.
///
/// Nothing is cached: the answer is as of now, with revocation and the state of the session.
async fn validate(
    Shared(state): Shared<State>,
    Json(body): Json<Validate>,
) -> Result<Json<Value>, Error> {
    let facts = match judge(&state, body.token.expose().as_bytes()).await {
        Ok(token) => Facts {
            active: true,
            code: None,
            claims: claims(&token),
        },
        Err(Error::Rejected(rejection)) => Facts {
            active: false,
            code: Some(rejection.code()),
            claims: json!({}),
        },
        Err(error) => return Err(error),
    };
    serde_json::to_value(facts)
        .map(Json)
        .map_err(|error| Error::internal(error.to_string()))
}

/// `GET /token-info`: what the caller's own token says.
async fn info(caller: Authenticated) -> Json<Value> {
    Json(claims(&caller.token))
}
