//! Choosing a user name, or another one in its place.
//!
//! A registration does not say whether the user name that it asks for is taken, because whoever asks has
//! proved nothing yet; an account whose name was taken meanwhile has none. Here somebody with an account
//! asks, and is told: ten times an hour, so that it is no way to list names.

use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::status::By;
use super::{Identifier, Kind, index, store};
use crate::abuse::Subject;
use crate::abuse::attempts::{self, Kind as Attempts};
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Change};
use crate::ids::UserId;
use crate::login::{FreshlyAuthenticated, messages};
use crate::request::{Caller, Json};

/// Names that one account tries in an hour.
const PER_HOUR: u32 = 10;

const fn taken() -> Error {
    Error::Conflict("Somebody else has this user name.")
}

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(choose))
}

/// The name to log in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Username {
    /// 3 to 32 letters, digits, dots, underscores or hyphens, a letter first.
    username: String,
}

#[utoipa::path(
    put, path = "/account/username", tag = "accounts", operation_id = "choose_username",
    summary = "Choose a user name",
    description = "It takes the place of the one before. Needs a proof of the last five minutes of who is \
                   calling. Ten tries an hour.",
    request_body = Username,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The account has it."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: somebody else has it"),
        (status = 429, description = "`rate_limited`: ten tries an hour"),
    ),
)]
/// `PUT /account/username`
async fn choose(
    Shared(state): Shared<State>,
    session: FreshlyAuthenticated,
    caller: Caller,
    Json(body): Json<Username>,
) -> Result<StatusCode, Error> {
    let name = Identifier::username(&body.username)?;
    count(&state, session.user_id).await?;
    take(
        &state,
        By::user(session.user_id, &caller),
        session.user_id,
        &name,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Counts a try, whatever comes of it.
async fn count(state: &State, user_id: UserId) -> Result<(), Error> {
    let account = Subject::account(&state.vault, user_id)?;
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    attempts::count(&mut tx, Attempts::Username, &account, PER_HOUR, now).await?;
    Ok(tx.commit().await?)
}

/// Gives the account the name, and takes the one that it had.
async fn take(state: &State, by: By<'_>, user_id: UserId, name: &Identifier) -> Result<(), Error> {
    let blind = name.blind(&state.vault)?;
    let mut tx = state.db.write().await?;
    if !store::hold(&mut tx, user_id, state.clock.now()).await? {
        return Err(Error::NotFound);
    }
    let holder = super::holder(&mut tx, Kind::Username, &blind).await?;
    if holder.is_some_and(|holder| holder.user_id != user_id) {
        return Err(taken());
    }
    let mut had_one = false;
    for row in store::identifiers(&mut tx, user_id).await? {
        if row.kind == Kind::Username {
            had_one = true;
            store::delete_identifier(&mut tx, row.kind, &row.name).await?;
        }
    }
    if !index::add(state, &mut tx, user_id, name, true).await? {
        return Err(taken());
    }
    // The name itself is personal data, which is not in the trail.
    let change = Change::new(serde_json::Value::Null, Kind::Username.as_str());
    let reason = if had_one { "replaced" } else { "added" };
    let event = by.event(events::Kind::Contact, user_id);
    let event = event.because(reason).changing(change);
    events::record(state, &mut tx, &event).await?;
    let contact = super::contact(state, &mut tx, user_id).await?;
    let now = state.clock.now();
    let told = contact.and_then(|(kind, _, to)| messages::username_chosen(kind, &to, now));
    let told = state.mailer.keep(&mut tx, user_id, told).await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    Ok(())
}
