//! The HTTP of captchas.

use axum::extract::{Query, State as Shared};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Solved;
use super::challenge::{self, Challenge};
use super::solution;
use crate::abuse::Limit;
use crate::accounts::Identifier;
use crate::app::State;
use crate::config::{CaptchaFor, CaptchaKind};
use crate::error::Error;
use crate::request::{Caller, Json};

/// The routes under `/api/v1/auth`.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(captcha))
        .routes(routes!(verify))
}

/// What the captcha is wanted for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(rename = "for")]
    purpose: CaptchaFor,
    target: Option<String>,
    #[serde(rename = "type")]
    kind: Option<CaptchaKind>,
}

#[utoipa::path(
    get, path = "/captcha", tag = "login",
    summary = "A captcha to solve",
    description = "Bound to what it is for and with which identifier it will be used; good once. \
                   With `type=code` a message is sent.",
    params(
        ("for" = inline(CaptchaFor), Query, description = "What it is for: it is good for nothing \
            else"),
        ("target" = Option<String>, Query, description = "The address, number (with `+`) or user \
            name that it is to be used with. Needed unless `captcha.bind_target` is off"),
        ("type" = inline(Option<CaptchaKind>), Query, description = "The sort; left out: the one \
            that fits"),
    ),
    responses(
        (status = 200, description = "To be solved.", body = Challenge),
        (status = 400, description = "`request_invalid`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `GET /captcha`: the same for identifiers that nobody has.
async fn captcha(
    Shared(state): Shared<State>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Challenge>, Error> {
    let identifier = wanted
        .target
        .as_deref()
        .map(Identifier::typed)
        .transpose()?;
    let identifier = identifier.as_ref();
    challenge::make(&state, &caller, wanted.kind, wanted.purpose, identifier)
        .await
        .map(Json)
}

/// What a right answer is exchanged for.
#[derive(Serialize, ToSchema)]
struct Passed {
    /// For the field `captcha` of the request that the captcha is for; good once.
    captcha_token: String,
    /// Seconds for which it is good.
    expires_in: u64,
}

#[utoipa::path(
    post, path = "/captcha/verify", tag = "login", operation_id = "verify_captcha",
    summary = "Exchange a right answer for a token",
    description = "The token is bound to what the captcha was bound to. Three answers are \
                   looked at.",
    request_body = Solved,
    responses(
        (status = 200, description = "Right.", body = Passed),
        (status = 400, description = "`request_invalid`, `captcha_invalid`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /captcha/verify`
async fn verify(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<Solved>,
) -> Result<Json<Passed>, Error> {
    body.check()?;
    state.limiter.by_address(&caller, Limit::CaptchaByAddress)?;
    let token = solution::exchange(&state, &caller, &body).await?;
    Ok(Json(Passed {
        captcha_token: token.expose().to_owned(),
        expires_in: state.config.captcha.ttl_seconds,
    }))
}
