//! What workerd's KV binding reads, on a listener of its own.
//!
//! A self-hosted gate's `kvNamespace` is plain HTTP: `GET /<key>?urlencoded=true`, 404 for a key
//! that is not there. This listener is read-only and never public: on loopback, or on a network
//! that only the gate is on, with a bearer that workerd's configuration injects.

use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, body::Body};
use edgekeep_shared::gate::refusal::CHALLENGE;
use tokio::net::TcpListener;

use crate::app::State;
use crate::error::Error;
use crate::listen;
use crate::tokens::{Published, bearer};

/// The router: the four keys, and nothing else.
pub fn app(state: State) -> Router {
    Router::new()
        .route("/{key}", get(read))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED })
        .layer(middleware::from_fn_with_state(state.clone(), authorize))
        .with_state(state)
}

/// Serves on `listener` until it is dropped.
pub async fn serve(listener: TcpListener, state: State) {
    let never = std::future::pending();
    listen::serve(listener, app(state), listen::OPERATORS_CONNECTIONS, never).await;
}

/// Asks for the bearer, where one is configured.
async fn authorize(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    if let Some(expected) = &state.config.server.kv_token {
        let known = bearer(request.headers()).is_ok_and(|token| {
            let given = crate::vault::Secret::new(token.to_owned()).digest();
            given.matches(expected.digest().as_bytes())
        });
        if !known {
            return (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, CHALLENGE)],
            )
                .into_response();
        }
    }
    next.run(request).await
}

/// `GET /<key>`: `revocations`, `revocations-delta`, `jwks` or `policy`, each signed by the control
/// key.
///
/// 404 for any other key; 503 while nothing could be signed.
async fn read(
    Shared(state): Shared<State>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Response {
    let document = match document(&state, &key).await {
        Ok(document) => document,
        Err(error) => {
            tracing::error!(%error, "nothing to serve to the gate");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    if let Some(document) = document {
        return document.respond(&headers, "application/octet-stream", "no-store");
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    response
}

async fn document(state: &State, key: &str) -> Result<Option<Published>, Error> {
    let documents = state.publisher.current_soon().await?;
    let lists = state.publisher.lists().await?;
    Ok(match key {
        "revocations" => Some(lists.list().await?.document),
        "revocations-delta" => lists.latest_delta().await?,
        "jwks" => Some(documents.jwk_set.clone()),
        "policy" => documents.policy.clone(),
        _ => None,
    })
}
