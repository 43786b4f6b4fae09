//! The HTTP of accounts, for administrators.
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

use super::{Administrator, FreshAdministrator, store};
use crate::accounts::contacts::Contact;
use crate::accounts::{self, Identifier, Status, User, status};
use crate::app::State;
use crate::error::Error;
use crate::events;
use crate::ids::UserId;
use crate::login;
use crate::page::PageSize;
use crate::request::{Json, OptionalJson};
use crate::sessions::{self, Ending};

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, delete))
        .routes(routes!(set_roles))
        .routes(routes!(set_permissions))
        .routes(routes!(set_customer))
        .routes(routes!(disable))
        .routes(routes!(enable))
        .routes(routes!(logout))
        .routes(routes!(password_reset))
}

/// Accounts in one answer unless said otherwise, and at most: each is opened by itself.
const PAGE: i64 = 50;
const LONGEST_PAGE: i64 = 100;

/// Longest reason, in characters.
const MAX_REASON: usize = 500;

/// A reason as it may be kept.
pub(super) fn checked_reason(reason: Option<String>) -> Result<Option<String>, Error> {
    match reason {
        Some(text) if text.chars().count() > MAX_REASON || text.contains(char::is_control) => Err(
            Error::invalid("reason: expected at most 500 characters, none of them control."),
        ),
        reason => Ok(reason.filter(|text| !text.trim().is_empty())),
    }
}

/// What is looked for; everything may be left out.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// An address, a number or a user name, in whatever spelling: the account that has it.
    identifier: Option<String>,
    /// Accounts behind this id: `next` of the answer before.
    #[param(value_type = Option<String>)]
    after: Option<UserId>,
    /// At most so many, 1 to 100; 50 unless said.
    limit: Option<i64>,
}

/// An account as an administrator sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Account {
    #[serde(flatten)]
    user: User,
    #[schema(inline)]
    status: Status,
    /// Since when it is not active, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_since: Option<i64>,
    /// Why it is not active.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<String>,
    /// When everything about the person goes, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    erase_at: Option<i64>,
    /// Permissions of the account itself; `permissions` has those of its roles, too.
    own_permissions: Vec<String>,
    /// Every address and number of the account.
    contacts: Vec<Contact>,
}

/// The account with this id, as an administrator sees it.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn account(
    state: &State,
    connection: &mut sqlx::AnyConnection,
    id: UserId,
) -> Result<Option<Account>, Error> {
    let Some(user) = accounts::load(state, connection, id).await? else {
        return Ok(None);
    };
    let leaving = status::leaving(state, connection, id).await?;
    Ok(Some(Account {
        status: user.status,
        status_since: leaving.note.as_ref().map(|note| note.since),
        status_reason: leaving.note.and_then(|note| note.reason),
        erase_at: leaving.erase_at.map(crate::clock::Timestamp::unix_seconds),
        own_permissions: user.own_permissions.clone(),
        contacts: accounts::contacts::list(state, connection, id).await?,
        user,
    }))
}

/// A page of accounts in the order of their ids.
#[derive(Serialize, ToSchema)]
struct Accounts {
    users: Vec<Account>,
    /// For `after`, to go on; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    next: Option<UserId>,
}

