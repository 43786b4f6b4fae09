//! How an account is: active, disabled by an administrator, or left by its owner.
//!
//! Whoever is not `active` has no session and no token that a gate accepts. An owner who comes back
//! in time is taken back by logging in, with everything that a login asks; a disabled account is
//! not. What an administrator does to accounts keeps one administrator: each such statement looks
//! for another one, and the lock of the counter `administrators` makes those statements take turns
//! on every engine, so that two who remove each other at once do not both succeed.

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::{User, store};
use crate::access::Guard;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Change, Event, Outcome};
use crate::ids::UserId;
use crate::login::codes;
use crate::sessions::{self, Ending};
use crate::vault::Purpose;
use crate::{login, revocation};

/// How an account is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AccountStatus)]
pub enum Status {
    /// In use.
    #[default]
    Active,
    /// Closed by an administrator.
    Disabled,
    /// Left by its owner, who may come back.
    Deactivated,
    /// Left by its owner for good; erased when its time comes, unless they log in before.
    Deleting,
}

impl Status {
    /// The word that the database keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Deactivated => "deactivated",
            Self::Deleting => "deleting",
        }
    }

    /// The status of the database's word.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::Active,
            Self::Disabled,
            Self::Deactivated,
            Self::Deleting,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }

    /// Whether its owner may log in.
    pub const fn may_log_in(self) -> bool {
        !matches!(self, Self::Disabled)
    }
}

/// Since when an account is not active, and why.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Note {
    /// In seconds since 1970.
    pub since: i64,
    /// In the words of whoever did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Note {
    fn seal(&self, state: &State, id: UserId) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::internal("status as JSON"))?;
        Ok(state.vault.seal(Purpose::Status, id.as_bytes(), &json)?)
    }

    pub(super) fn open(state: &State, id: UserId, sealed: &[u8]) -> Result<Self, Error> {
        let json = state.vault.open(Purpose::Status, id.as_bytes(), sealed)?;
        serde_json::from_slice(&json).map_err(|_| Error::internal("stored status is not JSON"))
    }
}

/// Who changes an account, and what they are held to.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Who.
    pub actor: Actor,
    /// From where, for a request.
    pub caller: Option<&'a crate::request::Caller>,
}

impl<'a> By<'a> {
    /// A person, by a request.
    pub const fn user(id: UserId, caller: &'a crate::request::Caller) -> Self {
        Self {
            actor: Actor::User(id),
            caller: Some(caller),
        }
    }

    /// Whoever may run commands: they can make an administrator at any time, and must be able to
    /// close the last one's account when it was taken over.
    pub const OPERATOR: Self = Self {
        actor: Actor::Operator,
        caller: None,
    };

    /// An event of this author about `user`.
    pub fn event(&self, kind: events::Kind, user: UserId) -> Event<'a> {
        let event = Event::new(kind, Outcome::Success, self.actor).about(user);
        match self.caller {
            Some(caller) => event.from(caller),
            None => event,
        }
    }

    /// What the change is held to.
    pub fn guard(&self, state: &'a State) -> Guard<'a> {
        match self.actor {
            Actor::Operator => Guard::none(),
            _ => Guard::last_administrator(&state.config.access),
        }
    }
}

/// Closes an account: its sessions end, and until it is enabled nobody logs in to it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] when it is closed already, or is the last
/// administrator's; when the database fails.
pub async fn disable(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
    reason: Option<&str>,
) -> Result<(), Error> {
    let was = leave(state, connection, by, id, Status::Disabled, None, reason).await?;
    end(state, connection, id, ("disabled", by.actor)).await?;
    let change = Change::new(was.as_str(), Status::Disabled.as_str());
    let event = by.event(events::Kind::Status, id).changing(change);
    events::record(state, connection, &event).await
}

/// Opens an account that was closed. One whose owner had it deleted goes on waiting for that.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] when it is not closed; when the database fails.
pub async fn enable(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
) -> Result<(), Error> {
    let row = sqlx::query(
        "UPDATE users
         SET status = CASE WHEN erase_at IS NULL THEN 'active' ELSE 'deleting' END,
             status_note = NULL, updated_at = $2
         WHERE id = $1 AND status = 'disabled' RETURNING status",
    )
    .bind(id)
    .bind(state.clock.now())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        store::user(connection, id).await?.ok_or(Error::NotFound)?;
        return Err(Error::Conflict("The account is not disabled."));
    };
    let status: String = row.try_get("status")?;
    let change = Change::new(Status::Disabled.as_str(), status);
    let event = by.event(events::Kind::Status, id).changing(change);
    events::record(state, connection, &event).await
}

