//! The HTTP of the address book.
#![expect(
    unused_qualifications,
    reason = "`params(…)` of utoipa makes a qualified path"
)]

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Contact, Shown, undo};
use crate::abuse::{Limit, captcha};
use crate::accounts::status::By;
use crate::app::State;
use crate::config::CaptchaFor;
use crate::error::Error;
use crate::ids::ContactId;
use crate::login::{FreshlyAuthenticated, links};
use crate::request::{Caller, Json, OptionalJson};
use crate::tokens::Authenticated;
use crate::vault::Secret;

pub(in crate::accounts) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(verify))
        .routes(routes!(undo_change))
        .routes(routes!(remove))
        .routes(routes!(choose))
}

/// The addresses and numbers of an account, the primary of each kind first.
#[derive(Serialize, ToSchema)]
struct Contacts {
    contacts: Vec<Contact>,
}

#[utoipa::path(
    get, path = "/contacts", tag = "accounts", operation_id = "contacts",
    summary = "The caller's addresses and numbers",
    security(("bearer" = [])),
    responses((status = 200, description = "The primary of each kind first.", body = Contacts)),
)]
/// `GET /contacts`
async fn list(
    Shared(state): Shared<State>,
    caller: Authenticated,
) -> Result<Json<Contacts>, Error> {
    let mut reader = state.db.read().await?;
    let contacts = super::list(&state, &mut reader, caller.user_id).await?;
    Ok(Json(Contacts { contacts }))
}

/// One address: `email` or `phone_number`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddContact {
    #[schema(max_length = 254)]
    email: Option<String>,
    #[schema(max_length = 64)]
    phone_number: Option<String>,
    /// The country of a national number, for instance `+41`.
    country_code: Option<String>,
    captcha: Option<captcha::Answer>,
}

/// What a code is given back with.
#[derive(Serialize, ToSchema)]
struct ContactCodeSent {
    /// For `POST /contacts/verify`.
    contact_token: String,
    /// Seconds for which the code is good.
    expires_in: u64,
}

#[utoipa::path(
    post, path = "/contacts", tag = "accounts", operation_id = "add_contact",
    summary = "Add an address or a number",
    description = "A code goes to it, and a message to an address that the account has, with which \
                   the change can be taken back. The same answer for an address that somebody else \
                   has. Needs a proof of the last five minutes of who is calling.",
    request_body = AddContact,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "A code is on its way, if it may be.", body = ContactCodeSent),
        (status = 400, description = "`request_invalid`, `captcha_invalid`"),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`captcha_required`"),
        (status = 409, description = "`conflict`: the account has it already, or as many as it may"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /contacts`
async fn add(
    Shared(state): Shared<State>,
    session: FreshlyAuthenticated,
    caller: Caller,
    Json(body): Json<AddContact>,
) -> Result<(StatusCode, Json<ContactCodeSent>), Error> {
    let country = body.country_code.as_deref();
    let address = crate::accounts::address(body.email, body.phone_number, country)?;
    // An account costs nothing, so having one does not make a person of whoever asks.
    let answer = body.captcha.as_ref();
    captcha::admit(&state, &caller, CaptchaFor::Contact, &address, answer).await?;
    state.limiter.by_address(&caller, Limit::SendsByAddress)?;
    let token = super::begin(&state, &caller, session.user_id, &address).await?;
    let answer = ContactCodeSent {
        contact_token: token.expose().to_owned(),
        expires_in: state.config.otp.ttl_seconds,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// The token of `POST /contacts` and the code that was sent, or the token of the link in the same
/// mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VerifyContact {
    #[schema(value_type = Option<String>)]
    contact_token: Option<Secret>,
    /// Six digits.
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
    /// What the link's page was given, in the place of both.
    #[schema(value_type = Option<String>, max_length = 64)]
    token: Option<Secret>,
    /// Whether every other session of the account is to end.
    #[serde(default)]
    end_other_sessions: bool,
}

#[utoipa::path(
    post, path = "/contacts/verify", tag = "accounts", operation_id = "verify_contact",
    summary = "Prove the address and have it",
    description = "By the code or by the link of a message, of which one is good once.",
    request_body = VerifyContact,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account's addresses as they now are.", body = Contacts),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /contacts/verify`
async fn verify(
    Shared(state): Shared<State>,
    session: FreshlyAuthenticated,
    caller: Caller,
    Json(body): Json<VerifyContact>,
) -> Result<Json<Contacts>, Error> {
    let shown = match (body.contact_token, body.code, body.token) {
        (Some(token), Some(code), None) => Shown::Code(token, code),
        (None, None, Some(token)) => {
            links::checked_token(&token)?;
            Shown::Link(token)
        }
        _ => {
            return Err(Error::invalid(
                "Expected either contact_token and code, or token.",
            ));
        }
    };
    let attempt = state
        .limiter
        .attempt(&caller, Limit::CodeFailuresByAddress)
        .await?;
    let outcome = super::finish(
        &state,
        By::user(session.user_id, &caller),
        (session.user_id, session.session_id),
        &shown,
        body.end_other_sessions,
    )
    .await;
    attempt.settle(&outcome);
    let contacts = outcome?;
    Ok(Json(Contacts { contacts }))
}

/// The token of the message that told of a change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UndoContactChange {
    #[schema(value_type = String)]
    token: Secret,
}

