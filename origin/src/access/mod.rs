//! Who may do what: roles, permissions, and the administration API that gives and takes them.
//!
//! A token says what its holder may do; the gates decide by it. So a change of what an account may
//! do has to reach tokens that are about: it turns away every access token of the account that was
//! issued until then ([`revocation::turn_away_tokens`]). Sessions stay: their clients are told
//! `token_revoked`, refresh, and have a token that says the new. Waiting for the old tokens to
//! expire would leave a removed role in force for their whole life.
//!
//! Administrators are not taken at their token's word: their role is read from the database at each
//! request, and once more in the transaction of each change. What changes something asks for more
//! than what reads: a proof of the last minutes, by a second factor where the account has one. Where
//! `access.require_mfa` says so, nothing at all is open to a session that has not proved one.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use edgekeep_shared::error::Rejection;
use serde_json::Value;
use sqlx::AnyConnection;

use crate::accounts::User;
use crate::accounts::status::By;
use crate::app::State;
use crate::config::Access;
use crate::db::Tx;
use crate::error::Error;
use crate::events::{self, Actor, Change};
use crate::ids::{SessionId, UserId};
use crate::login::{self, Asked};
use crate::request::Caller;
use crate::tokens::{self, Authenticated};
use crate::{accounts, revocation};

mod keys;
mod kyc;
pub mod names;
mod revocations;
pub mod routes;
mod store;
mod users;

pub(crate) use users::account;

/// The caller of a request whose account has, in the database now, the administrator's role.
#[derive(Clone, Debug)]
pub struct Administrator {
    /// `sub`
    pub user_id: UserId,
    /// `sid`
    pub session_id: SessionId,
    /// Where the request comes from.
    pub caller: Caller,
}

impl FromRequestParts<State> for Administrator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let (administrator, _) = Self::of(parts, state).await?;
        Ok(administrator)
    }
}

impl Administrator {
    async fn of(parts: &mut Parts, state: &State) -> Result<(Self, Authenticated), Error> {
        let authenticated = Authenticated::from_request_parts(parts, state).await?;
        let caller = Caller::from_request_parts(parts, state)
            .await
            .unwrap_or_default();
        admit(state, &authenticated).await?;
        let administrator = Self {
            user_id: authenticated.user_id,
            session_id: authenticated.session_id,
            caller,
        };
        Ok((administrator, authenticated))
    }

    async fn confirm(&self, state: &State, connection: &mut AnyConnection) -> Result<(), Error> {
        if is_administrator(state, connection, self.user_id).await? {
            Ok(())
        } else {
            Err(Rejection::InsufficientRole.into())
        }
    }
}

/// Refuses a caller who is no administrator, and one who has not proved what reading as one asks for.
///
/// Routes of administration take [`Administrator`] or [`FreshAdministrator`]; this is for a route that
/// others may call for themselves.
///
/// # Errors
/// `insufficient_role`; [`Error::MfaRequired`], [`Error::StepUpRequired`]; when the database fails.
pub(crate) async fn admit(state: &State, caller: &Authenticated) -> Result<(), Error> {
    let mut reader = state.db.read().await?;
    if !is_administrator(state, &mut reader, caller.user_id).await? {
        return Err(Rejection::InsufficientRole.into());
    }
    drop(reader);
    if !state.config.administrators_need_mfa() {
        return Ok(());
    }
    if !login::has_second(state, caller).await? {
        // There is none to prove; one has to be added first.
        return Err(Error::MfaRequired(
            "This needs a second factor, and the account has none. Add one first.",
        ));
    }
    // However long ago, within the session.
    let asked = Asked {
        max_age: state.config.sessions.absolute_seconds,
        second_factor: true,
    };
    asked.check(state, caller).await
}

/// An [`Administrator`] who proved a moment ago who they are. Every route that changes something
/// takes it: a token that was copied, or a session that was left open, changes nothing.
#[derive(Clone, Debug)]
pub struct FreshAdministrator(Administrator);

