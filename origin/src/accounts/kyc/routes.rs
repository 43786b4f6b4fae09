//! The HTTP of verification, for the person.

use axum::extract::State as Shared;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Document, Submission};
use crate::accounts;
use crate::accounts::status::By;
use crate::app::State;
use crate::error::Error;
use crate::request::{Caller, Json};
use crate::tokens::Authenticated;

pub(in crate::accounts) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(submit))
        .routes(routes!(standing))
}

/// Where the documents are that show who somebody is. No document is sent here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KycSubmit {
    /// The level that is asked for, 1 to 3.
    level: i64,
    /// 1 to 8.
    documents: Vec<Document>,
}

#[utoipa::path(
    post, path = "/kyc/verify", tag = "accounts", operation_id = "submit_kyc",
    summary = "Ask to be verified",
    description = "An administrator reviews it. One submission waits at a time.",
    request_body = KycSubmit,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It waits for its review.", body = Submission),
        (status = 409, description = "`conflict`: one waits already, or the level is below the present one"),
    ),
)]
/// `POST /kyc/verify`
async fn submit(
    Shared(state): Shared<State>,
    session: Authenticated,
    caller: Caller,
    Json(body): Json<KycSubmit>,
) -> Result<(StatusCode, Json<Submission>), Error> {
    let mut tx = state.db.write().await?;
    let by = By::user(session.user_id, &caller);
    let (level, documents) = (body.level, body.documents);
    let submission = super::submit(&state, &mut tx, by, session.user_id, level, documents).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(submission)))
}

/// How a person stands; instants are seconds since 1970.
#[derive(Serialize, ToSchema)]
#[schema(as = Kyc)]
struct Standing {
    /// To what level they are verified, 0 if not.
    level: i64,
    /// `none`, `pending`, `verified`, `rejected` or `expired`.
    status: String,
    /// When the verification is over; absent where it does not end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    /// What was submitted, the latest first.
    submissions: Vec<Submission>,
}

#[utoipa::path(
    get, path = "/kyc", tag = "accounts", operation_id = "kyc",
    summary = "To what level the caller is verified",
    security(("bearer" = [])),
    responses((status = 200, description = "As of now.", body = Standing)),
)]
/// `GET /kyc`
async fn standing(
    Shared(state): Shared<State>,
    caller: Authenticated,
) -> Result<Json<Standing>, Error> {
    let mut reader = state.db.read().await?;
    let user = accounts::load(&state, &mut reader, caller.user_id)
        .await?
        .ok_or(Error::NotFound)?;
    Ok(Json(Standing {
        level: user.kyc_level,
        status: user.kyc_status,
        expires_at: user.kyc_expires_at,
        submissions: super::submissions(&state, &mut reader, caller.user_id).await?,
    }))
}
