//! The HTTP of logging in.

use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{hasher, otp, password, reset};
use crate::abuse::{self, Subject, lockout};
use crate::accounts::{self, Identifier};
use crate::app::State;
use crate::error::Error;
use crate::request::{Caller, Json, checked_device_id};
use crate::sessions::Tokens;
use crate::tokens::Authenticated;
use crate::vault::Secret;

pub(super) fn routes() -> Router<State> {
    Router::new()
        .route("/login", post(login))
        .route("/lock-status/{identifier}", get(lock_status))
        .route("/otp/send", post(otp_send))
        .route("/otp/verify", post(otp_verify))
        .route("/forgot-password", post(forgot_password))
        .route("/reset-password", post(reset_password))
        .route("/change-password", post(change_password))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    identifier: String,
    password: Secret,
    device_id: Option<String>,
    #[serde(rename = "captcha")]
    _captcha: Option<Value>,
}

/// `POST /login`: tokens, or `credentials_invalid` whatever was wrong, or `account_locked`.
async fn login(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<Login>,
) -> Result<Json<Tokens>, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Attempt)?;
    let identifier = Identifier::typed(&body.identifier)?;
    let device_id = checked_device_id(body.device_id)?;
    // A password that cannot be anybody's is not worth a hash, and tells nothing about anybody.
    if body.password.expose().is_empty() || body.password.expose().len() > hasher::MAX_BYTES {
        return Err(Error::invalid("password: expected 1 to 1024 bytes."));
    }
    password::log_in(&state, &caller, &identifier, &body.password, device_id)
        .await
        .map(Json)
}

/// `GET /lock-status/{identifier}`: the same shape for identifiers that nobody has.
async fn lock_status(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(identifier): Path<String>,
) -> Result<Json<Value>, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Attempt)?;
    let blind = Identifier::typed(&identifier)?.blind(&state.vault)?;
    let subject = Subject::identifier(&state.vault, &blind)?;
    let mut reader = state.db.read().await?;
    let standing = lockout::standing(&mut reader, &subject, state.clock.now()).await?;
    let retry_after = standing
        .locked_for
        .map_or(0, |wait| wait.as_millis().div_ceil(1_000));
    Ok(Json(
        json!({"locked": standing.locked_for.is_some(), "retry_after": retry_after}),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtpSend {
    email: Option<String>,
    phone_number: Option<String>,
    country_code: Option<String>,
    #[serde(rename = "captcha")]
    _captcha: Option<Value>,
}

/// `POST /otp/send`: the same answer for addresses that nobody has.
async fn otp_send(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<OtpSend>,
) -> Result<Json<Value>, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Send)?;
    let address = accounts::address(body.email, body.phone_number, body.country_code.as_deref())?;
    let token = otp::send(&state, &address).await?;
    Ok(Json(json!({
        "otp_token": token.expose(),
        "expires_in": state.config.otp.ttl_seconds,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtpVerify {
    otp_token: Secret,
    code: Secret,
    device_id: Option<String>,
}

/// `POST /otp/verify`
async fn otp_verify(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<OtpVerify>,
) -> Result<Json<Tokens>, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Attempt)?;
    let device_id = checked_device_id(body.device_id)?;
    otp::verify(&state, &caller, &body.otp_token, &body.code, device_id)
        .await
        .map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForgotPassword {
    identifier: String,
    #[serde(rename = "captcha")]
    _captcha: Option<Value>,
}

/// `POST /forgot-password`: 202 whether or not there is an account.
async fn forgot_password(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<ForgotPassword>,
) -> Result<Response, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Send)?;
    reset::forgot(&state, &Identifier::typed(&body.identifier)?).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"status": "accepted"}))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetPassword {
    token: Secret,
    password: Secret,
}

/// `POST /reset-password`
async fn reset_password(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<ResetPassword>,
) -> Result<StatusCode, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Attempt)?;
    reset::reset(&state, &body.token, &body.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    current_password: Secret,
    new_password: Secret,
}

/// `POST /change-password`: ends every other session.
async fn change_password(
    Shared(state): Shared<State>,
    caller: Authenticated,
    Json(body): Json<ChangePassword>,
) -> Result<StatusCode, Error> {
    password::change(
        &state,
        caller.user_id,
        caller.session_id,
        &body.current_password,
        &body.new_password,
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
