//! The address book: the mail addresses and numbers that an account is reached by.
//!
//! A change is made by whoever proved a moment ago who they are, and is told to an address that the
//! account already had. OWASP's two nonces: the new address gets a code (and a link), without which
//! nothing is added; the old one gets a token, with which everything is taken back that changed since.
//! That token outlives the change by three days, because whoever takes an account over removes the
//! owner's address next. Taking back ends every session and removes the password: the change was
//! made by somebody who could prove to be the owner, so what they proved it with is not safe.
//!
//! An address that another account has is answered like a free one: a code that nothing matches is
//! kept, its owner is told, and the caller learns nothing.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use utoipa::ToSchema;

use super::status::By;
use super::store::IdentifierRow;
use super::{Blind, Identifier, Kind};
use crate::abuse::{Subject, sends};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Change, Event, Outcome};
use crate::ids::{ContactId, SessionId, UserId};
use crate::login::codes::{self, CodeFor};
use crate::login::links::{self, Proof};
use crate::login::{self, messages};
use crate::notify::Message;
use crate::request::Caller;
use crate::sessions::{self, Ending};
use crate::vault::{Purpose, Secret};

pub(super) mod routes;
mod store;
mod undo;

pub(crate) use undo::void_all;
pub(super) use undo::{remove_expired, undoable_since};

/// Addresses and numbers of one account.
const MAX_CONTACTS: usize = 10;

/// The word under which requests to add an address are counted by account.
const REQUESTS: &str = "contact-account";

/// As how many accounts may ask for one address in an hour as often as each may. Strangers' requests take
/// none of the owner's until there are so many of them, and one address gets no more messages than this.
///
/// Of a number that SMS go to that is so for what is counted here only. Its pace ([`sends::pace`]) is one
/// for all that anybody has sent to it, since each costs money: one stranger can make its owner wait, as
/// for codes to log in.
const ACCOUNTS_AT_AN_ADDRESS: u32 = 4;

/// How long a change can be taken back: as long as somebody may be away for a weekend.
const UNDO: Duration = Duration::from_hours(72);

/// An address or a number, as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Contact {
    /// By what it is named here.
    #[schema(value_type = String, format = "uuid")]
    pub id: ContactId,
    /// `email` or `phone`.
    #[schema(value_type = String)]
    pub kind: Kind,
    /// The mail address or number.
    pub address: String,
    /// Whether it was proved.
    pub verified: bool,
    /// Whether it is the one of its kind that messages go to.
    pub primary: bool,
    /// Since when the account has it, in seconds since 1970.
    pub added_at: i64,
}

/// One row of an account's, opened.
struct Entry {
    id: ContactId,
    row: IdentifierRow,
    spelling: String,
    is_primary: bool,
}

impl Entry {
    fn shown(self) -> Contact {
        Contact {
            id: self.id,
            kind: self.row.kind,
            address: self.spelling,
            verified: self.row.verified_at.is_some(),
            primary: self.is_primary,
            added_at: self.row.created_at.unix_seconds(),
        }
    }
}

