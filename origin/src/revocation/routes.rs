//! HTTP of the revocation list.

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::State;
use crate::error::Error;

/// The media type of the signed list.
pub const MEDIA_TYPE: &str = "application/vnd.edgekeep.revocations";

/// The routes at the root.
pub fn root() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list))
}

#[utoipa::path(
    get, path = "/.well-known/revocations", tag = "discovery", operation_id = "revocations",
    summary = "The signed revocation list",
    description = "For gates. The format is in docs/revocation.md.",
    responses(
        (status = 200, description = "The list.", body = Vec<u8>, content_type = "application/vnd.edgekeep.revocations"),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]

/// `GET /.well-known/revocations`: the list as it is now, with a strong entity tag.
///
/// `no-cache`: a cache may keep it but must ask, since a minute-old list lets a revoked token in.
async fn list(Shared(state): Shared<State>, headers: HeaderMap) -> Result<Response, Error> {
    let documents = state.publisher.current_soon().await?;
    Ok(documents
        .revocations
        .respond_to_pages(&headers, MEDIA_TYPE, "no-cache"))
}
