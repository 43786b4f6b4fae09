//! The HTTP of a login's second step.

use axum::extract::State as Shared;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Method;
use crate::abuse::Limit;
use crate::app::State;
use crate::error::Error;
use crate::login::checked_code;
use crate::request::{Caller, Json};
use crate::sessions::Tokens;
use crate::vault::Secret;

pub(in crate::login) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(login_mfa))
        .routes(routes!(send_code))
}

/// The token of the first step, and a code of the second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginMfa {
    #[schema(value_type = String)]
    mfa_token: Secret,
    method: Method,
    /// Spaces do not matter; nor do hyphens and capitals of a recovery code.
    #[schema(value_type = String, max_length = 64)]
    code: Secret,
}

#[utoipa::path(
    post, path = "/login/mfa", tag = "login",
    summary = "Complete a login with a second factor",
    description = "The token is good once and for five tries. Whatever is wrong with token or code \
                   is `code_invalid`; when the tries are used up, log in again.",
    request_body = LoginMfa,
    responses(
        (status = 200, description = "Logged in.", body = Tokens),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /login/mfa`
async fn login_mfa(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<LoginMfa>,
) -> Result<Json<Tokens>, Error> {
    checked_code(&body.code)?;
    let attempt = state
        .limiter
        .attempt(&caller, Limit::CodeFailuresByAddress)
        .await?;
    let outcome = super::verify(&state, &caller, &body.mfa_token, body.method, &body.code).await;
    attempt.settle(&outcome);
    outcome.map(Json)
}

/// The token of the first step, and by which way a code is to come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendMfa {
    #[schema(value_type = String)]
    mfa_token: Secret,
    /// `sms` or `email`, where it is one of `methods`.
    method: Method,
}

/// That a code is on its way.
#[derive(Serialize, ToSchema)]
struct MfaSent {
    /// Seconds for which the code is good.
    expires_in: u64,
}

#[utoipa::path(
    post, path = "/login/mfa/send", tag = "login", operation_id = "send_mfa_code",
    summary = "Send a code that is the second factor",
    description = "For those who chose codes by mail or SMS. A new code ends the one before.",
    request_body = SendMfa,
    responses(
        (status = 200, description = "A code is on its way.", body = MfaSent),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /login/mfa/send`
async fn send_code(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<SendMfa>,
) -> Result<Json<MfaSent>, Error> {
    state.limiter.by_address(&caller, Limit::SendsByAddress)?;
    super::send(&state, &caller, &body.mfa_token, body.method).await?;
    Ok(Json(MfaSent {
        expires_in: state.config.otp.ttl_seconds,
    }))
}