#[utoipa::path(
    post, path = "/contacts/undo", tag = "accounts", operation_id = "undo_contact_change",
    summary = "Take a change of addresses back",
    description = "The address that was told is the account's again, those that came since are gone, \
                   every session ends and the password is removed.",
    request_body = UndoContactChange,
    responses(
        (status = 204, description = "Taken back."),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /contacts/undo`
async fn undo_change(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<UndoContactChange>,
) -> Result<StatusCode, Error> {
    let attempt = state
        .limiter
        .attempt(&caller, Limit::CodeFailuresByAddress)
        .await?;
    let outcome = undo::undo(&state, &caller, &body.token).await;
    attempt.settle(&outcome);
    outcome?;
    Ok(StatusCode::NO_CONTENT)
}

/// What goes with the removal.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Removal {
    /// Whether every other session of the account is to end.
    #[serde(default)]
    end_other_sessions: bool,
}

#[utoipa::path(
    delete, path = "/contacts/{id}", tag = "accounts", operation_id = "remove_contact",
    summary = "Remove an address or a number",
    description = "The address is told, and can take it back.",
    params(("id" = String, Path, description = "The contact's id"), Removal),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Removed."),
        (status = 400, description = "`request_invalid`"),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: it is the last proved one"),
    ),
)]
/// `DELETE /contacts/{id}`
async fn remove(
    Shared(state): Shared<State>,
    session: FreshlyAuthenticated,
    caller: Caller,
    Path(id): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<StatusCode, Error> {
    let id: ContactId = id.parse().map_err(|_| Error::NotFound)?;
    let by = By::user(session.user_id, &caller);
    let whose = (session.user_id, session.session_id);
    super::remove(&state, by, whose, id, removal.end_other_sessions).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What goes with the choice. The body may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChooseContact {
    /// Whether every other session of the account is to end.
    #[serde(default)]
    end_other_sessions: bool,
}

#[utoipa::path(
    put, path = "/contacts/{id}/primary", tag = "accounts", operation_id = "choose_contact",
    summary = "Have messages sent to this address",
    description = "Of its kind. The one before is told.",
    params(("id" = String, Path, description = "The contact's id")),
    request_body = Option<ChooseContact>,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account's addresses as they now are.", body = Contacts),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: it is not proved"),
    ),
)]
/// `PUT /contacts/{id}/primary`
async fn choose(
    Shared(state): Shared<State>,
    session: FreshlyAuthenticated,
    caller: Caller,
    Path(id): Path<String>,
    OptionalJson(wish): OptionalJson<ChooseContact>,
) -> Result<Json<Contacts>, Error> {
    let id: ContactId = id.parse().map_err(|_| Error::NotFound)?;
    let by = By::user(session.user_id, &caller);
    let whose = (session.user_id, session.session_id);
    let contacts = super::choose(&state, by, whose, id, wish.end_other_sessions).await?;
    Ok(Json(Contacts { contacts }))
}
