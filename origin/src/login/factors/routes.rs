//! The HTTP of a person's own second factors.

use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::changes::{self, Change};
use super::{Method, store};
use crate::abuse::{Limit, Subject, delay};
use crate::accounts::Kind;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::UserId;
use crate::login::checked_code;
use crate::login::codes::digits;
use crate::login::fresh::FreshlyAuthenticated;
use crate::login::passkeys;
use crate::request::{Json, OptionalJson};
use crate::tokens::Authenticated;
use crate::vault::Secret;
use sqlx::AnyConnection;

pub(in crate::login) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(begin_totp, remove_totp))
        .routes(routes!(confirm_totp))
        .routes(routes!(replace_recovery_codes))
        .routes(routes!(add_email, remove_email))
        .routes(routes!(add_sms, remove_sms))
}

/// A second factor; instants are seconds since 1970.
#[derive(Serialize, ToSchema)]
pub(crate) struct Factor {
    method: Method,
    added_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<i64>,
    /// Wrong codes in a row, where there were some just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_attempts: Option<u32>,
    /// Seconds for which the next code has to wait, from another network than the last wrong one.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// A person's second factors, the strongest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct Factors {
    pub(crate) factors: Vec<Factor>,
    /// Recovery codes that were not used.
    recovery_codes_left: usize,
}

#[utoipa::path(
    get, path = "/mfa", tag = "factors", operation_id = "factors", security(("bearer" = [])),
    summary = "The caller's second factors",
    responses((status = 200, description = "The factors.", body = Factors)),
)]
/// `GET /mfa`
async fn show(caller: Authenticated, Shared(state): Shared<State>) -> Result<Json<Factors>, Error> {
    let mut reader = state.db.read().await?;
    list(&state, &mut reader, caller.user_id).await.map(Json)
}

/// The second factors of an account.
///
/// # Errors
/// When the database fails.
pub(crate) async fn list(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Factors, Error> {
    let mut factors = Vec::new();
    let mut add = |method, added_at: Timestamp, last_used_at: Option<Timestamp>| {
        factors.push(Factor {
            method,
            added_at: added_at.unix_seconds(),
            last_used_at: last_used_at.map(Timestamp::unix_seconds),
            failed_attempts: None,
            retry_after: None,
        });
    };
    for row in passkeys::store::passkeys(&mut *connection, user_id).await? {
        add(Method::Passkey, row.added_at, row.last_used_at);
    }
    if let Some(row) = store::totp(&mut *connection, user_id).await? {
        add(Method::Totp, row.added_at, row.last_used_at);
    }
    for row in store::code_factors(&mut *connection, user_id).await? {
        if let Some(method) = Method::sending_to(row.kind) {
            add(method, row.added_at, row.last_used_at);
        }
    }
    let codes = store::recovery_codes(&mut *connection, user_id).await?;
    if let Some((_, made_at)) = codes.first() {
        add(Method::RecoveryCode, *made_at, None);
    }
    let now = state.clock.now();
    for factor in &mut factors {
        let word = factor.method.counted_as();
        let subject = Subject::factor(&state.vault, user_id, word)?;
        let standing = delay::standing(&mut *connection, &subject, now).await?;
        factor.failed_attempts = Some(standing.failures).filter(|&failures| failures > 0);
        let wait = standing.wait.as_micros().div_ceil(1_000_000);
        let wait = u64::try_from(wait).unwrap_or(u64::MAX);
        factor.retry_after = Some(wait).filter(|&seconds| seconds > 0);
    }
    factors.sort_by_key(|factor| factor.method);
    Ok(Factors {
        factors,
        recovery_codes_left: codes.len(),
    })
}

/// What may be wished for with every change of a factor.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeFactor {
    /// Whether to end every session of the account but the caller's.
    #[serde(default)]
    end_other_sessions: bool,
}

/// A secret for an authenticator app.
#[derive(Serialize, ToSchema)]
struct TotpSecret {
    /// Base32, to type.
    secret: String,
    /// For a link that opens the app.
    otpauth_uri: String,
    /// The same as a QR code: an SVG element.
    qr_svg: String,
    /// Seconds within which a first code has to confirm it.
    expires_in: u64,
}