impl FromRequestParts<State> for FreshAdministrator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let (administrator, authenticated) = Administrator::of(parts, state).await?;
        let asked = Asked {
            max_age: state.config.access.fresh_seconds,
            second_factor: login::has_second(state, &authenticated).await?,
        };
        asked.check(state, &authenticated).await?;
        Ok(Self(administrator))
    }
}

impl FreshAdministrator {
    /// Begins a change, in which the role is looked at once more: whoever lost it while the request
    /// was on its way changes nothing.
    ///
    /// # Errors
    /// `insufficient_role`; when the database fails.
    pub async fn begin(&self, state: &State) -> Result<Tx, Error> {
        let mut tx = state.db.write().await?;
        Guard::none().take_turns(&mut tx).await?;
        self.0.confirm(state, &mut tx).await?;
        Ok(tx)
    }

    /// As the author of a change.
    pub const fn by(&self) -> By<'_> {
        By::user(self.0.user_id, &self.0.caller)
    }

    /// As the actor of an event.
    pub const fn actor(&self) -> Actor {
        Actor::User(self.0.user_id)
    }
}

/// Whether the account is active and has the administrator's role now.
///
/// # Errors
/// When the database fails.
pub async fn is_administrator(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<bool, Error> {
    let roles = store::roles_of_active(connection, id).await?;
    Ok(roles.contains(&state.config.access.administrator))
}

/// What keeps one administrator where a statement could remove the last.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    administrator: Option<&'a str>,
}

impl<'a> Guard<'a> {
    /// Keeps one.
    pub fn last_administrator(access: &'a Access) -> Self {
        Self {
            administrator: Some(&access.administrator),
        }
    }

    /// Keeps none: for the command line, and for what removes nobody.
    pub const fn none() -> Self {
        Self {
            administrator: None,
        }
    }

    /// Waits until every other change of who is an administrator is done, and makes others wait:
    /// where several may write, each would otherwise see the other administrator still there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_turns(self, connection: &mut AnyConnection) -> Result<(), Error> {
        tokens::store::raise(connection, "administrators").await?;
        Ok(())
    }

    /// The role as it stands in a list in the database; empty where none is kept. Names have no
    /// character that JSON escapes, so the text with its quotes stands in a list exactly when the
    /// list has that role.
    pub fn role(self) -> String {
        self.administrator
            .map(|role| format!("\"{role}\""))
            .unwrap_or_default()
    }

    /// Why a guarded statement changed nothing.
    pub const fn refusal(self) -> Error {
        Error::Conflict("The last administrator stays one.")
    }
}

