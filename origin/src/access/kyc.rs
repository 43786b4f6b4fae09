//! The HTTP of reviewing verifications, for administrators.
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

use super::{Administrator, FreshAdministrator, users};
use crate::accounts::kyc::{self, Decision, Submission};
use crate::app::State;
use crate::error::Error;
use crate::ids::SubmissionId;
use crate::page::PageSize;
use crate::request::{Json, OptionalJson};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(review))
        .routes(routes!(withdraw))
}

/// Submissions in one answer unless said otherwise, and at most.
const PAGE: i64 = 50;
const LONGEST_PAGE: i64 = 100;

/// Which submissions.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Submissions behind this one: `next` of the answer before.
    #[param(value_type = Option<String>)]
    after: Option<SubmissionId>,
    /// At most so many, 1 to 100; 50 unless said.
    limit: Option<i64>,
}

/// Submissions that wait for a review, the oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = KycWaiting)]
struct Waiting {
    submissions: Vec<Submission>,
    /// For `after`, to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    next: Option<SubmissionId>,
}

#[utoipa::path(
    get, path = "/kyc", tag = "administration", operation_id = "kyc_waiting",
    summary = "Verifications that wait for a review",
    params(Wanted),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page, the oldest first.", body = Waiting),
        (status = 400, description = "`request_invalid`"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
    ),
)]
/// `GET /kyc`
async fn list(
    _administrator: Administrator,
    Shared(state): Shared<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Waiting>, Error> {
    let size = PageSize::checked(wanted.limit, PAGE, LONGEST_PAGE)?;
    let mut reader = state.db.read().await?;
    let mut submissions = kyc::waiting(&state, &mut reader, wanted.after, size.rows()).await?;
    let next = size.cut(&mut submissions, |submission| submission.id);
    Ok(Json(Waiting { submissions, next }))
}

/// What a reviewer says.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Approve,
    Reject,
}

/// The decision on the submission that waits.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KycReview)]
struct Review {
    /// The submission that the reviewer has looked at. Where another waits by now, that is a conflict;
    /// left out, it is whichever waits.
    #[schema(value_type = Option<String>, format = "uuid")]
    submission_id: Option<SubmissionId>,
    #[schema(inline)]
    decision: Verdict,
    /// Of an approval: the level that was reached, 1 to 3.
    level: Option<i64>,
    /// Of an approval: when it is over, in seconds since 1970; left out: when the first of its documents
    /// is out of date, and where none says when, it does not end by itself.
    expires_at: Option<i64>,
    /// Why, at most 500 characters. Its owner reads it.
    reason: Option<String>,
}

#[utoipa::path(
    post, path = "/users/{id}/kyc/review", tag = "administration", operation_id = "review_kyc",
    summary = "Decide on a verification that waits",
    description = "Where it changes what tokens say, the account's access tokens are turned away.",
    params(("id" = String, Path, description = "The account's id")),
    request_body = Review,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "Decided.", body = Submission),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: nothing waits, or another than was named, it is the \
                                      reviewer's own, a document is out of date by now, or a higher \
                                      level holds"),
    ),
)]
/// `POST /users/{id}/kyc/review`
async fn review(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Json(body): Json<Review>,
) -> Result<Json<Submission>, Error> {
    let id = users::parse(&id)?;
    let decision = match (body.decision, body.level, body.expires_at) {
        (Verdict::Approve, Some(level), expires_at) => Decision::Approve { level, expires_at },
        (Verdict::Approve, None, _) => return Err(Error::invalid("An approval has a level.")),
        (Verdict::Reject, None, None) => Decision::Reject,
        (Verdict::Reject, ..) => {
            return Err(Error::invalid("A refusal has no level and no expires_at."));
        }
    };
    let reason = users::checked_reason(body.reason)?;
    let mut tx = administrator.begin(&state).await?;
    let by = administrator.by();
    let submission = kyc::review(
        &state,
        &mut tx,
        by,
        (id, body.submission_id),
        decision,
        reason,
    )
    .await?;
    tx.commit().await?;
    Ok(Json(submission))
}

/// Why. The body may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KycWithdraw)]
struct Withdraw {
    /// At most 500 characters. Its owner reads it.
    #[serde(default)]
    reason: Option<String>,
}

#[utoipa::path(
    post, path = "/users/{id}/kyc/withdraw", tag = "administration", operation_id = "withdraw_kyc",
    summary = "Take a verification back",
    description = "The person is verified to no level, and the account's access tokens are turned away. \
                   A submission that waits goes on waiting.",
    params(("id" = String, Path, description = "The account's id")),
    request_body = Option<Withdraw>,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Taken back."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: no level is verified, or it is one's own"),
    ),
)]
/// `POST /users/{id}/kyc/withdraw`
async fn withdraw(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    OptionalJson(body): OptionalJson<Withdraw>,
) -> Result<StatusCode, Error> {
    let id = users::parse(&id)?;
    let reason = users::checked_reason(body.reason)?;
    let mut tx = administrator.begin(&state).await?;
    kyc::withdraw(&state, &mut tx, administrator.by(), id, reason).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