#[utoipa::path(
    get, path = "/users", tag = "administration", operation_id = "users",
    summary = "Accounts",
    description = "A page of all, or the one that has an identifier.",
    params(Wanted),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page.", body = Accounts),
        (status = 400, description = "`request_invalid`"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
    ),
)]
/// `GET /users`
async fn list(
    _administrator: Administrator,
    Shared(state): Shared<State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Accounts>, Error> {
    let size = PageSize::checked(wanted.limit, PAGE, LONGEST_PAGE)?;
    let mut reader = state.db.read().await?;
    let (ids, next) = if let Some(text) = &wanted.identifier {
        let identifier = Identifier::typed(text)?;
        let blind = identifier.blind(&state.vault)?;
        let holder = accounts::holder(&mut reader, identifier.kind(), &blind).await?;
        (
            holder.map(|holder| holder.user_id).into_iter().collect(),
            None,
        )
    } else {
        let after = wanted.after.unwrap_or(UserId::from_bytes([0; 16]));
        let mut ids = store::page(&mut reader, after, size.rows()).await?;
        let next = size.cut(&mut ids, |id| *id);
        (ids, next)
    };
    let mut users = Vec::with_capacity(ids.len());
    for id in ids {
        // Between two statements an account may have gone.
        users.extend(account(&state, &mut reader, id).await?);
    }
    Ok(Json(Accounts { users, next }))
}

#[utoipa::path(
    get, path = "/users/{id}", tag = "administration", operation_id = "user",
    summary = "An account",
    params(("id" = String, Path, description = "The account's id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account.", body = Account),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
    ),
)]
/// `GET /users/{id}`
async fn show(
    _administrator: Administrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<Json<Account>, Error> {
    let mut reader = state.db.read().await?;
    account(&state, &mut reader, parse(&id)?)
        .await?
        .map(Json)
        .ok_or(Error::NotFound)
}

/// What cannot be an id is nobody's.
pub(super) fn parse(id: &str) -> Result<UserId, Error> {
    id.parse().map_err(|_| Error::NotFound)
}

/// The roles that the account is to have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Roles {
    /// At most 16 names of 1 to 64 letters, digits, `.`, `_`, `:` or `-`.
    roles: Vec<String>,
}

#[utoipa::path(
    put, path = "/users/{id}/roles", tag = "administration", operation_id = "set_roles",
    summary = "Set an account's roles",
    description = "The account's access tokens are turned away, so that its clients refresh and get \
                   what it may do now.",
    params(("id" = String, Path, description = "The account's id")),
    request_body = Roles,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account as it now is.", body = Account),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: it is the last administrator"),
    ),
)]
/// `PUT /users/{id}/roles`
async fn set_roles(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Json(body): Json<Roles>,
) -> Result<Json<Account>, Error> {
    let id = parse(&id)?;
    let mut tx = administrator.begin(&state).await?;
    super::set_roles(&state, &mut tx, administrator.by(), id, &body.roles).await?;
    let account = account(&state, &mut tx, id).await?.ok_or(Error::NotFound)?;
    tx.commit().await?;
    Ok(Json(account))
}

/// The permissions that the account is to have beside those of its roles.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Permissions {
    /// At most 32 names of 1 to 64 letters, digits, `.`, `_`, `:` or `-`.
    permissions: Vec<String>,
}

#[utoipa::path(
    put, path = "/users/{id}/permissions", tag = "administration", operation_id = "set_permissions",
    summary = "Set an account's own permissions",
    description = "The account's access tokens are turned away, as with its roles.",
    params(("id" = String, Path, description = "The account's id")),
    request_body = Permissions,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account as it now is.", body = Account),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
    ),
)]
/// `PUT /users/{id}/permissions`
async fn set_permissions(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Json(body): Json<Permissions>,
) -> Result<Json<Account>, Error> {
    let id = parse(&id)?;
    let mut tx = administrator.begin(&state).await?;
    super::set_permissions(&state, &mut tx, administrator.by(), id, &body.permissions).await?;
    let account = account(&state, &mut tx, id).await?.ok_or(Error::NotFound)?;
    tx.commit().await?;
    Ok(Json(account))
}

/// The customer that the person is to belong to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Customer {
    /// 1 to 64 letters, digits, `.`, `_`, `:` or `-`; null: none. To leave it out is a mistake: it would
    /// take somebody out of their customer.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true)]
    customer_id: Option<String>,
}

#[utoipa::path(
    put, path = "/users/{id}/customer", tag = "administration", operation_id = "set_customer",
    summary = "Set the customer an account belongs to",
    description = "The account's access tokens are turned away, as with its roles.",
    params(("id" = String, Path, description = "The account's id")),
    request_body = Customer,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account as it now is.", body = Account),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
    ),
)]
/// `PUT /users/{id}/customer`
async fn set_customer(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Json(body): Json<Customer>,
) -> Result<Json<Account>, Error> {
    let id = parse(&id)?;
    let mut tx = administrator.begin(&state).await?;
    let customer = body.customer_id.as_deref();
    super::set_customer(&state, &mut tx, administrator.by(), id, customer).await?;
    let account = account(&state, &mut tx, id).await?.ok_or(Error::NotFound)?;
    tx.commit().await?;
    Ok(Json(account))
}

