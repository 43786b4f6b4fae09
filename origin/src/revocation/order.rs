//! Turning somebody or something away by order: of an administrator, or of whoever runs commands.

use std::time::Duration;

use edgekeep_shared::time::UnixTime;
use serde_json::Value;
use sqlx::AnyConnection;

use super::{Revoked, record, subject_not_before, until};
use crate::accounts;
use crate::accounts::status::By;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Change, Event, Outcome};
use crate::ids::{SessionId, UserId};
use crate::sessions::{self, Ending};

/// Longest identifier taken, in bytes: ours have 36.
const MAX_ID_BYTES: usize = 256;

/// What is to be turned away, by what tokens call it.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A session, by its `sid`.
    Session(&'a str),
    /// One access token, by its `jti`.
    Token(&'a str),
    /// Everything of a subject until now.
    Subject(&'a str),
}

/// What was turned away.
#[derive(Debug)]
pub struct Done {
    /// In words, with the identifier as tokens spell it.
    pub what: String,
    /// Whether this database knows what was named, and it was in use; nothing is known of tokens.
    pub known: Option<bool>,
}

/// When an entry about a token that is issued now no longer matters. A second more: a token issued
/// right after a subject's revocation begins in the next one.
fn last_until(state: &State) -> Timestamp {
    let life = state.keyring.ring().longest_token_seconds();
    let life = Duration::from_secs(u64::try_from(life).unwrap_or(0));
    until(state.clock.now() + life + Duration::from_secs(1))
}

/// Turns away every access token of an account that was issued until now. Its sessions stay: their
/// clients refresh, and get tokens that say what the account may do now.
///
/// A token issued within the second of an earlier such call begins a second later, so the second
/// call in a second has to reach that far.
///
/// # Errors
/// When the database fails.
pub async fn turn_away_tokens(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
    reason: &str,
) -> Result<(), Error> {
    turn_away_subject(state, connection, &id.to_string(), reason).await
}

async fn turn_away_subject(
    state: &State,
    connection: &mut AnyConnection,
    subject: &str,
    reason: &str,
) -> Result<(), Error> {
    let now = state.clock.now();
    let last = subject_not_before(connection, subject).await?;
    let not_before = last.map_or(now.unix_seconds(), |last| {
        now.unix_seconds().max(last.saturating_add(1))
    });
    let ahead = u64::try_from(not_before - now.unix_seconds()).unwrap_or(0);
    let until = last_until(state) + Duration::from_secs(ahead);
    let entry = Revoked::Subject(subject, UnixTime(not_before));
    record(&state.signal, connection, entry, Some(until), now, reason).await
}

/// Whether the target can be one.
///
/// # Errors
/// [`Error::RequestInvalid`].
pub fn check(target: Target<'_>) -> Result<(), Error> {
    let (Target::Session(id) | Target::Token(id) | Target::Subject(id)) = target;
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.contains(char::is_control) {
        return Err(Error::invalid(format!(
            "Expected an identifier of 1 to {MAX_ID_BYTES} bytes."
        )));
    }
    Ok(())
}

/// Turns the target away within the caller's transaction, whether or not the database knows it:
/// after a restore, what is to be turned away may be younger than the database.
///
/// # Errors
/// [`Error::RequestInvalid`] for what cannot be an identifier; when the database fails.
pub async fn revoke(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    target: Target<'_>,
) -> Result<Done, Error> {
    check(target)?;
    let now = state.clock.now();
    let until = Some(last_until(state));
    let reason = match by.actor {
        Actor::Operator => "operator",
        _ => "administrator",
    };
    let mut about = None;
    // As tokens spell it, however it was typed: the entry is compared as text.
    let (known, what) = match target {
        Target::Session(text) => {
            let id = text.parse::<SessionId>().ok();
            let known = match id {
                Some(id) => {
                    about = sessions::owner(connection, id).await?;
                    sessions::end(state, connection, id, (reason, by.actor)).await?
                }
                None => false,
            };
            let canonical = id.map_or_else(|| text.to_owned(), |id| id.to_string());
            let entry = Revoked::SessionNamed(&canonical);
            record(&state.signal, connection, entry, until, now, reason).await?;
            (Some(known), format!("session {canonical}"))
        }
        Target::Token(text) => {
            let entry = Revoked::Token(text);
            record(&state.signal, connection, entry, until, now, reason).await?;
            (None, format!("token {text}"))
        }
        Target::Subject(text) => {
            about = text.parse::<UserId>().ok();
            let known = match about {
                Some(id) => {
                    let cause = (reason, by.actor);
                    sessions::end_of_user(state, connection, id, Ending::All, cause).await?;
                    accounts::find_active(state, connection, id)
                        .await?
                        .is_some()
                }
                None => false,
            };
            let canonical = about.map_or_else(|| text.to_owned(), |id| id.to_string());
            turn_away_subject(state, connection, &canonical, reason).await?;
            (Some(known), format!("subject {canonical}"))
        }
    };
    let mut event = Event::new(events::Kind::Revocation, Outcome::Success, by.actor)
        .changing(Change::new(Value::Null, what.as_str()));
    if let Some(id) = about {
        event = event.about(id);
    }
    if let Some(caller) = by.caller {
        event = event.from(caller);
    }
    events::record(state, connection, &event).await?;
    Ok(Done { what, known })
}
