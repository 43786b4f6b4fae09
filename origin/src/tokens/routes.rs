//! HTTP of tokens: the JWK Set, metadata, and what tells a client about a token.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use edgekeep_shared::verifier::VerifiedToken;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Authenticated, Published, judge, oauth};
use crate::abuse::Limit;
use crate::app::State;
use crate::error::Error;
use crate::request::{Caller, Json};
use crate::vault::Secret;

/// The routes under `/api/v1/auth`.
pub fn auth() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(validate))
        .routes(routes!(info))
        .merge(oauth::auth())
}

/// The routes at the root.
pub fn root() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(jwks))
        .routes(routes!(openid_configuration))
        .routes(routes!(authorization_server))
        .merge(oauth::root())
}

/// A JWK Set (RFC 7517).
#[derive(ToSchema)]
#[schema(as = JwkSet)]
#[expect(dead_code, reason = "describes a document that is written elsewhere")]
struct JwkSetDocument {
    /// Public keys, each with `kid`, `alg` and `use`.
    keys: Vec<Value>,
}

#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "discovery",
    summary = "The keys that access tokens are verified with",
    description = "With `Cache-Control` and a strong `ETag`.",
    responses(
        (status = 200, description = "The JWK Set.", body = JwkSetDocument),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
/// `GET /.well-known/jwks.json`: the published keys, with a strong entity tag.
async fn jwks(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    let max_age = state.config.keys.jwks_max_age_seconds;
    let cache_control = format!("public, max-age={max_age}");
    state
        .keyring
        .ring()
        .document()
        .respond_to_pages(&headers, "application/json", &cache_control)
}

#[utoipa::path(
    get, path = "/.well-known/openid-configuration", tag = "discovery",
    summary = "Metadata",
    responses(
        (status = 200, description = "RFC 8414.", body = Value, content_type = "application/json"),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
/// `GET /.well-known/openid-configuration`
async fn openid_configuration(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    metadata(&state, &headers)
}

#[utoipa::path(
    get, path = "/.well-known/oauth-authorization-server", tag = "discovery",
    summary = "Metadata",
    responses(
        (status = 200, description = "RFC 8414.", body = Value, content_type = "application/json"),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]
/// `GET /.well-known/oauth-authorization-server`
async fn authorization_server(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    metadata(&state, &headers)
}

/// Metadata (RFC 8414): what is there, and nothing that is not. There is no authorization
/// endpoint: people log in through the API, so no response type and no grant but the refresh is
/// offered.
fn metadata(state: &State, headers: &HeaderMap) -> Response {
    let issuer = state.config.issuer();
    let mut document = json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": [],
        "grant_types_supported": [],
        "subject_types_supported": ["public"],
        "access_token_signing_alg_values_supported": ["ES256", "EdDSA", "RS256"],
        "edgekeep_revocation_list_uri": format!("{issuer}/.well-known/revocations"),
    });
    // Named only where somebody may ask.
    if state.config.gate.introspection_token.is_some() {
        document["introspection_endpoint"] = format!("{issuer}/oauth/introspect").into();
        document["introspection_endpoint_auth_methods_supported"] = json!(["bearer"]);
    }
    Published::new(document.to_string()).respond_to_pages(
        headers,
        "application/json",
        "public, max-age=300",
    )
}

/// A token to judge.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ValidateToken)]
struct Validate {
    #[schema(value_type = String)]
    token: Secret,
}

/// Whether a token is good now, and what it says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TokenState)]
pub(super) struct Facts {
    pub(super) active: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<&'static str>,
    #[serde(flatten)]
    pub(super) claims: TokenFacts,
}

/// The claims as RFC 7662 §2.2 names them; absent ones are left out. Instants are seconds since
/// 1970.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = TokenClaims)]
pub(super) struct TokenFacts {
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kyc_level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kyc_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    /// Always `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
}

impl TokenFacts {
    pub(super) fn new(token: &VerifiedToken) -> Self {
        let claims = token.claims().clone();
        Self {
            scope: Some(claims.scopes.join(" ")),
            iss: Some(claims.issuer),
            sub: Some(claims.subject),
            aud: Some(claims.audience),
            client_id: Some(claims.client_id),
            exp: Some(claims.expires_at.0),
            iat: Some(claims.issued_at.0),
            nbf: claims.not_before.map(|at| at.0),
            jti: Some(claims.token_id),
            sid: claims.session_id,
            roles: Some(claims.roles),
            permissions: Some(claims.permissions),
            amr: Some(claims.authentication_methods),
            acr: claims.authentication_context,
            auth_time: claims.authenticated_at.map(|at| at.0),
            kyc_level: claims.kyc_level,
            kyc_status: claims.kyc_status,
            device_id: claims.device_id,
            customer_id: claims.customer_id,
            token_type: Some("Bearer"),
        }
    }
}

#[utoipa::path(
    post, path = "/validate-token", tag = "tokens", operation_id = "validate_token",
    summary = "Whether a token would be accepted now",
    description = "As of now, with revocation and the state of the session.",
    request_body = Validate,
    responses(
        (status = 200, description = "Active with its claims, or not with a code.", body = Facts),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /validate-token`: whether a token would be accepted now, and if not, the code.
///
/// Nothing is cached: the answer is as of now, with revocation and the state of the session.
async fn validate(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<Validate>,
) -> Result<Json<Facts>, Error> {
    state.limiter.by_address(&caller, Limit::ApiByAddress)?;
    match judge(&state, body.token.expose().as_bytes()).await {
        Ok(token) => Ok(Json(Facts {
            active: true,
            code: None,
            claims: TokenFacts::new(&token),
        })),
        Err(Error::Rejected(rejection)) => Ok(Json(Facts {
            active: false,
            code: Some(rejection.code()),
            claims: TokenFacts::default(),
        })),
        Err(error) => Err(error),
    }
}

#[utoipa::path(
    get, path = "/token-info", tag = "tokens", operation_id = "token_info",
    security(("bearer" = [])),
    summary = "What the caller's own token says",
    responses((status = 200, description = "Its claims.", body = TokenFacts)),
)]
/// `GET /token-info`: what the caller's own token says.
async fn info(caller: Authenticated) -> Json<TokenFacts> {
    Json(TokenFacts::new(&caller.token))
}
