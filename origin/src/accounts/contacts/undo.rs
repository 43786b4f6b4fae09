//! Telling an address that the account's addresses change, and taking the change back.

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;

use super::store::{self, Undo};
use super::{Entry, entries};
use crate::accounts::status::By;
use crate::accounts::{self, Identifier, Kind};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::login::{self, codes, messages};
use crate::notify::Message;
use crate::request::Caller;
use crate::sessions::{self, Ending};
use crate::social;
use crate::vault::{Purpose, Secret};

/// The address that was told.
#[derive(Serialize, Deserialize)]
struct Told {
    kind: Kind,
    spelling: String,
}

/// Makes the message to an address that the account has, with a token that takes back what changes
/// from now on; none without an address to tell.
pub(super) async fn tell(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    entry: Option<&Entry>,
    what: &str,
) -> Result<Option<Message>, Error> {
    let Some(entry) = entry else { return Ok(None) };
    let now = state.clock.now();
    let token = super::new_token(state);
    let token_hash = super::hash(state, &token)?.to_vec();
    let told = Told {
        kind: entry.row.kind,
        spelling: entry.spelling.clone(),
    };
    let json = serde_json::to_vec(&told).map_err(|_| Error::internal("contact as JSON"))?;
    let undo = Undo {
        details: state.vault.seal(Purpose::Contact, &token_hash, &json)?,
        token_hash,
        user_id,
        told_added_at: entry.row.created_at,
        created_at: now,
        expires_at: super::undo_until(now),
    };
    store::insert_undo(connection, &undo).await?;
    let page = state.config.undo_url();
    let (kind, to) = (told.kind, told.spelling.as_str());
    let token = (&token, undo.expires_at);
    Ok(messages::contacts_change(kind, to, what, &page, token))
}

/// Puts the addresses back as they were when the token was sent, as far as they are the account's
/// to have: the address that was told is there and primary, those that came since are gone. A token
/// that is refused is in the trail.
pub(super) async fn undo(state: &State, caller: &Caller, token: &Secret) -> Result<(), Error> {
    let mut whose = None;
    let outcome = take_back(state, caller, token, &mut whose).await;
    let event = Event::new(events::Kind::Contact, Outcome::Failure, Actor::Anonymous)
        .about_whoever(whose)
        .by("link")
        .from(caller);
    events::note_refusal(state, &outcome, event).await?;
    outcome
}

/// [`undo`]; says in `whose` whose token it was, as soon as that is known.
async fn take_back(
    state: &State,
    caller: &Caller,
    token: &Secret,
    whose: &mut Option<UserId>,
) -> Result<(), Error> {
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let undo = store::consume_undo(&mut tx, &super::hash(state, token)?)
        .await?
        .ok_or(Error::CodeInvalid("no such token"))?;
    let user_id = undo.user_id;
    *whose = Some(user_id);
    if undo.expires_at <= now {
        tx.commit().await?;
        return Err(Error::CodeExpired);
    }
    if !accounts::store::hold(&mut tx, user_id, now).await? {
        return Err(Error::CodeInvalid("the account is gone"));
    }
    let json = state
        .vault
        .open(Purpose::Contact, &undo.token_hash, &undo.details)?;
    let told: Told =
        serde_json::from_slice(&json).map_err(|_| Error::internal("stored contact is not JSON"))?;
    let blind = super::blind(state, told.kind, &told.spelling)?;
    let holder = accounts::holder(&mut tx, told.kind, &blind).await?;
    if holder.is_some_and(|holder| holder.verified && holder.user_id != user_id) {
        // Given up and taken by somebody else: whoever reads it now has no say here.
        return Err(Error::CodeInvalid("the address is another account's"));
    }
    restore(state, &mut tx, &undo, &told).await?;
    for entry in entries(state, &mut tx, user_id).await? {
        let (kind, name) = (entry.row.kind, &entry.row.name);
        let is_told = kind == told.kind && entry.spelling == told.spelling;
        if !is_told
            && entry.row.created_at >= undo.created_at
            && store::remove(&mut tx, user_id, kind, name).await?
        {
            let blind = super::blind(state, kind, &entry.spelling)?;
            codes::withdraw_from(&mut tx, &blind).await?;
        }
    }
    // What an address was told that came since is void: it would put that address back.
    store::void_undos_of_later(&mut tx, user_id, undo.created_at).await?;
    let by = By {
        actor: Actor::Anonymous,
        caller: Some(caller),
    };
    // While there is a password: without, too, there is one again soon that a code may follow.
    let mut notices = login::factors::drop_unusable(state, &mut tx, by, user_id).await?;
    accounts::store::delete_password(&mut tx, user_id).await?;
    login::reset::withdraw(&mut tx, user_id).await?;
    // Other ways in that may have been prepared meanwhile.
    social::withdraw(&mut tx, user_id).await?;
    login::factors::remove_since(&mut tx, user_id, undo.created_at).await?;
    sessions::end_of_user(state, &mut tx, user_id, Ending::All, "undone").await?;
    super::record(state, &mut tx, by, user_id, "undone", told.kind).await?;
    let password = Event::new(events::Kind::Password, Outcome::Success, Actor::Anonymous)
        .about(user_id)
        .because("undone")
        .from(caller);
    events::record(state, &mut tx, &password).await?;
    notices.extend(messages::contacts_restored(told.kind, &told.spelling));
    let notices = state.mailer.keep(&mut tx, user_id, notices).await?;
    tx.commit().await?;
    state.mailer.deliver(notices);
    Ok(())
}

/// The told address is the account's again, unless it has become another's, and primary.
async fn restore(
    state: &State,
    connection: &mut AnyConnection,
    undo: &Undo,
    told: &Told,
) -> Result<(), Error> {
    let user_id = undo.user_id;
    let identifier = Identifier::stored(told.kind, &told.spelling);
    let came_back = accounts::index::add(state, connection, user_id, &identifier, true).await?;
    for entry in entries(state, connection, user_id).await? {
        if entry.row.kind != told.kind || entry.spelling != told.spelling {
            continue;
        }
        let name = &entry.row.name;
        if came_back {
            let at = undo.told_added_at;
            store::set_added_at(connection, user_id, told.kind, name, at).await?;
        }
        store::set_primary(connection, user_id, told.kind, name).await?;
    }
    Ok(())
}

/// Since when changes can be taken back still.
pub(in crate::accounts) fn undoable_since(now: Timestamp) -> Timestamp {
    now - super::UNDO
}

/// Removes tokens whose time is over.
pub(in crate::accounts) async fn remove_expired(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<(), Error> {
    store::remove_expired(connection, now).await
}

/// Voids every token: one that was used since a copy of the database was made must not come back.
///
/// # Errors
/// When the database fails.
pub(crate) async fn void_all(connection: &mut AnyConnection) -> Result<(), Error> {
    store::remove_all_undos(connection).await
}
