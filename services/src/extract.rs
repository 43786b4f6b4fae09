//! The verified token as an axum extractor.

use axum_core::body::Body;
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use edgekeep_shared::error::Rejection;
use http::request::Parts;

use crate::layer::Judged;
use crate::refused::Refused;
use crate::verifier::VerifiedToken;

/// The token that a [`VerifyLayer`](crate::VerifyLayer) has verified; 401 where that was optional
/// and there is none, 500 behind no layer.
impl<S: Sync> FromRequestParts<S> for VerifiedToken {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        if let Some(token) = parts.extensions.get::<Self>() {
            return Ok(token.clone());
        }
        if parts.extensions.get::<Judged>().is_some() {
            return Err(Refused::new(Rejection::TokenMissing, None, &parts.headers));
        }
        tracing::error!("a handler asks for a verified token behind no layer that verifies");
        Err(Refused::unguarded(&parts.headers))
    }
}

/// For routes that are open to everybody: the token where one was sent and verified.
impl<S: Sync> OptionalFromRequestParts<S> for VerifiedToken {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Refused> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.into_http::<Body>()
    }
}
