//! HTTP of the revocation list.

use axum::Router;
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;

use crate::app::State;
use crate::error::Error;

/// The media type of the signed list.
pub const MEDIA_TYPE: &str = "application/vnd.edgekeep.revocations";

/// The routes at the root.
pub fn root() -> Router<State> {
    Router::new().route("/.well-known/revocations", get(list))
}

/// `GET /.well-known/revocations`: the list as it is now, with a strong entity tag.
///
/// `no-cache`: a cache may keep it but must ask, since a minute-old list lets a revoked token in.
async fn list(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Response, Error> {
    let documents = state.publisher.current().await?;
    Ok(documents
        .revocations
        .respond(&headers, MEDIA_TYPE, "no-cache"))
}