#[utoipa::path(
    post, path = "/mfa/totp", tag = "factors", operation_id = "begin_totp",
    security(("bearer" = [])),
    summary = "Begin to set up an authenticator app",
    description = "Nothing changes until a code confirms the secret; an app that is in use stays.",
    responses(
        (status = 200, description = "The secret, shown this once.", body = TotpSecret),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
    ),
)]
/// `POST /mfa/totp`
async fn begin_totp(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
) -> Result<Json<TotpSecret>, Error> {
    let shown = changes::begin_totp(&state, &caller).await?;
    Ok(Json(TotpSecret {
        secret: shown.secret,
        otpauth_uri: shown.uri,
        qr_svg: shown.qr_svg,
        expires_in: changes::PENDING.as_secs(),
    }))
}

/// A first code of the app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmTotp {
    /// Six digits.
    #[schema(value_type = String, max_length = 64)]
    code: Secret,
    /// Whether to end every session of the account but the caller's.
    #[serde(default)]
    end_other_sessions: bool,
}

/// New recovery codes.
#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    /// Ten, each good once, shown this once.
    recovery_codes: Vec<String>,
}

#[utoipa::path(
    post, path = "/mfa/totp/confirm", tag = "factors", security(("bearer" = [])),
    summary = "Take the authenticator app into use",
    description = "By the session that began it. Recovery codes from before are void.",
    request_body = ConfirmTotp,
    responses(
        (status = 200, description = "It is in use.", body = RecoveryCodes),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /mfa/totp/confirm`
async fn confirm_totp(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    Json(body): Json<ConfirmTotp>,
) -> Result<Json<RecoveryCodes>, Error> {
    checked_code(&body.code)?;
    let limit = Limit::CodeFailuresByAddress;
    let attempt = state.limiter.attempt(&caller.caller, limit).await?;
    let change = Change {
        caller: &caller,
        end_other_sessions: body.end_other_sessions,
    };
    let outcome = changes::confirm_totp(&state, &change, digits(&body.code).expose()).await;
    attempt.settle(&outcome);
    outcome.map(|recovery_codes| Json(RecoveryCodes { recovery_codes }))
}

#[utoipa::path(
    delete, path = "/mfa/totp", tag = "factors", operation_id = "remove_totp",
    security(("bearer" = [])),
    summary = "Remove the authenticator app",
    description = "With the last second factor the recovery codes go. The body may be left out.",
    request_body = Option<ChangeFactor>,
    responses(
        (status = 204, description = "Removed."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`: there is none"),
    ),
)]
/// `DELETE /mfa/totp`
async fn remove_totp(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    OptionalJson(ChangeFactor { end_other_sessions }): OptionalJson<ChangeFactor>,
) -> Result<StatusCode, Error> {
    let change = Change {
        caller: &caller,
        end_other_sessions,
    };
    changes::remove_totp(&state, &change).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post, path = "/mfa/recovery-codes", tag = "factors", security(("bearer" = [])),
    summary = "Replace the recovery codes",
    description = "Those from before are void. The body may be left out.",
    request_body = Option<ChangeFactor>,
    responses(
        (status = 200, description = "The new ones.", body = RecoveryCodes),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: the account has no second factor"),
    ),
)]
/// `POST /mfa/recovery-codes`
async fn replace_recovery_codes(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    OptionalJson(ChangeFactor { end_other_sessions }): OptionalJson<ChangeFactor>,
) -> Result<Json<RecoveryCodes>, Error> {
    let change = Change {
        caller: &caller,
        end_other_sessions,
    };
    let recovery_codes = changes::replace_recovery_codes(&state, &change).await?;
    Ok(Json(RecoveryCodes { recovery_codes }))
}

/// Codes by mail or SMS as second factor.
#[derive(Serialize, ToSchema)]
struct CodesChosen {
    method: Method,
    /// What the person should know.
    note: &'static str,
    /// Those that come with an account's first second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_codes: Option<Vec<String>>,
}

