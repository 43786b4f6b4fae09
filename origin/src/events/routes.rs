//! The HTTP of the audit trail.
#![expect(
    unused_qualifications,
    reason = "`params(…)` of utoipa makes a qualified path"
)]

use axum::extract::{Path, Query, State as Shared};
use edgekeep_shared::error::Rejection;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::AnyConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::store::{self, Row, Search};
use super::{Actor, Details, Kind, Outcome};
use crate::access::{self, Administrator};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::page::PageSize;
use crate::request::Json;
use crate::tokens::Authenticated;
use crate::tokens::keyring::rfc3339;
use crate::vault::{Purpose, VaultError};

/// The routes under `/api/v1/auth`.
pub fn auth() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(of_user))
}

/// The routes under `/api/v1/admin`.
pub fn admin() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(all))
}

/// Events in one answer unless said otherwise, and at most: an answer of some 100 KiB.
const PAGE: i64 = 50;
const LONGEST_PAGE: i64 = 200;

/// Events in a copy of somebody's data: some five megabytes.
const MOST_OF_ACCOUNT: i64 = 10_000;

/// What is looked for; everything may be left out.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Events before this number: `next` of the answer before.
    before: Option<i64>,
    /// At most so many, 1 to 200; 50 unless said.
    limit: Option<i64>,
    /// Of this kind only.
    kind: Option<String>,
    /// `success`, `failure` or `skipped`.
    outcome: Option<String>,
    /// By this actor only: `user <id>`, `operator`, `system` or `anonymous`.
    actor: Option<String>,
    /// In this session only.
    #[param(value_type = Option<String>)]
    session_id: Option<SessionId>,
    /// With this correlation id only.
    request_id: Option<String>,
    /// From this instant on, in seconds since 1970.
    since: Option<i64>,
    /// Before this instant, in seconds since 1970.
    until: Option<i64>,
}

impl Wanted {
    fn size(&self) -> Result<PageSize, Error> {
        PageSize::checked(self.limit, PAGE, LONGEST_PAGE)
    }

    fn search(&self) -> Result<Search<'_>, Error> {
        let kind = self.kind.as_deref();
        if kind.is_some_and(|word| Kind::from_word(word).is_none()) {
            return Err(Error::invalid("kind: no such kind of event."));
        }
        let outcome = self.outcome.as_deref();
        if outcome.is_some_and(|word| Outcome::from_word(word).is_none()) {
            return Err(Error::invalid(
                "outcome: expected success, failure or skipped.",
            ));
        }
        Ok(Search {
            user: None,
            kind,
            outcome,
            actor: self.actor.as_deref(),
            session: self.session_id,
            request: self.request_id.as_deref(),
            before: self.before,
            since: self.since.map(Timestamp::from_unix_seconds),
            until: self.until.map(Timestamp::from_unix_seconds),
        })
    }
}

/// What happened.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEvent {
    /// Its number in the trail.
    sequence: i64,
    /// When, as RFC 3339 has it.
    occurred_at: String,
    /// What happened: `login`, `factor`, `roles`, …
    kind: String,
    /// `success`, `failure` or `skipped`.
    outcome: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// `user <id>`, `operator`, `system` or `anonymous`.
    actor: String,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    user_id: Option<UserId>,
    /// Which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    session_id: Option<SessionId>,
    /// The correlation id of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    request_id: String,
    /// By which method: `password`, `totp`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// The address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    /// The client's user agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// The value before.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Value>,
    /// The value after.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Value>,
    /// `true` where not all that stands there can be read: it is not what the server wrote, or was sealed
    /// under a key that it does not have. What cannot is empty or left out. Absent otherwise.
    #[serde(skip_serializing_if = "is_false")]
    unreadable: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// A page of the trail, newest first.
