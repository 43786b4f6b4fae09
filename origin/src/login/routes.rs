//! The HTTP of logging in.

use axum::Extension;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Asked, LoggedIn, hasher, otp, password, reset};
use crate::abuse::{Limit, Subject, captcha, lockout};
use crate::accounts::{self, Identifier};
use crate::app::State;
use crate::browser::{self, InBrowser};
use crate::clock::Timestamp;
use crate::config::CaptchaFor;
use crate::error::Error;
use crate::request::{Caller, Json, checked_device_id};
use crate::tokens::Authenticated;
use crate::vault::Secret;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(lock_status))
        .routes(routes!(otp_send))
        .routes(routes!(otp_verify))
        .routes(routes!(forgot_password))
        .routes(routes!(reset_password))
        .routes(routes!(change_password))
}

/// An identifier (address, number or user name) and its password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    #[schema(max_length = 254)]
    identifier: String,
    #[schema(value_type = String, format = Password)]
    password: Secret,
    /// A name for the device, which its session then carries.
    #[schema(max_length = 128)]
    device_id: Option<String>,
    /// What an earlier login on this device has answered. It is then held up by its own failures
    /// only. One that is unknown, foreign or expired is as if absent. Left out in browser mode: a
    /// cookie holds it.
    #[schema(value_type = Option<String>)]
    device_token: Option<Secret>,
    captcha: Option<captcha::Answer>,
}

#[utoipa::path(
    post, path = "/login", tag = "login",
    summary = "Log in with a password",
    description = "Unknown identifiers and wrong passwords cannot be told apart.",
    request_body = Login,
    responses(
        (status = 200, description = "Logged in, or a second factor is asked for.", body = LoggedIn),
        (status = 400, description = "`request_invalid`, `captcha_invalid`"),
        (status = 401, description = "`credentials_invalid`"),
        (status = 403, description = "`captcha_required`"),
        (status = 423, description = "`account_locked`; `Retry-After` says for how long"),
        (status = 429, description = "`rate_limited`: too many failures of the address or the account, too soon after one, or too many logins of the account"),
    ),
)]
/// `POST /login`: tokens, or a token for the second step, or `credentials_invalid` whatever was wrong, or `account_locked`.
async fn login(
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    Json(body): Json<Login>,
) -> Result<LoggedIn, Error> {
    let device_token = browser::device_token(body.device_token, browser)?;
    let identifier = Identifier::typed(&body.identifier)?;
    let device_id = checked_device_id(body.device_id)?;
    // A password that cannot be anybody's is not worth a hash, and tells nothing about anybody.
    if body.password.expose().is_empty() || body.password.expose().len() > hasher::MAX_BYTES {
        return Err(Error::invalid("password: expected 1 to 1024 bytes."));
    }
    let answer = body.captcha.as_ref();
    captcha::admit(&state, &caller, CaptchaFor::Login, &identifier, answer).await?;
    let given = password::Given {
        identifier,
        password: body.password,
        device_id,
        device_token,
    };
    let attempt = state
        .limiter
        .attempt(&caller, Limit::LoginFailuresByAddress)
        .await?;
    let outcome = password::log_in(&state, &caller, given).await;
    attempt.settle(&outcome);
    captcha::note(&state, &caller, &outcome);
    outcome
}

/// How passwords of an identifier fare, whether or not anybody has it.
#[derive(Serialize, ToSchema)]
struct LockStatus {
    locked: bool,
    /// Seconds until a password is looked at again; 0 if not locked.
    #[schema(value_type = u64)]
    retry_after: u128,
    /// Wrong passwords with less than 15 minutes between them; 0 once a lock is over. A right one
    /// takes none back here.
    failed_attempts: u32,
    /// When the lock ends (RFC 3339); null if not locked.
    #[schema(format = DateTime)]
    locked_until: Option<String>,
    /// When the last wrong password was given (RFC 3339); null if none was in 30 days.
    #[schema(format = DateTime)]
    last_attempt: Option<String>,
}