/// Leaves an account that its owner may come back to.
///
/// # Errors
/// [`Error::Conflict`] for the last administrator; when the database fails.
pub async fn deactivate(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
) -> Result<(), Error> {
    leave(state, connection, by, id, Status::Deactivated, None, None).await?;
    end(state, connection, id, ("deactivated", by.actor)).await?;
    let change = Change::new(Status::Active.as_str(), Status::Deactivated.as_str());
    let event = by.event(events::Kind::Status, id).changing(change);
    events::record(state, connection, &event).await
}

/// Leaves an account for good: at `erase_at` everything about the person goes.
///
/// # Errors
/// [`Error::Conflict`] for the last administrator; when the database fails.
pub async fn request_erasure(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
    erase_at: Timestamp,
) -> Result<(), Error> {
    let to = Status::Deleting;
    leave(state, connection, by, id, to, Some(erase_at), None).await?;
    end(state, connection, id, ("deleted", by.actor)).await?;
    let change = Change::new(Status::Active.as_str(), to.as_str());
    let event = by.event(events::Kind::Status, id).changing(change);
    events::record(state, connection, &event).await
}

/// Ends everything that could still act for the account, and every login that was begun.
pub(super) async fn end(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
    (reason, actor): (&str, Actor),
) -> Result<(), Error> {
    let cause = (reason, actor);
    sessions::end_of_user(state, connection, id, Ending::All, cause).await?;
    revocation::turn_away_tokens(state, connection, id, reason).await?;
    for name in super::names(state, connection, id).await? {
        codes::withdraw_from(connection, &name).await?;
    }
    login::reset::withdraw(connection, id).await
}

/// Takes an account out of use; how it was.
async fn leave(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
    to: Status,
    erase_at: Option<Timestamp>,
    reason: Option<&str>,
) -> Result<Status, Error> {
    let guard = by.guard(state);
    guard.take_turns(connection).await?;
    let before = store::user(connection, id).await?.ok_or(Error::NotFound)?;
    let was = Status::from_word(&before.status)
        .ok_or_else(|| Error::internal("unknown status of an account"))?;
    let now = state.clock.now();
    let note = Note {
        since: now.unix_seconds(),
        reason: reason.map(str::to_owned),
    };
    // An owner's leaving needs an active account, an administrator's closing one that is not closed.
    let from = match to {
        Status::Disabled => was,
        _ => Status::Active,
    };
    if was == to {
        return Err(Error::Conflict("The account is disabled already."));
    }
    if was != from {
        return Err(Error::Conflict("The account is not active."));
    }
    let updated = sqlx::query(
        "UPDATE users
         SET status = $2, status_note = $3, updated_at = $4,
             erase_at = CASE WHEN $2 = 'disabled' THEN erase_at ELSE $5 END
         WHERE id = $1 AND status = $6
           AND ($7 = '' OR replace(roles, $7, '') = roles OR status <> 'active'
                OR EXISTS (SELECT 1 FROM users AS others
                           WHERE others.id <> $1 AND others.status = 'active'
                             AND replace(others.roles, $7, '') <> others.roles))",
    )
    .bind(id)
    .bind(to.as_str())
    .bind(note.seal(state, id)?)
    .bind(now)
    .bind(erase_at.map(Timestamp::micros))
    .bind(from.as_str())
    .bind(guard.role())
    .execute(connection)
    .await?;
    if updated.rows_affected() == 1 {
        Ok(was)
    } else {
        Err(guard.refusal())
    }
}

/// Records that an owner came back to an account that they had left.
pub(super) async fn woken(
    state: &State,
    connection: &mut AnyConnection,
    user: &User,
) -> Result<(), Error> {
    let change = Change::new(user.status.as_str(), Status::Active.as_str());
    let event = Event::own(events::Kind::Status, Outcome::Success, user.id).changing(change);
    events::record(state, connection, &event).await
}

/// How an account is being left.
#[derive(Debug, Default)]
pub struct Leaving {
    /// Since when and why.
    pub note: Option<Note>,
    /// When everything about the person goes.
    pub erase_at: Option<Timestamp>,
}

/// How the account is being left, if it is.
///
/// # Errors
/// When the database or the vault fails.
pub async fn leaving(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Leaving, Error> {
    let Some(row) = store::user(connection, id).await? else {
        return Ok(Leaving::default());
    };
    let note = row.status_note.as_deref();
    Ok(Leaving {
        note: note
            .map(|sealed| Note::open(state, id, sealed))
            .transpose()?,
        erase_at: row.erase_at,
    })
}