#[derive(Serialize, ToSchema)]
struct AuditEvents {
    /// The events.
    events: Vec<AuditEvent>,
    /// For `before`, to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

#[utoipa::path(
    get, path = "/security-events/{user_id}", tag = "accounts", operation_id = "security_events",
    summary = "What happened around an account",
    description = "One's own, or anybody's for an administrator. Newest first.",
    params(("user_id" = String, Path, description = "The account's id"), Wanted),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page.", body = AuditEvents),
        (status = 400, description = "`request_invalid`: a filter that is none"),
        (status = 403, description = "`mfa_required`: an administrator has to prove a second factor"),
        (status = 404, description = "`not_found`: another's account"),
    ),
)]
/// `GET /security-events/{user_id}`: one's own, or an administrator's view of anybody's.
async fn of_user(
    Shared(state): Shared<State>,
    caller: Authenticated,
    Path(user_id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<AuditEvents>, Error> {
    let user_id: UserId = user_id.parse().map_err(|_| Error::NotFound)?;
    if user_id != caller.user_id {
        // Administration, wherever it is read: with what that asks for.
        match access::admit(&state, &caller).await {
            Err(Error::Rejected(Rejection::InsufficientRole)) => return Err(Error::NotFound),
            admitted => admitted?,
        }
    }
    let search = Search {
        user: Some(user_id),
        ..wanted.search()?
    };
    let reader = (user_id == caller.user_id).then_some(user_id);
    page(&state, &search, wanted.size()?, reader)
        .await
        .map(Json)
}

#[utoipa::path(
    get, path = "/audit", tag = "administration", operation_id = "audit",
    summary = "The audit trail",
    description = "For administrators. Newest first.",
    params(Wanted),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page.", body = AuditEvents),
        (status = 400, description = "`request_invalid`: a filter that is none"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
    ),
)]
/// `GET /api/v1/admin/audit`
async fn all(
    Shared(state): Shared<State>,
    _administrator: Administrator,
    Query(wanted): Query<Wanted>,
) -> Result<Json<AuditEvents>, Error> {
    page(&state, &wanted.search()?, wanted.size()?, None)
        .await
        .map(Json)
}

/// The latest events about an account, as many as a person may want to look through.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn of_account(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<AuditEvent>, Error> {
    let search = Search {
        user: Some(user_id),
        ..Search::default()
    };
    let rows = store::search(connection, &search, MOST_OF_ACCOUNT).await?;
    Ok(show_all(state, rows, Some(user_id)))
}

async fn page(
    state: &State,
    search: &Search<'_>,
    size: PageSize,
    reader: Option<UserId>,
) -> Result<AuditEvents, Error> {
    let mut connection = state.db.read().await?;
    let mut rows = store::search(&mut connection, search, size.rows()).await?;
    let next = size.cut(&mut rows, |row| row.sequence);
    Ok(AuditEvents {
        events: show_all(state, rows, reader),
        next,
    })
}

/// Events as `reader` sees them: whose account it is, or nobody in particular for administrators.
fn show_all(state: &State, rows: Vec<Row>, reader: Option<UserId>) -> Vec<AuditEvent> {
    let mut unopened = 0_usize;
    let mut why = None;
    let events = rows.into_iter().map(|row| {
        let details = match &row.details {
            None => Some(Details::default()),
            Some(sealed) => open(state, &row.link.id, sealed).unwrap_or_else(|error| {
                unopened += 1;
                why.get_or_insert(error);
                None
            }),
        };
        show(row, details, reader)
    });
    let events = events.collect();
    if let Some(why) = why {
        tracing::error!(%why, unopened, "what is sealed beside events does not open");
    }
    events
}

/// An event as `reader` sees it, with what was sealed beside it where that can be read.
///
/// From where somebody else acted, an administrator say, is that person's data and not the reader's; so
/// is what was done by nobody knows whom. What somebody altered so that it cannot be read keeps nobody
/// from reading the rest.
fn show(row: Row, details: Option<Details>, reader: Option<UserId>) -> AuditEvent {
    let link = row.link;
    let is_of_another = reader.is_some_and(|reader| {
        let shown = [
            Actor::User(reader),
            Actor::Operator,
            Actor::System,
            Actor::Anonymous,
        ];
        !shown.iter().any(|actor| actor.to_string() == link.actor)
    });
    let unreadable = row.unreadable.is_some() || details.is_none();
    let details = details.unwrap_or_default();
    let is_timeless = row.unreadable.is_some() && link.occurred_at.micros() == 0;
    AuditEvent {
        sequence: row.sequence,
        occurred_at: if is_timeless {
            String::new()
        } else {
            rfc3339(link.occurred_at)
        },
        kind: link.kind,
        outcome: link.outcome,
        reason: link.reason,
        actor: link.actor,
        user_id: link.user_id,
        session_id: link.session_id,
        request_id: link.request_id,
        method: details.method,
        ip_address: details.address.filter(|_| !is_of_another),
        user_agent: details.user_agent.filter(|_| !is_of_another),
        old: details.old,
        new: details.new,
        unreadable,
    }
}

/// What is sealed beside the event `id`; nothing where it is not what the server seals.
fn open(state: &State, id: &[u8], sealed: &[u8]) -> Result<Option<Details>, VaultError> {
    let json = state.vault.open(Purpose::Audit, id, sealed)?;
    Ok(serde_json::from_slice(&json).ok())
}
