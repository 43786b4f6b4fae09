//! Tokens on their way out.
//!
//! A handler answers [`Tokens`] and does not write them: they travel in the response's extensions
//! to the layer of [browser mode](crate::browser), which writes the body and decides what of them a
//! script may read. They cannot be serialised, so that no handler writes them by itself.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::User;
use crate::ids::SessionId;

/// What a successful login or refresh answers.
#[derive(Clone, Debug, ToSchema)]
pub struct Tokens {
    /// The access token (RFC 9068).
    pub access_token: String,
    /// The refresh token, `ekr_…`. Left out in browser mode: the cookie holds it.
    #[schema(required = false)]
    pub refresh_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// Seconds until the refresh token expires unless it is used.
    pub refresh_expires_in: u64,
    /// The session: `sid` of its tokens.
    #[schema(value_type = String, format = "uuid")]
    pub session_id: SessionId,
    /// Whose session it is.
    pub user: User,
    /// After a login, `ekd_…`: given back with the next one on this device, it keeps wrong
    /// passwords of strangers from holding that up. It proves nothing. Left out in browser mode: a
    /// cookie holds it.
    pub device_token: Option<String>,
}

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        let mut response = StatusCode::OK.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// [`Tokens`] as they stand in a body.
#[derive(Serialize)]
pub(crate) struct Written<'t> {
    access_token: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'t str>,
    token_type: &'static str,
    expires_in: u64,
    refresh_expires_in: u64,
    session_id: SessionId,
    user: &'t User,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'t str>,
}

impl<'t> Written<'t> {
    /// All of them, for clients that keep them.
    pub(crate) fn whole(tokens: &'t Tokens) -> Self {
        Self {
            refresh_token: Some(&tokens.refresh_token),
            device_token: tokens.device_token.as_deref(),
            ..Self::for_scripts(tokens)
        }
    }

    /// Without what outlives a page.
    pub(crate) fn for_scripts(tokens: &'t Tokens) -> Self {
        Self {
            access_token: &tokens.access_token,
            refresh_token: None,
            token_type: tokens.token_type,
            expires_in: tokens.expires_in,
            refresh_expires_in: tokens.refresh_expires_in,
            session_id: tokens.session_id,
            user: &tokens.user,
            device_token: None,
        }
    }
}