async fn entries(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<Entry>, Error> {
    let mut entries: Vec<Entry> = Vec::new();
    for row in super::store::identifiers(connection, user_id).await? {
        if row.kind.medium().is_none() {
            continue;
        }
        let kind = row.kind.as_str().as_bytes();
        let parts: [&[u8]; 4] = [b"id", user_id.as_bytes(), kind, &row.name];
        let mac = state.vault.mac(Purpose::Contact, &parts)?;
        let mut id = [0; 16];
        id.copy_from_slice(&mac[..16]);
        // The primary of each kind comes first.
        let is_primary = !entries.iter().any(|other| other.row.kind == row.kind);
        entries.push(Entry {
            id: ContactId::from_bytes(id),
            spelling: super::open_spelling(state, row.kind, &row.name, &row.spelling)?,
            row,
            is_primary,
        });
    }
    Ok(entries)
}

/// The addresses and numbers of an account, the primary of each kind first.
///
/// # Errors
/// When the database or the vault fails.
pub async fn list(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<Contact>, Error> {
    let entries = entries(state, connection, user_id).await?;
    Ok(entries.into_iter().map(Entry::shown).collect())
}

/// What waits for the proof of an address.
#[derive(Serialize, Deserialize)]
struct Pending {
    user_id: UserId,
    kind: Kind,
    spelling: String,
}

/// What codes to add an address to the account are for.
fn purpose(state: &State, user_id: UserId) -> Result<CodeFor, Error> {
    Ok(CodeFor::Contact(codes::Account::new(state, user_id)?))
}

/// Sends a code to an address that is to be added; the token that the code is bound to comes back
/// whether or not somebody else has the address.
async fn begin(
    state: &State,
    caller: &Caller,
    user_id: UserId,
    address: &Identifier,
) -> Result<Secret, Error> {
    let blind = address.blind(&state.vault)?;
    let now = state.clock.now();
    let limit = state.config.otp.sends_per_hour;
    let mut tx = state.db.write().await?;
    let account = Subject::account(&state.vault, user_id)?;
    sends::count(&mut tx, REQUESTS, &account.0, limit, now).await?;
    if address.kind() == Kind::Phone {
        sends::pace(state, &mut tx, &blind, now).await?;
    }
    let purpose = purpose(state, user_id)?;
    let most = limit.saturating_mul(ACCOUNTS_AT_AN_ADDRESS);
    sends::count(&mut tx, purpose.as_str(), &blind, most, now).await?;
    state.limiter.message()?;
    let held = entries(state, &mut tx, user_id).await?;
    let looked_up = super::look_up(&state.vault, &mut tx, address.kind(), &blind).await?;
    let holder = looked_up.holder();
    let is_own = holder.is_some_and(|holder| holder.user_id == user_id);
    if is_own && holder.is_some_and(|holder| holder.verified) {
        return Err(Error::Conflict("The account has this address already."));
    }
    // Whoever set an unproved address up may be a stranger; a second address of theirs would stay
    // when its owner proves it.
    if !is_own && held.iter().any(|entry| entry.row.verified_at.is_none()) {
        return Err(Error::Conflict("Prove the account's own address first."));
    }
    if !is_own && held.len() >= MAX_CONTACTS {
        return Err(Error::Conflict(
            "The account has as many addresses as it may.",
        ));
    }
    let taken = holder.is_some() && !is_own;
    let pending = Pending {
        user_id,
        kind: address.kind(),
        spelling: looked_up.spelling(state, address)?,
    };
    let payload = serde_json::to_vec(&pending).map_err(|_| Error::internal("contact as JSON"))?;
    let issued = codes::issue(state, &mut tx, purpose, &blind, &payload, !taken).await?;
    let page = state.config.accounts.contact_url.as_deref();
    let to = (pending.kind, &issued.token);
    let link = links::attach(state, &mut tx, purpose, to, page).await?;
    let what = match pending.kind {
        Kind::Phone => "Somebody, perhaps you, adds a telephone number to your account.",
        Kind::Email | Kind::Username => "Somebody, perhaps you, adds an address to your account.",
    };
    let told = undo::tell(state, &mut tx, user_id, told(&held), what).await?;
    let asked = Event::own(events::Kind::Code, Outcome::Success, user_id)
        .by(pending.kind.as_str())
        .because(purpose.as_str())
        .from(caller);
    events::record(state, &mut tx, &asked).await?;
    let told = state.mailer.keep(&mut tx, user_id, told).await?;
    tx.commit().await?;
    let message = if taken {
        messages::contact_taken(pending.kind, &pending.spelling)
    } else {
        messages::contact_code(pending.kind, &pending.spelling, &issued.code, link.as_ref())
    };
    if let Some(message) = message {
        state.mailer.send(message.asked_by(caller.address));
    }
    state.mailer.deliver(told);
    Ok(issued.token)
}

/// Which address is told of a change: the one that other messages go to.
fn told(held: &[Entry]) -> Option<&Entry> {
    held.iter().min_by_key(|entry| {
        (
            entry.row.verified_at.is_none(),
            entry.row.kind != Kind::Email,
        )
    })
}

/// What shows that somebody reads what is sent to the address.
enum Shown {
    /// The token of the request, and the code.
    Code(Secret, Secret),
    /// The token of the link.
    Link(Secret),
}

/// Adds the address that a code or a link proves; what is refused is in the trail.
async fn finish(
    state: &State,
    by: By<'_>,
    whose: (UserId, SessionId),
    shown: &Shown,
    end_other_sessions: bool,
) -> Result<Vec<Contact>, Error> {
    let outcome = prove(state, by, whose, shown, end_other_sessions).await;
    let event = by.event(events::Kind::Contact, whose.0).session(whose.1);
    let event = Event {
        outcome: Outcome::Failure,
        ..event.by(match shown {
            Shown::Code(..) => "code",
            Shown::Link(_) => "link",
        })
    };
    events::note_refusal(state, &outcome, event).await?;
    outcome
}

async fn prove(
    state: &State,
    by: By<'_>,
    (user_id, session_id): (UserId, SessionId),
    shown: &Shown,
    end_other_sessions: bool,
) -> Result<Vec<Contact>, Error> {
    let purpose = purpose(state, user_id)?;
    let proof = match shown {
        Shown::Code(token, code) => {
            let key = codes::Key::Token(token);
            Proof::Code(codes::guess(state, purpose, key, code).await?)
        }
        Shown::Link(token) => links::find(state, purpose, token).await?,
    };
    let pending: Pending = serde_json::from_slice(proof.payload())
        .map_err(|_| Error::internal("stored contact is not JSON"))?;
    if pending.user_id != user_id {
        return Err(Error::CodeInvalid("another account's code or link"));
    }
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    proof.consume(state, &mut tx, purpose).await?;
    if !super::store::hold(&mut tx, user_id, now).await? {
        return Err(Error::NotFound);
    }
    match super::holder(&mut tx, pending.kind, proof.recipient()).await? {
        Some(holder) if holder.user_id == user_id => {
            for entry in entries(state, &mut tx, user_id).await? {
                if entry.row.kind == pending.kind && entry.spelling == pending.spelling {
                    let name = &entry.row.name;
                    store::mark_verified(&mut tx, user_id, pending.kind, name, now).await?;
                }
            }
        }
        Some(_) => return Err(Error::CodeInvalid("taken meanwhile")),
        None => {
            let held = entries(state, &mut tx, user_id).await?.len();
            let identifier = Identifier::stored(pending.kind, &pending.spelling);
            if held >= MAX_CONTACTS
                || !super::index::add(state, &mut tx, user_id, &identifier, true).await?
            {
                return Err(Error::CodeInvalid("no room for it, or taken meanwhile"));
            }
        }
    }
    if end_other_sessions {
        let ending = Ending::AllBut(session_id);
        sessions::end_of_user(state, &mut tx, user_id, ending, "contact").await?;
    }
    record(state, &mut tx, by, user_id, "added", pending.kind).await?;
    let contacts = list(state, &mut tx, user_id).await?;
    tx.commit().await?;
    Ok(contacts)
}

/// Records a change. The address is not in the trail: it is personal data that its owner may have
/// erased, and the kind says enough.
async fn record(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    user_id: UserId,
    reason: &str,
    kind: Kind,
) -> Result<(), Error> {
    let change = Change::new(serde_json::Value::Null, kind.as_str());
    let event = by
        .event(events::Kind::Contact, user_id)
        .because(reason)
        .changing(change);
    events::record(state, connection, &event).await
}

/// The address that is named, of an account whose row is held until the transaction ends.
async fn named(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    id: ContactId,
) -> Result<(Entry, Vec<Entry>), Error> {
    if !super::store::hold(connection, user_id, state.clock.now()).await? {
        return Err(Error::NotFound);
    }
    let mut held = entries(state, connection, user_id).await?;
    let index = held.iter().position(|entry| entry.id == id);
    let entry = held.remove(index.ok_or(Error::NotFound)?);
    Ok((entry, held))
}

/// Removes an address, but never the last proved one: no message, and so no new password, would
/// reach the account any more. A second factor that it was needed for goes with it.
async fn remove(
    state: &State,
    by: By<'_>,
    (user_id, session_id): (UserId, SessionId),
    id: ContactId,
    end_other_sessions: bool,
) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    let (entry, others) = named(state, &mut tx, user_id, id).await?;
    let kind = entry.row.kind;
    if !store::remove(&mut tx, user_id, kind, &entry.row.name).await? {
        return Err(Error::Conflict(
            "It is the last proved address: without it no new password could be set.",
        ));
    }
    let blind = blind(state, kind, &entry.spelling)?;
    codes::withdraw_from(&mut tx, &blind).await?;
    login::reset::withdraw(&mut tx, user_id).await?;
    let what = "This address was removed from your account.";
    let mut messages: Vec<Message> = Vec::new();
    // An unproved address was nobody's yet.
    if entry.row.verified_at.is_some() {
        messages.extend(undo::tell(state, &mut tx, user_id, Some(&entry), what).await?);
    }
    let what = "An address or number was removed from your account.";
    messages.extend(undo::tell(state, &mut tx, user_id, told(&others), what).await?);
    messages.extend(login::factors::drop_unusable(state, &mut tx, by, user_id).await?);
    if end_other_sessions {
        let ending = Ending::AllBut(session_id);
        sessions::end_of_user(state, &mut tx, user_id, ending, "contact").await?;
    }
    record(state, &mut tx, by, user_id, "removed", kind).await?;
    let told = state.mailer.keep(&mut tx, user_id, messages).await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    Ok(())
}

/// Makes an address the one of its kind that messages go to.
async fn choose(
    state: &State,
    by: By<'_>,
    (user_id, session_id): (UserId, SessionId),
    id: ContactId,
    end_other_sessions: bool,
) -> Result<Vec<Contact>, Error> {
    let mut tx = state.db.write().await?;
    let (entry, others) = named(state, &mut tx, user_id, id).await?;
    let kind = entry.row.kind;
    if !store::set_primary(&mut tx, user_id, kind, &entry.row.name).await? {
        return Err(Error::Conflict("Prove the address first."));
    }
    let mut message = None;
    if !entry.is_primary {
        let before = others
            .iter()
            .find(|other| other.row.kind == kind && other.is_primary);
        let what = "Messages of your account go to another address from now on.";
        message = undo::tell(state, &mut tx, user_id, before, what).await?;
        record(state, &mut tx, by, user_id, "primary", kind).await?;
    }
    if end_other_sessions {
        let ending = Ending::AllBut(session_id);
        sessions::end_of_user(state, &mut tx, user_id, ending, "contact").await?;
    }
    let contacts = list(state, &mut tx, user_id).await?;
    let told = state.mailer.keep(&mut tx, user_id, message).await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    Ok(contacts)
}

fn new_token(state: &State) -> Secret {
    Secret::new(format!(
        "eku_{}",
        URL_SAFE_NO_PAD.encode(state.random.bytes::<32>())
    ))
}

fn hash(state: &State, token: &Secret) -> Result<[u8; 32], Error> {
    let parts: [&[u8]; 2] = [b"undo", token.expose().as_bytes()];
    Ok(state.vault.mac(Purpose::Contact, &parts)?)
}

/// Which blind index an address has, for what is counted and kept by it.
fn blind(state: &State, kind: Kind, spelling: &str) -> Result<Blind, Error> {
    Identifier::stored(kind, spelling).blind(&state.vault)
}

/// When a change made now can no longer be taken back.
fn undo_until(now: Timestamp) -> Timestamp {
    now + UNDO
}
