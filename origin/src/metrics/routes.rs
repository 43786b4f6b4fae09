//! Who may read the numbers: whoever has the token, or reaches the listener that is theirs.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use edgekeep_shared::gate::refusal::CHALLENGE;
use tokio::net::TcpListener;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::State;
use crate::client_address::is_local;
use crate::config::Mode;
use crate::error::Error;
use crate::listen;
use crate::tokens::bearer;
use crate::vault::Secret;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The route on the API's listener.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(metrics))
}

#[utoipa::path(
    get, path = "/metrics", tag = "operation", security(("metrics" = [])),
    summary = "Numbers for Prometheus",
    description = "With the bearer of `server.metrics_token`. In development, without one, for whoever \
                   sits at the machine.",
    responses(
        (status = 200, description = "OpenMetrics text.", body = String,
         content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (status = 401, description = "`token_missing`, `token_malformed`, `credentials_invalid`"),
        (status = 404, description = "`not_found`: no token is configured"),
    ),
)]
/// `GET /metrics`: 404 unless a token is configured, so that it is never public by accident; in
/// development it is at hand on the machine itself.
async fn metrics(
    Shared(state): Shared<State>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let peer = peer.map(|Extension(info)| info.0.ip());
    if let Some(expected) = &state.config.server.metrics_token {
        authorize(expected, &headers)?;
    } else if state.config.mode != Mode::Development || !is_local(peer, &headers) {
        return Err(Error::NotFound);
    }
    Ok(text(&state).await)
}

fn authorize(expected: &Secret, headers: &HeaderMap) -> Result<(), Error> {
    let given = Secret::new(bearer(headers)?.to_owned()).digest();
    if expected.digest().matches(given.as_bytes()) {
        Ok(())
    } else {
        Err(Error::CredentialsInvalid)
    }
}

async fn text(state: &State) -> Response {
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE)];
    (headers, state.metrics.render(state).await).into_response()
}

/// Serves `GET /metrics`, and nothing else, on `listener` until it is dropped. Asks for the token
/// where one is configured.
pub async fn serve(listener: TcpListener, state: State) {
    let never = std::future::pending();
    listen::serve(listener, own(state), listen::OPERATORS_CONNECTIONS, never).await;
}

fn own(state: State) -> Router {
    let read = |Shared(state): Shared<State>, headers: HeaderMap| async move {
        let allowed = match &state.config.server.metrics_token {
            None => Ok(()),
            Some(expected) => authorize(expected, &headers),
        };
        if allowed.is_ok() {
            return text(&state).await;
        }
        let challenge = [(header::WWW_AUTHENTICATE, CHALLENGE)];
        (StatusCode::UNAUTHORIZED, challenge).into_response()
    };
    Router::new().route("/metrics", get(read)).with_state(state)
}
