//! HTTP of sessions, under `/api/v1/auth`.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde::{Deserialize, Serialize};

use super::store::{self, SessionRow};
use super::{Details, Ending, Tokens, end, end_of_user, end_own};
use crate::app::State;
use crate::error::Error;
use crate::ids::SessionId;
use crate::request::{Json, OptionalJson};
use crate::tokens::Authenticated;
use crate::vault::Secret;

/// The routes.
pub fn auth() -> Router<State> {
    Router::new()
        .route("/refresh", post(refresh))
        .route("/logout", post(logout))
        .route("/session", get(current))
        .route("/sessions", get(list))
        .route("/sessions/{id}", delete(end_by_id))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: Secret,
}

/// `POST /refresh`: the successor of a refresh token, and a new access token.
///
/// 401 `refresh_invalid`, `refresh_reused`, `session_ended`.
async fn refresh(
    Shared(state): Shared<State>,
    Json(body): Json<Refresh>,
) -> Result<Json<Tokens>, Error> {
    super::refresh(&state, body.refresh_token.expose())
        .await
        .map(Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logout {
    #[serde(default)]
    all: bool,
}

/// `POST /logout`: ends the caller's session, or all of theirs. The body may be left out.
///
/// 204 once session and revocation are on disk.
async fn logout(
    caller: Authenticated,
    Shared(state): Shared<State>,
    OptionalJson(Logout { all }): OptionalJson<Logout>,
) -> Result<StatusCode, Error> {
    let mut tx = state.db.write().await?;
    if all {
        end_of_user(&state, &mut tx, caller.user_id, Ending::All, "logout").await?;
    } else {
        end(&state, &mut tx, caller.session_id, "logout").await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A session as its owner sees it; instants are seconds since 1970.
#[derive(Debug, Serialize)]
struct View {
    id: SessionId,
    current: bool,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    amr: Vec<String>,
    authenticated_at: i64,
    created_at: i64,
    last_used_at: i64,
    expires_at: i64,
    absolute_expires_at: i64,
}

impl View {
    fn new(state: &State, session: &SessionRow, current: SessionId) -> Result<Self, Error> {
        let details = Details::open(state, session)?;
        Ok(Self {
            id: session.id,
            current: session.id == current,
            client_id: session.client_id.clone(),
            device_id: details.device_id,
            address: details.address,
            user_agent: details.user_agent,
            amr: serde_json::from_str(&session.amr)
                .map_err(|_| Error::internal("amr of a session"))?,
            authenticated_at: session.auth_time.unix_seconds(),
            created_at: session.created_at.unix_seconds(),
            last_used_at: session.last_used_at.unix_seconds(),
            expires_at: session.idle_expires_at.unix_seconds(),
            absolute_expires_at: session.absolute_expires_at.unix_seconds(),
        })
    }
}

/// `GET /session`: the session that the token belongs to.
async fn current(caller: Authenticated, Shared(state): Shared<State>) -> Result<Json<View>, Error> {
    let mut reader = state.db.read().await?;
    let session = store::find(&mut reader, caller.session_id).await?;
    let session = session.ok_or(Error::NotFound)?;
    View::new(&state, &session, caller.session_id).map(Json)
}

#[derive(Debug, Serialize)]
struct List {
    sessions: Vec<View>,
}

/// `GET /sessions`: the caller's sessions, the latest used first.
async fn list(caller: Authenticated, Shared(state): Shared<State>) -> Result<Json<List>, Error> {
    let mut reader = state.db.read().await?;
    let rows = store::live_of(&mut reader, caller.user_id, state.clock.now()).await?;
    let sessions = rows
        .iter()
        .map(|session| View::new(&state, session, caller.session_id))
        .collect::<Result<_, _>>()?;
    Ok(Json(List { sessions }))
}

/// `DELETE /sessions/{id}`: ends one of the caller's sessions.
///
/// 204; 404 for another's, told apart from none by nothing.
async fn end_by_id(
    caller: Authenticated,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let id: SessionId = id.parse().map_err(|_| Error::NotFound)?;
    let mut tx = state.db.write().await?;
    end_own(&state, &mut tx, caller.user_id, id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
