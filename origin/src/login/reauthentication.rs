//! Proving again who one is, within a session (step-up, RFC 9470).
//!
//! What is asked and counted is what a login asks and counts: there is one door to guess at. The
//! session then says when and by what, and so do its tokens from now on. Its refresh token is
//! rotated (ASVS 7.2.4): a copy that somebody holds of the old one does not get the better access
//! token, but ends the session when it is used. Only within the grace of a refresh it is refused and
//! ends nothing, for a client may refresh beside this request. Who loses this answer proves again who
//! they are, by the access token that they have.

use axum::extract::State as Shared;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::factors::{self, Method};
use super::{checked_code, hasher, password};
use crate::abuse::Limit;
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Event, Outcome};
use crate::request::{Caller, Json};
use crate::sessions::{self, Tokens};
use crate::tokens::Authenticated;
use crate::vault::Secret;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(reauthenticate))
}

/// By what somebody proves again who they are.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Proof {
    Password,
    Totp,
    RecoveryCode,
}

/// `password` for the method of that name, `code` for the others.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reauthenticate {
    #[schema(inline)]
    method: Proof,
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    #[schema(value_type = Option<String>, max_length = 64)]
    code: Option<Secret>,
}

#[utoipa::path(
    post, path = "/reauthenticate", tag = "login", security(("bearer" = [])),
    summary = "Prove again who one is, within the session",
    description = "For what answers `step_up_required`. The new tokens say in `auth_time`, `amr` and \
                   `acr` what was proved; the session's old refresh token is used up.",
    request_body = Reauthenticate,
    responses(
        (status = 200, description = "The session's new tokens.", body = Tokens),
        (status = 400, description = "`request_invalid`, `code_invalid`"),
        (status = 401, description = "`credentials_invalid`, or the access token is not accepted"),
        (status = 423, description = "`account_locked`; `Retry-After` says for how long"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /reauthenticate`
async fn reauthenticate(
    Shared(state): Shared<State>,
    session: Authenticated,
    caller: Caller,
    Json(body): Json<Reauthenticate>,
) -> Result<Json<Tokens>, Error> {
    let limit = match body.method {
        Proof::Password => Limit::LoginFailuresByAddress,
        Proof::Totp | Proof::RecoveryCode => Limit::CodeFailuresByAddress,
    };
    let attempt = state.limiter.attempt(&caller, limit).await?;
    let (outcome, word) = match body.method {
        Proof::Password => (
            by_password(&state, &session, &caller, body).await,
            "password",
        ),
        Proof::Totp => {
            let outcome = by_factor(&state, &session, &caller, Method::Totp, body).await;
            (outcome, Method::Totp.as_str())
        }
        Proof::RecoveryCode => {
            let outcome = by_factor(&state, &session, &caller, Method::RecoveryCode, body).await;
            (outcome, Method::RecoveryCode.as_str())
        }
    };
    attempt.settle(&outcome);
    if let Err(
        refusal @ (Error::CredentialsInvalid | Error::AccountLocked(_) | Error::CodeInvalid(_)),
    ) = &outcome
    {
        let failure = event(&session, &caller, Outcome::Failure).by(word);
        let mut tx = state.db.write().await?;
        events::record(&state, &mut tx, &failure.because(refusal.code().0)).await?;
        tx.commit().await?;
    }
    outcome.map(Json)
}

fn event<'a>(session: &Authenticated, caller: &'a Caller, outcome: Outcome) -> Event<'a> {
    Event::own(events::Kind::Reauthentication, outcome, session.user_id)
        .session(session.session_id)
        .from(caller)
}

async fn by_password(
    state: &State,
    session: &Authenticated,
    caller: &Caller,
    body: Reauthenticate,
) -> Result<Tokens, Error> {
    let (Some(password), None) = (body.password, body.code) else {
        return Err(Error::invalid("Expected password, and no code."));
    };
    if password.expose().is_empty() || password.expose().len() > hasher::MAX_BYTES {
        return Err(Error::invalid("password: expected 1 to 1024 bytes."));
    }
    let confirmed = password::confirm(state, caller, session.user_id, &password).await?;
    let mut tx = state.db.write().await?;
    confirmed.settle(state, &mut tx).await?;
    let tokens = sessions::step_up(state, &mut tx, session.session_id, "pwd", false).await?;
    let done = event(session, caller, Outcome::Success).by("password");
    events::record(state, &mut tx, &done).await?;
    tx.commit().await?;
    Ok(tokens)
}

async fn by_factor(
    state: &State,
    session: &Authenticated,
    caller: &Caller,
    method: Method,
    body: Reauthenticate,
) -> Result<Tokens, Error> {
    let (Some(code), None) = (body.code, body.password) else {
        return Err(Error::invalid("Expected code, and no password."));
    };
    checked_code(&code)?;
    let user_id = session.user_id;
    // Recovery codes alone are no second factor, and go with the last one.
    let proof = factors::guess(state, user_id, method, &code, None).await?;
    let mut tx = state.db.write().await?;
    if !factors::consume(state, &mut tx, user_id, &proof).await? {
        tx.rollback().await?;
        factors::release(state, &proof).await?;
        return Err(Error::CodeInvalid("factor used meanwhile"));
    }
    let tokens = sessions::step_up(state, &mut tx, session.session_id, method.amr(), true).await?;
    let done = event(session, caller, Outcome::Success).by(method.as_str());
    events::record(state, &mut tx, &done).await?;
    let message = factors::recovery_code_used(state, &mut tx, user_id, method).await?;
    tx.commit().await?;
    if let Some(message) = message {
        state.mailer.send(message);
    }
    Ok(tokens)
}
