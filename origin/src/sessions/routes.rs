//! HTTP of sessions, under `/api/v1/auth`.

#![expect(
    unused_qualifications,
    reason = "`params(…)` of utoipa makes a qualified path"
)]

use axum::Extension;
use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    ENDED_SHOWN, Ending, Tokens, View, end, end_held, end_of_user, end_own, ended_of, live_of,
    store,
};
use crate::abuse::Limit;
use crate::app::State;
use crate::browser::InBrowser;
use crate::error::Error;
use crate::ids::SessionId;
use crate::request::{Caller, Json, OptionalJson};
use crate::tokens::Authenticated;
use crate::vault::Secret;

/// The routes.
pub fn auth() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(current))
        .routes(routes!(list, end_others))
        .routes(routes!(end_by_id))
}

/// The refresh token that was answered last.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    /// Left out in browser mode: the cookie holds it.
    #[schema(value_type = Option<String>)]
    refresh_token: Option<Secret>,
}

#[utoipa::path(
    post, path = "/refresh", tag = "sessions",
    summary = "Exchange a refresh token for new tokens",
    description = "Each refresh token is good once. Repeated within the grace it answers the same \
                   successor; later, its session is ended as stolen. In browser mode \
                   (`X-Refresh-Mode: cookie`) it is in the cookie, and the body may be left out.",
    request_body = Option<Refresh>,
    responses(
        (status = 200, description = "The successor, and a new access token.", body = Tokens),
        (status = 401, description = "`refresh_invalid`, `refresh_reused`, `session_ended`"),
        (status = 429, description = "`rate_limited`; the refresh token stays good"),
    ),
)]
/// `POST /refresh`: the successor of a refresh token, and a new access token.
///
/// 401 `refresh_invalid`, `refresh_reused`, `session_ended`.
async fn refresh(
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    OptionalJson(body): OptionalJson<Refresh>,
) -> Result<Tokens, Error> {
    state.limiter.by_address(&caller, Limit::RefreshByAddress)?;
    let token = match (body.refresh_token, browser) {
        (Some(token), None) => token,
        (None, Some(Extension(page))) => page
            .refresh_token
            .ok_or(Error::RefreshInvalid("no cookie"))?,
        (Some(_), Some(_)) => return Err(Error::invalid("The refresh token is in the cookie.")),
        (None, None) => {
            return Err(Error::invalid(
                "The body does not fit: missing field `refresh_token`.",
            ));
        }
    };
    super::refresh(&state, &caller, token.expose()).await
}

/// Which sessions to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Logout {
    /// Every session of the account, not only the caller's.
    #[serde(default)]
    all: bool,
}

#[utoipa::path(
    post, path = "/logout", tag = "sessions", security(("bearer" = [])),
    summary = "Log out",
    description = "Ends the caller's session, or all of theirs. The body may be left out. Gates \
                   turn its access tokens away within seconds. In browser mode \
                   (`X-Refresh-Mode: cookie`) the cookie's session is ended with it, and suffices \
                   where the access token is missing or not accepted any more.",
    request_body = Option<Logout>,
    responses(
        (status = 204, description = "Ended, and on disk."),
        (status = 401, description = "The access token is missing or not accepted, and there is \
                                      no cookie; `refresh_reused`: the cookie's token was used up"),
    ),
)]
/// `POST /logout`: ends the caller's session, or all of theirs. The body may be left out.
///
/// In browser mode whatever the browser holds is ended: a page whose access token has expired logs
/// out by the cookie, and where two accounts share a browser no session is left whose cookie was
/// cleared. 204 once session and revocation are on disk.
async fn logout(
    authenticated: Result<Authenticated, Error>,
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    OptionalJson(Logout { all }): OptionalJson<Logout>,
) -> Result<StatusCode, Error> {
    let held = browser.and_then(|Extension(page)| page.refresh_token);
    let authenticated = match (authenticated, &held) {
        (Ok(authenticated), _) => Some(authenticated),
        (Err(Error::Rejected(_)), Some(_)) => {
            state.limiter.by_address(&caller, Limit::ApiByAddress)?;
            None
        }
        (Err(error), _) => return Err(error),
    };
    let mut tx = state.db.write().await?;
    match &authenticated {
        Some(caller) if all => {
            end_of_user(&state, &mut tx, caller.user_id, Ending::All, "logout").await?;
        }
        Some(caller) => {
            end(&state, &mut tx, caller.session_id, "logout").await?;
        }
        None => {}
    }
    let all = all && authenticated.is_none();
    let used_up = match &held {
        Some(held) => end_held(&state, &mut tx, held, all).await?,
        None => false,
    };
    tx.commit().await?;
    if used_up {
        return Err(Error::RefreshReused);
    }
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    get, path = "/session", tag = "sessions", operation_id = "current_session",
    security(("bearer" = [])),
    summary = "The session of the token",
    responses((status = 200, description = "The session.", body = View)),
)]
/// `GET /session`: the session that the token belongs to.
async fn current(caller: Authenticated, Shared(state): Shared<State>) -> Result<Json<View>, Error> {
    let mut reader = state.db.read().await?;
    let session = store::find(&mut reader, caller.session_id).await?;
    let session = session.ok_or(Error::NotFound)?;
    View::new(&state, &session, Some(caller.session_id)).map(Json)
}

/// Sessions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sessions)]
struct List {
    sessions: Vec<View>,
}

/// Which sessions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// Those that ended or ran out in the last 30 days, the latest 200 of them, instead of those that
    /// can be used.
    #[serde(default)]
    ended: bool,
}

#[utoipa::path(
    get, path = "/sessions", tag = "sessions", operation_id = "sessions",
    security(("bearer" = [])),
    summary = "The caller's sessions",
    params(Which),
    responses(
        (status = 200, description = "The latest used first, or the latest ended.", body = List),
        (status = 400, description = "`request_invalid`"),
    ),
)]
/// `GET /sessions`: the caller's sessions, the latest used first; or those that ended.
async fn list(
    caller: Authenticated,
    Shared(state): Shared<State>,
    Query(which): Query<Which>,
) -> Result<Json<List>, Error> {
    let mut reader = state.db.read().await?;
    let sessions = if which.ended {
        ended_of(&state, &mut reader, caller.user_id, ENDED_SHOWN).await?
    } else {
        live_of(&state, &mut reader, caller.user_id, Some(caller.session_id)).await?
    };
    Ok(Json(List { sessions }))
}

#[utoipa::path(
    delete, path = "/sessions", tag = "sessions", operation_id = "end_other_sessions",
    security(("bearer" = [])),
    summary = "End every other session of the caller",
    description = "What to offer after a factor or an address was changed.",
    responses((status = 204, description = "Ended, and on disk.")),
)]
/// `DELETE /sessions`: ends every session of the caller but the one that asks (ASVS 7.4.3).
async fn end_others(
    caller: Authenticated,
    Shared(state): Shared<State>,
) -> Result<StatusCode, Error> {
    let mut tx = state.db.write().await?;
    let ending = Ending::AllBut(caller.session_id);
    end_of_user(&state, &mut tx, caller.user_id, ending, "user").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    delete, path = "/sessions/{id}", tag = "sessions", operation_id = "end_session",
    security(("bearer" = [])),
    summary = "End one of the caller's sessions",
    params(("id" = String, Path, description = "The session's id")),
    responses(
        (status = 204, description = "Ended, and on disk."),
        (status = 404, description = "`not_found`: no such session, or another's"),
    ),
)]
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
