//! The HTTP of revocations, for administrators.
#![expect(
    unused_qualifications,
    reason = "`params(…)` of utoipa makes a qualified path"
)]

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Administrator, FreshAdministrator};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::page::PageSize;
use crate::request::Json;
use crate::revocation::order::{self, Target};
use crate::revocation::{self, Listed};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list, revoke))
}

/// Entries in one answer unless said otherwise, and at most.
const PAGE: i64 = 100;
const LONGEST_PAGE: i64 = 1_000;

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Entries before this change: `next` of the answer before.
    before: Option<i64>,
    /// At most so many, 1 to 1000; 100 unless said.
    limit: Option<i64>,
}

/// What is turned away; instants are seconds since 1970.
#[derive(Serialize, ToSchema)]
#[schema(as = Revocation)]
struct Entry {
    /// `jti`, `sid`, `sub` or `kid`.
    kind: String,
    /// What is turned away.
    value: String,
    /// Of a subject: tokens issued at or before this second.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
    /// When it no longer matters; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    created_at: i64,
    /// Why, in a word.
    reason: String,
}

impl Entry {
    fn new(entry: Listed) -> Self {
        Self {
            not_before: (entry.kind == "sub").then_some(entry.not_before),
            kind: entry.kind,
            value: entry.value,
            expires_at: entry.expires_at.map(Timestamp::unix_seconds),
            created_at: entry.created_at.unix_seconds(),
            reason: entry.reason,
        }
    }
}

/// A page of entries, the latest change first.
#[derive(Serialize, ToSchema)]
#[schema(as = Revocations)]
struct Entries {
    revocations: Vec<Entry>,
    /// For `before`, to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

#[utoipa::path(
    get, path = "/revocations", tag = "administration", operation_id = "list_revocations",
    summary = "What is turned away",
    description = "What the gates are told, in clear. The latest change first.",
    params(Wanted),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page.", body = Entries),
        (status = 400, description = "`request_invalid`"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
    ),
)]
/// `GET /revocations`
async fn list(
    _administrator: Administrator,
    Shared(state): Shared<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Entries>, Error> {
    let size = PageSize::checked(wanted.limit, PAGE, LONGEST_PAGE)?;
    let mut reader = state.db.read().await?;
    let now = state.clock.now();
    let mut entries = revocation::entries(&mut reader, wanted.before, size.rows(), now).await?;
    let next = size.cut(&mut entries, |entry| entry.change);
    Ok(Json(Entries {
        revocations: entries.into_iter().map(Entry::new).collect(),
        next,
    }))
}

/// One of the three, as tokens spell it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Revoke {
    /// One access token.
    #[schema(max_length = 256)]
    jti: Option<String>,
    /// A session: it ends, and its tokens are turned away.
    #[schema(max_length = 256)]
    sid: Option<String>,
    /// A person: their sessions end, and every token issued until now is turned away.
    #[schema(max_length = 256)]
    sub: Option<String>,
}

/// What was turned away.
#[derive(Serialize, ToSchema)]
struct RevokedAnswer {
    /// In words.
    revoked: String,
    /// Whether the session or the account is known here and was in use; absent for a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<bool>,
}

#[utoipa::path(
    post, path = "/revocations", tag = "administration", operation_id = "order_revocation",
    summary = "Turn a token, a session or a person away",
    description = "Whether or not this database knows what is named. Gates follow within seconds.",
    request_body = Revoke,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "Turned away, and on disk.", body = RevokedAnswer),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
    ),
)]
/// `POST /revocations`
async fn revoke(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Json(body): Json<Revoke>,
) -> Result<(StatusCode, Json<RevokedAnswer>), Error> {
    let target = match (&body.jti, &body.sid, &body.sub) {
        (Some(jti), None, None) => Target::Token(jti),
        (None, Some(sid), None) => Target::Session(sid),
        (None, None, Some(sub)) => Target::Subject(sub),
        _ => return Err(Error::invalid("Expected one of jti, sid and sub.")),
    };
    let mut tx = administrator.begin(&state).await?;
    let done = order::revoke(&state, &mut tx, administrator.by(), target).await?;
    tx.commit().await?;
    let answer = RevokedAnswer {
        revoked: done.what,
        known: done.known,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}