#[utoipa::path(
    get, path = "/lock-status/{identifier}", tag = "login",
    summary = "Whether an identifier is locked",
    description = "The same for identifiers that nobody has: their failures count and lock alike.",
    params(("identifier" = String, Path, description = "Address, number or user name")),
    responses(
        (status = 200, description = "As of now.", body = LockStatus),
        (status = 400, description = "`request_invalid`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `GET /lock-status/{identifier}`: the same for identifiers that nobody has.
async fn lock_status(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(identifier): Path<String>,
) -> Result<Json<LockStatus>, Error> {
    state
        .limiter
        .by_address(&caller, Limit::LockStatusByAddress)?;
    let blind = Identifier::typed(&identifier)?.blind(&state.vault)?;
    let subject = Subject::identifier(&state.vault, &blind)?;
    let mut reader = state.db.read().await?;
    let standing = lockout::standing(&mut reader, &subject, state.clock.now()).await?;
    let retry_after = standing
        .locked_for
        .map_or(0, |wait| wait.as_micros().div_ceil(1_000_000));
    Ok(Json(LockStatus {
        locked: standing.locked_for.is_some(),
        retry_after,
        failed_attempts: standing.told,
        locked_until: standing.locked_until.map(Timestamp::to_rfc3339),
        last_attempt: standing.failed_at.map(Timestamp::to_rfc3339),
    }))
}

/// One address: `email` or `phone_number`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OtpSend {
    email: Option<String>,
    phone_number: Option<String>,
    country_code: Option<String>,
    /// A name for the device, in the place of the header `X-Device-ID`: the code is then good on no
    /// other.
    #[schema(max_length = 128)]
    device_id: Option<String>,
    /// What an earlier login on this device has answered: codes come to it though strangers' guesses
    /// have turned them off, and are counted apart from those that strangers ask for. Left out in
    /// browser mode: a cookie holds it.
    #[schema(value_type = Option<String>)]
    device_token: Option<Secret>,
    captcha: Option<captcha::Answer>,
}

/// What a code is given back with.
#[derive(Serialize, ToSchema)]
struct OtpSent {
    /// For `POST /otp/verify`.
    otp_token: String,
    /// Seconds for which the code is good.
    expires_in: u64,
}

#[utoipa::path(
    post, path = "/otp/send", tag = "login",
    summary = "Send a one-time code",
    description = "The same answer for addresses that nobody has.",
    request_body = OtpSend,
    responses(
        (status = 200, description = "A code is on its way, if it may be.", body = OtpSent),
        (status = 400, description = "`request_invalid`, `captcha_invalid`"),
        (status = 403, description = "`captcha_required`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /otp/send`: the same answer for addresses that nobody has.
async fn otp_send(
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    Json(body): Json<OtpSend>,
) -> Result<Json<OtpSent>, Error> {
    let device_token = browser::device_token(body.device_token, browser)?;
    let address = accounts::address(body.email, body.phone_number, body.country_code.as_deref())?;
    let id = checked_device_id(body.device_id)?;
    let answer = body.captcha.as_ref();
    captcha::admit(&state, &caller, CaptchaFor::Otp, &address, answer).await?;
    state.limiter.by_address(&caller, Limit::SendsByAddress)?;
    let device = otp::Device {
        id,
        token: device_token,
    };
    let token = otp::send(&state, &caller, &address, &device).await?;
    Ok(Json(OtpSent {
        otp_token: token.expose().to_owned(),
        expires_in: state.config.otp.ttl_seconds,
    }))
}

/// The token of `POST /otp/send`, and the code that was sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OtpVerify {
    #[schema(value_type = String)]
    otp_token: Secret,
    /// Six digits.
    #[schema(value_type = String)]
    code: Secret,
    /// A name for the device, which its session then carries. That, or `X-Device-ID`, is the one that
    /// asked for the code, where that request named one.
    #[schema(max_length = 128)]
    device_id: Option<String>,
    /// As at `POST /login`: the guess is then counted at the device.
    #[schema(value_type = Option<String>)]
    device_token: Option<Secret>,
}

#[utoipa::path(
    post, path = "/otp/verify", tag = "login",
    summary = "Log in with a one-time code",
    description = "Makes an account for an address that has none.",
    request_body = OtpVerify,
    responses(
        (status = 200, description = "Logged in, or a second factor is asked for.", body = LoggedIn),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 403, description = "`mfa_required`: the only second factor would prove the same"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /otp/verify`
async fn otp_verify(
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    Json(body): Json<OtpVerify>,
) -> Result<LoggedIn, Error> {
    let device = otp::Device {
        id: checked_device_id(body.device_id)?,
        token: browser::device_token(body.device_token, browser)?,
    };
    let attempt = state
        .limiter
        .attempt(&caller, Limit::CodeFailuresByAddress)
        .await?;
    let outcome = otp::verify(&state, &caller, &body.otp_token, &body.code, device).await;
    attempt.settle(&outcome);
    captcha::note(&state, &caller, &outcome);
    outcome
}

/// Whose password was forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ForgotPassword {
    identifier: String,
    captcha: Option<captcha::Answer>,
}

/// That the request was understood, and nothing else.
#[derive(Serialize, ToSchema)]
struct Accepted {
    /// Always `accepted`.
    status: &'static str,
}

#[utoipa::path(
    post, path = "/forgot-password", tag = "login",
    summary = "Send a link that sets a new password",
    description = "The same answer whether or not there is an account.",
    request_body = ForgotPassword,
    responses(
        (status = 202, description = "A message is on its way, if it may be.", body = Accepted),
        (status = 400, description = "`request_invalid`, `captcha_invalid`"),
        (status = 403, description = "`captcha_required`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /forgot-password`: 202 whether or not there is an account.
async fn forgot_password(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<ForgotPassword>,
) -> Result<Response, Error> {
    let identifier = Identifier::typed(&body.identifier)?;
    let answer = body.captcha.as_ref();
    captcha::admit(&state, &caller, CaptchaFor::Password, &identifier, answer).await?;
    state.limiter.by_address(&caller, Limit::ForgotByAddress)?;
    reset::forgot(&state, &caller, &identifier).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { status: "accepted" })).into_response())
}

