//! The HTTP of passkeys.

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::assertion::{self, Device};
use super::{PasskeyView, ceremony, registration};
use crate::abuse::Limit;
use crate::app::State;
use crate::browser::{self, InBrowser};
use crate::error::Error;
use crate::ids::PasskeyId;
use crate::login::LoggedIn;
use crate::login::factors::changes::Change;
use crate::login::fresh::FreshlyAuthenticated;
use crate::request::{Caller, Json, OptionalJson, checked_device_id};
use crate::tokens::Authenticated;
use crate::vault::Secret;

pub(in crate::login) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(begin_registration))
        .routes(routes!(rename, remove))
        .routes(routes!(begin_login))
        .routes(routes!(login))
}

/// Longest token of a ceremony, in bytes; they have 47.
const MAX_TOKEN: usize = 64;

/// Longest name of a passkey, in characters.
const MAX_NAME: usize = 64;

/// A challenge, and the options that the browser takes it in.
#[derive(Serialize, ToSchema)]
pub(in crate::login) struct PasskeyChallenge {
    /// To be sent back with the answer: good once.
    passkey_token: String,
    /// `publicKey` in it is for `PublicKeyCredential.parseCreationOptionsFromJSON()` or
    /// `parseRequestOptionsFromJSON()`.
    #[schema(value_type = Object)]
    options: Value,
    /// Seconds for which the challenge is good.
    expires_in: u64,
}

impl PasskeyChallenge {
    pub(in crate::login) fn new((token, options): (Secret, Value)) -> Self {
        Self {
            passkey_token: token.expose().to_owned(),
            options,
            expires_in: ceremony::TTL.as_secs(),
        }
    }
}

/// Refuses tokens that are nobody's.
pub(in crate::login) fn checked_token(token: &Secret) -> Result<(), Error> {
    if (1..=MAX_TOKEN).contains(&token.expose().len()) {
        Ok(())
    } else {
        Err(Error::invalid("passkey_token: expected 1 to 64 bytes."))
    }
}

/// Reads what `PublicKeyCredential.toJSON()` wrote.
pub(in crate::login) fn read_credential<T: DeserializeOwned>(json: Value) -> Result<T, Error> {
    serde_json::from_value(json)
        .map_err(|_| Error::invalid("credential: expected PublicKeyCredential.toJSON()."))
}

fn checked_name(name: &str) -> Result<&str, Error> {
    let name = name.trim();
    if (1..=MAX_NAME).contains(&name.chars().count()) && !name.contains(char::is_control) {
        Ok(name)
    } else {
        Err(Error::invalid(
            "name: expected 1 to 64 characters, none of them a control character.",
        ))
    }
}

/// A person's passkeys, the oldest first.
#[derive(Serialize, ToSchema)]
struct Passkeys {
    passkeys: Vec<PasskeyView>,
}

#[utoipa::path(
    get, path = "/passkeys", tag = "factors", operation_id = "passkeys", security(("bearer" = [])),
    summary = "The caller's passkeys",
    responses((status = 200, description = "The passkeys.", body = Passkeys)),
)]
/// `GET /passkeys`
async fn list(
    caller: Authenticated,
    Shared(state): Shared<State>,
) -> Result<Json<Passkeys>, Error> {
    let mut reader = state.db.read().await?;
    let passkeys = super::list(&state, &mut reader, caller.user_id).await?;
    Ok(Json(Passkeys { passkeys }))
}

#[utoipa::path(
    post, path = "/passkeys/registration", tag = "factors", operation_id = "begin_passkey",
    security(("bearer" = [])),
    summary = "Begin to register a passkey",
    description = "`options.publicKey` is for `navigator.credentials.create()`.",
    responses(
        (status = 200, description = "A challenge for five minutes.", body = PasskeyChallenge),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: as many as there may be, or none can be used here"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /passkeys/registration`
async fn begin_registration(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
) -> Result<Json<PasskeyChallenge>, Error> {
    state
        .limiter
        .by_address(&caller.caller, Limit::PasskeyByAddress)?;
    let begun = registration::begin(&state, &caller).await?;
    Ok(Json(PasskeyChallenge::new(begun)))
}

/// What the browser made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterPasskey {
    #[schema(value_type = String, max_length = 64)]
    passkey_token: Secret,
    /// What `PublicKeyCredential.toJSON()` gives.
    #[schema(value_type = Object)]
    credential: Value,
    /// What its owner calls it.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// Whether to end every session of the account but the caller's.
    #[serde(default)]
    end_other_sessions: bool,
}

/// The new passkey.
#[derive(Serialize, ToSchema)]
struct PasskeyAdded {
    #[schema(value_type = String)]
    id: PasskeyId,
    /// Those that come with an account's first second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_codes: Option<Vec<String>>,
}

