//! The end of an account: what goes, what stays.
//!
//! Everything about the person goes with the row of the account, on which the other tables hang:
//! addresses, password, sessions, factors, submissions for verification. What hangs on an address
//! instead (codes, links) is removed by it.
//!
//! What stays, without personal data:
//!
//! - the audit trail: that something happened to the random id of an account, when and by whom.
//!   Address, user agent and values of its events are erased, which the chain of hashes allows.
//!   Whoever investigates an attack needs the former, nobody the latter.
//! - revocations, until no token that they name could be accepted any more: gates must go on turning
//!   away the tokens of an account that is gone. They hold random ids.
//! - counters by keyed hash of an address or a network (`abuse`), until their windows are over:
//!   erasing them would give whoever guesses a new start.

use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::status::{self, By};
use super::{contacts, kyc, store};
use crate::abuse::{Subject, lockout};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor};
use crate::ids::UserId;
use crate::login::{self, codes};
use crate::request::Caller;

/// Accounts that are erased in one sweep; more wait for the next, an hour later.
const AT_A_TIME: i64 = 1_000;

/// Erases an account within the caller's transaction.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator; when the database fails.
pub async fn erase(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    id: UserId,
) -> Result<(), Error> {
    let guard = by.guard(state);
    guard.take_turns(connection).await?;
    store::user(connection, id).await?.ok_or(Error::NotFound)?;
    // Before the rows go: the gates are told by what the sessions say.
    status::end(state, connection, id, ("deleted", by.actor)).await?;
    let account = Subject::account(&state.vault, id)?;
    let confirmation = Subject::confirmation(&state.vault, id)?;
    lockout::clear(connection, [&account, &confirmation], None).await?;
    if !store::delete_user(connection, id, &guard.role()).await? {
        return Err(guard.refusal());
    }
    events::erase_details(connection, id).await?;
    // By which request, and not from where: that is what was just erased of the events before. An
    // event that names no caller would be given the address of whoever is answered.
    let nowhere = Caller {
        request_id: by.caller.and_then(|caller| caller.request_id.clone()),
        ..Caller::default()
    };
    let event = events::Event::new(events::Kind::Erasure, events::Outcome::Success, by.actor);
    let event = event.about(id).from(&nowhere);
    events::record(state, connection, &event).await?;
    // A backup from before brings the person back: by this line they are erased again.
    tracing::info!(%id, "account erased");
    Ok(())
}

/// What time brings to accounts: those whose time has come are erased, verifications end, tokens
/// and codes that are over go.
///
/// # Errors
/// When the database fails; the next call goes on.
pub async fn upkeep(state: &State) -> Result<(), Error> {
    let mut reader = state.db.read().await?;
    let due = due(&mut reader, state.clock.now()).await?;
    drop(reader);
    for id in due {
        // One that cannot be erased must not keep the others.
        if let Err(error) = erase_due(state, id).await {
            tracing::error!(%id, %error, "an account whose time has come was not erased");
        }
    }
    let mut tx = state.db.write().await?;
    let now = state.clock.now();
    kyc::expire(state, &mut tx).await?;
    contacts::remove_expired(&mut tx, now).await?;
    login::factors::forget_replaced(&mut tx, contacts::undoable_since(now)).await?;
    codes::remove_expired(&mut tx, now).await?;
    Ok(tx.commit().await?)
}

/// Erases one account, unless its owner came back since it was found.
async fn erase_due(state: &State, id: UserId) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    if store::is_due(&mut tx, id, state.clock.now()).await? {
        let by = By {
            actor: Actor::System,
            caller: None,
        };
        erase(state, &mut tx, by, id).await?;
    }
    Ok(tx.commit().await?)
}

async fn due(connection: &mut AnyConnection, now: Timestamp) -> Result<Vec<UserId>, Error> {
    let rows = sqlx::query("SELECT id FROM users WHERE erase_at <= $1 ORDER BY erase_at LIMIT $2")
        .bind(now)
        .bind(AT_A_TIME)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

/// When an account goes whose owner asks for it now.
pub(super) fn erase_at(state: &State) -> Timestamp {
    state.clock.now() + Duration::from_secs(state.config.accounts.deletion_grace_seconds)
}
