//! Access tokens: who may call, as proved by the bearer token of a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use edgekeep_shared::error::Rejection;

use crate::app::State;
use crate::error::Error;
use crate::ids::{SessionId, UserId};

/// The caller of a request whose access token was verified and is not revoked.
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// `sub`
    pub user_id: UserId,
    /// `sid`
    pub session_id: SessionId,
}

impl FromRequestParts<State> for Authenticated {
    type Rejection = Error;

    async fn from_request_parts(_parts: &mut Parts, _state: &State) -> Result<Self, Error> {
        Err(Rejection::TokenMissing.into())
    }
}