/// Why. The body may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Disable {
    /// At most 500 characters; kept sealed, shown to administrators.
    #[serde(default)]
    reason: Option<String>,
}

#[utoipa::path(
    post, path = "/users/{id}/disable", tag = "administration", operation_id = "disable_user",
    summary = "Close an account",
    description = "Its sessions end, its tokens are turned away, nobody logs in to it.",
    params(("id" = String, Path, description = "The account's id")),
    request_body = Option<Disable>,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Closed."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: it is closed already, or the last administrator's"),
    ),
)]
/// `POST /users/{id}/disable`
async fn disable(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    OptionalJson(body): OptionalJson<Disable>,
) -> Result<StatusCode, Error> {
    let id = parse(&id)?;
    let reason = checked_reason(body.reason)?;
    let mut tx = administrator.begin(&state).await?;
    let by = administrator.by();
    status::disable(&state, &mut tx, by, id, reason.as_deref()).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post, path = "/users/{id}/enable", tag = "administration", operation_id = "enable_user",
    summary = "Open an account that was closed",
    params(("id" = String, Path, description = "The account's id")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Open."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: it is not closed"),
    ),
)]
/// `POST /users/{id}/enable`
async fn enable(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let mut tx = administrator.begin(&state).await?;
    status::enable(&state, &mut tx, administrator.by(), parse(&id)?).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post, path = "/users/{id}/logout", tag = "administration", operation_id = "logout_user",
    summary = "End every session of an account",
    params(("id" = String, Path, description = "The account's id")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Ended, and on disk."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
    ),
)]
/// `POST /users/{id}/logout`
async fn logout(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let id = parse(&id)?;
    let mut tx = administrator.begin(&state).await?;
    accounts::load(&state, &mut tx, id)
        .await?
        .ok_or(Error::NotFound)?;
    let by = administrator.by();
    let cause = ("administrator", by.actor);
    sessions::end_of_user(&state, &mut tx, id, Ending::All, cause).await?;
    let event = by.event(events::Kind::SessionEnd, id);
    events::record(&state, &mut tx, &event.because("administrator")).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(
    post, path = "/users/{id}/password-reset", tag = "administration",
    operation_id = "reset_password_of_user",
    summary = "Send an account's owner a link that sets a new password",
    description = "The owner chooses the password, nobody else. What they have now stays good.",
    params(("id" = String, Path, description = "The account's id")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "A message is on its way."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: there is no address to send it to, or the account is closed"),
    ),
)]
/// `POST /users/{id}/password-reset`: an administrator starts it and never chooses (ASVS 6.4.6).
async fn password_reset(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let id = parse(&id)?;
    let mut tx = administrator.begin(&state).await?;
    let user = accounts::load(&state, &mut tx, id)
        .await?
        .ok_or(Error::NotFound)?;
    if !user.active {
        return Err(Error::Conflict("The account is disabled."));
    }
    let message = login::reset::begin(&state, &mut tx, id)
        .await?
        .ok_or(Error::Conflict("The account has no address to write to."))?;
    let event = administrator.by().event(events::Kind::PasswordReset, id);
    events::record(&state, &mut tx, &event.because("administrator")).await?;
    tx.commit().await?;
    state.mailer.send(message);
    Ok(StatusCode::ACCEPTED)
}

#[utoipa::path(
    delete, path = "/users/{id}", tag = "administration", operation_id = "delete_user",
    summary = "Erase an account at once",
    description = "Everything about the person goes. What happened stays in the trail, without \
                   personal data.",
    params(("id" = String, Path, description = "The account's id")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Erased."),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 403, description = "`insufficient_role`, `mfa_required`"),
        (status = 404, description = "`not_found`"),
        (status = 409, description = "`conflict`: it is the last administrator's"),
    ),
)]
/// `DELETE /users/{id}`
async fn delete(
    administrator: FreshAdministrator,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let mut tx = administrator.begin(&state).await?;
    accounts::erase(&state, &mut tx, administrator.by(), parse(&id)?).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