/// Accounts behind `after` in the order of their ids.
///
/// # Errors
/// When the database or the vault fails.
pub async fn page(
    state: &State,
    connection: &mut AnyConnection,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<User>, Error> {
    let after = after.unwrap_or(UserId::from_bytes([0; 16]));
    let mut users = Vec::new();
    for id in store::page(connection, after, limit).await? {
        // Between two statements an account may have gone.
        users.extend(accounts::load(state, connection, id).await?);
    }
    Ok(users)
}

/// What an account may do: its own permissions and those that its roles bring, each once.
pub fn permissions(access: &Access, roles: &[String], own: &[String]) -> Vec<String> {
    let brought = roles
        .iter()
        .filter_map(|role| access.roles.get(role))
        .flat_map(|role| &role.permissions);
    let mut all: Vec<String> = Vec::new();
    for permission in own.iter().chain(brought) {
        if !all.contains(permission) {
            all.push(permission.clone());
        }
    }
    all
}

/// More of them would make tokens longer than any verifier reads.
fn check_size(access: &Access, roles: &[String], own: &[String]) -> Result<(), Error> {
    if permissions(access, roles, own).len() > names::MAX_PERMISSIONS {
        return Err(Error::invalid(format!(
            "permissions: with those that the roles bring, expected at most {}.",
            names::MAX_PERMISSIONS
        )));
    }
    Ok(())
}

/// Gives an account these roles and no others.
///
/// # Errors
/// [`Error::RequestInvalid`] for names that cannot be; [`Error::NotFound`]; [`Error::Conflict`] when
/// it would leave no administrator; when the database fails.
pub async fn set_roles(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
    roles: &[String],
) -> Result<(), Error> {
    let roles = names::checked("roles", roles, names::MAX_ROLES).map_err(Error::invalid)?;
    let access = &state.config.access;
    let guard = if roles.contains(&access.administrator) {
        Guard::none()
    } else {
        by.guard(state)
    };
    guard.take_turns(connection).await?;
    let before = accounts::load(state, connection, id)
        .await?
        .ok_or(Error::NotFound)?;
    check_size(access, &roles, &before.own_permissions)?;
    if before.roles == roles {
        return Ok(());
    }
    let now = state.clock.now();
    if !store::set_roles(connection, id, &json(&roles)?, &guard.role(), now).await? {
        return Err(guard.refusal());
    }
    revocation::turn_away_tokens(state, connection, id, "roles").await?;
    let event = by
        .event(events::Kind::Roles, id)
        .changing(Change::new(before.roles, roles));
    events::record(state, connection, &event).await
}

/// Gives an account these permissions of its own and no others.
///
/// # Errors
/// [`Error::RequestInvalid`] for names that cannot be; [`Error::NotFound`]; when the database fails.
pub async fn set_permissions(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
    permissions: &[String],
) -> Result<(), Error> {
    let most = names::MAX_PERMISSIONS;
    let permissions = names::checked("permissions", permissions, most).map_err(Error::invalid)?;
    let before = accounts::load(state, connection, id)
        .await?
        .ok_or(Error::NotFound)?;
    check_size(&state.config.access, &before.roles, &permissions)?;
    if before.own_permissions == permissions {
        return Ok(());
    }
    store::set_permissions(connection, id, &json(&permissions)?, state.clock.now()).await?;
    revocation::turn_away_tokens(state, connection, id, "permissions").await?;
    let event = by
        .event(events::Kind::Permissions, id)
        .changing(Change::new(before.own_permissions, permissions));
    events::record(state, connection, &event).await
}

/// Says which customer an account belongs to, or that it belongs to none.
///
/// # Errors
/// [`Error::RequestInvalid`] for a name that cannot be; [`Error::NotFound`]; when the database fails.
pub async fn set_customer(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
    customer_id: Option<&str>,
) -> Result<(), Error> {
    if customer_id.is_some_and(|name| !names::is_name(name)) {
        return Err(Error::invalid(
            "customer_id: expected 1 to 64 letters, digits, '.', '_', ':' or '-'.",
        ));
    }
    let before = accounts::load(state, connection, id)
        .await?
        .ok_or(Error::NotFound)?;
    if before.customer_id.as_deref() == customer_id {
        return Ok(());
    }
    store::set_customer(connection, id, customer_id, state.clock.now()).await?;
    revocation::turn_away_tokens(state, connection, id, "customer").await?;
    let value = |name: Option<&str>| name.map_or(Value::Null, Value::from);
    let change = Change::new(value(before.customer_id.as_deref()), value(customer_id));
    let event = by.event(events::Kind::Customer, id).changing(change);
    events::record(state, connection, &event).await
}

fn json(list: &[String]) -> Result<String, Error> {
    serde_json::to_string(list).map_err(|_| Error::internal("a list as JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn roles_bring_permissions_once() {
        let mut access = Access::default();
        for (name, permissions) in [
            ("editor", &["read", "write"]),
            ("reader", &["read", "list"]),
        ] {
            let permissions = list(permissions);
            access.roles.insert(name.to_owned(), Role { permissions });
        }
        for (roles, own, expected) in [
            (&[][..], &[][..], &[][..]),
            (&["nobody"], &["own"], &["own"]),
            (
                &["editor", "reader"],
                &["write"],
                &["write", "read", "list"],
            ),
        ] {
            assert_eq!(
                permissions(&access, &list(roles), &list(own)),
                list(expected)
            );
        }
    }
}