/// The token of the link, and the password to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResetPassword {
    #[schema(value_type = String)]
    token: Secret,
    /// 8 to 1024 bytes, and none that is common, easy to guess or made of the person's names.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

#[utoipa::path(
    post, path = "/reset-password", tag = "login",
    summary = "Set a new password by the link's token",
    description = "Ends every session of the account.",
    request_body = ResetPassword,
    responses(
        (status = 204, description = "Set."),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /reset-password`
async fn reset_password(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<ResetPassword>,
) -> Result<StatusCode, Error> {
    state.limiter.by_address(&caller, Limit::ResetByAddress)?;
    reset::reset(&state, &body.token, &body.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The password as it is, and as it is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    #[schema(value_type = String, format = Password)]
    current_password: Secret,
    /// 8 to 1024 bytes, and none that is common, easy to guess or made of the person's names.
    #[schema(value_type = String, format = Password)]
    new_password: Secret,
}

#[utoipa::path(
    post, path = "/change-password", tag = "login", security(("bearer" = [])),
    summary = "Change the caller's password",
    description = "Ends every other session of the account. Where it has a second factor, that has to be \
                   fresh; otherwise the present password is the proof.",
    request_body = ChangePassword,
    responses(
        (status = 204, description = "Changed."),
        (status = 401, description = "`credentials_invalid`, `step_up_required`, or the access token is not accepted"),
        (status = 409, description = "`conflict`: there is no password to change; `POST /forgot-password` sets one"),
        (status = 423, description = "`account_locked`; `Retry-After` says for how long"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /change-password`: ends every other session.
async fn change_password(
    Shared(state): Shared<State>,
    authenticated: Authenticated,
    caller: Caller,
    Json(body): Json<ChangePassword>,
) -> Result<StatusCode, Error> {
    // Before the password is looked at: a copied token must be no place to guess at it either.
    Asked::second_where_there_is_one(&state, &authenticated).await?;
    let attempt = state
        .limiter
        .attempt(&caller, Limit::LoginFailuresByAddress)
        .await?;
    let outcome = password::change(
        &state,
        &caller,
        &authenticated,
        &body.current_password,
        &body.new_password,
    )
    .await;
    attempt.settle(&outcome);
    outcome.map(|()| StatusCode::NO_CONTENT)
}
