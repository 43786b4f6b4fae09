//! The HTTP of leaving: for a while, for good, and with a copy of one's data.

use axum::extract::State as Shared;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use sqlx::AnyConnection;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Kind;
use super::export::{self, Export};
use super::status::{self, By};
use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::login::{FreshlyAuthenticated, messages};
use crate::notify::{Kept, Message};
use crate::request::{Caller, Json};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(deactivate))
        .routes(routes!(delete))
        .routes(routes!(export))
}

#[utoipa::path(
    post, path = "/account/deactivate", tag = "accounts", operation_id = "deactivate_account",
    summary = "Leave the account until the next login",
    description = "Every session ends. Logging in takes it back. Needs a proof of the last five \
                   minutes of who is calling.",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Left."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: it is the last administrator's"),
    ),
)]
/// `POST /account/deactivate`
async fn deactivate(
    Shared(state): Shared<State>,
    session: FreshlyAuthenticated,
    caller: Caller,
) -> Result<StatusCode, Error> {
    let mut tx = state.db.write().await?;
    let by = By::user(session.user_id, &caller);
    status::deactivate(&state, &mut tx, by, session.user_id).await?;
    let told = tell(&state, &mut tx, session.user_id, |kind, to| {
        messages::account_left(kind, to, None)
    })
    .await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    Ok(StatusCode::NO_CONTENT)
}

/// When the account goes.
#[derive(Serialize, ToSchema)]
struct Deleting {
    /// In seconds since 1970. Logging in before keeps the account.
    erase_at: i64,
}

#[utoipa::path(
    delete, path = "/account", tag = "accounts", operation_id = "delete_account",
    summary = "Leave the account for good",
    description = "Every session ends. Logging in before `erase_at` takes the account back; then \
                   everything about the person goes. Needs a proof of the last five minutes of who \
                   is calling.",
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It will go.", body = Deleting),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: it is the last administrator's"),
    ),
)]
/// `DELETE /account`
async fn delete(
    Shared(state): Shared<State>,
    session: FreshlyAuthenticated,
    caller: Caller,
) -> Result<(StatusCode, Json<Deleting>), Error> {
    let erase_at = super::erasure::erase_at(&state);
    let mut tx = state.db.write().await?;
    let by = By::user(session.user_id, &caller);
    if erase_at <= state.clock.now() {
        let contact = super::contact(&state, &mut tx, session.user_id).await?;
        super::erase(&state, &mut tx, by, session.user_id).await?;
        tx.commit().await?;
        // Nothing about the person is kept, so this is not written down.
        if let Some(message) = contact.and_then(|(kind, _, to)| messages::account_erased(kind, &to))
        {
            state.mailer.send(message);
        }
    } else {
        status::request_erasure(&state, &mut tx, by, session.user_id, erase_at).await?;
        let told = tell(&state, &mut tx, session.user_id, |kind, to| {
            messages::account_left(kind, to, Some(erase_at))
        })
        .await?;
        tx.commit().await?;
        state.mailer.deliver(told);
    }
    let answer = Deleting {
        erase_at: erase_at.unix_seconds(),
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

#[utoipa::path(
    get, path = "/account/export", tag = "accounts", operation_id = "export_account",
    summary = "Everything that is held about the caller",
    description = "No secret is in it. Needs a proof of the last five minutes of who is calling.",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The data.", body = Export),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 429, description = "`rate_limited`: five copies an hour"),
    ),
)]
/// `GET /account/export`: the data in a common, machine-readable format (GDPR Art. 15 and 20).
async fn export(
    Shared(state): Shared<State>,
    method: Method,
    session: FreshlyAuthenticated,
    caller: Caller,
) -> Result<Response, Error> {
    // Which elsewhere changes nothing; here its owner would be told of a copy that nobody got.
    if method == Method::HEAD {
        return Ok(([(header::ALLOW, "GET")], Error::MethodNotAllowed).into_response());
    }
    let mut tx = state.db.write().await?;
    let by = By::user(session.user_id, &caller);
    let whose = (session.user_id, session.session_id);
    export::note(&state, &mut tx, by, whose).await?;
    let told = tell(&state, &mut tx, session.user_id, messages::account_exported).await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    let mut reader = state.db.read().await?;
    let copy = export::take(&state, &mut reader, whose).await?;
    Ok(Json(copy).into_response())
}

/// Tells the owner: it may not have been them.
async fn tell(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    message: impl FnOnce(Kind, &str) -> Option<Message>,
) -> Result<Kept, Error> {
    let contact = super::contact(state, connection, user_id).await?;
    let message = contact.and_then(|(kind, _, to)| message(kind, &to));
    state.mailer.keep(connection, user_id, message).await
}