/// ASVS 6.6.1: a stronger way is offered.
const STRONGER: &str = "A passkey or an authenticator app is stronger: mail and SMS can be read or \
                        diverted on their way. Set one up by POST /passkeys/registration or \
                        POST /mfa/totp.";

#[utoipa::path(
    put, path = "/mfa/email", tag = "factors", operation_id = "add_email_codes",
    security(("bearer" = [])),
    summary = "Choose codes by mail as second factor",
    description = "They go to the proved address. A passkey or an authenticator app is stronger. The body may be \
                   left out.",
    request_body = Option<ChangeFactor>,
    responses(
        (status = 200, description = "Chosen.", body = CodesChosen),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: no proved address, no other first factor, or not offered here"),
    ),
)]
/// `PUT /mfa/email`
async fn add_email(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    OptionalJson(body): OptionalJson<ChangeFactor>,
) -> Result<Json<CodesChosen>, Error> {
    add(&state, &caller, Kind::Email, body).await
}

#[utoipa::path(
    put, path = "/mfa/sms", tag = "factors", operation_id = "add_sms_codes",
    security(("bearer" = [])),
    summary = "Choose codes by SMS as second factor",
    description = "They go to the proved number. A passkey or an authenticator app is stronger. The body may be \
                   left out.",
    request_body = Option<ChangeFactor>,
    responses(
        (status = 200, description = "Chosen.", body = CodesChosen),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: no proved number, no other first factor, or not offered here"),
    ),
)]
/// `PUT /mfa/sms`
async fn add_sms(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    OptionalJson(body): OptionalJson<ChangeFactor>,
) -> Result<Json<CodesChosen>, Error> {
    add(&state, &caller, Kind::Phone, body).await
}

async fn add(
    state: &State,
    caller: &FreshlyAuthenticated,
    kind: Kind,
    body: ChangeFactor,
) -> Result<Json<CodesChosen>, Error> {
    let change = Change {
        caller,
        end_other_sessions: body.end_other_sessions,
    };
    let recovery_codes = changes::add_codes(state, &change, kind).await?;
    Ok(Json(CodesChosen {
        method: Method::sending_to(kind).ok_or(Error::NotFound)?,
        note: STRONGER,
        recovery_codes,
    }))
}

#[utoipa::path(
    delete, path = "/mfa/email", tag = "factors", operation_id = "remove_email_codes",
    security(("bearer" = [])),
    summary = "Have no codes by mail as second factor any more",
    description = "With the last second factor the recovery codes go. The body may be left out.",
    request_body = Option<ChangeFactor>,
    responses(
        (status = 204, description = "Removed."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`: they were not chosen"),
    ),
)]
/// `DELETE /mfa/email`
async fn remove_email(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    OptionalJson(body): OptionalJson<ChangeFactor>,
) -> Result<StatusCode, Error> {
    remove(&state, &caller, Kind::Email, body).await
}

#[utoipa::path(
    delete, path = "/mfa/sms", tag = "factors", operation_id = "remove_sms_codes",
    security(("bearer" = [])),
    summary = "Have no codes by SMS as second factor any more",
    description = "With the last second factor the recovery codes go. The body may be left out.",
    request_body = Option<ChangeFactor>,
    responses(
        (status = 204, description = "Removed."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`: they were not chosen"),
    ),
)]
/// `DELETE /mfa/sms`
async fn remove_sms(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    OptionalJson(body): OptionalJson<ChangeFactor>,
) -> Result<StatusCode, Error> {
    remove(&state, &caller, Kind::Phone, body).await
}

async fn remove(
    state: &State,
    caller: &FreshlyAuthenticated,
    kind: Kind,
    body: ChangeFactor,
) -> Result<StatusCode, Error> {
    let change = Change {
        caller,
        end_other_sessions: body.end_other_sessions,
    };
    changes::remove_codes(state, &change, kind).await?;
    Ok(StatusCode::NO_CONTENT)
}