#[utoipa::path(
    post, path = "/passkeys", tag = "factors", operation_id = "register_passkey",
    security(("bearer" = [])),
    summary = "Register the passkey that the browser made",
    description = "By the session that began it. It is a whole login from now on, and a second \
                   factor, which the account is then asked for after a password.",
    request_body = RegisterPasskey,
    responses(
        (status = 200, description = "It is in use.", body = PasskeyAdded),
        (status = 400, description = "`request_invalid`, `code_invalid`"),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: registered already, or as many as there may be"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /passkeys`
async fn register(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    Json(body): Json<RegisterPasskey>,
) -> Result<Json<PasskeyAdded>, Error> {
    checked_token(&body.passkey_token)?;
    let name = checked_name(&body.name)?;
    let credential = read_credential(body.credential)?;
    let limit = Limit::CodeFailuresByAddress;
    let attempt = state.limiter.attempt(&caller.caller, limit).await?;
    let change = Change {
        caller: &caller,
        end_other_sessions: body.end_other_sessions,
    };
    let outcome =
        registration::finish(&state, &change, &body.passkey_token, &credential, name).await;
    attempt.settle(&outcome);
    let (id, recovery_codes) = outcome?;
    Ok(Json(PasskeyAdded { id, recovery_codes }))
}

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RenamePasskey {
    #[schema(min_length = 1, max_length = 64)]
    name: String,
}

#[utoipa::path(
    put, path = "/passkeys/{id}", tag = "factors", operation_id = "rename_passkey",
    security(("bearer" = [])),
    summary = "Give a passkey another name",
    params(("id" = String, Path, description = "The passkey")),
    request_body = RenamePasskey,
    responses(
        (status = 204, description = "Renamed."),
        (status = 400, description = "`request_invalid`"),
        (status = 404, description = "`not_found`: the caller has none of this id"),
    ),
)]
/// `PUT /passkeys/{id}`
async fn rename(
    Shared(state): Shared<State>,
    caller: Authenticated,
    Path(id): Path<String>,
    Json(body): Json<RenamePasskey>,
) -> Result<StatusCode, Error> {
    let id = id.parse().map_err(|_| Error::NotFound)?;
    let name = checked_name(&body.name)?;
    registration::rename(&state, caller.user_id, id, name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What may be wished for with the removal.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RemovePasskey {
    /// Whether to end every session of the account but the caller's.
    #[serde(default)]
    end_other_sessions: bool,
}

#[utoipa::path(
    delete, path = "/passkeys/{id}", tag = "factors", operation_id = "remove_passkey",
    security(("bearer" = [])),
    summary = "Remove a passkey",
    description = "Not the last way in. With the last second factor the recovery codes go. The body \
                   may be left out.",
    params(("id" = String, Path, description = "The passkey")),
    request_body = Option<RemovePasskey>,
    responses(
        (status = 204, description = "Removed."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`: the caller has none of this id"),
        (status = 409, description = "`conflict`: nothing else would let the caller in"),
    ),
)]
/// `DELETE /passkeys/{id}`
async fn remove(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    Path(id): Path<String>,
    OptionalJson(RemovePasskey { end_other_sessions }): OptionalJson<RemovePasskey>,
) -> Result<StatusCode, Error> {
    let id = id.parse().map_err(|_| Error::NotFound)?;
    let change = Change {
        caller: &caller,
        end_other_sessions,
    };
    registration::remove(&state, &change, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post, path = "/login/passkey/begin", tag = "login", operation_id = "begin_passkey_login",
    summary = "Begin to log in with a passkey",
    description = "`options.publicKey` is for `navigator.credentials.get()`, in a dialog or \
                   (`mediation: \"conditional\"`) in the form. It names no account.",
    responses(
        (status = 200, description = "A challenge for five minutes.", body = PasskeyChallenge),
        (status = 409, description = "`conflict`: there are no passkeys here"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /login/passkey/begin`
async fn begin_login(
    Shared(state): Shared<State>,
    caller: Caller,
) -> Result<Json<PasskeyChallenge>, Error> {
    state.limiter.by_address(&caller, Limit::PasskeyByAddress)?;
    let begun = assertion::begin_login(&state).await?;
    Ok(Json(PasskeyChallenge::new(begun)))
}

/// What the authenticator signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginPasskey {
    #[schema(value_type = String, max_length = 64)]
    passkey_token: Secret,
    /// What `PublicKeyCredential.toJSON()` gives.
    #[schema(value_type = Object)]
    credential: Value,
    /// A name for the device, which its session then carries.
    #[schema(max_length = 128)]
    device_id: Option<String>,
    /// What an earlier login on this device has answered: a lock of the account then does not hold
    /// it up. One that is unknown, foreign or expired is as if absent. Left out in browser mode: a
    /// cookie holds it.
    #[schema(value_type = Option<String>)]
    device_token: Option<Secret>,
}

#[utoipa::path(
    post, path = "/login/passkey", tag = "login", operation_id = "login_passkey",
    summary = "Log in with a passkey",
    description = "The authenticator has to verify its holder, so no second factor is asked for. \
                   Whatever is wrong is `credentials_invalid`, and the challenge is used up.",
    request_body = LoginPasskey,
    responses(
        (status = 200, description = "Logged in.", body = LoggedIn),
        (status = 400, description = "`request_invalid`"),
        (status = 401, description = "`credentials_invalid`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /login/passkey`
async fn login(
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    Json(body): Json<LoginPasskey>,
) -> Result<LoggedIn, Error> {
    checked_token(&body.passkey_token)?;
    let device = Device {
        id: checked_device_id(body.device_id)?,
        token: browser::device_token(body.device_token, browser)?,
    };
    let credential = read_credential(body.credential)?;
    let limit = Limit::LoginFailuresByAddress;
    let attempt = state.limiter.attempt(&caller, limit).await?;
    let token = &body.passkey_token;
    let outcome = assertion::log_in(&state, &caller, token, &credential, device).await;
    attempt.settle(&outcome);
    outcome
}
