//! The HTTP of a login's second step.

use axum::extract::State as Shared;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Method, Shown};
use crate::abuse::Limit;
use crate::app::State;
use crate::error::Error;
use crate::login::checked_code;
use crate::login::passkeys::routes::{PasskeyChallenge, checked_token, read_credential};
use crate::request::{Caller, Json};
use crate::sessions::Tokens;
use crate::vault::Secret;

pub(in crate::login) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(login_mfa))
        .routes(routes!(send_code))
        .routes(routes!(begin_passkey))
}

/// The token of the first step, and a code of the second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoginMfa {
    #[schema(value_type = String)]
    mfa_token: Secret,
    method: Method,
    /// For every method but `passkey`. Spaces do not matter; nor do hyphens and capitals of a
    /// recovery code.
    #[schema(value_type = Option<String>, max_length = 64)]
    code: Option<Secret>,
    /// For `passkey`: from `POST /login/mfa/passkey`.
    #[schema(value_type = Option<String>, max_length = 64)]
    passkey_token: Option<Secret>,
    /// For `passkey`: what `PublicKeyCredential.toJSON()` gives.
    #[schema(value_type = Option<Object>)]
    credential: Option<Value>,
}

#[utoipa::path(
    post, path = "/login/mfa", tag = "login",
    summary = "Complete a login with a second factor",
    description = "The token is good once and for five tries. Whatever is wrong with token or code \
                   is `code_invalid`; when the tries are used up, log in again. A code that comes too \
                   soon after wrong ones is `rate_limited`, and no try.",
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
) -> Result<Tokens, Error> {
    let token = body.mfa_token;
    let shown = match (body.method, body.code, body.passkey_token, body.credential) {
        (Method::Passkey, None, Some(challenge), Some(credential)) => {
            checked_token(&challenge)?;
            Shown::Passkey(challenge, Box::new(read_credential(credential)?))
        }
        (Method::Passkey, ..) => {
            return Err(Error::invalid(
                "Expected passkey_token and credential, and no code.",
            ));
        }
        (method, Some(code), None, None) => {
            checked_code(&code)?;
            Shown::Code(method, code)
        }
        _ => return Err(Error::invalid("Expected code, and nothing of a passkey.")),
    };
    let attempt = state
        .limiter
        .attempt(&caller, Limit::CodeFailuresByAddress)
        .await?;
    let outcome = super::verify(&state, &caller, &token, &shown).await;
    attempt.settle(&outcome);
    outcome
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

/// The token of the first step.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BeginPasskey {
    #[schema(value_type = String)]
    mfa_token: Secret,
}

#[utoipa::path(
    post, path = "/login/mfa/passkey", tag = "login", operation_id = "begin_mfa_passkey",
    summary = "Begin to show a passkey as second factor",
    description = "`options.publicKey` is for `navigator.credentials.get()`; what comes of it goes to \
                   `POST /login/mfa` with method `passkey`.",
    request_body = BeginPasskey,
    responses(
        (status = 200, description = "A challenge for five minutes.", body = PasskeyChallenge),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /login/mfa/passkey`
async fn begin_passkey(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<BeginPasskey>,
) -> Result<Json<PasskeyChallenge>, Error> {
    state.limiter.by_address(&caller, Limit::PasskeyByAddress)?;
    let begun = super::begin_passkey(&state, &body.mfa_token).await?;
    Ok(Json(PasskeyChallenge::new(begun)))
}
